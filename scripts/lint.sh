#!/usr/bin/env bash
# Formatting, lints, documentation, licences and advisories.
. "$(dirname "$0")/lib.sh"
prepare_cargo
"$cargo" fmt --all --check
"$cargo" clippy --workspace --all-targets -- -D warnings
RUSTDOCFLAGS="-D warnings" "$cargo" doc --workspace --no-deps --quiet
if "$cargo" deny --version >/dev/null 2>&1; then
  "$cargo" deny check licenses bans sources
else
  say "cargo-deny is not installed: licences not checked (cargo install cargo-deny)"
fi
