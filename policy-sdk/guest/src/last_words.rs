//! What a panicking policy says before it traps. It imports nothing for that: the text is left in memory, where the host
//! looks for it when the instance has trapped.
#![allow(unsafe_code)]

use core::cell::UnsafeCell;
use core::fmt::{Display, Write};

/// Longest text kept, in bytes.
const MAX: usize = 1000;

/// As the host finds it: these 16 bytes, the text's length (little endian, 0: nothing was said), the text (UTF-8).
#[repr(C)]
struct LastWords {
    magic: [u8; 16],
    length: u32,
    text: [u8; MAX],
}

struct Shared(UnsafeCell<LastWords>);

// SAFETY: `wasm32-unknown-unknown` without the `atomics` feature has one thread, and nothing here is entered twice.
unsafe impl Sync for Shared {}

#[used]
static LAST_WORDS: Shared =
    Shared(UnsafeCell::new(LastWords { magic: *b"openshell\0panic\0", length: 0, text: [0; MAX] }));

/// Writes down `words`, cut to what there is room for.
pub(crate) fn say(words: impl Display) {
    // SAFETY: one thread, and no other reference lives: formatting `words` runs code that does not come back here.
    let kept = unsafe { &mut *LAST_WORDS.0.get() };
    kept.length = 0;
    // Cutting is the only way to fail.
    let _ = write!(kept, "{words}");
}

impl Write for LastWords {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        let start = self.length as usize;
        let cut = text.floor_char_boundary(MAX - start);
        self.text[start..start + cut].copy_from_slice(&text.as_bytes()[..cut]);
        self.length += cut as u32;
        if cut == text.len() { Ok(()) } else { Err(core::fmt::Error) }
    }
}
