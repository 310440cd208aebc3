//! The events of a message as chunks of a chat completion.

use super::completion::Completion;
use super::events::{Translate, unnamed};
use super::messages_answer::{Figures, finish_reason, id};
use super::{Untranslatable, errors};
use crate::document::{Document, Json};

/// Translates one stream.
pub struct ToChat {
    to: Completion,
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
        let to = Completion::new(asked, now, id("stream"));
        Self { to, calls: 0, bare_call: false, figures: Figures::default(), complete: false }
    }

    fn arguments(&mut self, text: &str, out: &mut Vec<u8>) {
        self.bare_call = false;
        self.to.arguments(self.calls.saturating_sub(1), text, out);
    }

    fn start(&mut self, block: &Json, out: &mut Vec<u8>) -> Result<(), Untranslatable> {
        let field = |key: &str| block.get(key).and_then(Json::text).unwrap_or_default();
        match field("type") {
            "text" => self.to.say("content", field("text"), out),
            "thinking" => self.to.say("reasoning_content", field("thinking"), out),
            "tool_use" => {
                self.to.call(self.calls, field("id"), field("name"), "", out);
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
            "text_delta" => self.to.say("content", field("text"), out),
            "thinking_delta" => self.to.say("reasoning_content", field("thinking"), out),
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
                self.figures = self.figures.and(message.and_then(|m| m.get("usage")));
                self.to.begin(id(field("id").unwrap_or("stream")), field("model"), out);
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
                    self.to.finish(finish_reason(reason)?, out);
                }
            }
            "message_stop" => {
                self.complete = true;
                self.to.end(self.figures.chat(), out);
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
