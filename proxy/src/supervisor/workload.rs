//! What runs in the sandbox: its environment, its start and its end.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use openshell_api::enforcement::Enforcement;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::logs::{Drained, Logs};
use crate::isolation::{Child, ExitStatus, ProveError, Prover, SpawnError, SpawnRequest, Spawner, Stdio, Task};

/// Time between SIGTERM and SIGKILL at the end.
const FAREWELL: Duration = Duration::from_secs(5);

/// What the workload is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Phase {
    /// Not started yet.
    Starting,
    /// It runs, or the sandbox idles.
    Running,
    /// It ended by itself.
    Exited {
        /// 128 + n if signal n ended it.
        code: i32,
    },
    /// It could not start.
    Failed {
        /// Why.
        reason: String,
    },
}

/// Why the workload did not start.
#[derive(Debug, thiserror::Error)]
pub enum WorkloadError {
    /// The sandbox refused it.
    #[error(transparent)]
    Spawn(#[from] SpawnError),
    /// Its streams can't be made.
    #[error("the workload's streams: {0}")]
    Streams(#[from] io::Error),
}

/// A workload that runs, and its output on the way into the log.
struct Running {
    child: Child,
    exited: CancellationToken,
    output: [Drained; 2],
}

/// The inside of one sandbox: nothing runs in it before it is sealed and its walls are proven.
pub struct Workload {
    sealed: OnceLock<Sealed>,
    proof: watch::Sender<Option<Proof>>,
    phase: watch::Sender<Phase>,
    end_told: watch::Sender<bool>,
}

/// A sandbox whose walls are up and proven.
pub struct Sealed {
    /// Starts processes inside.
    pub spawner: Spawner,
    /// Proves the walls again.
    pub prover: Prover,
    /// What everything inside starts from.
    pub environment: BTreeMap<String, String>,
    /// Where everything inside starts.
    pub workdir: PathBuf,
}

/// What is known of a sandbox's walls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    /// Walls that are missing, with leave.
    pub degraded: Vec<String>,
    /// What a probe found when it last tried to get out.
    pub enforcement: Enforcement,
}

impl Default for Workload {
    fn default() -> Self {
        Self {
            sealed: OnceLock::new(),
            proof: watch::Sender::new(None),
            phase: watch::Sender::new(Phase::Starting),
            end_told: watch::Sender::new(false),
        }
    }
}

impl Workload {
    /// Opens the sandbox to processes. Only once; a second sealed sandbox is ended.
    pub fn open(&self, sealed: Sealed) {
        if let Err(second) = self.sealed.set(sealed) {
            second.spawner.kill();
        }
    }

    /// Keeps what was found about the walls.
    pub fn proven(&self, proof: Proof) {
        self.proof.send_replace(Some(proof));
    }

    /// What is known of the walls, now and later.
    pub fn proof(&self) -> watch::Receiver<Option<Proof>> {
        self.proof.subscribe()
    }

    /// The sandbox can't be sealed: nothing ever runs in it.
    pub fn fail(&self, reason: String, logs: &Logs) {
        self.enter(Phase::Failed { reason }, logs);
    }

    /// Lets a probe try to get out again, while everything runs.
    pub async fn verify(&self) -> Result<Enforcement, ProveError> {
        let sealed = self.sealed.get().ok_or(ProveError::Start(SpawnError::NotSealed))?;
        let enforcement = sealed.prover.prove().await?;
        self.proof.send_modify(|proof| {
            if let Some(proof) = proof {
                proof.enforcement = enforcement.clone();
            }
        });
        Ok(enforcement)
    }

    /// What it is doing, now and later.
    pub fn phase(&self) -> watch::Receiver<Phase> {
        self.phase.subscribe()
    }

    /// How it ended is on its way to the gateway.
    pub fn end_is_told(&self) {
        self.end_told.send_replace(true);
    }

    /// Waits until that is so, if it has ended.
    pub async fn told(&self) {
        if matches!(*self.phase.borrow(), Phase::Starting | Phase::Running) {
            return;
        }
        // An error can't come: this one keeps the other side.
        let _ = self.end_told.subscribe().wait_for(|told| *told).await;
    }

    /// Environment that everything in the sandbox starts from.
    pub fn environment(&self) -> BTreeMap<String, String> {
        self.sealed.get().map(|sealed| sealed.environment.clone()).unwrap_or_default()
    }

    /// Where everything in it starts.
    pub fn workdir(&self) -> PathBuf {
        self.sealed.get().map(|sealed| sealed.workdir.clone()).unwrap_or_default()
    }

    /// Starts a process in it. Refuses when it is not sealed and proven, or has ended.
    pub async fn spawn(&self, request: SpawnRequest) -> Result<Child, SpawnError> {
        self.sealed.get().ok_or(SpawnError::NotSealed)?.spawner.spawn(request).await
    }

    /// Runs code of ours in it, as the workload's user and behind the same walls. Refuses as [`Self::spawn`] does.
    pub async fn spawn_task(&self, task: Task, stdio: Stdio) -> Result<Child, SpawnError> {
        self.sealed.get().ok_or(SpawnError::NotSealed)?.spawner.spawn_task(task, self.workdir(), stdio).await
    }

    /// Connects to a TCP port on its loopback.
    pub async fn dial(&self, port: u16) -> io::Result<TcpStream> {
        self.sealed.get().ok_or(io::ErrorKind::NotConnected)?.spawner.dial(port).await
    }

    /// Runs the workload, if there is one, to its end or until `stop`; then ends it: SIGTERM, SIGKILL after 5 s.
    /// Returns after `stop` and when nothing of the sandbox is left running.
    pub async fn run(self: Arc<Self>, command: Vec<String>, logs: Logs, stop: CancellationToken) {
        let Some(spawner) = self.sealed.get().map(|sealed| sealed.spawner.clone()) else {
            return stop.cancelled().await;
        };
        match self.start(command, &logs).await {
            Ok(None) => self.enter(Phase::Running, &logs),
            Ok(Some(running)) => {
                self.enter(Phase::Running, &logs);
                self.watch(running, &logs, &stop).await;
            }
            Err(error) => self.enter(Phase::Failed { reason: error.to_string() }, &logs),
        }
        tokio::select! {
            () = stop.cancelled() => {}
            () = spawner.ended() => {
                self.enter(Phase::Failed { reason: SpawnError::Gone.to_string() }, &logs);
                stop.cancelled().await;
            }
        }
        spawner.kill();
        // Killing PID 1 of the sandbox is final; the time limit only keeps a broken kernel from holding us.
        let _ = tokio::time::timeout(FAREWELL, spawner.ended()).await;
    }

    async fn start(&self, command: Vec<String>, logs: &Logs) -> Result<Option<Running>, WorkloadError> {
        if command.is_empty() {
            return Ok(None);
        }
        let exited = CancellationToken::new();
        let stdin = std::fs::File::open("/dev/null")?.into();
        let (stdout, out) = logs.pipe("stdout", exited.clone())?;
        let (stderr, err) = logs.pipe("stderr", exited.clone())?;
        let stdio = Stdio::Descriptors { stdin, stdout, stderr };
        let request = SpawnRequest { argv: command, env: self.environment(), cwd: self.workdir(), stdio };
        Ok(Some(Running { child: self.spawn(request).await?, exited, output: [out, err] }))
    }

    async fn watch(&self, mut running: Running, logs: &Logs, stop: &CancellationToken) {
        let child = &mut running.child;
        let ended = tokio::select! {
            ended = child.wait() => ended,
            () = stop.cancelled() => {
                if let Err(error) = child.signal(libc::SIGTERM) {
                    tracing::warn!(%error, "the workload can't be asked to end");
                }
                // Whoever has not ended by then is killed with the sandbox.
                match tokio::time::timeout(FAREWELL, child.wait()).await {
                    Ok(ended) => ended,
                    Err(_) => Ok(ExitStatus::Signal(libc::SIGKILL)),
                }
            }
        };
        match ended {
            Ok(status) => {
                running.exited.cancel();
                for output in running.output {
                    output.wait().await;
                }
                let code = status.shell_code();
                logs.end(code).await;
                self.enter(Phase::Exited { code }, logs);
            }
            Err(error) => self.enter(Phase::Failed { reason: error.to_string() }, logs),
        }
    }

    fn enter(&self, phase: Phase, logs: &Logs) {
        match &phase {
            // What ends a log was said with it.
            Phase::Starting | Phase::Exited { .. } => {}
            Phase::Running => logs.say("the sandbox is sealed and runs"),
            Phase::Failed { reason } => logs.say(format!("the workload failed: {reason}")),
        }
        self.phase.send_replace(phase);
    }
}
