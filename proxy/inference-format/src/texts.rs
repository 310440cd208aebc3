//! Every text of a request, laid out for the router: nothing that a backend could read is left out.

use std::fmt::Write as _;

use openshell_policy_host::Message;

use crate::document::{Document, Json};
use crate::endpoint::Endpoint;

/// Longest text the router reads, in bytes. A longer request counts as restricted, unread.
pub const READ_CAP: usize = 512 * 1024;
/// Output expected of a request that sets no limit, in tokens.
const DEFAULT_OUTPUT: u32 = 1024;
/// Tokens that surround a turn.
const PER_TURN: usize = 3;
/// Bytes of a picture, in base64, for each token that it costs.
const BYTES_PER_IMAGE_TOKEN: usize = 1024;

/// Where a string of the document went: all of it, in one piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    /// Index of the message that it is in.
    pub message: u32,
    /// First byte there.
    pub start: u32,
    /// The string.
    pub leaf: Leaf,
}

/// A string of a document: its address, for as long as the document is not moved or changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Leaf(usize);

impl Leaf {
    /// Of this string.
    pub fn of(text: &str) -> Self {
        Self(text.as_ptr() as usize)
    }
}

/// What the router is told about a request's content.
#[derive(Debug, Default)]
pub struct Texts {
    /// Every text, in order.
    pub messages: Vec<Message>,
    /// Where in the request each of them stands.
    pub places: Vec<Place>,
    /// Where the document's strings went, in order.
    pub pieces: Vec<Piece>,
    /// Features it needs.
    pub needs: Vec<String>,
    /// Input tokens, counted with a real tokenizer; pictures are guessed.
    pub input_tokens: u32,
    /// Most output tokens.
    pub output_tokens: u32,
    /// Together they are longer than [`READ_CAP`]: `messages` is empty.
    pub oversized: bool,
    /// Part of it is numbers of tokens, which are text that nobody here can read.
    pub encoded: bool,
}

/// A part of a request: one of its outermost keys, and which element below it, if that is a list of turns.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Place {
    key: u32,
    item: Option<u32>,
}

impl Place {
    /// Which turn it is in, if that is what its outermost key holds.
    pub fn turn(self) -> Option<u32> {
        self.item
    }

    /// Its outermost key.
    pub fn key(self, document: &Document) -> &str {
        document.entries().get(self.key as usize).map_or("", |(key, _)| key.as_str())
    }

    /// As a path into the request: `messages[2]`, `system`.
    pub fn path(self, document: &Document) -> String {
        let key = self.key(document);
        self.item.map_or_else(|| key.to_owned(), |item| format!("{key}[{item}]"))
    }
}

/// Lays out a request.
pub fn of(document: &Document, endpoint: Endpoint) -> Texts {
    let mut layout = Layout::default();
    for (index, (key, value)) in document.entries().iter().enumerate() {
        layout.at = Place { key: index as u32, item: None };
        match (key.as_str(), value) {
            ("model", Json::Text(model)) => layout.push("model", model),
            ("input" | "prompt", value) if token_ids(value) > 0 => layout.token_ids += token_ids(value),
            ("messages" | "input", Json::Array(turns)) => {
                for (item, turn) in turns.iter().enumerate() {
                    layout.at.item = Some(item as u32);
                    layout.turns += 1;
                    layout.message(turn, "user");
                }
            }
            ("input" | "prompt", value) => layout.content("user", value),
            ("system" | "instructions", value) => layout.content("system", value),
            (key, value) => layout.rendered("parameters", key, value),
        }
    }
    let output =
        ["max_completion_tokens", "max_tokens", "max_output_tokens"].iter().find_map(|k| document.get(k)?.number());
    let total: usize = layout.messages.iter().map(|m| m.text.len() + 16).sum();
    let oversized = total > READ_CAP;
    let counted = crate::tokens::count(layout.messages.iter().map(|m| m.text.as_str()));
    let around = PER_TURN * layout.turns + layout.image_bytes / BYTES_PER_IMAGE_TOKEN + layout.token_ids;
    let input = counted + around as u64;
    Texts {
        needs: needs(document, endpoint, layout.vision, layout.tools),
        input_tokens: u32::try_from(input).unwrap_or(u32::MAX),
        output_tokens: match endpoint {
            Endpoint::Embeddings | Endpoint::CountTokens => 0,
            _ => output.map_or(DEFAULT_OUTPUT, |n| u32::try_from(n).unwrap_or(u32::MAX)),
        },
        messages: if oversized { Vec::new() } else { layout.messages },
        places: if oversized { Vec::new() } else { layout.places },
        pieces: if oversized { Vec::new() } else { layout.pieces },
        oversized,
        encoded: layout.token_ids > 0,
    }
}

/// How many numbers of tokens stand in a value that consists of nothing else: `[1, 2]`, `[[1, 2], [3]]`.
fn token_ids(value: &Json) -> usize {
    let ids = |list: &Json| match list.items() {
        items if items.iter().all(|item| matches!(item, Json::Number(_))) => items.len(),
        _ => 0,
    };
    let lists = value.items();
    match ids(value) {
        0 if !lists.is_empty() && lists.iter().all(|list| ids(list) > 0) => lists.iter().map(ids).sum(),
        n => n,
    }
}

fn needs(document: &Document, endpoint: Endpoint, vision: bool, tool_turns: bool) -> Vec<String> {
    let tools =
        tool_turns || ["tools", "functions"].iter().any(|k| document.get(k).is_some_and(|t| !t.items().is_empty()));
    let json = crate::said::wants_json(document);
    let named =
        [("tools", tools), ("vision", vision), ("json", json), ("embeddings", endpoint == Endpoint::Embeddings)];
    named.into_iter().filter(|(_, needed)| *needed).map(|(name, _)| name.to_owned()).collect()
}

#[derive(Default)]
struct Layout {
    messages: Vec<Message>,
    places: Vec<Place>,
    at: Place,
    vision: bool,
    tools: bool,
    image_bytes: usize,
    turns: usize,
    token_ids: usize,
    pieces: Vec<Piece>,
}

impl Layout {
    /// A string of the document, as a text of its own.
    fn push(&mut self, role: &str, text: &str) {
        self.piece(0, text);
        self.add(role, text);
    }

    fn add(&mut self, role: &str, text: &str) {
        if !text.is_empty() {
            self.messages.push(Message { role: role.to_owned(), text: text.to_owned() });
            self.places.push(self.at);
        }
    }

    /// A string of the document that the next text has at `start`.
    fn piece(&mut self, start: usize, text: &str) {
        if !text.is_empty() {
            let (message, start) = (self.messages.len() as u32, start as u32);
            self.pieces.push(Piece { message, start, leaf: Leaf::of(text) });
        }
    }

    /// One turn: its content in its role, and whatever else it holds.
    fn message(&mut self, message: &Json, default_role: &str) {
        let Json::Object(entries) = message else { return self.content(default_role, message) };
        let role = message.get("role").and_then(Json::text).unwrap_or(default_role);
        let kind = message.get("type").and_then(Json::text).unwrap_or_default();
        self.tools |= role == "tool" || kind.contains("function_call") || message.get("tool_calls").is_some();
        for (key, value) in entries {
            match key.as_str() {
                "content" | "text" | "output" => self.content(role, value),
                "role" => self.push("parameters", role),
                key => self.rendered(role, key, value),
            }
        }
    }

    /// Content: a string, or parts.
    fn content(&mut self, role: &str, content: &Json) {
        match content {
            Json::Text(text) => self.text(role, text),
            Json::Array(parts) => parts.iter().for_each(|part| self.part(role, part)),
            other => self.part(role, other),
        }
    }

    fn part(&mut self, role: &str, part: &Json) {
        let Json::Object(entries) = part else {
            return match part {
                Json::Array(parts) => parts.iter().for_each(|p| self.part(role, p)),
                other => self.rendered(role, "", other),
            };
        };
        let kind = part.get("type").and_then(Json::text).unwrap_or_default();
        self.tools |= kind.starts_with("tool_");
        self.vision |= kind.contains("image");
        for (key, value) in entries {
            match (key.as_str(), value) {
                ("type", Json::Text(kind)) if kind.len() <= 32 => {}
                ("text" | "content" | "thinking" | "refusal" | "title" | "context", value) => self.content(role, value),
                (key, value) => self.rendered(role, key, value),
            }
        }
    }

    fn text(&mut self, role: &str, text: &str) {
        match image(text) {
            true => {
                self.vision = true;
                self.image_bytes += text.len();
            }
            false => self.push(role, text),
        }
    }

    /// Anything else, as lines `key: value`, so that what a key says of its value stays with it.
    fn rendered(&mut self, role: &str, key: &str, value: &Json) {
        let mut out = String::new();
        self.render(key, value, &mut out);
        let text = out.trim_end();
        if text.is_empty() {
            // Nothing but blanks: the strings that it was made of are in no text.
            let next = self.messages.len() as u32;
            self.pieces.retain(|piece| piece.message < next);
        }
        self.add(role, text);
    }

    fn render(&mut self, key: &str, value: &Json, out: &mut String) {
        let mut line = |value: &dyn std::fmt::Display| {
            // Writing to a string can't fail.
            let _ = if key.is_empty() { writeln!(out, "{value}") } else { writeln!(out, "{key}: {value}") };
        };
        match value {
            Json::Plain(word) => line(word),
            Json::Number(number) => line(number),
            Json::Text(text) if image(text) => {
                self.vision = true;
                self.image_bytes += text.len();
            }
            Json::Text(text) => {
                line(text);
                self.piece(out.len() - 1 - text.len(), text);
            }
            Json::Array(items) => items.iter().for_each(|item| self.render(key, item, out)),
            Json::Object(entries) => {
                if !key.is_empty() {
                    out.push_str(key);
                    out.push('\n');
                }
                entries.iter().for_each(|(key, value)| self.render(key, value, out));
            }
        }
    }
}

/// Whether a string is a picture in base64, by the first bytes of PNG, JPEG, GIF and WebP: pictures are not read as text.
fn image(text: &str) -> bool {
    let data = match text.strip_prefix("data:image/") {
        Some(rest) => rest.split_once(";base64,").map_or(rest, |(_, data)| data),
        None => text,
    };
    data.len() > 64
        && ["iVBORw0KGgo", "/9j/", "R0lGODlh", "R0lGODdh", "UklGR"].iter().any(|magic| data.starts_with(magic))
        && data.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'=' | b'\n' | b'\r'))
}
