#!/usr/bin/env bash
# build.sh debug|release [tests] — the binaries, in target/dist; with `tests`, together with all tests, in one go.
#
# The supervisor is built a second time by itself, without the engine's compiler: features that the gateway and the
# command line ask for would otherwise be switched on for the whole workspace. What is released of it, and of the gateway, is optimised as
# a whole (profile `production`).
. "$(dirname "$0")/lib.sh"
prepare_cargo

case ${1:-debug} in
  debug) profile=debug flags=() production=debug optimised=() ;;
  release) profile=release flags=(--release) production=production optimised=(--profile production) ;;
  *) die "no such build: $1" "debug or release" ;;
esac
[ -d "$target/$host/$profile" ] || say "first build: compiling the dependencies, and the Wasm standard library where it is missing, takes many minutes on two cores"

if [ "${2:-}" = tests ]; then
  "$cargo" test "${flags[@]}" --workspace --no-run
else
  "$cargo" build "${flags[@]}" --workspace --bins
fi
"$cargo" build "${optimised[@]}" -p openshell-proxy --bin openshell-supervisor
[ "$production" = "$profile" ] || "$cargo" build "${optimised[@]}" -p openshell-gateway --bin openshell-gateway

mkdir -p "$dist"
for name in openshell openshell-gateway openshell-supervisor openshell-origin openshell-bench; do
  built=$target/$host/$profile/$name
  case $name in openshell-supervisor | openshell-gateway) built=$target/$host/$production/$name ;; esac
  [ -x "$built" ] || continue
  # A running binary can't be written over: put the new one beside it, then rename.
  cmp -s "$built" "$dist/$name" || { cp "$built" "$dist/.$name.new" && mv -f "$dist/.$name.new" "$dist/$name"; }
done
