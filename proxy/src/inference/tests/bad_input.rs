//! Requests that are none, and backends that are out of their minds: a clear answer, and nothing to anybody else.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use openshell_api::inference::{BackendKind, Sensitivity};

use super::world::{Origin, Simple, World, backend, chat, post, read};
use crate::caller::Caller;
use crate::inference::serve::Terms;
use crate::inference::service::{Body, BoxError};

const CHAT: &str = "/v1/chat/completions";
const GOOD: &str = r#"{"id":"1","choices":[{"index":0,"message":{"role":"assistant","content":"Hi"},"finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":1}}"#;

fn world(origin: &Origin) -> World {
    World::new(vec![backend("one", origin.address, Sensitivity::Restricted, 1)])
}

/// Sends a body that arrives in these frames.
async fn send_frames(world: &World, frames: Vec<Result<Bytes, BoxError>>, path: &str) -> super::world::Read {
    let request = Request::post(path).header("content-type", "application/json").body(()).expect("request");
    let (parts, ()) = request.into_parts();
    let body = StreamBody::new(futures_util::stream::iter(frames.into_iter().map(|frame| frame.map(Frame::data))));
    let terms =
        Terms { generation: 7, router: Some(&Simple), catalogue: &world.catalogue, rules: &world.rules, shared: &[] };
    read(world.service.answer(&terms, &Caller::default(), parts, Body::new(body)).await).await
}

#[tokio::test]
async fn bodies_that_are_no_requests_are_refused_in_the_callers_dialect() {
    let origin = Origin::json(200, GOOD).await;
    let world = world(&origin);
    let deep = format!(r#"{{"model":"m","messages":{}1{}}}"#, "[".repeat(200), "]".repeat(200));
    let rows: &[(&[u8], u16, &str)] = &[
        (b"", 400, "not valid JSON"),
        (b"null", 400, "not a JSON object"),
        (b"model=m&messages=x", 400, "not valid JSON"),
        (b"{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"tru", 400, "not valid JSON"),
        (b"{\"model\":\"m\",\"messages\":[]} trailing", 400, "not valid JSON"),
        (b"{\"model\":\"\xff\xfe\",\"messages\":[]}", 400, "not valid JSON"),
        (b"{\"model\":\"\\ud800\",\"messages\":[]}", 400, "not valid JSON"),
        (b"\xef\xbb\xbf{\"model\":\"m\",\"messages\":[]}", 400, "not valid JSON"),
        (b"\x1f\x8b\x08\x00gzip", 400, "not valid JSON"),
        (deep.as_bytes(), 400, "not valid JSON"),
        (b"{\"model\":\"m\",\"a\":{\"b\":[{\"c\":1,\"c\":2}]}}", 400, "same key twice"),
    ];
    for path in [CHAT, "/v1/responses", "/v1/messages", "/v1/embeddings"] {
        for (body, status, expected) in rows {
            let request =
                Request::post(path).header("content-type", "application/json").body(Bytes::copy_from_slice(body));
            let answer = read(world.send(request.expect("request")).await).await;
            assert_eq!(answer.status, *status, "{path}: {}", answer.text);
            assert!(answer.text.contains(expected), "{path} {}: {}", String::from_utf8_lossy(body), answer.text);
            assert_eq!(answer.text.contains(r#""type":"error""#), path == "/v1/messages", "{}", answer.text);
            assert_eq!(world.record().error.as_deref(), Some("bad_request"));
        }
    }
    assert_eq!(origin.count(), 0);
}

#[tokio::test]
async fn bodies_that_do_not_end_well_are_refused() {
    let origin = Origin::json(200, GOOD).await;
    let world = world(&origin);
    let megabyte = || Ok(Bytes::from(vec![b' '; 1 << 20]));
    // 50 MB that nobody announced: refused once it is too long, not once it is all there.
    let mut endless: Vec<Result<Bytes, BoxError>> = (0..50).map(|_| megabyte()).collect();
    endless.push(Err("nobody reads so far".into()));
    let broken = vec![Ok(Bytes::from_static(b"{\"model\":")), Err::<Bytes, BoxError>("reset".into())];
    for (frames, status, expected) in [(endless, 413, "longer than 32 MiB"), (broken, 400, "the body broke off")] {
        let answer = send_frames(&world, frames, CHAT).await;
        assert_eq!(answer.status, status, "{}", answer.text);
        assert!(answer.text.contains(expected), "{}", answer.text);
    }
    assert_eq!(origin.count(), 0);
}

#[tokio::test]
async fn ten_thousand_messages_are_read_to_the_last() {
    let (public, home) = (Origin::json(200, GOOD).await, Origin::json(200, GOOD).await);
    let entries = vec![
        backend("public", public.address, Sensitivity::Public, 1),
        backend("home", home.address, Sensitivity::Restricted, 9),
    ];
    for (last, expected) in [("bye", "public"), ("4111", "home")] {
        let mut turns = vec![serde_json::json!({"role": "user", "content": "hi"}); 9_999];
        turns.push(serde_json::json!({"role": "user", "content": last}));
        let body = serde_json::json!({"model": "m", "messages": turns}).to_string();
        let start = Instant::now();
        let mut world = World::new(entries.clone());
        world.catalogue.backends.iter_mut().for_each(|backend| backend.context = 1_000_000);
        let answer = world.post(CHAT, &[], &body).await;
        assert_eq!(answer.headers["x-openshell-served-by"], expected, "{}", answer.text);
        assert!(start.elapsed() < Duration::from_secs(30), "{:?}", start.elapsed());
    }
}

#[tokio::test]
async fn wrong_types_and_encodings_are_refused_whoever_asks() {
    let origin = Origin::json(200, GOOD).await;
    let world = world(&origin);
    for (header, value, status) in [
        ("content-type", "text/plain", 415),
        ("content-type", "multipart/form-data; boundary=x", 415),
        ("content-type", "application/x-www-form-urlencoded", 415),
        ("content-type", "application/json; charset=utf-8", 200),
        ("content-encoding", "gzip", 415),
        ("content-encoding", "br", 415),
        ("content-encoding", "zstd", 415),
        ("content-encoding", "identity", 200),
    ] {
        let answer = world.post(CHAT, &[(header, value)], &chat("hello")).await;
        assert_eq!(answer.status, status, "{header}: {value}: {}", answer.text);
    }
    for (method, path, status) in [
        ("GET", CHAT, 405),
        ("DELETE", "/v1/responses", 405),
        ("POST", "/v1/models", 405),
        ("POST", "/v1/images/generations", 404),
        ("POST", "/v1/../admin", 404),
        ("POST", "/", 404),
        ("GET", "/v1/responses/resp_1", 404),
    ] {
        let request = Request::builder().method(method).uri(path).header("content-type", "application/json");
        let answer = read(world.send(request.body(Bytes::from(chat("hello"))).expect("request")).await).await;
        assert_eq!(answer.status, status, "{method} {path}: {}", answer.text);
    }
    assert_eq!(origin.count(), 2);
}

/// An answer of `kind` whose head promises `length` bytes, and that is `body`.
fn http(kind: &str, length: usize, body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\n\r\n");
    [head.as_bytes(), body].concat()
}

#[tokio::test]
async fn backends_that_make_no_sense_make_way_for_the_next() {
    let json = "application/json";
    let rows: Vec<(&str, Vec<u8>)> = vec![
        ("no HTTP", b"SSH-2.0-OpenSSH_9.2\r\n".to_vec()),
        ("nothing", Vec::new()),
        ("half a head", b"HTTP/1.1 200 OK\r\ncontent-ty".to_vec()),
        ("no answer of its API", http(json, 2, b"{}")),
        ("no JSON", http(json, 6, b"<html>")),
        ("less than it promised", http(json, 900, GOOD.as_bytes())),
        (
            "a redirect",
            b"HTTP/1.1 307 Temporary Redirect\r\nlocation: http://127.0.0.1:9/steal\r\ncontent-length: 0\r\n\r\n"
                .to_vec(),
        ),
        ("early hints and no more", b"HTTP/1.1 103 Early Hints\r\n\r\n".to_vec()),
    ];
    for (what, answer) in rows {
        // The caller speaks another API, so answers are read whole.
        let (mad, good) = (Origin::raw(answer).await, Origin::json(200, GOOD).await);
        let world = World::new(vec![
            backend("mad", mad.address, Sensitivity::Public, 1),
            backend("good", good.address, Sensitivity::Public, 2),
        ]);
        let request = r#"{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"Hi"}]}"#;
        let answer = world.post("/v1/messages", &[], request).await;
        assert_eq!((answer.status, good.count()), (200, 1), "{what}: {}", answer.text);
        assert_eq!(answer.headers["x-openshell-served-by"], "good", "{what}");
        let charge = world.record().route.expect("route").charged.expect("charged");
        assert_eq!((charge.input_tokens, charge.output_tokens), (1, 1), "{what}: charged once");
        // Alone it is a clear refusal.
        let alone = World::new(vec![world.catalogue.backends[0].clone()]);
        let answer = alone.post("/v1/messages", &[], request).await;
        assert!(answer.status == 502 && answer.text.contains("mad: "), "{what}: {} {}", answer.status, answer.text);
        assert!(!answer.text.contains("steal"), "{what}: {}", answer.text);
    }
}

#[tokio::test]
async fn an_answer_without_end_is_cut_off_where_it_must_be_held_and_streams_where_not() {
    let endless = Origin::start(|_| async {
        let chunk = Bytes::from(vec![b' '; 1 << 20]);
        let frames = futures_util::stream::repeat_with(move || Ok::<_, BoxError>(Frame::data(chunk.clone())));
        Response::builder()
            .header("content-type", "application/json")
            .body(StreamBody::new(frames).boxed_unsync())
            .expect("response")
    })
    .await;
    let world = world(&endless);
    let request = r#"{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"Hi"}]}"#;
    let answer = world.post("/v1/messages", &[], request).await;
    assert!(answer.status == 502 && answer.text.contains("its answer is longer than"), "{}", answer.text);
    // Unchanged it passes piece by piece, and is never held.
    let mut body = world.send(post(CHAT, &[], &chat("hello"))).await.into_body();
    let mut passed = 0;
    while passed < 256 << 20 {
        passed += body.frame().await.expect("more").expect("whole").into_data().expect("data").len();
    }
    drop(body);
    assert!(world.record().route.expect("route").charged.expect("charged").estimated);
}

#[tokio::test]
async fn a_length_that_is_a_lie_is_a_broken_answer_and_charged_once() {
    for kind in [BackendKind::Openai, BackendKind::Anthropic] {
        let path = if kind == BackendKind::Openai { CHAT } else { "/v1/messages" };
        let origin = Origin::raw(http("application/json", 900, GOOD.as_bytes())).await;
        let mut entry = backend("one", origin.address, Sensitivity::Public, 1);
        entry.kind = kind;
        let world = World::new(vec![entry]);
        let body = r#"{"model":"m","max_tokens":9,"messages":[]}"#;
        let answer = world.send(post(path, &[], body)).await;
        // Its head has passed, so its body breaks as the backend's did.
        assert!(answer.into_body().collect().await.is_err());
        assert!(world.record().route.expect("route").charged.expect("charged").estimated);
        assert_eq!(world.records.0.lock().expect("records").len(), 1);
    }
}

#[tokio::test]
async fn keys_in_any_header_or_query_reach_nobody() {
    let origin = Origin::json(200, GOOD).await;
    let world = world(&origin);
    let key = "sk-callers-own-0123456789";
    let bearer = format!("Bearer {key}");
    for name in [
        "authorization",
        "proxy-authorization",
        "x-api-key",
        "api-key",
        "cookie",
        "x-goog-api-key",
        "ocp-apim-subscription-key",
        "openai-organization",
        "openai-project",
        "anthropic-beta",
        "openai-beta",
        "anthropic-version",
        "x-stainless-lang",
        "user-agent",
        "referer",
        "x-forwarded-for",
        "helicone-auth",
        "x-custom",
    ] {
        let value = if name.contains("auth") { bearer.as_str() } else { key };
        for query in ["", "?api_key=sk-callers-own-0123456789", "?beta=true&key=sk-callers-own-0123456789"] {
            let answer = world.post(&format!("{CHAT}{query}"), &[(name, value)], &chat("hello")).await;
            assert_eq!(answer.status, 200, "{name}: {}", answer.text);
            let head = origin.last().head;
            assert!(!head.contains("callers-own"), "{name}{query}: {head}");
            let record = serde_json::to_string(&world.record()).expect("JSON");
            assert!(!record.contains("callers-own") && !answer.text.contains("callers-own"), "{name}{query}: {record}");
        }
    }
}

#[tokio::test]
async fn a_large_answer_of_garbage_events_is_relayed_and_never_parsed_whole() {
    let garbage = Origin::start(|_| async {
        let line = Bytes::from(format!("data: {}\n", "x".repeat(1 << 20)));
        let frames = futures_util::stream::iter((0..64).map(move |_| Ok::<_, BoxError>(Frame::data(line.clone()))));
        let body = StreamBody::new(frames).boxed_unsync();
        Response::builder().header("content-type", "text/event-stream").body(body).expect("response")
    })
    .await;
    let answer =
        read(world(&garbage).send(post(CHAT, &[], r#"{"model":"m","stream":true,"messages":[]}"#)).await).await;
    assert_eq!((answer.status, answer.text.len()), (200, 64 * ("data: \n".len() + (1 << 20))));
}
