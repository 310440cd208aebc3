//! The supervisor's side of the proof: prepares what the probe aims at, lets it try, judges what it found.

use std::fs::File;
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use openshell_api::enforcement::{Check, Enforcement, Outcome};

use super::keeper::Control;
use super::probe::{Finding, Targets};
use super::wire::{self, Command};
use super::{ProveError, Seal, SealConfig, SpawnError, Wall, sys};
use crate::intercept::Probing;

/// All attempts together take milliseconds; a dial that is dropped on the way takes three seconds.
const PATIENCE: Duration = Duration::from_secs(20);

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
        let prober = self.clone();
        let targets = self.targets(&bait).map_err(ProveError::Prepare)?;
        let (id, started, exited) = self.control.expect();
        let sent = tokio::task::spawn_blocking(move || prober.send(id, &targets)).await;
        let sent = sent.map_err(|join| SpawnError::Control(io::Error::other(join)));
        let sent = sent.and_then(|sent| sent.map_err(SpawnError::Control));
        let (go, results) = match sent {
            Ok(sent) => sent,
            Err(error) => {
                self.control.forget(id);
                return Err(ProveError::Start(error));
            }
        };
        // What lives there may stop the sandbox's init in the middle of it.
        let Ok(started) = tokio::time::timeout(PATIENCE, started).await else {
            self.control.forget(id);
            return Err(ProveError::TooSlow(PATIENCE));
        };
        let started = started.map_err(|_| ProveError::Start(SpawnError::Gone))?;
        let (pid, _) =
            started.map_err(|source| ProveError::Start(SpawnError::Exec { program: "the probe".into(), source }))?;
        let probing = self.probing.begin(pid);
        sys::write(go.as_fd(), b"!").map_err(ProveError::Prepare)?;
        let status = match tokio::time::timeout(PATIENCE, exited).await {
            Ok(Ok(status)) => status,
            Ok(Err(_)) => return Err(ProveError::Start(SpawnError::Gone)),
            Err(_) => {
                let _ = self.control.send(&Command::Signal { id, signal: libc::SIGKILL }, &[]);
                return Err(ProveError::TooSlow(PATIENCE));
            }
        };
        drop(probing);
        if status != 0 {
            return Err(ProveError::NoFindings(format!("wait status {status}")));
        }
        let findings: Vec<Finding> =
            wire::read_document(results).map_err(|error| ProveError::NoFindings(error.to_string()))?;
        Ok(self.judge(findings, &bait))
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
            host_port: bait.tcp.local_addr()?,
            host_socket: bait.name.clone(),
            host_processes: vec![std::process::id() as i32, self.guard_pid, self.seal.init_pid],
            handle_is_foreign: !self.seal.degraded.contains(&Wall::PrivateProc),
        })
    }

    /// Answers the writing end of the probe's leave, and the file for its findings.
    fn send(&self, id: u64, targets: &Targets) -> io::Result<(OwnedFd, OwnedFd)> {
        let targets = wire::document(targets)?;
        let (leave, go) = std::io::pipe()?;
        let results: OwnedFd = sys::memfd(c"openshell-findings")?.into();
        let handle = File::open("/proc/self")?;
        let fds = [targets.as_fd(), leave.as_fd(), results.as_fd(), handle.as_fd()];
        self.control.send(&Command::Probe { id }, &fds)?;
        Ok((go.into(), results))
    }

    fn judge(&self, findings: Vec<Finding>, bait: &Bait) -> Enforcement {
        let waived = |wall: Option<Wall>| wall.is_some_and(|wall| self.seal.degraded.contains(&wall));
        let check = |finding: Finding| {
            let taken = bait.taken(&finding.name);
            let outcome = match finding.proven && !taken {
                true => Outcome::Proven,
                false if !taken && waived(finding.wall) => Outcome::Waived,
                false => Outcome::Failed,
            };
            let seen = if taken { "it arrived outside".to_owned() } else { finding.seen };
            Check { name: finding.name, expected: finding.expected, seen, outcome }
        };
        Enforcement { at: jiff::Timestamp::now(), checks: findings.into_iter().map(check).collect() }
    }
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
