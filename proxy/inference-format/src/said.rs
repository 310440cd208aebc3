//! What a whole answer says, whichever API it is in: for checks that decide whether a small model's answer will do.

use openshell_api::inference::Check;

use crate::document::{Document, Json};
use crate::endpoint::Endpoint;
use crate::events::{Endless, Event, Lines};

/// An answer, put together.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Said {
    /// Its text.
    pub text: String,
    /// It said so itself, or was stopped by a filter.
    pub refused: bool,
    /// It ended at its limit.
    pub cut: bool,
    /// Arguments of the tools that it calls.
    pub calls: Vec<String>,
    /// Sum of the log probabilities of its tokens, and how many told theirs.
    pub logprobs: (f64, u32),
    /// It came to its end.
    pub complete: bool,
}

/// Openings of refusals, lowercase; a refusal is short and begins with one.
const REFUSALS: &[&str] = &[
    "i can't help",
    "i can't assist",
    "i can't provide",
    "i can't do",
    "i cannot",
    "i can not",
    "i am unable",
    "i'm unable",
    "i'm not able",
    "i am not able",
    "i won't",
    "i'm sorry, but",
    "i'm sorry, i can",
    "i am sorry, but",
    "sorry, but i can",
    "sorry, i can",
    "as an ai",
    "as a language model",
    "i don't have the ability",
];
/// Longest text that may be a refusal, in bytes: a longer one says more than no.
const LONGEST_REFUSAL: usize = 1200;

/// An event of a stream says nothing that is known.
struct Unclear;

impl From<Endless> for Unclear {
    fn from(_: Endless) -> Self {
        Self
    }
}

impl Said {
    /// What an answer in `endpoint`'s API says, a whole document or a stream of `events`; `None`: it can't be read.
    pub fn read(endpoint: Endpoint, answer: &[u8], events: bool) -> Option<Self> {
        let mut said = Self::default();
        if !events {
            said.complete = true;
            said.whole(endpoint, &Json::parse(answer)?)?;
            return Some(said);
        }
        let mut lines = Lines::default();
        let mut each = |event: Event<'_>| match event.data {
            Some(data) => said.data(endpoint, data).ok_or(Unclear),
            None => Ok(()),
        };
        lines.feed(answer, &mut each).and_then(|()| lines.finish(&mut each)).ok()?;
        Some(said)
    }

    fn data(&mut self, endpoint: Endpoint, data: &[u8]) -> Option<()> {
        if data.trim_ascii() == b"[DONE]" {
            return Some(());
        }
        let event = Json::parse(data)?;
        match event.get("error").is_some_and(|e| !e.is_null()) {
            true => None,
            false => self.event(endpoint, &event),
        }
    }

    fn whole(&mut self, endpoint: Endpoint, answer: &Json) -> Option<()> {
        match endpoint {
            Endpoint::Chat | Endpoint::Completions => {
                let choice = answer.get("choices")?.items().first()?;
                self.text.push_str(text(choice.get("text")).unwrap_or(""));
                if let Some(message) = choice.get("message") {
                    self.text.push_str(text(message.get("content")).unwrap_or(""));
                    self.refused |= text(message.get("refusal")).is_some_and(|r| !r.is_empty());
                    for call in message.get("tool_calls").map_or(&[][..], Json::items) {
                        self.calls.push(text(call.get("function")?.get("arguments"))?.to_owned());
                    }
                }
                self.probabilities(choice);
                self.finish(text(choice.get("finish_reason")).unwrap_or("stop"));
            }
            Endpoint::Messages => {
                for block in answer.get("content")?.items() {
                    match text(block.get("type"))? {
                        "text" => self.text.push_str(text(block.get("text"))?),
                        "tool_use" => self.calls.push(block.get("input")?.to_string()),
                        _ => {}
                    }
                }
                self.finish(text(answer.get("stop_reason")).unwrap_or("end_turn"));
            }
            Endpoint::Responses => {
                for item in answer.get("output")?.items() {
                    if text(item.get("type")) == Some("function_call") {
                        self.calls.push(text(item.get("arguments"))?.to_owned());
                    }
                    for part in item.get("content").map_or(&[][..], Json::items) {
                        match text(part.get("type")) {
                            Some("output_text") => self.text.push_str(text(part.get("text"))?),
                            Some("refusal") => self.refused = true,
                            _ => {}
                        }
                    }
                }
                let why = answer.get("incomplete_details").and_then(|d| text(d.get("reason")));
                self.finish(why.unwrap_or("stop"));
            }
            _ => return None,
        }
        Some(())
    }

    fn event(&mut self, endpoint: Endpoint, event: &Json) -> Option<()> {
        match endpoint {
            Endpoint::Chat | Endpoint::Completions => {
                let Some(choice) = event.get("choices").and_then(|choices| choices.items().first()) else {
                    return Some(());
                };
                self.text.push_str(text(choice.get("text")).unwrap_or(""));
                if let Some(delta) = choice.get("delta") {
                    self.text.push_str(text(delta.get("content")).unwrap_or(""));
                    self.refused |= text(delta.get("refusal")).is_some_and(|r| !r.is_empty());
                    for call in delta.get("tool_calls").map_or(&[][..], Json::items) {
                        if call.get("id").is_some_and(|id| !id.is_null()) {
                            self.calls.push(String::new());
                        }
                        let more = call.get("function").and_then(|f| text(f.get("arguments"))).unwrap_or("");
                        self.calls.last_mut()?.push_str(more);
                    }
                }
                self.probabilities(choice);
                if let Some(reason) = text(choice.get("finish_reason")) {
                    self.complete = true;
                    self.finish(reason);
                }
            }
            Endpoint::Messages => match text(event.get("type"))? {
                "content_block_start"
                    if event.get("content_block").and_then(|b| text(b.get("type"))) == Some("tool_use") =>
                {
                    self.calls.push(String::new());
                }
                "content_block_delta" => {
                    let delta = event.get("delta")?;
                    self.text.push_str(text(delta.get("text")).unwrap_or(""));
                    if let Some(more) = text(delta.get("partial_json")) {
                        self.calls.last_mut()?.push_str(more);
                    }
                }
                "message_delta" => {
                    if let Some(reason) = text(event.get("delta")?.get("stop_reason")) {
                        self.finish(reason);
                    }
                }
                "message_stop" => self.complete = true,
                "error" => return None,
                _ => {}
            },
            Endpoint::Responses => match text(event.get("type"))? {
                "response.completed" | "response.incomplete" => {
                    self.complete = true;
                    return self.whole(endpoint, event.get("response")?);
                }
                "response.failed" | "error" => return None,
                _ => {}
            },
            _ => return None,
        }
        Some(())
    }

    fn probabilities(&mut self, choice: &Json) {
        for token in choice.get("logprobs").and_then(|l| l.get("content")).map_or(&[][..], Json::items) {
            if let Some(logprob) = token.get("logprob").and_then(Json::float) {
                self.logprobs = (self.logprobs.0 + logprob, self.logprobs.1 + 1);
            }
        }
    }

    fn finish(&mut self, reason: &str) {
        self.cut |= matches!(reason, "length" | "max_tokens" | "max_output_tokens" | "model_context_window_exceeded");
        self.refused |= matches!(reason, "content_filter" | "refusal");
    }

    /// Whether it passes a check that was made of the answer to `asked`.
    pub fn passes(&self, check: Check, asked: &Document) -> bool {
        match check {
            Check::Refusal => {
                let opening = self.text.trim_start().replace('\u{2019}', "'").to_lowercase();
                let says_no = self.calls.is_empty()
                    && self.text.len() <= LONGEST_REFUSAL
                    && REFUSALS.iter().any(|refusal| opening.starts_with(refusal));
                !self.refused && !says_no
            }
            Check::Json => {
                let object = |text: &String| matches!(Json::parse(text.as_bytes()), Some(Json::Object(_)));
                let arguments = self.calls.iter().all(|call| call.trim().is_empty() || object(call));
                arguments
                    && (!wants_json(asked) || !self.calls.is_empty() || Json::parse(self.text.as_bytes()).is_some())
            }
            Check::Cut => !self.cut,
            Check::Short(characters) => {
                !self.calls.is_empty() || self.text.trim().chars().count() >= characters as usize
            }
            Check::Logprob(least) => {
                let (sum, tokens) = self.logprobs;
                // Who calls a tool may tell of no text's tokens.
                tokens > 0 && sum / f64::from(tokens) * 1000.0 >= f64::from(least)
                    || tokens == 0 && self.text.is_empty() && !self.calls.is_empty()
            }
        }
    }
}

fn text(value: Option<&Json>) -> Option<&str> {
    value.and_then(Json::text)
}

/// Whether a request asks for JSON.
pub fn wants_json(asked: &Document) -> bool {
    let format = asked
        .get("response_format")
        .or_else(|| asked.get("text").and_then(|t| t.get("format")))
        .or_else(|| asked.get("output_config").and_then(|c| c.get("format")));
    text(format.and_then(|f| f.get("type"))).is_some_and(|kind| kind.starts_with("json"))
}

/// A Chat Completions answer, whole or as a stream of `events`, without the log probabilities that its caller did not ask for.
pub fn without_logprobs(answer: &[u8], events: bool) -> Option<Vec<u8>> {
    let strip = |json: &[u8]| {
        let mut json = Json::parse(json)?;
        if let Json::Object(entries) = &mut json
            && let Some((_, Json::Array(choices))) = entries.iter_mut().find(|(key, _)| key == "choices")
        {
            for choice in choices {
                let Json::Object(fields) = choice else { continue };
                fields.iter_mut().filter(|(key, _)| key == "logprobs").for_each(|(_, value)| *value = Json::NULL);
            }
        }
        Some(json.to_string())
    };
    if !events {
        return strip(answer).map(String::into_bytes);
    }
    let mut out = Vec::with_capacity(answer.len());
    for line in answer.split_inclusive(|&b| b == b'\n') {
        match line.strip_prefix(b"data:") {
            Some(data) if data.trim_ascii() != b"[DONE]" => {
                out.extend_from_slice(format!("data: {}\n", strip(data)?).as_bytes());
            }
            _ => out.extend_from_slice(line),
        }
    }
    Some(out)
}
