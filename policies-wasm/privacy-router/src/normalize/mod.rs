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
    /// From each first position on, bytes came one by one from the second position on.
    Steps(Vec<(u32, u32)>),
}

impl Derived {
    /// The range of the source that `start..end` of this text came from.
    pub fn source(&self, start: usize, end: usize) -> (usize, usize) {
        match &self.origin {
            Origin::Range(from, to) => (*from, *to),
            Origin::Steps(steps) => {
                let at = |i: usize| {
                    let after = steps.partition_point(|&(here, _)| here as usize <= i);
                    let (here, there) = after.checked_sub(1).map_or((0, 0), |k| steps[k]);
                    there as usize + (i - here as usize)
                };
                (at(start), at(end.saturating_sub(1)) + 1)
            }
        }
    }
}

/// Writes a derived text and notes where its bytes come from.
struct Writer {
    text: Vec<u8>,
    steps: Vec<(u32, u32)>,
    /// Where the next byte comes from if nothing was left out or replaced.
    next: usize,
}

impl Writer {
    /// A copy of the source's first `same` bytes, with room for `capacity`.
    fn copied(source: &[u8], same: usize, capacity: usize) -> Self {
        let mut text = Vec::with_capacity(capacity);
        text.extend_from_slice(&source[..same]);
        Self { text, steps: Vec::new(), next: same }
    }

    /// Adds bytes that stand for what is at `at` in the source.
    fn put(&mut self, bytes: &[u8], at: usize) {
        if at != self.next {
            self.steps.push((self.text.len() as u32, at as u32));
        }
        self.text.extend_from_slice(bytes);
        self.next = at + bytes.len();
    }

    fn finish(self) -> Derived {
        Derived { text: self.text, origin: Origin::Steps(self.steps) }
    }
}
