//! What inference costs, what it may cost, and whether backends answer.

use crate::world::supervisor::{Mood, Supervisor};
use crate::world::{Database, World};
use axum::http::{HeaderMap, StatusCode};
use openshell_api::inference::{Budget, Period, Sensitivity, Spent};
use openshell_api::link::FromSupervisor;
use openshell_api::share::{Pot, Want};
use reqwest::Method;
use serde_json::{Value, json};

with_both!(
    usage_is_kept_once_and_told_to_who_begins_anew,
    answers_that_did_not_pass_are_paid_for_too,
    rules_are_part_of_what_a_sandbox_enforces,
    backends_change_and_are_tried,
    sessions_are_forgotten_by_an_administrator_alone_and_here_as_there,
    what_a_users_sandboxes_spend_together_is_never_more_than_the_budget,
);

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

async fn put(world: &World, path: &str, body: Value) -> crate::world::Answer {
    world.send(world.request(Method::PUT, path).json(&body)).await
}

async fn usage_is_kept_once_and_told_to_who_begins_anew(on: Database) {
    let world = World::new(on).await;
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
    let lines = world.until(path, |lines| lines["items"].as_array().is_some_and(|lines| lines.len() == 3)).await;
    let line = |sandbox: &str, model: &str, requests: u64, tokens: (u64, u64), cost: u64| {
        json!({ "sandbox": sandbox, "model": model, "requests": requests, "input_tokens": tokens.0,
            "cached_tokens": tokens.0 / 10, "output_tokens": tokens.1, "cost": cost })
    };
    let expected = [
        line("a", "large", 1, (1, 2), 0),
        line("a", "small", 2, (15, 25), 570),
        line("b", "small", 1, (100, 100), 1_000),
    ];
    assert_eq!(lines["items"], json!(expected));
    let all = world.items("/v1/inference/usage").await;
    assert_eq!((all[0]["requests"].as_u64(), all[0]["cost"].as_u64()), (Some(4), Some(1_570)));
    let days = world.items("/v1/inference/usage?by=day&sandbox=a").await;
    let today = jiff::Timestamp::now().to_string();
    assert_eq!((days.as_array().unwrap().len(), days[0]["day"].as_str()), (1, today.get(..10)));
    assert_eq!(world.items("/v1/inference/usage?sandbox=none").await, json!([]));
    assert_eq!(world.items("/v1/inference/usage?since=2999-01-01T00:00:00Z").await, json!([]));
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
    assert_eq!(world.items(path).await, json!(expected));

    // Nor does one that lies about its costs stop the counting.
    report(&b, 2, &[served("5", "cheap", "small", (u64::MAX, u64::MAX), u64::MAX)]);
    report(&b, 3, &[served("6", "cheap", "small", (1, 1), 1), served("7", "cheap", "small", (1, u64::MAX), u64::MAX)]);
    let path = "/v1/inference/usage?sandbox=b";
    let lines = world.until(path, |lines| lines["items"][0]["requests"] == json!(4)).await;
    assert!(lines["items"][0]["cost"].as_u64().unwrap() > 1 << 53, "{lines}");
}

async fn answers_that_did_not_pass_are_paid_for_too(on: Database) {
    let world = World::new(on).await;
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
        .until("/v1/inference/usage?by=backend", |lines| {
            lines["items"].as_array().is_some_and(|lines| lines.len() == 2)
        })
        .await;
    let found: Vec<_> =
        lines["items"].as_array().unwrap().iter().map(|l| (l["backend"].as_str(), l["cost"].as_u64())).collect();
    assert_eq!(found, [(Some("large"), Some(500)), (Some("small"), Some(7))], "{lines}");
}

async fn rules_are_part_of_what_a_sandbox_enforces(on: Database) {
    let world = World::new(on).await;
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

async fn backends_change_and_are_tried(on: Database) {
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

    let world = World::new(on).await;
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
    assert_eq!(world.items("/v1/inference/backends").await[0]["base_url"], json!("http://127.0.0.1:1/v1"));
}

async fn sessions_are_forgotten_by_an_administrator_alone_and_here_as_there(on: Database) {
    let world = World::new(on).await;
    let a = world.sandbox("a").await;
    let (viewer, path) = (world.user("vera", "viewer").await, "/v1/sandboxes/a/inference/sessions");
    let says = |session: &str, sensitivity| {
        a.say(FromSupervisor::Session { session: session.to_owned(), sensitivity });
    };
    let known = async |expected: &[(&str, &str)]| {
        let expected: Vec<_> =
            expected.iter().map(|(session, level)| json!({ "session": session, "sensitivity": level })).collect();
        world.until(path, |sessions| sessions["items"] == json!(expected)).await;
    };
    says("sandbox", Sensitivity::Restricted);
    says("header:1", Sensitivity::Confidential);
    known(&[("header:1", "confidential"), ("sandbox", "restricted")]).await;

    let one = format!("{path}?session=header:1");
    world.call(&viewer, Method::DELETE, &one, None).await.problem(403, "forbidden");
    world.delete(&format!("{path}?session=header:2")).await.problem(404, "session_not_found");
    world.delete("/v1/sandboxes/b/inference/sessions").await.problem(404, "sandbox_not_found");
    known(&[("header:1", "confidential"), ("sandbox", "restricted")]).await;

    assert_eq!(world.delete(&one).await.status, StatusCode::NO_CONTENT);
    known(&[("sandbox", "restricted")]).await;
    // What was told before it is forgotten with it; what comes after counts.
    says("header:1", Sensitivity::Internal);
    assert_eq!(world.delete(path).await.status, StatusCode::NO_CONTENT);
    says("header:3", Sensitivity::Internal);
    known(&[("header:3", "internal")]).await;

    // Who does not say that it forgot has nothing forgotten.
    a.mood(Mood::LoseAtReset);
    world.delete(path).await.problem(502, "not_reset");
    known(&[("header:3", "internal")]).await;
    world.delete(path).await.problem(409, "sandbox_not_connected");

    let trail = world.items("/v1/audit?action=sessions.reset").await;
    let entries = trail.as_array().expect("links").iter().map(|link| &link["entry"]);
    let done: Vec<&Value> = entries.filter(|entry| entry["outcome"] == "done").collect();
    let before: Vec<&Value> = done.iter().map(|entry| &entry["before"]).collect();
    assert_eq!(before.len(), 2, "{trail}");
    assert_eq!(*before[0], json!({ "header:1": "confidential" }), "{trail}");
}

/// So many tokens of a budget for all time.
fn want(tokens: u64) -> Want {
    Want { pot: Pot { period: Period::Total, window: 0, backend: None }, cost: 0, tokens }
}

async fn what_a_users_sandboxes_spend_together_is_never_more_than_the_budget(on: Database) {
    const LIMIT: u64 = 10_000;
    let world = World::new(on).await;
    let supervisors = [world.sandbox("a").await, world.sandbox("b").await, world.sandbox("c").await];
    let path = "/v1/users/admin/budgets";
    put(&world, "/v1/users/nobody-there/budgets", json!([])).await.problem(404, "user_not_found");
    put(&world, path, json!([{ "period": "total" }])).await.problem(422, "bad_budget");
    let twice = json!([{ "period": "total", "tokens": 1 }, { "period": "total", "cost": 1 }]);
    put(&world, path, twice).await.problem(422, "bad_budget");
    let (viewer, budgets) = (world.user("vera", "viewer").await, json!([{ "period": "total", "tokens": LIMIT }]));
    world.call(&viewer, Method::PUT, path, Some(budgets.clone())).await.problem(403, "forbidden");
    world.call(&viewer, Method::GET, path, None).await.problem(403, "not_yours");
    put(&world, path, budgets).await.ok();
    // It is part of what they enforce, those that come later too.
    let supervisors = [&supervisors[..], &[world.sandbox("d").await]].concat();
    let expected = [Budget { period: Period::Total, backend: None, cost: None, tokens: Some(LIMIT) }];
    assert!(supervisors.iter().all(|supervisor| supervisor.content().owner_budgets == expected));

    // Each asks for a little more again and again, uses it, and reports it now and then.
    let spend = supervisors.iter().enumerate().map(|(number, supervisor)| {
        let supervisor = supervisor.clone();
        tokio::spawn(async move {
            let (mut used, mut reported) = (0, 0);
            loop {
                let step = 40 + number as u64 * 7;
                // Room that is about to be used is set aside, so that nobody is given it meanwhile.
                supervisor.state.lock().unwrap().used = used + step;
                match supervisor.share(want(used + step)).await {
                    Ok(share) => assert!(share.tokens.unwrap() >= used + step),
                    Err(problem) => {
                        assert_eq!(problem.code, "budget_exhausted", "{problem:?}");
                        supervisor.state.lock().unwrap().used = used;
                        break;
                    }
                }
                used += step;
                if used - reported > 300 {
                    let id = format!("{number}-{used}");
                    report(&supervisor, used, &[served(&id, "cheap", "small", (used - reported, 0), 0)]);
                    reported = used;
                }
            }
            used
        })
    });
    let mut used = 0;
    for spent in futures_util::future::join_all(spend).await {
        used += spent.unwrap();
    }
    assert!(used <= LIMIT, "{used}");
    // Nobody was refused while there was room: of each, at most one step was set aside in vain.
    assert!(used > LIMIT - 4 * 61, "{used} of {LIMIT}");

    // A budget that is raised has room again; what one sets aside no other one gets.
    let problem = supervisors[0].share(want(LIMIT)).await.unwrap_err();
    assert!(problem.detail.contains("the budget of admin for all time is used up"), "{problem:?}");
    put(&world, path, json!([{ "period": "total", "tokens": 2 * LIMIT }])).await.ok();
    let own = supervisors[3].state.lock().unwrap().used;
    supervisors[3].state.lock().unwrap().used = own + LIMIT;
    let share = supervisors[3].share(want(own + LIMIT)).await.unwrap();
    assert!((own + LIMIT..=own + LIMIT + LIMIT / 8).contains(&share.tokens.unwrap()), "{share:?}");
    supervisors[0].share(want(LIMIT)).await.unwrap_err();
    supervisors[3].share(Want { pot: Pot { window: 1, ..want(1).pot }, ..want(1) }).await.unwrap_err();
    put(&world, path, json!([])).await.ok();
    assert_eq!(supervisors[0].share(want(1)).await.unwrap_err().code, "no_such_budget");
    assert!(supervisors.iter().all(|supervisor| supervisor.content().owner_budgets.is_empty()));
}
