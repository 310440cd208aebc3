//! Callers and backends that speak different APIs.

use http::Response;
use openshell_api::inference::{BackendKind, Sensitivity};

use super::world::{Origin, World, backend, post, read};
use crate::inference::refusal::full;

const CHAT: &str = "/v1/chat/completions";
const MESSAGES: &str = "/v1/messages";
const ASKED_CHAT: &str =
    r#"{"model":"m","messages":[{"role":"system","content":"Be brief."},{"role":"user","content":"Hi"}]}"#;
const ASKED_MESSAGES: &str =
    r#"{"model":"m","max_tokens":9,"system":"Be brief.","messages":[{"role":"user","content":"Hi"}]}"#;
const COMPLETION: &str = r#"{"id":"chatcmpl-1","model":"gpt","choices":[{"index":0,"message":{"role":"assistant","content":"Hello"},"finish_reason":"stop"}],"usage":{"prompt_tokens":11,"completion_tokens":5}}"#;
const MESSAGE: &str = r#"{"id":"msg_1","type":"message","role":"assistant","model":"claude","content":[{"type":"text","text":"Hello"}],"stop_reason":"end_turn","usage":{"input_tokens":11,"output_tokens":5}}"#;

async fn events(text: &'static str) -> Origin {
    Origin::start(move |_| async move {
        Response::builder().header("content-type", "text/event-stream").body(full(text.into())).expect("response")
    })
    .await
}

fn world(kind: BackendKind, origin: &Origin) -> World {
    let mut entry = backend("one", origin.address, Sensitivity::Public, 1);
    entry.kind = kind;
    entry.model = Some("the-backends".into());
    World::new(vec![entry])
}

#[tokio::test]
async fn whole_answers_come_back_in_the_callers_api() {
    for (kind, path, asked, document, sent, expected) in [
        (
            BackendKind::Anthropic,
            CHAT,
            ASKED_CHAT,
            MESSAGE,
            ["POST /v1/messages", r#""system":[{"type":"text","text":"Be brief."}]"#],
            [r#""content":"Hello""#, r#""usage":{"prompt_tokens":11,"completion_tokens":5"#],
        ),
        (
            BackendKind::Openai,
            MESSAGES,
            ASKED_MESSAGES,
            COMPLETION,
            ["POST /v1/chat/completions", r#"{"role":"system","content":"Be brief."}"#],
            [r#""content":[{"type":"text","text":"Hello"}]"#, r#""input_tokens":11"#],
        ),
    ] {
        let origin = Origin::json(200, document).await;
        let world = world(kind, &origin);
        let answer = world.post(path, &[], asked).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        assert!(expected.iter().all(|e| answer.text.contains(e)), "{}", answer.text);
        assert_eq!(answer.headers["x-openshell-served-by"], "one");
        let seen = origin.last();
        let body = String::from_utf8_lossy(&seen.body).into_owned();
        assert!(seen.head.starts_with(sent[0]) && body.contains(sent[1]), "{} {body}", seen.head);
        assert!(body.contains(r#""model":"the-backends""#), "{body}");
        let route = world.record().route.expect("route");
        assert_eq!((route.input_tokens, route.output_tokens), (Some(11), Some(5)));
    }
}

#[tokio::test]
async fn streams_come_back_in_the_callers_api() {
    let chunks = "data: {\"id\":\"chatcmpl-1\",\"model\":\"gpt\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"Hello\"}}]}\n\ndata: {\"id\":\"chatcmpl-1\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: {\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":4}}\n\ndata: [DONE]\n\n";
    let cut = "data: {\"id\":\"chatcmpl-1\",\"model\":\"gpt\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"Hello\"}}]}\n\n";
    let message = "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"msg_1\",\"model\":\"claude\",\"usage\":{\"input_tokens\":3,\"output_tokens\":1}}}\n\ndata: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"Hello\"}}\n\ndata: {\"type\":\"content_block_stop\",\"index\":0}\n\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"output_tokens\":4}}\n\ndata: {\"type\":\"message_stop\"}\n\n";
    for (kind, path, body, stream, expected, tokens) in [
        (
            BackendKind::Openai,
            MESSAGES,
            ASKED_MESSAGES,
            chunks,
            &["event: message_start\n", r#""text":"Hello""#, r#""stop_reason":"end_turn""#, "event: message_stop\n"][..],
            (Some(3), Some(4)),
        ),
        (
            BackendKind::Openai,
            MESSAGES,
            ASKED_MESSAGES,
            cut,
            &["event: message_start\n", "event: error\n", "ended before it was complete"][..],
            (None, None),
        ),
        (
            BackendKind::Anthropic,
            CHAT,
            ASKED_CHAT,
            message,
            &["\"object\":\"chat.completion.chunk\"", r#""content":"Hello""#, "data: [DONE]\n"][..],
            (Some(3), Some(4)),
        ),
    ] {
        let origin = events(stream).await;
        let world = world(kind, &origin);
        let streamed = body.replacen('{', r#"{"stream":true,"#, 1);
        let answer = read(world.send(post(path, &[], &streamed)).await).await;
        assert!(expected.iter().all(|e| answer.text.contains(e)), "{}", answer.text);
        assert_eq!(answer.headers["content-type"], "text/event-stream");
        let route = world.record().route.expect("route");
        assert_eq!((route.input_tokens, route.output_tokens), tokens);
    }
}

#[tokio::test]
async fn errors_come_back_in_the_callers_api() {
    let origin = Origin::json(400, r#"{"error":{"message":"no such model","type":"invalid_request_error"}}"#).await;
    let answer = world(BackendKind::Openai, &origin).post(MESSAGES, &[], ASKED_MESSAGES).await;
    assert_eq!(answer.status, 400);
    assert_eq!(answer.text, r#"{"type":"error","error":{"type":"invalid_request_error","message":"no such model"}}"#);
}

#[tokio::test]
async fn what_one_backend_can_not_be_asked_another_may_be() {
    let (openai, anthropic) = (Origin::json(200, COMPLETION).await, Origin::json(200, MESSAGE).await);
    let mut dearer = backend("native", anthropic.address, Sensitivity::Public, 9);
    dearer.kind = BackendKind::Anthropic;
    let world = World::new(vec![backend("cheap", openai.address, Sensitivity::Public, 1), dearer]);
    let asked = ASKED_MESSAGES.replacen('{', r#"{"top_k":5,"#, 1);
    let answer = world.post(MESSAGES, &[], &asked).await;
    assert_eq!((answer.status, answer.text.as_str()), (200, MESSAGE));
    assert_eq!((openai.count(), anthropic.count()), (0, 1));
    assert_eq!(anthropic.last().body, asked, "bytes pass unchanged where the APIs match");
}

#[tokio::test]
async fn an_answer_that_can_not_be_carried_falls_back() {
    let (broken, good) = (Origin::json(200, r#"{"choices":[]}"#).await, Origin::json(200, COMPLETION).await);
    let world = World::new(vec![
        backend("broken", broken.address, Sensitivity::Public, 1),
        backend("good", good.address, Sensitivity::Public, 9),
    ]);
    let answer = world.post(MESSAGES, &[], ASKED_MESSAGES).await;
    assert_eq!(answer.headers["x-openshell-served-by"], "good", "{}", answer.text);
}
