//! Payment card numbers: a known issuer range, a length that issuer uses, grouping as printed on cards, and Luhn.

use super::Hit;
use crate::checksum::luhn;
use crate::text::{Cues, around, before, is_word};

const CONTEXT: Cues = Cues::new(&[
    "card",
    "cards",
    "credit",
    "debit",
    "visa",
    "mastercard",
    "amex",
    "pan",
    "cc",
    "ccnum",
    "karte",
    "carte",
    "tarjeta",
]);
const LONGEST: usize = 19;

/// A card number that begins at the digit `at`.
pub fn at(text: &[u8], at: usize) -> Option<Hit<'static>> {
    if !(b'2'..=b'6').contains(&text[at]) || !may_begin(text, at) {
        return None;
    }
    let mut digits = [0u8; LONGEST];
    let mut count = 0;
    let mut groups = [0u8; LONGEST + 1];
    let mut closed = 0;
    let mut group = 0u8;
    let mut separator = None;
    let mut i = at;
    let mut best = None;
    while i < text.len() {
        let b = text[i];
        if b.is_ascii_digit() {
            if count == LONGEST {
                break;
            }
            digits[count] = b - b'0';
            count += 1;
            group += 1;
            if may_end(text, i + 1) {
                groups[closed] = group;
                if is_card(text, at, i + 1, &digits[..count], &groups[..=closed]) {
                    best = Some(i + 1);
                }
            }
        } else if matches!(b, b' ' | b'-' | b'.' | b'_') && separator.is_none_or(|s| s == b) && group > 0 {
            separator = Some(b);
            groups[closed] = group;
            closed += 1;
            group = 0;
        } else {
            break;
        }
        i += 1;
    }
    best.map(|end| Hit { kind: "payment_card", start: at, end })
}

/// Not inside a longer number, an identifier or a decimal fraction.
fn may_begin(text: &[u8], at: usize) -> bool {
    let inner = |i: usize| before(text, i).is_some_and(is_word);
    match before(text, at) {
        None => true,
        Some(b) if is_word(b) => false,
        Some(b'.' | b'-') => !inner(at - 1),
        Some(_) => true,
    }
}

fn may_end(text: &[u8], end: usize) -> bool {
    let word = |i: usize| text.get(i).copied().is_some_and(is_word);
    match text.get(end) {
        None => true,
        Some(&b) if is_word(b) => false,
        Some(b'-') => !word(end + 1),
        Some(b'.') => !text.get(end + 1).is_some_and(u8::is_ascii_digit),
        Some(_) => true,
    }
}

fn is_card(text: &[u8], start: usize, end: usize, digits: &[u8], groups: &[u8]) -> bool {
    if !issued(digits) || !printed(groups) || !luhn(digits) || digits.iter().all(|&d| d == digits[0]) {
        return false;
    }
    // Unusual lengths are mostly other numbers; they count where the words around say so.
    matches!(digits.len(), 14..=16) || around(text, start, end, 48, &CONTEXT)
}

/// Groups as people write them: none, fours, 4-6-5, 4-6-4, or each digit or pair apart.
fn printed(groups: &[u8]) -> bool {
    match groups {
        [_] | [4, 4, 4, 4] | [4, 4, 4, 4, 1..=3] | [4, 6, 4 | 5] | [6, 10] => true,
        [first, middle @ .., last] => *first <= 2 && middle.iter().all(|g| g == first) && last <= first,
        [] => false,
    }
}

/// Issuer identification number and length (ISO/IEC 7812; the networks' published ranges).
fn issued(d: &[u8]) -> bool {
    let n = d.len();
    if n < 13 {
        return false;
    }
    let head = |k: usize| d[..k].iter().fold(0u32, |n, &x| n * 10 + u32::from(x));
    let (two, three, four, six) = (head(2), head(3), head(4), head(6));
    match two {
        40..=49 => matches!(n, 13 | 16 | 19),
        51..=55 => n == 16,
        34 | 37 => n == 15,
        36 | 38 | 39 => (14..=19).contains(&n),
        30 if matches!(three, 300..=305 | 309) => (14..=19).contains(&n),
        35 => (3528..=3589).contains(&four) && (16..=19).contains(&n),
        22..=27 if (2221..=2720).contains(&four) => n == 16,
        22 if (2200..=2204).contains(&four) => (16..=19).contains(&n),
        60 | 64 | 65 if four == 6011 || (644..=659).contains(&three) => (16..=19).contains(&n),
        62 | 81 => (16..=19).contains(&n),
        50 | 58 | 63 | 67 => matches!(four, 5018 | 5020 | 5038 | 5893 | 6304 | 6759 | 6761..=6763) && n >= 13,
        60 => six >= 606_000 && n == 16,
        _ => false,
    }
}
