//! Between OpenAI's Chat Completions and Anthropic's Messages, both ways: requests, answers, errors and streams.
//!
//! Nothing is left out in silence: what the other API has no form for is [`Untranslatable`] and refused by its name. Hints that
//! change the price alone (`cache_control`, `prompt_cache_key`) and values that are the default are the only things not carried.

mod chat_answer;
mod chat_request;
mod chat_stream;
mod errors;
mod events;
mod fields;
mod messages_answer;
mod messages_request;
mod messages_stream;

use bytes::Bytes;
use openshell_api::inference::BackendKind;

use crate::document::{Document, Json};
use crate::endpoint::Endpoint;

/// Something that the other API has no form for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} has no form in the backend's API")]
pub struct Untranslatable {
    /// Its place, such as `messages[2].content[0].input_audio`; never its value.
    pub what: String,
}

impl Untranslatable {
    fn new(what: impl Into<String>) -> Self {
        Self { what: what.into() }
    }
}

/// How a request gets to a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Carry {
    /// Byte for byte: the backend speaks the caller's API.
    Unchanged,
    /// In the backend's own API.
    Translated(Translation),
}

/// From the caller's API to the backend's, and back with the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Translation {
    /// The caller speaks Chat Completions, the backend Messages.
    ChatToMessages,
    /// The caller speaks Messages, the backend Chat Completions.
    MessagesToChat,
}

impl Carry {
    /// How a request to `endpoint` gets to a backend of this kind; `None`: it can't.
    pub fn of(endpoint: Endpoint, kind: BackendKind) -> Option<Self> {
        match (endpoint, kind) {
            _ if endpoint.dialect().kind() == kind => Some(Self::Unchanged),
            (Endpoint::Chat, BackendKind::Anthropic) => Some(Self::Translated(Translation::ChatToMessages)),
            (Endpoint::Messages, BackendKind::Openai) => Some(Self::Translated(Translation::MessagesToChat)),
            _ => None,
        }
    }

    /// The backend's own operation.
    pub fn endpoint(self, asked: Endpoint) -> Endpoint {
        match self {
            Self::Unchanged => asked,
            Self::Translated(Translation::ChatToMessages) => Endpoint::Messages,
            Self::Translated(Translation::MessagesToChat) => Endpoint::Chat,
        }
    }
}

/// What a backend's dialect does not say by itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Target {
    /// It wants `max_completion_tokens`; everything older and compatible wants `max_tokens`.
    pub completion_limit: bool,
}

impl Target {
    /// What is known of the service at a base URL.
    pub fn at(base_url: &str) -> Self {
        let host = base_url.split_once("://").map_or(base_url, |(_, rest)| rest);
        let host = host.split(['/', ':']).next().unwrap_or_default().to_ascii_lowercase();
        Self { completion_limit: host == "api.openai.com" || host.ends_with(".openai.azure.com") }
    }
}

impl Translation {
    /// The request for the backend, asking for `model`.
    pub fn request(self, document: &Document, model: &str, target: Target) -> Result<Bytes, Untranslatable> {
        let translated = match self {
            Self::ChatToMessages => chat_request::to_messages(document, model)?,
            Self::MessagesToChat => messages_request::to_chat(document, model, target)?,
        };
        Ok(translated.to_string().into())
    }

    /// The whole answer of a backend, for the caller. `now`: seconds since the Unix epoch.
    pub fn answer(self, answer: &[u8], now: u64) -> Result<Bytes, Untranslatable> {
        let answer = Json::parse(answer).ok_or_else(|| Untranslatable::new("an answer that is not JSON"))?;
        let translated = match self {
            Self::ChatToMessages => messages_answer::to_chat(&answer, now)?,
            Self::MessagesToChat => chat_answer::to_message(&answer)?,
        };
        Ok(translated.to_string().into())
    }

    /// A backend's refusal, for the caller.
    pub fn error(self, status: u16, answer: &[u8]) -> Bytes {
        let message = errors::message(answer).unwrap_or_else(|| format!("the backend answered HTTP {status}"));
        match self {
            Self::ChatToMessages => errors::openai(status, &message),
            Self::MessagesToChat => errors::anthropic(status, &message),
        }
        .to_string()
        .into()
    }

    /// A translator for one stream of events that answers `document`. `now`: seconds since the Unix epoch.
    pub fn stream(self, document: &Document, now: u64) -> Stream {
        let by: Box<dyn events::Translate> = match self {
            Self::ChatToMessages => Box::new(messages_stream::ToChat::new(document, now)),
            Self::MessagesToChat => Box::new(chat_stream::ToMessages::new(document.model())),
        };
        Stream { lines: events::Lines::default(), by, over: false }
    }
}

/// A stream of events on its way into the caller's API, in whatever pieces it arrives.
pub struct Stream {
    lines: events::Lines,
    by: Box<dyn events::Translate>,
    over: bool,
}

impl Stream {
    /// Takes the next bytes of the backend's stream and answers what the caller gets of them. After an error the stream is over.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<Vec<u8>, Untranslatable> {
        let mut out = Vec::new();
        if self.over {
            return Ok(out);
        }
        let by = &mut self.by;
        let fed = self.lines.feed(bytes, &mut |data| by.event(data, &mut out));
        self.over = fed.is_err();
        fed.map(|()| out)
    }

    /// The backend's stream ended: what the caller still gets. Fails if it ended before it was complete.
    pub fn finish(&mut self) -> Result<Vec<u8>, Untranslatable> {
        let mut out = Vec::new();
        if !std::mem::replace(&mut self.over, true) {
            self.by.finish(&mut out)?;
        }
        Ok(out)
    }
}
