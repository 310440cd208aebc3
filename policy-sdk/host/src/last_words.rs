//! What a policy said just before it trapped, as the SDK leaves it in memory (`policy-sdk/guest/src/last_words.rs`).

use wasmtime::{Store, WasmCoreDump};

use crate::state::State;

const MAGIC: &[u8] = b"openshell\0panic\0";
/// Longest text, in bytes.
const MAX: usize = 1000;
/// Static data lies at the start of the memory; no further is it looked for.
const SEARCHED: usize = 4 << 20;

/// The words, if there are any. They are the policy's own: trusted no more than the rest of it.
pub(crate) fn find(store: &Store<State>, error: &wasmtime::Error) -> Option<String> {
    let dump = error.downcast_ref::<WasmCoreDump>()?;
    dump.memories().iter().find_map(|memory| {
        let data = memory.data(store);
        read(&data[..data.len().min(SEARCHED)])
    })
}

fn read(memory: &[u8]) -> Option<String> {
    let rest = &memory[memchr::memmem::find(memory, MAGIC)? + MAGIC.len()..];
    let (length, text) = rest.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
    if length == 0 || length > MAX {
        return None;
    }
    Some(String::from_utf8_lossy(text.get(..length)?).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_found_where_they_are_whole() {
        let memory = |length: u32, text: &str| [&[0; 70_000], MAGIC, &length.to_le_bytes(), text.as_bytes()].concat();
        let check = |memory: &[u8], expected: Option<&str>| assert_eq!(read(memory).as_deref(), expected);
        check(&memory(3, "abcd"), Some("abc"));
        check(&memory(0, "abcd"), None);
        check(&memory(5, "abcd"), None);
        check(&memory(1001, &"a".repeat(2000)), None);
        check(MAGIC, None);
        check(b"", None);
        check(&[MAGIC, &3_u32.to_le_bytes(), b"a\xff\xffb"].concat(), Some("a\u{fffd}\u{fffd}"));
    }
}
