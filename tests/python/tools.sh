#!/bin/sh
# Installs the stock tools that test_tools.py uses, built from their Go modules, and prints the folder they are
# in: TOOLS_BIN=$(tests/python/tools.sh) tests/python/run.sh
#
#   TOOLS_BIN   where to put them (default: target/stock-tools)
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
bin=${TOOLS_BIN:-$root/target/stock-tools}
mkdir -p "$bin"

if ! command -v go > /dev/null; then
    echo "tools.sh: these tools are Go modules: install Go first" >&2
    exit 2
fi

# A tool's stamp is the version it was installed in, so a second run starts at once.
install() {
    if [ "$(cat "$bin/$1.version" 2> /dev/null)" != "$3" ]; then
        GOBIN=$bin go install "$2@$3" >&2
        echo "$3" > "$bin/$1.version"
    fi
}
install grpcurl github.com/fullstorydev/grpcurl/cmd/grpcurl v1.9.3
install grpc-health-probe github.com/grpc-ecosystem/grpc-health-probe v0.4.42
install ghz github.com/bojand/ghz/cmd/ghz v0.120.0
install buf github.com/bufbuild/buf/cmd/buf v1.59.0
echo "$bin"
