//! A request body, parsed once: JSON with every key in its place, so that none can be read two ways.

use std::fmt;
use std::ops::Range;

use bytes::Bytes;
use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, Serializer};
use serde_json::value::RawValue;

/// JSON. Objects keep their keys' order and never hold one twice.
#[derive(Debug, Clone, PartialEq)]
pub enum Json {
    /// `null`, `true`, `false`.
    Plain(&'static str),
    /// A number, as written where that matters.
    Number(serde_json::Number),
    /// A string.
    Text(String),
    /// An array.
    Array(Vec<Json>),
    /// An object.
    Object(Vec<(String, Json)>),
}

/// Why a body is no document. None of them holds any of the body's text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DocumentError {
    /// It is not JSON, or was cut off.
    #[error("the body is not valid JSON (line {line}, column {column})")]
    Malformed {
        /// From 1.
        line: usize,
        /// From 1.
        column: usize,
    },
    /// An object holds one key twice: a reader downstream could pick the other one.
    #[error("an object in the body holds the same key twice (line {line}, column {column})")]
    DuplicateKey {
        /// From 1.
        line: usize,
        /// From 1.
        column: usize,
    },
    /// The outermost value is not an object.
    #[error("the body is not a JSON object")]
    NotAnObject,
    /// No `model`, or not a string.
    #[error("the body has no `model`")]
    NoModel,
}

/// A parsed body and the bytes it was parsed from.
#[derive(Clone)]
pub struct Document {
    bytes: Bytes,
    root: Vec<(String, Json)>,
    model: Range<usize>,
}

const DUPLICATE: &str = "duplicate key";

impl Document {
    /// Parses a body. Refuses what is not one JSON object with a model, and any duplicate key, at any depth.
    pub fn parse(bytes: Bytes) -> Result<Self, DocumentError> {
        let root: Json = serde_json::from_slice(&bytes).map_err(|error| {
            let (line, column) = (error.line(), error.column());
            if error.to_string().starts_with(DUPLICATE) {
                DocumentError::DuplicateKey { line, column }
            } else {
                DocumentError::Malformed { line, column }
            }
        })?;
        let Json::Object(root) = root else { return Err(DocumentError::NotAnObject) };
        let model = model_span(&bytes).ok_or(DocumentError::NoModel)?;
        Ok(Self { bytes, root, model })
    }

    /// A body made of these entries.
    pub fn of(root: Vec<(String, Json)>) -> Result<Self, DocumentError> {
        Self::parse(Json::Object(root).to_string().into())
    }

    /// The body with another value for one of its outermost keys, which is added where it is not there.
    pub fn with(&self, key: &str, value: Json) -> Result<Self, DocumentError> {
        let mut root: Vec<_> = self.root.iter().filter(|(k, _)| k != key).cloned().collect();
        root.push((key.to_owned(), value));
        Self::of(root)
    }

    /// The outermost object's entries.
    pub fn entries(&self) -> &[(String, Json)] {
        &self.root
    }

    /// The value of an outermost key.
    pub fn get(&self, key: &str) -> Option<&Json> {
        self.root.iter().find(|(k, _)| k == key).map(|(_, v)| v)
    }

    /// The model the caller asked for.
    pub fn model(&self) -> &str {
        self.get("model").and_then(Json::text).unwrap_or_default()
    }

    /// The caller's bytes, with the model replaced where `model` is another one. Nothing else changes.
    pub fn bytes_for(&self, model: Option<&str>) -> Bytes {
        match model {
            Some(model) if model != self.model() => {
                let quoted = serde_json::Value::from(model).to_string();
                [&self.bytes[..self.model.start], quoted.as_bytes(), &self.bytes[self.model.end..]].concat().into()
            }
            _ => self.bytes.clone(),
        }
    }
}

/// Where the outermost `model`'s string stands, quotes included.
fn model_span(bytes: &Bytes) -> Option<Range<usize>> {
    #[derive(serde::Deserialize)]
    struct Head<'a> {
        #[serde(borrow)]
        model: &'a RawValue,
    }
    let head: Head<'_> = serde_json::from_slice(bytes).ok()?;
    let raw = head.model.get();
    let start = (raw.as_ptr() as usize).checked_sub(bytes.as_ptr() as usize)?;
    (raw.starts_with('"') && start + raw.len() <= bytes.len()).then(|| start..start + raw.len())
}

impl Json {
    /// The string, if it is one.
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The elements, if it is an array; else nothing.
    pub fn items(&self) -> &[Json] {
        match self {
            Self::Array(items) => items,
            _ => &[],
        }
    }

    /// The value of a key, if it is an object that has it.
    pub fn get(&self, key: &str) -> Option<&Json> {
        match self {
            Self::Object(entries) => entries.iter().find(|(k, _)| k == key).map(|(_, v)| v),
            _ => None,
        }
    }

    /// The number, if it is a whole one that fits.
    pub fn number(&self) -> Option<u64> {
        match self {
            Self::Number(n) => n.as_u64(),
            _ => None,
        }
    }
}

impl Json {
    /// `null`.
    pub const NULL: Self = Self::Plain("null");

    /// An object of these entries.
    pub fn object<const N: usize>(entries: [(&str, Json); N]) -> Self {
        Self::Object(entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
    }

    /// Whether it is `null`.
    pub fn is_null(&self) -> bool {
        *self == Self::NULL
    }

    /// Whether it is `true`.
    pub fn is_true(&self) -> bool {
        *self == Self::Plain("true")
    }

    /// The number, if it is one.
    pub fn float(&self) -> Option<f64> {
        match self {
            Self::Number(n) => n.as_f64(),
            _ => None,
        }
    }

    /// The entries, if it is an object.
    pub fn fields(&self) -> Option<&[(String, Json)]> {
        match self {
            Self::Object(entries) => Some(entries),
            _ => None,
        }
    }

    /// Parses JSON of any kind; `None`: it is none, or holds a key twice.
    pub fn parse(text: &[u8]) -> Option<Self> {
        serde_json::from_slice(text).ok()
    }

    /// Adds an entry. Does nothing to what is no object.
    pub fn set(&mut self, key: &str, value: impl Into<Json>) {
        if let Self::Object(entries) = self {
            entries.push((key.to_owned(), value.into()));
        }
    }
}

impl fmt::Display for Json {
    /// Compact JSON.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&serde_json::to_string(self).map_err(|_| fmt::Error)?)
    }
}

impl From<&str> for Json {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Json {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<u64> for Json {
    fn from(number: u64) -> Self {
        Self::Number(number.into())
    }
}

impl From<bool> for Json {
    fn from(value: bool) -> Self {
        Self::Plain(if value { "true" } else { "false" })
    }
}

impl From<Vec<Json>> for Json {
    fn from(items: Vec<Json>) -> Self {
        Self::Array(items)
    }
}

impl Serialize for Json {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Plain("true") => serializer.serialize_bool(true),
            Self::Plain("false") => serializer.serialize_bool(false),
            Self::Plain(_) => serializer.serialize_unit(),
            Self::Number(number) => number.serialize(serializer),
            Self::Text(text) => serializer.serialize_str(text),
            Self::Array(items) => serializer.collect_seq(items),
            Self::Object(entries) => serializer.collect_map(entries.iter().map(|(key, value)| (key, value))),
        }
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Json;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("JSON")
            }
            fn visit_unit<E>(self) -> Result<Json, E> {
                Ok(Json::Plain("null"))
            }
            fn visit_bool<E>(self, value: bool) -> Result<Json, E> {
                Ok(Json::Plain(if value { "true" } else { "false" }))
            }
            fn visit_u64<E>(self, value: u64) -> Result<Json, E> {
                Ok(Json::Number(value.into()))
            }
            fn visit_i64<E>(self, value: i64) -> Result<Json, E> {
                Ok(Json::Number(value.into()))
            }
            fn visit_f64<E>(self, value: f64) -> Result<Json, E> {
                Ok(serde_json::Number::from_f64(value).map_or(Json::Plain("null"), Json::Number))
            }
            fn visit_str<E>(self, value: &str) -> Result<Json, E> {
                Ok(Json::Text(value.to_owned()))
            }
            fn visit_string<E>(self, value: String) -> Result<Json, E> {
                Ok(Json::Text(value))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Json, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = seq.next_element()? {
                    items.push(item);
                }
                Ok(Json::Array(items))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Json, A::Error> {
                let mut entries: Vec<(String, Json)> = Vec::new();
                let mut seen = ahash::AHashSet::new();
                while let Some(key) = map.next_key::<String>()? {
                    if !seen.insert(key.clone()) {
                        return Err(A::Error::custom(DUPLICATE));
                    }
                    entries.push((key, map.next_value()?));
                }
                Ok(Json::Object(entries))
            }
        }
        deserializer.deserialize_any(Any)
    }
}
