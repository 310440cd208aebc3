//! Starting and stopping the gateway's process on this machine.

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use openshell_api::status::Status;

use super::{Client, Place, endpoint, paths};
use crate::args::gateway::StartArgs;
use crate::error::Error;
use crate::output::word;
use crate::sys;

const PROGRAM: &str = "openshell-gateway";
const START_LIMIT: Duration = Duration::from_secs(60);
const STOP_LIMIT: Duration = Duration::from_secs(20);
const ANSWER_LIMIT: Duration = Duration::from_secs(2);
const POLL: Duration = Duration::from_millis(25);
const LOG_TAIL_LINES: usize = 5;

/// Starts the gateway in a session of its own, its output in a log file, and waits until it answers. Never looks at
/// whether one is running already.
pub async fn start(state_dir: &Path, arguments: &StartArgs) -> Result<(Client, Status), Error> {
    let program = paths::program(PROGRAM).ok_or(Error::NoGatewayProgram)?;
    let log = log_file(state_dir);
    let mut child = spawn(&program, state_dir, arguments, &log)?;
    let began = Instant::now();
    while began.elapsed() < START_LIMIT {
        if let Some(status) = child.try_wait().map_err(Error::io("wait for the gateway"))? {
            return Err(Error::GatewayEnded { status: status.to_string(), log_tail: tail(&log), log });
        }
        // An endpoint file of a gateway that was killed names another process: not ours, not yet.
        let ours = endpoint::read(state_dir).is_ok_and(|endpoint| endpoint.pid == child.id());
        if ours {
            let client = Client::new(Place::Local(state_dir.to_owned()).access()?)?;
            if let Ok(status) = client.status_within(ANSWER_LIMIT).await {
                return Ok((client, status));
            }
        }
        tokio::time::sleep(POLL).await;
    }
    Err(Error::GatewaySlow { seconds: START_LIMIT.as_secs(), log })
}

fn spawn(program: &Path, state_dir: &Path, arguments: &StartArgs, log: &Path) -> Result<Child, Error> {
    let output = open_log(log)?;
    let errors = output.try_clone().map_err(Error::io(format!("open {}", log.display())))?;
    let mut command = Command::new(program);
    command.arg("run").arg("--state-dir").arg(state_dir);
    if let Some(listen) = arguments.listen {
        command.arg("--listen").arg(listen.to_string());
    }
    if let Some(file) = &arguments.upstream_ca {
        // The gateway runs in another directory.
        let file = file.canonicalize().map_err(Error::io(format!("read {}", file.display())))?;
        command.arg("--upstream-ca").arg(file);
    }
    if let Some(runtime) = arguments.runtime {
        command.arg("--runtime").arg(word(&runtime));
    }
    if let Some(image) = &arguments.default_image {
        command.arg("--default-image").arg(image);
    }
    command.current_dir("/").stdin(Stdio::null()).stdout(output).stderr(errors);
    sys::detach(&mut command);
    command.spawn().map_err(Error::io(format!("start {}", program.display())))
}

/// Where the gateway's output goes: by default `$XDG_STATE_HOME/openshell/gateway/gateway.log`.
fn log_file(state_dir: &Path) -> PathBuf {
    state_dir.join("gateway.log")
}

fn open_log(log: &Path) -> Result<File, Error> {
    use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
    if let Some(directory) = log.parent() {
        let mut private = std::fs::DirBuilder::new();
        let created = private.recursive(true).mode(0o700).create(directory);
        created.map_err(Error::io(format!("create {}", directory.display())))?;
    }
    OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(log)
        .map_err(Error::io(format!("open {}", log.display())))
}

/// The last lines of the log, for an error's hint; nothing if it can't be read.
fn tail(log: &Path) -> String {
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
pub async fn stop(state_dir: &Path) -> Result<u32, Error> {
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

/// Whether a gateway of this state directory runs, by its pid.
pub fn is_running(state_dir: &Path) -> bool {
    endpoint::read(state_dir).is_ok_and(|endpoint| executable(endpoint.pid).is_some_and(|found| is_gateway(&found)))
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

/// The running gateway; where there is none on this machine, a new one.
pub async fn ensure(place: &Place, note: impl FnOnce()) -> Result<Client, Error> {
    let Place::Local(state_dir) = place else {
        return Client::new(place.access()?);
    };
    if is_running(state_dir) {
        return Client::new(place.access()?);
    }
    note();
    Ok(start(state_dir, &StartArgs::default()).await?.0)
}
