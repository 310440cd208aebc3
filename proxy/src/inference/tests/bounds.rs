//! What never happens.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::Response;
use http_body_util::BodyExt as _;
use openshell_api::decision::Verdict;
use openshell_api::inference::{Backend, Sensitivity};
use openshell_policy_host::{self as host, Answer, Denial, Failure, InferenceRequest, PolicyRef, RouteDecision};
use proptest::prelude::*;

use super::world::{Origin, Simple, World, backend, chat, post, read};
use crate::inference::Rise;
use crate::inference::clearance::Cleared;
use crate::inference::refusal::full;
use crate::inference::router::Router;
use crate::inference::service::{Body, BoxError};
use crate::inference::upstream::{Outgoing, Transport};

const CHAT: &str = "/v1/chat/completions";
const LEVELS: [Sensitivity; 4] =
    [Sensitivity::Public, Sensitivity::Internal, Sensitivity::Confidential, Sensitivity::Restricted];

#[tokio::test]
async fn sessions_never_forget() {
    let (public, home) = (Origin::json(200, "{}").await, Origin::json(200, "{}").await);
    let mut world = World::new(vec![
        backend("public", public.address, Sensitivity::Public, 1),
        backend("home", home.address, Sensitivity::Restricted, 9),
    ]);
    let conversation = r#"{"model":"m","conversation":{"id":"c1"},"input":"hello"}"#;
    let secret = r#"{"model":"m","conversation":"c1","input":"4111"}"#;
    let (one, two) = ([("x-openshell-session", "one")], [("x-openshell-session", "two")]);
    for (path, headers, body, expected) in [
        (CHAT, &one[..], chat("hello"), "public"),
        (CHAT, &one[..], chat("4111"), "home"),
        (CHAT, &one[..], chat("hello"), "home"),
        (CHAT, &two[..], chat("hello"), "public"),
        (CHAT, &[][..], chat("hello"), "public"),
        ("/v1/responses", &[][..], conversation.to_owned(), "public"),
        ("/v1/responses", &[][..], secret.to_owned(), "home"),
        ("/v1/responses", &[][..], conversation.to_owned(), "home"),
        (CHAT, &[][..], chat("hello"), "public"),
        (CHAT, &[][..], chat("4111"), "home"),
        (CHAT, &[][..], chat("hello"), "home"),
    ] {
        let answer = world.post(path, headers, &body).await;
        assert_eq!(answer.headers["x-openshell-served-by"], expected, "{headers:?} {body}");
    }
    let mut rises: Vec<Rise> = Vec::new();
    while let Ok(rise) = world.rises.try_recv() {
        rises.push(rise);
    }
    assert_eq!(rises.len(), 3);
    assert!(rises.iter().all(|r| r.sensitivity == Sensitivity::Restricted && !r.session.contains("one")));

    // Another supervisor of the same sandbox starts from what the gateway kept.
    let successor = World::new(world.catalogue.backends.clone());
    successor.sessions.merge(world.sessions.all());
    successor.sessions.merge([(rises[0].session.clone(), Sensitivity::Public)].into());
    assert_eq!(successor.post(CHAT, &one, &chat("hello")).await.headers["x-openshell-served-by"], "home");
}

#[tokio::test]
async fn labels_raise_and_never_lower() {
    let (public, home) = (Origin::json(200, "{}").await, Origin::json(200, "{}").await);
    let entries = vec![
        backend("public", public.address, Sensitivity::Public, 1),
        backend("home", home.address, Sensitivity::Restricted, 9),
    ];
    for (label, text, expected) in
        [("confidential", "hello", "home"), ("public", "hello", "public"), ("public", "4111", "home")]
    {
        let headers = [("x-openshell-sensitivity", label)];
        let answer = World::new(entries.clone()).post(CHAT, &headers, &chat(text)).await;
        assert_eq!(answer.headers["x-openshell-served-by"], expected, "{label} {text}");
    }
}

#[tokio::test]
async fn what_is_too_long_to_read_is_restricted() {
    let (public, home) = (Origin::json(200, "{}").await, Origin::json(200, "{}").await);
    let world = World::new(vec![
        backend("public", public.address, Sensitivity::Public, 1),
        backend("home", home.address, Sensitivity::Restricted, 9),
    ]);
    let answer = world.post(CHAT, &[], &chat(&"word ".repeat(300_000))).await;
    assert_eq!(answer.headers["x-openshell-served-by"], "home");
    let answer = world.post(CHAT, &[], &chat(&"x".repeat(33 << 20))).await;
    assert_eq!((answer.status, public.count(), home.count()), (413, 0, 1));
}

#[tokio::test]
async fn what_the_router_has_no_time_to_read_is_restricted() {
    struct Slow;
    impl Router for Slow {
        fn route(&self, asked: &InferenceRequest, b: &[host::Backend]) -> Answer<Result<RouteDecision, Denial>> {
            match asked.messages.is_empty() {
                false => Answer { result: Err(Failure::Deadline { limit_ms: 50 }), memoized: false },
                true => Simple.route(asked, b),
            }
        }
        fn reference(&self) -> PolicyRef {
            Simple.reference()
        }
    }
    let (public, home) = (Origin::json(200, "{}").await, Origin::json(200, "{}").await);
    let world = World::new(vec![
        backend("public", public.address, Sensitivity::Public, 1),
        backend("home", home.address, Sensitivity::Restricted, 9),
    ]);
    let long = chat(&"word ".repeat(10_000));
    let answer = read(world.send_under(Some(&Slow), post(CHAT, &[], &long)).await).await;
    assert_eq!(answer.headers["x-openshell-route"], "restricted; cheapest");
    assert_eq!((public.count(), home.count()), (0, 1));
}

#[tokio::test]
async fn refuses_in_the_callers_dialect() {
    let origin = Origin::json(200, "{}").await;
    let world = World::new(vec![backend("one", origin.address, Sensitivity::Public, 1)]);
    let hello = chat("hello");
    let twice = r#"{"model":"m","messages":[{"role":"user","content":"a","content":"b"}]}"#;
    let json = ("content-type", "application/json");
    for (path, header, body, status, expected) in [
        ("/v1/nothing", json, hello.as_str(), 404, r#""code":"unknown_endpoint""#),
        ("/v1/messages/batches", json, &hello, 404, r#""type":"not_found_error""#),
        ("/v1/models", json, &hello, 405, "this endpoint takes GET only"),
        (CHAT, json, "{\"model\":\"m\",", 400, "not valid JSON"),
        (CHAT, json, "[]", 400, "not a JSON object"),
        (CHAT, json, "{}", 400, "no `model`"),
        (CHAT, json, r#"{"model":7}"#, 400, "no `model`"),
        (CHAT, json, r#"{"model":"a","model":"b"}"#, 400, "same key twice"),
        (CHAT, json, r#"{"model":"a","\u006dodel":"b"}"#, 400, "same key twice"),
        (CHAT, json, twice, 400, "same key twice"),
        (CHAT, ("content-type", "text/plain"), &hello, 415, "application/json"),
        (CHAT, ("content-encoding", "gzip"), &hello, 415, "compressed"),
        (CHAT, ("x-openshell-sensitivity", "secret"), &hello, 400, "not a sensitivity"),
        (CHAT, json, &chat("4111"), 403, r#""code":"policy_denied""#),
        ("/v1/messages", json, r#"{"model":"m","max_tokens":1,"top_k":4,"messages":[]}"#, 400, "top_k has no form"),
        ("/v1/messages/count_tokens", json, &hello, 403, "the API of one has no such operation"),
    ] {
        let answer = world.post(path, &[header], body).await;
        assert_eq!(answer.status, status, "{path} {header:?}: {}", answer.text);
        assert!(answer.text.contains(expected), "{expected} in {}", answer.text);
        let anthropic = answer.text.contains(r#""type":"error""#);
        assert_eq!(anthropic, path.starts_with("/v1/messages"), "{}", answer.text);
    }
    assert_eq!(origin.count(), 0);
    let record = world.record();
    assert_eq!((record.verdict, record.error.as_deref()), (Verdict::Deny, Some("inference_unavailable")));
}

#[tokio::test]
async fn no_router_and_a_failing_router_refuse() {
    struct Failing;
    impl Router for Failing {
        fn route(&self, _: &InferenceRequest, _: &[host::Backend]) -> Answer<Result<RouteDecision, Denial>> {
            Answer { result: Err(Failure::Deadline { limit_ms: 50 }), memoized: false }
        }
        fn reference(&self) -> PolicyRef {
            PolicyRef { name_version: "failing@1".into(), digest: "sha256:00".into() }
        }
    }
    let origin = Origin::json(200, "{}").await;
    let world = World::new(vec![backend("one", origin.address, Sensitivity::Restricted, 1)]);
    for (router, expected) in [(None, "inference_unavailable"), (Some(&Failing as &dyn Router), "policy_failed")] {
        let answer = read(world.send_under(router, post(CHAT, &[], &chat("hello"))).await).await;
        assert_eq!(answer.status, 403);
        assert!(answer.text.contains(expected) && answer.text.contains("hint"), "{}", answer.text);
    }
    assert_eq!(origin.count(), 0);
}

/// Answers whatever it was made to answer.
struct Hostile {
    sensitivity: host::Sensitivity,
    order: Vec<u32>,
    redact: bool,
}

impl Router for Hostile {
    fn route(&self, _: &InferenceRequest, _: &[host::Backend]) -> Answer<Result<RouteDecision, Denial>> {
        let decision = RouteDecision {
            sensitivity: self.sensitivity,
            findings: Vec::new(),
            order: self.order.clone(),
            redact: self.redact,
            reason: "trust me".into(),
        };
        Answer { result: Ok(Ok(decision)), memoized: false }
    }
    fn reference(&self) -> PolicyRef {
        PolicyRef { name_version: "hostile@1".into(), digest: "sha256:00".into() }
    }
}

/// Remembers the clearance of every backend that anything was sent to, and fails so that the next one is tried.
#[derive(Clone, Default)]
struct Watched(Arc<Mutex<Vec<Sensitivity>>>);

#[async_trait::async_trait]
impl Transport for Watched {
    async fn send(&self, cleared: Cleared<'_>, _: Outgoing) -> Result<Response<Body>, BoxError> {
        self.0.lock().expect("log").push(cleared.backend().clearance);
        let mut busy = Response::new(full(Bytes::from_static(b"{}")));
        *busy.status_mut() = http::StatusCode::SERVICE_UNAVAILABLE;
        Ok(busy)
    }
}

proptest! {
    #[test]
    fn no_byte_reaches_a_backend_of_lower_clearance(
        clearances in prop::collection::vec(0usize..4, 0..6),
        order in prop::collection::vec(0u32..8, 0..10),
        said in 0usize..4,
        before in 0usize..4,
        label in 0usize..4,
        redact: bool,
    ) {
        let backends: Vec<Backend> = clearances
            .iter()
            .enumerate()
            .map(|(i, &c)| backend(&format!("b{i}"), "127.0.0.1:1".parse().expect("address"), LEVELS[c], 1))
            .collect();
        let watched = Watched::default();
        let world = World::over(backends, Some(Box::new(watched.clone())));
        world.sessions.raise("sandbox", LEVELS[before]);
        let sensitivity = openshell_inference_format::contract::to_host(LEVELS[said]);
        let hostile = Hostile { sensitivity, order, redact };
        let name = openshell_inference_format::contract::name(LEVELS[label]);
        let request = post(CHAT, &[("x-openshell-sensitivity", name)], &chat("hello"));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
        runtime.block_on(async { world.send_under(Some(&hostile), request).await.into_body().collect().await.map(|_| ()) }).expect("answered");
        let least = LEVELS[said.max(before).max(label)];
        let sent = watched.0.lock().expect("log").clone();
        prop_assert!(sent.iter().all(|&clearance| clearance >= least), "{sent:?} for {least:?}");
    }
}
