//! The events of a response as chunks of a chat completion.

use super::to_completion::finish_reason;
use super::{completion_id, completion_usage};
use crate::document::{Document, Json};
use crate::translate::events::{Translate, unnamed};
use crate::translate::{Untranslatable, errors};

/// Translates one stream.
pub struct ToChat {
    now: u64,
    /// The caller asked for figures.
    figures_wanted: bool,
    id: String,
    model: String,
    begun: bool,
    /// Of each tool call begun so far: the place in the output.
    calls: Vec<u64>,
    complete: bool,
}

impl ToChat {
    /// For an answer to this request. `now`: seconds since the Unix epoch.
    pub fn new(asked: &Document, now: u64) -> Self {
        let figures = asked.get("stream_options").and_then(|o| o.get("include_usage"));
        Self {
            now,
            figures_wanted: figures.is_some_and(Json::is_true),
            id: completion_id("stream"),
            model: asked.model().to_owned(),
            begun: false,
            calls: Vec::new(),
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

    fn say(&self, key: &str, event: &Json, out: &mut Vec<u8>) {
        if let Some(text) = event.get("delta").and_then(Json::text).filter(|text| !text.is_empty()) {
            self.delta(Json::object([(key, text.into())]), None, out);
        }
    }

    fn begin(&mut self, response: Option<&Json>, out: &mut Vec<u8>) {
        if std::mem::replace(&mut self.begun, true) {
            return;
        }
        let field = |key: &str| response.and_then(|r| r.get(key)).and_then(Json::text);
        self.id = completion_id(field("id").unwrap_or("stream"));
        if let Some(model) = field("model") {
            model.clone_into(&mut self.model);
        }
        self.delta(Json::object([("role", "assistant".into()), ("content", "".into())]), None, out);
    }

    fn added(&mut self, event: &Json, out: &mut Vec<u8>) -> Result<(), Untranslatable> {
        let item = event.get("item");
        let field = |key: &str| item.and_then(|i| i.get(key)).and_then(Json::text).unwrap_or_default();
        match field("type") {
            "message" | "reasoning" => Ok(()),
            "function_call" => {
                let function = Json::object([("name", field("name").into()), ("arguments", field("arguments").into())]);
                let call = Json::object([
                    ("index", (self.calls.len() as u64).into()),
                    ("id", field("call_id").into()),
                    ("type", "function".into()),
                    ("function", function),
                ]);
                self.calls.push(event.get("output_index").and_then(Json::number).unwrap_or(0));
                self.delta(Json::object([("tool_calls", vec![call].into())]), None, out);
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
        let function = Json::object([("arguments", text.into())]);
        let call = Json::object([("index", (index as u64).into()), ("function", function)]);
        self.delta(Json::object([("tool_calls", vec![call].into())]), None, out);
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
                let finish = finish_reason(response, !self.calls.is_empty())?;
                self.delta(Json::Object(Vec::new()), Some(finish), out);
                if self.figures_wanted {
                    let mut chunk = self.chunk(Vec::new());
                    chunk.set("usage", completion_usage(response.get("usage")));
                    unnamed(&chunk, out);
                }
                out.extend_from_slice(b"data: [DONE]\n\n");
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
