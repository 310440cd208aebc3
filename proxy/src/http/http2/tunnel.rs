//! A stream that carries bytes both ways once its CONNECT is answered (RFC 8441 §5).

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use h2::{RecvStream, SendStream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::oneshot;

use crate::http::upstream::lock;

/// The bytes of a stream.
pub(in crate::http) struct Tunnel {
    received: RecvStream,
    /// Received, and not read yet.
    ahead: Bytes,
    sent: SendStream<Bytes>,
    shut: bool,
}

/// A tunnel to be, in a request's extensions. Gone where the request was not answered with success.
#[derive(Clone)]
pub(in crate::http) struct Promised(Arc<Mutex<Option<oneshot::Receiver<Tunnel>>>>);

/// Keeps a [`Promised`].
pub(super) struct Promise {
    keep: oneshot::Sender<Tunnel>,
    received: RecvStream,
}

/// A promise of what is received on a stream, and of what is sent there.
pub(super) fn promise(received: RecvStream) -> (Promise, Promised) {
    let (keep, promised) = oneshot::channel();
    (Promise { keep, received }, Promised(Arc::new(Mutex::new(Some(promised)))))
}

impl Promise {
    pub(super) fn keep(self, sent: SendStream<Bytes>) {
        // Nobody may wait for it.
        let _ = self.keep.send(Tunnel { received: self.received, ahead: Bytes::new(), sent, shut: false });
    }
}

impl Promised {
    /// The tunnel, once the request is answered; `None`: it was refused.
    pub(in crate::http) async fn tunnel(self) -> Option<Tunnel> {
        let promised = lock(&self.0).take();
        promised?.await.ok()
    }
}

impl AsyncRead for Tunnel {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        while self.ahead.is_empty() {
            match ready!(self.received.poll_data(cx)) {
                None => return Poll::Ready(Ok(())),
                Some(data) => self.ahead = data.map_err(io::Error::other)?,
            }
        }
        let count = self.ahead.len().min(buf.remaining());
        buf.put_slice(&self.ahead[..count]);
        self.ahead.advance(count);
        self.received.flow_control().release_capacity(count).map_err(io::Error::other)?;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Tunnel {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if buf.is_empty() {
            return Poll::Ready(Ok(0));
        }
        self.sent.reserve_capacity(buf.len());
        while self.sent.capacity() == 0 {
            match ready!(self.sent.poll_capacity(cx)) {
                Some(capacity) => capacity.map_err(io::Error::other)?,
                None => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            };
        }
        let count = self.sent.capacity().min(buf.len());
        let data = Bytes::copy_from_slice(&buf[..count]);
        self.sent.send_data(data, false).map_err(io::Error::other)?;
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !std::mem::replace(&mut self.shut, true) {
            self.sent.send_data(Bytes::new(), true).map_err(io::Error::other)?;
        }
        Poll::Ready(Ok(()))
    }
}
