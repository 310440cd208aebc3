//! A message as a chat completion.

use super::Untranslatable;
use super::fields::{Fields, empty};
use crate::document::Json;

/// Translates a whole answer. `now`: seconds since the Unix epoch.
pub fn to_chat(answer: &Json, now: u64) -> Result<Json, Untranslatable> {
    let Some(Json::Array(blocks)) = answer.get("content") else {
        return Err(Untranslatable::new("an answer without content"));
    };
    let (mut text, mut thought, mut calls) = (String::new(), String::new(), Vec::new());
    for (index, block) in blocks.iter().enumerate() {
        let mut block = Fields::of(block, format!("content[{index}]"))?;
        match block.need("type")? {
            "text" => {
                block.default("citations", empty)?;
                text.push_str(block.need("text")?);
            }
            "thinking" => thought.push_str(block.need("thinking")?),
            "tool_use" => {
                let arguments = block.take("input").map_or_else(|| "{}".to_owned(), Json::to_string);
                calls.push(call(block.need("id")?, block.need("name")?, &arguments));
            }
            other => return block.refuse(other),
        }
    }
    let content = if text.is_empty() && !calls.is_empty() { Json::NULL } else { text.into() };
    let mut message = Json::object([("role", "assistant".into()), ("content", content), ("refusal", Json::NULL)]);
    if !thought.is_empty() {
        message.set("reasoning_content", thought);
    }
    if !calls.is_empty() {
        message.set("tool_calls", calls);
    }
    let reason = answer.get("stop_reason").and_then(Json::text).unwrap_or("end_turn");
    let choice = Json::object([
        ("index", 0.into()),
        ("message", message),
        ("logprobs", Json::NULL),
        ("finish_reason", finish_reason(reason)?.into()),
    ]);
    let text = |key| answer.get(key).and_then(Json::text).unwrap_or_default();
    Ok(Json::object([
        ("id", id(text("id")).into()),
        ("object", "chat.completion".into()),
        ("created", now.into()),
        ("model", text("model").into()),
        ("choices", vec![choice].into()),
        ("usage", Figures::default().and(answer.get("usage")).chat()),
    ]))
}

fn call(id: &str, name: &str, arguments: &str) -> Json {
    let function = Json::object([("name", name.into()), ("arguments", arguments.into())]);
    Json::object([("id", id.into()), ("type", "function".into()), ("function", function)])
}

/// A completion's id as OpenAI's clients expect it.
pub fn id(of: &str) -> String {
    format!("chatcmpl-{}", of.strip_prefix("msg_").unwrap_or(of))
}

/// Why the model stopped.
pub fn finish_reason(reason: &str) -> Result<&'static str, Untranslatable> {
    Ok(match reason {
        "end_turn" | "stop_sequence" => "stop",
        "max_tokens" | "model_context_window_exceeded" => "length",
        "tool_use" => "tool_calls",
        "refusal" => "content_filter",
        other => return Err(Untranslatable::new(format!("stop_reason {other}"))),
    })
}

/// Figures of a message; streams say some at the beginning, all others at the end, and always totals.
#[derive(Debug, Default, Clone, Copy)]
pub struct Figures {
    input: u64,
    created: u64,
    read: u64,
    output: u64,
}

impl Figures {
    /// These, with what `usage` says in their place.
    pub fn and(self, usage: Option<&Json>) -> Self {
        let number = |key: &str| usage.and_then(|u| u.get(key)).and_then(Json::number);
        Self {
            input: number("input_tokens").unwrap_or(self.input),
            created: number("cache_creation_input_tokens").unwrap_or(self.created),
            read: number("cache_read_input_tokens").unwrap_or(self.read),
            output: number("output_tokens").unwrap_or(self.output),
        }
    }

    /// As Chat Completions counts them: cached input included.
    pub fn chat(self) -> Json {
        let prompt = self.input + self.created + self.read;
        Json::object([
            ("prompt_tokens", prompt.into()),
            ("completion_tokens", self.output.into()),
            ("total_tokens", (prompt + self.output).into()),
            ("prompt_tokens_details", Json::object([("cached_tokens", self.read.into())])),
        ])
    }
}
