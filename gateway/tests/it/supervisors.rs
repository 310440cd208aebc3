//! Credentials of supervisors: short-lived, renewed over the link, revoked, and good for nothing else.

use std::time::Duration;

use crate::world::supervisor::Mood;
use crate::world::{Database, World};
use openshell_gateway::identity::IdentityOptions;
use serde_json::{Value, json};

with_both!(
    keys_are_renewed_over_the_link_and_old_ones_overlap,
    a_link_that_is_not_renewed_ends_with_its_key_and_its_refresh_brings_it_back,
    a_pair_whose_acknowledgement_is_lost_is_good,
    a_clock_that_jumps_shuts_nobody_out_and_lets_no_link_outlive_its_key,
    deletion_revokes_and_one_sandboxs_credentials_are_not_anothers,
);

fn lives(seconds: u64) -> IdentityOptions {
    IdentityOptions { key_life: Duration::from_secs(seconds), ..IdentityOptions::default() }
}

async fn connected(world: &World, name: &str, wanted: bool) {
    world.until(&format!("/v1/sandboxes/{name}"), |sandbox| sandbox["connected"] == wanted).await;
}

async fn keys_are_renewed_over_the_link_and_old_ones_overlap(on: Database) {
    let world = World::with(on, lives(4)).await;
    let a = world.sandbox("a").await;
    let first = world.runtime.seat("a").spec.token;
    let pairs = a.pairs(1).await;
    assert!(!a.let_in(&first).await, "what it was started with is used up once it has better ones");

    // That was a copy being shown: nothing opens the link now.
    connected(&world, "a", false).await;
    assert!(!a.let_in(&pairs[0].0).await && !a.let_in(&pairs[0].1).await);
    let told = world.items("/v1/audit?action=supervisor").await;
    assert_eq!(told[0]["entry"]["action"], "supervisor.credential_copied", "{told}");
    assert_eq!(told[0]["entry"]["object"], "a");

    // A start makes it well.
    world.post("/v1/sandboxes/a/stop", Value::Null).await.ok();
    world.post("/v1/sandboxes/a/start", Value::Null).await.ok();
    let a = world.runtime.seat("a").supervisor;
    let pairs = a.pairs(3).await;
    connected(&world, "a", true).await;
    a.disconnect();
    assert!(a.let_in(&pairs[2].0).await, "the newest key");
    assert!(a.let_in(&pairs[1].0).await, "the one before, which has not expired");
    assert!(a.let_in(&pairs[2].1).await, "the newest refresh, which is used up only once its successor is kept");
}

async fn a_link_that_is_not_renewed_ends_with_its_key_and_its_refresh_brings_it_back(on: Database) {
    let world = World::with(on, lives(2)).await;
    let a = world.sandbox("a").await;
    a.pairs(1).await;
    a.mood(Mood::KeepOldKeys);
    connected(&world, "a", false).await;
    let (key, refresh) = a.state.lock().unwrap().pairs.last().cloned().unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(!a.let_in(&key).await, "it has expired");

    // Away for longer than any key lives.
    a.mood(Mood::Fine);
    a.state.lock().unwrap().shows = Some(refresh);
    let count = a.state.lock().unwrap().pairs.len();
    a.connect();
    connected(&world, "a", true).await;
    a.pairs(count + 1).await;
    // And over a restart of the gateway.
    let world = world.restart().await;
    a.connect();
    connected(&world, "a", true).await;
}

async fn a_pair_whose_acknowledgement_is_lost_is_good(on: Database) {
    let world = World::with(on, lives(60)).await;
    let a = world.sandbox("a").await;
    a.pairs(1).await;
    // Started anew, it loses its link each time that it has kept a pair.
    world.post("/v1/sandboxes/a/stop", Value::Null).await.ok();
    world.post("/v1/sandboxes/a/start", Value::Null).await.ok();
    let a = world.runtime.seat("a").supervisor;
    a.pairs(1).await;
    a.mood(Mood::LoseAtRekey);
    for round in 2..5 {
        let (_, refresh) = a.state.lock().unwrap().pairs.last().cloned().unwrap();
        a.state.lock().unwrap().shows = Some(refresh);
        a.connect();
        a.pairs(round).await;
    }
    a.mood(Mood::Fine);
    a.connect();
    connected(&world, "a", true).await;
    assert_eq!(world.items("/v1/audit?action=supervisor").await, json!([]), "nobody had a copy");
}

/// The gateway's clock jumps: what was written down lies as much nearer, or farther off.
async fn a_clock_that_jumps_shuts_nobody_out_and_lets_no_link_outlive_its_key(on: Database) {
    const YEARS_MS: i64 = 10 * 365 * 86_400_000;
    let world = World::with(on, lives(4)).await;
    let a = world.sandbox("a").await;
    let jump = |ms: i64| {
        let sql = format!("UPDATE supervisor_keys SET expires_ms = expires_ms - {ms} WHERE expires_ms IS NOT NULL");
        world.database.tamper(&world.dir.path().join("state"), &sql);
    };
    a.pairs(1).await;
    connected(&world, "a", true).await;
    // Forward: who is linked stays so, and is given new ones.
    jump(YEARS_MS);
    let count = a.state.lock().unwrap().pairs.len();
    a.pairs(count + 1).await;
    connected(&world, "a", true).await;
    // Who is away meanwhile has a key that has expired, and comes back by its refresh.
    a.disconnect();
    connected(&world, "a", false).await;
    jump(YEARS_MS);
    let (key, refresh) = a.state.lock().unwrap().pairs.last().cloned().unwrap();
    assert!(!a.let_in(&key).await, "it has expired");
    let count = a.state.lock().unwrap().pairs.len();
    a.state.lock().unwrap().shows = Some(refresh);
    a.connect();
    a.pairs(count + 1).await;
    connected(&world, "a", true).await;
    // Backward: the key seems to be good for ten years, and its link ends when it would have.
    a.disconnect();
    connected(&world, "a", false).await;
    jump(-YEARS_MS);
    a.mood(Mood::KeepOldKeys);
    a.connect();
    connected(&world, "a", true).await;
    let began = std::time::Instant::now();
    connected(&world, "a", false).await;
    assert!(began.elapsed() < Duration::from_secs(6), "{:?}", began.elapsed());
    assert_eq!(world.items("/v1/audit?action=supervisor").await, json!([]), "nobody is taken for a copy");
}

async fn deletion_revokes_and_one_sandboxs_credentials_are_not_anothers(on: Database) {
    let world = World::new(on.another()).await;
    let (a, b) = (world.sandbox("a").await, world.sandbox("b").await);
    let (of_a, of_b) = (a.pairs(1).await.remove(0), b.pairs(1).await.remove(0));
    world.delete("/v1/sandboxes/a").await.ok();
    for credential in [&of_a.0, &of_a.1, &world.runtime.seat("b").spec.token.replace("osh_supervisor", "osh_user")] {
        assert!(!a.let_in(credential).await);
    }
    connected(&world, "b", true).await;
    assert!(b.let_in(&of_b.0).await, "it is the other sandbox's own");
    let other = World::new(on.another()).await;
    other.sandbox("b").await;
    let elsewhere = other.runtime.seat("b").supervisor;
    assert!(!elsewhere.let_in(&of_b.0).await, "another gateway's credentials are nobody's here");
}
