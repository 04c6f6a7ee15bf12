#!/usr/bin/env bash
# Runs the public gRPC conformance suite (connectrpc.com/conformance) against the host, through a plugin, in
# both isolation modes. Needs Go, which also brings the suite's protos. Fails unless every case passes, and there
# are as many as there must be: a case that is no longer selected, or could not be run, has proven nothing.
#
#   MORTISE_BIN              the host                               (default: built here)
#   CONFORMANCE_TARGET_DIR   where plugin and adapter are built     (default: target/conformance)
#
# Arguments go to connectconformance: tests/conformance/run.sh --run '**/unexpected-codec' --trace
# With arguments the number of cases is theirs.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
module=connectrpc.com/conformance
version=v1.0.5
# What this version derives from suite.yaml. Whoever changes either counts anew.
cases=743

CONFORMANCE_PROTOS=$(bash "$here/protos.sh")
export CONFORMANCE_PROTOS
tool=$(go env GOPATH)/bin/connectconformance
if ! go version -m "$tool" 2> /dev/null | grep "mod[[:space:]]$module[[:space:]]$version" > /dev/null; then
    go install "$module/cmd/connectconformance@$version"
fi

if [ -z "${MORTISE_BIN:-}" ]; then
    (cd "$root" && cargo build --quiet)
    MORTISE_BIN=${CARGO_TARGET_DIR:-$root/target}/debug/mortise
fi
target=${CONFORMANCE_TARGET_DIR:-${CARGO_TARGET_DIR:-$root/target}/conformance}
(
    cd "$here"
    export CARGO_TARGET_DIR=$target
    cargo build --quiet --locked -p conformance-adapter
    cargo build --quiet --locked -p conformance-plugin --target wasm32-wasip2
)

target=$(realpath "$target")
MORTISE=$(realpath "$MORTISE_BIN")
PLUGIN=$target/wasm32-wasip2/debug/conformance_plugin.wasm
CACHE=$target/compiled
export MORTISE PLUGIN CACHE
output=$(mktemp)
trap 'rm -f "$output"' EXIT
failed=0
for ISOLATION in call reuse; do
    export ISOLATION
    echo "== conformance, isolation = \"$ISOLATION\""
    # No list of cases that may fail.
    "$tool" --conf "$here/suite.yaml" --mode server "$@" -- "$target/debug/conformance-adapter" 2>&1 |
        tee "$output" || failed=1
    if grep "could not be run" "$output" > /dev/null; then
        echo "conformance: not every case was run" >&2
        failed=1
    elif [ $# = 0 ] && ! { grep -x "Total cases: $cases" "$output" && grep -x "$cases passed, 0 failed" "$output"; } > /dev/null; then
        echo "conformance: $cases cases must pass" >&2
        failed=1
    fi
done
exit "$failed"
