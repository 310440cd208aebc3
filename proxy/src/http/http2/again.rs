//! A request, its body kept as far as it was sent until there is an answer: whoever did nothing of it may be sent it again.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::Request;
use http::request::Parts;
use http_body::{Body as _, Frame, SizeHint};

use crate::http::body::Replayed;
use crate::http::upstream::lock;
use crate::inference::{Body, BoxError};

/// Most that is kept of one body, in bytes.
const MOST: usize = 1 << 20;

/// What it takes to send a request again.
pub(super) struct Again {
    head: Parts,
    /// `None`: it has no body.
    kept: Option<Arc<Mutex<Kept>>>,
}

struct Kept {
    /// What is still to be sent.
    body: Body,
    /// What was sent; `None`: it is not all here any more.
    sent: Option<VecDeque<Bytes>>,
    /// Length of what was sent.
    bytes: usize,
}

/// The body to send, and what it takes to send the request again.
pub(super) fn keep(head: &Parts, body: Body) -> (Body, Again) {
    let head = head.clone();
    if body.is_end_stream() {
        return (body, Again { head, kept: None });
    }
    let kept = Arc::new(Mutex::new(Kept { body, sent: Some(VecDeque::new()), bytes: 0 }));
    (Body::new(Sending(Arc::clone(&kept))), Again { head, kept: Some(kept) })
}

impl Again {
    /// Nobody will want it again.
    pub(super) fn forget(self) {
        if let Some(kept) = self.kept {
            lock(&kept).sent = None;
        }
    }

    /// All of it; `None`: too much was sent, or the body broke off. Nobody may be sending it any more.
    pub(super) fn request(self) -> Option<Request<Body>> {
        let body = match self.kept {
            Some(kept) => lock(&kept).take()?,
            None => Body::default(),
        };
        Some(Request::from_parts(self.head, body))
    }
}

impl Kept {
    fn keep(&mut self, data: &Bytes) {
        self.bytes += data.len();
        match &mut self.sent {
            Some(sent) if self.bytes <= MOST => sent.push_back(data.clone()),
            sent => *sent = None,
        }
    }

    fn take(&mut self) -> Option<Body> {
        let sent = self.sent.take()?;
        Some(Body::new(Replayed::new(sent, std::mem::take(&mut self.body))))
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
            // Nobody may ask it again.
            Poll::Ready(None) => kept.body = Body::default(),
            Poll::Ready(Some(Ok(frame))) => match frame.data_ref() {
                Some(data) => kept.keep(data),
                None => kept.sent = None,
            },
            Poll::Ready(Some(Err(_))) => kept.sent = None,
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
