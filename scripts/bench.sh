#!/usr/bin/env bash
# Measures with release builds and writes BENCHMARKS.md. Figures of one run on one machine: compare within it.
. "$(dirname "$0")/lib.sh"
prepare_cargo
apt_install python3 python3-requests python3-venv curl squid-openssl
peers=$target/peers
if [ ! -x "$peers/python/bin/mitmdump" ]; then
  say "installing mitmproxy in $peers/python"
  /usr/bin/python3 -m venv "$peers/python"
  "$peers/python/bin/pip" install --quiet --disable-pip-version-check mitmproxy
fi
if [ ! -x "$peers/litellm/bin/litellm" ]; then
  say "installing LiteLLM in $peers/litellm"
  /usr/bin/python3 -m venv "$peers/litellm" &&
    "$peers/litellm/bin/pip" install --quiet --disable-pip-version-check 'litellm[proxy]==1.108.7' || say "not installed: LiteLLM is not measured"
fi
portkey=$peers/portkey/node_modules/@portkey-ai/gateway/build/start-server.js
if [ ! -f "$portkey" ] && command -v npm >/dev/null; then
  say "installing Portkey's gateway in $peers/portkey"
  mkdir -p "$peers/portkey"
  (cd "$peers/portkey" && echo '{"private": true}' >package.json && npm install --silent --no-fund --no-audit @portkey-ai/gateway@1.15.2) ||
    say "not installed: Portkey's gateway is not measured"
fi
export LITELLM=$peers/litellm/bin/litellm PORTKEY=$portkey
say "building hudsucker"
"$cargo" build --release --quiet --manifest-path tests/bench/hudsucker/Cargo.toml --target-dir "$peers"
export MITMDUMP=$peers/python/bin/mitmdump HUDSUCKER=$peers/$host/release/hudsucker-peer
export OPENSHELL_BIN_DIR=$dist
DOCKER_HOST=$(scripts/docker-engine.sh images) && export DOCKER_HOST || say "no Docker engine: containers are not measured"
# Ten thousand connections at once, both of their ends.
ulimit -Hn 65536 2>/dev/null || say "fewer idle tunnels: $(ulimit -Hn) files may be open"
ulimit -n "$(ulimit -Hn)"
report=$(mktemp)
failed=()
# One part that fails does not take the others' figures with it; the report is kept only if all are there.
part() {
  "$dist/openshell-bench" "$@" || failed+=("$1")
}
{
  echo "# Benchmarks"
  echo
  echo "Written by \`make bench\` in one run: $(nproc) cores, $(sed -n 's/^model name\s*: //p' /proc/cpuinfo | head -1), Linux $(uname -r), $(date -u +%F)."
  echo "Median, and p99 in parentheses. The machine is shared: read the ratios."
  echo
  part decisions
  part chains
  part proxies
  part door
  part classify
  part inference
  part starts
  part swaps --count "${SWAPS:-10000}"
  part fleet
  part control
  part records
  part replay
} > >(tee "$report")
wait $!
if [ ${#failed[@]} -gt 0 ]; then
  say "failed: ${failed[*]}; the other figures are in $report"
  exit 1
fi
mv "$report" BENCHMARKS.md
