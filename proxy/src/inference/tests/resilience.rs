//! What is tried again, what is left alone, and what callers may ask for.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use http::Response;
use openshell_api::inference::Sensitivity;

use super::world::{Origin, World, backend, chat, post, read};
use crate::inference::health::{Admission, Health};
use crate::inference::refusal::full;

const CHAT: &str = "/v1/chat/completions";

/// Answers each request with the next of `statuses`, then 200; `retry-after-ms: 1` on what is busy.
async fn answers(statuses: &'static [u16]) -> Origin {
    let turn = Arc::new(AtomicUsize::new(0));
    Origin::start(move |_| {
        let turn = Arc::clone(&turn);
        async move {
            let status = statuses.get(turn.fetch_add(1, Ordering::Relaxed)).copied().unwrap_or(200);
            Response::builder().status(status).header("retry-after-ms", "1").body(full("{}".into())).expect("response")
        }
    })
    .await
}

#[tokio::test]
async fn tries_again_what_passes_and_nothing_else() {
    let rows: &[(&[u16], u16, usize)] = &[
        (&[503], 200, 2),
        (&[429, 500], 200, 3),
        (&[529, 502, 504], 504, 3),
        (&[400], 400, 1),
        (&[404], 404, 1),
        (&[422], 422, 1),
        (&[401], 502, 1),
        (&[302], 502, 1),
    ];
    for (statuses, expected, requests) in rows {
        let origin = answers(statuses).await;
        let world = World::new(vec![backend("one", origin.address, Sensitivity::Public, 1)]);
        let answer = world.post(CHAT, &[], &chat("hello")).await;
        assert_eq!((answer.status, origin.count()), (*expected, *requests), "{statuses:?}: {}", answer.text);
    }
}

#[tokio::test]
async fn another_backend_comes_before_another_try() {
    let (ill, well) = (answers(&[503, 503, 503]).await, answers(&[]).await);
    let world = World::new(vec![
        backend("ill", ill.address, Sensitivity::Public, 1),
        backend("well", well.address, Sensitivity::Public, 2),
    ]);
    let answer = world.post(CHAT, &[], &chat("hello")).await;
    assert_eq!((answer.status, ill.count(), well.count()), (200, 1, 1));
}

#[tokio::test]
async fn a_long_retry_after_is_the_callers_to_wait_for() {
    let origin = Origin::start(|_| async {
        Response::builder().status(429).header("retry-after", "60").body(full("{}".into())).expect("response")
    })
    .await;
    let world = World::new(vec![backend("one", origin.address, Sensitivity::Public, 1)]);
    let began = Instant::now();
    let answer = world.post(CHAT, &[], &chat("hello")).await;
    assert_eq!((answer.status, answer.headers["retry-after"].as_bytes(), origin.count()), (429, &b"60"[..], 1));
    assert!(began.elapsed() < Duration::from_secs(30));
    // Until then it is asked nothing more.
    let answer = world.post(CHAT, &[], &chat("hello")).await;
    assert_eq!((answer.status, origin.count()), (502, 1));
    assert!(answer.text.contains("one: it failed lately and is left alone for"), "{}", answer.text);
}

#[tokio::test]
async fn a_silent_backend_is_not_waited_for_twice() {
    let origin = Origin::start(|_| async {
        tokio::time::sleep(Duration::from_secs(3600)).await;
        Response::new(full("{}".into()))
    })
    .await;
    let mut entry = backend("one", origin.address, Sensitivity::Public, 1);
    entry.idle_timeout_ms = 50;
    let world = World::new(vec![entry]);
    let answer = world.post(CHAT, &[], &chat("hello")).await;
    assert_eq!((answer.status, origin.count()), (502, 1), "{}", answer.text);
    assert!(answer.text.contains("it did not answer within 50 ms"), "{}", answer.text);
}

#[tokio::test]
async fn a_caller_that_hangs_up_before_the_first_byte_ends_the_work_upstream() {
    struct Bell(Arc<tokio::sync::Notify>);
    impl Drop for Bell {
        fn drop(&mut self) {
            self.0.notify_one();
        }
    }
    let (begun, gone) = (Arc::new(tokio::sync::Notify::new()), Arc::new(tokio::sync::Notify::new()));
    let (begins, goes) = (Arc::clone(&begun), Arc::clone(&gone));
    let origin = Origin::start(move |_| {
        let (begins, bell) = (Arc::clone(&begins), Bell(Arc::clone(&goes)));
        async move {
            let _bell = bell;
            begins.notify_one();
            tokio::time::sleep(Duration::from_secs(3600)).await;
            Response::new(full("{}".into()))
        }
    })
    .await;
    let mut entry = backend("one", origin.address, Sensitivity::Public, 1);
    entry.idle_timeout_ms = 3_600_000;
    let world = World::new(vec![entry]);
    let body = chat("hello");
    let request = world.send(post(CHAT, &[], &body));
    tokio::select! {
        _ = request => unreachable!("the backend never answers"),
        () = begun.notified() => {}
    }
    tokio::time::timeout(Duration::from_secs(20), gone.notified()).await.expect("the backend noticed");
}

#[test]
fn what_keeps_failing_is_left_alone_then_tried_once() {
    let health = Health::default();
    let start = Instant::now();
    let at = |ms: u64| start + Duration::from_millis(ms);
    for _ in 0..4 {
        assert_eq!(health.failed("b", at(0), None), None);
        assert_eq!(health.admit("b", at(0)), Admission::Open);
    }
    assert_eq!(health.failed("b", at(0), None), Some(Duration::from_secs(1)));
    assert_eq!(health.admit("b", at(400)), Admission::Closed(Duration::from_millis(600)));
    assert_eq!(health.admit("other", at(400)), Admission::Open);
    // As long as a probe is at it nobody asks; each that finds nothing doubles the time.
    assert!(matches!(health.admit("b", at(1_000)), Admission::Closed(_)));
    health.unprobed("b");
    // One trial at a time; one that finds out nothing makes room for another, one that fails doubles the time.
    assert_eq!(health.admit("b", at(1_000)), Admission::Open);
    assert!(matches!(health.admit("b", at(1_000)), Admission::Closed(_)));
    health.unknown("b");
    assert_eq!(health.admit("b", at(1_000)), Admission::Open);
    assert_eq!(health.failed("b", at(1_000), None), Some(Duration::from_secs(2)));
    assert_eq!(health.admit("b", at(1_500)), Admission::Closed(Duration::from_millis(1_500)));
    assert_eq!(health.probed("b", at(3_000), false), Some(Duration::from_secs(4)));
    assert_eq!(health.admit("b", at(5_000)), Admission::Closed(Duration::from_secs(2)));
    // Alive, one is let through at once; a second probe is not begun beside the first.
    assert_eq!(health.failed("b", at(5_500), None), None);
    assert_eq!(health.probed("b", at(6_000), true), None);
    assert_eq!(health.admit("b", at(6_000)), Admission::Open);
    assert!(matches!(health.admit("b", at(6_000)), Admission::Closed(_)));
    health.served("b");
    assert!(!health.is_probed("b"));
    assert_eq!(health.probed("b", at(6_000), false), None);
    for _ in 0..2 {
        assert_eq!(health.admit("b", at(6_000)), Admission::Open);
    }
    assert_eq!(health.failed("b", at(6_000), Some(Duration::from_secs(3600))), None);
    assert_eq!(health.admit("b", at(6_000)), Admission::Closed(Duration::from_secs(60)));
}

/// A backend that hangs when it is asked for a chat fails until `back`; the list of models tells whether it is back.
#[tokio::test]
async fn no_caller_waits_to_find_out_that_a_backend_is_still_down() {
    let up = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let back = Arc::clone(&up);
    let origin = Origin::start(move |parts| {
        let up = up.load(Ordering::Relaxed);
        let probe = parts.method == http::Method::GET && parts.uri.path() == "/v1/models";
        async move {
            if !up && !probe {
                tokio::time::sleep(Duration::from_secs(3600)).await;
            }
            Response::builder().status(if up { 200 } else { 503 }).body(full("{}".into())).expect("response")
        }
    })
    .await;
    let mut ill = backend("ill", origin.address, Sensitivity::Public, 1);
    ill.idle_timeout_ms = 50;
    ill.provider = Some(openshell_api::Name::parse("acme").expect("name"));
    let well = answers(&[]).await;
    let world = World::new(vec![ill, backend("well", well.address, Sensitivity::Public, 2)]);
    let served_by = async || {
        let answer = world.post(CHAT, &[], &chat("hello")).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        answer.headers["x-openshell-served-by"].to_str().expect("text").to_owned()
    };
    let asked = || origin.seen.lock().expect("log").iter().filter(|seen| seen.head.starts_with("POST")).count();
    for _ in 0..5 {
        assert!(served_by().await.starts_with("well"));
    }
    let probes = || origin.count() - asked();
    let began = Instant::now();
    while probes() < 2 {
        assert!(served_by().await.starts_with("well"));
        assert!(began.elapsed() < Duration::from_secs(60), "nobody probed it");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(asked(), 5, "callers waited for it all the same");
    let probe = origin.last().head;
    assert!(probe.starts_with("GET /v1/models") && probe.contains("authorization"), "{probe}");
    back.store(true, Ordering::Relaxed);
    while served_by().await.starts_with("well") {
        assert!(began.elapsed() < Duration::from_secs(60), "it never came back");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(asked(), 6);
}

#[tokio::test]
async fn aliases_and_allowed_models_hold_before_anything_is_sent() {
    let origin = answers(&[]).await;
    let mut named = backend("named", origin.address, Sensitivity::Confidential, 5);
    named.model = Some("house-model".into());
    let rows = [
        ("fast", 200, "\"model\":\"gpt-4o-mini\""),
        ("gpt-4o-mini", 200, "\"model\":\"gpt-4o-mini\""),
        ("gpt-4o", 200, "\"model\":\"gpt-4o\""),
        ("o3", 404, "this sandbox may not ask for the model \\\"o3\\\""),
        ("old", 404, "\\\"o3\\\""),
    ];
    for (asked, status, expected) in rows {
        let mut world = World::new(vec![backend("any", origin.address, Sensitivity::Public, 1), named.clone()]);
        world.rules.aliases = [("fast", "gpt-4o-mini"), ("old", "o3")].map(|(a, m)| (a.into(), m.into())).into();
        world.rules.models = vec!["gpt-4o*".into()];
        let before = origin.count();
        let answer = world.post(CHAT, &[], &format!(r#"{{"model":"{asked}","messages":[]}}"#)).await;
        assert_eq!(answer.status, status, "{asked}: {}", answer.text);
        match status {
            200 => {
                let body = String::from_utf8_lossy(&origin.last().body).into_owned();
                assert!(body.contains(expected), "{asked}: {body}");
                let record = world.record().route.expect("route");
                assert!(expected.contains(record.model.as_deref().expect("model")), "{record:?}");
            }
            _ => {
                assert!(answer.text.contains(expected), "{asked}: {}", answer.text);
                assert_eq!(origin.count(), before);
                assert_eq!(world.record().error.as_deref(), Some("model_not_allowed"));
            }
        }
        let listed = http::Request::get("/v1/models").body(bytes::Bytes::new()).expect("request");
        let listed = read(world.send(listed).await).await.text;
        assert!(listed.contains("\"fast\"") && !listed.contains("\"old\"") && !listed.contains("house"), "{listed}");
    }
}
