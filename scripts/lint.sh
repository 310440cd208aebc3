#!/usr/bin/env bash
# Formatting, lints, documentation, licences and advisories.
. "$(dirname "$0")/lib.sh"
choose_cargo || die "no Rust 1.95 or newer" "run: make setup"
"$cargo" fmt --all --check
"$cargo" clippy --workspace --all-targets -- -D warnings
RUSTDOCFLAGS="-D warnings" "$cargo" doc --workspace --no-deps --quiet
if "$cargo" deny --version >/dev/null 2>&1; then
  "$cargo" deny check licenses bans sources
else
  say "cargo-deny is not installed: licences not checked (cargo install cargo-deny)"
fi
