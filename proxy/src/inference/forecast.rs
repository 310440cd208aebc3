//! What a request will probably cost: how long answers were lately, and what a backend's prompt cache holds.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use openshell_inference_format::document::Document;
use openshell_inference_format::texts::Texts;

/// Answers that are remembered of each model.
const KEPT: usize = 31;
/// Answers that it takes to say anything.
const ENOUGH: usize = 3;
/// Models that are remembered.
const MODELS: usize = 1000;
/// How long prompt caches hold what nobody asks for again: that of the large providers.
const HELD: Duration = Duration::from_secs(5 * 60);
/// Shortest beginning that they hold, in tokens.
const SHORTEST: u64 = 1024;
/// Conversations that are remembered, over all backends.
const CONVERSATIONS: u64 = 10_000;

/// Output tokens of the last few answers, by model.
#[derive(Debug, Default)]
pub struct Outputs(Mutex<BTreeMap<String, VecDeque<u32>>>);

impl Outputs {
    /// Remembers an answer's length, in tokens.
    pub fn seen(&self, model: &str, tokens: u64) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= MODELS && !all.contains_key(model) {
            return;
        }
        let recent = all.entry(model.to_owned()).or_default();
        if recent.len() == KEPT {
            recent.pop_front();
        }
        recent.push_back(u32::try_from(tokens).unwrap_or(u32::MAX));
    }

    /// The median length of answers, and `limit` at most; `limit` where too few are known.
    pub fn expected(&self, model: &str, limit: u32) -> u32 {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut sorted: Vec<u32> = all.get(model).into_iter().flatten().copied().collect();
        if sorted.len() < ENOUGH {
            return limit;
        }
        sorted.sort_unstable();
        sorted[sorted.len() / 2].min(limit)
    }
}

/// Beginnings of conversations that backends have seen lately.
pub struct Prefixes {
    seen: moka::sync::Cache<u64, ()>,
    hasher: ahash::RandomState,
}

/// A conversation, turn by turn: a hash of everything up to each turn's end, and how many bytes that is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Marks {
    turns: Vec<(u64, usize)>,
    total: usize,
}

impl Default for Prefixes {
    fn default() -> Self {
        let seen = moka::sync::Cache::builder().max_capacity(CONVERSATIONS).time_to_live(HELD).build();
        Self { seen, hasher: ahash::RandomState::new() }
    }
}

impl Prefixes {
    /// Marks a conversation. What stands before the turns in a prompt (system prompt, tools) comes first, whatever the order of
    /// keys; limits and the like are not part of it.
    pub fn marks(&self, document: &Document, texts: &Texts) -> Marks {
        const BEFORE: &[&str] = &["tools", "system", "instructions", "functions"];
        let mut marks = Marks::default();
        let mut hash = 0u64;
        let placed = || texts.messages.iter().zip(&texts.places);
        for (message, _) in
            placed().filter(|(_, place)| place.turn().is_none() && BEFORE.contains(&place.key(document)))
        {
            hash = self.hasher.hash_one((hash, &message.text));
            marks.total += message.text.len();
        }
        let mut turn = None;
        for (message, place) in placed().filter(|(_, place)| place.turn().is_some()) {
            if turn.is_some() && turn != place.turn() {
                marks.turns.push((hash, marks.total));
            }
            turn = place.turn();
            hash = self.hasher.hash_one((hash, &message.role, &message.text));
            marks.total += message.text.len();
        }
        if turn.is_some() {
            marks.turns.push((hash, marks.total));
        }
        marks
    }

    /// A backend has read this conversation.
    pub fn read(&self, backend: &str, marks: &Marks) {
        if let Some((hash, _)) = marks.turns.last() {
            self.seen.insert(self.hasher.hash_one((backend, hash)), ());
        }
    }

    /// How many of a conversation's `tokens` a backend's prompt cache is thought to hold.
    pub fn held(&self, backend: &str, marks: &Marks, tokens: u32) -> u32 {
        let known = |(hash, _): &&(u64, usize)| self.seen.contains_key(&self.hasher.hash_one((backend, hash)));
        let Some((_, bytes)) = marks.turns.iter().rev().take(256).find(known) else { return 0 };
        let held = u64::from(tokens) * *bytes as u64 / marks.total.max(1) as u64;
        if held >= SHORTEST { u32::try_from(held).unwrap_or(u32::MAX).min(tokens) } else { 0 }
    }
}
