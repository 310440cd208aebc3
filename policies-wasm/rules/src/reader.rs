//! Reading typed values out of a tree; each refusal says where.

use crate::fault::{Fault, Place, list};
use crate::yaml::{Node, Value};

/// A value and where it stood.
#[derive(Debug, Clone)]
pub(crate) struct At<T> {
    pub(crate) value: T,
    pub(crate) place: Place,
}

impl<T> At<T> {
    pub(crate) fn fault(&self, message: impl Into<String>) -> Fault {
        Fault::at(self.place, message)
    }
}

/// A mapping with known keys.
pub(crate) struct Fields<'a> {
    what: &'static str,
    pub(crate) place: Place,
    entries: &'a [(Node, Node)],
}

impl<'a> Fields<'a> {
    /// Refuses anything but a mapping, and keys that are not `known`.
    pub(crate) fn of(node: &'a Node, what: &'static str, known: &[&str]) -> Result<Self, Fault> {
        let entries = entries(node, what)?;
        for (key, _) in entries {
            let key = text(key, "a key")?;
            if !known.contains(&key.value.as_str()) {
                return Err(key.fault(format!("{what} has no key `{}`", key.value)).did_you_mean(&key.value, known));
            }
        }
        Ok(Self { what, place: node.place, entries })
    }

    /// The value of a key, unless it is absent or empty.
    pub(crate) fn get(&self, key: &str) -> Option<&'a Node> {
        self.entry(key).map(|(_, value)| value).filter(|value| !matches!(value.value, Value::Null))
    }

    /// Where a key stands.
    pub(crate) fn key_place(&self, key: &str) -> Option<Place> {
        self.entry(key).map(|(key, _)| key.place)
    }

    pub(crate) fn require(&self, key: &str) -> Result<&'a Node, Fault> {
        self.get(key).ok_or_else(|| Fault::at(self.place, format!("{} needs `{key}`", self.what)))
    }

    pub(crate) fn string(&self, key: &str) -> Result<Option<At<String>>, Fault> {
        self.get(key).map(|node| text(node, key)).transpose()
    }

    /// The same of a key that narrows: left empty, it would narrow nothing.
    pub(crate) fn filled(&self, key: &str) -> Result<Option<At<String>>, Fault> {
        match (self.key_place(key), self.string(key)?) {
            (Some(place), None) => {
                Err(Fault::at(place, format!("`{key}` is empty")).hint("give it a value, or leave it out"))
            }
            (_, found) => Ok(found),
        }
    }

    pub(crate) fn bool(&self, key: &str) -> Result<Option<bool>, Fault> {
        self.get(key).map(|node| boolean(node, key)).transpose()
    }

    /// A list; absent or empty: no items. A key that is there with an empty list still counts as given: see `get`.
    pub(crate) fn list(&self, key: &str) -> Result<&'a [Node], Fault> {
        match self.get(key).map(|node| (node, &node.value)) {
            None => Ok(&[]),
            Some((_, Value::List(items))) => Ok(items),
            Some((node, other)) => Err(Fault::at(node.place, format!("`{key}` is a list, this is {}", other.kind()))),
        }
    }

    pub(crate) fn strings(&self, key: &str) -> Result<Vec<At<String>>, Fault> {
        self.list(key)?.iter().map(|node| text(node, key)).collect()
    }

    /// One of a few words.
    pub(crate) fn choice<T: Copy>(&self, key: &str, choices: &[(&str, T)]) -> Result<Option<At<T>>, Fault> {
        let Some(found) = self.string(key)? else { return Ok(None) };
        match choices.iter().find(|(word, _)| *word == found.value) {
            Some((_, value)) => Ok(Some(At { value: *value, place: found.place })),
            None => {
                let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
                let fault = found.fault(format!("`{}` is not one of {}", found.value, list(&words)));
                Err(fault.did_you_mean(&found.value, &words))
            }
        }
    }

    fn entry(&self, key: &str) -> Option<&'a (Node, Node)> {
        self.entries.iter().find(|(name, _)| matches!(&name.value, Value::Scalar { text, .. } if text == key))
    }
}

/// Keys and values of a mapping.
pub(crate) fn entries<'a>(node: &'a Node, what: &str) -> Result<&'a [(Node, Node)], Fault> {
    match &node.value {
        Value::Map(entries) => Ok(entries),
        other => Err(Fault::at(node.place, format!("{what} is a mapping, this is {}", other.kind()))),
    }
}

pub(crate) fn text(node: &Node, what: &str) -> Result<At<String>, Fault> {
    match &node.value {
        Value::Scalar { text, .. } => Ok(At { value: text.clone(), place: node.place }),
        other => Err(Fault::at(node.place, format!("`{what}` is text, this is {}", other.kind()))),
    }
}

pub(crate) fn port(node: &Node) -> Result<u16, Fault> {
    let fault = || Fault::at(node.place, "a port is a number from 1 to 65535");
    match &node.value {
        Value::Scalar { text, .. } => text.parse().ok().filter(|port| *port != 0).ok_or_else(fault),
        _ => Err(fault()),
    }
}

fn boolean(node: &Node, what: &str) -> Result<bool, Fault> {
    match &node.value {
        Value::Scalar { text, plain: true } if text == "true" => Ok(true),
        Value::Scalar { text, plain: true } if text == "false" => Ok(false),
        _ => Err(Fault::at(node.place, format!("`{what}` is `true` or `false`"))),
    }
}
