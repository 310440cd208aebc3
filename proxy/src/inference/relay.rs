//! Streams an answer to the caller: nothing is held back, silence is bounded, and an early end is said aloud.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::BodyExt as _;
use openshell_inference_format::endpoint::Endpoint;
use openshell_inference_format::redact::Restoring;
use openshell_inference_format::translate::Stream;
use openshell_inference_format::usage::Meter;
use tokio::time::{Instant, Sleep, sleep_until};

use super::ledger::Ended;
use super::refusal::stream_error;
use super::service::{Body, BoxError};

/// Called once when an answer is over, however it ended.
pub type Settle = Box<dyn FnOnce(Ended) + Send>;

/// How an answer is relayed.
pub struct Terms {
    /// Whose events it speaks: the caller's.
    pub endpoint: Endpoint,
    /// It is a stream of server-sent events.
    pub events: bool,
    /// Longest silence.
    pub idle: Duration,
    /// Name of the backend, for the error event.
    pub backend: String,
    /// Puts the events into the caller's API.
    pub translator: Option<Stream>,
    /// Puts back what was replaced, in the caller's API.
    pub restoring: Option<Restoring>,
}

/// A backend's answer on its way to the caller. Dropping it gives up the request upstream, and settles.
pub struct Relay {
    /// Read already, to know that the backend answers at all.
    first: Option<Frame<Bytes>>,
    rest: Option<Body>,
    terms: Terms,
    silence: Pin<Box<Sleep>>,
    meter: Meter,
    /// How it ended, where that is known already.
    known: Option<Ended>,
    settle: Option<Settle>,
}

/// A backend was silent for too long.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("backend {backend} was silent for {ms} ms")]
pub struct Silent {
    backend: String,
    ms: u128,
}

impl Relay {
    /// Reads the first frame, then answers the relay. Fails, so that another candidate may be tried, if there is none in time.
    /// An answer that is empty on purpose passes.
    pub async fn begin(mut body: Body, terms: Terms) -> Result<Self, BoxError> {
        let first = match tokio::time::timeout(terms.idle, body.frame()).await {
            Ok(Some(frame)) => Some(frame?),
            Ok(None) if terms.events => return Err("the stream ended before its first event".into()),
            Ok(None) => None,
            Err(_) => return Err(Box::new(silent(&terms))),
        };
        let silence = Box::pin(sleep_until(Instant::now() + terms.idle));
        let meter = Meter::new(terms.events);
        Ok(Self { first, rest: Some(body), terms, silence, meter, known: None, settle: None })
    }

    /// A relay of an answer that was read to its end, and ended so.
    pub fn ready(answer: Bytes, events: bool, ended: Ended) -> Self {
        let terms = Terms {
            endpoint: Endpoint::Chat,
            events,
            idle: Duration::from_secs(60),
            backend: String::new(),
            translator: None,
            restoring: None,
        };
        let silence = Box::pin(sleep_until(Instant::now()));
        let first = Some(Frame::data(answer));
        Self { first, rest: None, terms, silence, meter: Meter::new(events), known: Some(ended), settle: None }
    }

    /// Whether it is a stream of events.
    pub fn is_stream(&self) -> bool {
        self.terms.events
    }

    /// The body for the caller; `settle` runs when it is over.
    pub fn into_body(mut self, settle: Settle) -> Body {
        self.settle = Some(settle);
        self.boxed_unsync()
    }

    /// The frame as the caller reads it; `None`: nothing of it is for the caller yet.
    fn translate(&mut self, frame: Frame<Bytes>) -> Result<Option<Frame<Bytes>>, BoxError> {
        if self.terms.translator.is_none() && self.terms.restoring.is_none() {
            return Ok(Some(frame));
        }
        let Ok(mut data) = frame.into_data() else { return Ok(None) };
        if let Some(translator) = &mut self.terms.translator {
            data = translator.feed(&data)?.into();
        }
        if let Some(restoring) = &mut self.terms.restoring {
            data = restoring.feed(&data)?.into();
        }
        Ok(Some(data).filter(|data| !data.is_empty()).map(Frame::data))
    }

    /// What the caller still gets once the backend is done: a translated stream may owe a last event.
    fn rest(&mut self) -> Result<Vec<u8>, BoxError> {
        let mut last = match self.terms.translator.take() {
            Some(mut translator) => translator.finish()?,
            None => Vec::new(),
        };
        if let Some(mut restoring) = self.terms.restoring.take() {
            last = restoring.feed(&last)?;
            last.extend(restoring.finish()?);
        }
        Ok(last)
    }

    /// The backend is done.
    fn end(&mut self) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match self.rest() {
            Err(error) => self.fail(error),
            Ok(last) => {
                self.over(true);
                Poll::Ready((!last.is_empty()).then(|| Ok(Frame::data(last.into()))))
            }
        }
    }

    fn over(&mut self, complete: bool) {
        self.rest = None;
        if let Some(settle) = self.settle.take() {
            settle(self.known.take().unwrap_or_else(|| {
                let usage = self.meter.finish();
                let (bytes, events, id) = (self.meter.bytes(), self.meter.events(), self.meter.id().map(str::to_owned));
                Ended { usage, id, bytes, events, complete }
            }));
        }
    }

    /// After the first byte a failure is told in the stream's own form, or as a broken body where there is no such form.
    fn fail(&mut self, error: BoxError) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        self.over(false);
        tracing::debug!(backend = %self.terms.backend, %error, "a backend broke off");
        if self.terms.events {
            let message = format!("backend {} broke off: {error}", self.terms.backend);
            return Poll::Ready(Some(Ok(Frame::data(stream_error(self.terms.endpoint, &message)))));
        }
        Poll::Ready(Some(Err(error)))
    }
}

fn silent(terms: &Terms) -> Silent {
    Silent { backend: terms.backend.clone(), ms: terms.idle.as_millis() }
}

impl HttpBody for Relay {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        loop {
            let next = match this.first.take() {
                Some(first) => Poll::Ready(Some(Ok(first))),
                None => match &mut this.rest {
                    Some(body) => Pin::new(body).poll_frame(cx),
                    None => return Poll::Ready(None),
                },
            };
            match next {
                Poll::Ready(Some(Ok(frame))) => {
                    if let Some(data) = frame.data_ref() {
                        this.meter.feed(data);
                    }
                    this.silence.as_mut().reset(Instant::now() + this.terms.idle);
                    match this.translate(frame) {
                        Ok(Some(frame)) => return Poll::Ready(Some(Ok(frame))),
                        Ok(None) => {}
                        Err(error) => return this.fail(error),
                    }
                }
                Poll::Ready(Some(Err(error))) => return this.fail(error),
                Poll::Ready(None) => return this.end(),
                Poll::Pending => {
                    std::task::ready!(this.silence.as_mut().poll(cx));
                    let error = Box::new(silent(&this.terms));
                    return this.fail(error);
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.first.is_none() && self.rest.as_ref().is_none_or(|body| body.is_end_stream() && !self.terms.events)
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        // Read to its last byte it is complete, whoever did not wait for the end of the end.
        let complete = self.first.is_none() && self.rest.as_ref().is_some_and(|body| body.is_end_stream());
        self.over(complete);
    }
}
