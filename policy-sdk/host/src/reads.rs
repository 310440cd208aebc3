//! What a policy read of the view: the answers, for remembering its verdict, and their names, for its record.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use crate::view::View;

/// Bytes of the view that one remembered verdict may depend on; one that read more is not remembered.
const MAX_READS: usize = 16 << 10;
/// Names kept of one decision.
const MAX_NAMES: usize = 32;
/// Longest name of a header or label that is kept, in bytes; the rest is cut.
const MAX_NAME: usize = 128;

/// One read of the view, as it was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Read {
    Header(String, Option<String>),
    Headers(Vec<u8>),
    Body(Option<Bytes>),
    Arguments(Vec<String>),
    Ancestors(Vec<String>),
    Label(String, Option<String>),
}

impl Read {
    pub(crate) fn same(&self, view: &dyn View) -> bool {
        match self {
            Self::Header(name, value) => view.header(name) == *value,
            Self::Headers(block) => view.headers() == *block,
            Self::Body(body) => view.body() == *body,
            Self::Arguments(arguments) => view.arguments() == *arguments,
            Self::Ancestors(ancestors) => view.ancestors() == *ancestors,
            Self::Label(name, value) => view.label(name) == *value,
        }
    }

    fn size(&self) -> usize {
        let list = |list: &[String]| list.iter().map(|item| item.len() + size_of::<String>()).sum();
        size_of::<Self>()
            + match self {
                Self::Header(name, value) | Self::Label(name, value) => {
                    name.len() + value.as_ref().map_or(0, String::len)
                }
                Self::Headers(block) => block.len(),
                Self::Body(body) => body.as_ref().map_or(0, Bytes::len),
                Self::Arguments(items) | Self::Ancestors(items) => list(items),
            }
    }
}

/// What a policy read, without what it was told.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ReadName {
    /// One header.
    Header(Box<str>),
    /// All headers.
    Headers,
    /// The body.
    Body,
    /// Arguments of the calling process.
    Arguments,
    /// Its ancestors.
    Ancestors,
    /// One label of the sandbox.
    Label(Box<str>),
}

impl fmt::Display for ReadName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header(name) => write!(f, "header {name}"),
            Self::Headers => f.write_str("headers"),
            Self::Body => f.write_str("body"),
            Self::Arguments => f.write_str("arguments"),
            Self::Ancestors => f.write_str("ancestors"),
            Self::Label(name) => write!(f, "label {name}"),
        }
    }
}

/// What a policy read in one decision, each once, in order; at most 32 of them. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct ReadNames(Option<Arc<[ReadName]>>);

impl ReadNames {
    /// The names.
    pub fn as_slice(&self) -> &[ReadName] {
        self.0.as_deref().unwrap_or_default()
    }

    pub(crate) fn size(&self) -> usize {
        let text = |name: &ReadName| match name {
            ReadName::Header(name) | ReadName::Label(name) => name.len(),
            _ => 0,
        };
        self.as_slice().iter().map(|name| size_of::<ReadName>() + text(name)).sum()
    }
}

/// What a decision read. The answers are kept until they are too much to remember; the names always.
#[derive(Debug, Default)]
pub(crate) struct Reads {
    /// Answers are of no interest.
    names_only: bool,
    list: Vec<Read>,
    size: usize,
    names: Vec<ReadName>,
}

impl Reads {
    /// Keeps names alone.
    pub(crate) fn names_only() -> Self {
        Self { names_only: true, ..Self::default() }
    }

    /// Takes note of a read; `answered` makes what is remembered of it.
    pub(crate) fn push(&mut self, name: ReadName, answered: impl FnOnce() -> Read) {
        if self.names.len() < MAX_NAMES && !self.names.contains(&name) {
            self.names.push(name);
        }
        if self.names_only || self.size > MAX_READS {
            return;
        }
        let read = answered();
        self.size = self.size.saturating_add(read.size());
        if self.size > MAX_READS {
            self.list = Vec::new();
        } else if !self.list.contains(&read) {
            self.list.push(read);
        }
    }

    /// The names, taken out.
    pub(crate) fn take_names(&mut self) -> ReadNames {
        let names = std::mem::take(&mut self.names);
        ReadNames((!names.is_empty()).then(|| names.into()))
    }

    /// Everything that was read and its size in bytes, if it can be remembered.
    pub(crate) fn whole(self) -> Option<(Vec<Read>, usize)> {
        (!self.names_only && self.size <= MAX_READS).then_some((self.list, self.size))
    }
}

/// A name as it is kept: bounded, and fit to be printed.
pub(crate) fn kept(name: &str) -> Box<str> {
    let name = &name[..name.floor_char_boundary(MAX_NAME)];
    if name.contains(char::is_control) { name.replace(char::is_control, " ").into() } else { name.into() }
}
