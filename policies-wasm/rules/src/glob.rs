//! The one glob: `*` within a segment, `**` across segments.

use crate::fault::Fault;
use crate::reader::At;

/// A pattern over text whose segments are split by `/`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Glob {
    /// No wildcard.
    Exact(String),
    /// `**`: anything.
    Any,
    /// The rest.
    Parts(Vec<Part>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Part {
    Literal(String),
    /// `*`: any run of characters other than `/`.
    Within,
    /// `**`: any run of characters.
    Across,
    /// `/**/`: one `/`, or two with anything between.
    Segments,
}

impl Glob {
    /// Refuses what other globs give a meaning to and this one doesn't.
    pub(crate) fn parse(pattern: &At<String>) -> Result<Self, Fault> {
        let text = pattern.value.as_str();
        if text.is_empty() {
            return Err(pattern.fault("an empty pattern matches nothing"));
        }
        if let Some(special) = text.chars().find(|c| matches!(c, '?' | '[' | ']' | '{' | '}')) {
            let fault = pattern.fault(format!("`{special}` has no meaning in a pattern"));
            return Err(fault.hint("patterns know `*` (within a segment) and `**` (across segments)"));
        }
        if text.contains("***") {
            return Err(pattern.fault("`***` has no meaning in a pattern").hint("write `**`"));
        }
        Ok(match text {
            "**" => Self::Any,
            _ if !text.contains('*') => Self::Exact(text.to_owned()),
            _ => Self::Parts(parts(text)),
        })
    }

    pub(crate) fn matches(&self, text: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Exact(exact) => exact == text,
            Self::Parts(parts) => matches_from(parts, text.as_bytes()),
        }
    }
}

fn parts(mut text: &str) -> Vec<Part> {
    let mut parts = Vec::new();
    while !text.is_empty() {
        let (part, rest) = if let Some(rest) = text.strip_prefix("/**/") {
            // The second `/` may begin the next `/**/`.
            (Part::Segments, rest)
        } else if let Some(rest) = text.strip_prefix("**") {
            (Part::Across, rest)
        } else if let Some(rest) = text.strip_prefix('*') {
            (Part::Within, rest)
        } else {
            let end = text.find('*').unwrap_or(text.len());
            let end = text.find("/**/").map_or(end, |segments| end.min(segments));
            (Part::Literal(text[..end].to_owned()), &text[end..])
        };
        parts.push(part);
        text = rest;
    }
    parts
}

/// The common shapes, literal then at most one wildcard, without any tables.
fn matches_from(parts: &[Part], text: &[u8]) -> bool {
    let (parts, text) = match parts {
        [Part::Literal(literal), rest @ ..] => match text.strip_prefix(literal.as_bytes()) {
            Some(text) => (rest, text),
            None => return false,
        },
        parts => (parts, text),
    };
    match parts {
        [] => text.is_empty(),
        [Part::Across] => true,
        [Part::Within] => !text.contains(&b'/'),
        parts => matches(parts, text),
    }
}

/// Steps through the text once per part, keeping the set of positions the parts so far can end at: time is bounded by
/// parts × length, whatever the pattern.
fn matches(parts: &[Part], text: &[u8]) -> bool {
    let mut ends = vec![false; text.len() + 1];
    ends[0] = true;
    for part in parts {
        let mut next = vec![false; text.len() + 1];
        match part {
            Part::Literal(literal) => {
                for at in positions(&ends) {
                    if text[at..].starts_with(literal.as_bytes()) {
                        next[at + literal.len()] = true;
                    }
                }
            }
            Part::Within => {
                let mut reached = false;
                for at in 0..=text.len() {
                    reached |= ends[at];
                    next[at] = reached;
                    reached &= text.get(at) != Some(&b'/');
                }
            }
            Part::Across => {
                if let Some(first) = positions(&ends).next() {
                    next[first..].fill(true);
                }
            }
            Part::Segments => {
                // From the first `/` that stands where the parts so far can end, every `/` may be the closing one.
                if let Some(first) = positions(&ends).find(|&at| text.get(at) == Some(&b'/')) {
                    for at in (first..text.len()).filter(|&at| text[at] == b'/') {
                        next[at + 1] = true;
                    }
                }
            }
        }
        ends = next;
    }
    ends[text.len()]
}

fn positions(ends: &[bool]) -> impl Iterator<Item = usize> + '_ {
    ends.iter().enumerate().filter(|(_, reached)| **reached).map(|(at, _)| at)
}
