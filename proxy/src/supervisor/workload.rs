//! What runs in the sandbox: its environment, its start and its end.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::logs::{Drained, Logs};
use crate::isolation::{Child, ExitStatus, SpawnError, SpawnRequest, Spawner, Stdio, Task};

/// Where the sandbox finds the certificates it trusts: the system's and the proxy's own.
pub const CA_BUNDLE: &str = "/run/openshell/ca.pem";

/// Bundles that programs read whatever their environment says: GnuTLS, so wget and apt, and Go on some systems. Where
/// one exists, the sandbox sees it with the proxy's certificate added. Debian, Fedora, Alpine, openSUSE.
pub const SYSTEM_BUNDLES: [&str; 5] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
    "/etc/ssl/ca-bundle.pem",
];

/// Variables by which programs are told of a CA bundle: OpenSSL and Go, Python's requests, curl, Git, Node.js, pip,
/// Cargo, Deno, the AWS SDKs, uv, Bun and gRPC.
const CA_VARIABLES: [&str; 11] = [
    "SSL_CERT_FILE",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "GIT_SSL_CAINFO",
    "NODE_EXTRA_CA_CERTS",
    "PIP_CERT",
    "CARGO_HTTP_CAINFO",
    "DENO_CERT",
    "AWS_CA_BUNDLE",
    "HTTPLIB2_CA_CERTS",
    "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH",
];

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

/// The inside of one sandbox.
pub struct Workload {
    /// Absent: the sandbox could not be sealed, so nothing runs in it.
    spawner: Option<Spawner>,
    environment: BTreeMap<String, String>,
    workdir: PathBuf,
    phase: watch::Sender<Phase>,
}

impl Workload {
    /// A sealed sandbox in which nothing runs yet.
    pub fn new(spawner: Spawner, environment: BTreeMap<String, String>, workdir: PathBuf) -> Self {
        Self { spawner: Some(spawner), environment, workdir, phase: watch::Sender::new(Phase::Starting) }
    }

    /// A sandbox that could not be sealed: nothing ever runs in it.
    pub fn unsealed(reason: String) -> Self {
        Self {
            spawner: None,
            environment: BTreeMap::new(),
            workdir: PathBuf::new(),
            phase: watch::Sender::new(Phase::Failed { reason }),
        }
    }

    /// What it is doing, now and later.
    pub fn phase(&self) -> watch::Receiver<Phase> {
        self.phase.subscribe()
    }

    /// Environment that everything in the sandbox starts from.
    pub fn environment(&self) -> BTreeMap<String, String> {
        self.environment.clone()
    }

    /// Where everything in it starts.
    pub fn workdir(&self) -> PathBuf {
        self.workdir.clone()
    }

    /// Starts a process in it. Refuses when it was not sealed or has ended.
    pub async fn spawn(&self, request: SpawnRequest) -> Result<Child, SpawnError> {
        self.spawner.as_ref().ok_or(SpawnError::Gone)?.spawn(request).await
    }

    /// Runs code of ours in it, as the workload's user and behind the same walls. Refuses as [`Self::spawn`] does.
    pub async fn spawn_task(&self, task: Task, stdio: Stdio) -> Result<Child, SpawnError> {
        self.spawner.as_ref().ok_or(SpawnError::Gone)?.spawn_task(task, self.workdir(), stdio).await
    }

    /// Connects to a TCP port on its loopback.
    pub async fn dial(&self, port: u16) -> io::Result<TcpStream> {
        self.spawner.as_ref().ok_or(io::ErrorKind::NotConnected)?.dial(port).await
    }

    /// Runs the workload, if there is one, to its end or until `stop`; then ends it: SIGTERM, SIGKILL after 5 s.
    /// Returns after `stop` and when nothing of the sandbox is left running.
    pub async fn run(self: Arc<Self>, command: Vec<String>, logs: Logs, stop: CancellationToken) {
        let Some(spawner) = self.spawner.clone() else { return stop.cancelled().await };
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

/// Adds to `environment` where the sandbox's CA bundle lies. What the user set stays.
pub(super) fn trust(environment: &mut BTreeMap<String, String>) {
    for name in CA_VARIABLES {
        environment.entry(name.to_owned()).or_insert_with(|| CA_BUNDLE.to_owned());
    }
}
