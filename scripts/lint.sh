#!/usr/bin/env bash
# Formatting, lints, documentation, licences and advisories.
. "$(dirname "$0")/lib.sh"
prepare_cargo
"$cargo" fmt --all --check
"$cargo" clippy --workspace --all-targets -- -D warnings
# Private items too: a module's documentation that is a map links to the rooms it leads to. Bare URLs: help texts have them.
RUSTDOCFLAGS="-D warnings -A rustdoc::private_intra_doc_links -A rustdoc::bare_urls" "$cargo" doc --workspace --no-deps --document-private-items --quiet
if "$cargo" deny --version >/dev/null 2>&1; then
  "$cargo" deny check licenses bans sources
else
  say "cargo-deny is not installed: licences not checked (cargo install cargo-deny)"
fi
