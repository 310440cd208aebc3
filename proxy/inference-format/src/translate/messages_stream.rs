//! The events of a message as chunks of a chat completion.

use super::events::{Translate, unnamed};
use super::messages_answer::{Figures, finish_reason, id};
use super::{Untranslatable, errors};
use crate::document::{Document, Json};

/// Translates one stream.
pub struct ToChat {
    now: u64,
    /// The caller asked for figures.
    figures_wanted: bool,
    id: String,
    model: String,
    /// Tool calls begun so far.
    calls: u64,
    /// The open block is a tool call whose arguments have not begun.
    bare_call: bool,
    figures: Figures,
    complete: bool,
}

impl ToChat {
    /// For an answer to this request. `now`: seconds since the Unix epoch.
    pub fn new(asked: &Document, now: u64) -> Self {
        let figures = asked.get("stream_options").and_then(|o| o.get("include_usage"));
        Self {
            now,
            figures_wanted: figures.is_some_and(Json::is_true),
            id: id("stream"),
            model: asked.model().to_owned(),
            calls: 0,
            bare_call: false,
            figures: Figures::default(),
            complete: false,
        }
    }

    fn chunk(&self, choices: Vec<Json>) -> Json {
        Json::object([
            ("id", self.id.as_str().into()),
            ("object", "chat.completion.chunk".into()),
            ("created", self.now.into()),
            ("model", self.model.as_str().into()),
            ("choices", choices.into()),
        ])
    }

    fn delta(&self, delta: Json, finish: Option<&str>, out: &mut Vec<u8>) {
        let choice = Json::object([
            ("index", 0.into()),
            ("delta", delta),
            ("logprobs", Json::NULL),
            ("finish_reason", finish.map_or(Json::NULL, Json::from)),
        ]);
        unnamed(&self.chunk(vec![choice]), out);
    }

    fn say(&self, key: &str, text: &str, out: &mut Vec<u8>) {
        if !text.is_empty() {
            self.delta(Json::object([(key, text.into())]), None, out);
        }
    }

    fn arguments(&mut self, text: &str, out: &mut Vec<u8>) {
        self.bare_call = false;
        let function = Json::object([("arguments", text.into())]);
        let call = Json::object([("index", self.calls.saturating_sub(1).into()), ("function", function)]);
        self.delta(Json::object([("tool_calls", vec![call].into())]), None, out);
    }

    fn start(&mut self, block: &Json, out: &mut Vec<u8>) -> Result<(), Untranslatable> {
        let field = |key: &str| block.get(key).and_then(Json::text).unwrap_or_default();
        match field("type") {
            "text" => self.say("content", field("text"), out),
            "thinking" => self.say("reasoning_content", field("thinking"), out),
            "tool_use" => {
                let function = Json::object([("name", field("name").into()), ("arguments", "".into())]);
                let call = Json::object([
                    ("index", self.calls.into()),
                    ("id", field("id").into()),
                    ("type", "function".into()),
                    ("function", function),
                ]);
                self.delta(Json::object([("tool_calls", vec![call].into())]), None, out);
                self.calls += 1;
                self.bare_call = true;
                // Compatible servers may give the whole input here.
                if let Some(input @ Json::Object(entries)) = block.get("input")
                    && !entries.is_empty()
                {
                    self.arguments(&input.to_string(), out);
                }
            }
            other => return Err(Untranslatable::new(format!("content_block {other}"))),
        }
        Ok(())
    }

    fn part(&mut self, delta: &Json, out: &mut Vec<u8>) -> Result<(), Untranslatable> {
        let field = |key: &str| delta.get(key).and_then(Json::text).unwrap_or_default();
        match field("type") {
            "text_delta" => self.say("content", field("text"), out),
            "thinking_delta" => self.say("reasoning_content", field("thinking"), out),
            // Seals a thought for later turns, which Chat Completions can't send back.
            "signature_delta" => {}
            "input_json_delta" => {
                let text = field("partial_json");
                if !text.is_empty() {
                    self.arguments(text, out);
                }
            }
            other => return Err(Untranslatable::new(format!("delta {other}"))),
        }
        Ok(())
    }
}

impl Translate for ToChat {
    fn event(&mut self, data: &[u8], out: &mut Vec<u8>) -> Result<(), Untranslatable> {
        let event = Json::parse(data).ok_or_else(|| Untranslatable::new("an event that is not JSON"))?;
        match event.get("type").and_then(Json::text).unwrap_or_default() {
            "message_start" => {
                let message = event.get("message");
                let field = |key: &str| message.and_then(|m| m.get(key)).and_then(Json::text);
                self.id = id(field("id").unwrap_or("stream"));
                if let Some(model) = field("model") {
                    model.clone_into(&mut self.model);
                }
                self.figures = self.figures.and(message.and_then(|m| m.get("usage")));
                self.delta(Json::object([("role", "assistant".into()), ("content", "".into())]), None, out);
            }
            "content_block_start" => match event.get("content_block") {
                Some(block) => self.start(block, out)?,
                None => return Err(Untranslatable::new("content_block_start without a block")),
            },
            "content_block_delta" => match event.get("delta") {
                Some(delta) => self.part(delta, out)?,
                None => return Err(Untranslatable::new("content_block_delta without a delta")),
            },
            "content_block_stop" if self.bare_call => self.arguments("{}", out),
            "content_block_stop" => {}
            "message_delta" => {
                self.figures = self.figures.and(event.get("usage"));
                if let Some(reason) = event.get("delta").and_then(|d| d.get("stop_reason")).and_then(Json::text) {
                    self.delta(Json::Object(Vec::new()), Some(finish_reason(reason)?), out);
                }
            }
            "message_stop" => {
                self.complete = true;
                if self.figures_wanted {
                    let mut chunk = self.chunk(Vec::new());
                    chunk.set("usage", self.figures.chat());
                    unnamed(&chunk, out);
                }
                out.extend_from_slice(b"data: [DONE]\n\n");
            }
            "error" => {
                self.complete = true;
                let message = errors::message(data).unwrap_or_else(|| "the backend broke off".to_owned());
                unnamed(&errors::openai(500, &message), out);
            }
            // A comment keeps the caller's connection awake as well.
            "ping" => out.extend_from_slice(b": ping\n\n"),
            // Both APIs add kinds of events over time, and say that unknown ones mean nothing to those who don't know them.
            _ => {}
        }
        Ok(())
    }

    fn finish(&mut self, _: &mut Vec<u8>) -> Result<(), Untranslatable> {
        if self.complete { Ok(()) } else { Err(Untranslatable::new("a stream that ended before it was complete")) }
    }
}
