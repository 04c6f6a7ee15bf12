#!/bin/sh
# Cargo calls it in place of rustc for the crates of this workspace (RUSTC_WORKSPACE_WRAPPER): the host, and the
# program that fuzzes it, are compiled so that libFuzzer sees which code an input reaches and what it compares.
# Dependencies are left alone. They are then the same as in any other build, wasmtime above all, and are not
# compiled once more. All of this is in stable Rust.
set -eu
case " $* " in
    *" --crate-name mortise "* | *" --crate-name mortise_fuzz "*) ;;
    *) exec "$@" ;;
esac
exec "$@" --cfg fuzzing \
    -Cpasses=sancov-module \
    -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares
