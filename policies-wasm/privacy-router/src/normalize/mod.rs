//! Undoes what hides a value from a reader of bytes: invisible and look-alike characters, escapes, encodings.

mod decode;
mod fold;

pub use decode::{base64_decode, runs, unescape};
pub use fold::fold;

/// A text made of another one, and where its bytes came from.
pub struct Derived {
    /// The text.
    pub text: Vec<u8>,
    origin: Origin,
}

enum Origin {
    /// All of it stands for this range.
    Range(usize, usize),
    /// Each byte began here.
    Each(Vec<u32>),
}

impl Derived {
    /// The range of the source that `start..end` of this text came from.
    pub fn source(&self, start: usize, end: usize) -> (usize, usize) {
        match &self.origin {
            Origin::Range(from, to) => (*from, *to),
            Origin::Each(places) => {
                let at = |i: usize| places.get(i).copied().unwrap_or_default() as usize;
                (at(start), at(end.saturating_sub(1)) + 1)
            }
        }
    }
}
