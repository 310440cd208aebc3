//! A small OpenAI-compatible model: it answers with its own name.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http::{HeaderValue, Response, StatusCode};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use serde_json::{Value, json};

use super::routes::{Body, json as json_response};

pub(super) fn completions(name: &str, body: &[u8]) -> Response<Body> {
    let Ok(request) = serde_json::from_slice::<Value>(body) else {
        return json_response(
            StatusCode::BAD_REQUEST,
            &json!({"error": {"message": "not JSON", "type": "invalid_request_error"}}),
        );
    };
    let model = request["model"].as_str().unwrap_or("unknown").to_owned();
    let answer = format!("hello from {name}");
    let usage = json!({"prompt_tokens": body.len() / 4, "completion_tokens": 4, "total_tokens": body.len() / 4 + 4});
    if request["stream"].as_bool() == Some(true) {
        return streamed(&model, &answer, usage);
    }
    json_response(
        StatusCode::OK,
        &json!({
            "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": model,
            "choices": [{"index": 0, "message": {"role": "assistant", "content": answer}, "finish_reason": "stop"}],
            "usage": usage,
        }),
    )
}

fn streamed(model: &str, answer: &str, usage: Value) -> Response<Body> {
    let chunk = |delta: Value, finish: Option<&str>| {
        json!({"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": model,
               "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})
    };
    let mut events: Vec<String> =
        answer.split_inclusive(' ').map(|word| chunk(json!({"content": word}), None).to_string()).collect();
    events.push(chunk(json!({}), Some("stop")).to_string());
    let mut last = chunk(json!({}), None);
    last["choices"] = json!([]);
    last["usage"] = usage;
    events.push(last.to_string());
    events.push("[DONE]".to_owned());
    let frames = stream::iter(events).then(|event| async move {
        tokio::time::sleep(Duration::from_millis(5)).await;
        Ok(Frame::data(Bytes::from(format!("data: {event}\n\n"))))
    });
    let mut response = Response::new(BodyExt::boxed(StreamBody::new(frames)));
    response.headers_mut().insert("content-type", HeaderValue::from_static("text/event-stream"));
    response
}
