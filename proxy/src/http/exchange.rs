//! One HTTP/1.1 exchange, driven by the task that wants it: no task per connection, no hop between threads.
//!
//! Nothing but driving a connection brings its response or a piece of its body, so those are polled with a waker that wakes nobody, and the
//! connection with the task's own only before the task waits: else each channel between the two would wake the task that polls both.

use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body as _, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::client::conn::http1::{Connection, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::task::unconstrained;

use super::stream::UpstreamIo;
use super::upstream::Origin;
use crate::inference::{Body, BoxError};

/// An upstream connection. Whoever holds it must poll it, or nothing moves.
pub(super) struct H1 {
    pub(super) sender: SendRequest<Body>,
    /// Boxed: it moves with every exchange, from the pool to a body and back.
    pub(super) connection: Box<Connection<TokioIo<UpstreamIo>, Body>>,
    pub(super) address: IpAddr,
}

/// How an exchange went.
pub(super) enum Exchanged {
    /// A response head came; the connection (unless it ended) drives its body.
    Answered(Response<Incoming>, Option<H1>),
    /// The connection had been closed before a byte of the request was sent.
    Unsent(Request<Body>),
    /// Something may have been sent.
    Failed(hyper::Error),
}

impl H1 {
    /// Whether it can still take a request, as far as the kernel has told. Whoever goes on with it polls it anew.
    pub(super) fn is_open(&mut self) -> bool {
        let open = Pin::new(&mut self.connection).poll(&mut Context::from_waker(Waker::noop())).is_pending();
        open && self.sender.is_ready()
    }

    /// Sends the request and drives the connection until the response's head is there.
    pub(super) async fn exchange(mut self, request: Request<Body>) -> Exchanged {
        // Unconstrained: a channel that lets others have their turn would wake nobody.
        let mut response = pin!(unconstrained(self.sender.try_send_request(request)));
        let mut h1 = Some(self);
        let outcome = std::future::poll_fn(|cx| {
            for waker in [Waker::noop(), cx.waker()] {
                // Dropping one that has ended resolves the response, if it has not been.
                drive(&mut h1, waker);
                let polled = response.as_mut().poll(&mut Context::from_waker(Waker::noop()));
                if polled.is_ready() {
                    return polled;
                }
            }
            Poll::Pending
        })
        .await;
        match outcome {
            Ok(response) => Exchanged::Answered(response, h1),
            Err(mut failed) => match failed.take_message() {
                Some(request) => Exchanged::Unsent(request),
                None => Exchanged::Failed(failed.into_error()),
            },
        }
    }
}

/// Polls a connection, if there is one. One that has ended is dropped.
fn drive(h1: &mut Option<H1>, waker: &Waker) {
    if let Some(driven) = h1
        && Pin::new(&mut driven.connection).poll(&mut Context::from_waker(waker)).is_ready()
    {
        *h1 = None;
    }
}

/// A response's body. Drives its connection while it is read, and gives it back to the pool at its end; dropped early,
/// it closes the connection, which is how HTTP/1.1 cancels.
pub(super) struct H1Body {
    incoming: Incoming,
    h1: Option<H1>,
    origin: Arc<Origin>,
    ended: bool,
}

impl H1Body {
    pub(super) fn new(incoming: Incoming, h1: Option<H1>, origin: Arc<Origin>) -> Self {
        Self { incoming, h1, origin, ended: false }
    }
}

impl http_body::Body for H1Body {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        let mut polled = Poll::Pending;
        for waker in [Waker::noop(), cx.waker()] {
            if this.h1.is_none() {
                break;
            }
            drive(&mut this.h1, waker);
            polled = Pin::new(&mut this.incoming).poll_frame(&mut Context::from_waker(Waker::noop()));
            if polled.is_ready() {
                break;
            }
        }
        if polled.is_pending() && this.h1.is_none() {
            polled = Pin::new(&mut this.incoming).poll_frame(cx);
        }
        this.ended |= matches!(polled, Poll::Ready(None));
        polled.map(|frame| frame.map(|frame| frame.map_err(BoxError::from)))
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

impl Drop for H1Body {
    fn drop(&mut self) {
        if !self.ended && !self.incoming.is_end_stream() {
            return;
        }
        // One poll lets it see the end of the message.
        if let Some(mut h1) = self.h1.take()
            && h1.is_open()
        {
            self.origin.checkin(h1);
        }
    }
}
