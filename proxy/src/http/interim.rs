//! Interim answers (103 Early Hints, RFC 8297; 102 Processing) on their way to a client.
//!
//! HTTP/2 sends them as they are. hyper's server of HTTP/1.1 writes no 1xx but 100, so they are put on the stream beneath it:
//! it flushes its stream only when it has written all it has; while a request waits for its answer, that is the border
//! between two messages.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};

use http::header::CONTENT_LENGTH;
use http::{HeaderMap, Response, StatusCode, Version};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::headers;
use super::upstream::lock;

/// Most that comes before one answer, in bytes; more is dropped. Hints are advice, and no window holds them back.
const MOST: usize = 16 * 1024;

/// What waits for one client: for its connection, or for one stream of that. Cheap to clone. Whoever answers the request
/// takes it whenever it has to wait for the answer.
#[derive(Debug, Clone, Default)]
pub(super) struct Interim(Arc<Mutex<Waiting>>);

#[derive(Debug, Default)]
struct Waiting {
    heads: Vec<Response<()>>,
    /// Of all heads since the last answer.
    bytes: usize,
}

impl Interim {
    /// Whether a client understands them: HTTP/1.0 has none (RFC 9110 §15.2).
    pub(super) fn suits(version: Version) -> bool {
        version == Version::HTTP_11
    }

    /// Keeps what an upstream says before its answer, unless it concerns that hop alone.
    pub(super) fn hint(&self, status: StatusCode, headers: &HeaderMap) {
        if !matches!(status, StatusCode::EARLY_HINTS | StatusCode::PROCESSING) {
            return;
        }
        let mut headers = headers.clone();
        headers::clean_response(&mut headers);
        headers.remove(CONTENT_LENGTH);
        self.keep(status, headers);
    }

    /// Asks the client for the body that it holds back.
    pub(super) fn go_on(&self) {
        self.keep(StatusCode::CONTINUE, HeaderMap::new());
    }

    fn keep(&self, status: StatusCode, headers: HeaderMap) {
        let size = |(name, value): (&http::HeaderName, &http::HeaderValue)| name.as_str().len() + value.len() + 4;
        let bytes = 32 + headers.iter().map(size).sum::<usize>();
        let mut waiting = lock(&self.0);
        if waiting.bytes + bytes <= MOST {
            let mut head = Response::new(());
            (*head.status_mut(), *head.headers_mut()) = (status, headers);
            waiting.heads.push(head);
            waiting.bytes += bytes;
        }
    }

    /// What waits, in order.
    pub(super) fn take(&self) -> Vec<Response<()>> {
        std::mem::take(&mut lock(&self.0).heads)
    }

    /// The answer is here: what still waits came together with it, and is of no use any more.
    fn answered(&self) {
        *lock(&self.0) = Waiting::default();
    }
}

/// A head as HTTP/1.1 writes it.
fn write(head: &Response<()>, to: &mut Vec<u8>) {
    let status = head.status();
    let reason = status.canonical_reason().unwrap_or("");
    to.extend_from_slice(format!("HTTP/1.1 {} {reason}\r\n", status.as_u16()).as_bytes());
    for (name, value) in head.headers() {
        for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
            to.extend_from_slice(part);
        }
    }
    to.extend_from_slice(b"\r\n");
}

/// A client's stream that interim answers are slipped into.
pub(super) struct WithInterim<S> {
    inner: S,
    interim: Interim,
    /// Begun, so it must be finished before anything else is written.
    begun: Vec<u8>,
}

impl<S> WithInterim<S> {
    pub(super) fn new(inner: S, interim: Interim) -> Self {
        Self { inner, interim, begun: Vec::new() }
    }
}

impl<S: AsyncWrite + Unpin> WithInterim<S> {
    fn finish(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.begun.is_empty() {
            let count = ready!(Pin::new(&mut self.inner).poll_write(cx, &self.begun))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.begun.drain(..count);
        }
        Poll::Ready(Ok(()))
    }

    /// hyper is about to write: an answer.
    fn overtaken(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.interim.answered();
        self.finish(cx)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for WithInterim<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for WithInterim<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.overtaken(cx))?;
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.overtaken(cx))?;
        Pin::new(&mut self.inner).poll_write_vectored(cx, bufs)
    }
    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.finish(cx))?;
        for head in self.interim.take() {
            write(&head, &mut self.begun);
        }
        ready!(self.finish(cx))?;
        Pin::new(&mut self.inner).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
