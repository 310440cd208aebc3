#!/usr/bin/env bash
# Readies this machine to compile policies to WebAssembly: the target through rustup, or where rustup can't download it,
# Debian's compiler with its library sources, from which the first build of a policy makes the standard library, once.
# Safe to run again: what is there stays as it is.
. "$(dirname "$0")/lib.sh"

triple=wasm32-unknown-unknown

has_target() {
    local libraries
    libraries=$("$1" --print target-libdir --target "$triple" 2>/dev/null) || return 1
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
    say "asking rustup for $triple (up to 60 s)"
    timeout 60 rustup target add "$triple" >/dev/null 2>&1 || say "rustup cannot download here"
fi

if ! ready; then
    if ! command -v apt-get >/dev/null; then
        echo "error: no Rust toolchain here can build for $triple" >&2
        echo "hint: run \`rustup target add $triple\`, or install a Rust compiler with its library sources and lld" >&2
        exit 1
    fi
    apt_install rustc-web cargo-web rust-web-src lld
fi
