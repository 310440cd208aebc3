//! Finds sensitive values. One pass over the bytes; each class of byte wakes only the detectors it can begin.

pub mod assign;
pub mod cards;
mod checks;
mod contact;
pub mod custom;
mod given;
mod health;
pub mod iban;
pub mod national;
mod network;
mod people;
pub mod tokens;
mod words;

use std::ops::Range;

use crate::text::{DIGIT, MARK, WORD, class, span};

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
    scan_parts(text, std::iter::once(0..text.len()), custom, out);
}

/// Like [`scan`], of what begins inside of one of `parts`; the text around them is read as well.
pub fn scan_parts<'k>(
    text: &[u8],
    parts: impl IntoIterator<Item = Range<usize>>,
    custom: &'k Custom,
    out: &mut Vec<Hit<'k>>,
) {
    let from = out.len();
    for part in parts {
        scan_part(text, part, custom, out);
    }
    custom.patterns(text, out);
    resolve(out, from);
}

fn scan_part<'k>(text: &[u8], part: Range<usize>, custom: &'k Custom, out: &mut Vec<Hit<'k>>) {
    let mut i = part.start;
    while i < part.end {
        let first = class(text[i]);
        if first & WORD != 0 {
            let (end, classes) = span(text, i, WORD);
            word(text, i, end, classes, custom, out);
            i = end;
            continue;
        }
        if first & MARK != 0 {
            out.extend(mark(text, i));
        }
        i += 1;
    }
}

/// What begins or stands around the mark at `at`.
fn mark(text: &[u8], at: usize) -> Option<Hit<'static>> {
    match text[at] {
        b'@' => network::email(text, at),
        b':' if text.get(at + 1) == Some(&b'/') => network::url_credentials(text, at),
        b':' => network::colons(text, at),
        b'-' if text.get(at + 1) == Some(&b'-') => tokens::pem(text, at),
        b'-' if text.get(at + 3) == Some(&b'-') => network::colons(text, at),
        b'+' | b'(' if text.get(at + 1).is_some_and(u8::is_ascii_digit) => contact::phone(text, at),
        _ => None,
    }
}

/// What can begin with the word at `start..end`, whose bytes have these `classes`.
fn word<'k>(text: &[u8], start: usize, end: usize, classes: u8, custom: &'k Custom, out: &mut Vec<Hit<'k>>) {
    if class(text[start]) == DIGIT {
        out.extend(number(text, start, end, classes));
        custom.word(text, start, end, out);
        return;
    }
    if let Some(hit) = tokens::at(text, start) {
        out.push(hit);
        return;
    }
    custom.word(text, start, end, out);
    let length = end - start;
    if classes & DIGIT != 0 {
        if length >= 4 && text[start + 2].is_ascii_digit() {
            out.extend(iban::at(text, start));
        }
        if length >= 8 || text.get(end) == Some(&b'~') {
            out.extend(tokens::marked(text, start, end).or_else(|| national::at(text, start, end)));
        }
    } else if length <= 3 && matches!(text.get(end), Some(b' ' | b'-')) {
        // `AB 12 34 56 C`, `X-1234567-L`, `RSS MRA 85T10 A562S`.
        let digit = |at: usize| text.get(at).is_some_and(u8::is_ascii_digit);
        if digit(end + 1) || length == 3 && text.get(end + 4) == Some(&b' ') && (end + 5..end + 10).any(digit) {
            out.extend(national::at(text, start, end));
        }
    }
    // `Ann Lee`: a capital, small letters, a blank.
    if classes & DIGIT == 0 && length >= 2 && text.get(end) == Some(&b' ') && !text[start].is_ascii_lowercase() {
        out.extend(given::name(text, start, end));
    }
    if words::may_tell(&text[start..end]) && length <= words::LONGEST {
        telling(text, start, end, out);
    }
}

/// What can begin with a word that begins with a digit.
fn number(text: &[u8], start: usize, end: usize, classes: u8) -> Option<Hit<'static>> {
    // Most numbers are short: cards, personal numbers and telephones are not.
    let long = (classes == DIGIT && end - start >= LONG) || digits_ahead(text, start);
    tokens::marked(text, start, end)
        .or_else(|| if long { cards::at(text, start) } else { None })
        .or_else(|| if long { national::at(text, start, end) } else { None })
        .or_else(|| network::ipv4(text, start))
        .or_else(|| if long { contact::phone(text, start) } else { None })
        .or_else(|| people::house_number(text, start, end))
        .or_else(|| people::zip(text, start, end))
}

/// Fewest digits of what is long.
const LONG: usize = 6;

/// Whether so many digits follow from `at` on within what may be one number.
fn digits_ahead(text: &[u8], at: usize) -> bool {
    let mut digits = 0;
    for &b in &text[at..text.len().min(at + 24)] {
        match b {
            b'0'..=b'9' => {
                digits += 1;
                if digits == LONG {
                    return true;
                }
            }
            b' ' | b'-' | b'.' | b'/' | b'(' | b')' | b'_' | b'+' => {}
            b if b.is_ascii_alphabetic() => {}
            _ => return false,
        }
    }
    false
}

/// Words that say what comes next.
fn telling(text: &[u8], start: usize, end: usize, out: &mut Vec<Hit<'_>>) {
    let mut buffer = [0u8; words::LONGEST];
    let lower = &mut buffer[..end - start];
    for (slot, b) in lower.iter_mut().zip(&text[start..end]) {
        *slot = b.to_ascii_lowercase();
    }
    let lower: &[u8] = lower;
    let mut previous = [0u8; 24];
    let n = assign::previous_word(text, start, &mut previous);
    if let Some(promised) = assign::promise(lower, &previous[..n]) {
        out.extend(assign::value(text, start, end, promised));
    }
    let hit = match lower {
        b"dob" | b"born" | b"birthday" | b"birthdate" | b"birth" | b"geboren" | b"geburtsdatum" | b"nacimiento"
        | b"naissance" | b"nascita" | b"dateofbirth" | b"nascimento" | b"geb" | b"nacido" | b"nacida" | b"nato"
        | b"nata" | b"geboortedatum" => contact::birth_date(text, start, end),
        b"b" if text[..start].to_ascii_lowercase().ends_with(b"d.o.") => contact::birth_date(text, start, end + 1),
        b"basic" => assign::basic(text, end),
        _ if lower.starts_with("né".as_bytes()) => contact::birth_date(text, start, end),
        _ => people::named(text, lower, start, end)
            .or_else(|| people::announced(text, lower, start, end))
            .or_else(|| health::condition(text, lower, start, end))
            .or_else(|| people::street_then_number(text, start, end)),
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
