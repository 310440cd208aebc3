//! Chunks of a chat completion, read.

use super::Untranslatable;
use crate::document::Json;

/// Something that a chunk says. Names and texts are never empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part<'c> {
    /// More of a thought.
    Thought(&'c str),
    /// More of a refusal.
    Refusal(&'c str),
    /// More of the text.
    Text(&'c str),
    /// A tool call begins.
    Call {
        /// Its id.
        id: &'c str,
        /// The tool's name.
        name: &'c str,
    },
    /// More arguments of the call that began last.
    Arguments(&'c str),
    /// The answer is over, for this reason.
    Finish(&'c str),
}

/// Reads the chunks of one stream.
#[derive(Debug, Default)]
pub struct Chunks {
    /// Tool calls begun so far.
    calls: u64,
    /// The call that more arguments may follow for.
    open: Option<u64>,
}

impl Chunks {
    /// Tool calls begun so far.
    pub fn calls(&self) -> u64 {
        self.calls
    }

    /// What a chunk says, in order. Refuses what has no order: several choices, and calls that take turns.
    pub fn read<'c>(&mut self, chunk: &'c Json) -> Result<Vec<Part<'c>>, Untranslatable> {
        let mut parts = Vec::new();
        for choice in chunk.get("choices").map_or(&[][..], Json::items) {
            self.choice(choice, &mut parts)?;
        }
        Ok(parts)
    }

    fn choice<'c>(&mut self, choice: &'c Json, parts: &mut Vec<Part<'c>>) -> Result<(), Untranslatable> {
        if choice.get("index").and_then(Json::number).unwrap_or(0) != 0 {
            return Err(Untranslatable::new("an answer with other than one choice"));
        }
        if let Some(delta) = choice.get("delta") {
            let field = |key: &str| delta.get(key).and_then(Json::text).filter(|t| !t.is_empty());
            let thought = field("reasoning_content").or_else(|| field("reasoning"));
            let said =
                [thought.map(Part::Thought), field("refusal").map(Part::Refusal), field("content").map(Part::Text)];
            for part in said.into_iter().flatten() {
                self.open = None;
                parts.push(part);
            }
            for call in delta.get("tool_calls").map_or(&[][..], Json::items) {
                self.call(call, parts)?;
            }
            for other in ["audio", "function_call"] {
                if delta.get(other).is_some_and(|v| !v.is_null()) {
                    return Err(Untranslatable::new(format!("delta.{other}")));
                }
            }
        }
        if let Some(reason) = choice.get("finish_reason").and_then(Json::text) {
            self.open = None;
            parts.push(Part::Finish(reason));
        }
        Ok(())
    }

    fn call<'c>(&mut self, call: &'c Json, parts: &mut Vec<Part<'c>>) -> Result<(), Untranslatable> {
        let function = call.get("function");
        let field = |key: &str| function.and_then(|f| f.get(key)).and_then(Json::text);
        let begins = call.get("id").and_then(Json::text).filter(|id| !id.is_empty());
        // Servers that leave the index out send each call in one piece.
        let index = call.get("index").and_then(Json::number).unwrap_or(match begins {
            Some(_) => self.calls,
            None => self.calls.saturating_sub(1),
        });
        if self.open != Some(index) {
            if index < self.calls {
                return Err(Untranslatable::new("tool calls that arrive in turns"));
            }
            let (Some(id), Some(name)) = (begins, field("name")) else {
                return Err(Untranslatable::new("a tool call without id and name"));
            };
            parts.push(Part::Call { id, name });
            (self.calls, self.open) = (index + 1, Some(index));
        }
        parts.extend(field("arguments").filter(|a| !a.is_empty()).map(Part::Arguments));
        Ok(())
    }
}
