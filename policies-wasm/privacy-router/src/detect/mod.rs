//! Finds sensitive values. One pass over the bytes; each class of byte wakes only the detectors it can begin.

pub mod assign;
pub mod cards;
mod checks;
mod contact;
pub mod custom;
pub mod iban;
pub mod national;
mod network;
mod people;
pub mod tokens;

use crate::text::{is_word, run};
use custom::Custom;

/// One value found: byte offsets into the text that was scanned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hit<'k> {
    /// What it is.
    pub kind: &'k str,
    /// First byte.
    pub start: usize,
    /// One past the last byte.
    pub end: usize,
}

/// Kinds that a more specific finding in the same place replaces.
const GENERIC: &[&str] = &["secret", "password", "person_name", "phone", "bank_account"];

/// Appends every finding in `text` to `out`, in no particular order, overlaps resolved.
pub fn scan<'k>(text: &[u8], custom: &'k Custom, out: &mut Vec<Hit<'k>>) {
    let from = out.len();
    let mut i = 0;
    while i < text.len() {
        let b = text[i];
        if is_word(b) {
            let end = run(text, i, is_word);
            word(text, i, end, custom, out);
            i = end;
            continue;
        }
        let hit = match b {
            b'@' => network::email(text, i),
            b':' => network::url_credentials(text, i).or_else(|| network::colons(text, i)),
            b'-' if text.get(i + 1) == Some(&b'-') => tokens::pem(text, i),
            b'-' if i >= 2 => network::colons(text, i),
            b'+' | b'(' if text.get(i + 1).is_some_and(u8::is_ascii_digit) => contact::phone(text, i),
            _ => None,
        };
        out.extend(hit);
        i += 1;
    }
    custom.patterns(text, out);
    resolve(out, from);
}

/// What can begin with the word at `start..end`.
fn word<'k>(text: &[u8], start: usize, end: usize, custom: &'k Custom, out: &mut Vec<Hit<'k>>) {
    if text[start].is_ascii_digit() {
        let hit = cards::at(text, start)
            .or_else(|| national::at(text, start, end))
            .or_else(|| network::ipv4(text, start))
            .or_else(|| contact::phone(text, start))
            .or_else(|| people::house_number(text, start, end))
            .or_else(|| people::zip(text, start, end));
        out.extend(hit);
        custom.word(text, start, end, out);
        return;
    }
    if let Some(hit) = tokens::at(text, start) {
        out.push(hit);
        return;
    }
    custom.word(text, start, end, out);
    let length = end - start;
    if length >= 4 && text[start + 2].is_ascii_digit() {
        out.extend(iban::at(text, start));
    }
    let shaped = length >= 8 && text[start..end].iter().any(u8::is_ascii_digit)
        || length <= 3
            && matches!(text.get(end), Some(b' ' | b'-'))
            && (length == 3 || text.get(end + 1).is_some_and(u8::is_ascii_digit));
    if shaped {
        out.extend(national::at(text, start, end));
    }
    if length <= 24 {
        telling(text, start, end, out);
    }
}

/// Words that say what comes next.
fn telling(text: &[u8], start: usize, end: usize, out: &mut Vec<Hit<'_>>) {
    let mut buffer = [0u8; 24];
    let lower = &mut buffer[..end - start];
    for (slot, b) in lower.iter_mut().zip(&text[start..end]) {
        *slot = b.to_ascii_lowercase();
    }
    let lower: &[u8] = lower;
    if assign::may_promise(lower) {
        let mut previous = [0u8; 24];
        let n = assign::previous_word(text, start, &mut previous);
        if let Some(promised) = assign::promise(lower, &previous[..n]) {
            out.extend(assign::value(text, end, promised));
        }
    }
    let spoken = text.get(end).is_some_and(|b| matches!(b, b' ' | b'.' | b':' | b'=' | b'"' | b'_' | b'\''));
    let hit = match lower {
        b"dob" | b"born" | b"birthday" | b"birthdate" | b"birth" | b"geboren" | b"geburtsdatum" | b"nacimiento"
        | b"naissance" | b"nascita" | b"dateofbirth" | b"nascimento" => contact::birth_date(text, end),
        b"mr" | b"mrs" | b"ms" | b"herr" | b"frau" | b"mme" | b"sra" if spoken && text[start].is_ascii_uppercase() => {
            people::name_after(text, end, 1)
        }
        b"dr" | b"prof" if spoken && text[start].is_ascii_uppercase() => people::name_after(text, end, 1),
        b"name" | b"patient" | b"fullname" | b"firstname" | b"lastname" | b"surname" if spoken => {
            people::name_after(text, end, 2)
        }
        b"dear" | b"sincerely" if text[start].is_ascii_uppercase() && spoken => people::name_after(text, end, 2),
        _ => people::announced(text, lower, start, end).or_else(|| {
            let numbered = text.get(end).is_some_and(|b| matches!(b, b' ' | b'.'));
            (numbered && lower.len() >= 3).then(|| people::street_then_number(text, start, end)).flatten()
        }),
    };
    out.extend(hit);
}

/// Drops duplicates, and generic findings where a specific one stands in the same place.
fn resolve(out: &mut Vec<Hit<'_>>, from: usize) {
    if out.len() - from < 2 {
        return;
    }
    let mut found = out.split_off(from);
    let rank = |h: &Hit<'_>| (GENERIC.contains(&h.kind), std::cmp::Reverse(h.end - h.start));
    found.sort_by_key(|h| (rank(h), h.start));
    // Specific and long ones first: what overlaps one of them and is generic, or lies inside it, adds nothing.
    let mut kept: Vec<Hit<'_>> = Vec::with_capacity(found.len());
    for hit in found {
        let same_place = |k: &&Hit<'_>| k.start < hit.end && hit.start < k.end;
        let redundant = kept.iter().rev().take(256).find(same_place).is_some_and(|k| {
            GENERIC.contains(&hit.kind)
                || k.kind == hit.kind
                || (k.start <= hit.start && hit.end <= k.end && k.kind != "connection_string")
        });
        if !redundant {
            kept.push(hit);
        }
    }
    out.append(&mut kept);
}
