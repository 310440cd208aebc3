//! Where the proxy takes in what was led to it.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::Notify;

use super::Callers;
use crate::caller::Accept;

/// How soon to look again for a connection that was made but did not arrive: its handshake was put off or has to be repeated.
const SOON: Duration = Duration::from_millis(10);

/// A listener of the proxy, inside the sandbox.
///
/// Nobody waits for it in the kernel, where every connect would wake the proxy before the caller could go on. All that connect
/// are led here by the [`Door`](super::Door), which rings once the caller has its answer.
pub struct Entrance {
    listener: TcpListener,
    callers: Arc<Callers>,
    /// Whether a connection was made since the bell was rung.
    due: AtomicBool,
    bell: Notify,
}

impl Entrance {
    /// Around a listening socket. `callers` says who is still to arrive.
    pub(super) fn new(listener: OwnedFd, callers: Arc<Callers>) -> io::Result<Self> {
        let listener = TcpListener::from(listener);
        listener.set_nonblocking(true)?;
        Ok(Self { listener, callers, due: AtomicBool::new(false), bell: Notify::new() })
    }

    /// A connection was made, or begun.
    pub(super) fn expect(&self) {
        self.due.store(true, Ordering::Release);
    }

    /// Wakes who accepts, if there is something to accept.
    pub(super) fn ring(&self) {
        if self.due.swap(false, Ordering::AcqRel) {
            self.bell.notify_one();
        }
    }
}

impl Accept for Entrance {
    /// Whatever came here without being led is taken in too, though late: nobody is behind it, which denies it.
    async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        loop {
            match self.listener.accept() {
                Ok((stream, peer)) => {
                    stream.set_nonblocking(true)?;
                    return Ok((TcpStream::from_std(stream)?, peer));
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
            let rung = self.bell.notified();
            match self.callers.pending() {
                0 => rung.await,
                _ => drop(tokio::time::timeout(SOON, rung).await),
            }
        }
    }
}
