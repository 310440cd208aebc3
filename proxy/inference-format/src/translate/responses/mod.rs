//! OpenAI's Responses, to and from Chat Completions.
//!
//! What a service keeps between requests (`previous_response_id`, `conversation`, `background`, stored prompts) has no form in
//! Chat Completions; neither have tools that the service runs itself.

pub mod answer;
pub mod from_chat;
pub mod request;
pub mod stream;
pub mod to_chunks;
pub mod to_completion;

use crate::document::{Document, Json};

/// A response's id as OpenAI's clients expect it.
fn id(of: &str) -> String {
    format!("resp_{}", of.strip_prefix("chatcmpl-").unwrap_or(of))
}

/// A completion's id as OpenAI's clients expect it.
fn completion_id(of: &str) -> String {
    format!("chatcmpl-{}", of.strip_prefix("resp_").unwrap_or(of))
}

/// Offers tools, if there are any; without them nothing is said of how they are to be called.
fn offer(tools: Vec<Json>, choice: Option<Json>, parallel: Option<&Json>, out: &mut Json) {
    if tools.is_empty() {
        return;
    }
    out.set("tools", tools);
    if let Some(choice) = choice {
        out.set("tool_choice", choice);
    }
    if let Some(parallel) = parallel {
        out.set("parallel_tool_calls", parallel.clone());
    }
}

/// Figures as Responses counts them.
fn usage(usage: Option<&Json>) -> Json {
    let number = |at: Option<&Json>| at.and_then(Json::number).unwrap_or(0);
    let detail = |list: &str, key: &str| number(usage.and_then(|u| u.get(list)).and_then(|d| d.get(key)));
    let input = number(usage.and_then(|u| u.get("prompt_tokens")));
    let output = number(usage.and_then(|u| u.get("completion_tokens")));
    let cached = Json::object([("cached_tokens", detail("prompt_tokens_details", "cached_tokens").into())]);
    let reasoning =
        Json::object([("reasoning_tokens", detail("completion_tokens_details", "reasoning_tokens").into())]);
    Json::object([
        ("input_tokens", input.into()),
        ("input_tokens_details", cached),
        ("output_tokens", output.into()),
        ("output_tokens_details", reasoning),
        ("total_tokens", (input + output).into()),
    ])
}

/// Figures as Chat Completions counts them.
fn completion_usage(usage: Option<&Json>) -> Json {
    let number = |at: Option<&Json>| at.and_then(Json::number).unwrap_or(0);
    let detail = |list: &str, key: &str| number(usage.and_then(|u| u.get(list)).and_then(|d| d.get(key)));
    let input = number(usage.and_then(|u| u.get("input_tokens")));
    let output = number(usage.and_then(|u| u.get("output_tokens")));
    let cached = Json::object([("cached_tokens", detail("input_tokens_details", "cached_tokens").into())]);
    let reasoning = Json::object([("reasoning_tokens", detail("output_tokens_details", "reasoning_tokens").into())]);
    Json::object([
        ("prompt_tokens", input.into()),
        ("completion_tokens", output.into()),
        ("total_tokens", (input + output).into()),
        ("prompt_tokens_details", cached),
        ("completion_tokens_details", reasoning),
    ])
}

/// A response with what it repeats of its request.
fn response(asked: &Document, id: &str, model: &str, now: u64, status: &str, output: Vec<Json>) -> Json {
    let given = |key: &str, otherwise: Json| asked.get(key).cloned().unwrap_or(otherwise);
    let reason = match status {
        "incomplete" => Json::object([("reason", "max_output_tokens".into())]),
        _ => Json::NULL,
    };
    let text = Json::object([("format", Json::object([("type", "text".into())]))]);
    Json::object([
        ("id", id.into()),
        ("object", "response".into()),
        ("created_at", now.into()),
        ("status", status.into()),
        ("error", Json::NULL),
        ("incomplete_details", reason),
        ("instructions", given("instructions", Json::NULL)),
        ("max_output_tokens", given("max_output_tokens", Json::NULL)),
        ("model", model.into()),
        ("output", output.into()),
        ("parallel_tool_calls", given("parallel_tool_calls", true.into())),
        ("previous_response_id", Json::NULL),
        ("store", false.into()),
        ("temperature", given("temperature", Json::NULL)),
        ("text", given("text", text)),
        ("tool_choice", given("tool_choice", "auto".into())),
        ("tools", given("tools", Json::Array(Vec::new()))),
        ("top_p", given("top_p", Json::NULL)),
        ("truncation", "disabled".into()),
        ("metadata", given("metadata", Json::Object(Vec::new()))),
    ])
}

/// A part of a message: text.
fn output_text(text: &str) -> Json {
    Json::object([
        ("type", "output_text".into()),
        ("text", text.into()),
        ("annotations", Json::Array(Vec::new())),
        ("logprobs", Json::Array(Vec::new())),
    ])
}

/// A part of a message: a refusal.
fn refusal(text: &str) -> Json {
    Json::object([("type", "refusal".into()), ("refusal", text.into())])
}

fn message(id: &str, status: &str, content: Vec<Json>) -> Json {
    Json::object([
        ("id", id.into()),
        ("type", "message".into()),
        ("status", status.into()),
        ("role", "assistant".into()),
        ("content", content.into()),
    ])
}

fn function_call(id: &str, status: &str, call: &str, name: &str, arguments: &str) -> Json {
    Json::object([
        ("id", id.into()),
        ("type", "function_call".into()),
        ("status", status.into()),
        ("call_id", call.into()),
        ("name", name.into()),
        ("arguments", arguments.into()),
    ])
}

fn reasoning(id: &str, text: &str) -> Json {
    let part = Json::object([("type", "reasoning_text".into()), ("text", text.into())]);
    let content = if text.is_empty() { Vec::new() } else { vec![part] };
    Json::object([
        ("id", id.into()),
        ("type", "reasoning".into()),
        ("summary", Json::Array(Vec::new())),
        ("content", content.into()),
    ])
}
