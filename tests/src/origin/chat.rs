//! A small OpenAI-compatible model: it answers with its own name.

use http::{Response, StatusCode};
use serde_json::{Value, json};

use super::routes::{Body, events_of, json as json_response};

pub(super) fn completions(name: &str, body: &[u8]) -> Response<Body> {
    let Ok(request) = serde_json::from_slice::<Value>(body) else {
        return json_response(
            StatusCode::BAD_REQUEST,
            &json!({"error": {"message": "not JSON", "type": "invalid_request_error"}}),
        );
    };
    let model = request["model"].as_str().unwrap_or("unknown").to_owned();
    // The model `echo` says what it was told last.
    let answer = match (model.as_str(), &request["messages"]) {
        ("echo", Value::Array(turns)) => {
            turns.last().and_then(|turn| turn["content"].as_str()).unwrap_or("").to_owned()
        }
        _ => format!("hello from {name}"),
    };
    let tool = request["tools"][0]["function"]["name"].as_str();
    let usage = json!({"prompt_tokens": body.len() / 4, "completion_tokens": 4, "total_tokens": body.len() / 4 + 4});
    if request["stream"].as_bool() == Some(true) {
        return streamed(&model, &answer, tool, usage);
    }
    let (message, reason) = match tool {
        Some(tool) => (json!({"role": "assistant", "content": null, "tool_calls": [call(tool)]}), "tool_calls"),
        None => (json!({"role": "assistant", "content": answer}), "stop"),
    };
    json_response(
        StatusCode::OK,
        &json!({
            "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": model,
            "choices": [{"index": 0, "message": message, "finish_reason": reason}],
            "usage": usage,
        }),
    )
}

/// The call of a tool that it makes when it is given one.
fn call(tool: &str) -> Value {
    json!({"id": "call_1", "type": "function", "function": {"name": tool, "arguments": "{\"city\":\"Paris\"}"}})
}

/// `POST /v1/completions`, the older API.
pub(super) fn legacy(name: &str) -> Response<Body> {
    json_response(
        StatusCode::OK,
        &json!({"id": "cmpl-1", "object": "text_completion", "created": 1, "model": "small",
            "choices": [{"index": 0, "text": format!("hello from {name}"), "finish_reason": "stop", "logprobs": null}],
            "usage": {"prompt_tokens": 2, "completion_tokens": 4, "total_tokens": 6}}),
    )
}

/// `POST /v1/embeddings`: two numbers, or their bytes in base64 for who asks for that.
pub(super) fn embeddings(body: &[u8]) -> Response<Body> {
    let request: Value = serde_json::from_slice(body).unwrap_or_default();
    // 0.5 and 0.25 as little-endian floats.
    let vector = if request["encoding_format"] == "base64" { json!("AAAAPwAAgD4=") } else { json!([0.5, 0.25]) };
    json_response(
        StatusCode::OK,
        &json!({"object": "list", "model": "small", "data": [{"object": "embedding", "index": 0, "embedding": vector}],
            "usage": {"prompt_tokens": 5, "total_tokens": 5}}),
    )
}

fn streamed(model: &str, answer: &str, tool: Option<&str>, usage: Value) -> Response<Body> {
    let chunk = |delta: Value, finish: Option<&str>| {
        json!({"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": model,
               "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})
    };
    let mut events: Vec<String> = match tool {
        Some(tool) => {
            let mut call = call(tool);
            call["index"] = json!(0);
            vec![chunk(json!({"role": "assistant", "tool_calls": [call]}), None).to_string()]
        }
        None => answer.split_inclusive(' ').map(|word| chunk(json!({"content": word}), None).to_string()).collect(),
    };
    events.push(chunk(json!({}), Some(if tool.is_some() { "tool_calls" } else { "stop" })).to_string());
    let mut last = chunk(json!({}), None);
    last["choices"] = json!([]);
    last["usage"] = usage;
    events.push(last.to_string());
    events.push("[DONE]".to_owned());
    events_of(events.into_iter().map(|event| format!("data: {event}")).collect())
}
