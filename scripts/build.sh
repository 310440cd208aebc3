#!/usr/bin/env bash
# build.sh debug|release — the three binaries in target/dist.
#
# The supervisor is built apart: statically, and without the engine's compiler, which features of the gateway and the
# command line would otherwise switch on for the whole workspace.
. "$(dirname "$0")/lib.sh"
choose_cargo || die "no Rust 1.95 or newer" "run: make setup"

profile=${1:-debug}
flags=()
[ "$profile" = release ] && flags=(--release)
[ -d "$target" ] || say "first build: compiling the dependencies takes several minutes on two cores"

host=$("${RUSTC:-rustc}" -vV | sed -n 's/^host: //p')
"$cargo" build "${flags[@]}" -p openshell -p openshell-gateway --bins
RUSTFLAGS="${RUSTFLAGS:-} -C target-feature=+crt-static" \
  "$cargo" build "${flags[@]}" -p openshell-proxy --bin openshell-supervisor --target "$host"

mkdir -p "$dist"
# A running binary can't be written over: put the new ones beside, then rename.
for built in "$target/$profile/openshell" "$target/$profile/openshell-gateway" "$target/$host/$profile/openshell-supervisor"; do
  name=$(basename "$built")
  cmp -s "$built" "$dist/$name" || { cp "$built" "$dist/.$name.new" && mv -f "$dist/.$name.new" "$dist/$name"; }
done
