//! An object read key by key, so that what nobody asked for is noticed.

use super::Untranslatable;
use crate::document::Json;

/// The entries of one object that were not taken yet.
pub struct Fields<'a> {
    path: String,
    left: Vec<&'a (String, Json)>,
}

impl<'a> Fields<'a> {
    /// Of an object at `path`; empty: the outermost one. Refuses what is no object.
    pub fn of(value: &'a Json, path: impl Into<String>) -> Result<Self, Untranslatable> {
        let path = path.into();
        match value.fields() {
            Some(entries) => Ok(Self::new(entries, path)),
            None => Err(Untranslatable::new(path)),
        }
    }

    /// Of these entries.
    pub fn new(entries: &'a [(String, Json)], path: impl Into<String>) -> Self {
        Self { path: path.into(), left: entries.iter().filter(|(_, value)| !value.is_null()).collect() }
    }

    /// The place of one of its keys.
    pub fn place(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// A refusal of one of its keys.
    pub fn refuse<T>(&self, key: &str) -> Result<T, Untranslatable> {
        Err(Untranslatable::new(self.place(key)))
    }

    /// Takes a value; `null` counts as absent.
    pub fn take(&mut self, key: &str) -> Option<&'a Json> {
        let index = self.left.iter().position(|(k, _)| k == key)?;
        Some(&self.left.swap_remove(index).1)
    }

    /// Takes a string. Refuses anything else.
    pub fn text(&mut self, key: &str) -> Result<Option<&'a str>, Untranslatable> {
        match self.take(key) {
            None => Ok(None),
            Some(Json::Text(text)) => Ok(Some(text)),
            Some(_) => self.refuse(key),
        }
    }

    /// Takes a string that must be there.
    pub fn need(&mut self, key: &str) -> Result<&'a str, Untranslatable> {
        match self.text(key)? {
            Some(text) => Ok(text),
            None => self.refuse(key),
        }
    }

    /// Takes a value that may be left out because it says what holds anyway. Refuses any other.
    pub fn default(&mut self, key: &str, is_default: impl Fn(&Json) -> bool) -> Result<(), Untranslatable> {
        match self.take(key) {
            Some(value) if !is_default(value) => self.refuse(key),
            _ => Ok(()),
        }
    }

    /// Copies a value as it is to `out`, under another name.
    pub fn copy(&mut self, key: &str, out: &mut Json, name: &str) {
        if let Some(value) = self.take(key) {
            out.set(name, value.clone());
        }
    }

    /// Refuses what is left.
    pub fn end(self) -> Result<(), Untranslatable> {
        match self.left.first() {
            Some((key, _)) => self.refuse(key),
            None => Ok(()),
        }
    }
}

/// Whether a list or an object is empty.
pub fn empty(value: &Json) -> bool {
    match value {
        Json::Array(items) => items.is_empty(),
        Json::Object(entries) => entries.is_empty(),
        Json::Text(text) => text.is_empty(),
        _ => false,
    }
}
