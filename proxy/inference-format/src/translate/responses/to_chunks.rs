//! The events of a response as chunks of a chat completion.

use super::to_completion::finish_reason;
use super::{completion_id, completion_usage};
use crate::document::{Document, Json};
use crate::translate::completion::Completion;
use crate::translate::events::{Translate, unnamed};
use crate::translate::{Untranslatable, errors};

/// Translates one stream.
pub struct ToChat {
    to: Completion,
    begun: bool,
    /// Of each tool call begun so far: the place in the output.
    calls: Vec<u64>,
    complete: bool,
}

impl ToChat {
    /// For an answer to this request. `now`: seconds since the Unix epoch.
    pub fn new(asked: &Document, now: u64) -> Self {
        let to = Completion::new(asked, now, completion_id("stream"));
        Self { to, begun: false, calls: Vec::new(), complete: false }
    }

    fn say(&self, key: &str, event: &Json, out: &mut Vec<u8>) {
        self.to.say(key, event.get("delta").and_then(Json::text).unwrap_or_default(), out);
    }

    fn begin(&mut self, response: Option<&Json>, out: &mut Vec<u8>) {
        if std::mem::replace(&mut self.begun, true) {
            return;
        }
        let field = |key: &str| response.and_then(|r| r.get(key)).and_then(Json::text);
        self.to.begin(completion_id(field("id").unwrap_or("stream")), field("model"), out);
    }

    fn added(&mut self, event: &Json, out: &mut Vec<u8>) -> Result<(), Untranslatable> {
        let item = event.get("item");
        let field = |key: &str| item.and_then(|i| i.get(key)).and_then(Json::text).unwrap_or_default();
        match field("type") {
            "message" | "reasoning" => Ok(()),
            "function_call" => {
                self.to.call(self.calls.len() as u64, field("call_id"), field("name"), field("arguments"), out);
                self.calls.push(event.get("output_index").and_then(Json::number).unwrap_or(0));
                Ok(())
            }
            other => Err(Untranslatable::new(format!("output item {other}"))),
        }
    }

    fn arguments(&self, event: &Json, out: &mut Vec<u8>) {
        let place = event.get("output_index").and_then(Json::number).unwrap_or(0);
        let (Some(index), Some(text)) =
            (self.calls.iter().position(|call| *call == place), event.get("delta").and_then(Json::text))
        else {
            return;
        };
        self.to.arguments(index as u64, text, out);
    }
}

impl Translate for ToChat {
    fn event(&mut self, data: &[u8], out: &mut Vec<u8>) -> Result<(), Untranslatable> {
        let event = Json::parse(data).ok_or_else(|| Untranslatable::new("an event that is not JSON"))?;
        let response = event.get("response");
        match event.get("type").and_then(Json::text).unwrap_or_default() {
            "response.created" => self.begin(response, out),
            "response.output_text.delta" => self.say("content", &event, out),
            "response.refusal.delta" => self.say("refusal", &event, out),
            "response.reasoning_text.delta" | "response.reasoning_summary_text.delta" => {
                self.say("reasoning_content", &event, out);
            }
            "response.output_item.added" => self.added(&event, out)?,
            "response.function_call_arguments.delta" => self.arguments(&event, out),
            "response.completed" | "response.incomplete" => {
                self.complete = true;
                self.begin(response, out);
                let response = response.ok_or_else(|| Untranslatable::new("an end without a response"))?;
                self.to.finish(finish_reason(response, !self.calls.is_empty())?, out);
                self.to.end(completion_usage(response.get("usage")), out);
            }
            "response.failed" | "error" => {
                self.complete = true;
                let said = response.and_then(|r| r.get("error")).or(Some(&event)).and_then(|e| e.get("message"));
                let message = said.and_then(Json::text).unwrap_or("the backend broke off");
                unnamed(&errors::openai(500, message), out);
            }
            // Beginnings and ends of parts, and kinds of events that were added since.
            _ => {}
        }
        Ok(())
    }

    fn finish(&mut self, _: &mut Vec<u8>) -> Result<(), Untranslatable> {
        if self.complete { Ok(()) } else { Err(Untranslatable::new("a stream that ended before it was complete")) }
    }
}
