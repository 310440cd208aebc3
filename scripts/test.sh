#!/usr/bin/env bash
# Everything that must hold: unit and property tests, the hostile modules, and whole worlds through the CLI.
. "$(dirname "$0")/lib.sh"
prepare_cargo
scripts/test-tools.sh

export OPENSHELL_BIN_DIR=$dist
# What one test's gateway has compiled the others need not.
export OPENSHELL_COMPILE_CACHE=$target/compile-cache
# Tests of the docker runtime start an engine where none answers; it goes when they are done.
docker version >/dev/null 2>&1 || trap 'scripts/docker-engine.sh stop' EXIT
say "testing the workspace"
if "$cargo" nextest --version >/dev/null 2>&1; then
  "$cargo" test --doc --quiet --workspace 2>&1 | grep -v '^$' | tail -n 30
  # Many wait for clocks and other programs: more at a time than there are processors.
  "$cargo" nextest run --workspace --test-threads $((2 * $(nproc) + 1)) "$@"
else
  "$cargo" test --workspace "$@"
fi
