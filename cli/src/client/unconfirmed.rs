//! Input that was sent and may have to be sent again.

use std::collections::VecDeque;

use bytes::Bytes;

/// What a sandbox has not said that it took, up to a window.
pub struct Unconfirmed {
    window: u64,
    data: VecDeque<u8>,
    /// Offset of the first byte that is kept, in bytes since the stream began.
    base: u64,
    ended: bool,
    /// Whether the sandbox says how much it took in all: what has arrived there is kept then until it is taken, so that it
    /// counts as what waits.
    counted: bool,
}

impl Unconfirmed {
    /// Keeps about `window` bytes.
    pub fn new(window: u64) -> Self {
        Self { window, data: VecDeque::new(), base: 0, ended: false, counted: false }
    }

    /// Whether more may be sent.
    pub fn has_room(&self) -> bool {
        !self.ended && (self.data.len() as u64) < self.window - super::stream::CHUNK as u64
    }

    /// Something is sent; nothing: the end of input.
    pub fn push(&mut self, data: &[u8]) {
        self.ended |= data.is_empty();
        self.data.extend(data);
    }

    /// The sandbox took so many more bytes, which makes `input` since the stream began, if it says so.
    pub fn taken(&mut self, bytes: u64, input: Option<u64>) {
        self.counted |= input.is_some();
        self.forget_to(input.unwrap_or(self.base.saturating_add(bytes)));
    }

    fn forget_to(&mut self, offset: u64) {
        let known = offset.saturating_sub(self.base).min(self.data.len() as u64);
        self.data.drain(..usize::try_from(known).unwrap_or(usize::MAX));
        self.base += known;
    }

    /// The sandbox has everything before `offset`, and the end of input if it says so: answers what to send again.
    pub fn resume(&mut self, offset: u64, ended: bool, chunk: usize) -> Vec<Bytes> {
        if !self.counted {
            self.forget_to(offset);
        }
        let arrived = offset.saturating_sub(self.base).min(self.data.len() as u64);
        let missing = &self.data.make_contiguous()[usize::try_from(arrived).unwrap_or(usize::MAX)..];
        let mut again: Vec<Bytes> = missing.chunks(chunk).map(Bytes::copy_from_slice).collect();
        if self.ended && !ended {
            again.push(Bytes::new());
        }
        again
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resumed(input: &mut Unconfirmed, offset: u64, ended: bool) -> Vec<String> {
        input.resume(offset, ended, 4).iter().map(|bytes| String::from_utf8_lossy(bytes).into_owned()).collect()
    }

    #[test]
    fn only_what_did_not_arrive_is_sent_again() {
        let mut input = Unconfirmed::new(1 << 20);
        input.push(b"abcdefgh");
        input.taken(2, None);
        assert_eq!(resumed(&mut input, 3, false), ["defg", "h"]);
        assert_eq!(resumed(&mut input, 8, false), Vec::<String>::new());
        input.push(b"");
        assert_eq!(resumed(&mut input, 8, false), [""]);
        assert_eq!(resumed(&mut input, 8, true), Vec::<String>::new());
        assert!(!input.has_room(), "nothing follows the end");
    }

    #[test]
    fn what_waits_in_the_sandbox_is_neither_sent_again_nor_forgotten() {
        let mut input = Unconfirmed::new(1 << 20);
        input.push(b"abcdefgh");
        input.taken(1, Some(1));
        // Twice cut, and each time more had arrived than was taken.
        assert_eq!(resumed(&mut input, 4, false), ["efgh"]);
        assert_eq!(resumed(&mut input, 6, false), ["gh"]);
        // Late word, in whatever order.
        for taken in [5, 3, 5] {
            input.taken(0, Some(taken));
        }
        assert_eq!((input.base, input.data.len()), (5, 3));
        input.push(b"ij");
        assert_eq!(resumed(&mut input, 8, false), ["ij"]);
        input.taken(7, Some(10));
        assert_eq!((input.base, input.data.len()), (10, 0));
    }

    #[test]
    fn a_window_bounds_what_is_kept() {
        let mut input = Unconfirmed::new(1 << 20);
        let mut kept = 0;
        while input.has_room() {
            input.push(&[0; 32 * 1024]);
            kept += 32 * 1024;
        }
        assert!(kept <= 1 << 20);
        // Late word of what an earlier connection was given counts for no more than there is.
        input.taken(u64::MAX, None);
        assert!(input.has_room());
    }
}
