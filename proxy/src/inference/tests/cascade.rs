//! A small model first: what does not pass is asked of the next one, and both are paid for.

use http::Response;
use jiff::Timestamp;
use openshell_api::inference::{BackendKind, Cascade, Period, Sensitivity};

use super::world::{Origin, Read, World, backend, chat, post, read};
use crate::inference::refusal::full;

const CHAT: &str = "/v1/chat/completions";

async fn says(kind: &'static str, text: &'static str) -> Origin {
    Origin::start(move |_| async move {
        Response::builder().header("content-type", kind).body(full(text.into())).expect("response")
    })
    .await
}

/// A small and a large model behind `checks`, at a millionth of a dollar a token.
fn world(small: &Origin, large: &Origin, checks: &[&str]) -> World {
    let mut world = World::new(vec![
        backend("large", large.address, Sensitivity::Public, 1),
        backend("small", small.address, Sensitivity::Public, 2),
    ]);
    let checks = checks.iter().map(|check| check.parse().expect("a check")).collect();
    world.rules.cascade = Some(Cascade { first: "small".parse().expect("name"), checks });
    world
}

fn served_by(answer: &Read) -> &str {
    answer.headers["x-openshell-served-by"].to_str().expect("text")
}

const GOOD: &str = r#"{"id":"1","choices":[{"index":0,"message":{"role":"assistant","content":"Paris."},"finish_reason":"stop"}],"usage":{"prompt_tokens":10,"completion_tokens":5}}"#;
const NO: &str = r#"{"id":"1","choices":[{"index":0,"message":{"role":"assistant","content":"I cannot help with that."},"finish_reason":"stop"}],"usage":{"prompt_tokens":10,"completion_tokens":5}}"#;
const BIG: &str = r#"{"id":"2","choices":[{"index":0,"message":{"role":"assistant","content":"Paris, the capital."},"finish_reason":"stop"}],"usage":{"prompt_tokens":20,"completion_tokens":7}}"#;
const SURE: &str = r#"{"id":"1","choices":[{"index":0,"message":{"role":"assistant","content":"Paris."},"logprobs":{"content":[{"token":"Paris","logprob":-0.2}]},"finish_reason":"stop"}],"usage":{"prompt_tokens":10,"completion_tokens":5}}"#;

#[tokio::test]
async fn what_passes_is_the_answer_and_what_does_not_escalates() {
    for (small, checks, passes, check) in [
        (GOOD, &["refusal", "cut"][..], true, ""),
        (NO, &["refusal"], false, "refusal"),
        (NO, &["cut"], true, ""),
        (GOOD, &["short=7"], false, "short=7"),
        (SURE, &["logprob=-0.5"], true, ""),
        (SURE, &["logprob=-0.1"], false, "logprob=-0.1"),
        (GOOD, &["logprob=-0.5"], false, "logprob=-0.5"),
        ("<html>", &["cut"], false, "unreadable"),
    ] {
        let (small_origin, large) = (says("application/json", small).await, says("application/json", BIG).await);
        let world = world(&small_origin, &large, checks);
        let answer = world.post(CHAT, &[], &chat("capital of France?")).await;
        let expected = if passes { ("small", 1, 0) } else { ("large", 1, 1) };
        assert_eq!((served_by(&answer), small_origin.count(), large.count()), expected, "{checks:?}: {}", answer.text);
        let route = world.record().route.expect("route");
        let logprobs = checks[0].starts_with("logprob");
        let asked = String::from_utf8_lossy(&small_origin.last().body).into_owned();
        assert_eq!(asked.contains(r#""logprobs":true"#), logprobs, "{asked}");
        let (_, tokens) = world.ledger.spent(Period::Total, Timestamp::now());
        if passes {
            let expected = small.replace(r#"{"content":[{"token":"Paris","logprob":-0.2}]}"#, "null");
            assert_eq!(answer.text, if logprobs { expected } else { small.to_owned() });
            assert_eq!((route.escalated.len(), tokens), (0, 15), "{checks:?}");
            assert_eq!(route.charged.map(|charge| charge.cost), Some(2 * 15), "{checks:?}");
        } else {
            assert_eq!(answer.text, BIG);
            let headers = answer.headers["x-openshell-route"].to_str().expect("text");
            assert!(headers.ends_with(&format!("; small did not pass {check}")), "{headers}");
            let escalation = &route.escalated[0];
            assert_eq!((escalation.backend.as_str(), escalation.check.as_str()), ("small", check));
            assert_eq!(route.charged.map(|charge| charge.cost), Some(27));
            if check != "unreadable" {
                assert_eq!((escalation.charged.map(|charge| charge.cost), tokens), (Some(2 * 15), 15 + 27));
            }
        }
    }
}

#[tokio::test]
async fn streams_are_checked_before_their_first_byte() {
    let no = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"I can\"}}]}\n\ndata: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"not.\"},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n";
    let yes = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"Paris.\"},\"finish_reason\":\"stop\"}]}\n\ndata: {\"choices\":[],\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":2}}\n\ndata: [DONE]\n\n";
    let cut = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"Par\"}}]}\n\n";
    let body = r#"{"model":"m","stream":true,"messages":[]}"#;
    for (small, expected) in [(yes, "small"), (no, "large"), (cut, "large")] {
        let (small_origin, large) = (says("text/event-stream", small).await, says("text/event-stream", yes).await);
        let world = world(&small_origin, &large, &["refusal"]);
        let answer = read(world.send(post(CHAT, &[], body)).await).await;
        assert_eq!((served_by(&answer), answer.text.as_str()), (expected, yes), "{small}");
        assert_eq!(world.record().route.expect("route").output_tokens, Some(2));
    }
}

#[tokio::test]
async fn clearance_holds_for_each_and_something_is_better_than_nothing() {
    // A small model that is not cleared is not asked first either.
    let (small, large) = (says("application/json", GOOD).await, says("application/json", BIG).await);
    let mut world = world(&small, &large, &["refusal"]);
    world.catalogue.backends[0].clearance = Sensitivity::Restricted;
    let answer = world.post(CHAT, &[], &chat("4111")).await;
    assert_eq!((served_by(&answer), small.count(), large.count()), ("large", 0, 1));
    // Nobody to escalate to: it is asked as any other, and nothing is held back.
    world.catalogue.backends.remove(0);
    let answer = world.post(CHAT, &[("x-openshell-session", "new")], &chat("hello")).await;
    assert_eq!((served_by(&answer), small.count()), ("small", 1));

    // All others fail: what did not pass is the answer, and paid for once.
    let (small, broken) = (says("application/json", NO).await, Origin::json(401, "{}").await);
    let world = self::world(&small, &broken, &["refusal"]);
    let answer = world.post(CHAT, &[], &chat("hello")).await;
    assert_eq!((served_by(&answer), answer.text.as_str()), ("small", NO));
    let route = world.record().route.expect("route");
    assert_eq!((route.charged, route.escalated.len()), (None, 1));
    assert_eq!(world.ledger.spent(Period::Total, Timestamp::now()).1, 15);

    // Its failure is no answer at all.
    let (down, large) = (Origin::json(503, "{}").await, says("application/json", BIG).await);
    let world = self::world(&down, &large, &["refusal"]);
    let answer = world.post(CHAT, &[], &chat("hello")).await;
    assert_eq!((served_by(&answer), world.record().route.expect("route").escalated.len()), ("large", 0));
}

#[tokio::test]
async fn other_apis_are_checked_in_their_own_words() {
    let (small, large) = (Origin::echo().await, Origin::echo().await);
    for (kind, path, body) in [
        (BackendKind::Openai, "/v1/responses", r#"{"model":"m","input":"I cannot help with that."}"#),
        (BackendKind::Openai, "/v1/responses", r#"{"model":"m","stream":true,"input":"I cannot help with that."}"#),
        (
            BackendKind::Anthropic,
            "/v1/messages",
            r#"{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"hi"}]}"#,
        ),
        (
            BackendKind::Compatible,
            "/v1/messages",
            r#"{"model":"m","max_tokens":9,"stream":true,"messages":[{"role":"user","content":"hi"}]}"#,
        ),
    ] {
        // The echo calls a tool, so it is never too short and says no only by its own field; its text is long enough to pass.
        let mut world = world(&small, &large, &["refusal", "json", "cut", "short=100"]);
        world.catalogue.backends.iter_mut().for_each(|backend| backend.kind = kind);
        let before = (small.count(), large.count());
        let answer = world.post(path, &[], body).await;
        assert_eq!(served_by(&answer), "small", "{path}: {}", answer.text);
        assert_eq!((small.count(), large.count()), (before.0 + 1, before.1), "{path}");
        // A check that can't be made there leaves the order alone.
        world.rules.cascade.as_mut().expect("a cascade").checks = vec!["logprob=-1".parse().expect("a check")];
        assert_eq!(served_by(&world.post(path, &[], body).await), "large", "{path}");
    }
}
