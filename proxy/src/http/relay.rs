//! Opaque bytes, both ways, until both sides are done or a new generation denies it.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use super::stream::{Prefixed, UpstreamIo};

/// Most that is read at once, in bytes.
const CHUNK: usize = 64 * 1024;

thread_local! {
    /// Where bytes are between a read and the write that follows at once. A connection keeps only what the other side
    /// would not take: an idle one has no buffer, and there may be thousands.
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; CHUNK].into());
}

/// A client's stream, as far as cutting it goes.
pub(super) trait Severable {
    /// Makes closing it reset the connection, where it can.
    fn reset_on_close(&self);
}

impl Severable for TcpStream {
    fn reset_on_close(&self) {
        let _ = self.set_zero_linger();
    }
}

impl<S: Severable> Severable for Prefixed<S> {
    fn reset_on_close(&self) {
        self.get_ref().reset_on_close();
    }
}

impl<S: Severable> Severable for tokio_rustls::server::TlsStream<S> {
    fn reset_on_close(&self) {
        self.get_ref().0.reset_on_close();
    }
}

/// Relays with half-closes kept apart. Cut: both connections are reset.
pub(super) async fn opaque<C>(
    mut client: C,
    mut upstream: Prefixed<UpstreamIo>,
    cut: &CancellationToken,
) -> io::Result<(u64, u64)>
where
    C: AsyncRead + AsyncWrite + Severable + Unpin,
{
    let relayed = tokio::select! {
        biased;
        () = cut.cancelled() => None,
        result = both_ways(&mut client, &mut upstream) => Some(result),
    };
    relayed.unwrap_or_else(|| {
        client.reset_on_close();
        upstream.get_ref().reset_on_close();
        Err(io::ErrorKind::ConnectionAborted.into())
    })
}

/// Copies until both sides have ended, or either fails. Answers the bytes from `a` to `b`, and from `b` to `a`.
pub(super) async fn both_ways<A, B>(a: &mut A, b: &mut B) -> io::Result<(u64, u64)>
where
    A: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
{
    let (mut there, mut back) = (OneWay::default(), OneWay::default());
    std::future::poll_fn(|cx| {
        let sent = there.poll(cx, a, b)?;
        let received = back.poll(cx, b, a)?;
        match (sent, received) {
            (Poll::Ready(sent), Poll::Ready(received)) => Poll::Ready(Ok((sent, received))),
            _ => Poll::Pending,
        }
    })
    .await
}

/// One direction of a relay.
#[derive(Default)]
struct OneWay {
    /// Read, and not yet taken by the other side.
    held: Vec<u8>,
    /// How much of it is gone.
    taken: usize,
    /// What was written waits in the writer.
    unflushed: bool,
    phase: Phase,
    moved: u64,
}

#[derive(Default, Clone, Copy, PartialEq, Eq)]
enum Phase {
    #[default]
    Copying,
    /// The reader has ended; the writer's side is being closed.
    Closing,
    Closed,
}

impl OneWay {
    /// Ready once the reader has ended and the writer was told.
    fn poll<R, W>(&mut self, cx: &mut Context<'_>, reader: &mut R, writer: &mut W) -> Poll<io::Result<u64>>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        loop {
            while self.taken < self.held.len() {
                let count = ready!(Pin::new(&mut *writer).poll_write(cx, &self.held[self.taken..]))?;
                self.took(count)?;
                self.taken += count;
            }
            // Given back: the next pause may be long.
            (self.held, self.taken) = (Vec::new(), 0);
            match self.phase {
                Phase::Copying => match self.pass(cx, reader, writer)? {
                    Poll::Ready(()) => {}
                    Poll::Pending => {
                        if self.unflushed {
                            ready!(Pin::new(&mut *writer).poll_flush(cx))?;
                            self.unflushed = false;
                        }
                        return Poll::Pending;
                    }
                },
                Phase::Closing => {
                    ready!(Pin::new(&mut *writer).poll_shutdown(cx))?;
                    self.phase = Phase::Closed;
                }
                Phase::Closed => return Poll::Ready(Ok(self.moved)),
            }
        }
    }

    /// One read, and a write of what it brought. Pending: nothing can be read now.
    fn pass<R, W>(&mut self, cx: &mut Context<'_>, reader: &mut R, writer: &mut W) -> io::Result<Poll<()>>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        SCRATCH.with_borrow_mut(|scratch| {
            let mut chunk = ReadBuf::new(scratch);
            if Pin::new(reader).poll_read(cx, &mut chunk)?.is_pending() {
                return Ok(Poll::Pending);
            }
            let read = chunk.filled();
            if read.is_empty() {
                self.phase = Phase::Closing;
                return Ok(Poll::Ready(()));
            }
            let count = match Pin::new(writer).poll_write(cx, read)? {
                Poll::Ready(count) => count,
                Poll::Pending => {
                    self.held = read.to_vec();
                    return Ok(Poll::Ready(()));
                }
            };
            self.took(count)?;
            self.held = read[count..].to_vec();
            Ok(Poll::Ready(()))
        })
    }

    fn took(&mut self, count: usize) -> io::Result<()> {
        if count == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        self.unflushed = true;
        self.moved += count as u64;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::*;

    proptest! {
        /// Whatever the sizes of writes and of the pipes between: every byte arrives, in order, both ways, and each end is
        /// told of the other's.
        #[test]
        fn bytes_pass_whole_and_in_order(
            there in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..5000), 0..20),
            back in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..5000), 0..20),
            pipes in (1usize..4000, 1usize..4000),
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(async {
                let (client, mut left) = duplex(pipes.0);
                let (mut right, server) = duplex(pipes.1);
                let end = |io: tokio::io::DuplexStream, chunks: Vec<Vec<u8>>| async move {
                    let (mut reader, mut writer) = tokio::io::split(io);
                    let write = async {
                        for chunk in &chunks {
                            writer.write_all(chunk).await.unwrap();
                        }
                        writer.shutdown().await.unwrap();
                    };
                    let mut read = Vec::new();
                    let (_, count) = tokio::join!(write, reader.read_to_end(&mut read));
                    count.unwrap();
                    read
                };
                let relay = both_ways(&mut left, &mut right);
                let (moved, at_client, at_server) =
                    tokio::join!(relay, end(client, there.clone()), end(server, back.clone()));
                let (there, back) = (there.concat(), back.concat());
                assert_eq!(moved.unwrap(), (there.len() as u64, back.len() as u64));
                assert!(at_server == there && at_client == back);
            });
        }
    }
}
