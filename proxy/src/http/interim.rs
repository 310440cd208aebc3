//! Interim answers (103 Early Hints, RFC 8297; 102 Processing) on their way to an HTTP/1.1 client.
//!
//! hyper's server writes no 1xx but 100, so they are put on the stream beneath it. hyper flushes its stream only when it
//! has written all it has; while a request waits for its answer, that is the border between two messages.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};

use http::header::CONTENT_LENGTH;
use http::{HeaderMap, StatusCode, Version};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::headers;
use super::upstream::lock;

/// Most that may wait, in bytes; more is dropped. Hints are advice.
const MOST: usize = 16 * 1024;

/// What waits for one connection. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct Interim(Arc<Mutex<Vec<u8>>>);

impl Interim {
    /// Whether a client understands them: HTTP/1.0 has none (RFC 9110 §15.2).
    pub(super) fn suits(version: Version) -> bool {
        version == Version::HTTP_11
    }

    /// Keeps an interim answer until the connection is between two messages.
    pub(super) fn push(&self, status: StatusCode, headers: &HeaderMap) {
        if !matches!(status, StatusCode::EARLY_HINTS | StatusCode::PROCESSING) {
            return;
        }
        let mut headers = headers.clone();
        headers::clean_response(&mut headers);
        headers.remove(CONTENT_LENGTH);
        let mut head =
            format!("HTTP/1.1 {} {}\r\n", status.as_u16(), status.canonical_reason().unwrap_or("")).into_bytes();
        for (name, value) in &headers {
            for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
                head.extend_from_slice(part);
            }
        }
        head.extend_from_slice(b"\r\n");
        let mut waiting = lock(&self.0);
        if waiting.len() + head.len() <= MOST {
            waiting.extend_from_slice(&head);
        }
    }

    fn take(&self) -> Vec<u8> {
        std::mem::take(&mut lock(&self.0))
    }
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

    /// hyper is about to write. What still waits came together with the answer, and is of no use any more.
    fn overtaken(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        drop(self.interim.take());
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
        self.begun = self.interim.take();
        ready!(self.finish(cx))?;
        Pin::new(&mut self.inner).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
