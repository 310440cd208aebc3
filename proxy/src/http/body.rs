//! Request bodies that policies want to see, and response bodies that can be cut.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::BodyExt as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tokio_util::sync::WaitForCancellationFutureOwned;

use super::registry::Registration;
use crate::inference::{Body, BoxError};

const PATIENCE: Duration = Duration::from_secs(10);

/// Reads a body as far as `cap`. Answers what policies may see (nothing, if it is longer or does not end for ten
/// seconds, as a stream may, or `room` for it in bytes is taken) and a body that yields everything, in order, unchanged.
pub(super) async fn buffer(
    mut incoming: Body,
    cap: usize,
    room: &Arc<Semaphore>,
) -> Result<(Option<Bytes>, Body), BoxError> {
    if incoming.is_end_stream() {
        return Ok((Some(Bytes::new()), incoming));
    }
    if incoming.size_hint().lower() > cap as u64 {
        return Ok((None, incoming));
    }
    let mut read = BytesMut::new();
    let mut place: Option<OwnedSemaphorePermit> = None;
    let mut trailers = None;
    let deadline = tokio::time::Instant::now() + PATIENCE;
    let complete = loop {
        let left = deadline.saturating_duration_since(tokio::time::Instant::now());
        match timeout(left, incoming.frame()).await {
            Err(_) => break false,
            Ok(None) => break true,
            Ok(Some(frame)) => match frame?.into_data() {
                Ok(data) => {
                    read.extend_from_slice(&data);
                    let size = u32::try_from(data.len()).unwrap_or(u32::MAX);
                    match (Arc::clone(room).try_acquire_many_owned(size), &mut place) {
                        (Ok(more), Some(place)) => place.merge(more),
                        (Ok(first), None) => place = Some(first),
                        (Err(_), _) => break false,
                    }
                }
                Err(frame) => trailers = frame.into_trailers().ok(),
            },
        }
        if read.len() > cap {
            break false;
        }
    };
    let read = Bytes::from_owner(Held { read, _place: place });
    let seen = complete.then(|| read.clone());
    let rest = (!complete).then_some(incoming);
    let read = Some(read).filter(|read| !read.is_empty()).into_iter().collect();
    Ok((seen, Body::new(Replayed { read, trailers, rest })))
}

/// Bytes, and their place among all that may be held: as long as anybody has them.
struct Held {
    read: BytesMut,
    _place: Option<OwnedSemaphorePermit>,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.read
    }
}

/// What was read, then what was not.
pub(super) struct Replayed {
    read: VecDeque<Bytes>,
    /// Where nothing is left to read.
    trailers: Option<HeaderMap>,
    rest: Option<Body>,
}

impl Replayed {
    /// A body without trailers that were read.
    pub(super) fn new(read: VecDeque<Bytes>, rest: Body) -> Self {
        Self { read, trailers: None, rest: Some(rest) }
    }
}

impl http_body::Body for Replayed {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if let Some(read) = self.read.pop_front() {
            return Poll::Ready(Some(Ok(Frame::data(read))));
        }
        if let Some(rest) = &mut self.rest {
            return Pin::new(rest).poll_frame(cx);
        }
        Poll::Ready(self.trailers.take().map(|trailers| Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.read.is_empty() && self.trailers.is_none() && self.rest.as_ref().is_none_or(|rest| rest.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        let read: u64 = self.read.iter().map(|read| read.len() as u64).sum();
        let mut hint = self.rest.as_ref().map_or_else(|| SizeHint::with_exact(0), |rest| rest.size_hint());
        if let Some(upper) = hint.upper() {
            hint.set_upper(upper + read);
        }
        hint.set_lower(hint.lower() + read);
        hint
    }
}

/// A stream was cut, because the policy enforced now denies it.
#[derive(Debug, thiserror::Error)]
#[error("the policy enforced now denies this stream")]
pub(super) struct Cut;

/// A long-lived response that ends, with an error, when its registration is cut.
pub(super) struct Cuttable {
    inner: Body,
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
    _registration: Registration,
}

impl Cuttable {
    pub(super) fn new(inner: Body, registration: Registration) -> Self {
        let cut = Box::pin(registration.cut().clone().cancelled_owned());
        Self { inner, cut, _registration: registration }
    }
}

impl http_body::Body for Cuttable {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if self.cut.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Some(Err(Box::new(Cut))));
        }
        Pin::new(&mut self.inner).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
