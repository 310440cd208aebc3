//! Catches every outbound connection.
//!
//! ```text
//! workload: connect(fd, 198.18.0.7:443) ── seccomp stops it ──▶ Door: who? where to?
//!                                                               pidfd_getfd(fd), connect it to the proxy,
//!                                                               remember (its address → who, where to)
//! proxy: accept() ── peer address ──▶ Callers::attribute() ──▶ curl meant api.example.com:443
//! ```
//!
//! What is read from the caller's memory is what is judged and dialled; a thread that rewrites the address meanwhile
//! changes nothing. A call that the kernel is told to go on with (`AF_UNIX`, the workload's own servers) can at worst
//! be bent towards loopback, for there is nothing else; and a connection to the proxy that is not remembered here has
//! no caller, which denies it.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::caller::{Caller, Intended};

mod addresses;
mod callers;
mod dns;
mod door;
mod entrance;
mod fastopen;
mod late;
mod memory;
mod names;
mod notify;
mod probing;
mod sockets;
mod taken;
mod throttle;

pub use callers::Callers;
pub use dns::{answer, serve_tcp, serve_udp};
pub use door::Door;
pub use entrance::Entrance;
pub use names::Names;
pub use probing::{ProbeRuns, Probing};

/// Most descriptors that a [`Door`] keeps open besides those of connections under way.
pub const DESCRIPTORS: u64 = crate::identity::DESCRIPTORS + sockets::KEPT;

/// What was refused without ever reaching the proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Who tried; absent: the kernel would not say.
    pub caller: Option<Arc<Caller>>,
    /// Where to, by name where one is known.
    pub destination: Intended,
    /// Why not.
    pub reason: Reason,
    /// How many like it were refused since the last one that was told: a loop is told once in ten seconds.
    pub repeated: u64,
}

/// Why an attempt to leave was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// Datagrams have no way out.
    Datagram,
    /// Raw sockets speak around TCP and UDP. The destination is empty.
    RawSocket,
    /// Packet sockets speak around IP. The destination is empty.
    PacketSocket,
    /// Calls made through a ring are seen by no filter. The destination is empty.
    IoUring,
    /// 32-bit and x32 entries to the kernel are closed. The destination is empty.
    ForeignEntry,
    /// The caller could not be identified.
    UnknownCaller,
    /// The connection could not be led to the proxy.
    Failed,
}

/// Learns of refusals. Must not block: the refused thread waits.
pub trait Refusals: Send + Sync {
    /// Takes one.
    fn refused(&self, refusal: Refusal);
}

/// Writes them to the log.
pub struct LogRefusals;

impl Refusals for LogRefusals {
    fn refused(&self, refusal: Refusal) {
        let executable = refusal.caller.as_ref().map_or("", |caller| &caller.process.executable);
        let Intended { host, port } = &refusal.destination;
        tracing::info!(executable, host, port, reason = ?refusal.reason, "refused");
    }
}

/// Names a destination: the name that was asked for, where the address is one of ours, else the address.
fn intended(names: &Names, destination: SocketAddr) -> Intended {
    let ip = destination.ip().to_canonical();
    let host = names.name_of(ip).map_or_else(|| ip.to_string(), |name| name.to_string());
    Intended { host, port: destination.port() }
}

#[cfg(test)]
mod tests;
