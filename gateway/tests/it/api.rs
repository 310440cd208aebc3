//! The API's manners: who may call, what a bad call is told, what a module must be.

use crate::world::{Database, World};
use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use openshell_api::enforcement::Enforcement;
use openshell_api::link::FromSupervisor;
use reqwest::Method;
use serde_json::json;

with_both!(
    every_refusal_is_a_problem,
    tokens_open_what_they_are_for,
    modules_are_checked_and_kept_by_digest,
    a_200_mb_upload_is_refused_before_it_is_read,
    backends_reach_sandboxes_with_their_secrets_and_nobody_else,
    reports_are_kept_once_and_acknowledged,
    commands_run_over_the_sandboxes_link,
    a_monitor_is_told_what_was_decided_and_how_things_stand,
    walls_are_proven_on_request_and_kept,
    a_sandbox_that_only_observes_says_so_until_a_policy_is_pushed,
    a_sandbox_may_have_policies_from_the_start,
);

async fn every_refusal_is_a_problem(on: Database) {
    let world = World::new(on).await;
    world.sandbox("taken").await;
    let check = async |method: Method, path: &str, body: &str, status: u16, code: &str| {
        let request = world.request(method, path).header("content-type", "application/json").body(body.to_owned());
        world.send(request).await.problem(status, code);
    };
    check(Method::GET, "/v1/nothing", "", 404, "no_such_path").await;
    check(Method::PATCH, "/v1/sandboxes", "", 405, "method_not_allowed").await;
    check(Method::POST, "/v1/sandboxes", "{", 400, "bad_request").await;
    check(Method::POST, "/v1/sandboxes", r#"{"nmae":"x"}"#, 422, "bad_request").await;
    // Nested deeper than any stack: where a body's shape is known, and where it is anybody's.
    let deep = |begin: &str| format!("{begin}{}", "[".repeat(500_000));
    check(Method::POST, "/v1/sandboxes", &deep(r#"{"labels":{"a":"#), 422, "bad_request").await;
    check(Method::POST, "/v1/pushes", &deep(r#"{"module":"sha256:00","settings":"#), 400, "bad_request").await;
    check(Method::POST, "/v1/pushes", &r#"{"settings":"#.repeat(150_000), 400, "bad_request").await;
    check(Method::POST, "/v1/sandboxes", r#"{"name":"Not A Name"}"#, 422, "bad_request").await;
    check(Method::POST, "/v1/sandboxes", r#"{"name":"taken"}"#, 409, "sandbox_exists").await;
    check(Method::POST, "/v1/sandboxes", r#"{"runtime":"docker"}"#, 422, "runtime_unavailable").await;
    check(Method::POST, "/v1/sandboxes", r#"{"workdir":"here"}"#, 422, "bad_workdir").await;
    check(Method::POST, "/v1/sandboxes", r#"{"env":{"A=B":"x"}}"#, 422, "bad_env").await;
    check(Method::POST, "/v1/sandboxes", r#"{"add_hosts":{"a.test":"nowhere"}}"#, 422, "bad_host").await;
    check(Method::POST, "/v1/sandboxes", r#"{"providers":["none"]}"#, 422, "provider_not_found").await;
    check(Method::POST, "/v1/sandboxes", &format!("\"{}\"", "x".repeat(3 << 20)), 413, "too_large").await;
    check(Method::GET, "/v1/sandboxes/none", "", 404, "sandbox_not_found").await;
    check(Method::DELETE, "/v1/sandboxes/none", "", 404, "sandbox_not_found").await;
    check(Method::GET, "/v1/sandboxes/none/logs", "", 404, "sandbox_not_found").await;
    check(Method::GET, "/v1/sandboxes/taken/streams", "", 400, "not_a_websocket").await;
    check(Method::GET, "/v1/decisions?since=yesterday", "", 400, "bad_query").await;
    check(Method::GET, "/v1/decisions?nonsense=1", "", 400, "bad_query").await;
    check(Method::GET, "/v1/modules/sha256:0", "", 404, "module_not_found").await;
    check(Method::DELETE, "/v1/providers/none", "", 404, "provider_not_found").await;
    check(Method::DELETE, "/v1/inference/backends/none", "", 404, "backend_not_found").await;
    let plain = world.request(Method::POST, "/v1/sandboxes").body("{}");
    world.send(plain).await.problem(415, "not_json");
}

async fn tokens_open_what_they_are_for(on: Database) {
    let world = World::new(on).await;
    world.sandbox("a").await;
    let supervisor = world.runtime.seat("a").spec.token;
    let check = async |path: &str, token: &str, expected: (u16, &str)| {
        let request = world.http.get(format!("{}{path}", world.running.endpoint.url)).bearer_auth(token);
        world.send(request).await.problem(expected.0, expected.1);
    };
    for path in ["/v1/status", "/v1/sandboxes", "/v1/sandboxes/a/streams", "/v1/decisions", "/v1/providers"] {
        check(path, "wrong", (401, "unauthorized")).await;
        check(path, &supervisor, (403, "forbidden")).await;
    }
    check("/v1/supervisor", &world.token, (403, "forbidden")).await;
    check("/v1/supervisor", "wrong", (401, "unauthorized")).await;
    check("/v1/supervisor", &supervisor, (400, "not_a_websocket")).await;

    world.delete("/v1/sandboxes/a").await.ok();
    check("/v1/supervisor", &supervisor, (401, "unauthorized")).await;
    for path in ["/healthz", "/readyz", "/openapi.json"] {
        assert!(
            world.http.get(format!("{}{path}", world.running.endpoint.url)).send().await.unwrap().status().is_success()
        );
    }
}

async fn modules_are_checked_and_kept_by_digest(on: Database) {
    let world = World::new(on).await;
    let upload = async |query: &str, bytes: Vec<u8>| {
        world.send(world.request(Method::POST, &format!("/v1/modules?{query}")).body(bytes)).await
    };
    upload("name=x&version=1", b"no wasm".to_vec()).await.problem(422, "not_wasm");
    upload("name=x&version=1", b"\0asm\x01\0\0\0".to_vec()).await.problem(422, "core_module");
    upload("name=x&version=1", b"\0asm\x0d\0\x01\0".to_vec()).await.problem(422, "no_configure");
    upload("name=X&version=1", vec![]).await.problem(422, "bad_name");
    upload("name=x&version=%20", vec![]).await.problem(422, "bad_version");
    upload("name=x", vec![]).await.problem(400, "bad_query");

    let rules = openshell_bundle::builtin("rules").unwrap().component.to_vec();
    let router = openshell_bundle::builtin("privacy-router").unwrap().component.to_vec();
    let stored = upload("name=mine&version=1", rules.clone()).await.ok();
    assert_eq!(upload("name=mine&version=1", rules).await.ok()["digest"], stored["digest"]);
    upload("name=mine&version=1", router.clone()).await.problem(409, "version_exists");
    let replaced = upload("name=mine&version=1&replace=true", router).await.ok();
    assert_eq!(world.get("/v1/modules/mine@1").await.ok()["digest"], replaced["digest"]);
    let digest = stored["digest"].as_str().unwrap();
    assert_eq!(world.get(&format!("/v1/modules/{digest}")).await.ok()["hooks"], stored["hooks"]);
}

async fn a_200_mb_upload_is_refused_before_it_is_read(on: Database) {
    let world = World::new(on).await;
    let chunk = Bytes::from(vec![0; 1 << 20]);
    let chunks = futures_util::stream::iter((0..200).map(move |_| Ok::<_, std::io::Error>(chunk.clone())));
    let request = world.request(Method::POST, "/v1/modules?name=big&version=1").header("content-length", 200 << 20);
    world.send(request.body(reqwest::Body::wrap_stream(chunks))).await.problem(413, "too_large");
}

async fn backends_reach_sandboxes_with_their_secrets_and_nobody_else(on: Database) {
    let world = World::new(on).await;
    let a = world.sandbox("a").await;
    let provider = json!({ "name": "key", "type": "openai", "secret": "sk-very-secret" });
    let answer = world.post("/v1/providers", provider.clone()).await.ok();
    assert_eq!(answer["rule"]["hosts"], json!(["api.openai.com"]));
    world.post("/v1/providers", provider).await.problem(409, "provider_exists");
    world
        .post("/v1/providers", json!({ "name": "b", "type": "odd", "secret": "x" }))
        .await
        .problem(422, "unknown_provider_type");

    let backend = json!({ "name": "cheap", "kind": "openai", "base_url": "https://api.openai.com/v1",
        "locality": "public", "clearance": "public", "provider": "key" });
    world.post("/v1/inference/backends", backend.clone()).await.ok();
    world.post("/v1/inference/backends", backend.clone()).await.problem(409, "backend_exists");
    assert_eq!((a.generation(), a.content().catalogue.backends.len()), (2, 1));
    assert_eq!(a.content().router.unwrap().name.as_str(), "privacy-router");
    assert_eq!(a.state.lock().unwrap().secrets["key"], "sk-very-secret");
    assert!(a.content().credentials.is_empty(), "a backend's key is no credential that a grant may name");

    world.delete("/v1/providers/key").await.problem(409, "provider_in_use");
    for path in ["/v1/providers", "/v1/inference/backends", "/v1/sandboxes/a/policies", "/v1/sandboxes/a/generations"] {
        assert!(!world.get(path).await.ok().to_string().contains("sk-very-secret"), "{path}");
    }
    let b = world.post("/v1/sandboxes", json!({ "name": "b", "providers": ["key"] })).await.ok();
    let b = world.runtime.seat(b["name"].as_str().unwrap()).supervisor;
    assert!(b.content().router.is_some() && b.content().credentials.contains_key("key"));

    world.delete("/v1/inference/backends/cheap").await.ok();
    assert_eq!((a.generation(), a.content().catalogue.backends.len()), (3, 0));
    assert!(a.state.lock().unwrap().secrets.is_empty(), "what it no longer needs it no longer has");
    world.delete("/v1/providers/key").await.problem(409, "provider_in_use");
    world.delete("/v1/sandboxes/b").await.ok();
    world.delete("/v1/providers/key").await.ok();
    let state = world.dir.path().join("state");
    for entry in std::fs::read_dir(state).unwrap().flatten().filter(|entry| entry.path().is_file()) {
        let bytes = std::fs::read(entry.path()).unwrap();
        assert!(!bytes.windows(14).any(|window| window == b"sk-very-secret"), "{}", entry.path().display());
    }
}

async fn reports_are_kept_once_and_acknowledged(on: Database) {
    let world = World::new(on).await;
    let a = world.sandbox("a").await;
    let record = serde_json::from_value(json!({
        "id": "01", "at": "2026-01-01T00:00:00Z", "sandbox": "someone-else", "generation": 1, "stage": "connect",
        "process": { "executable": "/bin/x", "digest": "", "pid": 1 }, "host": "h.test", "port": 443,
        "verdict": "deny", "decision_ns": 1, "memoized": false
    }))
    .unwrap();
    let line = |text: &str| {
        serde_json::from_value(json!({ "at": "2026-01-01T00:00:00Z", "stream": "stdout", "line": text })).unwrap()
    };
    for _ in 0..2 {
        a.say(FromSupervisor::Records { first: 5, records: vec![Clone::clone(&record)] });
        a.say(FromSupervisor::Logs { first: 1, lines: vec![line("one"), line("two")] });
    }
    let follow = world.request(Method::GET, "/v1/sandboxes/a/logs?follow=true").send().await.unwrap();
    let logs =
        world.until("/v1/sandboxes/a/logs", |logs| logs["items"].as_array().is_some_and(|logs| logs.len() == 2)).await;
    assert_eq!((&logs["items"][0]["line"], &logs["items"][1]["line"]), (&json!("one"), &json!("two")));
    world
        .until("/v1/decisions?sandbox=a", |found| found["items"].as_array().is_some_and(|found| found.len() == 1))
        .await;
    assert_eq!(world.items("/v1/decisions?sandbox=someone-else").await, json!([]));
    assert_eq!(world.items("/v1/decisions?since=2026-02-01T00:00:00Z").await, json!([]));

    a.say(FromSupervisor::Logs { first: 3, lines: vec![line("three")] });
    let mut stream = follow.bytes_stream();
    let mut text = String::new();
    while !text.contains("three") {
        text.push_str(std::str::from_utf8(&stream.next().await.unwrap().unwrap()).unwrap());
    }
    assert_eq!(text.lines().count(), 3);
    let acknowledged = async {
        loop {
            {
                let state = a.state.lock().unwrap();
                if state.records_stored == [5, 5] && state.logs_stored == [2, 2, 3] {
                    return;
                }
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(10), acknowledged).await.unwrap();
}

async fn commands_run_over_the_sandboxes_link(on: Database) {
    let world = World::new(on).await;
    let a = world.sandbox("a").await;
    let (frames, end) = exec(&world, json!({ "type": "exec", "exec": { "command": ["echo", "hi"] } }), &[]).await;
    assert_eq!(frames, [(1, b"echo hi".to_vec()), (2, b"oops".to_vec())]);
    assert_eq!(end, json!({ "type": "exited", "code": 7 }));
    let granted = async {
        while a.state.lock().unwrap().exec_credit != 11 {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(10), granted).await.expect("what was taken is granted again");

    let (frames, end) = exec(&world, json!({ "type": "exec", "exec": { "command": ["cat"] } }), &[b"in", b""]).await;
    assert_eq!(frames, [(1, b"in".to_vec())]);
    assert_eq!(end, json!({ "type": "exited", "code": 0 }));

    // It has lost the gateway, and finds it again.
    a.disconnect();
    world.until("/v1/sandboxes/a", |sandbox| sandbox["connected"] == false).await;
    let again = async {
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        a.connect();
    };
    let echo = json!({ "type": "exec", "exec": { "command": ["echo", "hi"] } });
    let ((_, end), ()) = tokio::join!(exec(&world, echo, &[]), again);
    assert_eq!(end, json!({ "type": "exited", "code": 7 }));

    let (_, end) = exec(&world, json!({ "type": "exec", "exec": { "command": [] } }), &[]).await;
    assert_eq!(end["type"], "failed");
    let (_, end) = exec(&world, json!({ "cmd": 1 }), &[]).await;
    assert_eq!(end["type"], "failed");
}

async fn exec(world: &World, request: serde_json::Value, input: &[&[u8]]) -> (Vec<(u8, Vec<u8>)>, serde_json::Value) {
    use tokio_tungstenite::tungstenite::Message;
    let url = format!("{}/v1/sandboxes/a/streams", world.running.endpoint.url.replace("https:", "wss:"));
    let ca = std::fs::read(&world.running.endpoint.ca).unwrap();
    let mut socket = crate::world::websocket::websocket(&url, &ca, &world.token).await.unwrap();
    socket.send(Message::text(request.to_string())).await.unwrap();
    for data in input {
        socket.send(Message::Binary(Bytes::copy_from_slice(data))).await.unwrap();
    }
    let mut frames = Vec::new();
    loop {
        match socket.next().await.unwrap().unwrap() {
            Message::Binary(frame) => frames.push((frame[0], frame[1..].to_vec())),
            Message::Text(text) => return (frames, serde_json::from_str(text.as_str()).unwrap()),
            _ => {}
        }
    }
}

async fn a_monitor_is_told_what_was_decided_and_how_things_stand(on: Database) {
    let world = World::new(on).await;
    let a = world.sandbox("a").await;
    let record = |id: &str, verdict: &str| {
        serde_json::from_value(json!({
            "id": id, "at": "2026-01-01T00:00:00Z", "sandbox": "a", "generation": 1, "stage": "connect",
            "process": { "executable": "/bin/x", "digest": "", "pid": 1 }, "host": "h.test", "port": 443,
            "verdict": verdict, "policy": "rules@1", "decision_ns": 30_000, "memoized": false
        }))
        .unwrap()
    };
    let routed = |id: &str, sensitivity: &str, backend: serde_json::Value| {
        serde_json::from_value(json!({
            "id": id, "at": "2026-01-01T00:00:00Z", "sandbox": "a", "generation": 1, "stage": "route",
            "process": { "executable": "/bin/x", "digest": "", "pid": 1 }, "host": "inference.local", "port": 443,
            "verdict": if backend.is_null() { "deny" } else { "allow" }, "decision_ns": 1, "memoized": false,
            "route": { "sensitivity": sensitivity, "backend": backend, "model": "m", "findings": {}, "reason": "r",
                "charged": { "input_tokens": 1, "cached_tokens": 0, "output_tokens": 1, "cost": 250_000_000_000_u64 } }
        }))
        .unwrap()
    };
    let records = vec![
        record("01", "deny"),
        record("02", "allow"),
        routed("03", "public", json!("cheap")),
        routed("04", "public", json!("cheap")),
        routed("05", "restricted", json!(null)),
    ];
    a.say(FromSupervisor::Records { first: 1, records });
    world.until("/v1/decisions", |found| found["items"].as_array().is_some_and(|found| found.len() == 5)).await;
    let budget = json!({ "budgets": [{ "period": "day", "cost": 2_500_000 }] });
    world.send(world.request(Method::PUT, "/v1/sandboxes/a/inference").json(&budget)).await.ok();
    let text = world.request(Method::GET, "/metrics").send().await.unwrap().text().await.unwrap();
    for line in [
        r#"openshell_decisions_total{stage="connect",verdict="allow",error=""} 1"#,
        r#"openshell_decisions_total{stage="connect",verdict="deny",error=""} 1"#,
        r#"openshell_policy_decision_seconds_count{policy="rules@1"} 2"#,
        r#"openshell_sandboxes{phase="running"} 1"#,
        r#"openshell_inference_requests_total{backend="cheap",sensitivity="public"} 2"#,
        r#"openshell_inference_requests_total{backend="none",sensitivity="restricted"} 1"#,
        r#"openshell_inference_cost_dollars_total{backend="cheap",sensitivity="public"} 0.5"#,
        "openshell_sandboxes_connected 1",
        r#"openshell_generations{state="enforced"} 1"#,
        r#"openshell_generations{state="behind"} 0"#,
        r#"openshell_budget_spent_dollars{sandbox="a",period="day",backend=""} 0"#,
        r#"openshell_budget_limit_dollars{sandbox="a",period="day",backend=""} 2.5"#,
    ] {
        assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
    }
    let bare = world.http.get(format!("{}/metrics", world.running.endpoint.url)).send().await.unwrap();
    assert_eq!(bare.status().as_u16(), 401);
}

#[test]
fn the_checked_in_document_is_current() {
    let current = serde_json::to_string_pretty(&openshell_gateway::http::document()).unwrap();
    let checked_in = include_str!("../../openapi.json");
    assert_eq!(checked_in.trim_end(), current, "write it anew: openshell-gateway openapi > gateway/openapi.json");
}

async fn walls_are_proven_on_request_and_kept(on: Database) {
    let world = World::new(on).await;
    let supervisor = world.sandbox("demo").await;
    let proof = |outcome| {
        json!({
            "at": "2026-01-01T00:00:00Z",
            "checks": [{ "name": "dial-v4", "expected": "led to the proxy", "seen": "so it was", "outcome": outcome }],
        })
    };
    let parsed = |outcome| serde_json::from_value::<Enforcement>(proof(outcome)).unwrap();
    assert!(world.get("/v1/sandboxes/demo").await.ok().get("enforcement").is_none());
    supervisor.say(FromSupervisor::Enforcement { degraded: vec!["landlock".into()], enforcement: parsed("proven") });
    let shown = world.until("/v1/sandboxes/demo", |sandbox| sandbox["enforcement"].is_object()).await;
    assert_eq!((&shown["enforcement"], &shown["degraded"]), (&proof("proven"), &json!(["landlock"])));

    world.post("/v1/sandboxes/demo/verify", json!({})).await.problem(502, "not_verified");
    supervisor.state.lock().unwrap().verified = Some(Ok(parsed("failed")));
    assert_eq!(world.post("/v1/sandboxes/demo/verify", json!({})).await.ok(), proof("failed"));
    let shown = world.get("/v1/sandboxes/demo").await.ok();
    assert_eq!((&shown["enforcement"], &shown["degraded"]), (&proof("failed"), &json!(["landlock"])));

    world.post("/v1/sandboxes/nobody/verify", json!({})).await.problem(404, "sandbox_not_found");
    supervisor.disconnect();
    world.until("/v1/sandboxes/demo", |sandbox| sandbox["connected"] == false).await;
    world.post("/v1/sandboxes/demo/verify", json!({})).await.problem(409, "sandbox_not_connected");
}

async fn a_sandbox_that_only_observes_says_so_until_a_policy_is_pushed(on: Database) {
    let world = World::new(on).await;
    let created = world.post("/v1/sandboxes", json!({ "name": "trial", "observe": true })).await.ok();
    assert_eq!(created["observing"], true, "{created}");
    world.sandbox("demo").await;
    let observing = async || {
        let listed = world.items("/v1/sandboxes").await;
        let rows = listed.as_array().unwrap().iter().filter(|sandbox| sandbox["observing"] == true);
        rows.map(|sandbox| sandbox["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(observing().await, ["trial"]);
    let rules = world.rules().await;
    let push = json!({ "module": rules, "sandboxes": ["trial"], "settings": { "yaml": "version: 1\n" } });
    world.post("/v1/pushes", push).await.ok();
    assert!(observing().await.is_empty());
    world.post("/v1/sandboxes/trial/rollback", json!({})).await.ok();
    assert!(observing().await.is_empty(), "a rollback does not open it again");
}

async fn a_sandbox_may_have_policies_from_the_start(on: Database) {
    let world = World::new(on).await;
    let rules = world.rules().await;
    let create = |name: &str, yaml: &str| {
        let policy = json!({ "module": rules, "settings": { "yaml": yaml } });
        world.post("/v1/sandboxes", json!({ "name": name, "policies": [policy], "allow_degraded": true }))
    };
    create("demo", "version: 1\n").await.ok();
    let seat = world.runtime.seat("demo");
    assert!(seat.spec.allow_degraded);
    let content = seat.supervisor.content();
    assert_eq!(content.chain.len(), 1, "its first generation binds them");
    assert_eq!(seat.supervisor.generation(), 1);
    let refused = create("broken", "version: 2\n").await;
    assert!(refused.body["detail"].as_str().unwrap().contains("schema version 2"), "{refused:?}");
    let unknown = json!({ "name": "unknown", "policies": [{ "module": "sha256:00" }] });
    world.post("/v1/sandboxes", unknown).await.problem(404, "module_not_found");
    world.get("/v1/sandboxes/broken").await.problem(404, "sandbox_not_found");
}
