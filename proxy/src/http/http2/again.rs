//! A request's body, kept as far as it was sent until there is an answer: whoever did nothing of the request may be sent it again.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};

use crate::http::upstream::lock;
use crate::inference::{Body, BoxError};

/// Most that is kept of one body, in bytes.
const MOST: usize = 1 << 20;

/// What it takes to send a body again.
pub(super) struct Again(Option<Arc<Mutex<Kept>>>);

struct Kept {
    body: Body,
    sent: VecDeque<Bytes>,
    /// Of what is kept.
    bytes: usize,
    /// Whether `body` has nothing more.
    ended: bool,
    /// Whether `sent` and the rest of `body` are still all of it.
    whole: bool,
}

/// The body to send, and what it takes to send it again.
pub(super) fn keep(body: Body) -> (Body, Again) {
    if body.is_end_stream() {
        return (body, Again(None));
    }
    let kept = Kept { body, sent: VecDeque::new(), bytes: 0, ended: false, whole: true };
    let kept = Arc::new(Mutex::new(kept));
    (Body::new(Sending(Arc::clone(&kept))), Again(Some(kept)))
}

impl Again {
    /// Nobody will want it again.
    pub(super) fn forget(self) {
        if let Some(kept) = self.0 {
            lock(&kept).give_up();
        }
    }

    /// All of it, from the start; `None`: too much was sent, or the body broke off. Nobody may be sending it any more.
    pub(super) fn body(self) -> Option<Body> {
        let Some(kept) = self.0 else { return Some(Body::default()) };
        let mut kept = lock(&kept);
        let (sent, ended) = (std::mem::take(&mut kept.sent), kept.ended);
        let rest = std::mem::take(&mut kept.body);
        kept.whole.then(|| Body::new(Replay { sent, rest: (!ended).then_some(rest) }))
    }
}

impl Kept {
    fn give_up(&mut self) {
        self.whole = false;
        self.sent = VecDeque::new();
    }

    fn keep(&mut self, data: &Bytes) {
        self.bytes += data.len();
        match self.whole && self.bytes <= MOST {
            true => self.sent.push_back(data.clone()),
            false => self.give_up(),
        }
    }
}

/// The body while it is sent.
struct Sending(Arc<Mutex<Kept>>);

impl http_body::Body for Sending {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let kept = &mut *lock(&self.0);
        let polled = Pin::new(&mut kept.body).poll_frame(cx);
        match &polled {
            Poll::Pending => {}
            Poll::Ready(None) => kept.ended = true,
            Poll::Ready(Some(Ok(frame))) => match frame.data_ref() {
                Some(data) => kept.keep(data),
                None => kept.give_up(),
            },
            Poll::Ready(Some(Err(_))) => kept.give_up(),
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        lock(&self.0).body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        lock(&self.0).body.size_hint()
    }
}

/// What was sent, then the rest.
struct Replay {
    sent: VecDeque<Bytes>,
    /// `None`: there is no more.
    rest: Option<Body>,
}

impl http_body::Body for Replay {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if let Some(data) = self.sent.pop_front() {
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        match &mut self.rest {
            Some(rest) => Pin::new(rest).poll_frame(cx),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.sent.is_empty() && self.rest.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let kept: u64 = self.sent.iter().map(|data| data.len() as u64).sum();
        let mut hint = self.rest.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint);
        if let Some(most) = hint.upper() {
            hint.set_upper(most.saturating_add(kept));
        }
        hint.set_lower(hint.lower().saturating_add(kept));
        hint
    }
}
