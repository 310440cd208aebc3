//! Placeholders: what a public backend sees, and what its caller reads.

use http::Response;
use openshell_api::inference::{BackendKind, Sensitivity};

use super::world::{Origin, World, backend, post, read};
use crate::inference::refusal::full;

const CHAT: &str = "/v1/chat/completions";
const CARD: &str = "4111 1111 1111 1111";
const SAID: &str = "pay with 4111 1111 1111 1111, please";

/// A public backend that may redact, and one at home.
fn world(kind: BackendKind, public: &Origin, home: &Origin) -> World {
    let mut cheap = backend("cheap", public.address, Sensitivity::Public, 1);
    (cheap.kind, cheap.redact) = (kind, true);
    World::new(vec![cheap, backend("home", home.address, Sensitivity::Restricted, 9)])
}

/// A request of an API that says `text`.
fn asks(path: &str, text: &str, stream: bool) -> String {
    let turns = serde_json::json!([{"role": "user", "content": text}]);
    match path {
        "/v1/responses" => serde_json::json!({"model": "m", "stream": stream, "input": turns}),
        _ => serde_json::json!({"model": "m", "max_tokens": 99, "stream": stream, "messages": turns}),
    }
    .to_string()
}

/// Texts and arguments of an answer in any API, streamed or not, put together.
fn said(path: &str, answer: &str) -> (String, String) {
    let whole = |document: &serde_json::Value| -> (String, String) {
        let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
        match path {
            "/v1/messages" => (text(&document["content"][0]["text"]), document["content"][1]["input"].to_string()),
            "/v1/responses" => {
                (text(&document["output"][0]["content"][0]["text"]), text(&document["output"][1]["arguments"]))
            }
            _ => {
                let message = &document["choices"][0]["message"];
                (text(&message["content"]), text(&message["tool_calls"][0]["function"]["arguments"]))
            }
        }
    };
    if let Ok(document) = serde_json::from_str(answer) {
        return whole(&document);
    }
    let (mut text, mut arguments) = (String::new(), String::new());
    for data in answer.lines().filter_map(|line| line.strip_prefix("data: ")).filter(|data| *data != "[DONE]") {
        let event: serde_json::Value = serde_json::from_str(data).expect("JSON");
        let delta = &event["choices"][0]["delta"];
        let plain = if event["type"] == "response.output_text.delta" { &event["delta"] } else { &event["none"] };
        for piece in [&delta["content"], &event["delta"]["text"], plain] {
            text.push_str(piece.as_str().unwrap_or_default());
        }
        for piece in [&delta["tool_calls"][0]["function"]["arguments"], &event["delta"]["partial_json"]] {
            arguments.push_str(piece.as_str().unwrap_or_default());
        }
        if event["type"] == "response.completed" {
            arguments = whole(&event["response"]).1;
        }
    }
    (text, arguments)
}

#[tokio::test]
async fn values_are_replaced_on_the_way_out_and_put_back_on_the_way_in() {
    let expected = serde_json::json!({ "said": SAID });
    for (kind, path) in [
        (BackendKind::Openai, CHAT),
        (BackendKind::Openai, "/v1/responses"),
        (BackendKind::Anthropic, "/v1/messages"),
        (BackendKind::Compatible, "/v1/messages"),
        (BackendKind::Compatible, "/v1/responses"),
        (BackendKind::Anthropic, CHAT),
        (BackendKind::Anthropic, "/v1/responses"),
    ] {
        for stream in [false, true] {
            let (public, home) = (Origin::echo().await, Origin::echo().await);
            let world = world(kind, &public, &home);
            let answer = world.post(path, &[], &asks(path, SAID, stream)).await;
            assert_eq!((answer.status, public.count(), home.count()), (200, 1, 0), "{kind:?} {path}: {}", answer.text);
            let sent = String::from_utf8_lossy(&public.last().body).into_owned();
            assert!(!sent.contains("4111") && sent.contains("pay with PAYMENT_CARD_"), "{sent}");
            let (text, arguments) = said(path, &answer.text);
            assert_eq!(text, SAID, "{kind:?} {path} {stream}: {}", answer.text);
            let arguments: serde_json::Value = serde_json::from_str(&arguments).expect("arguments");
            assert_eq!(arguments, expected, "{kind:?} {path} {stream}: {}", answer.text);
            assert!(!answer.text.contains("PAYMENT_CARD_"), "{}", answer.text);
            let route = answer.headers["x-openshell-route"].to_str().expect("text").to_owned();
            assert_eq!(route, "restricted; cheapest; 1 replaced");
            let record = world.record().route.expect("route");
            assert_eq!((record.redacted, record.sensitivity), (1, Sensitivity::Public));
            assert_eq!((record.input_tokens, record.output_tokens), (Some(7), Some(5)), "{kind:?} {path} {stream}");
            // The model saw nothing that would keep the session at home; the same value has the same placeholder.
            world.post(path, &[], &asks(path, SAID, stream)).await;
            assert_eq!(String::from_utf8_lossy(&public.last().body), sent);
            assert_eq!((public.count(), home.count()), (2, 0));
        }
    }
}

#[tokio::test]
async fn what_can_not_be_replaced_stays_home() {
    let mut deep = asks(CHAT, "hello", false);
    deep.insert_str(1, r#""seed":4111111111111111,"#);
    let key = asks(CHAT, SAID, false).replacen('{', r#"{"metadata":{"4111 1111 1111 1111":1},"#, 1);
    for (body, headers) in
        [(deep, &[][..]), (key, &[]), (asks(CHAT, SAID, false), &[("x-openshell-sensitivity", "restricted")])]
    {
        let (public, home) = (Origin::echo().await, Origin::echo().await);
        let world = world(BackendKind::Openai, &public, &home);
        let answer = world.post(CHAT, headers, &body).await;
        assert_eq!((answer.status, public.count(), home.count()), (200, 0, 1), "{body}: {}", answer.text);
        assert_eq!(world.record().route.expect("route").redacted, 0);
        // Home saw it as it is, so the session stays there, placeholders or not.
        world.post(CHAT, &[], &asks(CHAT, SAID, false)).await;
        assert_eq!((public.count(), home.count()), (0, 2), "{body}");
    }
}

#[tokio::test]
async fn an_answer_that_can_not_be_read_is_not_passed_on() {
    let garbage = Origin::json(200, "PAYMENT_CARD_ <html>").await;
    let home = Origin::echo().await;
    let world = world(BackendKind::Openai, &garbage, &home);
    let answer = world.post(CHAT, &[], &asks(CHAT, SAID, false)).await;
    assert_eq!(answer.headers["x-openshell-served-by"], "home", "{}", answer.text);
    assert_eq!(said(CHAT, &answer.text).0, SAID);
    assert_eq!(world.sessions.get("sandbox"), Sensitivity::Restricted);

    // After the first byte there is no falling back: the stream ends with an error.
    let stream = Origin::start(|_| async {
        let text = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\"}}]}\n\ndata: <html>\n\n";
        Response::builder().header("content-type", "text/event-stream").body(full(text.into())).expect("response")
    })
    .await;
    let broken = self::world(BackendKind::Openai, &stream, &home);
    let answer = read(broken.send(post(CHAT, &[], &asks(CHAT, SAID, true))).await).await;
    assert!(
        answer.text.contains("\"code\":\"upstream_failed\"") && answer.text.contains("can't be put back"),
        "{}",
        answer.text
    );
    assert!(!answer.text.contains("<html>"), "{}", answer.text);

    // A refusal that is no JSON says at least its status, in the caller's words.
    let refusing = Origin::json(400, "<html>PAYMENT_CARD_</html>").await;
    let refused = self::world(BackendKind::Openai, &refusing, &home);
    let answer = refused.post(CHAT, &[], &asks(CHAT, SAID, false)).await;
    assert_eq!(answer.status, 400);
    assert!(answer.text.contains("the backend answered HTTP 400") && !answer.text.contains("html"), "{}", answer.text);
}

#[tokio::test]
async fn who_may_not_redact_sees_nothing() {
    let public = Origin::echo().await;
    let mut only = backend("only", public.address, Sensitivity::Public, 1);
    let answer = World::new(vec![only.clone()]).post(CHAT, &[], &asks(CHAT, SAID, false)).await;
    assert_eq!((answer.status, public.count()), (403, 0));
    only.redact = true;
    let answer = World::new(vec![only]).post(CHAT, &[], &asks(CHAT, SAID, false)).await;
    assert_eq!((answer.status, public.count()), (200, 1), "{}", answer.text);
    assert!(!String::from_utf8_lossy(&public.last().body).contains(CARD));
}
