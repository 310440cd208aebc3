//! A small model that speaks Anthropic's Messages API: it answers with its own name, and calls the first tool it is given.

use http::{Response, StatusCode};
use serde_json::{Value, json};

use super::routes::{Body, events_of, json as json_response};

pub(super) fn messages(name: &str, body: &[u8]) -> Response<Body> {
    let Ok(request) = serde_json::from_slice::<Value>(body) else {
        let error = json!({"type": "error", "error": {"type": "invalid_request_error", "message": "not JSON"}});
        return json_response(StatusCode::BAD_REQUEST, &error);
    };
    let model = request["model"].as_str().unwrap_or("unknown");
    let tool = request["tools"][0]["name"].as_str();
    let (content, reason) = match tool {
        Some(tool) => {
            (json!({"type": "tool_use", "id": "toolu_1", "name": tool, "input": {"city": "Paris"}}), "tool_use")
        }
        None => (json!({"type": "text", "text": format!("hello from {name}")}), "end_turn"),
    };
    let usage = json!({"input_tokens": body.len() / 4, "output_tokens": 4});
    if request["stream"].as_bool() == Some(true) {
        return streamed(model, &content, reason, &usage);
    }
    json_response(
        StatusCode::OK,
        &json!({"id": "msg_1", "type": "message", "role": "assistant", "model": model, "content": [content],
            "stop_reason": reason, "stop_sequence": null, "usage": usage}),
    )
}

pub(super) fn count(body: &[u8]) -> Response<Body> {
    json_response(StatusCode::OK, &json!({"input_tokens": body.len() / 4}))
}

fn streamed(model: &str, content: &Value, reason: &str, usage: &Value) -> Response<Body> {
    let (start, deltas) = match content["text"].as_str() {
        Some(text) => (
            json!({"type": "text", "text": ""}),
            text.split_inclusive(' ').map(|word| json!({"type": "text_delta", "text": word})).collect::<Vec<_>>(),
        ),
        None => {
            let mut start = content.clone();
            start["input"] = json!({});
            (start, vec![json!({"type": "input_json_delta", "partial_json": content["input"].to_string()})])
        }
    };
    let mut events = vec![
        json!({"type": "message_start", "message": {"id": "msg_1", "type": "message", "role": "assistant", "model": model,
            "content": [], "stop_reason": null, "stop_sequence": null,
            "usage": {"input_tokens": usage["input_tokens"], "output_tokens": 1}}}),
        json!({"type": "content_block_start", "index": 0, "content_block": start}),
    ];
    events.extend(deltas.into_iter().map(|delta| json!({"type": "content_block_delta", "index": 0, "delta": delta})));
    events.extend([
        json!({"type": "content_block_stop", "index": 0}),
        json!({"type": "message_delta", "delta": {"stop_reason": reason, "stop_sequence": null}, "usage": {"output_tokens": 4}}),
        json!({"type": "message_stop"}),
    ]);
    let named =
        events.into_iter().map(|event| format!("event: {}\ndata: {event}", event["type"].as_str().unwrap_or("")));
    events_of(named.collect())
}
