//! A chat completion as a response.

use super::{function_call, id, message, output_text, reasoning, refusal, response, usage};
use crate::document::{Document, Json};
use crate::translate::Untranslatable;
use crate::translate::fields::{Fields, empty};

/// Translates a whole answer to `asked`. `now`: seconds since the Unix epoch.
pub fn to_response(asked: &Document, answer: &Json, now: u64) -> Result<Json, Untranslatable> {
    let choices = answer.get("choices").map_or(&[][..], Json::items);
    let [choice] = choices else { return Err(Untranslatable::new("an answer with other than one choice")) };
    let Some(said) = choice.get("message") else { return Err(Untranslatable::new("an answer without a message")) };
    let mut from = Fields::of(said, "choices[0].message")?;
    let reason = choice.get("finish_reason").and_then(Json::text).unwrap_or("stop");
    let (status, cut) = status(reason)?;
    let name = answer.get("id").and_then(Json::text).unwrap_or("answer");
    let mut output = Vec::new();
    let thoughts = [from.text("reasoning_content")?, from.text("reasoning")?];
    if let Some(thought) = thoughts.into_iter().flatten().find(|t| !t.is_empty()) {
        output.push(reasoning(&format!("rs_{name}"), thought));
    }
    let mut content = Vec::new();
    content.extend(from.text("content")?.filter(|t| !t.is_empty()).map(output_text));
    content.extend(from.text("refusal")?.filter(|t| !t.is_empty()).map(refusal));
    if !content.is_empty() {
        output.push(message(&format!("msg_{name}"), status, content));
    }
    for (index, call) in from.take("tool_calls").map_or(&[][..], Json::items).iter().enumerate() {
        let mut call = Fields::of(call, format!("choices[0].message.tool_calls[{index}]"))?;
        let call_id = call.need("id")?;
        call.default("type", |t| t.text() == Some("function"))?;
        let Some(function) = call.take("function") else { return call.refuse("function") };
        let mut function = Fields::of(function, call.place("function"))?;
        let (name, arguments) = (function.need("name")?, function.text("arguments")?.unwrap_or_default());
        output.push(function_call(&format!("fc_{call_id}"), "completed", call_id, name, arguments));
    }
    for nothing in ["annotations", "function_call", "audio"] {
        from.default(nothing, empty)?;
    }
    let model = answer.get("model").and_then(Json::text).unwrap_or(asked.model());
    let mut made = response(asked, &id(name), model, now, status, output);
    if let Some(cut) = cut {
        replace(&mut made, "incomplete_details", Json::object([("reason", cut.into())]));
    }
    made.set("usage", usage(answer.get("usage")));
    Ok(made)
}

/// The status that a reason to stop amounts to, and what cut the answer.
pub fn status(reason: &str) -> Result<(&'static str, Option<&'static str>), Untranslatable> {
    Ok(match reason {
        "stop" | "tool_calls" | "function_call" => ("completed", None),
        "length" => ("incomplete", Some("max_output_tokens")),
        "content_filter" => ("incomplete", Some("content_filter")),
        other => return Err(Untranslatable::new(format!("finish_reason {other}"))),
    })
}

/// Puts another value in the place of one that is there.
pub fn replace(object: &mut Json, key: &str, value: Json) {
    if let Json::Object(entries) = object
        && let Some((_, held)) = entries.iter_mut().find(|(k, _)| k == key)
    {
        *held = value;
    }
}
