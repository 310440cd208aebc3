//! What agents ask for: taken down, shown as a change, approved or refused; and what is never believed.

use crate::world::supervisor::Supervisor;
use crate::world::{Database, World};
use openshell_api::decision::ProcessRecord;
use openshell_api::link::FromSupervisor;
use openshell_api::proposal::ProposalState;
use serde_json::{Value, json};

with_both!(
    an_approved_proposal_is_a_generation_with_that_in_its_rules,
    a_sandbox_without_a_policy_gets_its_first_rules,
    what_was_not_seen_is_not_approved,
    a_rejection_says_why_and_changes_nothing,
    only_the_built_in_rules_can_be_extended,
    a_sandbox_can_not_flood_its_user,
);

fn process() -> ProcessRecord {
    ProcessRecord { executable: "/usr/bin/agent".into(), pid: 7, ..ProcessRecord::default() }
}

/// Asks as a sandbox does; answers the proposal's id, or the refusal's code.
async fn propose(supervisor: &Supervisor, proposal: Value) -> Result<String, String> {
    let question = ulid::Ulid::generate().to_string();
    let proposal = serde_json::from_value(proposal).unwrap();
    supervisor.say(FromSupervisor::Propose { question: question.clone(), process: process(), proposal });
    let answer = supervisor.answer(&question).await;
    answer.map(|status| status.id).map_err(|problem| problem.code)
}

async fn stands(supervisor: &Supervisor, id: &str) -> Result<ProposalState, String> {
    let question = ulid::Ulid::generate().to_string();
    supervisor.say(FromSupervisor::Proposal { question: question.clone(), id: id.to_owned() });
    supervisor.answer(&question).await.map(|status| status.state).map_err(|problem| problem.code)
}

fn wants(host: &str) -> Value {
    json!({ "reason": "to work", "endpoints": [{ "host": host }] })
}

fn yaml(supervisor: &Supervisor) -> String {
    supervisor.content().chain[0].settings["yaml"].as_str().unwrap().to_owned()
}

async fn an_approved_proposal_is_a_generation_with_that_in_its_rules(on: Database) {
    let world = World::new(on).await;
    let a = world.sandbox("a").await;
    world.push(&["a"], "one.test").await.ok();
    let before = yaml(&a);
    let id = propose(&a, wants("Two.test")).await.unwrap();
    assert_eq!(propose(&a, wants("two.test")).await.unwrap(), id, "the same again is the same proposal");
    assert_eq!(stands(&a, &id).await, Ok(ProposalState::Pending));

    let shown = world.get(&format!("/v1/proposals/{id}")).await.ok();
    assert_eq!(
        (&shown["asked_by"]["executable"], &shown["effect"]["generation"]),
        (&json!("/usr/bin/agent"), &json!(2))
    );
    let diff = shown["effect"]["diff"].as_str().unwrap();
    assert!(
        diff.contains("+      - host: \"two.test\"\n") && diff.contains("+      - path: \"/usr/bin/agent\"\n"),
        "{diff}"
    );
    assert!(!diff.lines().any(|line| line.starts_with('-')), "nothing of the user's goes away: {diff}");
    assert_eq!(shown["effect"]["dangers"], json!([]));
    assert!(shown["effect"]["notes"][0].as_str().unwrap().contains("nobody is known to have tried"), "{shown}");

    world.post(&format!("/v1/proposals/{id}/approve"), json!({ "generation": 2 })).await.ok();
    assert_eq!(a.generation(), 3);
    let after = yaml(&a);
    assert!(after.starts_with(&before) && after.contains("two.test"), "{after}");
    assert_eq!(stands(&a, &id).await, Ok(ProposalState::Approved));
    assert_eq!(a.state.lock().unwrap().decided, std::slice::from_ref(&id), "who waits is told");
    let shown = world.get(&format!("/v1/proposals/{id}")).await.ok();
    assert_eq!(
        (&shown["state"], &shown["generation"], &shown["effect"]),
        (&json!("approved"), &json!(3), &Value::Null)
    );
    let again = world.post(&format!("/v1/proposals/{id}/approve"), json!({ "generation": 3 })).await;
    again.problem(409, "already_decided");
    world.post(&format!("/v1/proposals/{id}/reject"), json!({})).await.problem(409, "already_decided");

    world.post("/v1/sandboxes/a/rollback", json!({})).await.ok();
    assert_eq!(yaml(&a), before, "and it is taken back like any change");
}

async fn a_sandbox_without_a_policy_gets_its_first_rules(on: Database) {
    let world = World::new(on).await;
    let a = world.sandbox("a").await;
    let id = propose(&a, wants("one.test")).await.unwrap();
    world.post(&format!("/v1/proposals/{id}/approve"), json!({ "generation": 1 })).await.ok();
    assert_eq!((a.generation(), a.content().chain.len()), (2, 1));
    assert!(yaml(&a).starts_with("version: 1\nnetwork_policies:\n  proposal-"), "{}", yaml(&a));
}

async fn what_was_not_seen_is_not_approved(on: Database) {
    let world = World::new(on).await;
    let a = world.sandbox("a").await;
    world.push(&["a"], "one.test").await.ok();
    let id = propose(&a, wants("two.test")).await.unwrap();
    let approve = format!("/v1/proposals/{id}/approve");
    world.push(&["a"], "other.test").await.ok();
    world.post(&approve, json!({ "generation": 2 })).await.problem(409, "policy_changed");
    assert_eq!(a.generation(), 3);
    let anew = world.get(&format!("/v1/proposals/{id}")).await.ok();
    assert!(anew["effect"]["diff"].as_str().unwrap().contains("other.test"), "{anew}");
    world.post(&approve, json!({ "generation": 3 })).await.ok();
    assert!(yaml(&a).contains("other.test") && yaml(&a).contains("two.test"));

    let claim = json!({ "reason": "harmless", "endpoints": [{ "host": "169.254.169.254", "port": 80 }, { "host": "**.com" }],
        "binaries": ["/**"] });
    let id = propose(&a, claim).await.unwrap();
    let approve = format!("/v1/proposals/{id}/approve");
    let shown = world.get(&format!("/v1/proposals/{id}")).await.ok();
    let dangers = shown["effect"]["dangers"].to_string();
    for expected in ["metadata service", "top-level domain", "stands for many"] {
        assert!(dangers.contains(expected), "{expected}: {dangers}");
    }
    let refused = world.post(&approve, json!({ "generation": 4 })).await.problem(422, "dangerous");
    assert!(refused["detail"].as_str().unwrap().contains("metadata service"), "{refused}");
    assert_eq!(a.generation(), 4);
    world.post(&approve, json!({ "generation": 4, "accept_dangers": true })).await.ok();
    assert_eq!(a.generation(), 5);
}

async fn a_rejection_says_why_and_changes_nothing(on: Database) {
    let world = World::new(on).await;
    let (a, b) = (world.sandbox("a").await, world.sandbox("b").await);
    let id = propose(&a, wants("one.test")).await.unwrap();
    assert_eq!(stands(&b, &id).await, Err("proposal_not_found".into()), "another sandbox's is none of its business");
    let rejected = world.post(&format!("/v1/proposals/{id}/reject"), json!({ "reason": "use the mirror" })).await.ok();
    assert_eq!((&rejected["state"], &rejected["reason"]), (&json!("rejected"), &json!("use the mirror")));
    assert_eq!(stands(&a, &id).await, Ok(ProposalState::Rejected));
    assert_eq!(a.generation(), 1);
    let of = async |query: &str| world.items(&format!("/v1/proposals{query}")).await.as_array().unwrap().len();
    assert_eq!((of("").await, of("?state=pending").await, of("?sandbox=b").await), (1, 0, 0));
    world.get("/v1/proposals?state=maybe").await.problem(400, "bad_query");
    world.get("/v1/proposals/01KBXJ3M5YV2N7E4Q0R8S6T1WZ").await.problem(404, "proposal_not_found");

    world.delete("/v1/sandboxes/a").await.ok();
    assert_eq!(of("").await, 0, "they go with their sandbox");
}

async fn only_the_built_in_rules_can_be_extended(on: Database) {
    let world = World::new(on).await;
    let a = world.sandbox("a").await;
    let id = propose(&a, wants("one.test")).await.unwrap();
    let approve = async |generation: u64| {
        world.post(&format!("/v1/proposals/{id}/approve"), json!({ "generation": generation })).await
    };
    let module = world.rules().await;
    let push = async |binding: &str, yaml: &str| {
        let push = json!({ "sandboxes": ["a"], "module": module, "binding": binding, "settings": { "yaml": yaml }, "replace_all": true });
        world.post("/v1/pushes", push).await.ok();
    };
    push(
        "mine",
        "{version: 1, network_policies: {a: {endpoints: [{host: a.test, port: 443}], binaries: [{path: /a}]}}}",
    )
    .await;
    let refused = approve(2).await.problem(409, "rules_not_editable");
    assert!(refused["hint"].as_str().unwrap().contains("- host: \"one.test\""), "{refused}");
    let shown = world.get(&format!("/v1/proposals/{id}")).await.ok();
    assert_eq!(
        (&shown["effect"]["refusal"]["code"], &shown["effect"]["diff"]),
        (&json!("rules_not_editable"), &json!(""))
    );

    push("mine", "version: 1\n").await;
    approve(3).await.ok();
    assert_eq!(a.content().chain[0].name.as_str(), "mine", "the binding keeps its name");

    let router = world.items("/v1/modules").await;
    let router = router.as_array().unwrap().iter().find(|module| module["name"] == "privacy-router").unwrap().clone();
    assert!(router["hooks"].to_string().contains("route"));
}

async fn a_sandbox_can_not_flood_its_user(on: Database) {
    let world = World::new(on).await;
    let a = world.sandbox("a").await;
    let mut first = String::new();
    for number in 0..10 {
        first = propose(&a, wants(&format!("n{number}.test"))).await.unwrap();
    }
    assert_eq!(propose(&a, wants("more.test")).await, Err("too_many_proposals".into()));
    world.post(&format!("/v1/proposals/{first}/reject"), json!({})).await.ok();
    propose(&a, wants("more.test")).await.unwrap();
    for bad in [json!({ "reason": "", "endpoints": [{ "host": "a.test" }] }), wants("a b"), wants("policy.local")] {
        assert_eq!(propose(&a, bad).await, Err("bad_proposal".into()));
    }
}
