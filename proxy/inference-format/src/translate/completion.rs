//! Chunks of a chat completion, written.

use super::events::unnamed;
use crate::document::{Document, Json};

/// Writes the chunks of one stream.
pub struct Completion {
    now: u64,
    /// The caller asked for figures.
    figures_wanted: bool,
    id: String,
    model: String,
}

impl Completion {
    /// For an answer to this request, until the stream says better. `now`: seconds since the Unix epoch.
    pub fn new(asked: &Document, now: u64, id: String) -> Self {
        let figures = asked.get("stream_options").and_then(|o| o.get("include_usage"));
        Self { now, figures_wanted: figures.is_some_and(Json::is_true), id, model: asked.model().to_owned() }
    }

    /// The answer begins.
    pub fn begin(&mut self, id: String, model: Option<&str>, out: &mut Vec<u8>) {
        self.id = id;
        if let Some(model) = model {
            model.clone_into(&mut self.model);
        }
        self.delta(Json::object([("role", "assistant".into()), ("content", "".into())]), None, out);
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

    /// More of a text, unless there is none.
    pub fn say(&self, key: &str, text: &str, out: &mut Vec<u8>) {
        if !text.is_empty() {
            self.delta(Json::object([(key, text.into())]), None, out);
        }
    }

    /// A tool call begins, the so-manieth of this answer.
    pub fn call(&self, index: u64, id: &str, name: &str, arguments: &str, out: &mut Vec<u8>) {
        let function = Json::object([("name", name.into()), ("arguments", arguments.into())]);
        let call = Json::object([
            ("index", index.into()),
            ("id", id.into()),
            ("type", "function".into()),
            ("function", function),
        ]);
        self.delta(Json::object([("tool_calls", vec![call].into())]), None, out);
    }

    /// More of a tool call's arguments.
    pub fn arguments(&self, index: u64, text: &str, out: &mut Vec<u8>) {
        let function = Json::object([("arguments", text.into())]);
        let call = Json::object([("index", index.into()), ("function", function)]);
        self.delta(Json::object([("tool_calls", vec![call].into())]), None, out);
    }

    /// The answer is over, for this reason.
    pub fn finish(&self, reason: &str, out: &mut Vec<u8>) {
        self.delta(Json::Object(Vec::new()), Some(reason), out);
    }

    /// The stream is over. Its figures go to those who asked for them.
    pub fn end(&self, usage: Json, out: &mut Vec<u8>) {
        if self.figures_wanted {
            let mut chunk = self.chunk(Vec::new());
            chunk.set("usage", usage);
            unnamed(&chunk, out);
        }
        out.extend_from_slice(b"data: [DONE]\n\n");
    }
}
