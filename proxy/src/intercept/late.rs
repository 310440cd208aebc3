//! Blocking connects that take long: of a socket that drops what the proxy answers, or to a proxy that has no room. The door does
//! not wait for them.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use super::sockets;
use super::taken::Taken;
use crate::caller::Caller;

/// How long the door itself waits for a connect. On one machine it takes microseconds.
pub(super) const PATIENCE: Duration = Duration::from_millis(10);
/// Most that are waited for, on a thread each.
const MOST: usize = 512;
/// They only make a system call.
const STACK: usize = 64 * 1024;

/// A blocking connect under way.
pub(super) struct Late {
    pub socket: Taken,
    pub to: SocketAddr,
    /// Who connects; `None`: the probe.
    pub caller: Option<Arc<Caller>>,
}

/// Those that are waited for.
pub(super) struct Lates(Arc<Semaphore>);

impl Default for Lates {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(MOST)))
    }
}

impl Late {
    /// Waits for as long as the kernel does, or the caller's own `SO_SNDTIMEO`.
    fn outcome(self) -> io::Result<()> {
        let outcome = sockets::connect(self.socket.as_fd(), self.to);
        match outcome.as_ref().map_err(io::Error::raw_os_error) {
            // What a second connect() says where the first would have said that its time is over.
            Err(Some(libc::EALREADY)) => Err(io::Error::from_raw_os_error(libc::EINPROGRESS)),
            _ => outcome,
        }
    }
}

impl Lates {
    /// Tells `done` what becomes of it, from another thread. Fails with `ETIMEDOUT` where too many are waited for.
    pub fn wait(&self, late: Late, done: impl FnOnce(io::Result<()>) + Send + 'static) -> io::Result<()> {
        let permit = Arc::clone(&self.0).try_acquire_owned();
        let permit = permit.map_err(|_| io::Error::from_raw_os_error(libc::ETIMEDOUT))?;
        let thread = std::thread::Builder::new().name("sandbox-door-late".into()).stack_size(STACK);
        thread.spawn(move || {
            done(late.outcome());
            drop(permit);
        })?;
        Ok(())
    }
}
