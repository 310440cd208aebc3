//! The CA and the signing key of gateways that share a database turn while all of them run: real processes, a real PostgreSQL.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use openshell_api::Page;
use openshell_api::audit::{AuditHead, AuditLink, Verifier};
use reqwest::Method;
use serde_json::{Value, json};

use crate::process::{Gateway, client};
use crate::replicas::{trio, until, verified};
use crate::signing::trusts;
use crate::world::Answer;
use crate::world::supervisor::{Mood, Supervisor};

pub const NAMES: [&str; 3] = ["on-a", "on-b", "on-c"];

pub async fn sandboxes(gateways: &[Gateway; 3]) -> Vec<Supervisor> {
    let mut supervisors = Vec::new();
    for (gateway, name) in gateways.iter().zip(NAMES) {
        supervisors.push(gateway.sandbox(name).await);
    }
    for supervisor in &supervisors {
        until(|| supervisor.state.lock().unwrap().gateways.len() == 3).await;
    }
    linked(&gateways[0]).await;
    gateways[0].push(&NAMES, "warm.test").await.unwrap().ok();
    supervisors
}

pub async fn linked(gateway: &Gateway) {
    let all = |rows: &Value| rows["items"].as_array().unwrap().iter().all(|row| row["connected"] == true);
    gateway.until("/v1/sandboxes", all).await;
}

/// Pushes to all sandboxes by each gateway in turn, until `done`: none fails. Answers how many there were.
async fn traffic(gateways: &[Gateway; 3], done: &AtomicBool) -> u32 {
    let mut count = 0;
    while !done.load(Ordering::Relaxed) {
        for gateway in gateways {
            gateway.push(&NAMES, &format!("h{count}.test")).await.expect("it is there").ok();
            count += 1;
        }
    }
    count
}

/// Whether whoever trusts this CA alone, and never talked to it, talks to a gateway.
pub async fn talks(gateway: &Gateway, ca: &[u8]) -> bool {
    let asked = client(ca).get(format!("{}/healthz", gateway.url())).send().await;
    asked.is_ok_and(|answer| answer.status().is_success())
}

pub async fn until_talks(gateway: &Gateway, ca: &[u8], wanted: bool) {
    for _ in 0..100 {
        if talks(gateway, ca).await == wanted {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{}: {wanted}", gateway.url());
}

/// Certificates that a supervisor was told to trust.
pub fn told(supervisor: &Supervisor) -> usize {
    let state = supervisor.state.lock().unwrap();
    state.trusted.as_ref().map_or(0, |(_, pem)| pem.matches("BEGIN CERTIFICATE").count())
}

/// The trail, for somebody who knows this key.
async fn holds(gateway: &Gateway, key: &Value) {
    let head: AuditHead = gateway.request(Method::GET, "/v1/audit/head").send().await.unwrap().json().await.unwrap();
    let mut verifier = Verifier::new(head, key.as_str()).unwrap();
    let page = gateway.request(Method::GET, "/v1/audit?limit=1000").send().await.unwrap().text().await.unwrap();
    let page: Page<AuditLink> = serde_json::from_str(&page).unwrap();
    page.items.iter().for_each(|link| verifier.take(link).unwrap());
    let (_, notices) = verifier.finish().unwrap();
    assert!(notices.is_empty(), "{notices:?}");
}

async fn unbroken(gateway: &Gateway) {
    assert_eq!(gateway.get("/v1/audit?action=audit.broken").await.ok()["items"], json!([]));
}

/// The trail agrees with itself, for somebody who knows this key too, and nothing in it was found broken.
pub async fn sound(gateway: &Gateway, key: &Value) {
    verified(gateway).await;
    holds(gateway, key).await;
    unbroken(gateway).await;
}

pub async fn turn(gateway: &Gateway, what: &str) -> Value {
    gateway.post(&format!("/v1/{what}/turn"), Value::Null).await.ok()
}

pub async fn finish(gateway: &Gateway, what: &str) -> Answer {
    gateway.post(&format!("/v1/{what}/finish"), json!({})).await
}

/// Waits until the key has turned and nobody is waited for.
pub async fn turned(gateway: &Gateway) -> Value {
    let nobody = |state: &Value| state["awaits"] == json!([]) && state["gateways"].is_null();
    gateway.until("/v1/signing-key", |state| state["previous"].is_string() && nobody(state)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_authority_turns_under_load_and_every_gateway_serves_the_new_one() {
    let (_terms, mut gateways) = trio().await;
    let supervisors = sandboxes(&gateways).await;
    let old = gateways[0].ca();
    let first = gateways[0].get("/v1/authority").await.ok();
    let done = AtomicBool::new(false);
    let turning = async {
        let [a, b, c] = &gateways;
        let state = turn(b, "authority").await;
        assert_eq!((&state["previous"], &state["awaits"]), (&first["fingerprint"], &json!([])), "{state}");
        assert_ne!(state["fingerprint"], first["fingerprint"]);
        assert!(state["gateways"].is_null(), "{state}");
        for gateway in [a, c] {
            assert_eq!(gateway.get("/v1/authority").await.ok(), state);
            gateway.post("/v1/authority/turn", Value::Null).await.problem(409, "authority_is_turning");
        }
        assert!(supervisors.iter().all(|supervisor| told(supervisor) == 2));
        let new = b.ca();
        for gateway in [a, b, c] {
            assert_eq!(gateway.ca(), new);
            assert!(talks(gateway, &old).await && talks(gateway, &new).await);
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
        let state = finish(c, "authority").await.ok();
        assert_eq!((&state["previous"], &state["awaits"]), (&Value::Null, &json!([])));
        for gateway in [a, b, c] {
            until_talks(gateway, &old, false).await;
            assert!(talks(gateway, &new).await);
        }
        for supervisor in &supervisors {
            until(|| told(supervisor) == 1).await;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
        done.store(true, Ordering::Relaxed);
    };
    let (pushes, ()) = tokio::join!(traffic(&gateways, &done), turning);
    assert!(pushes >= 3, "{pushes}");
    // Everything is dialled anew: clients, supervisors, the ways between gateways.
    gateways.iter_mut().for_each(Gateway::trusted_anew);
    supervisors.iter().for_each(Supervisor::roam);
    let [a, b, c] = &gateways;
    linked(a).await;
    b.push(&NAMES, "after.test").await.unwrap().ok();
    assert_eq!(b.post("/v1/sandboxes/on-c/stop", json!({})).await.ok()["phase"], "stopped");
    for gateway in [a, b, c] {
        verified(gateway).await;
    }
    let entries = c.get("/v1/audit?action=authority.turn").await.ok();
    let done = entries["items"].as_array().unwrap().iter().filter(|link| link["entry"]["outcome"] == "done").count();
    assert_eq!(done, 1, "{entries}");
    unbroken(a).await;
    // And once more, by another one.
    let again = turn(a, "authority").await;
    assert_eq!(again["previous"], c.get("/v1/authority").await.ok()["previous"]);
    finish(b, "authority").await.ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_signing_key_turns_under_load_wherever_it_is_asked_for() {
    let (terms, gateways) = trio().await;
    let supervisors = sandboxes(&gateways).await;
    let [a, b, c] = &gateways;
    let first = a.get("/v1/signing-key").await.ok();
    a.post("/v1/users", json!({ "name": "vera", "role": "viewer" })).await.ok();
    let kept = async |gateway: &Gateway| {
        let call = gateway.request(Method::POST, "/v1/users/vera/tokens").header("idempotency-key", "once");
        Answer::to(call.json(&json!({ "name": "kept" }))).await.unwrap()
    };
    let answer = kept(a).await.ok();
    let done = AtomicBool::new(false);
    let turning = async {
        // The one that is asked does not lead.
        turn(c, "signing-key").await;
        let state = turned(b).await;
        assert_eq!(state["previous"], first["key"]);
        for supervisor in &supervisors {
            trusts(supervisor, &[&state["key"], &first["key"]]).await;
        }
        for gateway in [a, b, c] {
            gateway.until("/v1/signing-key", |found| found["key"] == state["key"]).await;
            assert_eq!(kept(gateway).await.ok(), answer);
        }
        b.post("/v1/signing-key/turn", Value::Null).await.problem(409, "signing_key_is_turning");
        // Under load one may be just a generation behind at the moment at which it is looked at.
        let mut finished = finish(a, "signing-key").await;
        for _ in 0..20 {
            if finished.status.is_success() {
                break;
            }
            finished.problem(409, "sandboxes_await");
            finished = finish(a, "signing-key").await;
        }
        assert_eq!(finished.ok()["key"], state["key"]);
        tokio::time::sleep(Duration::from_millis(500)).await;
        done.store(true, Ordering::Relaxed);
        state
    };
    let (pushes, state) = tokio::join!(traffic(&gateways, &done), turning);
    assert!(pushes >= 3, "{pushes}");
    for supervisor in &supervisors {
        trusts(supervisor, &[&state["key"]]).await;
    }
    for gateway in [a, b, c] {
        gateway.push(&NAMES, "after.test").await.unwrap().ok();
        assert_eq!(kept(gateway).await.ok(), answer);
        sound(gateway, &first["key"]).await;
    }
    for action in ["signing_key.turn", "signing_key.change", "signing_key.finish"] {
        let told = a.get(&format!("/v1/audit?action={action}")).await.ok();
        let done = told["items"].as_array().unwrap().iter().filter(|link| link["entry"]["outcome"] == "done").count();
        assert_eq!(done, 1, "{action}: {told}");
    }
    // No secret that was is left: in no file, and not in the clear in the database.
    let files = ["signing.key", "signing-turn.json", "ca.key", "ca.pem"];
    for file in files {
        let [own, other] = [a, b].map(|gateway| std::fs::read(gateway.state().join(file)).ok());
        assert_eq!(own, other, "{file}");
    }
    let dump = crate::world::postgres::dump(terms.database());
    let key = std::fs::read_to_string(a.state().join("signing.key")).unwrap();
    assert!(!dump.contains(key.trim()) && !dump.contains(&hex::encode(key.trim())), "no key is in the clear");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_was_away_for_all_of_it_comes_back_with_its_old_files_and_a_stranger_does_not() {
    let (terms, gateways) = trio().await;
    let supervisors = sandboxes(&gateways).await;
    let [mut a, mut b, mut c] = gateways;
    let first = a.get("/v1/signing-key").await.ok();
    let old = std::fs::read(c.state().join("signing.key")).unwrap();
    c.kill();
    a.until("/v1/sandboxes/on-c", |row| row["connected"] == true).await;
    linked(&b).await;
    for _ in 0..2 {
        turn(&b, "authority").await;
        // It is alive for five seconds more, as far as the others know.
        a.until("/v1/authority", |state| state["gateways"].is_null() && state["awaits"] == json!([])).await;
        finish(&a, "authority").await.ok();
        until_talks(&b, &a.ca(), true).await;
        a.trusted_anew();
        b.trusted_anew();
        turn(&a, "signing-key").await;
        turned(&b).await;
        finish(&b, "signing-key").await.ok();
    }
    assert_eq!(std::fs::read(c.state().join("signing.key")).unwrap(), old);
    // What stands for supervisors lives on.
    std::mem::forget(c);
    let c = terms.start("c").await;
    for file in ["signing.key", "signing-turn.json", "ca.key", "ca.pem", "ca-turn.json"] {
        let [own, other] = [&a, &c].map(|gateway| std::fs::read(gateway.state().join(file)).unwrap());
        assert_eq!(own, other, "{file}");
    }
    linked(&c).await;
    c.push(&NAMES, "back.test").await.unwrap().ok();
    assert_eq!(a.post("/v1/sandboxes/on-c/stop", json!({})).await.ok()["phase"], "stopped");
    let state = a.get("/v1/signing-key").await.ok();
    for supervisor in &supervisors[..2] {
        trusts(supervisor, &[&state["key"]]).await;
    }
    for gateway in [&a, &b, &c] {
        sound(gateway, &first["key"]).await;
    }
    for file in ["signing.key", "ca.pem", "ca.key"] {
        let own = std::fs::read(a.state().join(file)).unwrap();
        let stranger = terms.path(&format!("stranger-{file}"));
        std::fs::create_dir(&stranger).unwrap();
        std::fs::write(stranger.join(file), own.iter().rev().copied().collect::<Vec<_>>()).unwrap();
        let output = terms.shared(&format!("stranger-{file}")).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(&format!("{file} of this state directory is not the one")), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_one_that_leads_is_killed_in_the_middle_and_another_one_ends_the_turn() {
    let (terms, gateways) = trio().await;
    let supervisors = sandboxes(&gateways).await;
    let [mut a, b, c] = gateways;
    let first = b.get("/v1/signing-key").await.ok();
    supervisors[1].mood(Mood::DeafToKeys);
    let begun = turn(&c, "signing-key").await;
    assert_eq!((&begun["key"], &begun["awaits"]), (&first["key"], &json!(["on-b"])));
    a.kill();
    b.until("/v1/sandboxes/on-a", |row| row["connected"] == true).await;
    // Nothing is signed with it while one does not know.
    b.push(&NAMES, "meanwhile.test").await.unwrap().ok();
    assert_eq!(b.get("/v1/signing-key").await.ok()["key"], first["key"]);
    supervisors[1].mood(Mood::Fine);
    supervisors[1].roam();
    let state = turned(&c).await;
    assert_eq!((&state["key"], &state["previous"]), (&begun["next"], &first["key"]));
    std::mem::forget(a);
    let a = terms.start("a").await;
    assert_eq!(a.get("/v1/signing-key").await.ok()["key"], state["key"]);
    // It is killed just after it was asked.
    finish(&a, "signing-key").await.ok();
    let mut leads = [b, c];
    let asked = leads[0].ask(Method::POST, "/v1/signing-key/turn", Some(Value::Null));
    let _ = tokio::time::timeout(Duration::from_millis(60), asked).await;
    leads[0].kill();
    let found = a.get("/v1/signing-key").await.ok();
    if found["next"].is_null() && found["previous"].is_null() {
        turn(&a, "signing-key").await;
    }
    let again = turned(&a).await;
    assert_eq!(again["previous"], state["key"]);
    finish(&leads[1], "signing-key").await.ok();
    for supervisor in &supervisors {
        trusts(supervisor, &[&again["key"]]).await;
    }
    linked(&a).await;
    a.push(&NAMES, "after.test").await.unwrap().ok();
    for gateway in [&a, &leads[1]] {
        sound(gateway, &first["key"]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_finished_while_one_lags_and_one_that_wakes_up_late_signs_with_the_new_key() {
    let (terms, gateways) = trio().await;
    let supervisors = sandboxes(&gateways).await;
    let [a, b, c] = &gateways;
    c.frozen(true);
    let begun = turn(a, "authority").await;
    assert_eq!(begun["gateways"], json!([c.url()]), "{begun}");
    let refused = finish(b, "authority").await.problem(409, "gateways_await");
    assert!(refused["detail"].as_str().unwrap().contains(c.url()), "{refused}");
    // Later it is gone as far as anybody knows, and the sandbox that was linked to it counts as one that is away.
    b.until("/v1/authority", |state| state["gateways"].is_null()).await;
    finish(b, "authority").await.problem(409, "sandboxes_await");
    let first = a.get("/v1/signing-key").await.ok();
    let turning = turn(a, "signing-key").await;
    let state = b.until("/v1/signing-key", |state| state["previous"].is_string()).await;
    assert_eq!((&state["awaits"], &state["previous"]), (&json!(["on-c"]), &first["key"]), "{turning}");
    finish(a, "signing-key").await.problem(409, "sandboxes_await");
    c.frozen(false);
    // At once, before it has said that it lives: what it signs is what all trust, and the trail goes on.
    c.post("/v1/users", json!({ "name": "late", "role": "viewer" })).await.ok();
    assert_eq!(c.get("/v1/signing-key").await.ok()["key"], state["key"]);
    let numbers = "SELECT DISTINCT number FROM keyring WHERE number > 0";
    let number = crate::world::postgres::psql(terms.database(), numbers);
    assert!(number.trim().parse::<u64>().unwrap() > 4, "{number}");
    linked(c).await;
    turned(c).await;
    c.push(&NAMES, "late.test").await.unwrap().ok();
    finish(c, "signing-key").await.ok();
    b.until("/v1/authority", |state| state["gateways"].is_null() && state["awaits"] == json!([])).await;
    finish(c, "authority").await.ok();
    for supervisor in &supervisors {
        trusts(supervisor, &[&state["key"]]).await;
    }
    for gateway in [a, b, c] {
        sound(gateway, &first["key"]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_killed_anywhere_in_a_turn_agrees_with_the_others_when_it_is_back() {
    let (terms, gateways) = trio().await;
    let [mut a, mut b, mut c] = gateways;
    let supervisor = b.sandbox("on-b").await;
    for after_ms in [0, 4, 8, 12, 20, 40] {
        let before = b.get("/v1/authority").await.ok();
        for call in ["turn", "finish"] {
            let body = if call == "turn" { Value::Null } else { json!({}) };
            let path = format!("/v1/authority/{call}");
            let asked = a.ask(Method::POST, &path, Some(body.clone()));
            let _ = tokio::time::timeout(Duration::from_millis(after_ms), asked).await;
            a.kill();
            a = terms.start("a").await;
            let found = a.get("/v1/authority").await.ok();
            for gateway in [&b, &c] {
                let agrees = |state: &Value| {
                    state["fingerprint"] == found["fingerprint"] && state["previous"] == found["previous"]
                };
                gateway.until("/v1/authority", agrees).await;
                for file in ["ca.key", "ca.pem", "ca-turn.json"] {
                    let [own, other] = [&a, gateway].map(|gateway| std::fs::read(gateway.state().join(file)).ok());
                    assert!(own == other || found["previous"].is_null() && own.is_none(), "{file} after {after_ms} ms");
                }
            }
            let done = if call == "turn" { found["previous"].is_string() } else { found["previous"].is_null() };
            if !done {
                c.until("/v1/authority", |state| state["gateways"].is_null() && state["awaits"] == json!([])).await;
                c.post(&path, body).await.ok();
            }
        }
        let after = c.get("/v1/authority").await.ok();
        assert!(after["fingerprint"] != before["fingerprint"] && after["previous"].is_null(), "{after}");
        for gateway in [&a, &b] {
            until_talks(gateway, &c.ca(), true).await;
        }
        for gateway in [&mut a, &mut b, &mut c] {
            gateway.trusted_anew();
        }
    }
    supervisor.roam();
    linked(&a).await;
    a.push(&["on-b"], "after.test").await.unwrap().ok();
    for gateway in [&a, &b, &c] {
        verified(gateway).await;
        unbroken(gateway).await;
    }
}
