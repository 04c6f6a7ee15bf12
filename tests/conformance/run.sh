#!/usr/bin/env bash
# Runs the public gRPC conformance suite (connectrpc.com/conformance) against the host, through a plugin, in
# both isolation modes. Needs Go, which also brings the suite's protos.
#
#   MORTISE_BIN              the host                        (default: built here)
#   CONFORMANCE_TARGET_DIR   where plugin and adapter are built (default: target/conformance)
#
# Arguments go to connectconformance: tests/conformance/run.sh --run '**/unexpected-codec' --trace
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
module=connectrpc.com/conformance
version=v1.0.5

command -v go > /dev/null || {
    echo "run.sh: Go is needed, for $module: https://go.dev/dl" >&2
    exit 2
}
tool=$(go env GOPATH)/bin/connectconformance
if ! go version -m "$tool" 2> /dev/null | grep "mod[[:space:]]$module[[:space:]]$version" > /dev/null; then
    go install "$module/cmd/connectconformance@$version"
fi
# The module's own folder: downloading it again costs nothing once it is there.
folder=$(go mod download -json "$module@$version" | sed -n 's/^\t"Dir": "\(.*\)",*$/\1/p')
export CONFORMANCE_PROTOS=$folder/proto

if [ -z "${MORTISE_BIN:-}" ]; then
    cargo build --quiet --manifest-path "$root/Cargo.toml"
    MORTISE_BIN=${CARGO_TARGET_DIR:-$root/target}/debug/mortise
fi
target=${CONFORMANCE_TARGET_DIR:-${CARGO_TARGET_DIR:-$root/target}/conformance}
(
    cd "$here"
    export CARGO_TARGET_DIR=$target
    cargo build --quiet --locked -p conformance-adapter
    cargo build --quiet --locked -p conformance-plugin --target wasm32-wasip2
)

export MORTISE=$(realpath "$MORTISE_BIN") CACHE=$target/compiled
export PLUGIN=$target/wasm32-wasip2/debug/conformance_plugin.wasm
log=$(mktemp)
trap 'rm -f "$log"' EXIT
failed=0
for ISOLATION in call reuse; do
    export ISOLATION
    echo "== conformance, isolation = \"$ISOLATION\""
    "$tool" --conf "$here/suite.yaml" --mode server "$@" -- "$target/debug/conformance-adapter" 2>&1 |
        tee "$log" || failed=1
done
exit "$failed"
