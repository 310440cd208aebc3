//! YAML into a tree that remembers where everything stood.

use std::collections::BTreeMap;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, Span, SpannedEventReceiver};

use crate::fault::{Fault, Place};

/// More than any policy needs; bounds what aliases can multiply.
const MAX_NODES: usize = 200_000;
/// Bounds the recursion of everything that walks the tree.
const MAX_DEPTH: usize = 32;

#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) place: Place,
    pub(crate) value: Value,
}

#[derive(Debug, Clone)]
pub(crate) enum Value {
    /// Empty, `~` or `null`, unquoted.
    Null,
    /// Any other scalar. `plain`: written without quotes, so that `true` and `443` may mean more than their text.
    Scalar {
        text: String,
        plain: bool,
    },
    List(Vec<Node>),
    Map(Vec<(Node, Node)>),
}

impl Value {
    /// For messages: "a list".
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Scalar { .. } => "a single value",
            Self::List(_) => "a list",
            Self::Map(_) => "a mapping",
        }
    }
}

/// The document's root. Refuses syntax errors, several documents, duplicate keys, and trees beyond the limits.
pub(crate) fn parse(text: &str) -> Result<Node, Fault> {
    let mut builder = Builder::default();
    let result = Parser::new_from_str(text).load(&mut builder, true);
    if let Some(fault) = builder.fault {
        return Err(fault);
    }
    result.map_err(|error| Fault::at(place(error.marker()), error.info()))?;
    builder
        .root
        .ok_or_else(|| Fault::at(Place { line: 1, column: 1 }, "the document is empty").hint("begin with `version: 1`"))
}

fn place(marker: &Marker) -> Place {
    Place { line: marker.line().max(1), column: marker.col() + 1 }
}

#[derive(Default)]
struct Builder {
    open: Vec<Open>,
    anchors: BTreeMap<usize, Node>,
    root: Option<Node>,
    nodes: usize,
    fault: Option<Fault>,
}

/// A list or mapping that is still being read.
struct Open {
    node: Node,
    anchor: usize,
    /// A key whose value has not come yet.
    key: Option<Node>,
}

impl SpannedEventReceiver<'_> for Builder {
    fn on_event(&mut self, event: Event<'_>, span: Span) {
        if self.fault.is_none()
            && let Err(fault) = self.event(event, place(&span.start))
        {
            self.fault = Some(fault);
        }
    }
}

impl Builder {
    fn event(&mut self, event: Event<'_>, place: Place) -> Result<(), Fault> {
        match event {
            Event::DocumentStart(_) if self.root.is_some() => Err(Fault::at(place, "a second document begins here")),
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentStart(_) | Event::DocumentEnd => {
                Ok(())
            }
            Event::Alias(anchor) => {
                let Some(node) = self.anchors.get(&anchor).cloned() else {
                    return Err(Fault::at(place, "the alias refers to something that is still open"));
                };
                self.nodes += count(&node);
                self.complete(node, 0)
            }
            Event::Scalar(text, style, anchor, _) => {
                let plain = style == ScalarStyle::Plain;
                let value = match (&*text, plain) {
                    ("" | "~" | "null", true) => Value::Null,
                    _ => Value::Scalar { text: text.into_owned(), plain },
                };
                self.complete(Node { place, value }, anchor)
            }
            Event::SequenceStart(anchor, _) => self.begin(place, Value::List(Vec::new()), anchor),
            Event::MappingStart(anchor, _) => self.begin(place, Value::Map(Vec::new()), anchor),
            Event::SequenceEnd | Event::MappingEnd => match self.open.pop() {
                Some(Open { node, anchor, .. }) => self.complete(node, anchor),
                None => Err(Fault::at(place, "an end without a beginning")),
            },
        }
    }

    fn begin(&mut self, place: Place, value: Value, anchor: usize) -> Result<(), Fault> {
        if self.open.len() >= MAX_DEPTH {
            return Err(Fault::at(place, format!("nested deeper than {MAX_DEPTH} levels")));
        }
        self.open.push(Open { node: Node { place, value }, anchor, key: None });
        Ok(())
    }

    /// Puts a whole node where it belongs.
    fn complete(&mut self, node: Node, anchor: usize) -> Result<(), Fault> {
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            return Err(Fault::at(node.place, format!("more than {MAX_NODES} values")));
        }
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        let Some(open) = self.open.last_mut() else {
            self.root = Some(node);
            return Ok(());
        };
        match (&mut open.node.value, open.key.take()) {
            (Value::List(items), _) => items.push(node),
            (Value::Map(entries), Some(key)) => entries.push((key, node)),
            (Value::Map(entries), None) => {
                let Value::Scalar { text, .. } = &node.value else {
                    return Err(Fault::at(node.place, format!("a key must be a word, this is {}", node.value.kind())));
                };
                let same = |(key, _): &&(Node, Node)| matches!(&key.value, Value::Scalar { text: t, .. } if t == text);
                if let Some((first, _)) = entries.iter().find(same) {
                    let message = format!("`{text}` stands here a second time; first on line {}", first.place.line);
                    return Err(Fault::at(node.place, message));
                }
                open.key = Some(node);
            }
            (Value::Null | Value::Scalar { .. }, _) => {}
        }
        Ok(())
    }
}

fn count(node: &Node) -> usize {
    match &node.value {
        Value::Null | Value::Scalar { .. } => 1,
        Value::List(items) => 1 + items.iter().map(count).sum::<usize>(),
        Value::Map(entries) => 1 + entries.iter().map(|(_, value)| 1 + count(value)).sum::<usize>(),
    }
}
