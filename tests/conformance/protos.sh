#!/usr/bin/env bash
# Prints the folder of the suite's protos, which are part of its Go module.
set -euo pipefail
command -v go > /dev/null || {
    echo "protos.sh: Go is needed, for connectrpc.com/conformance: https://go.dev/dl" >&2
    exit 2
}
# Downloading it again costs nothing once it is there.
folder=$(go mod download -json connectrpc.com/conformance@v1.0.5 | sed -n 's/^\t"Dir": "\(.*\)",*$/\1/p')
echo "$folder/proto"
