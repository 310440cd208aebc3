//! Chunks of a chat completion as the events of a response.

use super::answer::{replace, status};
use super::{function_call, id, message, output_text, reasoning, refusal, response, usage};
use crate::document::{Document, Json};
use crate::translate::chunks::{Chunks, Part};
use crate::translate::events::{Translate, named};
use crate::translate::{Untranslatable, errors};

/// What the item that is open is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Open {
    Nothing,
    Text,
    Refusal,
    Thought,
    Call,
}

/// Translates one stream.
pub struct ToResponses {
    asked: Document,
    now: u64,
    id: String,
    name: String,
    model: String,
    begun: bool,
    open: Open,
    /// Of the open item.
    text: String,
    call: (String, String),
    output: Vec<Json>,
    chunks: Chunks,
    sequence: u64,
    ended: Option<(&'static str, Option<&'static str>)>,
    usage: Option<Json>,
    over: bool,
}

impl ToResponses {
    /// For an answer to this request. `now`: seconds since the Unix epoch.
    pub fn new(asked: &Document, now: u64) -> Self {
        Self {
            asked: asked.clone(),
            now,
            id: id("stream"),
            name: "stream".to_owned(),
            model: asked.model().to_owned(),
            begun: false,
            open: Open::Nothing,
            text: String::new(),
            call: (String::new(), String::new()),
            output: Vec::new(),
            chunks: Chunks::default(),
            sequence: 0,
            ended: None,
            usage: None,
            over: false,
        }
    }

    fn emit(&mut self, kind: &str, rest: Vec<(&str, Json)>, out: &mut Vec<u8>) {
        let mut event = Json::object([("type", kind.into()), ("sequence_number", self.sequence.into())]);
        self.sequence += 1;
        for (key, value) in rest {
            event.set(key, value);
        }
        named(&event, out);
    }

    fn whole(&self, status: &str) -> Json {
        response(&self.asked, &self.id, &self.model, self.now, status, self.output.clone())
    }

    fn begin(&mut self, chunk: &Json, out: &mut Vec<u8>) {
        if std::mem::replace(&mut self.begun, true) {
            return;
        }
        let text = |key| chunk.get(key).and_then(Json::text).filter(|t| !t.is_empty());
        if let Some(name) = text("id") {
            (self.id, self.name) = (id(name), name.to_owned());
        }
        if let Some(model) = text("model") {
            model.clone_into(&mut self.model);
        }
        for kind in ["response.created", "response.in_progress"] {
            let response = self.whole("in_progress");
            self.emit(kind, vec![("response", response)], out);
        }
    }

    fn item_id(&self) -> String {
        match self.open {
            Open::Thought => format!("rs_{}", self.name),
            Open::Call => format!("fc_{}", self.call.0),
            _ => format!("msg_{}_{}", self.name, self.output.len()),
        }
    }

    /// The open item as it is so far.
    fn item(&self, status: &str) -> Json {
        let id = self.item_id();
        match self.open {
            Open::Thought => reasoning(&id, &self.text),
            Open::Call => function_call(&id, status, &self.call.0, &self.call.1, &self.text),
            _ if status == "in_progress" => message(&id, status, Vec::new()),
            Open::Refusal => message(&id, status, vec![refusal(&self.text)]),
            _ => message(&id, status, vec![output_text(&self.text)]),
        }
    }

    fn part(&self) -> Json {
        match self.open {
            Open::Refusal => refusal(&self.text),
            Open::Thought => Json::object([("type", "reasoning_text".into()), ("text", self.text.as_str().into())]),
            _ => output_text(&self.text),
        }
    }

    /// Fields of an event about the open item; `content`: about its part.
    fn place(&self, content: bool) -> Vec<(&'static str, Json)> {
        let mut place = vec![("item_id", self.item_id().into()), ("output_index", (self.output.len() as u64).into())];
        if content {
            place.push(("content_index", 0.into()));
        }
        place
    }

    fn open(&mut self, open: Open, out: &mut Vec<u8>) {
        if self.open == open {
            return;
        }
        self.close(out);
        self.open = open;
        let added = vec![("output_index", (self.output.len() as u64).into()), ("item", self.item("in_progress"))];
        self.emit("response.output_item.added", added, out);
        if open != Open::Call {
            let mut added = self.place(true);
            added.push(("part", self.part()));
            self.emit("response.content_part.added", added, out);
        }
    }

    fn family(&self) -> &'static str {
        match self.open {
            Open::Refusal => "refusal",
            Open::Thought => "reasoning_text",
            Open::Call => "function_call_arguments",
            _ => "output_text",
        }
    }

    fn say(&mut self, text: &str, out: &mut Vec<u8>) {
        self.text.push_str(text);
        let mut delta = self.place(self.open != Open::Call);
        delta.push(("delta", text.into()));
        if self.open == Open::Text {
            delta.push(("logprobs", Json::Array(Vec::new())));
        }
        let kind = format!("response.{}.delta", self.family());
        self.emit(&kind, delta, out);
    }

    fn close(&mut self, out: &mut Vec<u8>) {
        if self.open == Open::Nothing {
            return;
        }
        let whole = match self.open {
            Open::Call => "arguments",
            Open::Refusal => "refusal",
            _ => "text",
        };
        let is_call = self.open == Open::Call;
        let mut done = self.place(!is_call);
        done.push((whole, self.text.as_str().into()));
        let kind = format!("response.{}.done", self.family());
        self.emit(&kind, done, out);
        if !is_call {
            let mut done = self.place(true);
            done.push(("part", self.part()));
            self.emit("response.content_part.done", done, out);
        }
        let item = self.item("completed");
        let done = vec![("output_index", (self.output.len() as u64).into()), ("item", item.clone())];
        self.emit("response.output_item.done", done, out);
        self.output.push(item);
        self.open = Open::Nothing;
        self.text.clear();
    }

    fn take(&mut self, part: Part<'_>, out: &mut Vec<u8>) -> Result<(), Untranslatable> {
        let (open, text) = match part {
            Part::Thought(text) => (Open::Thought, text),
            Part::Refusal(text) => (Open::Refusal, text),
            Part::Text(text) => (Open::Text, text),
            Part::Arguments(text) => (Open::Call, text),
            Part::Call { id, name } => {
                self.close(out);
                self.call = (id.to_owned(), name.to_owned());
                self.open(Open::Call, out);
                return Ok(());
            }
            Part::Finish(reason) => {
                self.ended = Some(status(reason)?);
                self.close(out);
                return Ok(());
            }
        };
        self.open(open, out);
        self.say(text, out);
        Ok(())
    }

    fn end(&mut self, out: &mut Vec<u8>) -> Result<(), Untranslatable> {
        if std::mem::replace(&mut self.over, true) {
            return Ok(());
        }
        let Some((status, cut)) = self.ended else {
            return Err(Untranslatable::new("a stream that ended before it was complete"));
        };
        let mut response = self.whole(status);
        if let Some(cut) = cut {
            replace(&mut response, "incomplete_details", Json::object([("reason", cut.into())]));
        }
        response.set("usage", usage(self.usage.as_ref()));
        self.emit(&format!("response.{status}"), vec![("response", response)], out);
        Ok(())
    }
}

impl Translate for ToResponses {
    fn event(&mut self, data: &[u8], out: &mut Vec<u8>) -> Result<(), Untranslatable> {
        if data.trim_ascii() == b"[DONE]" {
            return self.end(out);
        }
        let chunk = Json::parse(data).ok_or_else(|| Untranslatable::new("an event that is not JSON"))?;
        if chunk.get("error").is_some_and(|e| !e.is_null()) {
            self.over = true;
            let message = errors::message(data).unwrap_or_else(|| "the backend broke off".to_owned());
            let error = vec![("code", "server_error".into()), ("message", message.into()), ("param", Json::NULL)];
            self.emit("error", error, out);
            return Ok(());
        }
        self.begin(&chunk, out);
        if let Some(usage) = chunk.get("usage").filter(|u| !u.is_null()) {
            self.usage = Some(usage.clone());
        }
        self.chunks.read(&chunk)?.into_iter().try_for_each(|part| self.take(part, out))
    }

    fn finish(&mut self, out: &mut Vec<u8>) -> Result<(), Untranslatable> {
        self.end(out)
    }
}
