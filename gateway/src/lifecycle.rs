//! Sandboxes from creation to deletion, and what becomes of them when the gateway comes back.
//!
//! Intent is stored before anything is done, so whatever a `kill -9` leaves half-done is found again at the next start.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use openshell_api::Name;
use openshell_api::generation::Content;
use openshell_api::launch::LaunchSpec;
use openshell_api::link::ToSupervisor;
use openshell_api::runtime::RuntimeHealth;
use openshell_api::sandbox::{CreateSandbox, Phase, Sandbox};
use serde_json::json;

use crate::audit::Change;
use crate::error::{ApiError, ApiResult, refuse};
use crate::gateway::Gateway;
use crate::identity::{Operate, Permit, supervisors, tokens};
use crate::machines;
use crate::providers;
use crate::push;
use crate::runtime::docker::{DockerError, HOST_GATEWAY, SwarmError};
use crate::runtime::{RuntimeError, Start, Wanted};
use crate::store::{NewSandbox, SandboxRow, StoreError};

/// How long a supervisor may take to end when asked.
pub(crate) const GRACE: Duration = Duration::from_secs(5);
const LOG_TAIL_LINES: usize = 20;
/// Least limits that leave room for the supervisor.
const LEAST_MEMORY: u64 = 128 * 1024 * 1024;
const LEAST_PIDS: u32 = 64;
/// How long a supervisor's last words may take to arrive after it ended.
const LAST_WORDS: Duration = Duration::from_millis(500);
/// Between two attempts to store what the database did not take.
const AGAIN: Duration = Duration::from_secs(1);

impl From<RuntimeError> for ApiError {
    fn from(error: RuntimeError) -> Self {
        match error {
            RuntimeError::NoSupervisor(_) => refuse(500, "no_supervisor", error.to_string())
                .hint("install openshell-supervisor beside openshell-gateway, or start the gateway with --supervisor"),
            RuntimeError::System { .. } => refuse(500, "runtime_failed", error.to_string()),
            RuntimeError::NoRuntime(_) => refuse(503, "runtime_unavailable", error.to_string())
                .hint("`openshell runtime list` shows those that there are"),
            RuntimeError::Docker(error) => docker_failed(&error),
            RuntimeError::Swarm(error) => swarm_failed(&error),
            RuntimeError::Files(_) | RuntimeError::Unkillable(_) => Self::internal(error),
        }
    }
}

fn docker_failed(error: &DockerError) -> ApiError {
    let refuse = |status, code| refuse(status, code, error.to_string());
    match error {
        DockerError::Unreachable { host, .. } => {
            refuse(503, "docker_unreachable").hint(match host.starts_with("unix://") {
                true => "start the engine, set DOCKER_HOST for the gateway, or use `--runtime process`",
                false => {
                    "does that machine run, and can the gateway reach it? `openshell runtime list` shows since when not"
                }
            })
        }
        DockerError::NoImage { .. } => {
            refuse(422, "no_image").hint("name an image that `docker image ls` shows, or one that can be pulled")
        }
        DockerError::NoUser { .. } => refuse(422, "no_user").hint("correct USER in the image's Dockerfile"),
        DockerError::Refused { status: 400..500, .. } => refuse(422, "docker_refused"),
        DockerError::Refused { .. } | DockerError::Failed { .. } => refuse(500, "docker_failed"),
    }
}

fn swarm_failed(error: &SwarmError) -> ApiError {
    let refuse = |status, code| refuse(status, code, error.to_string());
    match error {
        SwarmError::Docker(error) => docker_failed(error),
        SwarmError::NoManager { .. } => {
            refuse(422, "no_swarm_manager").hint("`docker node ls` works on a manager; `docker swarm init` makes an engine one")
        }
        SwarmError::TooOld { .. } => refuse(422, "engine_too_old").hint("it takes Docker 25 or later, on every node"),
        SwarmError::Registry { .. } => refuse(422, "no_registry").hint(
            "the engines of the Swarm must reach it, and be let in (--registry-user); one without TLS is to be among their insecure-registries",
        ),
        SwarmError::NoPlace(_) => refuse(422, "no_node")
            .hint("ask for less, or for other labels; `openshell runtime get` shows a Swarm's nodes"),
        SwarmError::TooLarge { .. } => refuse(422, "too_large").hint("give it fewer or shorter variables and policies at first"),
        SwarmError::Runs(_) => refuse(409, "sandbox_running").hint("delete it first, or run a command in it"),
    }
}

/// Makes a sandbox and waits until it runs. If it does not come up, nothing of it is left.
pub async fn create(gateway: Arc<Gateway>, permit: Permit<Operate>, spec: CreateSandbox) -> ApiResult<Sandbox> {
    check(&spec)?;
    let name = match &spec.name {
        Some(name) => name.clone(),
        None => random_name()?,
    };
    let id = ulid::Ulid::generate().to_string();
    machines::take_up(&gateway).await?;
    let rows = if gateway.runtime.spreads() { gateway.store.sandboxes().await? } else { Vec::new() };
    let wanted = Wanted { id: &id, spec: &spec, named: spec.runtime.as_ref(), leaves: None, may_stay: false };
    let place = gateway.runtime.choose(wanted, &rows).await?;
    let token = tokens::generate(supervisors::PREFIX)?;
    let launch = {
        // Shared, so that no backend, provider or ceiling changes between reading them and storing the sandbox.
        let _gateway_wide = gateway.locks.shared().await?;
        // It may have been taken away meanwhile; from here on it can't be.
        gateway
            .runtime
            .health(place.runtime.as_str())
            .ok_or_else(|| RuntimeError::NoRuntime(place.runtime.to_string()))?;
        let content = Content { observe: spec.observe, ..push::initial(&gateway, &permit, &spec).await? };
        let launch = launch_spec(&gateway, &id, &name, (&spec, &content), &token)?;
        let generation = push::first_generation(&gateway, &id, &content)?;
        gateway
            .store
            .insert_sandbox(NewSandbox {
                id: &id,
                name: &name,
                owner: permit.user(),
                host: gateway.store.is_shared().then_some(gateway.id.as_str()),
                runtime: &place.runtime,
                spec: &spec,
                token_hash: tokens::hash(&token),
                generation: &generation,
                number: 1,
                created_at: jiff::Timestamp::now(),
                change: &permit.change(&name).after(told(&spec)),
            })
            .await?;
        place.keep();
        launch
    };
    let started = start(&gateway, &id, &launch).await;
    match started {
        Ok(row) => {
            watch(&gateway, &id);
            Ok(gateway.shown(row))
        }
        Err(error) => {
            if let Some(row) = gateway.store.sandbox(&id).await?
                && let Err(error) = remove(&gateway, &row, &not_started_after_all(&permit, &name)).await
            {
                tracing::error!(sandbox = id, %error, "a sandbox that did not start could not be removed");
            }
            Err(error)
        }
    }
}

/// What the audit trail is told of a sandbox: values of variables may be secrets, and so may arguments.
fn told(spec: &CreateSandbox) -> serde_json::Value {
    let mut told = json!(spec);
    told["env"] = json!(spec.env.keys().collect::<Vec<_>>());
    told["command"] = json!(spec.command.first());
    if let Some(policies) = told["policies"].as_array_mut() {
        policies
            .iter_mut()
            .filter_map(|policy| policy.as_object_mut())
            .for_each(|policy| drop(policy.remove("settings")));
    }
    told
}

fn not_started_after_all(permit: &Permit<Operate>, name: &Name) -> Change {
    permit.change(name).detail(json!({ "then": "it did not start, so it was removed" }))
}

fn check(spec: &CreateSandbox) -> ApiResult<()> {
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
    if let Some(cpu) = spec.cpu.filter(|cpu| !(0.01..=4096.0).contains(cpu)) {
        return Err(refuse(422, "bad_limit", format!("{cpu} cores are no limit")).hint("from 0.01 to 4096 cores"));
    }
    if let Some(memory) = spec.memory.filter(|memory| !(LEAST_MEMORY..=1 << 50).contains(memory)) {
        return Err(refuse(
            422,
            "bad_limit",
            format!("{memory} bytes of memory are no limit that a sandbox can run with"),
        )
        .hint("the supervisor and its proxy need a part of it: 128 MiB or more"));
    }
    if let Some(pids) = spec.pids.filter(|pids| *pids < LEAST_PIDS) {
        return Err(refuse(422, "bad_limit", format!("{pids} processes are too few for a sandbox to run with"))
            .hint(format!("the supervisor's own threads count: {LEAST_PIDS} or more")));
    }
    Ok(())
}

/// What a sandbox's supervisor is started with.
pub(crate) fn launch_spec(
    gateway: &Gateway,
    id: &str,
    name: &Name,
    (spec, content): (&CreateSandbox, &Content),
    token: &str,
) -> ApiResult<Start> {
    // What a user sets by hand comes last.
    let mut env: BTreeMap<String, String> = providers::environment(content.credentials.values()).into_iter().collect();
    env.extend(spec.env.clone());
    let places = gateway.runtime.places(id)?;
    let add_hosts = spec
        .add_hosts
        .iter()
        .map(|(host, address)| match address.parse() {
            Ok(address) => Ok((host.to_ascii_lowercase(), address)),
            // A runtime with a network of its own says what that is there.
            Err(_) if address == HOST_GATEWAY => Ok((host.to_ascii_lowercase(), Ipv4Addr::LOCALHOST.into())),
            Err(_) => Err(refuse(422, "bad_host", format!("{address:?} (for {host}) is not an IP address")).hint(
                format!("write NAME=ADDRESS, such as origin.test=127.0.0.1, or {HOST_GATEWAY} for this machine"),
            )),
        })
        .collect::<ApiResult<_>>()?;
    let trusted = gateway.authority.trusted();
    let launch = LaunchSpec {
        sandbox_id: id.to_owned(),
        sandbox: name.clone(),
        gateway_url: gateway.url.clone(),
        gateway_ca: trusted.pem,
        gateway_ca_epoch: trusted.epoch,
        token: token.to_owned(),
        verifying_key: gateway.signing.public().to_hex(),
        further_keys: gateway.signing.next().into_iter().collect(),
        state_dir: places.state_dir,
        workspace: places.workspace,
        hidden: gateway.runtime.hidden(id)?,
        allow_degraded: spec.allow_degraded,
        image: spec.image.clone(),
        command: spec.command.clone(),
        env,
        workdir: spec.workdir.clone(),
        labels: spec.labels.clone(),
        add_hosts,
        upstream_ca: gateway.upstream_ca.clone(),
        gateway_socket: None,
        own_root: false,
        writable: Vec::new(),
        degraded: Vec::new(),
    };
    Ok(Start { launch, spec: spec.clone() })
}

fn random_name() -> ApiResult<Name> {
    let bytes: [u8; 4] = crate::state_dir::random()?;
    Name::parse(&format!("sandbox-{}", hex::encode(bytes))).map_err(ApiError::internal)
}

/// Starts the supervisor and waits until its walls are up and it enforces its first generation.
pub(crate) async fn start(gateway: &Gateway, id: &str, start: &Start) -> ApiResult<SandboxRow> {
    gateway.runtime.start(start).await?;
    loop {
        match started(gateway, id, &start.launch).await {
            Ok(row) => return Ok(row),
            Err(failed) if gateway.runtime.weaken(start).await? => {
                tracing::info!(sandbox = id, error = %failed.0.detail, "started again by weaker means");
            }
            Err(failed) => return Err(failed),
        }
    }
}

async fn started(gateway: &Gateway, id: &str, launch: &LaunchSpec) -> ApiResult<SandboxRow> {
    let mut changes = gateway.changed.follow_sandboxes();
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
        () = died => {
            let why = gateway.runtime.ending(id).await.unwrap_or_else(|| "its supervisor ended".to_owned());
            Err(not_started(gateway, id, &launch.sandbox, &why).await)
        }
        () = tokio::time::sleep(gateway.start_timeout) => {
            let why = format!("it did not run within {} s", gateway.start_timeout.as_secs());
            Err(not_started(gateway, id, &launch.sandbox, &why).await)
        }
    }
}

/// How a supervisor begins when the workload's program can't be executed.
const CANT_RUN: &str = "can't run ";

async fn not_started(gateway: &Gateway, id: &str, name: &Name, why: &str) -> ApiError {
    let tail = gateway.runtime.log_tail(id, LOG_TAIL_LINES).await;
    let tail = if tail.is_empty() { String::new() } else { format!("\nlast lines of its supervisor:\n{tail}") };
    // Its command is what the caller asked for; everything else is the gateway's to bring about.
    let status = if why.starts_with(CANT_RUN) { 422 } else { 500 };
    refuse(status, "sandbox_failed", format!("sandbox {name} did not start: {why}{tail}"))
        .hint("`openshell doctor` checks what this machine lets a sandbox do")
}

/// Notices when a supervisor dies. Once for each sandbox, however often it is asked.
pub(crate) fn watch(gateway: &Arc<Gateway>, id: &str) {
    if !gateway.runtime.begin_watch(id) {
        return;
    }
    let (gateway, id) = (gateway.clone(), id.to_owned());
    tokio::spawn(async move {
        loop {
            gateway.runtime.wait(&id).await;
            tokio::time::sleep(LAST_WORDS).await;
            // Nobody else will notice it: a database that is away is waited for.
            match supervisor_died(&gateway, &id).await {
                Ok(true) if gateway.runtime.end_watch(&id) => return,
                Ok(_) => continue,
                Err(error) => tracing::error!(sandbox = id, %error, "the end of a supervisor could not be stored"),
            }
            tokio::select! {
                () = gateway.stopping.cancelled() => return,
                () = tokio::time::sleep(AGAIN) => {}
            }
        }
    });
}

/// The same for one whose supervisor says that it runs, if that is this gateway's to look after: somebody else may have started it once
/// more, as `docker restart` does.
pub(crate) async fn watch_running(gateway: &Arc<Gateway>, id: &str) -> Result<(), StoreError> {
    if let Some(row) = gateway.store.sandbox(id).await?
        && gateway.is_here(&row)
    {
        watch(gateway, id);
    }
    Ok(())
}

/// Stores that a supervisor died. `false`: another one lives in its place by now.
async fn supervisor_died(gateway: &Gateway, id: &str) -> ApiResult<bool> {
    let Some(row) = gateway.store.sandbox(id).await? else { return Ok(true) };
    let ran = matches!(row.phase, Phase::Starting | Phase::Running);
    if ran && gateway.runtime.alive(id).await? {
        return Ok(false);
    }
    if ran {
        let tail = gateway.runtime.log_tail(id, 3).await.replace('\n', " | ");
        let ending = gateway.runtime.ending(id).await.unwrap_or_else(|| "its supervisor died".to_owned());
        let failure = format!("{ending}: {}", if tail.is_empty() { "it left no word" } else { &tail });
        tracing::warn!(sandbox = id, failure);
        gateway.store.set_phase(id, Phase::Failed, None, Some(&failure)).await?;
    }
    gateway.changed.sandboxes();
    Ok(true)
}

/// Ends a sandbox and removes everything of it but its decision records.
pub async fn delete(gateway: Arc<Gateway>, permit: Permit<Operate>, name: String) -> ApiResult<()> {
    let row = gateway.store.sandbox_named(&name).await?.ok_or_else(|| push::sandbox_not_found(&name))?;
    let _locks = gateway.locks.shared().await?.and([row.id.as_str()]).await?;
    let row = gateway.store.sandbox(&row.id).await?.ok_or_else(|| push::sandbox_not_found(&name))?;
    permit.owns(&row)?;
    let change = permit.change(&name).before(json!({ "id": row.id, "owner": row.owner, "sandbox": told(&row.spec) }));
    remove(&gateway, &row, &change).await
}

async fn remove(gateway: &Gateway, row: &SandboxRow, change: &Change) -> ApiResult<()> {
    let id = row.id.as_str();
    gateway.store.begin_deletion(id, row.exit_code, change).await?;
    gateway.changed.sandboxes();
    let here = gateway.is_here(row);
    if let Some(link) = gateway.link(id).await?
        && link.send(ToSupervisor::Shutdown).await.is_ok()
    {
        if here {
            let _ = tokio::time::timeout(GRACE, gateway.runtime.wait(id)).await;
        }
        link.close();
    }
    // What lies on a machine that is away is removed when that comes back: it belongs to no sandbox then.
    if here && gateway.runtime.health(row.runtime.as_str()) == Some(RuntimeHealth::Lost) {
        gateway.runtime.forget(id);
    } else if here {
        gateway.runtime.stop(id, GRACE).await?;
        gateway.runtime.remove(id).await?;
    }
    gateway.store.delete_sandbox(id).await?;
    gateway.locks.forget(id);
    gateway.changed.sandboxes();
    Ok(())
}

/// Brings database and machine to agree after a stop of whatever kind: running sandboxes are taken over, those that were
/// never acknowledged or half-deleted are removed, and so is what belongs to none.
pub async fn recover(gateway: &Arc<Gateway>) -> ApiResult<()> {
    let rows = gateway.store.sandboxes().await?;
    for row in rows.iter().filter(|row| gateway.is_here(row)) {
        gateway.runtime.assign(&row.id, &row.runtime);
    }
    for id in gateway.runtime.traces().await? {
        if !rows.iter().any(|row| row.id == id) {
            tracing::warn!(sandbox = id, "removing what a sandbox left behind");
            clean_up(gateway, &id).await;
        }
    }
    for row in rows.into_iter().filter(|row| gateway.is_here(row)) {
        match row.phase {
            // Those of other machines are dealt with once these answer.
            Phase::Starting | Phase::Deleting
                if gateway.runtime.machine(row.runtime.as_str()).is_none_or(|m| m.added.is_none()) =>
            {
                remove_half_done(gateway, &row).await;
            }
            Phase::Starting | Phase::Deleting => {}
            Phase::Running | Phase::Exited | Phase::Failed | Phase::Stopped | Phase::Lost => {
                watch(gateway, &row.id);
            }
        }
    }
    Ok(())
}

/// Removes a sandbox whose making, or deleting, a gateway did not live to end.
pub(crate) async fn remove_half_done(gateway: &Gateway, row: &SandboxRow) {
    tracing::warn!(sandbox = row.id, name = %row.name, phase = ?row.phase, "removing a half-done sandbox");
    let change = Change::new(None, "sandbox.delete", row.name.to_string())
        .detail(json!({ "reason": "the gateway ended before it was made, or deleted" }))
        .before(json!({ "id": row.id, "owner": row.owner, "sandbox": told(&row.spec) }));
    if let Err(error) = remove(gateway, row, &change).await {
        tracing::error!(sandbox = row.id, %error, "a half-done sandbox could not be removed");
    }
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
