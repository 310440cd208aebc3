//! What never happens.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::Response;
use http_body_util::BodyExt as _;
use openshell_api::decision::Verdict;
use openshell_api::inference::{Backend, Sensitivity, Session};
use openshell_policy_host::{self as host, Answer, Denial, Failure, InferenceRequest, PolicyRef, RouteDecision};
use proptest::prelude::*;

use super::world::{Origin, Simple, World, backend, chat, post, read};
use crate::inference::Told;
use crate::inference::clearance::Cleared;
use crate::inference::refusal::full;
use crate::inference::router::Router;
use crate::inference::service::{Body, BoxError};
use crate::inference::upstream::{Outgoing, Transport};

const CHAT: &str = "/v1/chat/completions";
const LEVELS: [Sensitivity; 4] =
    [Sensitivity::Public, Sensitivity::Internal, Sensitivity::Confidential, Sensitivity::Restricted];

#[tokio::test]
async fn sessions_forget_nothing_until_a_user_says_so() {
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
    let mut rises = Vec::new();
    while let Ok(told) = world.rises.try_recv() {
        let Told::Rise(rise) = told else { unreachable!("nobody reset anything") };
        rises.push(rise);
    }
    assert_eq!(rises.len(), 3);
    assert!(rises.iter().all(|r| r.sensitivity == Sensitivity::Restricted && !r.session.contains("one")));

    // Another supervisor of the same sandbox starts from what the gateway kept.
    let successor = World::new(world.catalogue.backends.clone());
    successor.sessions.merge(world.sessions.all());
    successor.sessions.merge([(rises[0].session.clone(), Sensitivity::Public)].into());
    let served_by = async |headers| {
        let answer = successor.post(CHAT, headers, &chat("hello")).await;
        answer.headers["x-openshell-served-by"].to_str().expect("text").to_owned()
    };
    assert_eq!(served_by(&one).await, "home");
    // One is forgotten, then all; what comes after is told behind it.
    successor.sessions.reset(Some(&Session::of_header(b"one")), "first".into());
    assert_eq!((served_by(&one).await.as_str(), served_by(&[]).await.as_str()), ("public", "home"));
    successor.sessions.reset(None, "second".into());
    assert_eq!(served_by(&[]).await, "public");
    assert_eq!(successor.post(CHAT, &[], &chat("4111")).await.headers["x-openshell-served-by"], "home");
    let mut successor = successor;
    let told: Vec<Told> = std::iter::from_fn(|| successor.rises.try_recv().ok()).collect();
    let again = Session { session: Session::SANDBOX.into(), sensitivity: Sensitivity::Restricted };
    assert_eq!(told, [Told::Reset("first".into()), Told::Reset("second".into()), Told::Rise(again)]);
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
    ] {
        let answer = world.post(path, &[header], body).await;
        assert_eq!(answer.status, status, "{path} {header:?}: {}", answer.text);
        assert!(answer.text.contains(expected), "{expected} in {}", answer.text);
        let anthropic = answer.text.contains(r#""type":"error""#);
        assert_eq!(anthropic, path.starts_with("/v1/messages"), "{}", answer.text);
    }
    assert_eq!(origin.count(), 0);
    let record = world.record();
    assert_eq!((record.verdict, record.error.as_deref()), (Verdict::Deny, Some("bad_request")));
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

/// Answers whatever it was made to answer: the first time, and about what is left.
struct Hostile {
    sensitivity: host::Sensitivity,
    rest: host::Sensitivity,
    findings: Vec<(u32, u32, u32)>,
    order: Vec<u32>,
    redact: bool,
    asked: Mutex<u32>,
}

impl Router for Hostile {
    fn route(&self, asked: &InferenceRequest, _: &[host::Backend]) -> Answer<Result<RouteDecision, Denial>> {
        let mut times = self.asked.lock().expect("times");
        *times += 1;
        let first = *times == 1;
        // The host itself refuses offsets that do not exist.
        let exists = |&(message, start, end): &(u32, u32, u32)| {
            let text = asked.messages.get(message as usize).and_then(|m| m.text.get(start as usize..end as usize));
            text.is_some_and(|text| !text.is_empty())
        };
        let made = |&(message, start, end): &(u32, u32, u32)| host::Finding { kind: "x".into(), message, start, end };
        let decision = RouteDecision {
            sensitivity: if first { self.sensitivity } else { self.rest },
            findings: if first { self.findings.iter().filter(|f| exists(f)).map(made).collect() } else { Vec::new() },
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

/// Remembers which backend got which body, and fails so that the next one is tried.
#[derive(Clone, Default)]
struct Watched(Arc<Mutex<Vec<(Backend, Bytes)>>>);

#[async_trait::async_trait]
impl Transport for Watched {
    async fn send(&self, cleared: Cleared<'_>, outgoing: Outgoing) -> Result<Response<Body>, BoxError> {
        self.0.lock().expect("log").push((cleared.backend().clone(), outgoing.body));
        // A failure that lasts: every candidate is tried, and none waited for.
        let mut refused = Response::new(full(Bytes::from_static(b"{}")));
        *refused.status_mut() = http::StatusCode::UNAUTHORIZED;
        Ok(refused)
    }

    async fn models(&self, _: &Backend, _: http::HeaderMap) -> Result<http::StatusCode, BoxError> {
        Ok(http::StatusCode::UNAUTHORIZED)
    }
}

proptest! {
    /// For any module and any catalogue: whoever is cleared for less than the content, the session or the label says gets nothing,
    /// unless its operator lets it have placeholders; then nothing that was found is in what it gets, and what is left counts as
    /// no more than it is cleared for.
    #[test]
    fn no_byte_reaches_a_backend_of_lower_clearance(
        entries in prop::collection::vec((0usize..4, any::<bool>(), any::<bool>()), 0..6),
        order in prop::collection::vec(0u32..8, 0..10),
        findings in prop::collection::vec((0u32..4, 0u32..12, 4u32..24), 0..4),
        (said, rest, before, label) in (0usize..4, 0usize..4, 0usize..4, 0usize..4),
        (redact, cascade) in any::<(bool, bool)>(),
    ) {
        let backends: Vec<Backend> = entries
            .iter()
            .enumerate()
            .map(|(i, &(clearance, redact, anthropic))| {
                let at = "127.0.0.1:1".parse().expect("address");
                let mut entry = backend(&format!("b{i}"), at, LEVELS[clearance], 1);
                entry.redact = redact;
                if anthropic {
                    entry.kind = openshell_api::inference::BackendKind::Anthropic;
                }
                entry
            })
            .collect();
        let watched = Watched::default();
        let mut world = World::over(backends, Some(Arc::new(watched.clone())));
        if cascade {
            let first = "b0".parse().expect("name");
            world.rules.cascade = Some(openshell_api::inference::Cascade { first, checks: vec!["cut".parse().expect("a check")] });
        }
        world.sessions.raise("sandbox", LEVELS[before]);
        let level = |index: usize| openshell_inference_format::contract::to_host(LEVELS[index]);
        let hostile = Hostile {
            sensitivity: level(said), rest: level(rest), findings: findings.clone(), order, redact, asked: Mutex::default(),
        };
        let name = openshell_inference_format::contract::name(LEVELS[label]);
        let text = "the quick brown fox jumps over it";
        let request = post(CHAT, &[("x-openshell-sensitivity", name)], &chat(text));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
        runtime.block_on(async { world.send_under(Some(&hostile), request).await.into_body().collect().await.map(|_| ()) }).expect("answered");
        let whole = LEVELS[said.max(before).max(label)];
        let left = LEVELS[rest.max(before).max(label)];
        for (backend, body) in watched.0.lock().expect("log").iter() {
            if backend.clearance >= whole {
                continue;
            }
            prop_assert!(redact && backend.redact && backend.clearance >= left, "{backend:?} for {whole:?}, {left:?}");
            let body = String::from_utf8_lossy(body);
            let mut any = false;
            for &(message, start, end) in &findings {
                // The texts are what the user says, the role and the model, in the order of their keys.
                let texts = [text, "user", "small"];
                let value = texts.get(message as usize).and_then(|t| t.get(start as usize..end as usize)).unwrap_or("");
                any |= !value.is_empty();
                // A shorter one is replaced where it was found, and stays part of other words.
                if value.len() >= 4 {
                    prop_assert!(!body.contains(value), "{value:?} in {body}");
                }
            }
            prop_assert!(any, "nothing was found, and {backend:?} got {body}");
        }
    }
}
