//! Undoes what hides a value from a reader of bytes: invisible and look-alike characters, escapes, encodings.

mod decode;
mod fold;

pub use decode::{base64_decode, runs, unescape};
pub use fold::fold;

use crate::text::is_word;

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
    /// Where this text differs from its source, each place with `reach` bytes on both sides, merged: what is worth reading again.
    pub fn changed(&self, reach: usize) -> Vec<std::ops::Range<usize>> {
        let Origin::Steps(steps) = &self.origin else {
            return std::iter::once(0..self.text.len()).collect();
        };
        let mut parts: Vec<std::ops::Range<usize>> = Vec::new();
        for &(here, _) in steps {
            let here = here as usize;
            let (start, end) = (here.saturating_sub(reach), (here + reach).min(self.text.len()));
            match parts.last_mut() {
                Some(last) if start <= last.end => last.end = end,
                _ => parts.push(start..end),
            }
        }
        for part in &mut parts {
            // A word is read from its beginning.
            part.start -= self.text[..part.start].iter().rev().take_while(|&&b| is_word(b)).count();
        }
        parts
    }

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

    /// Marks the end as a place that differs from the source, whatever comes next.
    fn mark(&mut self, at: usize) {
        self.steps.push((self.text.len() as u32, at as u32));
    }

    fn finish(self) -> Derived {
        Derived { text: self.text, origin: Origin::Steps(self.steps) }
    }
}
