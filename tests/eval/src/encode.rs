//! Ways to write a value so that a reader of bytes misses it.

use crate::random::Random;

/// Encodings by name; `plain` is by far the most common in what is generated.
pub const NAMES: &[&str] = &["base64", "hex", "percent", "json", "zero-width", "full-width", "split"];

/// Standard base64 with padding.
pub fn base64(bytes: &[u8]) -> String {
    const TABLE: &[u8; 64] = crate::random::BASE64.first_chunk::<64>().unwrap();
    bytes
        .chunks(3)
        .flat_map(|chunk| {
            let n = chunk.iter().fold(0u32, |n, &b| n << 8 | u32::from(b)) << (8 * (3 - chunk.len()));
            (0..4).map(move |i| if i > chunk.len() { '=' } else { TABLE[(n >> (18 - 6 * i)) as usize & 63] as char })
        })
        .collect()
}

/// A whole sentence in an encoding that hides it from readers of bytes: what it says is the message.
pub fn sentence(encoding: &str, text: &str) -> String {
    match encoding {
        "base64" => base64(text.as_bytes()),
        "hex" => text.bytes().map(|b| format!("{b:02x}")).collect(),
        "percent" => text.bytes().map(|b| format!("%{b:02X}")).collect(),
        // JSON inside of a JSON string, inside of another one.
        "json" => {
            let quoted = serde_json::Value::from(text).to_string();
            format!("{{\"arguments\":{}}}", serde_json::Value::from(format!("{{\"input\":{quoted}}}")))
        }
        other => unreachable!("{other} disguises a value, not a sentence"),
    }
}

/// The value itself, character by character.
pub fn value(encoding: &str, text: &str, r: &mut Random) -> String {
    match encoding {
        "zero-width" => text.chars().flat_map(|c| [Some(c), r.one_in(3).then_some('\u{200b}')]).flatten().collect(),
        "full-width" => text
            .chars()
            .map(|c| match c {
                '!'..='~' => char::from_u32(c as u32 - 0x21 + 0xff01).unwrap_or(c),
                other => other,
            })
            .collect(),
        other => unreachable!("{other} disguises a sentence, not a value"),
    }
}
