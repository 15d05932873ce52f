#!/bin/sh
# Fuzz the capture reader, meter and export under ASan and UBSan (libFuzzer).
#
#   bpf/fuzz/run.sh SECONDS [SEEDS...]     fuzz, starting from the captures in the folders SEEDS
#   bpf/fuzz/run.sh --build FILE           only build the fuzzer
#   bpf/fuzz/run.sh --replay FILE          only build the program that replays files (needs no libFuzzer)
#
# Exit: 0 nothing found, 1 a crash (its input is kept and named), 3 clang's sanitizer run-time is not installed.
# What was learned is kept in LM_FUZZ_CORPUS, default ~/.cache/loomidi/fuzz/meter.
set -eu
cd "$(dirname "$0")"
sources="meter.c ../meter.c ../absorb.c ../export.c ../capture.c ../window.c ../pcapng.c ../columns.c ../schema.c
    ../interface.c ../recent.c ../table.c"
# Small buffers: their edges are met in inputs of a few hundred octets.
flags="-g -O1 -std=gnu11 -Wall -Wextra -I../include -DLM_WINDOW=4096U -DLM_LOOK=2048U -DLM_RAW=512U -DLM_CHUNK_BITS=4U -DLM_HUGE_PAGE=4096U -fno-sanitize-recover=all"

build() {
    # shellcheck disable=SC2086
    ${CLANG:-clang} $flags -fsanitize=fuzzer,address,undefined $sources -o "$1" -lz -lm 2>"$1.log" && return 0
    if grep -q 'libclang_rt\|cannot find' "$1.log"; then
        echo "fuzz: clang has no sanitizer run-time; install libclang-rt-dev of its version" >&2
        exit 3
    fi
    cat "$1.log" >&2
    exit 1
}

case ${1:-} in
--build)
    build "$2"
    exit 0
    ;;
--replay)
    # shellcheck disable=SC2086
    exec ${CC:-cc} $flags -DLM_REPLAY -fsanitize=address,undefined $sources -o "$2" -lz -lm
    ;;
esac

seconds=${1:-60}
[ $# -eq 0 ] || shift
corpus=${LM_FUZZ_CORPUS:-$HOME/.cache/loomidi/fuzz/meter}
mkdir -p "$corpus" "$corpus.crashes"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
build "$work/meter"
"$work/meter" -max_total_time="$seconds" -max_len=16384 -timeout=10 -rss_limit_mb=1024 -print_final_stats=1 \
    -verbosity=0 -artifact_prefix="$corpus.crashes/" "$corpus" "$@" 2>"$work/log" || {
    tail -40 "$work/log" >&2
    echo "fuzz: found a crash; its input is in $corpus.crashes" >&2
    exit 1
}
awk '/number_of_executed_units/ {print "fuzz: " $2 " inputs in '"$seconds"' s, nothing found"}' "$work/log"
