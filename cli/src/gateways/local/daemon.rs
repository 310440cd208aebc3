//! The gateway as a process in the background.

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use openshell_api::status::Status;

use super::super::{endpoint, private};
use super::{POLL, Plan, STOP_LIMIT, healthy};
use crate::client::Client;
use crate::error::Error;
use crate::{paths, sys};

pub(super) const PROGRAM: &str = "openshell-gateway";
const LOG_TAIL_LINES: usize = 5;

/// Starts the gateway in a session of its own, its output in a log file, and waits until it answers.
pub(super) async fn start(state_dir: &Path, plan: &Plan) -> Result<(Client, Status), Error> {
    let program = paths::program(PROGRAM).ok_or(Error::NoGatewayProgram)?;
    let mut child = spawn(&program, state_dir, plan, &log_file(state_dir))?;
    let pid = child.id();
    healthy(
        state_dir,
        |answers| answers == pid,
        async || {
            let status = child.try_wait().map_err(Error::io("wait for the gateway"))?;
            Ok(status.map(|status| status.to_string()))
        },
    )
    .await
}

fn spawn(program: &Path, state_dir: &Path, plan: &Plan, log: &Path) -> Result<Child, Error> {
    let output = open_log(log)?;
    let errors = output.try_clone().map_err(Error::io(format!("open {}", log.display())))?;
    let mut command = Command::new(program);
    command.args(Plan::words(state_dir, &plan.args)).envs(&plan.environment);
    command.current_dir("/").stdin(Stdio::null()).stdout(output).stderr(errors);
    sys::detach(&mut command);
    command.spawn().map_err(Error::io(format!("start {}", program.display())))
}

/// Where the gateway's output goes: by default `$XDG_STATE_HOME/openshell/gateway/gateway.log`.
pub(super) fn log_file(state_dir: &Path) -> PathBuf {
    state_dir.join("gateway.log")
}

fn open_log(log: &Path) -> Result<File, Error> {
    use std::os::unix::fs::OpenOptionsExt as _;
    if let Some(directory) = log.parent() {
        private::directory(directory)?;
    }
    OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(log)
        .map_err(Error::io(format!("open {}", log.display())))
}

/// The last lines of the log, for an error's hint; nothing if it can't be read.
pub(super) fn tail(log: &Path) -> String {
    let text = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LOG_TAIL_LINES)..]
        .iter()
        .map(|line| format!("  {line}"))
        .collect::<Vec<_>>()
        .join("\n")
}

/// Asks the gateway to stop and waits until it has. Signals the process that the endpoint file names only after
/// checking that it runs the gateway's program. Answers its pid.
pub(super) async fn stop(state_dir: &Path) -> Result<u32, Error> {
    let endpoint = endpoint::read(state_dir)?;
    let pid = endpoint.pid;
    match executable(pid) {
        None => return Err(Error::NoGateway { endpoint: state_dir.join("endpoint.json") }),
        Some(found) if !is_gateway(&found) => {
            return Err(Error::NotTheGateway { pid, found: found.display().to_string() });
        }
        Some(_) => {}
    }
    let target = Pid::from_raw(i32::try_from(pid).map_err(|_| Error::NoGateway { endpoint: state_dir.to_owned() })?);
    kill(target, Signal::SIGTERM)
        .map_err(|e| Error::Io { doing: format!("signal process {pid}"), source: e.into() })?;
    let began = Instant::now();
    while began.elapsed() < STOP_LIMIT {
        if executable(pid).is_none_or(|found| !is_gateway(&found)) {
            return Ok(pid);
        }
        tokio::time::sleep(POLL).await;
    }
    Err(Error::StillRunning { pid, seconds: STOP_LIMIT.as_secs() })
}

/// Whether the process that the endpoint file names runs the gateway's program.
pub(super) fn is_running(state_dir: &Path) -> bool {
    endpoint::read(state_dir).is_ok_and(|endpoint| runs_gateway(endpoint.pid))
}

/// Whether a living process runs the gateway's program.
pub(super) fn runs_gateway(pid: u32) -> bool {
    executable(pid).is_some_and(|found| is_gateway(&found))
}

/// The executable of a living process; nothing for one that is gone, a zombie, or another user's.
fn executable(pid: u32) -> Option<PathBuf> {
    std::fs::read_link(format!("/proc/{pid}/exe")).ok()
}

/// The kernel adds ` (deleted)` to an executable that was replaced while it runs.
fn is_gateway(executable: &Path) -> bool {
    let name = executable.file_name().unwrap_or_default().to_string_lossy();
    name.strip_suffix(" (deleted)").unwrap_or(&name) == PROGRAM
}
