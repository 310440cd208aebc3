#!/bin/sh
# build.sh [OUT] — makes a component of read_only.py with componentize-py (PyPI). `--stub-wasi` puts stand-ins that trap in the place
# of every WASI import, so the component needs no grant: it can reach nothing but what the contract's world `policy` offers.
set -eu
out=$(realpath "${1:-policy.wasm}")
cd "$(dirname "$0")"
# A module of the world's name would hide the bindings.
exec "${COMPONENTIZE_PY:-componentize-py}" --wit-path ../../policy-sdk/wit --world policy componentize --stub-wasi read_only --output "$out"
