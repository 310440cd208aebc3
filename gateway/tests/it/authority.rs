//! The gateway's CA turns while sandboxes run: nobody is cut off who need not be, and nobody trusts the old one who should not.

use crate::world::{Database, World};
use serde_json::{Value, json};

#[tokio::test]
async fn a_turn_ends_when_every_sandbox_knows() {
    let world = World::new(Database::Sqlite).await;
    let (near, far) = (world.sandbox("near").await, world.sandbox("far").await);
    let first = world.get("/v1/authority").await.ok();
    assert_eq!(first["awaits"], json!([]));
    assert_eq!(first["previous"], Value::Null);
    world.post("/v1/authority/finish", json!({})).await.problem(409, "authority_is_not_turning");

    far.disconnect();
    world.until("/v1/sandboxes/far", |sandbox| sandbox["connected"] == false).await;
    let turned = world.post("/v1/authority/turn", Value::Null).await.ok();
    assert_ne!(turned["fingerprint"], first["fingerprint"]);
    assert_eq!(turned["previous"], first["fingerprint"]);
    assert_eq!(turned["awaits"], json!(["far"]));
    let (epoch, both) = near.state.lock().unwrap().trusted.clone().expect("it was told");
    assert_eq!(both.matches("BEGIN CERTIFICATE").count(), 2);
    world.post("/v1/authority/turn", Value::Null).await.problem(409, "authority_is_turning");
    let refused = world.post("/v1/authority/finish", json!({})).await.problem(409, "sandboxes_await");
    assert!(refused["detail"].as_str().unwrap().contains("far"), "{refused}");

    // A gateway that starts again goes on; one that trusts the old CA alone links, and learns.
    let world = world.restart().await;
    assert_eq!(world.get("/v1/authority").await.ok()["previous"], first["fingerprint"]);
    assert!(far.state.lock().unwrap().trusted.is_none());
    far.connect();
    near.connect();
    let settled = world.until("/v1/authority", |authority| authority["awaits"] == json!([])).await;
    assert_eq!(settled["fingerprint"], turned["fingerprint"]);
    assert_eq!(far.state.lock().unwrap().trusted, Some((epoch, both)));

    let finished = world.post("/v1/authority/finish", json!({})).await.ok();
    assert_eq!(finished["previous"], Value::Null);
    assert_eq!(finished["awaits"], json!([]));
    for _ in 0..100 {
        let all =
            [&near, &far].map(|one| one.state.lock().unwrap().trusted.as_ref().is_some_and(|(at, _)| *at > epoch));
        if all == [true, true] {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    for supervisor in [&near, &far] {
        let (_, ca) = supervisor.state.lock().unwrap().trusted.clone().expect("it was told");
        assert_eq!(ca.matches("BEGIN CERTIFICATE").count(), 1);
        supervisor.disconnect();
        supervisor.connect();
    }
    let world = world.restart().await;
    for name in ["near", "far"] {
        world.until(&format!("/v1/sandboxes/{name}"), |sandbox| sandbox["connected"] == true).await;
    }
    // Whoever trusts the old one alone does not get as far as its credential.
    let key = near.pairs(1).await.pop().map(|(key, _)| key).unwrap_or_default();
    assert!(!near.let_in(&key).await);

    let entries = world.items("/v1/audit?action=authority.turn").await;
    assert_eq!(entries[0]["entry"]["before"]["fingerprint"], first["fingerprint"], "{entries}");
}

#[tokio::test]
async fn with_force_those_who_do_not_know_are_cut_off() {
    let world = World::new(Database::Sqlite).await;
    let lost = world.sandbox("lost").await;
    lost.disconnect();
    world.until("/v1/sandboxes/lost", |sandbox| sandbox["connected"] == false).await;
    world.post("/v1/authority/turn", Value::Null).await.ok();
    let finished = world.post("/v1/authority/finish", json!({ "force": true })).await.ok();
    assert_eq!(finished["awaits"], json!(["lost"]));
    assert!(!lost.let_in("anything").await);
}
