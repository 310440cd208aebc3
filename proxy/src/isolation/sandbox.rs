//! A sealed sandbox, as the supervisor sees it.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use tokio::net::{TcpListener, UdpSocket};

use super::keeper::{self, Handover};
use super::spawn::Spawner;
use super::{Prover, SealConfig, SealError, Wall};
use crate::identity::Identifier;
use crate::intercept::{self, Callers, Door, Entrance, Names, Probing, Refusals};

/// What the walls turned out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seal {
    /// User id of the workload, inside.
    pub uid: u32,
    /// Group id of the workload, inside.
    pub gid: u32,
    /// Process id of init, on the host.
    pub init_pid: i32,
    /// Walls that are missing, with leave of the configuration.
    pub degraded: Vec<Wall>,
}

/// A sealed sandbox without a workload. It lives until [`Spawner::kill`], or until this process ends.
pub struct Sandbox {
    /// Where the proxy listens inside: `127.0.0.1` and, where the kernel has IPv6, `::1`. Connections that programs
    /// make to it on purpose and those caught on their way elsewhere arrive here alike.
    pub entrances: Vec<Arc<Entrance>>,
    /// Who is behind each accepted connection; implements [`crate::caller::Attribute`].
    pub callers: Arc<Callers>,
    /// Starts processes inside.
    pub spawner: Spawner,
    /// Proves the walls.
    pub prover: Prover,
    /// What the walls turned out to be.
    pub seal: Seal,
}

impl Sandbox {
    /// Raises every wall, then answers connections and names. Fails closed: on an error nothing is left running.
    /// Must be called within a tokio runtime.
    pub async fn seal(config: SealConfig, refusals: Arc<dyn Refusals>) -> Result<Self, SealError> {
        let (control, handover) = keeper::start(config.clone()).await?;
        let spawner = Spawner { control: control.clone() };
        let guard_pid = handover.guard_pid;
        match open(handover, config.proxy_port, refusals) {
            Ok(Opened { entrances, callers, probing, seal }) => {
                let prover = Prover::new(control, probing, &config, seal.clone(), guard_pid);
                Ok(Self { entrances, callers, spawner, prover, seal })
            }
            Err(error) => {
                spawner.kill();
                Err(SealError::Sockets(error))
            }
        }
    }
}

struct Opened {
    entrances: Vec<Arc<Entrance>>,
    callers: Arc<Callers>,
    probing: Probing,
    seal: Seal,
}

fn open(handover: Handover, proxy_port: u16, refusals: Arc<dyn Refusals>) -> std::io::Result<Opened> {
    let Handover { guard_pid: _, init_pid, uid, gid, degraded, notify, dns_udp, dns_tcp, listeners } = handover;
    let names = Arc::new(Names::default());
    let dns_udp = std::net::UdpSocket::from(dns_udp);
    dns_udp.set_nonblocking(true)?;
    tokio::spawn(report(intercept::serve_udp(UdpSocket::from_std(dns_udp)?, names.clone())));
    tokio::spawn(report(intercept::serve_tcp(listener(dns_tcp)?, names.clone())));
    let door = Door::new(notify, Identifier::new(init_pid), names, refusals, proxy_port, listeners)?;
    let (entrances, callers, probing) = (door.entrances(), door.callers(), door.probing());
    door.open()?;
    Ok(Opened { entrances, callers, probing, seal: Seal { uid, gid, init_pid, degraded } })
}

fn listener(fd: OwnedFd) -> std::io::Result<TcpListener> {
    let listener = std::net::TcpListener::from(fd);
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
}

async fn report(server: impl Future<Output = std::io::Result<()>>) {
    if let Err(error) = server.await {
        tracing::error!(%error, "the sandbox's resolver ended");
    }
}
