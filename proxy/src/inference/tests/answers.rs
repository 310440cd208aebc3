//! What callers and backends see.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use openshell_api::decision::Verdict;
use openshell_api::inference::{BackendKind, Sensitivity};
use tokio::sync::Notify;

use super::world::{Origin, World, backend, chat, post, read};
use crate::inference::service::{Body, BoxError};

const CHAT: &str = "/v1/chat/completions";
const DONE: &str = r#"{"id":"1","choices":[],"usage":{"prompt_tokens":11,"completion_tokens":5}}"#;

/// A stream that ends before its first event.
fn empty() -> Response<Body> {
    let body = crate::inference::refusal::full(Bytes::new());
    Response::builder().header("content-type", "text/event-stream").body(body).expect("response")
}

#[tokio::test]
async fn goes_by_content_and_swaps_keys() {
    let (cheap, home) = (Origin::json(200, DONE).await, Origin::json(200, DONE).await);
    let mut public = backend("cheap", cheap.address, Sensitivity::Public, 1);
    public.provider = Some("acme".parse().expect("name"));
    let world = World::new(vec![public, backend("home", home.address, Sensitivity::Restricted, 9)]);
    let credentials = [
        ("authorization", "Bearer callers-own-key"),
        ("x-api-key", "callers-own-key"),
        ("api-key", "callers-own-key"),
        ("cookie", "k=callers-own-key"),
        ("openai-organization", "callers-own-key"),
        ("user-agent", "callers-own-key"),
        ("anthropic-beta", "sk-callers-own-key"),
    ];
    let path = format!("{CHAT}?key=callers-own-key&beta=true");

    let answer = world.post(&path, &credentials, &chat("hello")).await;
    assert_eq!((answer.status, answer.text.as_str()), (200, DONE));
    assert_eq!(answer.headers["x-openshell-served-by"], "cheap");
    assert_eq!(answer.headers["x-openshell-route"], "public; cheapest");
    let seen = cheap.last();
    assert!(!seen.head.contains("callers-own-key"), "{}", seen.head);
    assert!(seen.head.starts_with("POST /v1/chat/completions?beta=true"), "{}", seen.head);
    assert_eq!(seen.body, chat("hello"));
    let record = world.record();
    let route = record.route.expect("route");
    assert_eq!((record.verdict, record.credential.as_deref()), (Verdict::Allow, Some("acme")));
    assert_eq!((route.backend.as_deref(), route.input_tokens, route.output_tokens), (Some("cheap"), Some(11), Some(5)));

    let answer = world.post(&path, &credentials, &chat("card 4111 1111 1111 1111")).await;
    assert_eq!(answer.headers["x-openshell-served-by"], "home");
    assert!(answer.headers["x-openshell-route"].to_str().expect("text").starts_with("restricted; "));
    assert_eq!((cheap.count(), home.count()), (1, 1));
    assert!(!home.last().head.contains("key"), "{}", home.last().head);
    assert_eq!(world.record().route.expect("route").findings["payment_card"], 1);
}

#[tokio::test]
async fn the_backends_own_key_reaches_it() {
    let origin = Origin::start(|parts| async move {
        let key = |name: &str| parts.headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or("-").to_owned();
        let text = format!("{} {} {}", key("authorization"), key("x-api-key"), key("anthropic-version"));
        Response::new(crate::inference::refusal::full(text.into()))
    })
    .await;
    for (kind, path, expected) in [
        (BackendKind::Openai, CHAT, "Bearer the-backends-own-key - -"),
        (BackendKind::Anthropic, "/v1/messages", "- the-backends-own-key 2023-06-01"),
    ] {
        let mut entry = backend("one", origin.address, Sensitivity::Public, 1);
        (entry.kind, entry.provider) = (kind, Some("acme".parse().expect("name")));
        let answer = World::new(vec![entry]).post(path, &[("x-api-key", "no")], &chat("hello")).await;
        assert_eq!(answer.text, expected);
    }
}

#[tokio::test]
async fn streams_pass_as_they_come() {
    let release = Arc::new(Notify::new());
    let gate = Arc::clone(&release);
    let origin = Origin::start(move |_| {
        let gate = Arc::clone(&gate);
        async move {
            let frames = futures_util::stream::unfold(0, move |step| {
                let gate = Arc::clone(&gate);
                async move {
                    let text = match step {
                        0 => "data: {\"delta\":1}\n\n",
                        1 => {
                            gate.notified().await;
                            "data: {\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":4}}\n\ndata: [DONE]\n\n"
                        }
                        _ => return None,
                    };
                    Some((Ok::<_, Infallible>(Frame::data(Bytes::from_static(text.as_bytes()))), step + 1))
                }
            });
            let body = StreamBody::new(frames).map_err(|never| -> BoxError { match never {} }).boxed_unsync();
            Response::builder().header("content-type", "text/event-stream").body(body).expect("response")
        }
    })
    .await;
    let world = World::new(vec![backend("one", origin.address, Sensitivity::Public, 1)]);
    let body = r#"{"model":"m","stream":true,"messages":[]}"#;
    let mut answer = world.send(post(CHAT, &[], body)).await.into_body();
    let first = answer.frame().await.expect("an event").expect("whole").into_data().expect("data");
    assert_eq!(first, "data: {\"delta\":1}\n\n");
    assert!(world.records.0.lock().expect("records").is_empty());
    release.notify_one();
    let rest = answer.collect().await.expect("ends").to_bytes();
    assert!(rest.ends_with(b"data: [DONE]\n\n"));
    let route = world.record().route.expect("route");
    assert_eq!((route.input_tokens, route.output_tokens), (Some(3), Some(4)));
    assert!(origin.last().head.contains("text/event-stream"));
}

#[tokio::test]
async fn sets_the_backends_model_and_nothing_else() {
    let origin = Origin::json(200, DONE).await;
    let mut entry = backend("one", origin.address, Sensitivity::Public, 1);
    entry.model = Some("qwen-3".into());
    let world = World::new(vec![entry]);
    let body = "{ \"messages\": [ {\"role\":\"user\", \"content\":\"\\u0041 \\\"model\\\": 1\"} ],\n \"model\" : \"gpt\" , \"n\":1.0 }";
    world.post(CHAT, &[], body).await;
    assert_eq!(origin.last().body, body.replace("\"gpt\"", "\"qwen-3\""));
    assert_eq!(world.record().route.expect("route").model.as_deref(), Some("qwen-3"));
}

#[tokio::test]
async fn falls_back_before_the_first_byte() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback").local_addr().expect("bound");
    let limited = Origin::json(429, r#"{"error":{"message":"slow down"}}"#).await;
    let broken = Origin::json(503, "{}").await;
    let moved = Origin::json(302, "{}").await;
    let locked = Origin::json(401, r#"{"error":"bad key the-backends-own-key"}"#).await;
    let empty = Origin::start(|_| async { empty() }).await;
    let good = Origin::json(200, DONE).await;
    let all = [closed, limited.address, broken.address, moved.address, locked.address, empty.address];
    let mut entries: Vec<_> =
        (0u64..).zip(all).map(|(i, at)| backend(&format!("b{i}"), at, Sensitivity::Public, i)).collect();
    let mut keyless = backend("keyless", good.address, Sensitivity::Public, 50);
    keyless.provider = Some("gone".parse().expect("name"));
    entries.push(keyless);

    let world = World::new(entries.clone());
    let refused = world.post(CHAT, &[], &chat("hello")).await;
    // The last that was only busy speaks for all.
    assert_eq!((refused.status, refused.headers["x-openshell-served-by"].to_str().expect("text")), (503, "b2"));
    assert_eq!(good.count(), 0);

    entries.push(backend("good", good.address, Sensitivity::Public, 99));
    let world = World::new(entries.clone());
    let served = world.post(CHAT, &[], &chat("hello")).await;
    assert_eq!((served.status, served.text.as_str()), (200, DONE));
    // What is busy was tried three times while nothing else served, what redirects once.
    assert_eq!((limited.count(), broken.count(), moved.count(), good.count()), (4, 4, 2, 1));

    let world = World::new(vec![entries[0].clone(), entries[3].clone(), entries[4].clone(), entries[6].clone()]);
    let refused = world.post(CHAT, &[], &chat("hello")).await;
    assert_eq!(refused.status, 502);
    for part in
        ["upstream_failed", "b0: ", "b3: it answered 302", "b4: it answered 401", "keyless: the key of provider gone"]
    {
        assert!(refused.text.contains(part), "{part} in {}", refused.text);
    }
    assert!(!refused.text.contains("the-backends-own-key"));
}

#[tokio::test]
async fn says_in_the_stream_that_it_broke_off() {
    for (kind, path, expected) in [
        (BackendKind::Openai, CHAT, "data: {\"error\":{"),
        (BackendKind::Anthropic, "/v1/messages", "event: error\ndata: {\"error\":{"),
    ] {
        for breaks in [true, false] {
            // Ends its stream with an error once told to; untold, it is silent.
            let told = Arc::new(Notify::new());
            let gate = Arc::clone(&told);
            let origin = Origin::start(move |_| {
                let gate = Arc::clone(&gate);
                async move {
                    let first = futures_util::stream::iter([Ok(Frame::data(Bytes::from_static(b"data: 1\n\n")))]);
                    let error = futures_util::stream::once(async move {
                        gate.notified().await;
                        Err::<_, BoxError>("power cut".into())
                    });
                    let body = StreamBody::new(futures_util::StreamExt::chain(first, error)).boxed_unsync();
                    Response::builder().header("content-type", "text/event-stream").body(body).expect("response")
                }
            })
            .await;
            let spare = Origin::json(200, DONE).await;
            let mut entries = vec![
                backend("one", origin.address, Sensitivity::Public, 1),
                backend("two", spare.address, Sensitivity::Public, 2),
            ];
            entries.iter_mut().for_each(|b| b.kind = kind);
            entries[0].idle_timeout_ms = if breaks { 60_000 } else { 300 };
            let world = World::new(entries);
            let mut answer = world.send(post(path, &[], &chat("hello"))).await.into_body();
            let first = answer.frame().await.expect("an event").expect("whole").into_data().expect("data");
            assert_eq!(first, "data: 1\n\n");
            if breaks {
                told.notify_one();
            }
            let rest = answer.collect().await.expect("ends well").to_bytes();
            let rest = String::from_utf8_lossy(&rest);
            assert!(rest.contains(expected) && rest.contains("backend one broke off"), "{rest}");
            assert_eq!(spare.count(), 0);
        }
    }
}

#[tokio::test]
async fn a_caller_that_hangs_up_ends_the_work_upstream() {
    let gone = Arc::new(Notify::new());
    let noticed = Arc::clone(&gone);
    let origin = Origin::start(move |_| {
        let noticed = Arc::clone(&noticed);
        async move {
            struct Bell(Arc<Notify>);
            impl Drop for Bell {
                fn drop(&mut self) {
                    self.0.notify_one();
                }
            }
            let frames = futures_util::stream::unfold((true, Bell(noticed)), |(first, bell)| async move {
                if !first {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                Some((Ok::<_, BoxError>(Frame::data(Bytes::from_static(b"data: 1\n\n"))), (false, bell)))
            });
            let body = StreamBody::new(frames).boxed_unsync();
            Response::builder().header("content-type", "text/event-stream").body(body).expect("response")
        }
    })
    .await;
    let world = World::new(vec![backend("one", origin.address, Sensitivity::Public, 1)]);
    let mut answer = world.send(post(CHAT, &[], &chat("hello"))).await.into_body();
    answer.frame().await.expect("an event").expect("whole");
    drop(answer);
    tokio::time::timeout(Duration::from_secs(20), gone.notified()).await.expect("the backend noticed");
    assert_eq!(world.record().status, Some(200));
}

#[tokio::test]
async fn lists_the_catalogues_models() {
    let mut entry = backend("one", "127.0.0.1:1".parse().expect("address"), Sensitivity::Public, 1);
    entry.model = Some("qwen-3".into());
    let world = World::new(vec![entry]);
    for (path, header, expected) in [
        ("/v1/models", "accept", r#""object":"list""#),
        ("/v1/models", "anthropic-version", r#""has_more":false"#),
        ("/v1/models/qwen-3", "accept", r#""id":"qwen-3""#),
        ("/v1/models/gpt", "accept", "unknown_endpoint"),
    ] {
        let request = http::Request::get(path).header(header, "x").body(Bytes::new()).expect("request");
        let answer = read(world.send(request).await).await;
        assert!(answer.text.contains(expected), "{path}: {}", answer.text);
    }
}
