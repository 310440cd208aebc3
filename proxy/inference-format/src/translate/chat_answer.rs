//! A chat completion as a message.

use super::Untranslatable;
use super::fields::{Fields, empty};
use crate::document::Json;

/// Translates a whole answer.
pub fn to_message(answer: &Json) -> Result<Json, Untranslatable> {
    let choices = answer.get("choices").map_or(&[][..], Json::items);
    let [choice] = choices else { return Err(Untranslatable::new("an answer with other than one choice")) };
    let Some(message) = choice.get("message") else { return Err(Untranslatable::new("an answer without a message")) };
    let mut from = Fields::of(message, "choices[0].message")?;
    from.take("role");
    let mut content = Vec::new();
    let thoughts = [from.text("reasoning_content")?, from.text("reasoning")?];
    if let Some(thought) = thoughts.into_iter().flatten().find(|t| !t.is_empty()) {
        content.push(Json::object([
            ("type", "thinking".into()),
            ("thinking", thought.into()),
            ("signature", "".into()),
        ]));
    }
    let refusal = from.text("refusal")?;
    for text in [from.text("content")?, refusal].into_iter().flatten().filter(|t| !t.is_empty()) {
        content.push(Json::object([("type", "text".into()), ("text", text.into())]));
    }
    let calls = from.take("tool_calls").map_or(&[][..], Json::items);
    for (index, call) in calls.iter().enumerate() {
        content.push(tool_use(call, index)?);
    }
    for nothing in ["annotations", "function_call", "audio"] {
        from.default(nothing, empty)?;
    }
    // Anything else is an ornament of a compatible server, such as vLLM's `stop_reason`: no part of what was said.
    let reason = choice.get("finish_reason").and_then(Json::text).unwrap_or("stop");
    let stop = if refusal.is_some_and(|r| !r.is_empty()) { "refusal" } else { stop_reason(reason, !calls.is_empty())? };
    let text = |key| answer.get(key).and_then(Json::text).unwrap_or_default();
    Ok(Json::object([
        ("id", id(text("id")).into()),
        ("type", "message".into()),
        ("role", "assistant".into()),
        ("model", text("model").into()),
        ("content", content.into()),
        ("stop_reason", stop.into()),
        ("stop_sequence", Json::NULL),
        ("usage", usage(answer.get("usage"))),
    ]))
}

fn tool_use(call: &Json, index: usize) -> Result<Json, Untranslatable> {
    let place = format!("choices[0].message.tool_calls[{index}]");
    let mut call = Fields::of(call, place)?;
    let id = call.need("id")?;
    call.default("type", |t| t.text() == Some("function"))?;
    let Some(function) = call.take("function") else { return call.refuse("function") };
    let mut function = Fields::of(function, call.place("function"))?;
    let (name, arguments) = (function.need("name")?, function.text("arguments")?.unwrap_or_default());
    let input =
        if arguments.trim().is_empty() { Some(Json::Object(Vec::new())) } else { Json::parse(arguments.as_bytes()) };
    let Some(input @ Json::Object(_)) = input else { return function.refuse("arguments") };
    Ok(Json::object([("type", "tool_use".into()), ("id", id.into()), ("name", name.into()), ("input", input)]))
}

/// A message's id as Anthropic's clients expect it.
pub fn id(of: &str) -> String {
    format!("msg_{}", of.strip_prefix("chatcmpl-").unwrap_or(of))
}

/// Why the model stopped. Servers that say `stop` although they call tools are common.
pub fn stop_reason(reason: &str, calls: bool) -> Result<&'static str, Untranslatable> {
    Ok(match reason {
        "stop" if calls => "tool_use",
        "stop" => "end_turn",
        "length" => "max_tokens",
        "tool_calls" | "function_call" => "tool_use",
        "content_filter" => "refusal",
        other => return Err(Untranslatable::new(format!("finish_reason {other}"))),
    })
}

/// Figures as Messages counts them: cached input apart.
pub fn usage(usage: Option<&Json>) -> Json {
    let number = |at: Option<&Json>| at.and_then(Json::number).unwrap_or(0);
    let prompt = number(usage.and_then(|u| u.get("prompt_tokens")));
    let cached = number(usage.and_then(|u| u.get("prompt_tokens_details")).and_then(|d| d.get("cached_tokens")));
    let output = number(usage.and_then(|u| u.get("completion_tokens")));
    Json::object([
        ("input_tokens", prompt.saturating_sub(cached).into()),
        ("cache_creation_input_tokens", 0.into()),
        ("cache_read_input_tokens", cached.min(prompt).into()),
        ("output_tokens", output.into()),
    ])
}
