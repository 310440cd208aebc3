//! A small model that speaks OpenAI's Responses: it answers with its own name, and calls the first tool it is given.

use http::{Response, StatusCode};
use serde_json::{Value, json};

use super::routes::{Body, events_of, json as json_response};

/// `POST /v1/responses`.
pub(super) fn responses(name: &str, body: &[u8]) -> Response<Body> {
    let Ok(request) = serde_json::from_slice::<Value>(body) else {
        let error = json!({"error": {"message": "not JSON", "type": "invalid_request_error"}});
        return json_response(StatusCode::BAD_REQUEST, &error);
    };
    let text = format!("hello from {name}");
    let item = match request["tools"][0]["name"].as_str() {
        Some(tool) => {
            json!({"id": "fc_1", "type": "function_call", "status": "completed", "call_id": "call_1", "name": tool,
            "arguments": "{\"city\":\"Paris\"}"})
        }
        None => json!({"id": "msg_1", "type": "message", "role": "assistant", "status": "completed",
            "content": [{"type": "output_text", "text": text, "annotations": [], "logprobs": []}]}),
    };
    let response = |status: &str, output: Value, usage: Value| {
        json!({"id": "resp_1", "object": "response", "created_at": 1, "model": request["model"], "status": status,
            "output": output, "parallel_tool_calls": true, "tool_choice": "auto", "tools": [], "usage": usage,
            "error": null, "incomplete_details": null, "instructions": null, "metadata": {}, "temperature": 1, "top_p": 1})
    };
    let usage = json!({"input_tokens": body.len() / 4, "output_tokens": 4, "total_tokens": body.len() / 4 + 4,
        "input_tokens_details": {"cached_tokens": 0}, "output_tokens_details": {"reasoning_tokens": 0}});
    let whole = response("completed", json!([item]), usage);
    if request["stream"].as_bool() != Some(true) {
        return json_response(StatusCode::OK, &whole);
    }
    let place = |mut event: Value| {
        event["output_index"] = json!(0);
        event
    };
    let mut opened = item.clone();
    opened["status"] = json!("in_progress");
    let mut events =
        vec![json!({"type": "response.created", "response": response("in_progress", json!([]), Value::Null)})];
    if item["type"] == "message" {
        opened["content"] = json!([]);
        events.push(place(json!({"type": "response.output_item.added", "item": opened})));
        let part = json!({"type": "output_text", "text": "", "annotations": []});
        events.push(place(
            json!({"type": "response.content_part.added", "item_id": "msg_1", "content_index": 0, "part": part}),
        ));
        for word in text.split_inclusive(' ') {
            let delta = json!({"type": "response.output_text.delta", "item_id": "msg_1", "content_index": 0, "delta": word, "logprobs": []});
            events.push(place(delta));
        }
        let done = json!({"type": "response.output_text.done", "item_id": "msg_1", "content_index": 0, "text": text, "logprobs": []});
        events.push(place(done));
        let part = &item["content"][0];
        events.push(place(
            json!({"type": "response.content_part.done", "item_id": "msg_1", "content_index": 0, "part": part}),
        ));
    } else {
        opened["arguments"] = json!("");
        events.push(place(json!({"type": "response.output_item.added", "item": opened})));
        let arguments = &item["arguments"];
        events.push(place(
            json!({"type": "response.function_call_arguments.delta", "item_id": "fc_1", "delta": arguments}),
        ));
        let done = json!({"type": "response.function_call_arguments.done", "item_id": "fc_1", "name": item["name"], "arguments": arguments});
        events.push(place(done));
    }
    events.push(place(json!({"type": "response.output_item.done", "item": item})));
    events.push(json!({"type": "response.completed", "response": whole}));
    let numbered = events.into_iter().enumerate().map(|(number, mut event)| {
        event["sequence_number"] = json!(number);
        format!("event: {}\ndata: {event}", event["type"].as_str().unwrap_or_default())
    });
    events_of(numbered.collect())
}
