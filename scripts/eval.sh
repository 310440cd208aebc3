#!/usr/bin/env bash
# Scores the privacy router on labelled requests, beside detect-secrets and Presidio's pattern recognizers where they
# install, and writes EVALUATION.md. Builds only what it needs: no engine.
. "$(dirname "$0")/lib.sh"
prepare_cargo
"$cargo" build --release -p openshell-eval
eval=$target/$host/release/openshell-eval

peers=$target/eval
mkdir -p "$peers"
if [ ! -x "$peers/venv/bin/python" ]; then
  apt_install python3 python3-venv
  say "installing detect-secrets and presidio-analyzer into $peers/venv"
  python3 -m venv "$peers/venv" &&
    "$peers/venv/bin/pip" install -q detect-secrets==1.5.0 presidio-analyzer==2.2.366 ||
    say "not installed: only the router is scored"
fi
for split in tune held-out; do
  "$eval" generate --split "$split" >"$peers/$split.jsonl"
  "$peers/venv/bin/python" tests/eval/peers.py "$peers/$split.jsonl" "$split" "$peers" || say "peers failed on $split"
done
"$eval" report --others "$peers" | tee EVALUATION.md.new
mv EVALUATION.md.new EVALUATION.md
