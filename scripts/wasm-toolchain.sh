#!/usr/bin/env bash
# Readies this machine to compile policies to WebAssembly: the target through rustup, or where rustup can't download it,
# Debian's compiler with its library sources, from which the first build of a policy makes the standard library, once.
# Safe to run again: what is there stays as it is.
set -euo pipefail
cd "$(dirname "$0")/.."

target=wasm32-unknown-unknown
say() { printf '\033[2m%s\033[0m\n' "wasm: $*" >&2; }

has_target() {
    local libraries
    libraries=$("$1" --print target-libdir --target "$target" 2>/dev/null) || return 1
    compgen -G "$libraries/libstd-*.rlib" >/dev/null
}

has_sources() {
    local sysroot
    sysroot=$("$1" --print sysroot 2>/dev/null) || return 1
    [ -f "$sysroot/lib/rustlib/src/rust/library/std/Cargo.toml" ]
}

ready() {
    has_target rustc || has_target /usr/bin/rustc || {
        { has_sources rustc || has_sources /usr/bin/rustc; } && command -v wasm-ld >/dev/null
    }
}

if ! ready && command -v rustup >/dev/null; then
    say "asking rustup for $target (up to 60 s)"
    timeout 60 rustup target add "$target" >/dev/null 2>&1 || say "rustup cannot download here"
fi

if ! ready; then
    if ! command -v apt-get >/dev/null; then
        echo "error: no Rust toolchain here can build for $target" >&2
        echo "hint: run \`rustup target add $target\`, or install a Rust compiler with its library sources and lld" >&2
        exit 1
    fi
    say "installing Debian's compiler with library sources: rustc-web cargo-web rust-web-src lld"
    as_root() { if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo "$@"; fi; }
    export DEBIAN_FRONTEND=noninteractive
    as_root apt-get update -qq
    as_root apt-get install -y -qq --no-install-recommends rustc-web cargo-web rust-web-src lld >/dev/null
fi
