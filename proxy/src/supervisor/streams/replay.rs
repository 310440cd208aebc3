//! Output on its way to a client that may go away and come back: what it has not confirmed is kept, up to a window.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::{BufMut as _, Bytes, BytesMut};
use openshell_api::link::{EXEC_WINDOW, ExecStream};
use openshell_api::stream::StreamEvent;
use tokio::sync::Notify;

/// Longest data part of one frame, in bytes.
const FRAME: usize = 64 * 1024;

/// The output of one stream. Offsets count its bytes, of stdout and stderr together, since it began.
pub(super) struct Replay {
    /// What was sent is kept until it is confirmed; else it is forgotten.
    confirmed: bool,
    state: Mutex<State>,
    /// The producer may have room.
    room: Notify,
    /// The sender may have something to send.
    more: Notify,
}

#[derive(Default)]
struct State {
    /// From `base` to the end.
    data: VecDeque<u8>,
    base: u64,
    /// Which stream the bytes up to an offset belong to.
    runs: VecDeque<(ExecStream, u64)>,
    /// Who sends; an older sender gets nothing more.
    sender: u64,
    /// Up to where it was sent, and how much more may be.
    sent: u64,
    credit: u64,
    /// Whether the client has said what it has.
    confirms: bool,
    /// The end of output, where input may go on: to be told, once everything was sent.
    closed: bool,
    /// How it ended; told when everything was sent.
    last: Option<StreamEvent>,
    told: bool,
}

/// What a sender is to send next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Bytes of one stream.
    Bytes(ExecStream, Bytes),
    /// The end.
    End(StreamEvent),
    /// Nothing, ever again: another sender took over.
    Superseded,
}

impl State {
    fn end(&self) -> u64 {
        self.base + self.data.len() as u64
    }

    fn forget_to(&mut self, offset: u64) {
        let offset = offset.min(self.end());
        if offset > self.base {
            // At most a window, so it fits.
            self.data.drain(..(offset - self.base) as usize);
            self.base = offset;
            while self.runs.front().is_some_and(|(_, end)| *end <= offset) {
                self.runs.pop_front();
            }
        }
    }
}

impl Replay {
    pub fn new(confirmed: bool) -> Self {
        Self { confirmed, state: Mutex::default(), room: Notify::new(), more: Notify::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until there is room for something.
    pub async fn wait_for_room(&self) {
        loop {
            let freed = self.room.notified();
            tokio::pin!(freed);
            // Registered before looking, so that no room goes unseen: several streams may wait.
            freed.as_mut().enable();
            if (self.state().data.len() as u64) < EXEC_WINDOW {
                return;
            }
            freed.await;
        }
    }

    /// Adds output.
    pub fn push(&self, stream: ExecStream, data: &[u8]) {
        let mut state = self.state();
        state.data.extend(data);
        let end = state.end();
        match state.runs.back_mut() {
            Some((last, run_end)) if *last == stream => *run_end = end,
            _ => state.runs.push_back((stream, end)),
        }
        drop(state);
        self.more.notify_waiters();
    }

    /// No output comes any more, and the stream has not ended. `false`: its client would not understand that.
    pub fn close(&self) -> bool {
        let mut state = self.state();
        state.closed = state.confirms;
        let closed = state.closed;
        drop(state);
        self.more.notify_waiters();
        closed
    }

    /// Nothing more comes; `last` is told once everything was sent. The first word counts.
    pub fn finish(&self, last: StreamEvent) {
        self.state().last.get_or_insert(last);
        self.more.notify_waiters();
    }

    /// Whether its end was sent, after everything else.
    pub fn told(&self) -> bool {
        self.state().told
    }

    /// A client has everything before `offset`. Answers the new sender's number; an older one is superseded. Refuses an
    /// offset that was never sent, or whose successor is no longer kept.
    pub fn attach(&self, offset: u64) -> Option<u64> {
        let mut state = self.state();
        if offset < state.base || offset > state.end() {
            return None;
        }
        if self.confirmed {
            state.forget_to(offset);
        }
        state.sender += 1;
        state.sent = offset;
        state.credit = EXEC_WINDOW;
        state.told = false;
        let sender = state.sender;
        drop(state);
        self.room.notify_waiters();
        self.more.notify_waiters();
        Some(sender)
    }

    /// The sender may send so much more.
    pub fn credit(&self, bytes: u64) {
        let mut state = self.state();
        state.credit = state.credit.saturating_add(bytes);
        drop(state);
        self.more.notify_waiters();
    }

    /// The client has everything before `offset`.
    pub fn received(&self, offset: u64) {
        let mut state = self.state();
        let offset = offset.min(state.sent);
        state.forget_to(offset);
        state.confirms = true;
        drop(state);
        self.room.notify_waiters();
    }

    /// Waits for what is to be sent next.
    pub async fn next(&self, sender: u64) -> Next {
        loop {
            let more = self.more.notified();
            tokio::pin!(more);
            more.as_mut().enable();
            if let Some(next) = self.take(sender) {
                return next;
            }
            more.await;
        }
    }

    fn take(&self, sender: u64) -> Option<Next> {
        let mut state = self.state();
        if state.sender != sender {
            return Some(Next::Superseded);
        }
        let sent = state.sent;
        if sent == state.end() {
            if std::mem::take(&mut state.closed) {
                return Some(Next::Bytes(ExecStream::Stdout, Bytes::new()));
            }
            if state.told {
                return None;
            }
            let last = state.last.clone()?;
            state.told = true;
            return Some(Next::End(last));
        }
        let (stream, run_end) = *state.runs.iter().find(|(_, end)| *end > sent)?;
        let length = (run_end - sent).min(state.credit).min(FRAME as u64);
        if length == 0 {
            return None;
        }
        let from = (sent - state.base) as usize;
        let mut bytes = BytesMut::with_capacity(length as usize);
        let (front, back) = state.data.as_slices();
        let to = from + length as usize;
        bytes.put_slice(&front[from.min(front.len())..to.min(front.len())]);
        bytes.put_slice(&back[from.saturating_sub(front.len())..to.saturating_sub(front.len())]);
        state.sent += length;
        state.credit -= length;
        if !self.confirmed {
            let sent = state.sent;
            state.forget_to(sent);
            drop(state);
            self.room.notify_waiters();
        }
        Some(Next::Bytes(stream, bytes.freeze()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ExecStream::{Stderr, Stdout};

    fn bytes(stream: ExecStream, data: &[u8]) -> Next {
        Next::Bytes(stream, Bytes::copy_from_slice(data))
    }

    #[tokio::test]
    async fn streams_keep_their_order_and_the_end_comes_last() {
        let replay = Replay::new(false);
        let sender = replay.attach(0).unwrap();
        replay.push(Stdout, b"one");
        replay.push(Stdout, b"two");
        replay.push(Stderr, b"three");
        replay.push(Stdout, b"four");
        replay.finish(StreamEvent::Exited { code: 3, signal: None });
        replay.finish(StreamEvent::Exited { code: 4, signal: None });
        for expected in [
            bytes(Stdout, b"onetwo"),
            bytes(Stderr, b"three"),
            bytes(Stdout, b"four"),
            Next::End(StreamEvent::Exited { code: 3, signal: None }),
        ] {
            assert_eq!(replay.next(sender).await, expected);
        }
        assert_eq!(replay.take(sender), None);
    }

    #[tokio::test]
    async fn an_end_of_output_comes_after_it_and_before_the_end() {
        let replay = Replay::new(false);
        let sender = replay.attach(0).unwrap();
        assert!(!replay.close(), "this client would not understand it");
        replay.received(0);
        replay.push(Stdout, b"last");
        assert!(replay.close());
        assert_eq!(replay.next(sender).await, bytes(Stdout, b"last"));
        assert_eq!(replay.next(sender).await, bytes(Stdout, b""));
        assert_eq!(replay.take(sender), None);
        replay.finish(StreamEvent::Exited { code: 0, signal: None });
        assert_eq!(replay.next(sender).await, Next::End(StreamEvent::Exited { code: 0, signal: None }));
    }

    #[tokio::test]
    async fn what_was_not_confirmed_is_sent_again_and_only_that() {
        let replay = Replay::new(true);
        let first = replay.attach(0).unwrap();
        replay.push(Stdout, b"abcdef");
        replay.push(Stderr, b"ghi");
        assert_eq!(replay.next(first).await, bytes(Stdout, b"abcdef"));
        assert_eq!(replay.next(first).await, bytes(Stderr, b"ghi"));
        replay.received(4);
        replay.finish(StreamEvent::Exited { code: 0, signal: None });
        assert_eq!(replay.next(first).await, Next::End(StreamEvent::Exited { code: 0, signal: None }));
        assert_eq!(replay.attach(3), None, "it was confirmed and is gone");
        assert_eq!(replay.attach(10), None, "it never came");
        let second = replay.attach(5).unwrap();
        assert_eq!(replay.next(first).await, Next::Superseded);
        assert_eq!(replay.next(second).await, bytes(Stdout, b"f"));
        assert_eq!(replay.next(second).await, bytes(Stderr, b"ghi"));
        assert_eq!(replay.next(second).await, Next::End(StreamEvent::Exited { code: 0, signal: None }));
    }

    #[tokio::test]
    async fn a_window_bounds_what_is_kept_and_what_is_sent() {
        let replay = Replay::new(true);
        let sender = replay.attach(0).unwrap();
        let chunk = vec![b'x'; FRAME];
        let mut pushed = 0;
        let mut sent = 0;
        while tokio::time::timeout(std::time::Duration::from_millis(5), replay.wait_for_room()).await.is_ok() {
            replay.push(Stdout, &chunk);
            pushed += chunk.len() as u64;
            while let Some(Next::Bytes(_, bytes)) = replay.take(sender) {
                sent += bytes.len() as u64;
            }
        }
        assert_eq!((pushed, sent), (EXEC_WINDOW, EXEC_WINDOW));
        replay.received(sent + 5);
        replay.wait_for_room().await;
        replay.push(Stdout, &chunk);
        assert_eq!(replay.take(sender), None, "no credit is left");
        replay.credit(10);
        assert_eq!(replay.take(sender), Some(bytes(Stdout, &chunk[..10])));
    }
}
