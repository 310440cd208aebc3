//! Puts values back into a stream of events, whose texts arrive in pieces: the beginning of a placeholder is held back until it is
//! one, or can't be.

use std::collections::BTreeMap;

use super::Placeholders;
use super::restore::{Step, reach};
use crate::document::Json;
use crate::endpoint::Endpoint;
use crate::events::{Endless, Event, Lines};

/// An event that can't be read, so nothing can be put back into it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an event that can't be read, so what was replaced can't be put back")]
pub struct Unreadable;

impl From<Endless> for Unreadable {
    fn from(_: Endless) -> Self {
        Self
    }
}

/// Whose text it is: choice, block or item; field; tool call or part.
type Channel = (u64, String, u64);

/// A text that arrives in pieces.
struct Piece {
    channel: Channel,
    path: Vec<Step>,
    within_json: bool,
    /// Nothing more follows on it.
    last: bool,
}

/// What was held back of a text, and an event that can carry it.
struct Held {
    text: String,
    within_json: bool,
    event: Json,
    path: Vec<Step>,
}

/// Restores one stream that answers `endpoint`.
pub struct Restoring {
    placeholders: Placeholders,
    endpoint: Endpoint,
    /// Its text was asked to be JSON.
    json: bool,
    lines: Lines,
    held: BTreeMap<Channel, Held>,
    /// Events added so far, where events are numbered.
    added: u64,
}

impl Restoring {
    /// A restorer; `json`: the answer's text was asked to be JSON.
    pub fn new(placeholders: Placeholders, endpoint: Endpoint, json: bool) -> Self {
        Self { placeholders, endpoint, json, lines: Lines::default(), held: BTreeMap::new(), added: 0 }
    }

    /// Takes the next bytes of the stream and answers what the caller gets of them. Refuses what it can't read.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<Vec<u8>, Unreadable> {
        let mut out = Vec::new();
        let mut lines = std::mem::take(&mut self.lines);
        let fed = lines.feed(bytes, &mut |event| self.event(event, &mut out));
        self.lines = lines;
        fed.map(|()| out)
    }

    /// The stream ended: what the caller still gets.
    pub fn finish(&mut self) -> Result<Vec<u8>, Unreadable> {
        let mut out = Vec::new();
        std::mem::take(&mut self.lines).finish(&mut |event| self.event(event, &mut out))?;
        self.flush(|_| true, &mut out);
        Ok(out)
    }

    fn event(&mut self, Event { data, others }: Event<'_>, out: &mut Vec<u8>) -> Result<(), Unreadable> {
        let Some(data) = data else {
            out.extend_from_slice(others);
            out.push(b'\n');
            return Ok(());
        };
        if data.trim_ascii() == b"[DONE]" {
            self.flush(|_| true, out);
            out.extend_from_slice(others);
            out.extend_from_slice(b"data: [DONE]\n\n");
            return Ok(());
        }
        let mut event = Json::parse(data).ok_or(Unreadable)?;
        let pieces = pieces(&event, self.endpoint, self.json);
        let own: Vec<Channel> = pieces.iter().map(|piece| piece.channel.clone()).collect();
        match ended(&event, self.endpoint) {
            Ended::Nothing => {}
            Ended::All => self.flush(|channel| !own.contains(channel), out),
            Ended::Of(these) => self.flush(|channel| these.contains(&channel.0) && !own.contains(channel), out),
        }
        let except: Vec<&[Step]> = pieces.iter().map(|piece| piece.path.as_slice()).collect();
        self.placeholders.restore_all(&mut event, "", self.json, &mut Vec::new(), &except);
        for piece in pieces {
            self.piece(&mut event, piece);
        }
        if let Some(Json::Number(number)) = reach(&mut event, &[Step::Key("sequence_number".to_owned())]) {
            *number = number.as_u64().unwrap_or(0).saturating_add(self.added).into();
        }
        out.extend_from_slice(others);
        out.extend_from_slice(format!("data: {event}\n\n").as_bytes());
        Ok(())
    }

    /// Lets through what of a piece is certain, together with what was held back before it.
    fn piece(&mut self, event: &mut Json, piece: Piece) {
        let Piece { channel, path, within_json, last } = piece;
        let Some(Json::Text(text)) = reach(event, &path) else { return };
        let mut whole = self.held.remove(&channel).map_or_else(String::new, |held| held.text);
        whole.push_str(text);
        let kept = if last { 0 } else { self.placeholders.pending(&whole) };
        let rest = whole.split_off(whole.len() - kept);
        *text = self.placeholders.restore(&whole, within_json).into_owned();
        if !rest.is_empty() {
            let event = carrier(event, &channel, self.endpoint);
            self.held.insert(channel, Held { text: rest, within_json, event, path });
        }
    }

    /// Sends what was held back on these channels, each in an event of its own.
    fn flush(&mut self, of: impl Fn(&Channel) -> bool, out: &mut Vec<u8>) {
        let due: Vec<Channel> = self.held.keys().filter(|channel| of(channel)).cloned().collect();
        for channel in due {
            let Some(Held { text, within_json, mut event, path }) = self.held.remove(&channel) else { continue };
            let path = carried(&path, &channel, self.endpoint);
            if let Some(place) = reach(&mut event, &path) {
                *place = self.placeholders.restore(&text, within_json).into_owned().into();
            }
            if let Some(Json::Number(number)) = reach(&mut event, &[Step::Key("sequence_number".to_owned())]) {
                self.added += 1;
                *number = number.as_u64().unwrap_or(0).saturating_add(self.added).into();
            }
            if let Some(kind) = event.get("type").and_then(Json::text) {
                out.extend_from_slice(format!("event: {kind}\n").as_bytes());
            }
            out.extend_from_slice(format!("data: {event}\n\n").as_bytes());
        }
    }
}

fn key(name: &str) -> Step {
    Step::Key(name.to_owned())
}

/// The texts of an event that arrive in pieces.
fn pieces(event: &Json, endpoint: Endpoint, json: bool) -> Vec<Piece> {
    let number = |value: &Json, name: &str| value.get(name).and_then(Json::number).unwrap_or(0);
    let mut found = Vec::new();
    match endpoint {
        Endpoint::Chat | Endpoint::Completions => {
            for (at, choice) in event.get("choices").map_or(&[][..], Json::items).iter().enumerate() {
                let index = choice.get("index").and_then(Json::number).unwrap_or(at as u64);
                let last = choice.get("finish_reason").is_some_and(|reason| !reason.is_null());
                let base = [key("choices"), Step::Item(at)];
                let mut add = |field: &str, rest: &[Step], call: u64, within_json: bool| {
                    let path = [&base[..], rest].concat();
                    found.push(Piece { channel: (index, field.to_owned(), call), path, within_json, last });
                };
                if choice.get("text").and_then(Json::text).is_some() {
                    add("text", &[key("text")], 0, json);
                }
                let Some(delta) = choice.get("delta") else { continue };
                for field in ["content", "reasoning_content", "reasoning", "refusal"] {
                    if delta.get(field).and_then(Json::text).is_some() {
                        add(field, &[key("delta"), key(field)], 0, json && field == "content");
                    }
                }
                for (at, call) in delta.get("tool_calls").map_or(&[][..], Json::items).iter().enumerate() {
                    let arguments = call.get("function").and_then(|f| f.get("arguments")).and_then(Json::text);
                    if arguments.is_some() {
                        let rest = [key("delta"), key("tool_calls"), Step::Item(at), key("function"), key("arguments")];
                        let call = call.get("index").and_then(Json::number).unwrap_or(at as u64);
                        add("arguments", &rest, call, true);
                    }
                }
            }
        }
        Endpoint::Messages if event.get("type").and_then(Json::text) == Some("content_block_delta") => {
            for field in ["text", "thinking", "partial_json"] {
                if event.get("delta").and_then(|d| d.get(field)).and_then(Json::text).is_some() {
                    let within_json = field == "partial_json" || json && field == "text";
                    let channel = (number(event, "index"), field.to_owned(), 0);
                    found.push(Piece { channel, path: vec![key("delta"), key(field)], within_json, last: false });
                }
            }
        }
        Endpoint::Responses => {
            let kind = event.get("type").and_then(Json::text).unwrap_or_default();
            if kind.ends_with(".delta") && event.get("delta").and_then(Json::text).is_some() {
                let part = number(event, "content_index") + number(event, "summary_index");
                let within_json = kind.contains("arguments") || json && kind.contains("output_text");
                let channel = (number(event, "output_index"), kind.to_owned(), part);
                found.push(Piece { channel, path: vec![key("delta")], within_json, last: false });
            }
        }
        _ => {}
    }
    found
}

/// Whose texts are over once an event has come.
enum Ended {
    Nothing,
    Of(Vec<u64>),
    All,
}

fn ended(event: &Json, endpoint: Endpoint) -> Ended {
    let kind = event.get("type").and_then(Json::text).unwrap_or_default();
    match endpoint {
        Endpoint::Messages => match kind {
            "content_block_stop" => Ended::Of(event.get("index").and_then(Json::number).into_iter().collect()),
            "message_delta" | "message_stop" | "error" => Ended::All,
            _ => Ended::Nothing,
        },
        Endpoint::Responses => match event.get("output_index").and_then(Json::number) {
            Some(_) if kind.ends_with(".delta") => Ended::Nothing,
            Some(index) => Ended::Of(vec![index]),
            None if matches!(kind, "response.created" | "response.in_progress" | "response.queued") => Ended::Nothing,
            None => Ended::All,
        },
        _ => {
            let choices = event.get("choices").map_or(&[][..], Json::items);
            let is_over = |choice: &Json| choice.get("finish_reason").is_some_and(|reason| !reason.is_null());
            match choices.is_empty() {
                true => Ended::All,
                false => Ended::Of(
                    choices
                        .iter()
                        .enumerate()
                        .filter(|(_, choice)| is_over(choice))
                        .map(|(at, choice)| choice.get("index").and_then(Json::number).unwrap_or(at as u64))
                        .collect(),
                ),
            }
        }
    }
}

/// An event that carries one text of `event` and nothing else of what it says.
fn carrier(event: &Json, channel: &Channel, endpoint: Endpoint) -> Json {
    if !matches!(endpoint, Endpoint::Chat | Endpoint::Completions) {
        return event.clone();
    }
    let Json::Object(entries) = event else { return event.clone() };
    let (index, field, call) = channel;
    let mut choice = Json::object([("index", (*index).into())]);
    match field.as_str() {
        "text" => choice.set("text", ""),
        "arguments" => {
            let function = Json::object([("arguments", "".into())]);
            let call = Json::object([("index", (*call).into()), ("function", function)]);
            choice.set("delta", Json::object([("tool_calls", vec![call].into())]));
        }
        field => choice.set("delta", Json::object([(field, "".into())])),
    }
    choice.set("logprobs", Json::NULL);
    choice.set("finish_reason", Json::NULL);
    let kept = entries.iter().filter(|(name, _)| name != "choices" && name != "usage").cloned();
    let mut made = Json::Object(kept.collect());
    made.set("choices", vec![choice]);
    made
}

/// Where the text stands in what [`carrier`] made.
fn carried(path: &[Step], channel: &Channel, endpoint: Endpoint) -> Vec<Step> {
    if !matches!(endpoint, Endpoint::Chat | Endpoint::Completions) {
        return path.to_vec();
    }
    let mut made = vec![key("choices"), Step::Item(0)];
    match channel.1.as_str() {
        "text" => made.push(key("text")),
        "arguments" => {
            made.extend([key("delta"), key("tool_calls"), Step::Item(0), key("function"), key("arguments")]);
        }
        field => made.extend([key("delta"), key(field)]),
    }
    made
}
