//! The gateway of a state directory on this machine: started, stopped, replaced by a newer one, taken away.
//!
//! It runs as a process in the background, as a service of the user's systemd, or as a container. Which one, and with
//! which arguments, is kept beside its state, so that an upgrade brings the same gateway up again.

mod container;
mod daemon;
mod engine;
mod plan;
mod service;

use std::path::Path;
use std::time::{Duration, Instant};

use openshell_api::sandbox::RuntimeKind;
use openshell_api::status::Status;

use super::entry::Form;
use super::{Place, endpoint, private};
use crate::args::gateway::StartArgs;
use crate::client::Client;
use crate::error::{Error, GatewayError};

pub use plan::Plan;
pub use service::lingers;

const START_LIMIT: Duration = Duration::from_secs(60);
const STOP_LIMIT: Duration = Duration::from_secs(20);
/// Supervisors dial again every five seconds at least.
const RECONNECT_LIMIT: Duration = Duration::from_secs(10);
const ANSWER_LIMIT: Duration = Duration::from_secs(2);
const POLL: Duration = Duration::from_millis(25);

/// Starts the gateway and waits until it answers. Never looks at whether one is running already.
pub async fn start(state_dir: &Path, plan: &Plan) -> Result<(Client, Status), Error> {
    private::directory(state_dir)?;
    let former = Plan::kept(state_dir)?.map(|former| former.form).filter(|former| *former != plan.form);
    let new = former.is_some() || Plan::kept(state_dir)?.is_none();
    let started = match plan.form {
        Form::Process => daemon::start(state_dir, plan).await,
        Form::Service => service::start(state_dir, plan).await,
        Form::Docker => container::start(state_dir, plan).await,
    };
    match &started {
        Ok(_) => {
            // After a reboot, both would come up.
            if let Some(former) = former {
                retire(state_dir, former).await?;
            }
            plan.save(state_dir)?;
        }
        // What did not come up is not to come up by itself later.
        Err(_) if new => drop(retire(state_dir, plan.form).await),
        Err(_) => {}
    }
    started
}

/// Removes what brings a gateway up again by itself. Answers what could not be removed.
async fn retire(state_dir: &Path, form: Form) -> Result<Vec<String>, Error> {
    match form {
        Form::Process => Ok(Vec::new()),
        Form::Service => service::remove(state_dir).await.map(|()| Vec::new()),
        Form::Docker => container::remove(state_dir).await,
    }
}

/// Asks the gateway to stop and waits until it has. Answers what it was, in words.
pub async fn stop(state_dir: &Path) -> Result<String, Error> {
    match Plan::of(state_dir)?.form {
        Form::Process => Ok(format!("pid {}", daemon::stop(state_dir).await?)),
        Form::Service => service::stop(state_dir).await,
        Form::Docker => container::stop(state_dir).await,
    }
}

/// Whether a gateway of this state directory runs, in whichever form it was started.
pub async fn is_running(state_dir: &Path) -> bool {
    let form = Plan::of(state_dir).map_or(Form::Process, |plan| plan.form);
    match form {
        Form::Process => daemon::is_running(state_dir),
        // Started by hand since, most likely.
        Form::Service => service::is_running(state_dir).await || daemon::is_running(state_dir),
        Form::Docker => container::is_running(state_dir).await || daemon::is_running(state_dir),
    }
}

/// Ends the gateway that runs and starts the one beside this program in its place, as it was started last. Its sandboxes
/// go on meanwhile; those that were connected are waited for a little, so that commands reach them again.
pub async fn upgrade(state_dir: &Path) -> Result<(Client, Status), Error> {
    let plan = Plan::of(state_dir)?;
    let mut connected = 0;
    if is_running(state_dir).await {
        if let Ok(status) = Client::new(endpoint::access(state_dir)?).await?.status_within(ANSWER_LIMIT).await {
            connected = status.connected;
        }
        stop(state_dir).await?;
    }
    let (client, mut status) = start(state_dir, &plan).await?;
    let began = Instant::now();
    while status.connected < connected && began.elapsed() < RECONNECT_LIMIT {
        tokio::time::sleep(4 * POLL).await;
        // It has answered once: one answer that is late, on a busy machine, is no failure.
        status = client.status_within(ANSWER_LIMIT).await.unwrap_or(status);
    }
    Ok((client, status))
}

/// Stops the gateway and removes all there is of it: sandboxes, service or container, state. What can't be removed any
/// more because the gateway does not start is named, and the rest removed.
pub async fn purge(state_dir: &Path) -> Result<Vec<String>, Error> {
    if !state_dir.exists() {
        return Err(Error::NoGateway { endpoint: state_dir.join("endpoint.json") });
    }
    let plan = Plan::of(state_dir)?;
    let mut left = Vec::new();
    if !is_running(state_dir).await
        && let Err(error) = start(state_dir, &plan).await
    {
        left.push(format!("the gateway does not start, so its sandboxes were not looked for: {error}"));
    }
    if let Ok(access) = endpoint::access(state_dir) {
        let client = Client::new(access).await?;
        for sandbox in client.sandboxes().await.unwrap_or_default() {
            if let Err(error) = client.delete_sandbox(&sandbox.name).await {
                left.push(format!("sandbox {} was not deleted: {error}", sandbox.name));
            }
        }
    }
    if is_running(state_dir).await {
        stop(state_dir).await?;
    }
    left.extend(retire(state_dir, plan.form).await?);
    std::fs::remove_dir_all(state_dir).map_err(Error::io(format!("remove {}", state_dir.display())))?;
    Ok(left)
}

/// The running gateway; where there is none on this machine, a new one, as it was started last.
pub async fn ensure(state_dir: &Path, note: impl FnOnce(&Plan)) -> Result<Client, Error> {
    if is_running(state_dir).await {
        return Client::new(endpoint::access(state_dir)?).await;
    }
    let plan = match Plan::kept(state_dir)? {
        Some(plan) => plan,
        None => Plan::new(preferred(state_dir, None).await, StartArgs::default()),
    };
    note(&plan);
    Ok(start(state_dir, &plan).await?.0)
}

/// As what a gateway runs where nobody said, if it is this user's own gateway in its usual place: as a container where a Docker engine
/// answers, unless its sandboxes are to be processes; else as a service where the user's systemd does. Everything else is a process.
pub async fn preferred(state_dir: &Path, runtime: Option<RuntimeKind>) -> Form {
    let usual = std::env::var_os("XDG_STATE_HOME").is_none()
        && matches!(Place::local(), Ok(Place::Local(own)) if own == state_dir);
    if !usual {
        return Form::Process;
    }
    let said = std::env::var("OPENSHELL_RUNTIME").unwrap_or_default();
    let processes = runtime.map_or(said == RuntimeKind::Process.as_str(), |runtime| runtime == RuntimeKind::Process);
    if !processes && container::answers().await {
        return Form::Docker;
    }
    if service::answers().await { Form::Service } else { Form::Process }
}

/// Waits until the gateway says that it answers, and does. `ended` tells that it won't any more.
async fn healthy(
    state_dir: &Path,
    ours: impl Fn(u32) -> bool,
    mut ended: impl AsyncFnMut() -> Result<Option<String>, Error>,
) -> Result<(Client, Status), Error> {
    let log = daemon::log_file(state_dir);
    let began = Instant::now();
    while began.elapsed() < START_LIMIT {
        if let Some(status) = ended().await? {
            return Err(Error::GatewayEnded { status, log_tail: daemon::tail(&log), log });
        }
        // An endpoint file of a gateway that was killed names another process: not ours, not yet.
        if endpoint::read(state_dir).is_ok_and(|endpoint| ours(endpoint.pid)) {
            let client = Client::new(endpoint::access(state_dir)?).await?;
            if let Ok(status) = client.status_within(ANSWER_LIMIT).await {
                return Ok((client, status));
            }
        }
        tokio::time::sleep(POLL).await;
    }
    Err(Error::GatewaySlow { seconds: START_LIMIT.as_secs(), log })
}

/// Runs a program of the system's; its standard output is the answer.
async fn run(program: &str, arguments: &[&str]) -> Result<String, Error> {
    let asked = || format!("{program} {}", arguments.join(" "));
    let output = tokio::process::Command::new(program).args(arguments).stdin(std::process::Stdio::null()).output();
    let output = output.await.map_err(Error::io(format!("run {}", asked())))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
    }
    let reason = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(GatewayError::Program { asked: asked(), reason }.into())
}

/// A name for what belongs to a state directory: plain for the usual one, told apart by a digest otherwise.
fn own_name(state_dir: &Path) -> String {
    use sha2::{Digest as _, Sha256};
    let usual = std::env::home_dir().map(|home| home.join(".local/state/openshell/gateway"));
    if usual.as_deref() == Some(state_dir) {
        return "openshell-gateway".to_owned();
    }
    let digest = Sha256::digest(state_dir.as_os_str().as_encoded_bytes());
    format!("openshell-gateway-{}", hex::encode(&digest[..4]))
}
