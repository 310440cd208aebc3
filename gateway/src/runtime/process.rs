//! Sandboxes as processes of this machine, each in its own session, sealed by their supervisor.
//!
//! Files of a sandbox: `launch.json` (what it is started with, secret), `process.json` (who it is), `supervisor.log` and what it had before,
//! `state/` (the supervisor's) and `workspace/` (the workload's).

mod log;

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nix::sys::signal::Signal;
use openshell_api::sandbox::{CreateSandbox, RuntimeKind};
use tokio::process::Command;
use tokio_util::sync::CancellationToken;

use super::detach::in_own_session;
use super::proc::{self, ProcessId};
use super::{Places, Runtime, RuntimeError, Start};
use crate::state_dir::{StateDirError, create_private_dir, write_private};

/// How often a supervisor that another gateway process started is looked at.
const ADOPTED_POLL: Duration = Duration::from_secs(1);
const KILL_POLL: Duration = Duration::from_millis(20);
const KILL_WAIT: Duration = Duration::from_secs(5);
/// How often it is looked whether a log is too long.
const LOG_LOOK: Duration = Duration::from_secs(30);
const LOG: &str = "supervisor.log";

/// Whether a variable holds what is the gateway's alone: keys of its bucket, its database's password.
fn is_gateways_own(name: &std::ffi::OsStr) -> bool {
    name.as_encoded_bytes().starts_with(b"AWS_") || name == "OPENSHELL_DATABASE"
}

/// The `process` runtime.
pub struct ProcessRuntime {
    supervisor: PathBuf,
    root: PathBuf,
    /// Supervisors that are this process's children; cancelled when they have ended.
    children: Mutex<HashMap<String, CancellationToken>>,
}

impl ProcessRuntime {
    /// Keeps sandboxes under `root`.
    pub fn new(supervisor: PathBuf, root: PathBuf) -> Result<Self, StateDirError> {
        create_private_dir(&root)?;
        Ok(Self { supervisor, root, children: Mutex::default() })
    }

    fn path(&self, id: &str, name: &str) -> PathBuf {
        self.root.join(id).join(name)
    }

    fn launch_file(&self, id: &str) -> String {
        self.path(id, "launch.json").to_string_lossy().into_owned()
    }

    fn children(&self) -> std::sync::MutexGuard<'_, HashMap<String, CancellationToken>> {
        self.children.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The supervisor of a sandbox: as written down, else as found by its arguments.
    fn process(&self, id: &str) -> Option<ProcessId> {
        match std::fs::read(self.path(id, "process.json")) {
            Ok(text) => serde_json::from_slice(&text).ok(),
            Err(_) => proc::find(&["--launch", &self.launch_file(id)]),
        }
    }

    /// Waits until the supervisor of a sandbox is dead.
    async fn ended(&self, id: &str) {
        let child = self.children().get(id).cloned();
        if let Some(ended) = child {
            return ended.cancelled().await;
        }
        if let Some(process) = self.process(id) {
            while process.alive() {
                tokio::time::sleep(ADOPTED_POLL).await;
            }
        }
    }

    /// Cuts the log of a supervisor back whenever it is too long. Never returns.
    async fn keep_log_short(&self, id: &str) {
        loop {
            tokio::time::sleep(LOG_LOOK).await;
            let path = self.path(id, LOG);
            let cut = tokio::task::spawn_blocking(move || log::cut_back(&path)).await;
            if let Ok(Err(error)) = cut {
                tracing::debug!(sandbox = id, %error, "a supervisor's log can't be cut back");
            }
        }
    }
}

#[async_trait::async_trait]
impl Runtime for ProcessRuntime {
    fn kind(&self) -> RuntimeKind {
        RuntimeKind::Process
    }

    fn places(&self, id: &str) -> Places {
        let text = |name| self.path(id, name).to_string_lossy().into_owned();
        Places { state_dir: text("state"), workspace: text("workspace") }
    }

    /// The gateway's whole directory: its keys lie beside the sandboxes.
    fn hidden(&self) -> Vec<String> {
        self.root.parent().map(|parent| parent.to_string_lossy().into_owned()).into_iter().collect()
    }

    fn refusal(&self, spec: &CreateSandbox) -> Option<String> {
        let asked = [
            ("an image", spec.image.is_some()),
            ("volumes", !spec.volumes.is_empty()),
            ("a network", spec.network.is_some()),
            ("GPUs", spec.gpu),
            ("a processor limit", spec.cpu.is_some()),
            ("a memory limit", spec.memory.is_some()),
            ("a limit of processes", spec.pids.is_some()),
        ];
        let (what, _) = asked.into_iter().find(|(_, asked)| *asked)?;
        Some(format!("the runtime process can't give a sandbox {what}; the runtime docker can"))
    }

    async fn start(&self, start: &Start) -> Result<(), RuntimeError> {
        let spec = &start.launch;
        if !self.supervisor.is_file() {
            return Err(RuntimeError::NoSupervisor(self.supervisor.clone()));
        }
        let id = spec.sandbox_id.as_str();
        create_private_dir(Path::new(&spec.state_dir))?;
        create_private_dir(Path::new(&spec.workspace))?;
        let text =
            serde_json::to_vec(spec).map_err(|error| system("write the launch file", io::Error::other(error)))?;
        write_private(&self.path(id, "launch.json"), &text)?;
        let log = log::open(&self.path(id, LOG)).map_err(|error| system("open the supervisor's log", error))?;
        let errors = log.try_clone().map_err(|error| system("open the supervisor's log", error))?;

        let mut command = Command::new(&self.supervisor);
        command.arg("--launch").arg(self.launch_file(id)).current_dir(&spec.state_dir);
        command.stdin(Stdio::null()).stdout(log).stderr(errors).kill_on_drop(false);
        for (name, _) in std::env::vars_os().filter(|(name, _)| is_gateways_own(name)) {
            command.env_remove(name);
        }
        let child = in_own_session(&mut command).spawn();
        let mut child = child.map_err(|error| system(&format!("start {}", self.supervisor.display()), error))?;
        if let Some(process) = child.id().and_then(ProcessId::of) {
            let text =
                serde_json::to_vec(&process).map_err(|error| system("write process.json", io::Error::other(error)))?;
            write_private(&self.path(id, "process.json"), &text)?;
        }
        let ended = CancellationToken::new();
        self.children().insert(id.to_owned(), ended.clone());
        tokio::spawn(async move {
            let _ = child.wait().await;
            ended.cancel();
        });
        Ok(())
    }

    async fn alive(&self, id: &str) -> Result<bool, RuntimeError> {
        Ok(self.process(id).is_some_and(|process| process.alive()))
    }

    async fn wait(&self, id: &str) {
        tokio::select! {
            () = self.ended(id) => {}
            () = self.keep_log_short(id) => {}
        }
    }

    async fn stop(&self, id: &str, grace: Duration) -> Result<(), RuntimeError> {
        let Some(process) = self.process(id).map(Arc::new) else { return Ok(()) };
        for (signal, patience) in [(Signal::SIGTERM, grace), (Signal::SIGKILL, KILL_WAIT)] {
            if !process.signal(signal) {
                return Ok(());
            }
            let gone = async {
                while process.alive() {
                    tokio::time::sleep(KILL_POLL).await;
                }
            };
            if tokio::time::timeout(patience, gone).await.is_ok() {
                return Ok(());
            }
        }
        Err(RuntimeError::Unkillable(id.to_owned()))
    }

    async fn remove(&self, id: &str) -> Result<(), RuntimeError> {
        self.children().remove(id);
        match tokio::fs::remove_dir_all(self.root.join(id)).await {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(system(&format!("remove {}", self.root.join(id).display()), error))
            }
            _ => Ok(()),
        }
    }

    async fn log_tail(&self, id: &str, lines: usize) -> String {
        log::tail(&self.path(id, LOG), lines)
    }

    async fn traces(&self) -> Result<Vec<String>, RuntimeError> {
        let entries = std::fs::read_dir(&self.root).map_err(|error| system("list sandboxes", error))?;
        Ok(entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect())
    }
}

fn system(doing: &str, source: io::Error) -> RuntimeError {
    RuntimeError::System { doing: doing.to_owned(), source }
}
