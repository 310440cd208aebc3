//! Where sandboxes can run, as far as no engine is needed for it; `tests/e2e/docker/machines.rs` has engines.

use serde_json::{Value, json};

use crate::world::{Database, World};

with_both!(runtimes_are_listed_and_bad_ones_are_refused);

async fn runtimes_are_listed_and_bad_ones_are_refused(on: Database) {
    let world = World::new(on).await;
    let listed = world.items("/v1/runtimes").await;
    assert_eq!(listed.as_array().unwrap().len(), 1, "{listed}");
    let process = world.get("/v1/runtimes/process").await;
    assert!(!process.etag.is_empty());
    let process = process.ok();
    assert_eq!((process["built_in"].as_bool(), process["health"].as_str()), (Some(true), Some("answers")), "{process}");
    assert_eq!(process["sandboxes"], 0);
    world.sandbox("a").await;
    assert_eq!(world.get("/v1/runtimes/process").await.ok()["sandboxes"], 1);
    assert_eq!(world.get("/v1/sandboxes/a").await.ok()["runtime"], "process");
    world.get("/v1/runtimes/nobody").await.problem(404, "runtime_not_found");
    world.delete("/v1/runtimes/nobody").await.problem(404, "runtime_not_found");
    let set = world.request(reqwest::Method::PUT, "/v1/runtimes/process").json(&json!({ "labels": {} }));
    world.send(set).await.problem(404, "runtime_not_found");
    world.delete("/v1/runtimes/process").await.problem(404, "runtime_not_found");

    let good = json!({ "name": "big", "kind": "docker", "url": "ssh://me@big", "gateway_url": "https://gateway.example:7443" });
    let check = async |changes: Value, status: u16, code: &str| {
        let mut body = good.clone();
        body.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        world.post("/v1/runtimes", body).await.problem(status, code);
    };
    check(json!({ "name": "docker" }), 422, "built_in").await;
    check(json!({ "name": "process" }), 422, "built_in").await;
    check(json!({ "kind": "process" }), 422, "bad_kind").await;
    check(json!({ "kind": "kubernetes" }), 422, "bad_request").await;
    check(json!({ "kind": "swarm" }), 422, "bad_registry").await;
    check(json!({ "kind": "swarm", "registry": "https://registry.example/x" }), 422, "bad_registry").await;
    check(json!({ "kind": "swarm", "registry": "registry.example/x:latest" }), 422, "bad_registry").await;
    check(json!({ "registry": "registry.example/x" }), 422, "bad_registry").await;
    let login = json!({ "user": "me", "password": "unheard-of" });
    check(json!({ "registry_login": login }), 422, "bad_registry").await;
    check(
        json!({ "kind": "swarm", "registry": "registry.example/x", "registry_login": { "user": "me" } }),
        422,
        "bad_request",
    )
    .await;
    check(json!({ "labels": { "": "x" } }), 422, "bad_label").await;
    check(json!({ "url": "unix:///var/run/docker.sock" }), 422, "bad_url").await;
    check(json!({ "url": "tcp://10.0.0.5:2375" }), 422, "tls_required").await;
    let tls = json!({ "ca": "none", "certificate": "none", "key": "none" });
    check(json!({ "url": "tcp://10.0.0.5:2376", "tls": tls }), 422, "bad_tls").await;
    check(json!({ "tls": tls }), 422, "bad_tls").await;
    check(json!({ "gateway_url": "https://127.0.0.1:7443" }), 422, "bad_url").await;
    check(json!({ "gateway_url": "https://gateway.example/prefix" }), 422, "bad_url").await;
    // It listens on loopback, and nobody said where else it is reached.
    check(json!({ "gateway_url": null }), 422, "no_gateway_url").await;
    // This one's sandboxes are tasks of the test.
    check(json!({}), 422, "runtime_unavailable").await;
    let swarm = json!({ "kind": "swarm", "registry": "registry.example/x", "registry_login": login });
    check(swarm, 422, "runtime_unavailable").await;
    assert_eq!(world.items("/v1/runtimes").await.as_array().unwrap().len(), 1);
    let trail = world.get("/v1/audit").await.ok().to_string();
    assert!(
        trail.contains("runtime.add") && !trail.contains("BEGIN") && !trail.contains("unheard-of"),
        "a refused attempt is told: {trail}"
    );

    // Nothing but a lost sandbox goes elsewhere.
    let start = async |query: &str| world.post(&format!("/v1/sandboxes/a/start{query}"), Value::Null).await;
    start("").await.problem(409, "sandbox_running");
    start("?elsewhere=true").await.problem(409, "sandbox_running");
    world.post("/v1/sandboxes/a/stop", Value::Null).await.ok();
    start("?elsewhere=true").await.problem(409, "runtime_not_lost");
    start("?runtime=big").await.problem(409, "runtime_not_lost");
    start("?elsewhere=perhaps").await.problem(400, "bad_query");
    assert_eq!(world.get("/v1/sandboxes/a").await.ok()["phase"], "stopped");
    assert_eq!(start("?runtime=process").await.ok()["phase"], "running");
    let on = json!({ "name": "b", "on": { "zone": "east" } });
    world.post("/v1/sandboxes", on).await.problem(422, "no_runtime");
    let both = json!({ "name": "b", "runtime": "process", "on": { "zone": "east" } });
    world.post("/v1/sandboxes", both).await.problem(422, "unsupported_option");
    world.post("/v1/sandboxes", json!({ "name": "b", "runtime": "big" })).await.problem(422, "runtime_unavailable");
}
