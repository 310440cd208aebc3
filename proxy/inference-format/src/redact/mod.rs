//! Replaces what was found in a request by placeholders, and puts it back into the answer.
//!
//! A placeholder looks like `EMAIL_7QK2M9XA`: one word that models leave alone, the same for the same value for as long as its key
//! lives. Every occurrence of a value is replaced, found there or not, also where JSON inside of a string escapes it. What can't be
//! replaced (a key, a number, the model's name) makes the whole request [`Irreplaceable`].

mod restore;
mod stream;

use std::collections::{BTreeMap, BTreeSet};

use openshell_policy_host::Finding;
use sha2::{Digest as _, Sha256};

use crate::document::{Document, Json};
use crate::texts::{Leaf, Piece};

pub use stream::{Restoring, Unreadable};

/// A value this short is replaced where it was found and where it is a word of its own; a longer one wherever it stands. In bytes.
const SHORT: usize = 4;

/// Something was found where nothing can be put in its place. Holds nothing of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Irreplaceable {
    /// In the name of a key, or in a number.
    #[error("something was found in a key or a number")]
    Place,
    /// In the model's name.
    #[error("something was found in the model's name")]
    Model,
    /// A value is still there after everything was replaced.
    #[error("a value that was found also stands in a key or a number")]
    Left,
    /// What was found is not known place by place.
    #[error("what was found is not known place by place")]
    Nothing,
}

/// Which placeholder stands for which value.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Placeholders {
    by_name: BTreeMap<String, String>,
    by_value: BTreeMap<String, String>,
}

/// A request with placeholders.
pub struct Redacted {
    /// The request.
    pub document: Document,
    /// What they stand for.
    pub placeholders: Placeholders,
}

/// Where a leaf stands, as far as it matters here.
struct Stands<'d> {
    text: &'d str,
    is_model: bool,
    /// It is JSON itself, so what stands in it may be escaped once more.
    is_json: bool,
}

/// Replaces `findings` in `document`, whose strings went where `pieces` say. `key` makes placeholders that nobody can guess; `known` are those of
/// earlier rounds.
pub fn redact(
    document: &Document,
    pieces: &[Piece],
    findings: &[Finding],
    key: &[u8],
    mut known: Placeholders,
) -> Result<Redacted, Irreplaceable> {
    if findings.is_empty() {
        return Err(Irreplaceable::Nothing);
    }
    let mut leaves = BTreeMap::new();
    for (name, value) in document.entries() {
        gather(value, name == "model", &mut leaves);
    }
    // Where each leaf is to be cut, and the value and kind of each cut.
    let mut cuts: BTreeMap<Leaf, Vec<(usize, usize, &str)>> = BTreeMap::new();
    for finding in findings {
        let (from, to) = (finding.start as usize, finding.end as usize);
        let mut anywhere = false;
        let first = pieces.partition_point(|piece| piece.message < finding.message);
        for piece in pieces[first..].iter().take_while(|piece| piece.message == finding.message) {
            let Some(stands) = leaves.get(&piece.leaf) else { continue };
            let begins = piece.start as usize;
            let (start, end) = (from.max(begins), to.min(begins + stands.text.len()));
            if start >= end {
                continue;
            }
            if stands.is_model {
                return Err(Irreplaceable::Model);
            }
            anywhere = true;
            cuts.entry(piece.leaf).or_default().push((start - begins, end - begins, &finding.kind));
        }
        if !anywhere {
            return Err(Irreplaceable::Place);
        }
    }
    let mut forms = Forms::default();
    let mut placed: BTreeMap<Leaf, Vec<(usize, usize, String)>> = BTreeMap::new();
    for (leaf, mut parts) in cuts {
        let Some(stands) = leaves.get(&leaf) else { continue };
        parts.sort_unstable();
        // Of those that are cut as one each is a value by itself, wherever else it stands.
        for (start, end, kind) in &parts {
            known.name(key, kind, &plain(&stands.text[*start..*end], stands.is_json));
        }
        for (start, end, kind) in merged(parts) {
            let value = plain(&stands.text[start..end], stands.is_json);
            let name = known.name(key, kind, &value);
            forms.add(&value, &name);
            placed.entry(leaf).or_default().push((start, end, name));
        }
    }
    for (value, name) in &known.by_value {
        forms.add(value, name);
    }
    let forms = forms.ready();
    let replaced = |entries: &[(String, Json)]| -> Vec<(String, Json)> {
        let each = |(name, value): &(String, Json)| {
            let same = name == "model";
            (name.clone(), if same { value.clone() } else { replace(value, &placed, &forms) })
        };
        entries.iter().map(each).collect()
    };
    let document = Document::of(replaced(document.entries())).map_err(|_| Irreplaceable::Left)?;
    if document.entries().iter().any(|(name, value)| forms.stands_in(name) || holds(value, &forms)) {
        return Err(Irreplaceable::Left);
    }
    Ok(Redacted { document, placeholders: known })
}

/// Overlapping and touching cuts as one each.
fn merged(parts: Vec<(usize, usize, &str)>) -> Vec<(usize, usize, &str)> {
    let mut merged: Vec<(usize, usize, &str)> = Vec::with_capacity(parts.len());
    for (start, end, kind) in parts {
        match merged.last_mut() {
            Some(last) if start < last.1 => last.1 = last.1.max(end),
            _ => merged.push((start, end, kind)),
        }
    }
    merged
}

fn gather<'d>(value: &'d Json, is_model: bool, leaves: &mut BTreeMap<Leaf, Stands<'d>>) {
    match value {
        Json::Text(text) => {
            let is_json = text.trim_start().starts_with(['{', '[']) && Json::parse(text.as_bytes()).is_some();
            leaves.insert(Leaf::of(text), Stands { text, is_model, is_json });
        }
        Json::Array(items) => items.iter().for_each(|item| gather(item, is_model, leaves)),
        Json::Object(entries) => entries.iter().for_each(|(_, value)| gather(value, is_model, leaves)),
        Json::Plain(_) | Json::Number(_) => {}
    }
}

/// A value without the escapes of the JSON that it stands in.
fn plain(text: &str, is_json: bool) -> String {
    let unescaped = is_json.then(|| serde_json::from_str(&format!("\"{text}\"")).ok()).flatten();
    unescaped.unwrap_or_else(|| text.to_owned())
}

/// A text as it stands within a JSON string.
fn escaped(text: &str) -> String {
    let quoted = serde_json::Value::from(text).to_string();
    quoted[1..quoted.len() - 1].to_owned()
}

fn replace(value: &Json, placed: &BTreeMap<Leaf, Vec<(usize, usize, String)>>, forms: &Ready) -> Json {
    match value {
        Json::Text(text) => forms.replace(text, placed.get(&Leaf::of(text)).map_or(&[], Vec::as_slice)).into(),
        Json::Array(items) => Json::Array(items.iter().map(|item| replace(item, placed, forms)).collect()),
        Json::Object(entries) => {
            Json::Object(entries.iter().map(|(key, value)| (key.clone(), replace(value, placed, forms))).collect())
        }
        other => other.clone(),
    }
}

/// Whether one of the values stands anywhere in it.
fn holds(value: &Json, forms: &Ready) -> bool {
    match value {
        Json::Plain(_) => false,
        Json::Number(number) => forms.stands_in(&number.to_string()),
        Json::Text(text) => forms.stands_in(text),
        Json::Array(items) => items.iter().any(|item| holds(item, forms)),
        Json::Object(entries) => entries.iter().any(|(key, value)| forms.stands_in(key) || holds(value, forms)),
    }
}

impl Placeholders {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.by_name.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    /// The placeholder of a value.
    fn name(&mut self, key: &[u8], kind: &str, value: &str) -> String {
        if let Some(name) = self.by_value.get(value) {
            return name.clone();
        }
        let kind: String = kind
            .chars()
            .filter(|c| c.is_ascii_alphanumeric() || *c == '_')
            .take(24)
            .map(|c| c.to_ascii_uppercase())
            .collect();
        let kind = if kind.is_empty() { "VALUE".to_owned() } else { kind };
        let mut turn = 0u32;
        let name = loop {
            let name = format!("{kind}_{}", word(key, value, turn));
            if !self.by_name.contains_key(&name) {
                break name;
            }
            turn += 1;
        };
        self.by_name.insert(name.clone(), value.to_owned());
        self.by_value.insert(value.to_owned(), name.clone());
        name
    }

    /// Puts as many stars in the place of each placeholder, for a reader that is to judge the rest.
    pub fn hide(&self, text: &mut String) {
        for name in self.by_name.keys() {
            if text.contains(name.as_str()) {
                *text = text.replace(name.as_str(), &"*".repeat(name.len()));
            }
        }
    }
}

/// Eight letters and digits that only whoever has the key can tell from chance (40 bits of a keyed hash).
fn word(key: &[u8], value: &str, turn: u32) -> String {
    const LETTERS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
    let mut hash = Sha256::new();
    hash.update((key.len() as u64).to_le_bytes());
    hash.update(key);
    hash.update(turn.to_le_bytes());
    hash.update(value.as_bytes());
    hash.finalize()[..8].iter().map(|byte| char::from(LETTERS[usize::from(byte % 32)])).collect()
}

/// The ways in which values may be written, each with what replaces it.
#[derive(Default)]
struct Forms(BTreeMap<String, String>);

/// [`Forms`], by first byte and longest first.
struct Ready {
    by_first: Vec<Vec<(String, String)>>,
    /// What replaces them.
    names: BTreeSet<String>,
}

impl Forms {
    fn add(&mut self, value: &str, name: &str) {
        let mut form = value.to_owned();
        for _ in 0..3 {
            self.0.insert(form.clone(), name.to_owned());
            let deeper = escaped(&form);
            if deeper == form {
                break;
            }
            form = deeper;
        }
    }

    fn ready(self) -> Ready {
        let names = self.0.values().cloned().collect();
        let mut by_first = vec![Vec::new(); 256];
        for (form, name) in self.0 {
            if let Some(&first) = form.as_bytes().first() {
                by_first[usize::from(first)].push((form, name));
            }
        }
        by_first.iter_mut().for_each(|forms: &mut Vec<(String, String)>| {
            forms.sort_by_key(|(form, _)| std::cmp::Reverse(form.len()));
        });
        Ready { by_first, names }
    }
}

impl Ready {
    /// The longest form that stands at `at` and may be replaced there.
    fn at<'f>(&'f self, text: &str, at: usize) -> Option<&'f (String, String)> {
        let bytes = text.as_bytes();
        let outside = |b: Option<&u8>| !b.is_some_and(|b| b.is_ascii_alphanumeric() || !b.is_ascii());
        self.by_first[usize::from(bytes[at])].iter().find(|(form, _)| {
            let end = at + form.len();
            bytes[at..].starts_with(form.as_bytes())
                && (form.len() >= SHORT
                    || outside(at.checked_sub(1).and_then(|i| bytes.get(i))) && outside(bytes.get(end)))
        })
    }

    /// A text with `cuts` (start, end, placeholder; in order) and every form replaced.
    fn replace(&self, text: &str, cuts: &[(usize, usize, String)]) -> String {
        let mut out = String::with_capacity(text.len());
        let mut cuts = cuts.iter().peekable();
        let (mut copied, mut at) = (0, 0);
        while at < text.len() {
            let next = cuts.peek().map_or(text.len(), |(start, ..)| *start);
            let (end, name) = if at == next {
                let Some((_, end, name)) = cuts.next() else { break };
                (*end, name)
            } else {
                match self.at(text, at).filter(|(form, _)| at + form.len() <= next) {
                    Some((form, name)) => (at + form.len(), name),
                    None => {
                        at += 1;
                        continue;
                    }
                }
            };
            out.push_str(&text[copied..at]);
            out.push_str(name);
            (copied, at) = (end, end);
        }
        out.push_str(&text[copied..]);
        out
    }

    /// Whether a value that is replaced wherever it stands is in a text, outside of placeholders.
    fn stands_in(&self, text: &str) -> bool {
        let bytes = text.as_bytes();
        let mut at = 0;
        while at < text.len() {
            let capital = bytes[at].is_ascii_uppercase() || bytes[at].is_ascii_digit() || bytes[at] == b'_';
            if let Some(name) = self.names.iter().find(|name| capital && bytes[at..].starts_with(name.as_bytes())) {
                at += name.len();
                continue;
            }
            if self.at(text, at).is_some() {
                return true;
            }
            at += 1;
        }
        false
    }
}
