//! Invisible characters removed; full-width, styled and look-alike letters and digits read as ASCII.

use super::{Derived, Writer};
use crate::text::find_high;

/// The folded text, if folding changes anything.
pub fn fold(text: &[u8]) -> Option<Derived> {
    let first = changing(text, 0)?;
    let mut out = Writer::copied(text, first, text.len());
    let mut at = first;
    loop {
        let (c, width) = character(&text[at..]);
        match ascii(c) {
            Reading::Same => out.put(&text[at..at + width], at),
            Reading::Nothing => {}
            Reading::As(b) => out.put(&[b], at),
        }
        at += width;
        let next = changing(text, at).unwrap_or(text.len());
        if next > at {
            out.put(&text[at..next], at);
        } else if next == text.len() {
            out.mark(at);
        }
        at = next;
        if at >= text.len() {
            return Some(out.finish());
        }
    }
}

/// First position at or after `from` of a character that reads as something else.
fn changing(text: &[u8], from: usize) -> Option<usize> {
    let mut at = from;
    loop {
        at = find_high(text, at)?;
        // Latin letters with marks, by far the most common: none of them changes but these few.
        if let (0xc3 | 0xc5..=0xc8, Some(_)) = (text[at], text.get(at + 1)) {
            at += 2;
            continue;
        }
        let (c, width) = character(&text[at..]);
        if !matches!(ascii(c), Reading::Same) {
            return Some(at);
        }
        at += width;
    }
}

/// The first character, and its length in bytes; bytes that are no UTF-8 stand for themselves, one by one.
fn character(text: &[u8]) -> (char, usize) {
    let width = match text[0] {
        0..0x80 => return (text[0] as char, 1),
        0xc2..=0xdf => 2,
        0xe0..=0xef => 3,
        _ => 4,
    };
    let c = text.get(..width).and_then(|part| std::str::from_utf8(part).ok()).and_then(|part| part.chars().next());
    c.map_or((char::REPLACEMENT_CHARACTER, 1), |c| (c, width))
}

enum Reading {
    Same,
    Nothing,
    As(u8),
}

/// First code point of each run of ten decimal digits outside ASCII (Unicode category Nd) that fonts and keyboards offer.
const DIGITS: &[u32] = &[
    0x0660, 0x06f0, 0x07c0, 0x0966, 0x09e6, 0x0a66, 0x0ae6, 0x0b66, 0x0be6, 0x0c66, 0x0ce6, 0x0d66, 0x0e50, 0x0ed0,
    0x0f20, 0x1040, 0x17e0, 0x1810, 0xff10, 0x1d7ce, 0x1d7d8, 0x1d7e2, 0x1d7ec, 0x1d7f6, 0x1fbf0,
];
/// Cyrillic and Greek letters that look like Latin ones, with what they look like.
const LOOKS: &[(char, u8)] = &[
    ('а', b'a'),
    ('е', b'e'),
    ('о', b'o'),
    ('р', b'p'),
    ('с', b'c'),
    ('у', b'y'),
    ('х', b'x'),
    ('і', b'i'),
    ('ј', b'j'),
    ('ѕ', b's'),
    ('һ', b'h'),
    ('ԁ', b'd'),
    ('ԛ', b'q'),
    ('ԝ', b'w'),
    ('к', b'k'),
    ('ь', b'b'),
    ('А', b'A'),
    ('В', b'B'),
    ('Е', b'E'),
    ('К', b'K'),
    ('М', b'M'),
    ('Н', b'H'),
    ('О', b'O'),
    ('Р', b'P'),
    ('С', b'C'),
    ('Т', b'T'),
    ('Х', b'X'),
    ('Ѕ', b'S'),
    ('І', b'I'),
    ('Ј', b'J'),
    ('У', b'Y'),
    ('З', b'3'),
    ('Ԍ', b'G'),
    ('α', b'a'),
    ('ο', b'o'),
    ('ρ', b'p'),
    ('ν', b'v'),
    ('ι', b'i'),
    ('κ', b'k'),
    ('Α', b'A'),
    ('Β', b'B'),
    ('Ε', b'E'),
    ('Ζ', b'Z'),
    ('Η', b'H'),
    ('Ι', b'I'),
    ('Κ', b'K'),
    ('Μ', b'M'),
    ('Ν', b'N'),
    ('Ο', b'O'),
    ('Ρ', b'P'),
    ('Τ', b'T'),
    ('Υ', b'Y'),
    ('Χ', b'X'),
    ('ɡ', b'g'),
    ('ⅼ', b'l'),
    ('＠', b'@'),
    ('﹫', b'@'),
    ('․', b'.'),
    ('。', b'.'),
];

fn ascii(c: char) -> Reading {
    let n = c as u32;
    match n {
        0..0x80 => Reading::Same,
        0x131 => Reading::As(b'i'),
        // Soft hyphen, combining joiners, zero-width and direction marks, variation selectors, tags.
        0xad
        | 0x034f
        | 0x061c
        | 0x115f
        | 0x1160
        | 0x17b4
        | 0x17b5
        | 0x180b..=0x180f
        | 0x200b..=0x200f
        | 0x202a..=0x202e
        | 0x2060..=0x206f
        | 0x3164
        | 0xfe00..=0xfe0f
        | 0xfeff
        | 0xffa0
        | 0xe0000..=0xe0fff => Reading::Nothing,
        0xa0 | 0x1680 | 0x2000..=0x200a | 0x202f | 0x205f | 0x3000 => Reading::As(b' '),
        0x2010..=0x2015 | 0x2212 | 0xfe58 | 0xfe63 => Reading::As(b'-'),
        0x2018 | 0x2019 => Reading::As(b'\''),
        0x201c | 0x201d => Reading::As(b'"'),
        0xff01..=0xff5e if !(0xff10..=0xff19).contains(&n) => Reading::As((n - 0xff01) as u8 + b'!'),
        0x2070 | 0x2074..=0x2079 => Reading::As((n - 0x2070) as u8 + b'0'),
        0x2080..=0x2089 => Reading::As((n - 0x2080) as u8 + b'0'),
        0xb2 | 0xb3 => Reading::As((n - 0xb0) as u8 + b'0'),
        0xb9 => Reading::As(b'1'),
        0x2460..=0x2468 => Reading::As((n - 0x2460) as u8 + b'1'),
        0x24ea => Reading::As(b'0'),
        0x24b6..=0x24cf => Reading::As((n - 0x24b6) as u8 + b'A'),
        0x24d0..=0x24e9 => Reading::As((n - 0x24d0) as u8 + b'a'),
        // Mathematical alphanumerics: thirteen alphabets of 52 letters.
        0x1d400..=0x1d6a3 => {
            let k = ((n - 0x1d400) % 52) as u8;
            Reading::As(if k < 26 { b'A' + k } else { b'a' + k - 26 })
        }
        // Scripts without digits of their own and without letters that look Latin.
        0x3003..=0xfdff => Reading::Same,
        _ => digit(n).or_else(|| LOOKS.iter().find(|(l, _)| *l == c).map(|l| l.1)).map_or(Reading::Same, Reading::As),
    }
}

fn digit(n: u32) -> Option<u8> {
    DIGITS.iter().find(|&&zero| (zero..zero + 10).contains(&n)).map(|zero| (n - zero) as u8 + b'0')
}
