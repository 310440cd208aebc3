#!/usr/bin/env bash
# Installs what building needs: a C compiler, Rust, and a way to compile policies to Wasm.
. "$(dirname "$0")/lib.sh"

apt_install gcc libc6-dev make curl git ca-certificates pkg-config

if ! choose_cargo; then
  say "no Rust 1.95 or newer here: installing Debian's packages"
  apt_install rustc-web cargo-web
  choose_cargo || die "Debian's Rust is older than 1.95" "install rustup's stable Rust: https://rustup.rs"
fi
scripts/wasm-toolchain.sh
