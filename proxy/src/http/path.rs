//! Request paths in the one form that is judged and sent.

use std::borrow::Cow;

/// Decodes percent-encoded unreserved characters, writes the other escapes in uppercase and resolves dot segments
/// (RFC 3986 §6.2.2), so that what a policy reads is what the origin resolves. Never decodes a reserved character.
/// Refuses what starts with anything but `/`, a malformed escape, a control character, a backslash, and a dot segment that
/// only some origins see: those that decode `%2F` and `%5C` first, or cut parameters off (`..;a`). Empty segments stay.
pub(super) fn normalise(path: &str) -> Option<Cow<'_, str>> {
    if !path.starts_with('/') || path.bytes().any(|b| b.is_ascii_control() || b == b'\\') {
        return None;
    }
    if !path.contains('%') && !path.contains("/.") {
        return Some(Cow::Borrowed(path));
    }
    let decoded = decode_unreserved(path)?;
    let resolved = remove_dot_segments(&decoded);
    (!resolved.contains("%00") && !hides_dot_segments(&resolved)).then_some(Cow::Owned(resolved))
}

/// Whether some origin may find a dot segment in a path that has none.
fn hides_dot_segments(resolved: &str) -> bool {
    let parts = resolved.split('/').flat_map(|segment| segment.split("%2F")).flat_map(|part| part.split("%5C"));
    parts.map(|part| part.split(';').next().unwrap_or(part)).any(|part| matches!(part, "." | ".."))
}

fn decode_unreserved(path: &str) -> Option<String> {
    let bytes = path.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        if bytes[at] != b'%' {
            out.push(bytes[at]);
            at += 1;
            continue;
        }
        let escape = bytes.get(at + 1..at + 3)?;
        let digit = |b: u8| char::from(b).to_digit(16);
        let value = u8::try_from(digit(escape[0])? * 16 + digit(escape[1])?).ok()?;
        if value.is_ascii_alphanumeric() || b"-._~".contains(&value) {
            out.push(value);
        } else {
            out.extend([b'%', escape[0].to_ascii_uppercase(), escape[1].to_ascii_uppercase()]);
        }
        at += 3;
    }
    String::from_utf8(out).ok()
}

fn remove_dot_segments(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        match segment {
            "." | ".." => {
                if segment == ".." {
                    kept.pop();
                }
                if last {
                    kept.push("");
                }
            }
            _ => kept.push(segment),
        }
    }
    format!("/{}", kept.join("/"))
}
