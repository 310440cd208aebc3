//! Lifecycles of everything else, and the link to the gateway.
//!
//! [`run`] is the whole life of a sandbox: what was enforced last is enforced again ([`generations`]), the gateway
//! is dialled ([`link`], [`session`]), and once there is something to judge by, the walls go up, the proxy starts, a probe
//! proves the walls ([`inside`]) and the workload runs ([`workload`]).

pub mod artifacts;
pub mod credentials;
pub mod dialer;
mod gateways;
pub mod generations;
pub mod inside;
mod keystore;
pub mod link;
pub mod logs;
mod outbox;
pub mod proposals;
pub mod pushes;
mod questions;
mod refusals;
mod roots;
pub mod session;
mod shares;
pub mod signers;
pub mod state;
pub mod streams;
#[cfg(test)]
mod tests;
pub mod trust;
pub mod workload;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use openshell_api::launch::LaunchSpec;
use openshell_api::signing::GatewayKey;
use openshell_policy_host::{Counters, Engine, EngineError, EngineOptions};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::active::{Active, Live, Secrets};
use crate::inference::{Ledger, Sessions};
use crate::record::{Record as _, Spool, SpoolError, SpoolOptions};
use artifacts::{ArtifactStore, StoreError};
use credentials::Credentials;
use dialer::{AddressError, Dialer};
use gateways::Gateways;
use generations::{Generations, Parts};
use inside::{Connections, Outside};
use logs::Logs;
use proposals::Proposals;
use session::Desk;
use shares::Shares;
use signers::{Signers, SignersError};
use state::{StateDir, StateError};
use trust::{Trust, TrustError};
use workload::Workload;

/// A sandbox that waits this long for its first generation says so. Its walls come from its policies, so it can't start
/// without.
const FIRST_GENERATION: Duration = Duration::from_secs(10);

/// At the end, the gateway has this long to take what is still spooled; the rest stays on disk.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// The file that holds what was spent on inference.
const LEDGER: &str = "inference.ledger";

/// Log lines may take this much disk, in bytes.
const LOG_BYTES: u64 = 64 * 1024 * 1024;

/// Why a supervisor did not start. A sandbox that can't be sealed is none of these: that is told to the gateway.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The gateway's address, CA or token.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// Whom to trust for it.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// The gateway's public key.
    #[error("the gateway's verifying key is not 32 bytes of hex that make an Ed25519 key")]
    VerifyingKey,
    /// Its keys, as it said since.
    #[error(transparent)]
    Signers(#[from] SignersError),
    /// The state directory: also when another supervisor holds it.
    #[error(transparent)]
    State(#[from] StateError),
    /// A spool.
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// The store of artifacts.
    #[error(transparent)]
    Artifacts(#[from] StoreError),
    /// The policy engine.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// Signals can't be received.
    #[error("signals: {0}")]
    Signals(#[from] std::io::Error),
}

impl StartError {
    /// The process's exit code: 11 where another supervisor runs this sandbox, else 10.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::State(StateError::InUse { .. }) => 11,
            _ => 10,
        }
    }
}

/// Runs a sandbox until the gateway shuts it down, or SIGTERM or SIGINT does.
pub async fn run(spec: LaunchSpec) -> Result<(), StartError> {
    let first = GatewayKey::from_hex(&spec.verifying_key).ok_or(StartError::VerifyingKey)?;
    let state = Arc::new(StateDir::open(Path::new(&spec.state_dir))?);
    let first = std::iter::once(first).chain(spec.further_keys.iter().copied()).collect();
    let signers = Arc::new(Signers::open(state.clone(), &spec.token, first)?);
    let credentials = Arc::new(Credentials::open(state.clone(), &spec.token)?);
    let gateways = Arc::new(Gateways::default());
    let trust = Arc::new(Trust::open(state.clone(), &spec)?);
    let dialer = Dialer::new(&spec, credentials.clone(), gateways.clone(), trust.clone())?;
    state.write_status(&spec.sandbox_id)?;
    let records = Spool::open(&state.path("spool/decisions"), SpoolOptions::default())?;
    let lines = SpoolOptions { max_bytes: LOG_BYTES, ..SpoolOptions::default() };
    let logs = Logs(Spool::open(&state.path("spool/logs"), lines)?);
    let shutdown = CancellationToken::new();
    let signals = end_on_signals(shutdown.clone())?;

    let live: Live = Arc::new(ArcSwap::from_pointee(Active::nothing()));
    let generations = Arc::new(Generations::new(Parts {
        sandbox_id: spec.sandbox_id.clone(),
        signers: signers.clone(),
        workload: openshell_policy_host::Workload {
            sandbox: spec.sandbox.to_string(),
            image: spec.image.clone(),
            command: spec.command.clone(),
        },
        workdir: spec.workdir.clone().unwrap_or_else(|| spec.workspace.clone()),
        engine: Engine::new(EngineOptions::default())?,
        counters: Arc::new(Counters::new()),
        log: Arc::new(logs.clone()),
        artifacts: ArtifactStore::open(state.path("artifacts"), signers.clone())?,
        state: state.clone(),
        live: live.clone(),
    }));
    let known = restore(&generations, &logs).await;

    let secrets = Secrets::default();
    let (sessions, risen) = Sessions::new();
    let sessions = Arc::new(sessions);
    let (ledger, lost) =
        Ledger::open(&state.path(LEDGER)).map_err(|source| StateError::Io { path: state.path(LEDGER), source })?;
    let ledger = Arc::new(ledger);
    for lost in lost {
        records.record(&lost.record(spec.sandbox.as_str()));
    }
    let proposals = Arc::new(Proposals::default());
    let shares = Arc::new(Shares::default());
    let outside = Outside {
        live,
        secrets: secrets.clone(),
        sessions: sessions.clone(),
        ledger: ledger.clone(),
        purse: shares.clone(),
        records: records.clone(),
        proposals: proposals.clone(),
        generation: generations.numbers(),
        shutdown: shutdown.clone(),
    };
    let workload = Arc::new(Workload::default());
    let connections = Arc::new(Connections::default());
    let desk = Arc::new(Desk {
        generations: generations.clone(),
        connections: connections.clone(),
        secrets,
        sessions,
        ledger,
        risen: tokio::sync::Mutex::new(risen),
        records: records.clone(),
        logs: logs.clone(),
        proposals,
        shares,
        workload: workload.clone(),
        streams: Arc::default(),
        credentials,
        gateways,
        trust,
        signers,
        shutdown: shutdown.clone(),
    });
    let link = tokio::spawn(link::keep(dialer, desk));

    let mut proxies = Vec::new();
    if (known || first_generation(&generations, &logs, &shutdown).await)
        && let Some(launch) = generations.launch()
    {
        proxies = inside::seal(&spec, &launch, &state, outside, &workload, &connections, &logs).await;
    }
    workload.clone().run(spec.command, logs.clone(), shutdown).await;

    // Its end goes ahead of the last line: whoever has stored that has stored both.
    let told = tokio::time::timeout(LAST_WORDS, workload.told()).await.is_ok();
    logs.say("the sandbox has ended");
    for proxy in proxies {
        // Ends with the shutdown; a panic in it ended it before.
        let _ = proxy.await;
    }
    records.flush().await;
    logs.0.flush().await;
    let delivered = async { tokio::join!(records.delivered(), logs.0.delivered()) };
    // A gateway that is away was waited for.
    let patience = if told { LAST_WORDS } else { Duration::ZERO };
    if tokio::time::timeout(patience, delivered).await.is_err() {
        tracing::warn!("some records and log lines stay in the spool: the gateway did not take them in time");
    }
    link.abort();
    signals.abort();
    Ok(())
}

/// Enforces what was enforced last. `false`: there is nothing, or it can't be, so a generation must come first.
async fn restore(generations: &Arc<Generations>, logs: &Logs) -> bool {
    let restoring = generations.clone();
    match tokio::task::spawn_blocking(move || restoring.restore()).await {
        Ok(Ok(None)) => false,
        Ok(Ok(Some(number))) => {
            logs.say(format!("enforcing generation {number} again"));
            true
        }
        Ok(Err(refusal)) => {
            tracing::error!(%refusal, "the last generation can't be enforced again: everything is denied");
            logs.say(format!("the last generation can't be enforced again: {refusal}"));
            false
        }
        Err(error) => {
            tracing::error!(%error, "the last generation can't be enforced again: everything is denied");
            logs.say("the last generation can't be enforced again");
            false
        }
    }
}

/// Waits for something to judge and to wall by; `false`: the sandbox ends first.
async fn first_generation(generations: &Generations, logs: &Logs, shutdown: &CancellationToken) -> bool {
    let mut number = generations.numbers();
    let mut arrived = std::pin::pin!(number.wait_for(|number| *number > 0));
    let late = tokio::time::sleep(FIRST_GENERATION);
    tokio::select! {
        arrived = &mut arrived => return arrived.is_ok(),
        () = shutdown.cancelled() => return false,
        () = late => logs.say("no generation has arrived yet: the sandbox starts as soon as one does"),
    }
    tokio::select! {
        arrived = arrived => arrived.is_ok(),
        () = shutdown.cancelled() => false,
    }
}

fn end_on_signals(shutdown: CancellationToken) -> std::io::Result<tokio::task::JoinHandle<()>> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        shutdown.cancel();
    }))
}
