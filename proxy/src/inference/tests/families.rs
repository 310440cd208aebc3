//! Every API, to backends of every kind: what passes as it is, what is carried over, and what is refused by its name.

use http::Response;
use openshell_api::inference::{Api, BackendKind, Sensitivity};

use super::world::{Origin, World, backend, post, read};
use crate::inference::refusal::full;

const JSON: &str = "application/json";
const SSE: &str = "text/event-stream";

async fn origin(kind: &'static str, text: &'static str) -> Origin {
    Origin::start(move |_| async move {
        Response::builder().header("content-type", kind).body(full(text.into())).expect("response")
    })
    .await
}

/// A backend with prices of a dollar for input, a tenth for cached, a quarter more for written, and five for output.
fn priced(kind: BackendKind, origin: &Origin) -> World {
    let mut entry = backend("one", origin.address, Sensitivity::Public, 0);
    entry.kind = kind;
    (entry.input_price, entry.output_price) = (1_000_000, 5_000_000);
    (entry.cached_input_price, entry.cache_write_price) = (Some(100_000), Some(1_250_000));
    World::new(vec![entry])
}

/// Kind of backend, path, request, content type and body of the answer, what it is charged in millionths of a dollar's millionths.
type Row = (BackendKind, &'static str, &'static str, &'static str, &'static str, Option<u64>);

#[tokio::test]
async fn each_family_passes_unchanged_and_is_charged_by_its_final_figures() {
    let rows: &[Row] = &[
        (
            BackendKind::Openai,
            "/v1/chat/completions",
            r#"{"model":"m","messages":[{"role":"user","content":"x"}],"seed":7}"#,
            JSON,
            r#"{"choices":[],"usage":{"prompt_tokens":30,"completion_tokens":4,"prompt_tokens_details":{"cached_tokens":20}}}"#,
            Some(10_000_000 + 2_000_000 + 20_000_000),
        ),
        (
            BackendKind::Azure,
            "/v1/responses",
            r#"{"model":"m","input":"x","include":["web_search_call.action.sources"],"tools":[{"type":"web_search"}]}"#,
            JSON,
            r#"{"id":"resp_1","output":[],"usage":{"input_tokens":30,"input_tokens_details":{"cached_tokens":20},"output_tokens":4}}"#,
            Some(10_000_000 + 2_000_000 + 20_000_000),
        ),
        (
            BackendKind::Vllm,
            "/v1/responses",
            r#"{"model":"m","input":"x","stream":true}"#,
            SSE,
            "event: response.created\ndata: {\"type\":\"response.created\"}\n\nevent: response.completed\ndata: {\"type\":\"response.completed\",\"response\":{\"id\":\"resp_1\",\"usage\":{\"input_tokens\":30,\"input_tokens_details\":{\"cached_tokens\":20},\"output_tokens\":4}}}\n\n",
            Some(10_000_000 + 2_000_000 + 20_000_000),
        ),
        (
            BackendKind::Ollama,
            "/v1/completions",
            r#"{"model":"m","prompt":"x","suffix":"y"}"#,
            JSON,
            r#"{"choices":[{"text":"z"}],"usage":{"prompt_tokens":3,"completion_tokens":4}}"#,
            Some(3_000_000 + 20_000_000),
        ),
        (
            BackendKind::Compatible,
            "/v1/embeddings",
            r#"{"model":"m","input":["a","b"],"encoding_format":"base64"}"#,
            JSON,
            r#"{"object":"list","data":[{"embedding":"AAAA"}],"usage":{"prompt_tokens":6,"total_tokens":6}}"#,
            Some(6_000_000),
        ),
        (
            BackendKind::Anthropic,
            "/v1/messages",
            r#"{"model":"m","max_tokens":9,"stream":true,"messages":[],"thinking":{"type":"enabled","budget_tokens":1024}}"#,
            SSE,
            "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"usage\":{\"input_tokens\":10,\"cache_read_input_tokens\":20,\"cache_creation_input_tokens\":8,\"output_tokens\":1}}}\n\nevent: message_delta\ndata: {\"type\":\"message_delta\",\"usage\":{\"output_tokens\":4}}\n\nevent: message_stop\ndata: {\"type\":\"message_stop\"}\n\n",
            Some(10_000_000 + 2_000_000 + 10_000_000 + 20_000_000),
        ),
        (
            BackendKind::Anthropic,
            "/v1/messages/count_tokens",
            r#"{"model":"m","messages":[{"role":"user","content":"x"}]}"#,
            JSON,
            r#"{"input_tokens":14}"#,
            None,
        ),
    ];
    for (kind, path, request, content_type, answer, cost) in rows {
        let origin = origin(content_type, answer).await;
        let world = priced(*kind, &origin);
        let got = world.post(path, &[], request).await;
        assert_eq!((got.status, got.text.as_str()), (200, *answer), "{path}");
        assert_eq!((origin.last().body.as_ref(), origin.count()), (request.as_bytes(), 1), "{path}");
        assert!(origin.last().head.starts_with(&format!("POST {path} ")), "{}", origin.last().head);
        let charged = world.record().route.expect("route").charged;
        assert_eq!(charged.map(|charge| (charge.cost, charge.estimated)), cost.map(|cost| (cost, false)), "{path}");
        if answer.contains("20") {
            assert_eq!(charged.map(|charge| charge.cached_tokens), Some(20), "{path}");
        }
    }
}

#[tokio::test]
async fn what_no_backend_speaks_is_refused_by_its_name() {
    for (kind, path, request, status, expected) in [
        (
            BackendKind::Anthropic,
            "/v1/embeddings",
            r#"{"model":"m","input":"x"}"#,
            403,
            "no backend of this sandbox can serve embeddings",
        ),
        (BackendKind::Anthropic, "/v1/completions", r#"{"model":"m","prompt":"x"}"#, 403, "can serve completions"),
        (
            BackendKind::Ollama,
            "/v1/responses",
            r#"{"model":"m","input":"x","background":true}"#,
            400,
            "background has no form",
        ),
        (
            BackendKind::Ollama,
            "/v1/responses",
            r#"{"model":"m","input":"x","previous_response_id":"resp_9"}"#,
            400,
            "previous_response_id has no form",
        ),
        (
            BackendKind::Anthropic,
            "/v1/responses",
            r#"{"model":"m","input":"x","tools":[{"type":"mcp"}]}"#,
            400,
            "tools[0].mcp has no form",
        ),
    ] {
        let origin = Origin::echo().await;
        let answer = priced(kind, &origin).post(path, &[], request).await;
        assert_eq!(answer.status, status, "{path}: {}", answer.text);
        assert!(answer.text.contains(expected), "{path}: {}", answer.text);
        assert_eq!(origin.count(), 0);
    }
}

#[tokio::test]
async fn tokens_are_counted_here_where_no_backend_counts_them() {
    let path = "/v1/messages/count_tokens";
    let request = r#"{"model":"m","system":"Be brief.","messages":[{"role":"user","content":"The quick brown fox jumps over the lazy dog."}]}"#;
    let home = Origin::echo().await;
    let world = priced(BackendKind::Openai, &home);
    let answer = world.post(path, &[], request).await;
    let counted: serde_json::Value = serde_json::from_str(&answer.text).expect("JSON");
    assert!((14..24).contains(&counted["input_tokens"].as_u64().expect("a number")), "{}", answer.text);
    assert_eq!(answer.headers["x-openshell-served-by"], "openshell");
    assert_eq!((answer.status, home.count(), world.record().status), (200, 0, Some(200)));
    // A backend that counts, and is not cleared or does not answer, is not needed.
    let broken = Origin::json(503, "{}").await;
    for (clearance, text) in [(Sensitivity::Public, "4111"), (Sensitivity::Restricted, "hello")] {
        let mut entry = backend("one", broken.address, clearance, 1);
        entry.kind = BackendKind::Anthropic;
        let request = request.replace("The quick", text);
        let answer = World::new(vec![entry]).post(path, &[], &request).await;
        assert!(answer.status == 200 || answer.status == 503, "{}", answer.text);
        if clearance == Sensitivity::Public {
            assert_eq!(answer.headers["x-openshell-served-by"], "openshell");
        }
    }
    // What can't be read is refused all the same.
    let answer = world.post(path, &[], "{").await;
    assert_eq!(answer.status, 400);
}

#[tokio::test]
async fn a_response_is_followed_where_it_is_kept_and_counts_as_it_did() {
    let (cheap, home) = (Origin::echo().await, Origin::echo().await);
    let backends = vec![
        backend("cheap", cheap.address, Sensitivity::Public, 1),
        backend("home", home.address, Sensitivity::Restricted, 9),
    ];
    let world = World::new(backends.clone());
    let session = [("x-openshell-session", "one")];
    let first = world.post("/v1/responses", &session, r#"{"model":"m","input":"4111 1111 1111 1111"}"#).await;
    assert_eq!(first.headers["x-openshell-served-by"], "home");
    // Nobody says which session it is, but for the response that it follows.
    let follow = r#"{"model":"m","input":"and now?","previous_response_id":"resp_1"}"#;
    let next = world.post("/v1/responses", &[], follow).await;
    assert_eq!(next.headers["x-openshell-served-by"], "home", "{}", next.text);
    // A successor that knows nothing but what the gateway kept sends it nowhere else either.
    let successor = World::new(backends);
    successor.sessions.merge(world.sessions.all());
    let next = successor.post("/v1/responses", &[], follow).await;
    assert_eq!((next.headers["x-openshell-served-by"].as_bytes(), cheap.count()), (&b"home"[..], 0));

    // A public response is followed where it is, even if another backend is cheaper by now.
    let mut world = World::new(vec![
        backend("a", cheap.address, Sensitivity::Public, 1),
        backend("b", home.address, Sensitivity::Public, 9),
    ]);
    let first = world.post("/v1/responses", &[], r#"{"model":"m","input":"hello"}"#).await;
    assert_eq!(first.headers["x-openshell-served-by"], "a");
    world.catalogue.backends[0].input_price = 99;
    let next = world.post("/v1/responses", &[], follow).await;
    assert_eq!(next.headers["x-openshell-served-by"], "a");
    world.catalogue.backends.remove(0);
    let gone = world.post("/v1/responses", &[], follow).await;
    assert!(gone.status == 403 && gone.text.contains("the backend a, which keeps the response"), "{}", gone.text);
}

#[tokio::test]
async fn keys_and_versions_go_where_each_kind_expects_them() {
    let headers = Origin::start(|parts| async move {
        let value = |name: &str| parts.headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or("-").to_owned();
        let said = ["authorization", "api-key", "x-api-key", "anthropic-version"].map(value).join("|");
        let text = serde_json::json!({ "said": said, "choices": [], "content": [] }).to_string();
        Response::builder().header("content-type", JSON).body(full(text.into())).expect("response")
    })
    .await;
    for (kind, apis, path, expected) in [
        (BackendKind::Openai, &[][..], "/v1/chat/completions", "Bearer the-backends-own-key|-|-|-"),
        (BackendKind::Azure, &[], "/v1/chat/completions", "-|the-backends-own-key|-|-"),
        (BackendKind::Compatible, &[], "/v1/chat/completions", "Bearer the-backends-own-key|-|-|-"),
        (BackendKind::Anthropic, &[], "/v1/messages", "-|-|the-backends-own-key|2023-06-01"),
        (BackendKind::Vllm, &[Api::Messages], "/v1/messages", "Bearer the-backends-own-key|-|-|2023-06-01"),
    ] {
        let mut entry = backend("one", headers.address, Sensitivity::Public, 1);
        (entry.kind, entry.apis, entry.provider) = (kind, apis.to_vec(), Some("acme".parse().expect("name")));
        let body = r#"{"model":"m","max_tokens":1,"messages":[]}"#;
        let callers = [("authorization", "Bearer callers"), ("api-key", "callers"), ("x-api-key", "callers")];
        let answer = World::new(vec![entry]).post(path, &callers, body).await;
        assert!(answer.text.contains(expected), "{kind:?}: {}", answer.text);
    }
}

#[tokio::test]
async fn a_stream_of_responses_breaks_off_in_its_own_words() {
    let origin = Origin::raw(
        b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: 900\r\n\r\ndata: {\"type\":\"response.created\"}\n\n".to_vec(),
    )
    .await;
    let world = priced(BackendKind::Openai, &origin);
    let request = r#"{"model":"m","stream":true,"input":"x"}"#;
    let answer = read(world.send(post("/v1/responses", &[], request)).await).await;
    assert!(
        answer.text.contains("event: error\ndata: {\"type\":\"error\"") || answer.text.contains("\"type\":\"error\""),
        "{}",
        answer.text
    );
    assert!(answer.text.contains("backend one broke off"), "{}", answer.text);
    assert_eq!(world.record().route.expect("route").charged.map(|charge| charge.estimated), Some(true));
}
