//! The supervisor's side of the proof: prepares what the probe aims at, lets it try, judges what it found.

use std::fs::File;
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use openshell_api::enforcement::{Check, Enforcement, Outcome};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::keeper::{Control, NotStarted};
use super::probe::{CHECKS, Finding, Targets};
use super::wire::{self, Command};
use super::{ProveError, Seal, SealConfig, SpawnError, Wall};
use crate::intercept::Probing;

#[cfg(test)]
mod tests;

/// All attempts together take milliseconds; a dial that is dropped on the way takes three seconds.
const PATIENCE: Duration = Duration::from_secs(20);
/// Longest text of findings, in bytes. They take some ten thousand; a wall that is down may name many paths.
const FINDINGS: u64 = 1 << 20;

/// Proves a sandbox's walls. Cheap to clone; one probe runs at a time.
#[derive(Clone)]
pub struct Prover {
    control: Arc<Control>,
    probing: Probing,
    turn: Arc<tokio::sync::Mutex<()>>,
    proxy_port: u16,
    workspace: PathBuf,
    read_only: Vec<PathBuf>,
    read_write: Vec<PathBuf>,
    hidden: Vec<PathBuf>,
    seal: Seal,
    guard_pid: i32,
}

impl Prover {
    pub(super) fn new(
        control: Arc<Control>,
        probing: Probing,
        config: &SealConfig,
        seal: Seal,
        guard_pid: i32,
    ) -> Self {
        Self {
            control,
            probing,
            turn: Arc::default(),
            proxy_port: config.proxy_port,
            workspace: config.workspace.clone(),
            read_only: config.walls.read_only.clone(),
            read_write: config.walls.read_write.clone(),
            hidden: config.hidden.clone(),
            seal,
            guard_pid,
        }
    }

    /// Lets a probe try to get out. An error proves nothing, and so must count as a failure.
    pub async fn prove(&self) -> Result<Enforcement, ProveError> {
        let _turn = self.turn.lock().await;
        let bait = Bait::set().map_err(ProveError::Prepare)?;
        let targets = self.targets(&bait).map_err(ProveError::Prepare)?;
        let (socket, theirs) = socket_pair().map_err(ProveError::Prepare)?;
        let (id, started, exited) = self.control.expect();
        let prober = self.clone();
        let sent = tokio::task::spawn_blocking(move || prober.send(id, &targets, theirs)).await;
        let sent = sent.map_err(|join| SpawnError::Control(io::Error::other(join)));
        if let Err(error) = sent.and_then(|sent| sent.map_err(SpawnError::Control)) {
            self.control.forget(id);
            return Err(ProveError::Start(error));
        }
        // What lives there may stop the sandbox's init in the middle of it.
        let Ok(started) = tokio::time::timeout(PATIENCE, started).await else {
            self.control.forget(id);
            return Err(ProveError::TooSlow(PATIENCE));
        };
        let started = started.map_err(|_| ProveError::Start(SpawnError::Gone))?;
        let (pid, _) = started.map_err(|NotStarted { source, .. }| {
            ProveError::Start(SpawnError::Exec { program: "the probe".into(), source })
        })?;
        let probing = self.probing.begin(pid);
        let ended = async { (hear(socket).await, exited.await) };
        let (heard, status) = match tokio::time::timeout(PATIENCE, ended).await {
            Ok((heard, Ok(status))) => (heard, status),
            Ok((_, Err(_))) => return Err(ProveError::Start(SpawnError::Gone)),
            Err(_) => {
                let _ = self.control.send(&Command::Signal { id, signal: libc::SIGKILL }, &[]);
                return Err(ProveError::TooSlow(PATIENCE));
            }
        };
        drop(probing);
        if status != 0 {
            return Err(ProveError::NoFindings(format!("wait status {status}")));
        }
        let findings =
            heard.and_then(|text| parse(&text)).map_err(|error| ProveError::NoFindings(error.to_string()))?;
        judge(findings, &self.seal.degraded, |check| bait.taken(check))
    }

    fn targets(&self, bait: &Bait) -> io::Result<Targets> {
        Ok(Targets {
            proxy_port: self.proxy_port,
            uid: self.seal.uid,
            gid: self.seal.gid,
            workspace: self.workspace.clone(),
            read_only: self.read_only.clone(),
            read_write: self.read_write.clone(),
            hidden: self.hidden.clone(),
            sockets: Vec::new(),
            host_port: bait.tcp.local_addr()?,
            host_socket: bait.name.clone(),
            host_processes: vec![std::process::id() as i32, self.guard_pid, self.seal.init_pid],
            // Without Landlock it would be a way out, and a shared `/proc` is not foreign.
            no_handle: [Wall::Landlock, Wall::PrivateProc].into_iter().find(|wall| self.seal.degraded.contains(wall)),
        })
    }

    /// `socket` is the probe's. Once this returns, nobody outside has it, so that its end is the probe's.
    fn send(&self, id: u64, targets: &Targets, socket: OwnedFd) -> io::Result<()> {
        let document = wire::document(targets)?;
        let handle = match targets.no_handle {
            Some(_) => None,
            None => Some(File::open("/proc/self")?),
        };
        let mut fds = vec![document.as_fd(), socket.as_fd()];
        fds.extend(handle.as_ref().map(|handle| handle.as_fd()));
        self.control.send(&Command::Probe { id }, &fds)
    }
}

/// A socket, unlike a file in memory, can't be opened again by those inside who see the probe's descriptors in `/proc`
/// (proc_pid_fd(5)).
fn socket_pair() -> io::Result<(tokio::net::UnixStream, OwnedFd)> {
    let (ours, theirs) = UnixStream::pair()?;
    ours.set_nonblocking(true)?;
    Ok((tokio::net::UnixStream::from_std(ours)?, theirs.into()))
}

/// Gives the probe leave, and takes in what it finds until it closes its end. Refuses more than [`FINDINGS`].
async fn hear(mut socket: tokio::net::UnixStream) -> io::Result<Vec<u8>> {
    socket.write_all(b"!").await?;
    let mut text = Vec::new();
    socket.take(FINDINGS + 1).read_to_end(&mut text).await?;
    match u64::try_from(text.len()) {
        Ok(length) if length <= FINDINGS => Ok(text),
        _ => Err(io::Error::new(io::ErrorKind::InvalidData, format!("more than {FINDINGS} bytes"))),
    }
}

/// One JSON document a line.
fn parse(text: &[u8]) -> io::Result<Vec<Finding>> {
    let findings = serde_json::Deserializer::from_slice(text).into_iter::<Finding>();
    Ok(findings.collect::<Result<Vec<_>, _>>()?)
}

/// What findings mean. They must be about exactly the checks that a probe makes, in their order: one that is missing,
/// doubled or unknown is not of a probe's making, and then nothing is proven. `taken` says whether a check's target was
/// reached.
fn judge(findings: Vec<Finding>, degraded: &[Wall], taken: impl Fn(&str) -> bool) -> Result<Enforcement, ProveError> {
    for at in 0..findings.len().max(CHECKS.len()) {
        let due = CHECKS.get(at).copied();
        let found = findings.get(at).map(|finding| finding.name.as_str());
        if due != found {
            let (due, found) = (due.unwrap_or("nothing"), found.unwrap_or("nothing").to_owned());
            return Err(ProveError::Unexpected { due, found });
        }
    }
    let waived = |wall: Option<Wall>| wall.is_some_and(|wall| degraded.contains(&wall));
    let check = |finding: Finding| {
        let taken = taken(&finding.name);
        let outcome = match finding.proven && !taken {
            true => Outcome::Proven,
            false if !taken && waived(finding.wall) => Outcome::Waived,
            false => Outcome::Failed,
        };
        let seen = if taken { "it arrived outside".to_owned() } else { finding.seen };
        Check { name: finding.name, expected: finding.expected, seen, outcome }
    };
    Ok(Enforcement { at: jiff::Timestamp::now(), checks: findings.into_iter().map(check).collect() })
}

/// Servers outside that nobody inside may reach.
struct Bait {
    tcp: TcpListener,
    unix: UnixListener,
    name: String,
}

impl Bait {
    fn set() -> io::Result<Self> {
        let name = format!("openshell-{}", ulid::Ulid::generate());
        let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let unix = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name)?)?;
        tcp.set_nonblocking(true)?;
        unix.set_nonblocking(true)?;
        Ok(Self { tcp, unix, name })
    }

    /// Whether someone reached what this check aimed at. Others on this machine may; then a second look is needed.
    fn taken(&self, check: &str) -> bool {
        match check {
            "host-loopback" => self.tcp.accept().is_ok(),
            "abstract-socket" => self.unix.accept().is_ok(),
            _ => false,
        }
    }
}
