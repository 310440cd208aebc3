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
}

impl Unconfirmed {
    /// Keeps about `window` bytes.
    pub fn new(window: u64) -> Self {
        Self { window, data: VecDeque::new(), base: 0, ended: false }
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

    /// The sandbox took so many more bytes.
    pub fn taken(&mut self, bytes: u64) {
        let known = bytes.min(self.data.len() as u64);
        self.data.drain(..usize::try_from(known).unwrap_or(usize::MAX));
        self.base += known;
    }

    /// The sandbox has everything before `offset`, and the end of input if it says so: answers what to send again.
    pub fn resume(&mut self, offset: u64, ended: bool, chunk: usize) -> Vec<Bytes> {
        self.taken(offset.saturating_sub(self.base));
        let bytes = self.data.make_contiguous();
        let mut again: Vec<Bytes> = bytes.chunks(chunk).map(Bytes::copy_from_slice).collect();
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
        input.taken(2);
        assert_eq!(resumed(&mut input, 3, false), ["defg", "h"]);
        assert_eq!(resumed(&mut input, 8, false), Vec::<String>::new());
        input.push(b"");
        assert_eq!(resumed(&mut input, 8, false), [""]);
        assert_eq!(resumed(&mut input, 8, true), Vec::<String>::new());
        assert!(!input.has_room(), "nothing follows the end");
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
        input.taken(u64::MAX);
        assert!(input.has_room());
    }
}
