//! Reads token figures off an answer as it passes, without holding it back.

use serde::Deserialize;

/// Longest line or document that is looked at, in bytes. Final figures are short; a longer one is not metered.
const CAP: usize = 4 * 1024 * 1024;

/// Tokens as the backend reported them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Input tokens, cached ones included where the API counts them apart.
    pub input: Option<u64>,
    /// Of the input: what a prompt cache held.
    pub cached: u64,
    /// Of the input: what was written to a prompt cache.
    pub written: u64,
    /// Output tokens.
    pub output: Option<u64>,
}

/// Reads the figures of one answer.
#[derive(Debug)]
pub struct Meter {
    /// Server-sent events, else one JSON document.
    events: bool,
    held: Vec<u8>,
    /// The current line or document outgrew the cap.
    skipping: bool,
    usage: Usage,
    id: Option<String>,
    bytes: u64,
    lines: u64,
}

#[derive(Deserialize)]
struct Figures {
    prompt_tokens: Option<u64>,
    input_tokens: Option<u64>,
    completion_tokens: Option<u64>,
    output_tokens: Option<u64>,
    cache_creation_input_tokens: Option<u64>,
    cache_read_input_tokens: Option<u64>,
    prompt_tokens_details: Option<Details>,
    input_tokens_details: Option<Details>,
    /// DeepSeek's.
    prompt_cache_hit_tokens: Option<u64>,
}

#[derive(Deserialize)]
struct Details {
    cached_tokens: Option<u64>,
}

#[derive(Deserialize)]
struct Carrier {
    usage: Option<Figures>,
    /// `message_start` of Anthropic's streams.
    message: Option<Inner>,
    /// `response.completed` of OpenAI's Responses.
    response: Option<Inner>,
    /// Of the answer, where it is no stream.
    id: Option<String>,
    /// `count_tokens`.
    input_tokens: Option<u64>,
}

#[derive(Deserialize)]
struct Inner {
    usage: Option<Figures>,
    id: Option<String>,
}

impl Meter {
    /// A meter for an answer that is a stream of events, or one document.
    pub fn new(events: bool) -> Self {
        Self { events, held: Vec::new(), skipping: false, usage: Usage::default(), id: None, bytes: 0, lines: 0 }
    }

    /// Takes the next bytes of the answer.
    pub fn feed(&mut self, mut bytes: &[u8]) {
        self.bytes += bytes.len() as u64;
        if !self.events {
            return self.hold(bytes);
        }
        while let Some(end) = bytes.iter().position(|&b| b == b'\n') {
            if self.held.is_empty() && !self.skipping {
                // The common case: a whole line in one piece, nothing copied.
                self.line(&bytes[..end]);
            } else {
                self.hold(&bytes[..end]);
                let line = std::mem::take(&mut self.held);
                if !std::mem::take(&mut self.skipping) {
                    self.line(&line);
                }
            }
            bytes = &bytes[end + 1..];
        }
        self.hold(bytes);
    }

    /// Bytes of the answer so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Events with data so far; `None`: it is no stream of events.
    pub fn events(&self) -> Option<u64> {
        self.events.then_some(self.lines)
    }

    /// The figures so far; final once the answer has ended.
    pub fn finish(&mut self) -> Usage {
        let held = std::mem::take(&mut self.held);
        if !self.skipping && !held.is_empty() {
            if self.events { self.line(&held) } else { self.document(&held) }
        }
        self.usage
    }

    /// The answer's own id, where it came with the figures.
    pub fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    fn hold(&mut self, bytes: &[u8]) {
        if self.held.len() + bytes.len() > CAP {
            self.skipping = true;
            self.held = Vec::new();
        }
        if !self.skipping {
            self.held.extend_from_slice(bytes);
        }
    }

    fn line(&mut self, line: &[u8]) {
        let Some(data) = line.strip_prefix(b"data:") else { return };
        self.lines += 1;
        // Most events carry a token of text and no figures.
        if contains(data, b"_tokens\"") {
            self.document(data);
        }
    }

    fn document(&mut self, json: &[u8]) {
        let Ok(carrier) = serde_json::from_slice::<Carrier>(json) else { return };
        let inner = carrier.message.or(carrier.response);
        let (within, id) = inner.map_or((None, None), |inner| (inner.usage, inner.id));
        self.id = carrier.id.or(id).or(self.id.take());
        let found = carrier.usage.or(within);
        match found {
            Some(figures) => {
                // Anthropic's API counts what the cache had to do with apart from the input.
                let (written, read) = (figures.cache_creation_input_tokens, figures.cache_read_input_tokens);
                let apart = written.unwrap_or(0) + read.unwrap_or(0);
                let details = figures.prompt_tokens_details.or(figures.input_tokens_details);
                let within = details.and_then(|d| d.cached_tokens).or(figures.prompt_cache_hit_tokens);
                let input = figures.prompt_tokens.or(figures.input_tokens.map(|n| n + apart));
                self.usage.input = input.max(self.usage.input);
                self.usage.cached = self.usage.cached.max(read.or(within).unwrap_or(0));
                self.usage.written = self.usage.written.max(written.unwrap_or(0));
                self.usage.output = figures.completion_tokens.or(figures.output_tokens).or(self.usage.output);
            }
            None => self.usage.input = carrier.input_tokens.or(self.usage.input),
        }
    }
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|part| part == needle)
}
