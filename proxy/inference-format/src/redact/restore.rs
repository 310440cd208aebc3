//! Puts values back into whole texts and documents.

use std::borrow::Cow;

use bytes::Bytes;

use super::{Placeholders, escaped};
use crate::document::Json;

impl Placeholders {
    /// A text with every placeholder replaced by its value; `within_json`: as it is written in a JSON string.
    pub fn restore<'t>(&self, text: &'t str, within_json: bool) -> Cow<'t, str> {
        let mut restored: Option<String> = None;
        let mut copied = 0;
        let mut at = 0;
        while at < text.len() {
            let Some((name, value)) = self.at(text, at) else {
                at += 1;
                continue;
            };
            let out = restored.get_or_insert_with(String::new);
            out.push_str(&text[copied..at]);
            if within_json {
                out.push_str(&escaped(value));
            } else {
                out.push_str(value);
            }
            at += name.len();
            copied = at;
        }
        match restored {
            None => Cow::Borrowed(text),
            Some(mut out) => {
                out.push_str(&text[copied..]);
                Cow::Owned(out)
            }
        }
    }

    /// The longest placeholder that stands at `at`, and its value.
    fn at(&self, text: &str, at: usize) -> Option<(&String, &String)> {
        let rest = &text.as_bytes()[at..];
        // Placeholders begin with a capital or a digit.
        rest.first().filter(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || **b == b'_')?;
        let names = self.by_name.iter().filter(|(name, _)| rest.starts_with(name.as_bytes()));
        names.max_by_key(|(name, _)| name.len())
    }

    /// Bytes at the end of a text that may be the beginning of a placeholder. The end of a whole one may look like a beginning,
    /// and is none.
    pub(super) fn pending(&self, text: &str) -> usize {
        let mut at = 0;
        while at < text.len() {
            let rest = &text.as_bytes()[at..];
            if self.by_name.keys().any(|name| name.len() > rest.len() && name.as_bytes().starts_with(rest)) {
                return rest.len();
            }
            at += self.at(text, at).map_or(1, |(name, _)| name.len());
        }
        0
    }

    /// A whole answer with every value in its place; `None`: it is no JSON. `json`: its text was asked to be JSON.
    pub fn restore_document(&self, answer: &[u8], json: bool) -> Option<Bytes> {
        let mut answer = Json::parse(answer)?;
        self.restore_all(&mut answer, "", json, &mut Vec::new(), &[]);
        Some(answer.to_string().into())
    }

    /// Restores every string below `value`, which stands under `key`, but for those at `except`.
    pub(super) fn restore_all(
        &self,
        value: &mut Json,
        key: &str,
        json: bool,
        path: &mut Vec<Step>,
        except: &[&[Step]],
    ) {
        match value {
            Json::Text(text) => {
                if except.contains(&path.as_slice()) {
                    return;
                }
                let within_json = match key {
                    "arguments" | "partial_json" => true,
                    "content" | "text" => json,
                    _ => false,
                };
                if let Cow::Owned(restored) = self.restore(text, within_json) {
                    *text = restored;
                }
            }
            Json::Array(items) => {
                for (index, item) in items.iter_mut().enumerate() {
                    path.push(Step::Item(index));
                    self.restore_all(item, key, json, path, except);
                    path.pop();
                }
            }
            Json::Object(entries) => {
                for (name, value) in entries.iter_mut() {
                    path.push(Step::Key(name.clone()));
                    self.restore_all(value, name, json, path, except);
                    path.pop();
                }
                let restored: Vec<String> = entries.iter().map(|(k, _)| self.restore(k, false).into_owned()).collect();
                let distinct: std::collections::BTreeSet<&String> = restored.iter().collect();
                // Two keys that would become one stay as they are.
                if distinct.len() == entries.len() {
                    entries.iter_mut().zip(restored).for_each(|((key, _), restored)| *key = restored);
                }
            }
            Json::Plain(_) | Json::Number(_) => {}
        }
    }
}

/// One step into a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// Into an object.
    Key(String),
    /// Into an array.
    Item(usize),
}

/// The value at the end of a path.
pub(super) fn reach<'j>(value: &'j mut Json, path: &[Step]) -> Option<&'j mut Json> {
    path.iter().try_fold(value, |value, step| match (value, step) {
        (Json::Object(entries), Step::Key(key)) => entries.iter_mut().find(|(k, _)| k == key).map(|(_, v)| v),
        (Json::Array(items), Step::Item(index)) => items.get_mut(*index),
        _ => None,
    })
}
