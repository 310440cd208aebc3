//! Sandboxes from creation to deletion, and what becomes of them when the gateway comes back.
//!
//! Intent is stored before anything is done, so whatever a `kill -9` leaves half-done is found again at the next start.

use std::sync::Arc;
use std::time::Duration;

use openshell_api::Name;
use openshell_api::launch::LaunchSpec;
use openshell_api::link::ToSupervisor;
use openshell_api::sandbox::{CreateSandbox, Phase, RuntimeKind, Sandbox};

use crate::auth::{self, Principal};
use crate::error::{ApiError, ApiResult, refuse};
use crate::gateway::Gateway;
use crate::push;
use crate::runtime::RuntimeError;
use crate::store::{NewSandbox, SandboxRow};

const GRACE: Duration = Duration::from_secs(5);
const LOG_TAIL_LINES: usize = 20;
/// How long a supervisor's last words may take to arrive after it ended.
const LAST_WORDS: Duration = Duration::from_millis(500);

impl From<RuntimeError> for ApiError {
    fn from(error: RuntimeError) -> Self {
        match error {
            RuntimeError::NoSupervisor(_) => refuse(500, "no_supervisor", error.to_string())
                .hint("install openshell-supervisor beside openshell-gateway, or start the gateway with --supervisor"),
            RuntimeError::System { .. } => refuse(500, "runtime_failed", error.to_string()),
            RuntimeError::Files(_) | RuntimeError::Unkillable(_) => Self::internal(error),
        }
    }
}

/// Makes a sandbox and waits until it runs. If it does not come up, nothing of it is left.
pub async fn create(gateway: Arc<Gateway>, spec: CreateSandbox) -> ApiResult<Sandbox> {
    check(&gateway, &spec)?;
    let name = match &spec.name {
        Some(name) => name.clone(),
        None => random_name()?,
    };
    let id = ulid::Ulid::generate().to_string();
    let token = auth::generate("osh_supervisor")?;
    let launch = launch_spec(&gateway, &id, &name, &spec, &token)?;
    {
        // Shared, so that no backend, provider or ceiling changes between reading them and storing the sandbox.
        let _gateway_wide = gateway.locks.gateway_wide.read().await;
        let content = push::initial(&gateway, &spec.providers).await?;
        let generation = push::first_generation(&gateway, &id, &content)?;
        gateway
            .store
            .insert_sandbox(NewSandbox {
                id: &id,
                name: &name,
                runtime: gateway.runtime.kind(),
                spec: &spec,
                token_hash: auth::hash(&token),
                generation: &generation,
                number: 1,
                created_at: jiff::Timestamp::now(),
            })
            .await?;
    }
    gateway.tokens.admit(auth::hash(&token), Principal::Supervisor(id.clone()));
    let started = start(&gateway, &id, &launch).await;
    match started {
        Ok(row) => {
            watch(&gateway, &id);
            Ok(row.into_api(gateway.links.get(&id).is_some()))
        }
        Err(error) => {
            if let Some(row) = gateway.store.sandbox(&id).await?
                && let Err(error) = remove(&gateway, &row).await
            {
                tracing::error!(sandbox = id, %error, "a sandbox that did not start could not be removed");
            }
            Err(error)
        }
    }
}

fn check(gateway: &Gateway, spec: &CreateSandbox) -> ApiResult<()> {
    let runtime = gateway.runtime.kind();
    if spec.runtime.is_some_and(|wanted| wanted != runtime) {
        return Err(refuse(422, "runtime_unavailable", "this gateway has no such runtime")
            .hint(format!("it has: {}", if runtime == RuntimeKind::Process { "process" } else { "docker" })));
    }
    for (key, value) in &spec.env {
        if key.is_empty() || key.contains(['=', '\0']) || value.contains('\0') {
            return Err(refuse(422, "bad_env", format!("{key:?} can't be set in an environment"))
                .hint("names must not be empty nor contain '='; neither may contain NUL"));
        }
    }
    if spec.command.iter().any(|argument| argument.contains('\0')) || spec.command.first().is_some_and(String::is_empty)
    {
        return Err(refuse(422, "bad_command", "the command is empty or contains NUL"));
    }
    if let Some(workdir) = spec.workdir.as_deref().filter(|workdir| !workdir.starts_with('/')) {
        return Err(refuse(422, "bad_workdir", format!("{workdir:?} is not an absolute path"))
            .hint("give an absolute path, or none for the sandbox's workspace"));
    }
    Ok(())
}

fn launch_spec(gateway: &Gateway, id: &str, name: &Name, spec: &CreateSandbox, token: &str) -> ApiResult<LaunchSpec> {
    let places = gateway.runtime.places(id);
    let add_hosts = spec
        .add_hosts
        .iter()
        .map(|(host, address)| match address.parse() {
            Ok(address) => Ok((host.to_ascii_lowercase(), address)),
            Err(_) => Err(refuse(422, "bad_host", format!("{address:?} (for {host}) is not an IP address"))
                .hint("write NAME=ADDRESS, such as origin.test=127.0.0.1")),
        })
        .collect::<ApiResult<_>>()?;
    Ok(LaunchSpec {
        sandbox_id: id.to_owned(),
        sandbox: name.clone(),
        gateway_url: gateway.url.clone(),
        gateway_ca: gateway.ca_pem.clone(),
        token: token.to_owned(),
        verifying_key: hex::encode(gateway.signing.verifying_key().as_bytes()),
        state_dir: places.state_dir,
        workspace: places.workspace,
        command: spec.command.clone(),
        env: spec.env.clone(),
        workdir: spec.workdir.clone(),
        labels: spec.labels.clone(),
        add_hosts,
        upstream_ca: gateway.upstream_ca.clone(),
    })
}

fn random_name() -> ApiResult<Name> {
    let bytes: [u8; 4] = crate::state_dir::random()?;
    Name::parse(&format!("sandbox-{}", hex::encode(bytes))).map_err(ApiError::internal)
}

/// Starts the supervisor and waits until its walls are up and it enforces its first generation.
async fn start(gateway: &Gateway, id: &str, launch: &LaunchSpec) -> ApiResult<SandboxRow> {
    let mut changes = gateway.changed.follow_sandboxes();
    gateway.runtime.start(launch).await?;
    let ready = async {
        loop {
            changes.borrow_and_update();
            let row = gateway.store.sandbox(id).await?;
            let row = row.ok_or_else(|| refuse(409, "sandbox_deleted", "the sandbox was deleted while it started"))?;
            match row.phase {
                Phase::Running | Phase::Exited if row.generation > 0 => return Ok(row),
                Phase::Failed => {
                    let why = row.failure.clone().unwrap_or_else(|| "its supervisor failed".to_owned());
                    return Err(not_started(gateway, id, &launch.sandbox, &why).await);
                }
                _ => {}
            }
            if changes.changed().await.is_err() {
                return Err(ApiError::internal("the gateway is stopping"));
            }
        }
    };
    let died = async {
        gateway.runtime.wait(id).await;
        tokio::time::sleep(LAST_WORDS).await;
    };
    tokio::select! {
        ready = ready => ready,
        () = died => Err(not_started(gateway, id, &launch.sandbox, "its supervisor ended").await),
        () = tokio::time::sleep(gateway.start_timeout) => {
            let why = format!("it did not run within {} s", gateway.start_timeout.as_secs());
            Err(not_started(gateway, id, &launch.sandbox, &why).await)
        }
    }
}

async fn not_started(gateway: &Gateway, id: &str, name: &Name, why: &str) -> ApiError {
    let tail = gateway.runtime.log_tail(id, LOG_TAIL_LINES).await;
    let tail = if tail.is_empty() { String::new() } else { format!("\nlast lines of its supervisor:\n{tail}") };
    refuse(500, "sandbox_failed", format!("sandbox {name} did not start: {why}{tail}"))
        .hint("`openshell doctor` checks what this machine lets a sandbox do")
}

/// Notices when a supervisor dies.
fn watch(gateway: &Arc<Gateway>, id: &str) {
    let (gateway, id) = (gateway.clone(), id.to_owned());
    tokio::spawn(async move {
        gateway.runtime.wait(&id).await;
        tokio::time::sleep(LAST_WORDS).await;
        if let Err(error) = supervisor_died(&gateway, &id).await {
            tracing::error!(sandbox = id, %error, "the end of a supervisor could not be stored");
        }
    });
}

async fn supervisor_died(gateway: &Gateway, id: &str) -> ApiResult<()> {
    let Some(row) = gateway.store.sandbox(id).await? else { return Ok(()) };
    if matches!(row.phase, Phase::Starting | Phase::Running) {
        let tail = gateway.runtime.log_tail(id, 3).await.replace('\n', " | ");
        let failure = format!("its supervisor died: {}", if tail.is_empty() { "it left no word" } else { &tail });
        tracing::warn!(sandbox = id, failure);
        gateway.store.set_phase(id, Phase::Failed, None, Some(&failure)).await?;
    }
    gateway.changed.sandboxes();
    Ok(())
}

/// Ends a sandbox and removes everything of it but its decision records.
pub async fn delete(gateway: Arc<Gateway>, name: String) -> ApiResult<()> {
    let row = gateway.store.sandbox_named(&name).await?.ok_or_else(|| push::sandbox_not_found(&name))?;
    let _gateway_wide = gateway.locks.gateway_wide.read().await;
    let _lock = gateway.locks.sandboxes([row.id.as_str()]).await;
    let row = gateway.store.sandbox(&row.id).await?.ok_or_else(|| push::sandbox_not_found(&name))?;
    remove(&gateway, &row).await
}

async fn remove(gateway: &Gateway, row: &SandboxRow) -> ApiResult<()> {
    let id = row.id.as_str();
    gateway.store.set_phase(id, Phase::Deleting, row.exit_code, None).await?;
    gateway.changed.sandboxes();
    gateway.tokens.revoke(&row.token_hash);
    if let Some(link) = gateway.links.get(id)
        && link.send(ToSupervisor::Shutdown).await.is_ok()
    {
        let _ = tokio::time::timeout(GRACE, gateway.runtime.wait(id)).await;
        link.close();
    }
    gateway.runtime.stop(id, GRACE).await?;
    gateway.runtime.remove(id).await?;
    gateway.store.delete_sandbox(id).await?;
    gateway.locks.forget(id);
    gateway.changed.sandboxes();
    Ok(())
}

/// Brings database and machine to agree after a stop of whatever kind: running sandboxes are taken over, those that were
/// never acknowledged or half-deleted are removed, and so is what belongs to none.
pub async fn recover(gateway: &Arc<Gateway>) -> ApiResult<()> {
    let rows = gateway.store.sandboxes().await?;
    for id in gateway.runtime.traces().await? {
        if !rows.iter().any(|row| row.id == id) {
            tracing::warn!(sandbox = id, "removing what a sandbox left behind");
            clean_up(gateway, &id).await;
        }
    }
    for row in rows {
        match row.phase {
            Phase::Starting | Phase::Deleting => {
                tracing::warn!(sandbox = row.id, name = %row.name, phase = ?row.phase, "removing a half-done sandbox");
                if let Err(error) = remove(gateway, &row).await {
                    tracing::error!(sandbox = row.id, %error, "a half-done sandbox could not be removed");
                }
            }
            Phase::Running | Phase::Exited | Phase::Failed => {
                gateway.tokens.admit(row.token_hash, Principal::Supervisor(row.id.clone()));
                watch(gateway, &row.id);
            }
        }
    }
    Ok(())
}

async fn clean_up(gateway: &Gateway, id: &str) {
    let cleaned = async {
        gateway.runtime.stop(id, GRACE).await?;
        gateway.runtime.remove(id).await
    };
    if let Err(error) = cleaned.await {
        tracing::error!(sandbox = id, %error, "what a sandbox left behind could not be removed");
    }
}
