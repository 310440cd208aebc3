//! Between OpenAI's Chat Completions, its Responses, and Anthropic's Messages: requests, answers, errors and streams.
//!
//! Nothing is left out in silence: what the other API has no form for is [`Untranslatable`] and refused by its name. Hints that
//! change the price alone (`cache_control`, `prompt_cache_key`) and values that are the default are the only things not carried.
//! Each [`Translation`] is one step between two APIs, with Chat Completions in the middle; Responses and Messages meet in two.

mod chat;
mod chat_answer;
mod chat_request;
mod chat_stream;
mod chunks;
mod completion;
mod errors;
mod events;
mod fields;
mod messages_answer;
mod messages_request;
mod messages_stream;
mod responses;

use bytes::Bytes;
use openshell_api::inference::{Api, Backend};

use crate::document::{Document, Json};
use crate::endpoint::{Dialect, Endpoint};
use crate::events::{Endless, Lines};

/// Something that the other API has no form for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} has no form in the backend's API")]
pub struct Untranslatable {
    /// Its place, such as `messages[2].content[0].input_audio`; never its value.
    pub what: String,
}

impl From<Endless> for Untranslatable {
    fn from(_: Endless) -> Self {
        Self::new("an event without end")
    }
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
    /// In an API of the backend's, by these steps.
    Translated(&'static [Translation]),
}

/// From the caller's API to the backend's, and back with the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Translation {
    /// The caller speaks Chat Completions, the backend Messages.
    ChatToMessages,
    /// The caller speaks Messages, the backend Chat Completions.
    MessagesToChat,
    /// The caller speaks Responses, the backend Chat Completions.
    ResponsesToChat,
    /// The caller speaks Chat Completions, the backend Responses.
    ChatToResponses,
}

impl Carry {
    /// How a request to `endpoint` gets to a backend, with as few steps as can be; `None`: it can't.
    pub fn of(endpoint: Endpoint, backend: &Backend) -> Option<Self> {
        use Translation::{ChatToMessages, ChatToResponses, MessagesToChat, ResponsesToChat};
        let asked = endpoint.api()?;
        if backend.speaks(asked) {
            return Some(Self::Unchanged);
        }
        let ways: &[(Api, Api, &[Translation])] = &[
            (Api::Chat, Api::Messages, &[ChatToMessages]),
            (Api::Chat, Api::Responses, &[ChatToResponses]),
            (Api::Messages, Api::Chat, &[MessagesToChat]),
            (Api::Responses, Api::Chat, &[ResponsesToChat]),
            (Api::Messages, Api::Responses, &[MessagesToChat, ChatToResponses]),
            (Api::Responses, Api::Messages, &[ResponsesToChat, ChatToMessages]),
        ];
        let way = ways.iter().find(|(from, to, _)| *from == asked && backend.speaks(*to));
        way.map(|(_, _, steps)| Self::Translated(steps))
    }

    /// The backend's own operation.
    pub fn endpoint(self, asked: Endpoint) -> Endpoint {
        match self {
            Self::Unchanged => asked,
            Self::Translated(steps) => match steps.last() {
                None => asked,
                Some(Translation::ChatToMessages) => Endpoint::Messages,
                Some(Translation::ChatToResponses) => Endpoint::Responses,
                Some(Translation::MessagesToChat | Translation::ResponsesToChat) => Endpoint::Chat,
            },
        }
    }
}

/// A request in a backend's API, and the way back.
pub struct Translated {
    steps: &'static [Translation],
    /// The request between the steps.
    between: Vec<Document>,
    body: Bytes,
}

impl Translated {
    /// Takes the steps with a request, asking for `model`.
    pub fn new(
        steps: &'static [Translation],
        document: &Document,
        model: &str,
        target: Target,
    ) -> Result<Self, Untranslatable> {
        let mut between: Vec<Document> = Vec::new();
        let mut body = Bytes::new();
        for (index, step) in steps.iter().enumerate() {
            if index > 0 {
                let parsed = Document::parse(body).map_err(|_| Untranslatable::new("the request"))?;
                between.push(parsed);
            }
            body = step.request(between.last().unwrap_or(document), model, target)?;
        }
        Ok(Self { steps, between, body })
    }

    /// The request for the backend.
    pub fn body(&self) -> Bytes {
        self.body.clone()
    }

    /// Each step, the backend's first, with the request that it was taken with.
    fn back<'d>(&'d self, first: &'d Document) -> impl Iterator<Item = (Translation, &'d Document)> {
        let asked = std::iter::once(first).chain(&self.between);
        self.steps.iter().copied().zip(asked).collect::<Vec<_>>().into_iter().rev()
    }

    /// The whole answer to `document`, for the caller. `now`: seconds since the Unix epoch.
    pub fn answer(&self, document: &Document, answer: &[u8], now: u64) -> Result<Bytes, Untranslatable> {
        let mut answer = Bytes::copy_from_slice(answer);
        for (step, asked) in self.back(document) {
            answer = step.answer(asked, &answer, now)?;
        }
        Ok(answer)
    }

    /// A backend's refusal, for the caller.
    pub fn error(&self, status: u16, answer: &[u8]) -> Bytes {
        let answer = Bytes::copy_from_slice(answer);
        self.steps.iter().rev().fold(answer, |answer, step| step.error(status, &answer))
    }

    /// A translator for the stream of events that answers `document`. `now`: seconds since the Unix epoch.
    pub fn stream(&self, document: &Document, now: u64) -> Stream {
        Stream { steps: self.back(document).map(|(step, asked)| step.stream(asked, now)).collect() }
    }
}

/// An error of this dialect's API.
pub fn error(dialect: Dialect, status: u16, message: &str) -> Bytes {
    match dialect {
        Dialect::Openai => errors::openai(status, message),
        Dialect::Anthropic => errors::anthropic(status, message),
    }
    .to_string()
    .into()
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
            Self::ResponsesToChat => responses::request::to_chat(document, model, target)?,
            Self::ChatToResponses => responses::from_chat::to_responses(document, model)?,
        };
        Ok(translated.to_string().into())
    }

    /// The whole answer of a backend to `asked`, for the caller. `now`: seconds since the Unix epoch.
    pub fn answer(self, asked: &Document, answer: &[u8], now: u64) -> Result<Bytes, Untranslatable> {
        let answer = Json::parse(answer).ok_or_else(|| Untranslatable::new("an answer that is not JSON"))?;
        let translated = match self {
            Self::ChatToMessages => messages_answer::to_chat(&answer, now)?,
            Self::MessagesToChat => chat_answer::to_message(&answer)?,
            Self::ResponsesToChat => responses::answer::to_response(asked, &answer, now)?,
            Self::ChatToResponses => responses::to_completion::to_chat(&answer, now)?,
        };
        Ok(translated.to_string().into())
    }

    /// A backend's refusal, for the caller.
    pub fn error(self, status: u16, answer: &[u8]) -> Bytes {
        let message = errors::message(answer).unwrap_or_else(|| format!("the backend answered HTTP {status}"));
        match self {
            Self::ChatToMessages | Self::ResponsesToChat | Self::ChatToResponses => errors::openai(status, &message),
            Self::MessagesToChat => errors::anthropic(status, &message),
        }
        .to_string()
        .into()
    }

    /// A translator for one stream of events that answers `asked`. `now`: seconds since the Unix epoch.
    pub fn stream(self, asked: &Document, now: u64) -> Step {
        let by: Box<dyn events::Translate> = match self {
            Self::ChatToMessages => Box::new(messages_stream::ToChat::new(asked, now)),
            Self::MessagesToChat => Box::new(chat_stream::ToMessages::new(asked.model())),
            Self::ResponsesToChat => Box::new(responses::stream::ToResponses::new(asked, now)),
            Self::ChatToResponses => Box::new(responses::to_chunks::ToChat::new(asked, now)),
        };
        Step { lines: Lines::default(), by, over: false }
    }
}

/// A stream of events on its way into the caller's API, in whatever pieces it arrives.
pub struct Stream {
    /// The backend's first.
    steps: Vec<Step>,
}

impl Stream {
    /// Takes the next bytes of the backend's stream and answers what the caller gets of them. After an error the stream is over.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<Vec<u8>, Untranslatable> {
        let mut bytes = bytes.to_vec();
        for step in &mut self.steps {
            bytes = step.feed(&bytes)?;
        }
        Ok(bytes)
    }

    /// The backend's stream ended: what the caller still gets. Fails if it ended before it was complete.
    pub fn finish(&mut self) -> Result<Vec<u8>, Untranslatable> {
        let mut last = Vec::new();
        for step in &mut self.steps {
            let mut out = step.feed(&last)?;
            out.extend(step.finish()?);
            last = out;
        }
        Ok(last)
    }
}

/// One step of a [`Stream`].
pub struct Step {
    lines: Lines,
    by: Box<dyn events::Translate>,
    over: bool,
}

impl Step {
    /// See [`Stream::feed`].
    pub fn feed(&mut self, bytes: &[u8]) -> Result<Vec<u8>, Untranslatable> {
        let mut out = Vec::new();
        if self.over {
            return Ok(out);
        }
        let by = &mut self.by;
        let fed = self.lines.feed(bytes, &mut |event| match event.data {
            Some(data) => by.event(data, &mut out),
            None => Ok(()),
        });
        self.over = fed.is_err();
        fed.map(|()| out)
    }

    /// See [`Stream::finish`].
    pub fn finish(&mut self) -> Result<Vec<u8>, Untranslatable> {
        let mut out = Vec::new();
        if !std::mem::replace(&mut self.over, true) {
            self.by.finish(&mut out)?;
        }
        Ok(out)
    }
}
