#!/usr/bin/env bash
# The store's benchmark on a disk whose fsyncs take longer, as those of most servers do: what calls gain by sharing an
# fsync, and what a lone call adds to one, depends on that. Every fsync of the benchmark and of the servers that it
# starts is delayed, also those of the bare writes that they are measured by.
#
#   benches/store/slow-disk.sh              calls, with 2 ms more for each fsync
#   benches/store/slow-disk.sh 5 calls      5 ms
set -euo pipefail
cd "$(dirname "$0")/../.."
ms=${1:-2}
[ $# -gt 0 ] && shift
[ $# -gt 0 ] || set -- calls

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat > "$folder/slow.c" << 'C'
#define _GNU_SOURCE
#include <dlfcn.h>
#include <time.h>

static int slow(const char *name, int file) {
    static const struct timespec delay = {0, DELAY_MS * 1000000L};
    int (*sync)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
    nanosleep(&delay, 0);
    return sync(file);
}

int fsync(int file) { return slow("fsync", file); }
int fdatasync(int file) { return slow("fdatasync", file); }
C
cc -O2 -shared -fPIC -DDELAY_MS="$ms" -o "$folder/slow.so" "$folder/slow.c"
# Built first, at the disk's own speed.
cargo bench --workspace --bench store --no-run
LD_PRELOAD=$folder/slow.so cargo bench --workspace --bench store -- "$@"
