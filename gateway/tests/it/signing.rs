//! The key that signs what sandboxes enforce turns while they run: each learns in time, and what the old one signed is refused in the end.

use std::time::Duration;

use openshell_api::Page;
use openshell_api::audit::{AuditHead, AuditLink, Verifier};
use openshell_api::signing::GatewayKey;
use openshell_gateway::backup::{self, Restore};
use openshell_policy_host::SigningKey;
use reqwest::Method;
use serde_json::{Value, json};

use crate::process::{Gateway, Terms};
use crate::world::supervisor::{Mood, Supervisor};
use crate::world::{Database, World, allow};

with_both!(everything_is_signed_anew_and_the_key_before_is_let_go, what_the_key_protects_opens_after_it_turned);

async fn state(world: &World) -> Value {
    world.get("/v1/signing-key").await.ok()
}

async fn turn(world: &World) -> Value {
    world.post("/v1/signing-key/turn", Value::Null).await.ok()
}

fn signers(supervisor: &Supervisor) -> Vec<String> {
    let state = supervisor.state.lock().unwrap();
    supervisor.signers(&state).iter().map(GatewayKey::to_string).collect()
}

/// Waits until it trusts exactly these keys.
pub async fn trusts(supervisor: &Supervisor, keys: &[&Value]) {
    let mut wanted: Vec<&str> = keys.iter().map(|key| key.as_str().unwrap()).collect();
    wanted.sort_unstable();
    for _ in 0..500 {
        let mut found = signers(supervisor);
        found.sort_unstable();
        if found == wanted {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("{wanted:?}: {:?}", signers(supervisor));
}

/// Whether the audit trail holds for somebody who knows this key.
async fn holds(world: &World, key: &Value) -> bool {
    let head: AuditHead = world.request(Method::GET, "/v1/audit/head").send().await.unwrap().json().await.unwrap();
    let mut verifier = Verifier::new(head, key.as_str()).unwrap();
    let page = world.request(Method::GET, "/v1/audit?limit=1000").send().await.unwrap().text().await.unwrap();
    let page: Page<AuditLink> = serde_json::from_str(&page).unwrap();
    assert_eq!(page.next, None);
    page.items.iter().for_each(|link| verifier.take(link).unwrap());
    verifier.finish().is_ok_and(|(_, notices)| notices.is_empty())
}

async fn everything_is_signed_anew_and_the_key_before_is_let_go(on: Database) {
    let world = World::new(on).await;
    let module = world.rules().await;
    let ceiling = json!({ "bindings": [{ "module": module, "binding": "top", "settings": allow("one.test") }] });
    world.send(world.request(Method::PUT, "/v1/ceiling").json(&ceiling)).await.ok();
    let (near, far) = (world.sandbox("near").await, world.sandbox("far").await);
    world.sandbox("idle").await;
    world.push(&["near", "far", "idle"], "one.test").await.ok();
    world.post("/v1/sandboxes/idle/stop", Value::Null).await.ok();
    let first = state(&world).await;
    assert_eq!((&first["awaits"], &first["previous"], &first["next"]), (&json!([]), &Value::Null, &Value::Null));
    world.post("/v1/signing-key/finish", json!({})).await.problem(409, "signing_key_is_not_turning");

    far.disconnect();
    world.until("/v1/sandboxes/far", |sandbox| sandbox["connected"] == false).await;
    let (before, number) = (near.content(), near.generation());
    let bytes = near.state.lock().unwrap().artifact_bytes;
    let turned = turn(&world).await;
    assert_ne!(turned["key"], first["key"]);
    assert_eq!((&turned["previous"], &turned["next"]), (&first["key"], &Value::Null));
    assert_eq!(turned["awaits"], json!(["far"]));
    trusts(&near, &[&turned["key"], &first["key"]]).await;
    let after = near.content();
    assert_eq!(near.generation(), number + 1);
    for (old, new) in before.bindings().zip(after.bindings()) {
        assert!(old.is_same_policy(new) && old.artifact != new.artifact, "{old:?} {new:?}");
    }
    assert_eq!(before.bindings().count(), after.bindings().count());
    let sent = near.state.lock().unwrap().artifact_bytes - bytes;
    assert!(sent < 4096, "what differs is a signature: {sent} bytes");
    let ceiling = world.get("/v1/ceiling").await.ok().to_string();
    assert!(ceiling.contains(&after.ceiling[0].artifact), "{ceiling}");

    world.post("/v1/signing-key/turn", Value::Null).await.problem(409, "signing_key_is_turning");
    let refused = world.post("/v1/signing-key/finish", json!({})).await.problem(409, "sandboxes_await");
    assert!(refused["detail"].as_str().unwrap().contains("far"), "{refused}");
    world.push(&["near"], "two.test").await.ok();

    // A gateway that starts again goes on; one that was away learns, and then gets what the new key signed.
    let world = world.restart().await;
    assert_eq!(state(&world).await["previous"], first["key"]);
    assert_eq!(signers(&far), [first["key"].as_str().unwrap()]);
    far.connect();
    near.connect();
    world.until("/v1/signing-key", |state| state["awaits"] == json!([])).await;
    assert_eq!((far.generation(), far.content().chain), (number + 1, after.chain));

    let finished = world.post("/v1/signing-key/finish", json!({})).await.ok();
    assert_eq!(finished, json!({ "key": turned["key"], "awaits": [] }));
    for supervisor in [&near, &far] {
        trusts(supervisor, &[&turned["key"]]).await;
    }
    // One that was stopped all the time starts with what the new key signed, and so does a new one.
    world.post("/v1/sandboxes/idle/start", Value::Null).await.ok();
    let new = world.sandbox("new").await;
    for supervisor in [world.runtime.seat("idle").supervisor, new] {
        trusts(&supervisor, &[&turned["key"]]).await;
    }
    assert_eq!(world.generation("idle").await, number + 1);
    // What was only signed anew is nothing to go back to.
    world.post("/v1/sandboxes/far/rollback", json!({})).await.ok();
    assert_eq!(far.content().chain, []);
    world.push(&["near", "far", "idle", "new"], "three.test").await.ok();

    for key in [&first["key"], &turned["key"]] {
        assert!(holds(&world, key).await, "{key}");
    }
    assert!(!holds(&world, &json!(GatewayKey::of(&SigningKey::from_bytes(&[7; 32])))).await);
    for action in ["signing_key.turn", "signing_key.change", "signing_key.renew", "signing_key.finish"] {
        let told = world.items(&format!("/v1/audit?action={action}")).await;
        let done = told.as_array().unwrap().iter().filter(|link| link["entry"]["outcome"] == "done").count();
        assert_eq!(done, 1, "{action}: {told}");
    }
    // It turns again, also for those that were told last time.
    let again = turn(&world).await;
    assert_eq!((&again["previous"], &again["awaits"]), (&turned["key"], &json!([])));
    assert!(holds(&world, &first["key"]).await);
}

async fn what_the_key_protects_opens_after_it_turned(on: Database) {
    let world = World::new(on).await;
    world.user("vera", "viewer").await;
    let ask = async |world: &World| {
        let call = world.request(Method::POST, "/v1/users/vera/tokens").header("idempotency-key", "once");
        world.send(call.json(&json!({ "name": "kept" }))).await
    };
    let answer = ask(&world).await.ok();
    let key = std::fs::read_to_string(world.dir.path().join("state/signing.key")).unwrap();
    turn(&world).await;
    let again = ask(&world).await;
    assert!(again.replayed);
    assert_eq!(again.ok(), answer);
    // The secret of the key before is nowhere any more, though it is trusted still.
    let state = world.dir.path().join("state");
    for file in ["signing.key", "signing-turn.json"] {
        assert!(!std::fs::read_to_string(state.join(file)).unwrap().contains(key.trim()), "{file}");
    }
    let world = world.restart().await;
    world.post("/v1/signing-key/finish", json!({})).await.ok();
    let world = world.restart().await;
    assert_eq!(ask(&world).await.ok(), answer);
    assert_eq!(world.items("/v1/audit?action=audit.broken").await, json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_key_signs_nothing_before_all_that_are_linked_trust_it() {
    let world = World::new(Database::Sqlite).await;
    let (quick, slow) = (world.sandbox("quick").await, world.sandbox("slow").await);
    slow.mood(Mood::DeafToKeys);
    let first = state(&world).await;
    let begun = turn(&world).await;
    assert_eq!((&begun["key"], &begun["previous"], &begun["awaits"]), (&first["key"], &Value::Null, &json!(["slow"])));
    trusts(&quick, &[&first["key"], &begun["next"]]).await;
    world.push(&["quick", "slow"], "one.test").await.ok();
    let refused = world.post("/v1/signing-key/finish", json!({})).await.problem(409, "sandboxes_await");
    assert!(refused["detail"].as_str().unwrap().contains("slow"), "{refused}");
    // Said again, it is the same turn; and a gateway that starts again is in it.
    assert_eq!(turn(&world).await["next"], begun["next"]);
    let world = world.restart().await;
    slow.connect();
    quick.connect();
    world.until("/v1/sandboxes/slow", |sandbox| sandbox["connected"] == true).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(state(&world).await["next"], begun["next"]);

    // New ones trust both at once.
    let new = world.sandbox("new").await;
    trusts(&new, &[&first["key"], &begun["next"]]).await;
    slow.mood(Mood::Fine);
    slow.connect();
    let turned =
        world.until("/v1/signing-key", |state| state["previous"].is_string() && state["awaits"] == json!([])).await;
    assert_eq!((&turned["key"], &turned["previous"]), (&begun["next"], &first["key"]));
    world.post("/v1/signing-key/finish", json!({})).await.ok();
    for supervisor in [&quick, &slow, &new] {
        trusts(supervisor, &[&turned["key"]]).await;
    }
    world.push(&["quick", "slow", "new"], "two.test").await.ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_can_not_be_told_holds_the_turn_up_until_it_is_started_anew() {
    let world = World::new(Database::Sqlite).await;
    let older = world.sandbox("older").await;
    older.mood(Mood::KnowsNoKeys);
    older.connect();
    world.until("/v1/sandboxes/older", |sandbox| sandbox["connected"] == true).await;
    world.push(&["older"], "one.test").await.ok();
    let begun = turn(&world).await;
    assert_eq!(begun["awaits"], json!(["older"]));
    world.push(&["older"], "two.test").await.ok();
    world.post("/v1/sandboxes/older/stop", Value::Null).await.ok();
    let turned = world.until("/v1/signing-key", |state| state["previous"].is_string()).await;
    assert_eq!(turned["key"], begun["next"]);
    world.post("/v1/sandboxes/older/start", Value::Null).await.ok();
    world.until("/v1/signing-key", |state| state["awaits"] == json!([])).await;
    world.post("/v1/signing-key/finish", json!({})).await.ok();
    world.push(&["older"], "three.test").await.ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn with_force_nobody_is_waited_for_and_who_was_away_learns_by_the_voucher() {
    let world = World::new(Database::Sqlite).await;
    let (away, deaf) = (world.sandbox("away").await, world.sandbox("deaf").await);
    away.disconnect();
    deaf.mood(Mood::DeafToKeys);
    world.until("/v1/sandboxes/away", |sandbox| sandbox["connected"] == false).await;
    let first = turn(&world).await;
    let finished = world.post("/v1/signing-key/finish", json!({ "force": true })).await.ok();
    assert_eq!((&finished["key"], &finished["previous"]), (&first["next"], &Value::Null));
    assert_eq!(finished["awaits"], json!(["deaf"]), "one that is away learns before anything is signed for it");
    for supervisor in [&away, &deaf] {
        supervisor.mood(Mood::Fine);
        supervisor.connect();
        trusts(supervisor, &[&finished["key"]]).await;
    }
    world.push(&["away", "deaf"], "one.test").await.ok();
    // Twice more while it is away: one word leads to the next.
    away.disconnect();
    world.until("/v1/sandboxes/away", |sandbox| sandbox["connected"] == false).await;
    for _ in 0..2 {
        turn(&world).await;
        world.post("/v1/signing-key/finish", json!({ "force": true })).await.ok();
    }
    away.connect();
    trusts(&away, &[&state(&world).await["key"]]).await;
    world.until("/v1/sandboxes/away", |sandbox| sandbox["generation"] == 5).await;
    world.push(&["away", "deaf"], "two.test").await.ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollout_and_a_shadow_are_what_they_were() {
    let world = World::new(Database::Sqlite).await;
    for name in ["a", "b", "c"] {
        world.post("/v1/sandboxes", json!({ "name": name, "labels": { "team": "red" } })).await.ok();
    }
    let module = world.rules().await;
    let push = json!({ "selector": { "team": "red" }, "module": module, "settings": allow("old.test") });
    world.post("/v1/pushes", push).await.ok();
    let shadow = json!({ "sandboxes": ["c"], "module": module, "binding": "try", "settings": allow("new.test"), "shadow": true });
    world.post("/v1/pushes", shadow).await.ok();
    let since = world.items("/v1/sandboxes/c/shadows").await[0]["since"].clone();
    assert!(since.is_string(), "{since}");
    let push = json!({ "selector": { "team": "red" }, "module": module, "settings": allow("new.test"),
        "canary": { "percent": 34, "max_failures": 0 } });
    let rollout = world.post("/v1/pushes", push).await.ok()["rollout"].as_str().unwrap().to_owned();
    let path = format!("/v1/rollouts/{rollout}");
    let waiting = world.get(&path).await.ok()["waiting"].clone();
    turn(&world).await;
    world.post("/v1/signing-key/finish", json!({})).await.ok();
    assert_eq!(world.get(&path).await.ok()["waiting"], waiting);
    assert_eq!(world.items("/v1/sandboxes/c/shadows").await[0]["since"], since);
    world.post(&format!("{path}/rollback"), json!({})).await.ok();
    for name in ["a", "b", "c"] {
        let chain = world.runtime.seat(name).supervisor.content().chain;
        assert!(chain.len() == 1 && chain[0].settings == allow("old.test"), "{name}: {chain:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_is_of_one_key_and_an_older_one_says_who_does_not_trust_it() {
    let world = World::new(Database::Sqlite).await;
    let a = world.sandbox("a").await;
    world.push(&["a"], "one.test").await.ok();
    let directory = world.dir.path().join("state");
    let made = async || backup::create(&directory, None, Vec::new()).await.unwrap().out;
    let put = async |state: &std::path::Path, backup: &[u8]| {
        backup::restore(state, Restore { input: backup, passphrase: None, force: true }).await.unwrap()
    };
    let older = made().await;
    let first = state(&world).await;
    let making = async {
        let mut backups = Vec::new();
        for _ in 0..4 {
            backups.push(made().await);
        }
        backups
    };
    let (meanwhile, turned) = tokio::join!(making, turn(&world));
    let during = made().await;
    for backup in meanwhile.iter().chain([&during]) {
        let other = tempfile::tempdir().unwrap();
        put(&other.path().join("state"), backup).await;
        let there = World::at(other).await;
        // One that had just turned has yet to write it down.
        let began = std::time::Instant::now();
        while !holds(&there, &first["key"]).await {
            assert!(began.elapsed() < Duration::from_secs(10));
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        // Nobody is linked there, and the turn ends all the same.
        let moment = state(&there).await;
        let known = [&moment["key"], &moment["previous"]].contains(&&first["key"]);
        assert!(known, "{moment}");
        if moment["next"].is_string() || moment["previous"].is_string() {
            there.until("/v1/signing-key", |state| state["previous"] == first["key"]).await;
            there.post("/v1/signing-key/finish", json!({ "force": true })).await.ok();
        }
    }
    world.post("/v1/signing-key/finish", json!({})).await.ok();
    trusts(&a, &[&turned["key"]]).await;

    let world = world.changed_meanwhile(async |state| drop(put(state, &older).await)).await;
    assert_eq!(state(&world).await["key"], first["key"]);
    a.connect();
    // It is linked, goes on enforcing what it did, and takes nothing.
    world.until("/v1/signing-key", |state| state["awaits"] == json!(["a"])).await;
    let enforced = a.generation();
    let refused = world.push(&["a"], "two.test").await.problem(409, "not_staged");
    assert!(refused["detail"].as_str().unwrap().contains("does not trust this gateway's signing key"), "{refused}");
    assert_eq!(a.generation(), enforced);
    assert_eq!(signers(&a), [turned["key"].as_str().unwrap()]);
    world.post("/v1/sandboxes/a/stop", Value::Null).await.ok();
    world.post("/v1/sandboxes/a/start", Value::Null).await.ok();
    world.push(&["a"], "two.test").await.ok();
    assert_eq!(state(&world).await["awaits"], json!([]));
}

/// Starts a gateway that was killed. What stands for its supervisors lives on.
async fn again(terms: &Terms, killed: Gateway) -> Gateway {
    std::mem::forget(killed);
    terms.start("a").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_is_killed_anywhere_in_a_turn_goes_on() {
    let terms = Terms::alone();
    let mut gateway = terms.start("a").await;
    let supervisor = gateway.sandbox("s").await;
    gateway.push(&["s"], "one.test").await.unwrap().ok();
    let mut key = gateway.get("/v1/signing-key").await.ok()["key"].clone();
    for after_ms in [0, 5, 15, 30, 70, 110] {
        let turning = gateway.ask(Method::POST, "/v1/signing-key/turn", Some(Value::Null));
        let _ = tokio::time::timeout(Duration::from_millis(after_ms), turning).await;
        gateway.kill();
        gateway = again(&terms, gateway).await;
        let found = gateway.get("/v1/signing-key").await.ok();
        if found["key"] == key && found["next"].is_null() {
            // It had not begun.
            gateway.post("/v1/signing-key/turn", Value::Null).await.ok();
        }
        let turned = gateway
            .until("/v1/signing-key", |state| state["previous"].is_string() && state["awaits"] == json!([]))
            .await;
        assert_eq!(turned["previous"], key, "after {after_ms} ms: {found}");
        let finishing = gateway.ask(Method::POST, "/v1/signing-key/finish", Some(json!({})));
        let _ = tokio::time::timeout(Duration::from_millis(after_ms), finishing).await;
        gateway.kill();
        gateway = again(&terms, gateway).await;
        let found = gateway.until("/v1/signing-key", |state| state["awaits"] == json!([])).await;
        if found["previous"].is_string() {
            gateway.post("/v1/signing-key/finish", json!({})).await.ok();
        }
        key = turned["key"].clone();
        trusts(&supervisor, &[&key]).await;
        gateway.push(&["s"], &format!("after-{after_ms}.test")).await.unwrap().ok();
    }
    assert_eq!(gateway.get("/v1/audit?action=audit.broken").await.ok()["items"], json!([]));
}
