//! Server-sent events (WHATWG HTML § 9.2), in whatever pieces they arrive.

use super::Untranslatable;
use crate::document::Json;

/// Longest event that is read, in bytes.
const LONGEST: usize = 16 * 1024 * 1024;

/// Translates the events of one stream.
pub trait Translate: Send {
    /// Takes one event's data and appends what the caller gets of it.
    fn event(&mut self, data: &[u8], out: &mut Vec<u8>) -> Result<(), Untranslatable>;
    /// The stream ended. Fails if it was not complete.
    fn finish(&mut self, out: &mut Vec<u8>) -> Result<(), Untranslatable>;
}

/// Puts lines and events together.
#[derive(Debug, Default)]
pub struct Lines {
    line: Vec<u8>,
    data: Vec<u8>,
    has_data: bool,
}

impl Lines {
    /// Takes the next bytes; hands each event's data to `each`. Refuses an event without end.
    pub fn feed(
        &mut self,
        mut bytes: &[u8],
        each: &mut dyn FnMut(&[u8]) -> Result<(), Untranslatable>,
    ) -> Result<(), Untranslatable> {
        while let Some(end) = bytes.iter().position(|&b| b == b'\n') {
            self.hold(&bytes[..end])?;
            let line = std::mem::take(&mut self.line);
            self.end_of_line(line.strip_suffix(b"\r").unwrap_or(&line), each)?;
            bytes = &bytes[end + 1..];
        }
        self.hold(bytes)
    }

    fn hold(&mut self, bytes: &[u8]) -> Result<(), Untranslatable> {
        if self.line.len() + self.data.len() + bytes.len() > LONGEST {
            return Err(Untranslatable::new("an event without end"));
        }
        self.line.extend_from_slice(bytes);
        Ok(())
    }

    fn end_of_line(
        &mut self,
        line: &[u8],
        each: &mut dyn FnMut(&[u8]) -> Result<(), Untranslatable>,
    ) -> Result<(), Untranslatable> {
        if line.is_empty() {
            let data = std::mem::take(&mut self.data);
            return if std::mem::take(&mut self.has_data) { each(&data) } else { Ok(()) };
        }
        // Names of events are repeated in their data by both APIs; comments and ids mean nothing to them.
        if let Some(data) = line.strip_prefix(b"data:") {
            if std::mem::replace(&mut self.has_data, true) {
                self.data.push(b'\n');
            }
            self.data.extend_from_slice(data.strip_prefix(b" ").unwrap_or(data));
        }
        Ok(())
    }
}

/// Appends an event without a name: OpenAI's form.
pub fn unnamed(data: &Json, out: &mut Vec<u8>) {
    out.extend_from_slice(format!("data: {data}\n\n").as_bytes());
}

/// Appends an event named by its data's `type`: Anthropic's form.
pub fn named(data: &Json, out: &mut Vec<u8>) {
    let name = data.get("type").and_then(Json::text).unwrap_or_default();
    out.extend_from_slice(format!("event: {name}\ndata: {data}\n\n").as_bytes());
}
