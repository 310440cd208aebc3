//! A policy on a few sandboxes first: promoted, taken back by hand, and by itself.

use crate::world::supervisor::{Mood, Supervisor};
use crate::world::{Database, World, allow};
use openshell_api::decision::{AnswerKind, DecisionRecord, ProcessRecord, Stage, Subject, Verdict, VoteRecord};
use openshell_api::link::FromSupervisor;
use serde_json::{Value, json};

with_both!(
    a_canary_that_does_well_is_promoted_to_all_that_labels_select,
    a_canary_that_gives_no_answer_is_taken_back_by_itself,
    a_canary_whose_sandbox_fails_is_taken_back_even_across_a_restart,
    a_canary_that_refuses_to_go_back_is_named,
    shares_and_labels_that_make_no_sense_are_refused,
);

/// Four sandboxes of a team and one of another, each with rules.
async fn team(world: &World) -> Vec<(String, Supervisor)> {
    let mut team = Vec::new();
    for (name, label) in [("a", "red"), ("b", "red"), ("c", "red"), ("d", "red"), ("x", "blue")] {
        world.post("/v1/sandboxes", json!({ "name": name, "labels": { "team": label } })).await.ok();
        team.push((name.to_owned(), world.runtime.seat(name).supervisor));
    }
    world.push(&["a", "b", "c", "d", "x"], "old.test").await.ok();
    team
}

async fn begin(world: &World, canary: Value) -> crate::world::Answer {
    let push = json!({
        "selector": { "team": "red" }, "canary": canary, "module": world.rules().await, "settings": allow("new.test"),
    });
    world.post("/v1/pushes", push).await
}

fn with(team: &[(String, Supervisor)], host: &str) -> Vec<String> {
    let has = |supervisor: &Supervisor| supervisor.content().chain[0].settings == allow(host);
    team.iter().filter(|(_, supervisor)| has(supervisor)).map(|(name, _)| name.clone()).collect()
}

/// A decision that the canary's policy had a say in.
fn decided(supervisor: &Supervisor, sandbox: &str, first: u64, answer: AnswerKind) {
    let binding = supervisor.content().chain[0].clone();
    let subject = Subject { sandbox, process: ProcessRecord::default(), host: "new.test", port: 443 };
    let vote = VoteRecord {
        binding: binding.name.to_string(),
        ceiling: false,
        policy: "rules@0".into(),
        digest: binding.module.clone(),
        answer,
        rule: None,
        reason: (answer == AnswerKind::Failed).then(|| "trap: unreachable".to_owned()),
        hint: None,
        credential: None,
        audit: None,
        read: vec![],
    };
    let record = DecisionRecord {
        verdict: Verdict::Allow,
        votes: vec![vote],
        ..DecisionRecord::unanswered(subject, Stage::Request, supervisor.generation())
    };
    supervisor.say(FromSupervisor::Records { first, records: vec![record] });
}

async fn a_canary_that_does_well_is_promoted_to_all_that_labels_select(on: Database) {
    let world = World::new(on).await;
    let team = team(&world).await;
    let report = begin(&world, json!({ "percent": 25 })).await.ok();
    let id = report["rollout"].as_str().unwrap().to_owned();
    let canaries = with(&team, "new.test");
    assert_eq!(canaries.len(), 1);
    assert_ne!(canaries, ["x"]);
    begin(&world, json!({ "percent": 25 })).await.problem(409, "rollout_running");

    let path = format!("/v1/rollouts/{id}");
    let status = world.get(&path).await.ok();
    assert_eq!(
        (&status["rollout"]["state"], &status["waiting"], &status["asked"]),
        (&json!("running"), &json!(3), &json!(0))
    );
    let refused = world.post(&format!("{path}/promote"), json!({})).await.problem(409, "not_promoted");
    assert!(refused["detail"].as_str().unwrap().contains("0 decisions"), "{refused}");

    let canary = team.iter().find(|(name, _)| *name == canaries[0]).unwrap();
    decided(&canary.1, &canary.0, 1, AnswerKind::Allow);
    decided(&canary.1, &canary.0, 2, AnswerKind::Deny);
    let status = world.until(&path, |status| status["asked"] == 2).await;
    assert_eq!((&status["denied"], &status["failures"]), (&json!(1), &json!(0)));
    world.post(&format!("{path}/promote"), json!({ "min_decisions": 3 })).await.problem(409, "not_promoted");
    // One that is away catches up.
    let away = team.iter().find(|(name, _)| *name != canaries[0] && *name != "x").unwrap();
    away.1.disconnect();
    world.until(&format!("/v1/sandboxes/{}", away.0), |sandbox| sandbox["connected"] == false).await;
    world.post(&format!("{path}/promote"), json!({})).await.ok();
    assert_eq!(with(&team, "new.test").len(), 3);
    away.1.connect();
    world.until(&format!("/v1/sandboxes/{}", away.0), |sandbox| sandbox["generation"] == 3).await;
    assert_eq!(with(&team, "new.test"), ["a", "b", "c", "d"]);
    let status = world.get(&path).await.ok();
    assert_eq!((&status["rollout"]["state"], &status["waiting"]), (&json!("promoted"), &json!(0)));
    world.post(&format!("{path}/rollback"), json!(null)).await.problem(409, "rollout_ended");
    assert_eq!(canary.1.generation(), 3, "who had it is not bothered again");
}

async fn a_canary_that_gives_no_answer_is_taken_back_by_itself(on: Database) {
    let world = World::new(on).await;
    let team = team(&world).await;
    let report = begin(&world, json!({ "percent": 50, "max_failures": 1 })).await.ok();
    let path = format!("/v1/rollouts/{}", report["rollout"].as_str().unwrap());
    let canaries = with(&team, "new.test");
    assert_eq!(canaries.len(), 2);
    let canary = team.iter().find(|(name, _)| *name == canaries[0]).unwrap();
    decided(&canary.1, &canary.0, 1, AnswerKind::Failed);
    world.until(&path, |status| status["failures"] == 1).await;
    assert_eq!(world.get(&path).await.ok()["rollout"]["state"], "running", "one is borne");
    // Another change of a canary's policy is kept.
    let other = team.iter().find(|(name, _)| *name == canaries[1]).unwrap();
    world.push(&[other.0.as_str()], "newer.test").await.ok();
    decided(&canary.1, &canary.0, 2, AnswerKind::Failed);
    let status = world.until(&path, |status| status["rollout"]["state"] == "rolled_back").await;
    assert!(
        status["rollout"]["reason"].as_str().unwrap().contains("no answer 2 times (trap: unreachable)"),
        "{status}"
    );
    assert_eq!((with(&team, "new.test").len(), with(&team, "newer.test")), (0, vec![other.0.clone()]));
    assert_eq!(canary.1.generation(), 4);
    let generations = world.items(&format!("/v1/sandboxes/{}/generations", canary.0)).await;
    assert!(generations[0]["cause"].as_str().unwrap().starts_with("roll back canary rules@"), "{generations}");
    world.post(&format!("{path}/promote"), json!({})).await.problem(409, "rollout_ended");
}

async fn a_canary_whose_sandbox_fails_is_taken_back_even_across_a_restart(on: Database) {
    let world = World::new(on).await;
    let team = team(&world).await;
    let report = begin(&world, json!({ "percent": 1 })).await.ok();
    let path = format!("/v1/rollouts/{}", report["rollout"].as_str().unwrap());
    let world = world.restart().await;
    let canary =
        team.iter().find(|(_, supervisor)| supervisor.content().chain[0].settings == allow("new.test")).unwrap();
    canary.1.connect();
    world.until(&format!("/v1/sandboxes/{}", canary.0), |sandbox| sandbox["connected"] == true).await;
    canary.1.say(FromSupervisor::Failed { reason: "out of files".into() });
    let status = world.until(&path, |status| status["rollout"]["state"] == "rolled_back").await;
    assert!(status["rollout"]["reason"].as_str().unwrap().contains("failed: out of files"), "{status}");
    assert_eq!(canary.1.content().chain[0].settings, allow("old.test"));
}

async fn a_canary_that_refuses_to_go_back_is_named(on: Database) {
    let world = World::new(on).await;
    let team = team(&world).await;
    let report = begin(&world, json!({ "percent": 25 })).await.ok();
    let path = format!("/v1/rollouts/{}", report["rollout"].as_str().unwrap());
    let canary =
        team.iter().find(|(_, supervisor)| supervisor.content().chain[0].settings == allow("new.test")).unwrap();
    canary.1.mood(Mood::Refuse);
    let ended = world.post(&format!("{path}/rollback"), json!(null)).await.ok();
    assert_eq!(ended["state"], "rolled_back");
    assert!(ended["reason"].as_str().unwrap().contains(&format!("{} still has it", canary.0)), "{ended}");
}

async fn shares_and_labels_that_make_no_sense_are_refused(on: Database) {
    let world = World::new(on).await;
    let module = world.rules().await;
    let push = async |more: Value| {
        let mut push = json!({ "module": module, "settings": allow("new.test") });
        push.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        world.post("/v1/pushes", push).await
    };
    push(json!({ "selector": { "team": "red" } })).await.problem(422, "no_sandbox");
    let team = team(&world).await;
    for percent in [0, 100, 255] {
        begin(&world, json!({ "percent": percent })).await.problem(422, "bad_share");
    }
    push(json!({ "selector": { "team": "blue" }, "canary": { "percent": 50 } }))
        .await
        .problem(422, "too_few_sandboxes");
    push(json!({ "sandboxes": ["a"], "canary": { "percent": 50 } })).await.problem(422, "no_selector");
    push(json!({ "sandboxes": ["a"], "selector": {}, "canary": { "percent": 50 } })).await.problem(422, "no_selector");
    assert_eq!(with(&team, "old.test").len(), 5, "nothing was changed");

    push(json!({ "selector": { "team": "red" } })).await.ok();
    assert_eq!(with(&team, "new.test"), ["a", "b", "c", "d"], "labels alone select, too");
    push(json!({ "selector": {}, "sandboxes": ["x"] })).await.ok();
    assert_eq!(with(&team, "new.test").len(), 5);
    world.get("/v1/rollouts/01KBXJ3M5YV2N7E4Q0R8S6T1WZ").await.problem(404, "rollout_not_found");
}
