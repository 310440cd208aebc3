//! One stream of events in another API, event by event. Names of events are repeated in their data by both APIs; comments and ids
//! mean nothing to them.

use super::Untranslatable;
use crate::document::Json;

/// Translates the events of one stream.
pub trait Translate: Send {
    /// Takes one event's data and appends what the caller gets of it.
    fn event(&mut self, data: &[u8], out: &mut Vec<u8>) -> Result<(), Untranslatable>;
    /// The stream ended. Fails if it was not complete.
    fn finish(&mut self, out: &mut Vec<u8>) -> Result<(), Untranslatable>;
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
