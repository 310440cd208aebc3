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
ulimit -n "$(ulimit -Hn)"
report=$(mktemp)
{
  echo "# Benchmarks"
  echo
  echo "Written by \`make bench\` in one run: $(nproc) cores, $(sed -n 's/^model name\s*: //p' /proc/cpuinfo | head -1), Linux $(uname -r), $(date -u +%F)."
  echo "Median, and p99 in parentheses. The machine is shared: read the ratios."
  echo
  "$dist/openshell-bench" decisions
  "$dist/openshell-bench" chains
  "$dist/openshell-bench" proxies
  "$dist/openshell-bench" door
  "$dist/openshell-bench" classify
  "$dist/openshell-bench" inference
  "$dist/openshell-bench" starts
  "$dist/openshell-bench" swaps --count "${SWAPS:-10000}"
  "$dist/openshell-bench" fleet
  "$dist/openshell-bench" records
  "$dist/openshell-bench" replay
} | tee "$report"
mv "$report" BENCHMARKS.md
