//! Byte streams: an upstream in the clear or over TLS, and a stream with bytes read ahead.

use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio_rustls::client::TlsStream;

/// A connected upstream. It holds its place among those that may be open.
pub(super) struct UpstreamIo {
    wire: Wire,
    address: IpAddr,
    _slot: OwnedSemaphorePermit,
}

enum Wire {
    /// In the clear.
    Plain(TcpStream),
    /// Over TLS, verified.
    Tls(Box<TlsStream<TcpStream>>),
}

impl UpstreamIo {
    pub(super) fn plain(stream: TcpStream, address: IpAddr, slot: OwnedSemaphorePermit) -> Self {
        Self { wire: Wire::Plain(stream), address, _slot: slot }
    }

    pub(super) fn tls(stream: TlsStream<TcpStream>, address: IpAddr, slot: OwnedSemaphorePermit) -> Self {
        Self { wire: Wire::Tls(Box::new(stream)), address, _slot: slot }
    }

    /// Whether ALPN chose HTTP/2.
    pub(super) fn negotiated_h2(&self) -> bool {
        match &self.wire {
            Wire::Plain(_) => false,
            Wire::Tls(stream) => stream.get_ref().1.alpn_protocol() == Some(b"h2"),
        }
    }

    /// The address that was dialled.
    pub(super) fn address(&self) -> IpAddr {
        self.address
    }

    /// Makes closing it reset the connection.
    pub(super) fn reset_on_close(&self) {
        let tcp = match &self.wire {
            Wire::Plain(stream) => stream,
            Wire::Tls(stream) => stream.get_ref().0,
        };
        let _ = tcp.set_zero_linger();
    }
}

macro_rules! either {
    ($self:ident, $stream:ident => $call:expr) => {
        match &mut $self.get_mut().wire {
            Wire::Plain($stream) => $call,
            Wire::Tls($stream) => $call,
        }
    };
}

impl AsyncRead for UpstreamIo {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        either!(self, stream => Pin::new(stream).poll_read(cx, buf))
    }
}

impl AsyncWrite for UpstreamIo {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        either!(self, stream => Pin::new(stream).poll_write(cx, buf))
    }
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        either!(self, stream => Pin::new(stream).poll_write_vectored(cx, bufs))
    }
    fn is_write_vectored(&self) -> bool {
        match &self.wire {
            Wire::Plain(stream) => stream.is_write_vectored(),
            Wire::Tls(stream) => stream.is_write_vectored(),
        }
    }
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, stream => Pin::new(stream).poll_flush(cx))
    }
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, stream => Pin::new(stream).poll_shutdown(cx))
    }
}

/// A stream whose first bytes were read already; they are read again before the rest.
pub(super) struct Prefixed<S> {
    read_ahead: BytesMut,
    inner: S,
}

impl<S> Prefixed<S> {
    pub(super) fn new(inner: S) -> Self {
        Self { read_ahead: BytesMut::new(), inner }
    }

    pub(super) fn with(inner: S, read_ahead: impl Into<BytesMut>) -> Self {
        Self { read_ahead: read_ahead.into(), inner }
    }

    /// The bytes read ahead.
    pub(super) fn ahead(&self) -> &[u8] {
        &self.read_ahead
    }

    /// The stream itself.
    pub(super) fn get_ref(&self) -> &S {
        &self.inner
    }

    /// The bytes read ahead, and the stream.
    pub(super) fn into_parts(self) -> (BytesMut, S) {
        (self.read_ahead, self.inner)
    }
}

impl<S: AsyncRead + Unpin> Prefixed<S> {
    /// Reads ahead some more; 0: the peer has closed its side. Cancel safe.
    pub(super) async fn read_more(&mut self) -> io::Result<usize> {
        self.inner.read_buf(&mut self.read_ahead).await
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Prefixed<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.read_ahead.is_empty() {
            return Pin::new(&mut self.inner).poll_read(cx, buf);
        }
        let count = self.read_ahead.len().min(buf.remaining());
        buf.put_slice(&self.read_ahead[..count]);
        self.read_ahead.advance(count);
        if self.read_ahead.is_empty() {
            self.read_ahead = BytesMut::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Prefixed<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, bufs)
    }
    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
