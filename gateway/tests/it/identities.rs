//! Users, roles and ownership, over the API as it is.

use crate::world::{Answer, Database, World};
use openshell_gateway::identity::IdentityOptions;
use openshell_gateway::identity::limits::Rate;
use reqwest::Method;
use serde_json::{Value, json};
use std::time::Duration;

with_both!(
    every_call_asks_for_its_role_and_no_supervisor_may_make_one,
    users_and_tokens_come_and_go,
    a_token_expires,
    operators_work_with_their_own,
    failures_lock_out_who_fails_and_nobody_else,
    pages_of_other_origins_change_nothing_and_bare_headers_are_nobody,
);

/// Least role of each call that the document lists, by method and path.
const LEAST: &[(&str, &str)] = &[
    ("POST /v1/modules", "operator"),
    ("POST /v1/pushes", "operator"),
    ("PUT /v1/ceiling", "admin"),
    ("POST /v1/sandboxes", "operator"),
    ("DELETE /v1/sandboxes/{name}", "operator"),
    ("POST /v1/sandboxes/{name}/stop", "operator"),
    ("POST /v1/sandboxes/{name}/start", "operator"),
    ("POST /v1/sandboxes/{name}/verify", "operator"),
    ("GET /v1/sandboxes/{name}/streams", "operator"),
    ("PUT /v1/provider-types/{name}", "admin"),
    ("DELETE /v1/provider-types/{name}", "admin"),
    ("POST /v1/runtimes", "admin"),
    ("PUT /v1/runtimes/{name}", "admin"),
    ("DELETE /v1/runtimes/{name}", "admin"),
    ("POST /v1/exports", "admin"),
    ("POST /v1/authority/turn", "admin"),
    ("POST /v1/authority/finish", "admin"),
    ("POST /v1/signing-key/turn", "admin"),
    ("POST /v1/signing-key/finish", "admin"),
    ("DELETE /v1/exports/{name}", "admin"),
    ("POST /v1/sandboxes/{name}/rollback", "operator"),
    ("POST /v1/sandboxes/{name}/promote", "operator"),
    ("PUT /v1/sandboxes/{name}/inference", "admin"),
    ("DELETE /v1/sandboxes/{name}/inference/sessions", "admin"),
    ("POST /v1/proposals/{id}/approve", "operator"),
    ("POST /v1/proposals/{id}/reject", "operator"),
    ("POST /v1/rollouts/{id}/promote", "operator"),
    ("POST /v1/rollouts/{id}/rollback", "operator"),
    ("POST /v1/publishers", "admin"),
    ("DELETE /v1/publishers/{name}", "admin"),
    ("POST /v1/providers", "operator"),
    ("PUT /v1/providers/{name}", "operator"),
    ("DELETE /v1/providers/{name}", "operator"),
    ("POST /v1/keys/rotate", "admin"),
    ("POST /v1/inference/backends", "admin"),
    ("PUT /v1/inference/backends/{name}", "admin"),
    ("DELETE /v1/inference/backends/{name}", "admin"),
    ("POST /v1/inference/backends/{name}/test", "admin"),
    ("POST /v1/users", "admin"),
    ("PUT /v1/users/{name}", "admin"),
    ("PUT /v1/users/{name}/budgets", "admin"),
    ("DELETE /v1/users/{name}", "admin"),
    ("GET /v1/audit", "admin"),
    ("GET /v1/audit/head", "admin"),
];
/// Calls that need nobody's permission.
const OPEN: &[&str] = &["GET /healthz", "GET /readyz", "GET /openapi.json", "GET /.well-known/openshell"];

fn rank(role: &str) -> usize {
    ["viewer", "operator", "admin"].iter().position(|known| *known == role).expect("a role")
}

/// Every call of the document, as `METHOD /path/{parameter}`.
fn calls() -> Vec<String> {
    let document: Value = serde_json::from_str(include_str!("../../openapi.json")).unwrap();
    let mut calls = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for method in item.as_object().unwrap().keys().filter(|key| *key != "parameters") {
            calls.push(format!("{} {path}", method.to_uppercase()));
        }
    }
    assert!(calls.len() > 50, "{calls:?}");
    calls
}

async fn every_call_asks_for_its_role_and_no_supervisor_may_make_one(on: Database) {
    // A thousand refusals are no attack here.
    let many = Rate { burst: 1_000_000, every: Duration::from_micros(1) };
    let world = World::with(on, IdentityOptions { failures: many, ..IdentityOptions::default() }).await;
    let sandbox = world.sandbox("a").await;
    let (key, refresh) = sandbox.pairs(1).await.remove(0);
    let tokens = [
        ("viewer", world.user("vera", "viewer").await),
        ("operator", world.user("otto", "operator").await),
        ("admin", world.user("ada", "admin").await),
    ];
    for call in calls() {
        let (method, path) = call.split_once(' ').unwrap();
        let method: Method = method.parse().unwrap();
        // Nothing has that name, so whoever is let in changes nothing.
        let path = path.replace("{name}", "none").replace("{id}", "none").replace("{module}", "none");
        let body = (!matches!(method, Method::GET | Method::DELETE)).then(|| json!({}));
        let ask = async |token: &str| world.call(token, method.clone(), &path, body.clone()).await;
        if OPEN.contains(&call.as_str()) {
            assert!(
                world
                    .http
                    .get(format!("{}{path}", world.running.endpoint.url))
                    .send()
                    .await
                    .unwrap()
                    .status()
                    .is_success()
            );
            continue;
        }
        let least = LEAST.iter().find(|(known, _)| *known == call).map_or("viewer", |(_, least)| least);
        assert!(
            least != "viewer" || call.starts_with("GET ") || call.contains("token"),
            "{call}: a change by viewers?"
        );
        for (role, token) in &tokens {
            let answer = ask(token).await;
            let refused = (answer.status.as_u16(), answer.body["code"].as_str()) == (403, Some("forbidden"));
            assert_eq!(refused, rank(role) < rank(least), "{call} by {role}: {answer:?}");
            assert_ne!(answer.status.as_u16(), 401, "{call} by {role}: {answer:?}");
            assert_ne!(answer.status.as_u16(), 500, "{call} by {role}: {answer:?}");
        }
        for credential in [&key, &refresh] {
            ask(credential).await.problem(403, "forbidden");
        }
        ask("osh_user_nobody_knows_this_one").await.problem(401, "unauthorized");
        world
            .send(world.http.request(method.clone(), format!("{}{path}", world.running.endpoint.url)))
            .await
            .problem(401, "unauthorized");
    }
    // The other way round: users have no business with the link.
    for (_, token) in &tokens {
        world.call(token, Method::GET, "/v1/supervisor", None).await.problem(403, "forbidden");
    }
}

async fn users_and_tokens_come_and_go(on: Database) {
    let world = World::new(on).await;
    let alice = world.user("alice", "operator").await;
    let ask = async |token: &str, method: Method, path: &str, body: Option<Value>| {
        world.call(token, method, path, body).await
    };
    let whoami = async |token: &str| ask(token, Method::GET, "/v1/whoami", None).await;
    assert_eq!(whoami(&alice).await.ok(), json!({ "user": "alice", "role": "operator", "via": "token" }));
    assert_eq!(world.get("/v1/whoami").await.ok(), json!({ "user": "admin", "role": "admin", "via": "token" }));

    // Names.
    let create = async |name: &str| world.post("/v1/users", json!({ "name": name, "role": "viewer" })).await;
    create("alice").await.problem(409, "user_exists");
    create("gateway").await.problem(422, "bad_name");
    create("Not A Name").await.problem(422, "bad_request");
    world.post("/v1/users", json!({ "name": "x", "role": "root" })).await.problem(422, "bad_request");

    // Tokens are their owner's, and an administrator's.
    create("bob").await.ok();
    let token = |name: &str, life: Option<u64>| Some(json!({ "name": name, "expires_in_s": life }));
    ask(&alice, Method::POST, "/v1/users/bob/tokens", token("x", None)).await.problem(403, "not_yours");
    ask(&alice, Method::GET, "/v1/users/bob/tokens", None).await.problem(403, "not_yours");
    ask(&alice, Method::POST, "/v1/users/alice/tokens", token("test", None)).await.problem(409, "token_exists");
    ask(&alice, Method::POST, "/v1/users/alice/tokens", token("x", Some(5))).await.problem(422, "bad_expiry");
    let second = ask(&alice, Method::POST, "/v1/users/alice/tokens", token("laptop", Some(60))).await.ok();
    let secret = second["secret"].as_str().unwrap().to_owned();
    assert!(secret.starts_with("osh_user_") && secret.len() > 50, "{secret}");
    assert!(whoami(&secret).await.ok()["expires"].is_string());
    let listed = ask(&alice, Method::GET, "/v1/users/alice/tokens", None).await.ok()["items"].take();
    let names: Vec<&str> = listed.as_array().unwrap().iter().map(|token| token["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["test", "laptop"]);
    assert!(!listed.to_string().contains(&secret) && listed[0].get("secret").is_none());
    let bobs = world.post("/v1/users/bob/tokens", json!({ "name": "x" })).await.ok();
    let revoke = format!("/v1/tokens/{}", bobs["id"].as_str().unwrap());
    ask(&alice, Method::DELETE, &revoke, None).await.problem(403, "not_yours");
    world.delete(&revoke).await.ok();
    whoami(bobs["secret"].as_str().unwrap()).await.problem(401, "unauthorized");
    world.delete(&revoke).await.problem(404, "token_not_found");

    // A role counts from the next request on; the first administrator keeps its own.
    world.send(world.request(Method::PUT, "/v1/users/alice").json(&json!({ "role": "viewer" }))).await.ok();
    assert_eq!(whoami(&alice).await.ok()["role"], "viewer");
    ask(&alice, Method::POST, "/v1/sandboxes", Some(json!({}))).await.problem(403, "forbidden");
    world
        .send(world.request(Method::PUT, "/v1/users/admin").json(&json!({ "role": "viewer" })))
        .await
        .problem(409, "first_admin");
    world.delete("/v1/users/admin").await.problem(409, "first_admin");

    // Hashes alone are kept, and they are kept over a restart.
    let world = world.restart().await;
    assert_eq!(world.call(&alice, Method::GET, "/v1/whoami", None).await.ok()["user"], "alice");
    for entry in
        std::fs::read_dir(world.dir.path().join("state")).unwrap().flatten().filter(|entry| entry.path().is_file())
    {
        let bytes = std::fs::read(entry.path()).unwrap();
        for secret in [&alice, &secret] {
            assert!(
                !bytes.windows(secret.len()).any(|window| window == secret.as_bytes()),
                "{}",
                entry.path().display()
            );
        }
    }

    // A user that is gone is gone at once, and its name is nobody else's.
    world.delete("/v1/users/alice").await.ok();
    for token in [&alice, &secret] {
        world.call(token, Method::GET, "/v1/whoami", None).await.problem(401, "unauthorized");
    }
    world.post("/v1/users", json!({ "name": "alice", "role": "admin" })).await.problem(409, "user_exists");
    world.post("/v1/users/alice/tokens", json!({ "name": "x" })).await.problem(404, "user_not_found");
    world.delete("/v1/users/alice").await.problem(404, "user_not_found");
}

async fn a_token_expires(on: Database) {
    let world = World::new(on).await;
    let database = world.database.clone();
    world.user("alice", "viewer").await;
    let made = world.post("/v1/users/alice/tokens", json!({ "name": "short", "expires_in_s": 60 })).await.ok();
    let token = made["secret"].as_str().unwrap().to_owned();
    world.call(&token, Method::GET, "/v1/whoami", None).await.ok();
    let world = world
        .changed_while_stopped(|state| {
            database.tamper(state, "UPDATE user_tokens SET expires_ms = 1 WHERE name = 'short'")
        })
        .await;
    let refused = world.call(&token, Method::GET, "/v1/whoami", None).await.problem(401, "token_expired");
    assert!(refused["detail"].as_str().unwrap().starts_with("the token of alice expired at 1970-01-01"), "{refused}");
}

async fn operators_work_with_their_own(on: Database) {
    let world = World::new(on).await;
    let (otto, olga, vera) = (
        world.user("otto", "operator").await,
        world.user("olga", "operator").await,
        world.user("vera", "viewer").await,
    );
    let made = world
        .call(&otto, Method::POST, "/v1/sandboxes", Some(json!({ "name": "his", "labels": { "t": "x" } })))
        .await
        .ok();
    assert_eq!(made["owner"], "otto");
    world
        .call(&olga, Method::POST, "/v1/sandboxes", Some(json!({ "name": "hers", "labels": { "t": "x" } })))
        .await
        .ok();
    let listed = world.call(&vera, Method::GET, "/v1/sandboxes", None).await.ok()["items"].take();
    let owners: Vec<&str> = listed.as_array().unwrap().iter().map(|row| row["owner"].as_str().unwrap()).collect();
    assert_eq!(owners, ["otto", "olga"]);

    let rules = world.rules().await;
    let push = |sandboxes: Value| {
        let mut push = json!({ "module": rules, "settings": crate::world::allow("a.test") });
        push.as_object_mut().unwrap().extend(sandboxes.as_object().unwrap().clone());
        push
    };
    let by = async |token: &str, method: Method, path: &str, body: Value| -> Answer {
        world.call(token, method, path, Some(body)).await
    };
    // Each row: what otto does to hers.
    for (method, path, body) in [
        (Method::DELETE, "/v1/sandboxes/hers", json!(null)),
        (Method::POST, "/v1/sandboxes/hers/stop", json!({})),
        (Method::POST, "/v1/sandboxes/hers/start", json!({})),
        (Method::POST, "/v1/sandboxes/hers/verify", json!({})),
        (Method::POST, "/v1/sandboxes/hers/rollback", json!({ "to": 1 })),
        (Method::GET, "/v1/sandboxes/hers/streams", json!(null)),
        (Method::POST, "/v1/pushes", push(json!({ "sandboxes": ["his", "hers"] }))),
        (Method::POST, "/v1/pushes", push(json!({ "selector": { "t": "x" } }))),
    ] {
        let refused = by(&otto, method, path, body).await.problem(403, "not_yours");
        assert_eq!(refused["detail"], "sandbox hers belongs to olga, not to otto");
    }
    assert_eq!((world.generation("his").await, world.generation("hers").await), (1, 1), "nothing was changed anywhere");
    by(&otto, Method::POST, "/v1/pushes", push(json!({ "sandboxes": ["his"] }))).await.ok();
    by(&otto, Method::POST, "/v1/sandboxes/his/rollback", json!({ "to": 1 })).await.ok();
    world.post("/v1/pushes", push(json!({ "selector": { "t": "x" } }))).await.ok();
    assert_eq!((world.generation("his").await, world.generation("hers").await), (4, 2), "an administrator may");

    // Canaries and their rollouts.
    by(&olga, Method::POST, "/v1/sandboxes", json!({ "name": "hers-too", "labels": { "t": "y" } })).await.ok();
    by(&olga, Method::POST, "/v1/sandboxes", json!({ "name": "hers-three", "labels": { "t": "y" } })).await.ok();
    let canary = push(json!({ "selector": { "t": "y" }, "canary": { "percent": 50, "max_failures": 0 } }));
    by(&otto, Method::POST, "/v1/pushes", canary.clone()).await.problem(403, "not_yours");
    let rollout = by(&olga, Method::POST, "/v1/pushes", canary).await.ok()["rollout"].as_str().unwrap().to_owned();
    let promote = json!({ "min_decisions": 0 });
    by(&otto, Method::POST, &format!("/v1/rollouts/{rollout}/promote"), promote.clone())
        .await
        .problem(403, "not_yours");
    by(&otto, Method::POST, &format!("/v1/rollouts/{rollout}/rollback"), json!({})).await.problem(403, "not_yours");
    by(&olga, Method::POST, &format!("/v1/rollouts/{rollout}/rollback"), json!({})).await.ok();

    // Credentials are their maker's, unless they are shared.
    let provider =
        |name: &str, shared: bool| json!({ "name": name, "type": "openai", "secret": "s", "shared": shared });
    by(&otto, Method::POST, "/v1/providers", provider("ottos", false)).await.ok();
    world.post("/v1/providers", provider("common", true)).await.ok();
    world.post("/v1/providers", provider("admins", false)).await.ok();
    let uses = |name: &str, provider: &str| json!({ "name": name, "providers": [provider] });
    by(&olga, Method::POST, "/v1/sandboxes", uses("b", "ottos")).await.problem(403, "not_yours");
    by(&olga, Method::POST, "/v1/sandboxes", uses("b", "admins")).await.problem(403, "not_yours");
    by(&olga, Method::POST, "/v1/sandboxes", uses("b", "common")).await.ok();
    by(&olga, Method::DELETE, "/v1/providers/ottos", json!(null)).await.problem(403, "not_yours");
    by(&otto, Method::DELETE, "/v1/providers/ottos", json!(null)).await.ok();

    // Names of modules are whose came first.
    let component = openshell_bundle::builtin("rules").unwrap().component.to_vec();
    let upload = async |token: &str, query: &str| {
        let url = format!("{}/v1/modules?{query}", world.running.endpoint.url);
        world.send(world.http.post(url).bearer_auth(token).body(component.clone())).await
    };
    upload(&otto, "name=mine&version=1").await.ok();
    upload(&olga, "name=mine&version=2").await.problem(403, "not_yours");
    upload(&olga, "name=rules&version=9.9").await.problem(403, "not_yours");
    upload(&otto, "name=mine&version=2").await.ok();
    upload(&world.token, "name=mine&version=3").await.ok();

    // Whoever is gone leaves to administrators what was its own.
    world.delete("/v1/users/otto").await.ok();
    by(&otto, Method::DELETE, "/v1/sandboxes/his", json!(null)).await.problem(401, "unauthorized");
    by(&olga, Method::DELETE, "/v1/sandboxes/his", json!(null)).await.problem(403, "not_yours");
    world.delete("/v1/sandboxes/his").await.ok();
}

async fn failures_lock_out_who_fails_and_nobody_else(on: Database) {
    let world = World::new(on.another()).await;
    let alice = world.user("alice", "viewer").await;
    let url = format!("{}/v1/whoami", world.running.endpoint.url);
    let ask = async |token: &str| world.http.get(&url).bearer_auth(token).send().await.unwrap();
    let mut refused = Vec::new();
    for n in 0..15 {
        refused.push(ask(&format!("osh_user_guess_{n}")).await.status().as_u16());
    }
    assert_eq!(refused, [vec![401; 10], vec![429; 5]].concat());
    let late = ask("osh_user_another_guess").await;
    let wait: u64 = late.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=6).contains(&wait), "{wait}");
    let body: Value = late.json().await.unwrap();
    assert_eq!((&body["code"], &body["retry_after_s"]), (&json!("too_many_attempts"), &json!(wait)));
    assert!(ask(&alice).await.status().is_success(), "who holds a valid token is let in from the same address");
    assert!(ask(&world.token).await.status().is_success());

    // Per user: requests, whatever they are.
    let slow = Rate { burst: 5, every: Duration::from_secs(60) };
    let world = World::with(on.another(), IdentityOptions { requests: slow, ..IdentityOptions::default() }).await;
    for _ in 0..5 {
        world.get("/v1/whoami").await.ok();
    }
    world.get("/v1/whoami").await.problem(429, "too_many_attempts");
}

async fn pages_of_other_origins_change_nothing_and_bare_headers_are_nobody(on: Database) {
    let world = World::new(on).await;
    let foreign = world.request(Method::POST, "/v1/users").header("origin", "https://evil.test");
    world.send(foreign.json(&json!({ "name": "x", "role": "admin" }))).await.problem(403, "cross_origin");
    // A page's WebSocket, though its browser has whatever lets it in.
    world.sandbox("a").await;
    let streams = format!("{}/v1/sandboxes/a/streams", world.running.endpoint.url.replace("https:", "wss:"));
    let ca = std::fs::read(&world.running.endpoint.ca).unwrap();
    let own = streams.replace("wss:", "https:").replace("/v1/sandboxes/a/streams", "");
    for (origin, status) in [("https://evil.test", Some(403)), ("null", Some(403)), (own.as_str(), None)] {
        let opened = crate::world::websocket::opened(&streams, &ca, &world.token, Some(origin)).await.unwrap();
        let refused = match opened {
            Ok(_) => None,
            Err(tokio_tungstenite::tungstenite::Error::Http(answer)) => Some(answer.status().as_u16()),
            Err(error) => panic!("{origin}: {error}"),
        };
        assert_eq!(refused, status, "{origin}");
    }
    let url = format!("{}/v1/whoami", world.running.endpoint.url);
    let bare = world.http.get(url).header("x-forwarded-user", "admin").header("x-forwarded-email", "a@b.test");
    let bare = bare.header("cf-access-authenticated-user-email", "a@b.test").header("remote-user", "admin");
    world.send(bare).await.problem(401, "unauthorized");
    let found = world.http.get(format!("{}/.well-known/openshell", world.running.endpoint.url)).send().await.unwrap();
    let found: Value = found.json().await.unwrap();
    assert_eq!(found["auth"], json!([{ "kind": "token" }]));
}
