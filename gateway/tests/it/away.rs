//! A gateway that is stopped or gone while the keys it shares turn: it is not waited for by force, and what it finds when it is back is what the
//! guide says (docs/operations.md).

use std::time::Duration;

use openshell_api::launch::LaunchSpec;
use reqwest::Method;
use serde_json::{Value, json};

use crate::process::{Gateway, Terms, launched};
use crate::replicas::{trio, until};
use crate::signing::trusts;
use crate::turns::{NAMES, finish, linked, sandboxes, sound, talks, told, turn, turned, until_talks};
use crate::world::postgres;
use crate::world::supervisor::Supervisor;

/// Files that gateways share.
const SHARED: [&str; 5] = ["signing.key", "signing-turn.json", "ca.key", "ca.pem", "ca-turn.json"];

async fn forced(gateway: &Gateway, what: &str) -> Value {
    gateway.post(&format!("/v1/{what}/finish"), json!({ "force": true })).await.ok()
}

/// Waits until both have the same keys. How far a turn is need not be written down where none was.
async fn agree(one: &Gateway, other: &Gateway) {
    for file in SHARED {
        until(|| {
            let [one, other] = [one, other].map(|gateway| std::fs::read(gateway.state().join(file)).ok());
            one == other || file.ends_with(".json") && (one.is_none() || other.is_none())
        })
        .await;
    }
}

/// Starts a sandbox of this gateway's machine that was stopped; its supervisor is a new one.
async fn started(asked: &Gateway, on: &Gateway, name: &str) -> Supervisor {
    let launch = || {
        let all = std::fs::read_dir(on.state().join("sandboxes")).unwrap().flatten();
        let specs = all.filter_map(|entry| std::fs::read(entry.path().join("launch.json")).ok());
        let mut specs = specs.filter_map(|text| serde_json::from_slice::<LaunchSpec>(&text).ok());
        specs.find(|spec| spec.sandbox.as_str() == name)
    };
    let before = launch().map(|spec| spec.token);
    let path = format!("/v1/sandboxes/{name}/start");
    launched(asked.post(&path, Value::Null), || launch().filter(|spec| Some(&spec.token) != before.as_ref())).await
}

#[tokio::test(flavor = "multi_thread")]
async fn by_force_one_that_is_stopped_is_not_waited_for_and_takes_everything_over_when_it_goes_on() {
    let (_terms, mut gateways) = trio().await;
    let supervisors = sandboxes(&gateways).await;
    let old = gateways[0].ca();
    let first = gateways[0].get("/v1/signing-key").await.ok();
    let key = {
        let [a, b, c] = &gateways;
        let begun = turn(a, "authority").await;
        assert!(begun["gateways"].is_null() && told(&supervisors[2]) == 2, "{begun}");
        c.frozen(true);
        // It lives, as far as the others know.
        finish(b, "authority").await.problem(409, "gateways_await");
        let done = forced(b, "authority").await;
        assert_eq!((&done["previous"], &done["gateways"]), (&Value::Null, &json!([c.url()])), "{done}");
        turn(a, "signing-key").await;
        finish(b, "signing-key").await.problem(409, "sandboxes_await");
        let done = forced(b, "signing-key").await;
        assert_eq!((&done["next"], &done["previous"]), (&Value::Null, &Value::Null), "{done}");
        assert_ne!(done["key"], first["key"]);
        for gateway in [a, b] {
            until_talks(gateway, &old, false).await;
            assert_eq!(gateway.get("/v1/signing-key").await.ok()["key"], done["key"]);
        }
        for supervisor in &supervisors[..2] {
            trusts(supervisor, &[&done["key"]]).await;
            assert_eq!(told(supervisor), 1);
        }
        // Nothing has reached the one that is linked to the stopped one.
        assert_eq!(told(&supervisors[2]), 2);
        trusts(&supervisors[2], &[&first["key"]]).await;
        let [here, there] = [a, c].map(|gateway| std::fs::read(gateway.state().join("signing.key")).unwrap());
        assert_ne!(here, there);
        a.push(&NAMES[..2], "meanwhile.test").await.unwrap().ok();
        done["key"].clone()
    };
    gateways[2].frozen(false);
    agree(&gateways[0], &gateways[2]).await;
    gateways.iter_mut().for_each(Gateway::trusted_anew);
    let [a, b, c] = &gateways;
    until_talks(c, &old, false).await;
    assert_eq!(c.get("/v1/signing-key").await.ok()["key"], key);
    // Its sandbox learns over the link that it has, and goes wherever the others do.
    trusts(&supervisors[2], &[&key]).await;
    until(|| told(&supervisors[2]) == 1).await;
    supervisors[2].roam();
    linked(a).await;
    for gateway in [c, b] {
        gateway.push(&NAMES, "after.test").await.unwrap().ok();
    }
    for gateway in [a, b, c] {
        sound(gateway, &first["key"]).await;
    }
    // And both turn again, without force.
    turn(c, "authority").await;
    finish(a, "authority").await.ok();
    turn(b, "signing-key").await;
    turned(a).await;
    finish(c, "signing-key").await.ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn by_force_one_that_is_gone_finds_new_keys_and_its_sandbox_that_was_away_is_cut_off_until_it_is_started_anew() {
    let (terms, gateways) = trio().await;
    let supervisors = sandboxes(&gateways).await;
    let [mut a, mut b, mut c] = gateways;
    let first = a.get("/v1/signing-key").await.ok();
    let old = a.ca();
    supervisors[2].disconnect();
    c.kill();
    // At once: as far as the others know it lives for five seconds more.
    let begun = turn(&a, "authority").await;
    assert_eq!((&begun["gateways"], &begun["awaits"]), (&json!([c.url()]), &json!(["on-c"])), "{begun}");
    finish(&b, "authority").await.problem(409, "gateways_await");
    forced(&b, "authority").await;
    until_talks(&a, &b.ca(), true).await;
    a.trusted_anew();
    b.trusted_anew();
    turn(&b, "signing-key").await;
    let key = forced(&a, "signing-key").await["key"].clone();

    std::mem::forget(c);
    let c = terms.start("c").await;
    agree(&a, &c).await;
    c.push(&NAMES[..2], "back.test").await.unwrap().ok();
    // Whoever trusts the authority that is gone alone does not get in anywhere.
    supervisors[2].roam();
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(c.get("/v1/sandboxes/on-c").await.ok()["connected"], false);
    assert!(!talks(&c, &old).await && !talks(&a, &old).await);
    supervisors[2].disconnect();
    assert_eq!(a.post("/v1/sandboxes/on-c/stop", Value::Null).await.ok()["phase"], "stopped");
    let anew = started(&b, &c, "on-c").await;
    linked(&a).await;
    b.push(&NAMES, "after.test").await.unwrap().ok();
    for supervisor in [&supervisors[0], &supervisors[1], &anew] {
        trusts(supervisor, &[&key]).await;
    }
    for gateway in [&a, &b, &c] {
        sound(gateway, &first["key"]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_was_away_for_too_many_turns_is_told_what_to_do_and_that_works() {
    let terms = Terms::new(postgres::database());
    let mut a = terms.start("a").await;
    let mut c = terms.start("c").await;
    let supervisor = c.sandbox("on-c").await;
    until(|| supervisor.state.lock().unwrap().gateways.len() == 2).await;
    a.push(&["on-c"], "first.test").await.unwrap().ok();
    let turns = async |a: &mut Gateway, count: u32| {
        a.until("/v1/authority", |state| state["gateways"].is_null()).await;
        for _ in 0..count {
            turn(a, "authority").await;
            forced(a, "authority").await;
            a.trusted_anew();
        }
    };
    c.kill();
    linked(&a).await;
    turns(&mut a, 5).await;
    std::mem::forget(c);
    let mut c = terms.start("c").await;
    agree(&a, &c).await;
    linked(&c).await;
    c.kill();
    linked(&a).await;
    turns(&mut a, 50).await;

    // One that is not refused would run on.
    let refused = tokio::process::Command::from(terms.shared("c")).kill_on_drop(true).output();
    let output = tokio::time::timeout(Duration::from_secs(30), refused).await.expect("it is refused").unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    let fact = "ca.key of this state directory is not the one that the gateways of the database share, nor one of the last that they had";
    let hint = "hint: if it was one of them and was away for many turns of their keys, move ca.key, ca.pem and signing.key out of it";
    assert!(said.contains(fact) && said.contains(hint) && said.contains("an empty state directory"), "{said}");
    let aside = terms.path("aside");
    std::fs::create_dir(&aside).unwrap();
    for file in ["ca.key", "ca.pem", "signing.key"] {
        std::fs::rename(terms.path("c").join(file), aside.join(file)).unwrap();
    }
    std::mem::forget(c);
    let c = terms.start("c").await;
    agree(&a, &c).await;
    linked(&c).await;
    c.push(&["on-c"], "back.test").await.unwrap().ok();
    // It is the same gateway: what runs on its machine is its own.
    assert_eq!(
        a.ask(Method::POST, "/v1/sandboxes/on-c/stop", Some(Value::Null)).await.unwrap().ok()["phase"],
        "stopped"
    );
    started(&a, &c, "on-c").await;
    linked(&a).await;
    sound(&c, &a.get("/v1/signing-key").await.ok()["key"]).await;
}
