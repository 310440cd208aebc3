//! Providers: what they are bound to, secrets that turn while sandboxes live, and secrets that are nowhere.

use std::time::{Duration, Instant};

use crate::world::supervisor::Mood;
use crate::world::{Database, World};
use openshell_api::provider::PLACEHOLDER_MARK;
use reqwest::Method;
use serde_json::{Value, json};

with_both!(
    a_new_secret_and_new_bindings_reach_live_sandboxes_at_once,
    a_gateway_has_types_of_its_own,
    the_master_key_turns_while_everything_runs,
    no_answer_file_or_entry_holds_a_secret,
    access_tokens_are_renewed_before_they_expire_and_reach_live_sandboxes,
);

const SECRET: &str = "sk-a-secret-that-nobody-may-see";
const SECOND: &str = "sk-the-secret-that-took-its-place";

async fn put(world: &World, path: &str, body: Value) -> crate::world::Answer {
    world.send(world.request(Method::PUT, path).json(&body)).await
}

async fn a_new_secret_and_new_bindings_reach_live_sandboxes_at_once(on: Database) {
    let world = World::new(on).await;
    world.post("/v1/providers", json!({ "name": "key", "type": "openai", "secret": SECRET })).await.ok();
    world.post("/v1/sandboxes", json!({ "name": "a", "providers": ["key"] })).await.ok();
    let (a, b) = (world.runtime.seat("a").supervisor, world.sandbox("b").await);
    let has = |supervisor: &crate::world::supervisor::Supervisor| {
        supervisor.state.lock().unwrap().secrets.get("key").cloned()
    };
    assert_eq!((has(&a).as_deref(), has(&b)), (Some(SECRET), None));

    let began = Instant::now();
    put(&world, "/v1/providers/key", json!({ "secret": SECOND })).await.ok();
    while has(&a).as_deref() != Some(SECOND) {
        assert!(began.elapsed() < Duration::from_secs(1), "it takes too long");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!((has(&b), world.generation("a").await), (None, 1), "it is nobody else's, and no policy changed");

    // Bindings are part of a generation, and the placeholder stays what it was.
    let placeholder = a.content().credentials["key"].placeholder.clone().expect("it has one");
    assert!(placeholder.starts_with(&format!("sk-{PLACEHOLDER_MARK}")), "{placeholder}");
    assert_eq!(world.runtime.seat("a").spec.env["OPENAI_API_KEY"], placeholder);
    let bound = json!({ "paths": ["/v1/chat"], "binaries": ["/usr/bin/curl"] });
    put(&world, "/v1/providers/key", bound).await.ok();
    let rule = a.content().credentials["key"].clone();
    assert_eq!(
        (rule.paths, rule.binaries, rule.placeholder),
        (vec!["/v1/chat".into()], vec!["/usr/bin/curl".into()], Some(placeholder))
    );
    assert_eq!((a.generation(), b.generation()), (2, 1));
    assert_eq!(has(&a).as_deref(), Some(SECOND));
    a.mood(Mood::Refuse);
    put(&world, "/v1/providers/key", json!({ "paths": ["/"], "secret": SECRET })).await.problem(409, "not_staged");
    let kept = world.items("/v1/providers").await;
    assert_eq!(
        (&kept[0]["rule"]["paths"], has(&a).as_deref()),
        (&json!(["/v1/chat"]), Some(SECOND)),
        "nothing changed"
    );

    // Stopped and started, a workload finds the same placeholder; another sandbox has another one.
    a.mood(Mood::Fine);
    let before = world.runtime.seat("a").spec.env["OPENAI_API_KEY"].clone();
    world.post("/v1/sandboxes/a/stop", json!({})).await.ok();
    world.post("/v1/sandboxes/a/start", json!({})).await.ok();
    assert_eq!(world.runtime.seat("a").spec.env["OPENAI_API_KEY"], before);
    world.post("/v1/sandboxes", json!({ "name": "c", "providers": ["key"], "env": { "MODE": "x" } })).await.ok();
    assert_ne!(world.runtime.seat("c").spec.env["OPENAI_API_KEY"], before);

    for (body, code) in [
        (json!({ "hosts": [] }), "bad_host"),
        (json!({ "paths": ["v1"] }), "bad_path"),
        (json!({ "binaries": ["curl"] }), "bad_binary"),
        (json!({ "secret": "a\nb" }), "bad_secret"),
        (json!({ "nonsense": 1 }), "bad_request"),
    ] {
        put(&world, "/v1/providers/key", body).await.problem(422, code);
    }
    put(&world, "/v1/providers/none", json!({})).await.problem(404, "provider_not_found");
}

async fn a_gateway_has_types_of_its_own(on: Database) {
    let world = World::new(on).await;
    let path = "/v1/provider-types/forge";
    let kind = json!({ "name": "forge", "attach": { "scheme": "header", "name": "x-forge" }, "hosts": ["forge.test"],
        "paths": ["/api"], "env": "FORGE_TOKEN", "prefix": "fg_" });
    let forge = json!({ "name": "mine", "type": "forge", "secret": "fg_s3cret" });
    world.post("/v1/providers", forge.clone()).await.problem(422, "unknown_provider_type");
    let built_in = world.items("/v1/provider-types").await.as_array().unwrap().len();
    put(&world, path, kind.clone()).await.ok();
    assert_eq!(world.get(path).await.ok(), kind);
    assert_eq!(world.items("/v1/provider-types").await.as_array().unwrap().len(), built_in + 1);
    put(&world, "/v1/provider-types/github", json!({ "name": "github" })).await.problem(422, "built_in");
    put(&world, path, json!({ "name": "other" })).await.problem(422, "other_name");

    let made = world.post("/v1/providers", forge).await.ok();
    assert_eq!((&made["rule"]["hosts"], &made["rule"]["paths"]), (&json!(["forge.test"]), &json!(["/api"])), "{made}");
    world.post("/v1/sandboxes", json!({ "name": "a", "providers": ["mine"] })).await.ok();
    let rules = world.runtime.seat("a").supervisor.content().credentials;
    assert!(rules["mine"].placeholder.as_deref().is_some_and(|text| text.starts_with("fg_openshell-")), "{rules:?}");

    // What it is replaced by is for providers to come.
    let request = world.request(Method::PUT, path).header("if-match", "\"other\"").json(&kind);
    world.send(request).await.problem(412, "changed_meanwhile");
    let tag = world.get(path).await.etag;
    let changed = json!({ "name": "forge", "attach": { "scheme": "bearer" }, "hosts": ["new.test"] });
    world.send(world.request(Method::PUT, path).header("if-match", tag).json(&changed)).await.ok();
    assert_eq!(world.get("/v1/providers/mine").await.ok()["rule"], made["rule"]);
    world.delete(path).await.problem(409, "provider_type_in_use");
    world.delete("/v1/provider-types/github").await.problem(404, "provider_type_not_found");
    let other = world.post("/v1/providers", json!({ "name": "other", "type": "forge", "secret": "s" })).await.ok();
    assert_eq!(other["rule"]["hosts"], json!(["new.test"]));
    world.delete("/v1/sandboxes/a").await.ok();
    for name in ["mine", "other"] {
        world.delete(&format!("/v1/providers/{name}")).await.ok();
    }
    world.delete(path).await.ok();
    world.get(path).await.problem(404, "provider_type_not_found");
}

async fn the_master_key_turns_while_everything_runs(on: Database) {
    let world = World::new(on).await;
    for n in 0..5 {
        let provider = json!({ "name": format!("key-{n}"), "type": "github", "secret": format!("{SECRET}-{n}") });
        world.post("/v1/providers", provider).await.ok();
    }
    world.post("/v1/sandboxes", json!({ "name": "a", "providers": ["key-0"] })).await.ok();
    let key = world.dir.path().join("state/secrets.key");
    let before = std::fs::read_to_string(&key).unwrap();
    assert_eq!(world.post("/v1/keys/rotate", json!({})).await.ok(), json!({ "secrets": 5 }));
    let after = std::fs::read_to_string(&key).unwrap();
    assert_ne!(before, after);
    assert_eq!(after.lines().count(), 1, "the old one is gone");

    // A gateway that died in the middle of the next turn: two keys, and secrets of the older one.
    let world = world.changed_while_stopped(|state| {
        let next = "11".repeat(32);
        std::fs::write(state.join("secrets.key"), format!("{next}\n{after}")).unwrap();
    });
    let world = world.await;
    let turned = std::fs::read_to_string(world.dir.path().join("state/secrets.key")).unwrap();
    assert_eq!(turned, format!("{}\n", "11".repeat(32)), "the turn was ended");
    let a = world.runtime.seat("a").supervisor;
    a.connect();
    world.until("/v1/sandboxes/a", |sandbox| sandbox["connected"] == true).await;
    world.post("/v1/sandboxes", json!({ "name": "b", "providers": ["key-4"] })).await.ok();
    let b = world.runtime.seat("b").supervisor;
    assert_eq!(b.state.lock().unwrap().secrets["key-4"], format!("{SECRET}-4"));
    let told = world.items("/v1/audit?action=keys.rotate").await;
    assert_eq!(told.as_array().unwrap().len(), 2, "{told}");
}

async fn no_answer_file_or_entry_holds_a_secret(on: Database) {
    let world = World::new(on).await;
    let provider = json!({ "name": "key", "type": "openai", "secret": SECRET });
    world.post("/v1/providers", provider.clone()).await.ok();
    let mut said = vec![world.post("/v1/providers", provider).await.body.to_string()];
    // Bodies that are refused: what is wrong with them is said, and what they hold is not.
    for body in [
        json!({ "name": "x", "type": "openai", "secret": [SECRET] }),
        json!({ "name": "x", "type": SECRET, "secret": SECRET, "hosts": 5 }),
        json!({ "name": "x", "type": "openai", "secret": SECRET, SECRET: 1 }),
        json!({ "name": "x", "type": "generic", "secret": format!("{SECRET}\n") }),
    ] {
        let answer = world.post("/v1/providers", body.clone()).await;
        assert!(answer.status.is_client_error(), "{answer:?}");
        if !body["type"].as_str().unwrap().contains(SECRET) && body.get(SECRET).is_none() {
            said.push(answer.body.to_string());
        }
    }
    world.post("/v1/sandboxes", json!({ "name": "a", "providers": ["key"] })).await.ok();
    said.push(put(&world, "/v1/providers/key", json!({ "secret": SECOND, "shared": true })).await.ok().to_string());
    for path in [
        "/v1/providers",
        "/v1/sandboxes/a/policies",
        "/v1/sandboxes/a/generations",
        "/v1/sandboxes",
        "/v1/sandboxes/a/logs",
        "/v1/decisions",
        "/v1/audit?limit=1000",
        "/v1/status",
    ] {
        said.push(world.get(path).await.ok().to_string());
    }
    for text in &said {
        assert!(!text.contains(SECRET) && !text.contains(SECOND), "{text}");
    }
    let mut pending = vec![world.dir.path().join("state")];
    while let Some(directory) = pending.pop() {
        for entry in std::fs::read_dir(directory).unwrap().flatten() {
            match entry.path() {
                path if path.is_dir() => pending.push(path),
                path if path.is_file() => {
                    let bytes = std::fs::read(&path).unwrap();
                    for secret in [SECRET, SECOND] {
                        let found = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
                        assert!(!found, "{}", path.display());
                    }
                }
                _ => {}
            }
        }
    }
}

/// A token endpoint: each refresh token is good once, and its access tokens live for two seconds.
async fn token_endpoint() -> (String, std::sync::Arc<std::sync::Mutex<(u32, bool)>>) {
    use axum::http::StatusCode;
    let state = std::sync::Arc::new(std::sync::Mutex::new((0_u32, true)));
    let served = state.clone();
    let answer = move |headers: axum::http::HeaderMap, body: String| {
        let served = served.clone();
        async move {
            let mut state = served.lock().unwrap();
            let expected = format!("grant_type=refresh_token&refresh_token={SECRET}-{}&client_id=app", state.0);
            let basic = headers.get("authorization").and_then(|value| value.to_str().ok())
                == Some("Basic YXBwOmNsaWVudC1zZWNyZXQ=");
            if body != expected || !basic || !state.1 {
                let refused =
                    json!({ "error": "invalid_grant", "error_description": format!("no such token: {body}") });
                return (StatusCode::BAD_REQUEST, axum::Json(refused));
            }
            state.0 += 1;
            let n = state.0;
            let tokens = json!({ "access_token": format!("access-{n}"), "expires_in": 2, "refresh_token": format!("{SECRET}-{n}") });
            (StatusCode::OK, axum::Json(tokens))
        }
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/token", listener.local_addr().unwrap());
    let routes = axum::Router::new().route("/token", axum::routing::post(answer));
    tokio::spawn(async move { axum::serve(listener, routes).await });
    (url, state)
}

async fn access_tokens_are_renewed_before_they_expire_and_reach_live_sandboxes(on: Database) {
    let world = World::new(on).await;
    let (url, endpoint) = token_endpoint().await;
    let create = |secret: &str, url: &str| {
        let refresh = json!({ "token_url": url, "client_id": "app", "client_secret": "client-secret" });
        json!({ "name": "key", "type": "github", "secret": secret, "refresh": refresh })
    };
    let refused = world.post("/v1/providers", create("another", &url)).await.problem(422, "not_refreshed");
    assert!(refused["detail"].as_str().unwrap().ends_with("HTTP 400, invalid_grant"), "{refused}");
    world.post("/v1/providers", create("x", "http://tokens.example.test/token")).await.problem(422, "bad_url");
    let made = world.post("/v1/providers", create(&format!("{SECRET}-0"), &url)).await.ok();
    assert_eq!((&made["refresh"]["lifetime_s"], &made["refresh"]["client_id"]), (&json!(2), &json!("app")));
    assert!(!made.to_string().contains(SECRET) && !made.to_string().contains("client-secret"), "{made}");

    world.post("/v1/sandboxes", json!({ "name": "a", "providers": ["key"] })).await.ok();
    let a = world.runtime.seat("a").supervisor;
    let has = async |wanted: u32| {
        let began = Instant::now();
        loop {
            let found = a.state.lock().unwrap().secrets.get("key").cloned().unwrap_or_default();
            if found.strip_prefix("access-").and_then(|n| n.parse::<u32>().ok()).is_some_and(|n| n >= wanted) {
                return;
            }
            assert!(began.elapsed() < Duration::from_secs(20), "{found}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    has(1).await;
    has(3).await;
    // The endpoint goes away, and what is wrong is said, without what was sent; then it is back.
    endpoint.lock().unwrap().1 = false;
    let shown = world.until("/v1/providers", |providers| providers["items"][0]["refresh"]["problem"].is_string()).await;
    assert_eq!(shown["items"][0]["refresh"]["problem"], "HTTP 400, invalid_grant");
    let before = {
        let mut endpoint = endpoint.lock().unwrap();
        endpoint.1 = true;
        endpoint.0
    };
    has(before + 1).await;
    let told = world.items("/v1/audit?action=provider.refresh&limit=1000").await.to_string();
    assert!(!told.contains(SECRET) && !told.contains("access-"), "{told}");
}
