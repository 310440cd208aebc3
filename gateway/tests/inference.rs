//! What inference costs, what it may cost, and whether backends answer.

mod world;

use axum::http::{HeaderMap, StatusCode};
use openshell_api::inference::{Period, Spent};
use openshell_api::link::FromSupervisor;
use reqwest::Method;
use serde_json::{Value, json};
use world::World;
use world::supervisor::Supervisor;

/// A request that was served now.
fn served(id: &str, backend: &str, model: &str, tokens: (u64, u64), cost: u64) -> Value {
    json!({
        "id": id, "at": jiff::Timestamp::now().to_string(), "sandbox": "whatever", "generation": 1, "stage": "route",
        "process": { "executable": "/bin/x", "digest": "", "pid": 1 }, "host": "inference.local", "port": 443,
        "verdict": "allow", "decision_ns": 1, "memoized": false,
        "route": { "sensitivity": "public", "backend": backend, "model": model, "findings": {}, "reason": "r",
            "charged": { "input_tokens": tokens.0, "cached_tokens": tokens.0 / 10, "output_tokens": tokens.1, "cost": cost } }
    })
}

fn report(supervisor: &Supervisor, first: u64, records: &[Value]) {
    let records = records.iter().map(|record| serde_json::from_value(record.clone()).unwrap()).collect();
    supervisor.say(FromSupervisor::Records { first, records });
}

async fn put(world: &World, path: &str, body: Value) -> world::Answer {
    world.send(world.request(Method::PUT, path).json(&body)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn usage_is_kept_once_and_told_to_who_begins_anew() {
    let world = World::new().await;
    let (a, b) = (world.sandbox("a").await, world.sandbox("b").await);
    let records = [
        served("1", "cheap", "small", (10, 20), 500),
        served("2", "home", "large", (1, 2), 0),
        served("3", "cheap", "small", (5, 5), 70),
    ];
    report(&a, 1, &records);
    report(&a, 1, &records);
    report(&b, 1, &[served("4", "cheap", "small", (100, 100), 1_000)]);
    let path = "/v1/inference/usage?by=sandbox,model";
    let lines = world.until(path, |lines| lines.as_array().is_some_and(|lines| lines.len() == 3)).await;
    let line = |sandbox: &str, model: &str, requests: u64, tokens: (u64, u64), cost: u64| {
        json!({ "sandbox": sandbox, "model": model, "requests": requests, "input_tokens": tokens.0,
            "cached_tokens": tokens.0 / 10, "output_tokens": tokens.1, "cost": cost })
    };
    let expected = [
        line("a", "large", 1, (1, 2), 0),
        line("a", "small", 2, (15, 25), 570),
        line("b", "small", 1, (100, 100), 1_000),
    ];
    assert_eq!(lines, json!(expected));
    let all = world.get("/v1/inference/usage").await.ok();
    assert_eq!((all[0]["requests"].as_u64(), all[0]["cost"].as_u64()), (Some(4), Some(1_570)));
    let days = world.get("/v1/inference/usage?by=day&sandbox=a").await.ok();
    let today = jiff::Timestamp::now().to_string();
    assert_eq!((days.as_array().unwrap().len(), days[0]["day"].as_str()), (1, today.get(..10)));
    assert_eq!(world.get("/v1/inference/usage?sandbox=none").await.ok(), json!([]));
    assert_eq!(world.get("/v1/inference/usage?since=2999-01-01T00:00:00Z").await.ok(), json!([]));
    world.get("/v1/inference/usage?by=colour").await.problem(400, "bad_query");

    let total = |spent: &[Spent], backend: Option<&str>| {
        let found = spent.iter().find(|s| s.period == Period::Total && s.backend.as_deref() == backend);
        found.map(|s| (s.cost, s.tokens))
    };
    let told = async |expected: (u64, u64)| {
        for _ in 0..500 {
            if total(&a.state.lock().unwrap().spent, None) == Some(expected) {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        panic!("never told {expected:?}: {:?}", a.state.lock().unwrap().spent);
    };
    told((570, 43)).await;
    assert_eq!(total(&a.state.lock().unwrap().spent, Some("home")), Some((0, 3)));
    a.state.lock().unwrap().spent.clear();
    a.disconnect();
    a.connect();
    told((570, 43)).await;

    // A sandbox that is gone was not free.
    world.delete("/v1/sandboxes/a").await.ok();
    assert_eq!(world.get(path).await.ok(), json!(expected));
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_did_not_pass_are_paid_for_too() {
    let world = World::new().await;
    let a = world.sandbox("a").await;
    let mut record = served("1", "large", "big", (10, 20), 500);
    record["route"]["escalated"] = json!([
        { "backend": "small", "model": "tiny", "check": "refusal",
          "charged": { "input_tokens": 10, "output_tokens": 3, "cost": 7 } },
        { "backend": "free", "model": "tiny", "check": "status" },
    ]);
    report(&a, 1, &[record.clone()]);
    report(&a, 1, &[record]);
    let lines = world
        .until("/v1/inference/usage?by=backend", |lines| lines.as_array().is_some_and(|lines| lines.len() == 2))
        .await;
    let found: Vec<_> = lines.as_array().unwrap().iter().map(|l| (l["backend"].as_str(), l["cost"].as_u64())).collect();
    assert_eq!(found, [(Some("small"), Some(7)), (Some("large"), Some(500))], "{lines}");
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_are_part_of_what_a_sandbox_enforces() {
    let world = World::new().await;
    let a = world.sandbox("a").await;
    let path = "/v1/sandboxes/a/inference";
    assert_eq!(world.get(path).await.ok(), json!({}));
    let rules = json!({
        "budgets": [{ "period": "day", "cost": 5_000_000 }, { "period": "total", "backend": "cheap", "tokens": 100 }],
        "aliases": { "fast": "gpt-4o-mini" }, "models": ["gpt-4o*"],
    });
    assert_eq!(put(&world, path, rules.clone()).await.ok(), rules);
    assert_eq!(a.generation(), 2);
    assert_eq!(serde_json::to_value(a.content().inference).unwrap(), rules);
    assert_eq!(world.get(path).await.ok(), rules);
    for (body, code) in [
        (json!({ "budgets": [{ "period": "day" }] }), "bad_budget"),
        (json!({ "aliases": { "fast": "" } }), "bad_alias"),
        (json!({ "budgets": [{ "period": "week", "cost": 1 }] }), "bad_request"),
        (json!({ "budgts": [] }), "bad_request"),
        (json!({ "cascade": { "first": "small", "checks": [] } }), "bad_cascade"),
        (json!({ "cascade": { "first": "nobody", "checks": ["refusal"] } }), "bad_cascade"),
        (json!({ "cascade": { "first": "small", "checks": ["mood"] } }), "bad_request"),
        (json!({ "cascade": { "first": "small", "checks": ["logprob=0.5"] } }), "bad_request"),
    ] {
        put(&world, path, body).await.problem(422, code);
    }
    put(&world, "/v1/sandboxes/none/inference", json!({})).await.problem(404, "sandbox_not_found");
    assert_eq!(a.generation(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn backends_change_and_are_tried() {
    let models = axum::Router::new().route(
        "/v1/models",
        axum::routing::get(|headers: HeaderMap| async move {
            match headers.get("authorization").and_then(|value| value.to_str().ok()) {
                Some("Bearer sk-right") => {
                    (StatusCode::OK, axum::Json(json!({ "data": [{ "id": "m1" }, { "id": "m2" }] })))
                }
                _ => (StatusCode::UNAUTHORIZED, axum::Json(json!({ "error": "bad key" }))),
            }
        }),
    );
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, models).await.unwrap() });

    let world = World::new().await;
    let a = world.sandbox("a").await;
    for (name, secret) in [("right", "sk-right"), ("wrong", "sk-wrong")] {
        world.post("/v1/providers", json!({ "name": name, "type": "openai", "secret": secret })).await.ok();
    }
    let backend = |path: &str, provider: &str, model: &str| {
        json!({ "name": "one", "kind": "openai", "base_url": format!("http://{address}{path}"), "locality": "host",
            "clearance": "public", "provider": provider, "model": model, "input_price": 7, "output_price": 8,
            "context": 1000, "features": [], "idle_timeout_ms": 1000 })
    };
    world.post("/v1/inference/backends", backend("/v1", "right", "m1")).await.ok();
    let one = "/v1/inference/backends/one";
    for (path, provider, model, ok, status, problem) in [
        ("/v1", "right", "m2", true, json!(200), None),
        ("/v1/", "right", "m9", true, json!(200), Some("does not list the model m9")),
        ("/v1", "wrong", "m1", false, json!(401), Some("refused the key")),
        ("/v2", "right", "m1", false, json!(404), Some("version segment")),
    ] {
        put(&world, one, backend(path, provider, model)).await.ok();
        assert_eq!(a.content().catalogue.backends[0].model.as_deref(), Some(model));
        let test = world.post(&format!("{one}/test"), json!({})).await.ok();
        assert_eq!((&test["ok"], &test["status"]), (&json!(ok), &status), "{test}");
        assert!(problem.is_none_or(|p| test["problem"].as_str().is_some_and(|said| said.contains(p))), "{test}");
        assert!(!test.to_string().contains("sk-"), "{test}");
    }
    let mut nowhere = backend("/v1", "right", "m1");
    nowhere["base_url"] = json!("http://127.0.0.1:1/v1");
    put(&world, one, nowhere).await.ok();
    let test = world.post(&format!("{one}/test"), json!({})).await.ok();
    assert!(test["ok"] == json!(false) && test["status"].is_null() && test["problem"].is_string(), "{test}");

    put(&world, "/v1/inference/backends/two", backend("/v1", "right", "m1")).await.problem(422, "other_name");
    let mut other = backend("/v1", "none", "m1");
    put(&world, one, other.clone()).await.problem(422, "provider_not_found");
    other["name"] = json!("two");
    put(&world, "/v1/inference/backends/two", other).await.problem(404, "backend_not_found");
    world.post("/v1/inference/backends/two/test", json!({})).await.problem(404, "backend_not_found");
    assert_eq!(world.get("/v1/inference/backends").await.ok()[0]["base_url"], json!("http://127.0.0.1:1/v1"));
}
