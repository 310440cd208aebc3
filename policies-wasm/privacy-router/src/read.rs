//! Reads a whole request: each message in every reading, and what is split across messages.

use openshell_policy_sdk::Message;

use crate::detect::custom::Custom;
use crate::detect::{self, Hit};
use crate::normalize::{Derived, fold, runs, unescape};

/// How deep encodings inside encodings are followed.
const DEPTH: u32 = 3;
/// Bytes that decoding may produce beyond six times the message.
const SLACK: usize = 256 * 1024;
/// Bytes of each end of a message that a value split across messages may use.
const EDGE: usize = 160;
/// Longest text made of such ends, in bytes.
const EDGES: usize = 128 * 1024;

/// A finding in a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found<'k> {
    /// What it is.
    pub kind: &'k str,
    /// Index of the message.
    pub message: usize,
    /// First byte in its text.
    pub start: usize,
    /// One past the last byte.
    pub end: usize,
}

/// Every finding. What can't be read to its end within the limits is a finding of its own: `unreadable`.
pub fn request<'k>(messages: &[Message], custom: &'k Custom) -> Vec<Found<'k>> {
    let mut found = Vec::new();
    let mut hits = Vec::new();
    for (index, message) in messages.iter().enumerate() {
        text(message.text.as_bytes(), custom, &mut hits);
        // Bytes that are no UTF-8, inside of an encoding, may have been read as longer ones.
        let end = message.text.len();
        let inside = |h: Hit<'k>| Found { kind: h.kind, message: index, start: h.start.min(end), end: h.end.min(end) };
        found.extend(hits.drain(..).map(inside));
    }
    let mut roles: Vec<&str> = Vec::new();
    for message in messages {
        if !roles.contains(&message.role.as_str()) && roles.len() < 16 {
            roles.push(&message.role);
        }
    }
    let mut joined = Vec::new();
    // With one role, all messages are of it.
    let all = (roles.len() != 1).then_some(None);
    for role in roles.into_iter().map(Some).chain(all) {
        for joint in ["", " "] {
            split(messages, role, joint, &mut joined, custom, &mut found);
        }
    }
    found
}

/// Appends every finding in one text, in whatever reading it shows.
pub fn text<'k>(text: &[u8], custom: &'k Custom, out: &mut Vec<Hit<'k>>) {
    let mut budget = Budget { left: text.len() * 6 + SLACK };
    if level(text, custom, DEPTH, &mut budget, out).is_none() {
        out.push(Hit { kind: "unreadable", start: 0, end: text.len() });
    }
}

/// Bytes that decoding may still produce.
struct Budget {
    left: usize,
}

impl Budget {
    fn spend(&mut self, bytes: usize) -> Option<()> {
        self.left = self.left.checked_sub(bytes)?;
        Some(())
    }
}

/// `None`: the budget ran out, or encodings nest deeper than is followed, so the text is not fully known.
fn level<'k>(text: &[u8], custom: &'k Custom, depth: u32, budget: &mut Budget, out: &mut Vec<Hit<'k>>) -> Option<()> {
    detect::scan(text, custom, out);
    if depth == 0 {
        let mut complete = Some(());
        runs(text, |_| {
            complete = None;
            false
        });
        return complete;
    }
    // The whole text, disguises off, then escapes read: each a reading of the one before.
    let mut readings: Vec<Derived> = Vec::new();
    let mut inner = Vec::new();
    for step in 0..=DEPTH {
        let current = readings.last().map_or(text, |d| &d.text);
        let Some(next) = (if step == 0 { fold(current) } else { unescape(current) }) else {
            if step == 0 { continue } else { break }
        };
        budget.spend(next.text.len())?;
        // What did not change was read before. Invisible characters may break a long token in the middle.
        let parts = next.changed(if step == 0 { 2048 } else { 512 });
        detect::scan_parts(&next.text, parts, custom, &mut inner);
        readings.push(next);
        inner.drain(..).for_each(|hit| keep(hit, &readings, out));
    }
    // Its parts that are text in another encoding.
    let mut complete = Some(());
    runs(readings.last().map_or(text, |d| &d.text), |part| {
        complete =
            budget.spend(part.text.len()).and_then(|()| level(&part.text, custom, depth - 1, budget, &mut inner));
        for hit in inner.drain(..) {
            let (start, end) = part.source(hit.start, hit.end);
            keep(Hit { start, end, ..hit }, &readings, out);
        }
        complete.is_some()
    });
    complete
}

/// Adds a finding of the last of `readings`, placed in the text that the first was made of, unless it is known.
fn keep<'k>(hit: Hit<'k>, readings: &[Derived], out: &mut Vec<Hit<'k>>) {
    let (start, end) = readings.iter().rev().fold((hit.start, hit.end), |(start, end), d| d.source(start, end));
    let known = out.iter().rev().take(512).any(|k| k.kind == hit.kind && k.start < end && start < k.end);
    if !known {
        out.push(Hit { kind: hit.kind, start, end });
    }
}

/// Values whose pieces stand at the ends of consecutive messages of one role (`None`: of any), with `joint`
/// between them.
fn split<'k>(
    messages: &[Message],
    role: Option<&str>,
    joint: &str,
    joined: &mut Vec<u8>,
    custom: &'k Custom,
    found: &mut Vec<Found<'k>>,
) {
    joined.clear();
    // Where each message's end meets the next one's beginning in `joined`, and which messages those are.
    let mut joints: Vec<(usize, usize, usize)> = Vec::new();
    let mut last = None;
    for (index, message) in messages.iter().enumerate().filter(|(_, m)| role.is_none_or(|r| m.role == r)) {
        let piece = message.text.trim().as_bytes();
        if piece.is_empty() {
            continue;
        }
        if joined.len() > EDGES {
            break;
        }
        if let Some(previous) = last.replace(index) {
            joints.push((joined.len(), previous, index));
            joined.extend_from_slice(joint.as_bytes());
        }
        if piece.len() <= 2 * EDGE {
            joined.extend_from_slice(piece);
        } else {
            joined.extend_from_slice(&piece[..EDGE]);
            joined.push(b'\n');
            joined.extend_from_slice(&piece[piece.len() - EDGE..]);
        }
    }
    if joints.is_empty() {
        return;
    }
    let mut hits = Vec::new();
    detect::scan(joined, custom, &mut hits);
    for hit in hits.into_iter().filter(|h| is_certain(h.kind)) {
        for &(_, before, after) in joints.iter().filter(|(at, ..)| hit.start < *at && *at < hit.end) {
            for message in [before, after] {
                let whole = Found { kind: hit.kind, message, start: 0, end: messages[message].text.len() };
                if !found.iter().any(|f| f.kind == hit.kind && f.message == message) {
                    found.push(whole);
                }
            }
        }
    }
}

/// Kinds whose checks or prefixes make a chance meeting of two messages improbable.
fn is_certain(kind: &str) -> bool {
    !matches!(
        kind,
        "phone"
            | "email"
            | "person_name"
            | "postal_address"
            | "birth_date"
            | "ip_address"
            | "mac_address"
            | "secret"
            | "password"
            | "bank_account"
            | "health"
            | "passport"
            | "driver_licence"
            | "us_ssn"
            | "es_dni"
            | "in_pan"
    )
}
