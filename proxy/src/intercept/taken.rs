//! Descriptors taken over from the workload, and how they are let go.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::LazyLock;
use std::sync::mpsc::{Sender, channel};

use nix::sys::socket::{getsockopt, setsockopt, sockopt::Linger};

/// A duplicate of a caller's descriptor.
///
/// It may be the last one: closing a socket that lingers (`SO_LINGER`) then waits until the other side has read what was
/// sent, which is the proxy. So a thread that does nothing else closes it, and never the one that would have to read.
#[derive(Debug)]
pub(super) struct Taken(Option<OwnedFd>);

impl From<OwnedFd> for Taken {
    fn from(fd: OwnedFd) -> Self {
        Self(Some(fd))
    }
}

impl Taken {
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(self.as_fd().try_clone_to_owned()?.into())
    }
}

impl AsFd for Taken {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_ref().expect("only dropping takes it").as_fd()
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        static CLOSER: LazyLock<Option<Sender<OwnedFd>>> = LazyLock::new(|| {
            let (sender, given) = channel::<OwnedFd>();
            let closer = std::thread::Builder::new().name("sandbox-closer".into()).stack_size(64 * 1024);
            closer.spawn(move || given.into_iter().for_each(close)).ok().map(|_| sender)
        });
        if let Some(fd) = self.0.take() {
            match &*CLOSER {
                Some(closer) => closer.send(fd).unwrap_or_else(|unsent| close(unsent.0)),
                None => close(fd),
            }
        }
    }
}

/// Without waiting for what was sent. A linger of no time stays: it resets the connection.
fn close(fd: OwnedFd) {
    let lingers = getsockopt(&fd, Linger).is_ok_and(|linger| linger.l_onoff != 0 && linger.l_linger > 0);
    if lingers {
        // An error leaves it lingering; nobody but this thread waits.
        let _ = setsockopt(&fd, Linger, &libc::linger { l_onoff: 0, l_linger: 0 });
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::net::{TcpListener, TcpStream};
    use std::time::{Duration, Instant};

    use super::*;

    /// Closing it in place would wait for as long as nobody reads.
    #[test]
    fn nobody_waits_for_a_socket_that_lingers() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        for turn in 0..3 {
            let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (accepted, _) = listener.accept().unwrap();
            setsockopt(&client, Linger, &libc::linger { l_onoff: 1, l_linger: 30 }).unwrap();
            client.set_nonblocking(true).unwrap();
            while client.write(&[0; 65536]).is_ok() {}
            let taken = Taken::from(OwnedFd::from(client.try_clone().unwrap()));
            drop(client);
            let began = Instant::now();
            drop(taken);
            // The next one is closed after it, so both were.
            let (other, mut end) = std::os::unix::net::UnixStream::pair().unwrap();
            drop(Taken::from(OwnedFd::from(other)));
            end.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
            assert_eq!(std::io::Read::read(&mut end, &mut [0]).unwrap(), 0, "turn {turn}");
            assert!(began.elapsed() < Duration::from_secs(20));
            drop(accepted);
        }
    }
}
