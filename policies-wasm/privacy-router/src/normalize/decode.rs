//! Base64, hexadecimal, percent and JSON escapes.

use super::{Derived, Origin, Writer};
use crate::text::{DIGIT, JOINT, LOWER, PERCENT, UPPER, class, find, run, span};

/// Shortest encoded run worth reading, in characters: it holds 15 (base64) or 12 (hex) bytes.
const SHORTEST_BASE64: usize = 20;
const SHORTEST_HEX: usize = 24;

/// Decodes base64 or base64url, padded or not. `None`: some other character, or an impossible length.
pub fn base64_decode(encoded: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(encoded.len() / 4 * 3 + 3);
    let (mut bits, mut held, mut count) = (0u32, 0u32, 0usize);
    for &b in encoded {
        let value = match b {
            b'=' => break,
            b'\n' | b'\r' => continue,
            _ => sextet(b)?,
        };
        bits = bits << 6 | u32::from(value);
        held += 6;
        count += 1;
        if held >= 8 {
            held -= 8;
            out.push((bits >> held) as u8);
        }
    }
    (count % 4 != 1).then_some(out)
}

/// Hands each decoded run of base64, hexadecimal or percent escapes to `each` until it answers `false`.
pub fn runs(text: &[u8], mut each: impl FnMut(Derived) -> bool) {
    let mut i = 0;
    while i < text.len() {
        let classes = class(text[i]);
        if classes & ENCODED != 0 {
            let start = i;
            (i, _) = span(text, start, ENCODED);
            if i - start < SHORTEST_BASE64 {
                continue;
            }
            i = base64_end(text, start);
            if let Some(decoded) = encoded(&text[start..i])
                && !each(Derived { text: decoded, origin: Origin::Range(start, i) })
            {
                return;
            }
        } else if classes == PERCENT && percent(text, i).is_some() {
            let (derived, end) = percent_run(text, i);
            if !each(derived) {
                return;
            }
            i = end;
        } else {
            i += 1;
        }
    }
}

const ENCODED: u8 = LOWER | UPPER | DIGIT | JOINT;

fn is_base64(b: u8) -> bool {
    class(b) & ENCODED != 0
}

/// End of the run at `start`; lines of at least 60 characters continue after a line break.
fn base64_end(text: &[u8], start: usize) -> usize {
    let mut line = start;
    loop {
        let end = run(text, line, is_base64);
        let next = run(text, end, |b| matches!(b, b'\r' | b'\n'));
        if end - line < 60 || next == end || next - end > 2 || !text.get(next).copied().is_some_and(is_base64) {
            return run(text, end, |b| b == b'=');
        }
        line = next;
    }
}

/// What a run says when read as hexadecimal or base64: only if it is text. A path or a name may be glued before the encoded
/// value, so it is also read from after each of its first separators.
fn encoded(run: &[u8]) -> Option<Vec<u8>> {
    const STARTS: usize = 6;
    let separators = run.iter().enumerate().filter(|(_, b)| matches!(b, b'/' | b'_' | b'-')).map(|(i, _)| i + 1);
    [0].into_iter().chain(separators.take(STARTS)).find_map(|from| plain(&run[from..]))
}

fn plain(part: &[u8]) -> Option<Vec<u8>> {
    if part.len() < SHORTEST_BASE64 {
        return None;
    }
    let hexadecimal =
        |p: &[u8]| p.len() >= SHORTEST_HEX && p.len().is_multiple_of(2) && p.iter().all(u8::is_ascii_hexdigit);
    let bare = part.strip_prefix(b"0x").unwrap_or(part);
    let nibble = |b: u8| (b as char).to_digit(16).unwrap_or_default() as u8;
    // What a hash decodes to shows at once that it is not text.
    let begins = bare.chunks(2).take(6).all(|p| p.len() == 2 && is_plausible(nibble(p[0]) << 4 | nibble(p[1])));
    if begins && hexadecimal(bare) {
        let decoded: Vec<u8> = bare.chunks(2).map(|p| nibble(p[0]) << 4 | nibble(p[1])).collect();
        if is_text(&decoded) {
            return Some(decoded);
        }
    }
    // Names, hashes and pictures show on their first bytes that they are not text.
    let mut head = [0u8; 6];
    for (out, four) in head.chunks_mut(3).zip(part.chunks_exact(4)) {
        let bits = four.iter().try_fold(0u32, |bits, &b| Some(bits << 6 | u32::from(sextet(b)?)))?;
        out.copy_from_slice(&bits.to_be_bytes()[1..]);
    }
    let broken = |bytes: &[u8]| std::str::from_utf8(bytes).is_err_and(|error| error.error_len().is_some());
    if !head.iter().all(|&b| is_plausible(b)) || broken(&head) {
        return None;
    }
    let head = base64_decode(&part[..part.len().min(64) / 4 * 4])?;
    if !is_text(&head[..head.len().min(45)]) {
        return None;
    }
    base64_decode(part).filter(|decoded| is_text(decoded))
}

/// A byte that text may have.
fn is_plausible(b: u8) -> bool {
    matches!(b, b' '..=b'~' | b'\n' | b'\t' | b'\r' | 0x80..)
}

/// What a character of base64 or base64url stands for.
fn sextet(b: u8) -> Option<u8> {
    Some(match b {
        b'A'..=b'Z' => b - b'A',
        b'a'..=b'z' => b - b'a' + 26,
        b'0'..=b'9' => b - b'0' + 52,
        b'+' | b'-' => 62,
        b'/' | b'_' => 63,
        _ => return None,
    })
}

/// Mostly printable: what a person or a program would have written, cut anywhere.
fn is_text(bytes: &[u8]) -> bool {
    let valid = match std::str::from_utf8(bytes) {
        Ok(_) => true,
        Err(error) => error.error_len().is_none() && error.valid_up_to() > 0,
    };
    let printable = bytes.iter().filter(|b| is_plausible(**b)).count();
    valid && bytes.len() >= 8 && printable * 20 >= bytes.len() * 19
}

fn percent(text: &[u8], at: usize) -> Option<u8> {
    let digit = |i: usize| text.get(i).and_then(|b| (*b as char).to_digit(16));
    Some((digit(at + 1)? * 16 + digit(at + 2)?) as u8)
}

/// The run of non-blank characters around the percent escape at `at`, decoded.
fn percent_run(text: &[u8], at: usize) -> (Derived, usize) {
    let part = |b: u8| !b.is_ascii_whitespace() && !matches!(b, b'"' | b'\'' | b'<' | b'>' | b'`');
    let start = at - text[..at].iter().rev().take(256).take_while(|&&b| part(b)).count();
    let end = run(text, at, part);
    let mut out = Writer::copied(text, 0, end - start);
    let mut i = start;
    while i < end {
        match (text[i], percent(text, i)) {
            (b'%', Some(b)) if i + 2 < end => {
                out.put(&[b], i);
                i += 3;
            }
            (b, _) => {
                out.put(&[if b == b'+' { b' ' } else { b }], i);
                i += 1;
            }
        }
    }
    (out.finish(), end)
}

/// The text with JSON escapes read (`\"`, `\n`, `\u0034`), if it has any: JSON inside a JSON string, or source code.
pub fn unescape(text: &[u8]) -> Option<Derived> {
    let first = find(text, 0, b'\\')?;
    let mut out = Writer::copied(text, first, text.len());
    let mut changed = false;
    let mut i = first;
    while i < text.len() {
        let escape = if text[i] == b'\\' { escaped(text, i) } else { None };
        match escape {
            Some((c, width)) => {
                changed = true;
                out.put(c.encode_utf8(&mut [0u8; 4]).as_bytes(), i);
                i += width;
            }
            None => {
                let end = find(text, i + 1, b'\\').unwrap_or(text.len());
                out.put(&text[i..end], i);
                i = end;
            }
        }
    }
    changed.then(|| out.finish())
}

/// The character that the escape at the backslash `at` stands for, and the escape's length.
fn escaped(text: &[u8], at: usize) -> Option<(char, usize)> {
    match text.get(at + 1)? {
        b'n' => Some(('\n', 2)),
        b'r' => Some(('\r', 2)),
        b't' => Some(('\t', 2)),
        &b @ (b'"' | b'\\' | b'/' | b'\'') => Some((b as char, 2)),
        b'u' => Some((hex4(text, at + 2)?, 6)),
        b'x' => Some((percent(text, at + 1)? as char, 4)),
        _ => None,
    }
}

fn hex4(text: &[u8], at: usize) -> Option<char> {
    let digits = std::str::from_utf8(text.get(at..at + 4)?).ok()?;
    char::from_u32(u32::from_str_radix(digits, 16).ok()?)
}
