//! What the user adds: patterns and dictionaries.

use std::collections::BTreeMap;

use regex_lite::Regex;

use super::Hit;
use crate::text::is_word;

/// The user's own detectors, compiled once.
#[derive(Debug, Default)]
pub struct Custom {
    patterns: Vec<(String, Regex)>,
    /// First word, lowercase → the rest of the phrase, lowercase, and its kind.
    phrases: BTreeMap<Vec<u8>, Vec<(Vec<u8>, String)>>,
}

impl Custom {
    /// Adds a regular expression (no look-around, no back-references; linear time). Refuses what does not parse.
    pub fn pattern(&mut self, kind: &str, source: &str) -> Result<(), String> {
        let regex = Regex::new(source).map_err(|error| format!("pattern {kind:?}: {error}"))?;
        if regex.is_match("") {
            return Err(format!("pattern {kind:?} matches the empty text, so it would find everything"));
        }
        self.patterns.push((kind.to_owned(), regex));
        Ok(())
    }

    /// Adds a word or phrase, found as whole words without regard to case. Refuses one without letters or digits.
    pub fn phrase(&mut self, kind: &str, phrase: &str) -> Result<(), String> {
        let lower = phrase.trim().to_lowercase().into_bytes();
        let first = lower.iter().take_while(|&&b| is_word(b)).count();
        if first == 0 {
            return Err(format!("dictionary {kind:?}: {phrase:?} does not begin with a letter or digit"));
        }
        let rest = lower[first..].to_vec();
        self.phrases.entry(lower[..first].to_vec()).or_default().push((rest, kind.to_owned()));
        Ok(())
    }

    /// The phrase that begins with the word at `start..end`.
    pub fn word<'k>(&'k self, text: &[u8], start: usize, end: usize, out: &mut Vec<Hit<'k>>) {
        if self.phrases.is_empty() {
            return;
        }
        let word = lowercase(&text[start..end]);
        for (rest, kind) in self.phrases.get(&word).into_iter().flatten() {
            let stop = end + rest.len();
            let same = text.get(end..stop).is_some_and(|part| lowercase(part) == *rest);
            if same && !text.get(stop).copied().is_some_and(|b| is_word(b) && !rest.is_empty()) {
                out.push(Hit { kind, start, end: stop });
            }
        }
    }

    /// Every match of every pattern.
    pub fn patterns<'k>(&'k self, text: &[u8], out: &mut Vec<Hit<'k>>) {
        if self.patterns.is_empty() {
            return;
        }
        let text = String::from_utf8_lossy(text);
        for (kind, regex) in &self.patterns {
            out.extend(regex.find_iter(&text).map(|m| Hit { kind, start: m.start(), end: m.end() }));
        }
    }
}

fn lowercase(bytes: &[u8]) -> Vec<u8> {
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.is_ascii() => text.to_lowercase().into_bytes(),
        _ => bytes.to_ascii_lowercase(),
    }
}
