//! A response as a chat completion.

use super::{completion_id, completion_usage};
use crate::document::Json;
use crate::translate::Untranslatable;
use crate::translate::fields::{Fields, empty};

/// Translates a whole answer. `now`: seconds since the Unix epoch.
pub fn to_chat(answer: &Json, now: u64) -> Result<Json, Untranslatable> {
    let Some(Json::Array(items)) = answer.get("output") else {
        return Err(Untranslatable::new("an answer without output"));
    };
    let (mut text, mut refusal, mut thought, mut calls) = (String::new(), String::new(), String::new(), Vec::new());
    for (index, item) in items.iter().enumerate() {
        let mut item = Fields::of(item, format!("output[{index}]"))?;
        match item.need("type")? {
            "message" => {
                for part in item.take("content").map_or(&[][..], Json::items) {
                    let mut part = Fields::of(part, item.place("content"))?;
                    match part.need("type")? {
                        "output_text" => {
                            part.default("annotations", empty)?;
                            text.push_str(part.need("text")?);
                        }
                        "refusal" => refusal.push_str(part.need("refusal")?),
                        other => return part.refuse(other),
                    }
                }
            }
            "reasoning" => {
                for part in [item.take("summary"), item.take("content")].into_iter().flatten().flat_map(Json::items) {
                    thought.push_str(part.get("text").and_then(Json::text).unwrap_or_default());
                }
            }
            "function_call" => {
                let arguments = item.need("arguments")?;
                let function = Json::object([("name", item.need("name")?.into()), ("arguments", arguments.into())]);
                calls.push(Json::object([
                    ("id", item.need("call_id")?.into()),
                    ("type", "function".into()),
                    ("function", function),
                ]));
            }
            other => return item.refuse(other),
        }
    }
    let finish = finish_reason(answer, !calls.is_empty())?;
    let none_or = |text: String| if text.is_empty() { Json::NULL } else { text.into() };
    let content = if text.is_empty() && calls.is_empty() && refusal.is_empty() { "".into() } else { none_or(text) };
    let mut message = Json::object([("role", "assistant".into()), ("content", content), ("refusal", none_or(refusal))]);
    if !thought.is_empty() {
        message.set("reasoning_content", thought);
    }
    if !calls.is_empty() {
        message.set("tool_calls", calls);
    }
    let choice = Json::object([
        ("index", 0.into()),
        ("message", message),
        ("logprobs", Json::NULL),
        ("finish_reason", finish.into()),
    ]);
    let field = |key| answer.get(key).and_then(Json::text).unwrap_or_default();
    Ok(Json::object([
        ("id", completion_id(field("id")).into()),
        ("object", "chat.completion".into()),
        ("created", answer.get("created_at").and_then(Json::number).unwrap_or(now).into()),
        ("model", field("model").into()),
        ("choices", vec![choice].into()),
        ("usage", completion_usage(answer.get("usage"))),
    ]))
}

/// Why the model stopped.
pub fn finish_reason(response: &Json, calls: bool) -> Result<&'static str, Untranslatable> {
    let cut = response.get("incomplete_details").and_then(|d| d.get("reason")).and_then(Json::text);
    Ok(match (response.get("status").and_then(Json::text).unwrap_or("completed"), cut) {
        ("completed", _) if calls => "tool_calls",
        ("completed", _) => "stop",
        ("incomplete", Some("max_output_tokens")) => "length",
        ("incomplete", Some("content_filter")) => "content_filter",
        (status, _) => return Err(Untranslatable::new(format!("status {status}"))),
    })
}
