#!/usr/bin/env bash
# fuzz.sh [SECONDS] [TARGET…] — coverage-guided fuzzing, so long for each target (default 60); all targets by default.
# What is found new stays in target/fuzz/corpus for the next run.
. "$(dirname "$0")/lib.sh"
prepare_cargo
apt_install g++

seconds=${1:-60}
shift || true
targets=("$@")
[ ${#targets[@]} -gt 0 ] || targets=(first_bytes names paths dns addresses rules artifacts)

# libFuzzer's own instrumentation, with the compiler flags that cargo-fuzz uses, minus what needs a nightly compiler.
export RUSTFLAGS="--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
-Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1"
say "building the fuzz targets"
"$cargo" build --release --manifest-path tests/fuzz/Cargo.toml --target-dir "$target/fuzz"
for name in "${targets[@]}"; do
  corpus=$target/fuzz/corpus/$name
  mkdir -p "$corpus"
  say "fuzzing $name for $seconds s"
  log=$target/fuzz/$name.log
  if ! "$target/fuzz/$host/release/$name" -max_total_time="$seconds" -timeout=5 -rss_limit_mb=1024 -print_final_stats=1 \
    -artifact_prefix="$target/fuzz/$name-" "$corpus" "tests/fuzz/seeds/$name" >"$log" 2>&1; then
    tail -n 30 "$log" >&2
    die "$name failed" "the input is in $target/fuzz/$name-*; run it: $target/fuzz/$host/release/$name FILE"
  fi
  grep 'number_of_executed_units\|average_exec_per_sec' "$log"
done
