#!/usr/bin/env bash
# The main job on real input: real clients in a sandbox, an HTTPS origin and two models on this machine.
. "$(dirname "$0")/lib.sh"
apt_install curl wget git python3 python3-requests
. scripts/demo/steps.sh

# ---- a world of its own, gone afterwards ------------------------------------------------------------------------
demo=$(mktemp -d /tmp/openshell-demo.XXXXXX)
chmod 755 "$demo"
export XDG_CONFIG_HOME=$demo/config XDG_STATE_HOME=$demo/state XDG_DATA_HOME=$demo/data PATH=$dist:$PATH
unset OPENSHELL_GATEWAY
# The demo needs no Docker, whether there is one here or not.
export OPENSHELL_RUNTIME=process
origins=()
finish() {
  code=$?
  [ $code = 0 ] || tail -n 20 "$demo"/state/openshell/*/*.log 2>/dev/null >&2 || true
  openshell sandbox delete demo >/dev/null 2>&1 || true
  openshell gateway stop >/dev/null 2>&1 || true
  [ ${#origins[@]} -eq 0 ] || kill "${origins[@]}" 2>/dev/null || true
  [ -n "${KEEP_DEMO:-}" ] || rm -rf "$demo"
  exit $code
}
trap finish EXIT

# origin NAME ARGUMENT… — starts one; its port is then in $port.
origin() {
  local name=$1 out=$demo/$1.port
  shift
  "$dist/openshell-origin" --name "$name" --log "$demo/$name.log" "$@" >"$out" &
  origins+=($!)
  for _ in $(seq 100); do [ -s "$out" ] && break; sleep 0.05; done
  port=$(cat "$out")
}

mkdir -p "$demo/www"
git init -q --bare "$demo/www/project.git"
git init -q "$demo/seed"
(cd "$demo/seed" && echo "hello from git" >README && git add README &&
  git -c user.name=Demo -c user.email=demo@example.test commit -qm "Say hello" && git push -q "$demo/www/project.git" HEAD:main)
git -C "$demo/www/project.git" symbolic-ref HEAD refs/heads/main
git -C "$demo/www/project.git" update-server-info
echo '{"status":"fine"}' >"$demo/www/status"

origin api --tls-name api.demo.test --ca-out "$demo/ca.pem" --dir "$demo/www"
api=https://api.demo.test:$port
origin cheap; cheap=http://127.0.0.1:$port/v1
origin home; home=http://127.0.0.1:$port/v1

inside() { openshell sandbox exec demo -- "$@"; }

# ---- 1 ----------------------------------------------------------------------------------------------------------
title 1 "a sandbox denies by default, and says why"
step "start the gateway" openshell gateway start --upstream-ca "$demo/ca.pem"
step "create a sandbox" openshell sandbox create --name demo --add-host api.demo.test:127.0.0.1
step "a probe inside it finds no way out" openshell sandbox verify demo
step "curl is refused with a reason" expect 'policy_denied' inside curl -sS "$api/status"

# ---- 2 ----------------------------------------------------------------------------------------------------------
title 2 "a policy of about 20 lines, written in Rust, pushed to the live sandbox"
step "openshell policy new" openshell policy new "$demo/policy" --name api-reader
cp scripts/demo/policy.rs "$demo/policy/src/lib.rs"
# Dependencies of a policy are compiled once, not once a demo.
mkdir -p "$target/demo-policy" && ln -s "$target/demo-policy" "$demo/policy/target"
show "$demo/policy/src/lib.rs"
step "openshell policy push" shown openshell policy push "$demo/policy" --sandbox demo
step "curl GET passes" expect '"status":"fine"' inside curl -sS "$api/status"
step "curl POST gets 403 with rule, digest and hint" expect_all '"rule":"read-only"' 'sha256:' '"hint"' -- inside curl -sS -X POST -d x=1 "$api/status"
step "git clone passes" expect 'hello from git' inside sh -c "rm -rf project && git clone -q $api/project.git && cat project/README"
step "python requests passes" expect 'fine' inside python3 -c "import requests; print(requests.get('$api/status').text)"
step "wget, another binary, is refused" expect '403' inside wget -nv -O- "$api/status"

# ---- 3 ----------------------------------------------------------------------------------------------------------
title 3 "a second version, pushed under a client that never stops sending"
inside python3 - "$api/status" <scripts/demo/load.py >"$demo/load.txt" 2>&1 &
load=$!
sleep 1.5
sed -i 's/"GET" | "HEAD")/"GET" | "HEAD" | "POST")/; s/"read-only"/"read-write"/' "$demo/policy/src/lib.rs"
sed -i 's/^version = .*/version = "0.2.0"/' "$demo/policy/Cargo.toml"
step "openshell policy push" shown openshell policy push "$demo/policy" --sandbox demo
step "POST passes now" expect '"method":"POST"' inside curl -sS -X POST -d x=1 "$api/items"
step "openshell policy rollback" openshell policy rollback demo
step "POST is refused again" expect '"rule":"read-only"' inside curl -sS -X POST -d x=1 "$api/items"
step "openshell policy history" shown openshell policy history demo
wait $load || true
step "the client saw no failure" expect ' 0 failed' cat "$demo/load.txt"

# ---- 4 ----------------------------------------------------------------------------------------------------------
title 4 "the same rules with no Rust"
sed "s/PORT/${api##*:}/" scripts/demo/rules.yaml >"$demo/rules.yaml"
show "$demo/rules.yaml"
step "openshell policy set" openshell policy set demo --policy "$demo/rules.yaml"
step "GET passes" expect '"status":"fine"' inside curl -sS "$api/status"
step "POST is refused" expect 'policy_denied' inside curl -sS -X POST -d x=1 "$api/status"

# ---- 5 ----------------------------------------------------------------------------------------------------------
title 5 "the privacy router: harmless prompts go out, sensitive ones stay home"
cheap_key=cheap-$RANDOM home_key=home-$RANDOM
export cheap_key home_key
step "store two keys" openshell provider create cheap-key --type generic --header authorization --host 127.0.0.1 --from-env cheap_key
step "" openshell provider create home-key --type generic --header authorization --host 127.0.0.1 --from-env home_key
step "add a public backend" openshell inference backend add cheap --kind openai --url "$cheap" --locality public --clearance public --provider cheap-key --input-price 0.10 --output-price 0.40
step "add a backend on this host" openshell inference backend add home --kind openai --url "$home" --locality host --clearance restricted --provider home-key --input-price 0.90 --output-price 0.90
ask() { # ask SESSION STREAM PROMPT
  inside curl -sS -N https://inference.local/v1/chat/completions -H 'Authorization: Bearer callers-own-key' \
    -H "x-openshell-session: $1" -H 'Content-Type: application/json' \
    -d "{\"model\":\"small\",\"stream\":$2,\"messages\":[{\"role\":\"user\",\"content\":\"$3\"}]}"
}
step "a harmless prompt goes to the cheap one" expect 'hello from cheap' ask a false 'What is the capital of France?'
step "so it does as a stream" expect '"content":"cheap"' ask a true 'What is the capital of France?'
step "a card number stays home" expect 'hello from home' ask b false 'My card is 4111 1111 1111 1111, is it valid?'
step "so it does as a stream" expect '"content":"home"' ask b true 'My card is 4111 1111 1111 1111, is it valid?'
step "and what that session says next stays home too" expect 'hello from home' ask b false 'Thank you.'
step "each backend saw its own key" expect_all "$cheap_key" -- cat "$demo/cheap.log"
step "" expect_all "$home_key" -- cat "$demo/home.log"
step "neither saw the caller's" expect_none 'callers-own-key' cat "$demo/cheap.log" "$demo/home.log"
step "the card never reached the public one" expect_none '4111' cat "$demo/cheap.log"

# ---- 6 ----------------------------------------------------------------------------------------------------------
title 6 "every decision is on record"
step "openshell decisions" shown openshell decisions --sandbox demo --limit 12

printf '\nAll %d steps did what they say. (%d s)\n' "$steps" "$SECONDS"
