#!/usr/bin/env bash
# Fuzzes the host: each target for so many seconds, as many at once as there are processors.
#
#   fuzz/run.sh                     all targets, 60 seconds each
#   fuzz/run.sh 3600                all targets, an hour each
#   fuzz/run.sh 600 tokens config   these two, ten minutes each
#   fuzz/run.sh list                the names of the targets
#
# What is found stands in fuzz/found/TARGET; what reaches new code is kept in fuzz/corpus/TARGET, so that the next run
# begins where this one ended. CONTRIBUTING.md says what to do with a finding.
set -euo pipefail
cd "$(dirname "$0")/.."

# libFuzzer is C++, and comes as source.
if ! command -v "${CXX:-c++}" > /dev/null; then
    echo "fuzzing needs a C++ compiler: install g++ or clang, or set CXX." >&2
    echo "Without one, 'cargo test --lib fuzzing' tries all seeds and regressions." >&2
    exit 69
fi

export RUSTC_WORKSPACE_WRAPPER=$PWD/fuzz/instrument.sh
# Of the whole workspace, so that dependencies have the features that the tests have built them with.
cargo build --quiet --workspace --bin mortise-fuzz --features mortise-fuzz/libfuzzer
program=${CARGO_TARGET_DIR:-target}/debug/mortise-fuzz

if [ "${1:-}" = list ]; then
    exec "$program"
fi
seconds=${1:-60}
# Some targets read files. libFuzzer does not let them clean up.
TMPDIR=$(mktemp -d)
trap 'rm -rf "$TMPDIR"' EXIT
[ $# -gt 0 ] && shift
if [ $# -eq 0 ]; then
    mapfile -t targets < <("$program")
    set -- "${targets[@]}"
fi

# One target. Its output is shown only if it fails.
fuzz() {
    local target=$1 corpus=fuzz/corpus/$1 found=fuzz/found/$1 log
    mkdir -p "$corpus" "$found" fuzz/regressions/"$target"
    log=$(mktemp)
    if FUZZ_TARGET=$target FUZZ_SEEDS=$corpus "$program" "$corpus" fuzz/regressions/"$target" \
        -max_total_time="$seconds" -timeout=10 -rss_limit_mb=1024 -max_len=65536 -len_control=20 \
        -artifact_prefix="$found/" -print_final_stats=1 > "$log" 2>&1; then
        echo "$target: $(awk '/executed_units/ { print $2 }' "$log") inputs, nothing found"
        rm "$log"
    else
        tail -n 60 "$log" >&2
        echo "$target: FAILED; the input is in $found" >&2
        return 1
    fi
}
export -f fuzz
export program seconds TMPDIR
printf '%s\n' "$@" | xargs -P "$(nproc)" -I {} bash -c 'fuzz {}'
