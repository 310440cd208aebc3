//! What a stream carries: received as a body, and sent from one.

use std::error::Error;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::{Reason, RecvStream, SendStream};
use http::HeaderMap;
use http::header::CONTENT_LENGTH;
use http_body::{Body as _, Frame, SizeHint};

use crate::http::interim::Interim;
use crate::inference::{Body, BoxError};

/// A body that arrives. `T` is kept as long as it does.
pub(super) struct Received<T> {
    stream: RecvStream,
    /// Bytes still to come, where a header has said how many.
    left: Option<u64>,
    data_ended: bool,
    /// Where to ask for it when somebody begins to read: its client holds it back until then.
    held_back: Option<Interim>,
    _kept: T,
}

impl<T> Received<T> {
    pub(super) fn new(stream: RecvStream, headers: &HeaderMap, kept: T) -> Self {
        Self { stream, left: content_length(headers), data_ended: false, held_back: None, _kept: kept }
    }

    /// One that is asked for when somebody begins to read.
    pub(super) fn held_back(mut self, interim: Interim) -> Self {
        self.held_back = Some(interim);
        self
    }
}

impl<T: Unpin> http_body::Body for Received<T> {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if let Some(interim) = self.held_back.take() {
            interim.go_on();
        }
        while !self.data_ended {
            match ready!(self.stream.poll_data(cx)) {
                // Only an end that is marked as one is an end: what was cut short must not pass for whole.
                Some(Err(error)) => return Poll::Ready(Some(Err(Box::new(error)))),
                Some(Ok(data)) => {
                    self.stream.flow_control().release_capacity(data.len())?;
                    self.left = self.left.map(|left| left.saturating_sub(data.len() as u64));
                    if !data.is_empty() {
                        return Poll::Ready(Some(Ok(Frame::data(data))));
                    }
                }
                None => self.data_ended = true,
            }
        }
        let trailers = ready!(self.stream.poll_trailers(cx)).map_err(BoxError::from);
        Poll::Ready(trailers.transpose().map(|trailers| trailers.map(Frame::trailers)))
    }

    fn is_end_stream(&self) -> bool {
        self.stream.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        match self.left {
            Some(left) => SizeHint::with_exact(left),
            None if self.is_end_stream() => SizeHint::with_exact(0),
            None => SizeHint::default(),
        }
    }
}

/// What a header says of a body's length. Two that differ say nothing.
fn content_length(headers: &HeaderMap) -> Option<u64> {
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter().map(|value| value.to_str().ok()?.parse().ok());
    let length = lengths.next()??;
    lengths.all(|other| other == Some(length)).then_some(length)
}

/// Says how long a body is, where that is known and no header says it yet.
pub(super) fn declare_length(headers: &mut HeaderMap, body: &Body) {
    if let Some(length) = body.size_hint().exact() {
        headers.entry(CONTENT_LENGTH).or_insert_with(|| length.into());
    }
}

/// Why a body was not sent to its end.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unsent {
    #[error("the body broke off: {0}")]
    Body(BoxError),
    #[error("the stream ended: {0}")]
    Stream(#[from] h2::Error),
    #[error("the stream is closed")]
    Closed,
}

/// Sends a body to its end, or as far as the peer wants it; one that breaks off resets the stream.
pub(super) async fn send(mut body: Body, mut stream: SendStream<Bytes>) -> Result<(), Unsent> {
    loop {
        let frame = poll_fn(|cx| match stream.poll_reset(cx) {
            Poll::Ready(reset) => Poll::Ready(Err(Unsent::Stream(reset.map_or_else(|error| error, h2::Error::from)))),
            Poll::Pending => Pin::new(&mut body).poll_frame(cx).map(Ok),
        });
        let frame = match frame.await? {
            None => return Ok(stream.send_data(Bytes::new(), true)?),
            Some(Ok(frame)) => frame,
            Some(Err(error)) => {
                stream.send_reset(reason(&*error));
                return Err(Unsent::Body(error));
            }
        };
        match frame.into_data() {
            Ok(data) => {
                let ends = body.is_end_stream();
                if !data.is_empty() {
                    room(&mut stream).await?;
                }
                stream.send_data(data, ends)?;
                if ends {
                    return Ok(());
                }
            }
            Err(frame) => {
                if let Ok(trailers) = frame.into_trailers() {
                    return Ok(stream.send_trailers(trailers)?);
                }
            }
        }
    }
}

/// Waits until the peer takes something. Asks for one byte: what a frame holds beyond that waits in `h2`, which asks for the
/// rest, and a stream without data claims nothing of what all of a connection's share.
async fn room(stream: &mut SendStream<Bytes>) -> Result<(), Unsent> {
    stream.reserve_capacity(1);
    poll_fn(|cx| {
        while stream.capacity() == 0 {
            match ready!(stream.poll_capacity(cx)) {
                Some(Ok(_)) => {}
                Some(Err(error)) => return Poll::Ready(Err(error.into())),
                None => return Poll::Ready(Err(Unsent::Closed)),
            }
        }
        Poll::Ready(Ok(()))
    })
    .await
}

/// What to tell the peer of a body that broke off: what the other side said, where it said something.
fn reason(error: &(dyn Error + 'static)) -> Reason {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(reason) = error.downcast_ref::<h2::Error>().and_then(h2::Error::reason) {
            return reason;
        }
        cause = error.source();
    }
    Reason::INTERNAL_ERROR
}
