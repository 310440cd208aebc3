//! Two phases, all or none, against supervisors that agree, refuse, vanish and return.

use crate::world::supervisor::{Mood, Supervisor};
use crate::world::{Database, World, allow};
use serde_json::json;

with_both!(
    a_push_reaches_every_sandbox_and_is_acknowledged,
    one_refusal_changes_nothing_anywhere,
    who_asks_for_what_is_not_part_of_a_push_gets_none_of_it,
    a_sandbox_lost_after_the_commit_catches_up,
    a_push_to_who_is_not_there_says_so,
    conflicting_pushes_do_not_interleave,
    rollback_is_a_push_of_older_content,
    a_gateway_that_was_set_back_never_sends_a_sandbox_backwards,
    a_ceiling_reaches_all_and_those_that_come_later,
);

async fn a_push_reaches_every_sandbox_and_is_acknowledged(on: Database) {
    let world = World::new(on).await;
    let (a, b) = (world.sandbox("a").await, world.sandbox("b").await);
    assert_eq!((a.generation(), a.content().chain.len()), (1, 0), "a new sandbox denies everything");
    b.mood(Mood::KnowsNoKeys);

    let report = world.push(&["a", "b"], "one.test").await.ok();
    assert_eq!(report["enforcing"].as_array().unwrap().len(), 2);
    assert_ne!(report["timing"]["compile_us"], 0);
    for supervisor in [&a, &b] {
        assert_eq!(supervisor.generation(), 2);
        assert_eq!(supervisor.content().chain[0].name.as_str(), "rules");
        assert_eq!(supervisor.state.lock().unwrap().artifacts_received, 1);
    }
    let length = |supervisor: &Supervisor| {
        let state = supervisor.state.lock().unwrap();
        (state.artifact_bytes, state.artifacts.values().map(|artifact| artifact.len()).sum())
    };
    let ((compressed, long), (plain, same)): ((usize, usize), (usize, usize)) = (length(&a), length(&b));
    assert_eq!((long, plain), (same, same), "who can't say that it takes what is compressed gets it as it is");
    assert!(compressed < long / 2, "{compressed} of {long} bytes");
    let policies = world.get("/v1/sandboxes/a/policies").await.ok();
    assert_eq!(policies["enforcing"], true);
    assert_eq!(policies["chain"][0]["settings"], crate::world::allow("one.test"));

    world.push(&["a"], "one.test").await.ok();
    assert_eq!((a.generation(), b.generation()), (3, 2));
    assert_eq!(a.state.lock().unwrap().artifacts_received, 1, "it has that artifact already");
    assert_eq!(a.content().chain.len(), 1, "a binding of the same name is replaced");

    // With other settings most of it is there already.
    let whole = std::mem::take(&mut a.state.lock().unwrap().artifact_bytes);
    world.push(&["a"], "another.test").await.ok();
    let state = a.state.lock().unwrap();
    assert_eq!(state.artifacts_received, 2);
    assert!(state.artifact_bytes < whole / 10, "{} bytes after {whole}", state.artifact_bytes);
}

async fn one_refusal_changes_nothing_anywhere(on: Database) {
    let world = World::new(on).await;
    let (a, b) = (world.sandbox("a").await, world.sandbox("b").await);
    for (mood, word) in [(Mood::Refuse, "not today"), (Mood::LoseAtStage, "connection has ended")] {
        b.mood(mood);
        let problem = world.push(&["a", "b"], "one.test").await.problem(409, "not_staged");
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains("b: ") && detail.contains(word), "{detail}");
        assert_eq!((a.generation(), b.generation()), (1, 1));
        for name in ["a", "b"] {
            let generations = world.items(&format!("/v1/sandboxes/{name}/generations")).await;
            assert_eq!(generations.as_array().unwrap().len(), 1);
        }
    }
    b.mood(Mood::Fine);
    b.connect();
    world.until("/v1/sandboxes/b", |sandbox| sandbox["connected"] == true).await;
    assert_eq!(a.state.lock().unwrap().aborted, 2);
    world.push(&["a", "b"], "one.test").await.ok();
    assert_eq!((a.generation(), b.generation()), (2, 2));
}

async fn who_asks_for_what_is_not_part_of_a_push_gets_none_of_it(on: Database) {
    let world = World::new(on).await;
    let a = world.sandbox("a").await;
    a.mood(Mood::AskForMore);
    let problem = world.push(&["a"], "one.test").await.problem(409, "not_staged");
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.contains("not part of it"), "{detail}");
    a.mood(Mood::Fine);
    world.push(&["a"], "one.test").await.ok();
    assert_eq!(a.generation(), 2);
    let state = a.state.lock().unwrap();
    assert_eq!((state.aborted, state.artifacts_received), (1, 1), "it was told that the first push was given up");
}

async fn a_sandbox_lost_after_the_commit_catches_up(on: Database) {
    let world = World::new(on).await;
    let (a, b) = (world.sandbox("a").await, world.sandbox("b").await);
    b.mood(Mood::LoseAtActivate);
    world.push(&["a", "b"], "one.test").await.problem(504, "not_acknowledged");
    assert_eq!((a.generation(), b.generation()), (2, 1));
    assert_eq!(world.generation("b").await, 1, "nothing is claimed that was not acknowledged");

    b.mood(Mood::Fine);
    b.connect();
    world.until("/v1/sandboxes/b", |sandbox| sandbox["generation"] == 2).await;
    assert_eq!(b.content().chain, a.content().chain);
}

async fn a_push_to_who_is_not_there_says_so(on: Database) {
    let world = World::new(on).await;
    let a = world.sandbox("a").await;
    world.push(&["nobody"], "one.test").await.problem(404, "sandbox_not_found");
    world.push(&["a", "nobody"], "one.test").await.problem(404, "sandbox_not_found");
    world.push(&[], "one.test").await.problem(422, "no_sandbox");
    let push = json!({ "sandboxes": ["a"], "module": "sha256:0" });
    world.post("/v1/pushes", push).await.problem(404, "module_not_found");
    let push = json!({ "sandboxes": ["a"], "module": world.rules().await, "settings": { "yaml": 7 } });
    world.post("/v1/pushes", push).await.problem(422, "settings_refused");
    a.disconnect();
    world.until("/v1/sandboxes/a", |sandbox| sandbox["connected"] == false).await;
    world.push(&["a"], "one.test").await.problem(409, "sandbox_not_connected");
    assert_eq!(a.generation(), 1);
}

async fn conflicting_pushes_do_not_interleave(on: Database) {
    let world = World::new(on).await;
    let (a, b) = (world.sandbox("a").await, world.sandbox("b").await);
    let pushes = ["1.test", "2.test", "3.test", "4.test"].map(|host| {
        let order: &[&str] = if host < "3" { &["a", "b"] } else { &["b", "a"] };
        world.push(order, host)
    });
    for answer in futures_util::future::join_all(pushes).await {
        answer.ok();
    }
    assert_eq!((a.generation(), b.generation()), (5, 5));
    assert_eq!(a.content(), b.content());
}

async fn rollback_is_a_push_of_older_content(on: Database) {
    let world = World::new(on).await;
    let a = world.sandbox("a").await;
    world.post("/v1/sandboxes/a/rollback", json!({})).await.problem(409, "nothing_to_roll_back");
    world.push(&["a"], "one.test").await.ok();
    let one = a.content();
    world.push(&["a"], "two.test").await.ok();
    let two = a.content();

    world.post("/v1/sandboxes/a/rollback", json!({})).await.ok();
    assert_eq!((a.generation(), a.content()), (4, one));
    world.post("/v1/sandboxes/a/rollback", json!({ "to": 3 })).await.ok();
    assert_eq!((a.generation(), a.content()), (5, two));
    world.post("/v1/sandboxes/a/rollback", json!({ "to": 1 })).await.ok();
    assert!(a.content().chain.is_empty());
    world.post("/v1/sandboxes/a/rollback", json!({ "to": 99 })).await.problem(404, "generation_not_found");
    world.post("/v1/sandboxes/nobody/rollback", json!({})).await.problem(404, "sandbox_not_found");

    let generations = world.items("/v1/sandboxes/a/generations").await;
    let causes: Vec<&str> = generations.as_array().unwrap().iter().map(|one| one["cause"].as_str().unwrap()).collect();
    assert_eq!(causes.len(), 6);
    assert_eq!((causes[0], causes[1], causes[5]), ("rollback to 1", "rollback to 3", "sandbox created"));
}

async fn a_gateway_that_was_set_back_never_sends_a_sandbox_backwards(on: Database) {
    let world = World::new(on).await;
    let a = world.sandbox("a").await;
    a.state.lock().unwrap().hello_generation = Some(40);
    a.connect();
    world.until("/v1/sandboxes/a", |sandbox| sandbox["generation"] == 41).await;
    assert_eq!(a.generation(), 41);
}

async fn a_ceiling_reaches_all_and_those_that_come_later(on: Database) {
    let world = World::new(on).await;
    let (a, b) = (world.sandbox("a").await, world.sandbox("b").await);
    b.disconnect();
    world.until("/v1/sandboxes/b", |sandbox| sandbox["connected"] == false).await;
    let ceiling =
        json!({ "bindings": [{ "module": world.rules().await, "settings": crate::world::allow("all.test") }] });
    world.send(world.request(reqwest::Method::PUT, "/v1/ceiling").json(&ceiling)).await.ok();
    assert_eq!((a.generation(), a.content().ceiling.len()), (2, 1));
    b.connect();
    world.until("/v1/sandboxes/b", |sandbox| sandbox["generation"] == 2).await;
    assert_eq!(b.content().ceiling, a.content().ceiling);
    let c = world.sandbox("c").await;
    assert_eq!(c.content().ceiling, a.content().ceiling);

    a.mood(Mood::Refuse);
    world
        .send(world.request(reqwest::Method::PUT, "/v1/ceiling").json(&json!({ "bindings": [] })))
        .await
        .problem(409, "not_staged");
    assert_eq!(c.content().ceiling.len(), 1);
    assert_eq!(world.get("/v1/ceiling").await.ok().as_array().unwrap().len(), 1);
}

/// A gateway starts without compiling what comes with it.
#[test]
fn the_schemas_that_are_written_down_are_what_the_modules_say() {
    let compiler = openshell_policy_host::Compiler::new().unwrap();
    for builtin in openshell_bundle::BUILTINS {
        let written: serde_json::Value = serde_json::from_str(builtin.settings_schema).unwrap();
        assert_eq!(
            compiler.schema(builtin.component).unwrap(),
            written,
            "policies-wasm/bundle/schemas: {}",
            builtin.name
        );
    }
}

/// What is kept of a module serves other settings of it: with real modules and settings.
#[test]
fn modules_with_other_settings_compile_to_the_same_from_what_was_compiled_before() {
    let directory = tempfile::tempdir().unwrap();
    let key = openshell_policy_host::SigningKey::from_bytes(&[7; 32]);
    let remembering = openshell_policy_host::Compiler::remembering(Some(directory.path())).unwrap();
    let anew = openshell_policy_host::Compiler::new().unwrap();
    for (name, settings) in [
        ("rules", allow("one.test")),
        ("rules", allow("another.test")),
        ("privacy-router", json!({})),
        ("rules", allow("one.test")),
    ] {
        let component = openshell_bundle::builtin(name).unwrap().component;
        let compile = |compiler: &openshell_policy_host::Compiler| {
            compiler.compile(component, name, "1.0.0", &settings, &key).unwrap().digest
        };
        assert_eq!(compile(&remembering), compile(&anew), "{name} {settings}");
    }
}
