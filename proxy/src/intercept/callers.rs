//! Who is behind a connection to the proxy.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::os::fd::AsFd as _;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, getrlimit};
use tokio::sync::Notify;

use super::sockets;
use super::taken::Taken;
use crate::caller::{Attribute, Attribution};

/// A connection that was not accepted by then never will be: the kernel gives up on connecting a little earlier.
const NEVER_ACCEPTED: Duration = Duration::from_secs(180);
/// How long an accepted connection is looked for while others are being made.
const PATIENCE: Duration = Duration::from_secs(2);

/// Connections made for the workload and not yet asked about.
///
/// An entry holds the caller's socket: as long as it is here and has not failed to connect, no other socket can have its address,
/// so an answer is never about an earlier connection. Each is answered once.
pub struct Callers {
    state: Mutex<State>,
    changed: Notify,
    /// Most that wait to be asked about.
    most: usize,
}

#[derive(Default)]
struct State {
    made: HashMap<SocketAddr, Made>,
    /// Sockets that are being connected this moment.
    connecting: HashSet<u64>,
    swept: Option<Instant>,
}

struct Made {
    socket: Taken,
    attribution: Attribution,
    at: Instant,
}

impl Default for Callers {
    fn default() -> Self {
        // Each holds a descriptor, and those that were accepted need theirs.
        let files = getrlimit(Resource::RLIMIT_NOFILE).map_or(1024, |(soft, _)| soft);
        Self::new(usize::try_from(files / 4).unwrap_or(usize::MAX))
    }
}

impl State {
    /// Forgets what never arrived; how many are left.
    fn sweep(&mut self, now: Instant) -> usize {
        self.swept = Some(now);
        self.made.retain(|_, made| now - made.at < NEVER_ACCEPTED);
        self.made.len()
    }
}

impl Callers {
    /// `most`: so many connections may wait to be asked about.
    pub(super) fn new(most: usize) -> Self {
        Self { state: Mutex::default(), changed: Notify::default(), most }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Claims a socket for connecting it. Fails with `EALREADY` where another thread is at it, and with `EAGAIN` where too many
    /// connections were begun that never arrived.
    pub(super) fn begin(&self, cookie: u64) -> Result<Connecting<'_>, i32> {
        let mut state = self.state();
        let others = state.made.len();
        if others >= self.most && state.sweep(Instant::now()) >= self.most {
            return Err(libc::EAGAIN);
        }
        match state.connecting.insert(cookie) {
            true => Ok(Connecting { callers: self, cookie, others }),
            false => Err(libc::EALREADY),
        }
    }

    fn take(&self, peer: SocketAddr) -> Result<Option<Attribution>, ()> {
        let (made, none_comes) = {
            let mut state = self.state();
            (state.made.remove(&peer), state.connecting.is_empty())
        };
        match made {
            // It failed, and its address may be another's.
            Some(made) if sockets::is_fresh(made.socket.as_fd()).unwrap_or(true) => Ok(None),
            Some(made) => Ok(Some(made.attribution)),
            None if none_comes => Ok(None),
            None => Err(()),
        }
    }

    /// How many connections wait to be asked about.
    pub fn pending(&self) -> usize {
        self.state().made.len()
    }
}

/// A socket that is being connected; ends when dropped.
pub(super) struct Connecting<'a> {
    callers: &'a Callers,
    cookie: u64,
    others: usize,
}

impl Connecting<'_> {
    /// How many connections were not yet asked about when it began.
    pub fn others(&self) -> usize {
        self.others
    }

    /// Remembers the connection from `local`.
    pub fn made(self, local: SocketAddr, socket: Taken, attribution: Attribution) {
        let now = Instant::now();
        let mut state = self.callers.state();
        if state.swept.is_none_or(|swept| now - swept > NEVER_ACCEPTED / 10) {
            state.sweep(now);
        }
        state.made.insert(local, Made { socket, attribution, at: now });
    }
}

impl Drop for Connecting<'_> {
    fn drop(&mut self) {
        self.callers.state().connecting.remove(&self.cookie);
        self.callers.changed.notify_waiters();
    }
}

#[async_trait::async_trait]
impl Attribute for Callers {
    fn forget(&self, peer: SocketAddr) {
        drop(self.take(canonical(peer)));
    }

    /// The proxy may accept a connection before the thread that made it has noted whose it is, so a miss waits while
    /// any is being made.
    async fn attribute(&self, peer: SocketAddr, _local: SocketAddr) -> Option<Attribution> {
        let peer = canonical(peer);
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            match self.take(peer) {
                Ok(found) => return found,
                Err(()) => tokio::time::timeout_at(deadline, changed).await.ok()?,
            }
        }
    }
}

fn canonical(peer: SocketAddr) -> SocketAddr {
    SocketAddr::new(peer.ip().to_canonical(), peer.port())
}
