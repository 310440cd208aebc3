//! Chunks of a chat completion as the events of a message.

use super::chat_answer::{id, stop_reason, usage};
use super::chunks::{Chunks, Part};
use super::events::{Translate, named};
use super::{Untranslatable, errors};
use crate::document::Json;

/// Which block is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Open {
    Nothing,
    Text,
    Thinking,
    Call,
}

/// Translates one stream.
pub struct ToMessages {
    asked_model: String,
    begun: bool,
    open: Open,
    /// Blocks begun so far.
    blocks: u64,
    chunks: Chunks,
    stop: Option<&'static str>,
    refused: bool,
    usage: Option<Json>,
    over: bool,
}

impl ToMessages {
    /// For an answer to a request for this model.
    pub fn new(asked_model: &str) -> Self {
        Self {
            asked_model: asked_model.to_owned(),
            begun: false,
            open: Open::Nothing,
            blocks: 0,
            chunks: Chunks::default(),
            stop: None,
            refused: false,
            usage: None,
            over: false,
        }
    }

    fn begin(&mut self, chunk: &Json, out: &mut Vec<u8>) {
        if std::mem::replace(&mut self.begun, true) {
            return;
        }
        let text = |key| chunk.get(key).and_then(Json::text).filter(|t| !t.is_empty());
        let message = Json::object([
            ("id", id(text("id").unwrap_or("stream")).into()),
            ("type", "message".into()),
            ("role", "assistant".into()),
            ("model", text("model").unwrap_or(&self.asked_model).into()),
            ("content", Json::Array(Vec::new())),
            ("stop_reason", Json::NULL),
            ("stop_sequence", Json::NULL),
            ("usage", usage(None)),
        ]);
        named(&Json::object([("type", "message_start".into()), ("message", message)]), out);
    }

    fn close(&mut self, out: &mut Vec<u8>) {
        if std::mem::replace(&mut self.open, Open::Nothing) != Open::Nothing {
            let index = self.blocks.saturating_sub(1);
            named(&Json::object([("type", "content_block_stop".into()), ("index", index.into())]), out);
        }
    }

    fn open(&mut self, open: Open, block: Json, out: &mut Vec<u8>) {
        self.close(out);
        named(
            &Json::object([
                ("type", "content_block_start".into()),
                ("index", self.blocks.into()),
                ("content_block", block),
            ]),
            out,
        );
        self.blocks += 1;
        self.open = open;
    }

    fn delta(&self, kind: &str, key: &str, text: &str, out: &mut Vec<u8>) {
        let delta = Json::object([("type", kind.into()), (key, text.into())]);
        let index = self.blocks.saturating_sub(1);
        named(&Json::object([("type", "content_block_delta".into()), ("index", index.into()), ("delta", delta)]), out);
    }

    fn text(&mut self, text: &str, out: &mut Vec<u8>) {
        if self.open != Open::Text {
            self.open(Open::Text, Json::object([("type", "text".into()), ("text", "".into())]), out);
        }
        self.delta("text_delta", "text", text, out);
    }

    fn thought(&mut self, text: &str, out: &mut Vec<u8>) {
        if self.open != Open::Thinking {
            let block = Json::object([("type", "thinking".into()), ("thinking", "".into()), ("signature", "".into())]);
            self.open(Open::Thinking, block, out);
        }
        self.delta("thinking_delta", "thinking", text, out);
    }

    fn part(&mut self, part: Part<'_>, out: &mut Vec<u8>) -> Result<(), Untranslatable> {
        match part {
            Part::Thought(text) => self.thought(text, out),
            Part::Refusal(text) => {
                self.refused = true;
                self.text(text, out);
            }
            Part::Text(text) => self.text(text, out),
            Part::Call { id, name } => {
                let block = Json::object([
                    ("type", "tool_use".into()),
                    ("id", id.into()),
                    ("name", name.into()),
                    ("input", Json::Object(Vec::new())),
                ]);
                self.open(Open::Call, block, out);
            }
            Part::Arguments(text) => self.delta("input_json_delta", "partial_json", text, out),
            Part::Finish(reason) => {
                let called = self.chunks.calls() > 0;
                self.stop = Some(if self.refused { "refusal" } else { stop_reason(reason, called)? });
                self.close(out);
            }
        }
        Ok(())
    }

    fn end(&mut self, out: &mut Vec<u8>) -> Result<(), Untranslatable> {
        if std::mem::replace(&mut self.over, true) {
            return Ok(());
        }
        let Some(stop) = self.stop else {
            return Err(Untranslatable::new("a stream that ended before it was complete"));
        };
        let delta = Json::object([("stop_reason", stop.into()), ("stop_sequence", Json::NULL)]);
        let usage = usage(self.usage.as_ref());
        named(&Json::object([("type", "message_delta".into()), ("delta", delta), ("usage", usage)]), out);
        named(&Json::object([("type", "message_stop".into())]), out);
        Ok(())
    }
}

impl Translate for ToMessages {
    fn event(&mut self, data: &[u8], out: &mut Vec<u8>) -> Result<(), Untranslatable> {
        if data.trim_ascii() == b"[DONE]" {
            return self.end(out);
        }
        let chunk = Json::parse(data).ok_or_else(|| Untranslatable::new("an event that is not JSON"))?;
        if chunk.get("error").is_some_and(|e| !e.is_null()) {
            self.over = true;
            let message = errors::message(data).unwrap_or_else(|| "the backend broke off".to_owned());
            named(&errors::anthropic(500, &message), out);
            return Ok(());
        }
        self.begin(&chunk, out);
        if let Some(usage) = chunk.get("usage").filter(|u| !u.is_null()) {
            self.usage = Some(usage.clone());
        }
        self.chunks.read(&chunk)?.into_iter().try_for_each(|part| self.part(part, out))
    }

    fn finish(&mut self, out: &mut Vec<u8>) -> Result<(), Untranslatable> {
        self.end(out)
    }
}
