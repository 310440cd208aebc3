//! Raising the walls, with the proxy as their only door.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use openshell_api::decision::DecisionRecord;
use openshell_api::enforcement::{Check, Enforcement};
use openshell_api::launch::LaunchSpec;
use openshell_policy_host::Launch;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::logs::Logs;
use super::pushes::Reevaluate;
use super::refusals::Recorded;
use super::roots;
use super::state::StateDir;
use super::workload::{Proof, Sealed, Workload};
use crate::active::{Live, Secrets};
use crate::http::{AuthorityError, CertificateAuthority, Proxy, ProxyConfig, TrustError, Upstreams};
use crate::inference::{InferenceOptions, InferenceService, Ledger, Purse, Sessions};
use crate::isolation::{ProveError, Prover, Sandbox, SealConfig, SealError, Wall, Walls};
use crate::policy_local::{Denials, Desk, Proposals, Remembering};
use crate::record::{Record, Spool};

/// Why a sandbox could not be sealed. Nothing runs in it, and nothing of it is left.
#[derive(Debug, thiserror::Error)]
pub enum InsideError {
    /// The sandbox's certificate authority.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// What is trusted upstream.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// The walls.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// Nobody could try the walls.
    #[error(transparent)]
    Prove(#[from] ProveError),
    /// A probe got through a wall, or at least further than it should.
    #[error("the walls are not proven ({}): {}", .0.summary(), failures(.0))]
    NotProven(Enforcement),
}

fn failures(enforcement: &Enforcement) -> String {
    let line = |check: &Check| format!("{} expects {}, saw {}", check.name, check.expected, check.seen);
    enforcement.failures().map(line).collect::<Vec<_>>().join("; ")
}

/// What the inside is connected to.
pub struct Outside {
    /// What is enforced.
    pub live: Live,
    /// Values of credentials.
    pub secrets: Secrets,
    /// What conversations have contained.
    pub sessions: Arc<Sessions>,
    /// What inference has cost.
    pub ledger: Arc<Ledger>,
    /// Where decisions go.
    pub records: Spool<DecisionRecord>,
    /// Asks the gateway's user for more.
    pub proposals: Arc<dyn Proposals>,
    /// Who deals out shares of budgets.
    pub purse: Arc<dyn Purse>,
    /// Number of the generation that is enforced.
    pub generation: watch::Receiver<u64>,
    /// Ends the proxy.
    pub shutdown: CancellationToken,
}

/// What belongs to a sealed sandbox.
struct Inside {
    sealed: Sealed,
    connections: ProxyConnections,
    proxies: Vec<JoinHandle<()>>,
}

/// Seals the sandbox, starts its proxy, proves its walls and opens it to `workload`. Fails closed: where any of it is
/// impossible, nothing ever runs in it. Answers the proxy's tasks, which end with [`Outside::shutdown`].
pub async fn seal(
    spec: &LaunchSpec,
    launch: &Launch,
    state: &StateDir,
    outside: Outside,
    workload: &Workload,
    connections: &Connections,
    logs: &Logs,
) -> Vec<JoinHandle<()>> {
    match try_seal(spec, launch, state, outside, workload).await {
        Ok(inside) => {
            connections.0.get_or_init(|| inside.connections);
            workload.open(inside.sealed);
            inside.proxies
        }
        Err(error) => {
            tracing::error!(%error, "the sandbox can't be sealed");
            workload.fail(error.to_string(), logs);
            Vec::new()
        }
    }
}

async fn try_seal(
    spec: &LaunchSpec,
    launch: &Launch,
    state: &StateDir,
    outside: Outside,
    workload: &Workload,
) -> Result<Inside, InsideError> {
    let Outside { live, secrets, sessions, ledger, records, proposals, purse, generation, shutdown } = outside;
    let denials = Denials::default();
    let records: Arc<dyn Record> = Arc::new(Remembering { inner: Arc::new(records), denials: denials.clone() });
    let sandbox = spec.sandbox.to_string();
    let upstream_ca = spec.upstream_ca.as_deref();
    let ca = CertificateAuthority::load_or_generate(&state.path("ca"), &sandbox)?;
    let upstreams = Upstreams::new(spec.add_hosts.clone(), upstream_ca)?;

    let mut config = SealConfig::new(&spec.workspace);
    if spec.allow_degraded {
        config.allow_degraded = Wall::ALL.into();
    }
    config.hidden.extend(spec.hidden.iter().map(PathBuf::from));
    config.hidden.push(PathBuf::from(&spec.state_dir));
    if spec.own_root {
        config.walls = Walls::whole();
    }
    config.walls.read_write.extend(spec.writable.iter().map(PathBuf::from));
    constrain(&mut config, launch);
    config.hostname.clone_from(&sandbox);
    let mut environment = config.base_environment();
    environment.extend(spec.env.clone());
    roots::install(&ca, spec, &mut config, &mut environment);
    let refusals = Recorded { sandbox: sandbox.clone(), live: live.clone(), records: records.clone() };
    let Sandbox { entrances, callers, spawner, prover, seal } = Sandbox::seal(config, Arc::new(refusals)).await?;

    let inference = InferenceService::new(InferenceOptions {
        sandbox: sandbox.clone(),
        live: live.clone(),
        secrets: secrets.clone(),
        record: records.clone(),
        sessions,
        ledger,
        purse,
        upstreams: upstreams.clone(),
    });
    let policy_local = Desk::new(sandbox.clone(), denials, proposals, generation);
    let proxy = Proxy::new(ProxyConfig {
        sandbox,
        labels: spec.labels.clone(),
        enforced: live.clone(),
        secrets,
        recorder: records,
        attribution: callers,
        ca,
        upstreams,
        inference: Some(Arc::new(inference)),
        policy_local: Arc::new(policy_local),
    });
    let serve = |entrance| tokio::spawn(proxy.clone().serve(entrance, shutdown.clone()));
    let proxies = entrances.into_iter().map(serve).collect();
    let workdir = spec.workdir.as_deref().map_or_else(|| Path::new(&spec.workspace), Path::new).to_owned();
    if let Err(error) =
        prove(&prover, spec.degraded.iter().cloned().chain(seal.degraded.iter().map(wall_name)).collect(), workload)
            .await
    {
        spawner.kill();
        return Err(error);
    }
    Ok(Inside {
        sealed: Sealed { spawner, prover, environment, workdir },
        connections: ProxyConnections { proxy, live },
        proxies,
    })
}

/// Narrows the walls to what policies say.
fn constrain(config: &mut SealConfig, launch: &Launch) {
    if let Some(files) = &launch.files {
        config.walls.read_only = files.read_only.iter().map(PathBuf::from).collect();
        config.walls.read_write = files.read_write.iter().map(PathBuf::from).collect();
        config.workspace_writable = config.walls.read_write.iter().any(|path| config.workspace.starts_with(path));
    }
    if launch.user.is_some() {
        config.walls.user.clone_from(&launch.user);
    }
    config.walls.strict |= launch.strict;
}

async fn prove(prover: &Prover, degraded: Vec<String>, workload: &Workload) -> Result<(), InsideError> {
    let enforcement = prover.prove().await?;
    workload.proven(Proof { degraded, enforcement: enforcement.clone() });
    match enforcement.holds() {
        true => Ok(()),
        false => Err(InsideError::NotProven(enforcement)),
    }
}

fn wall_name(wall: &Wall) -> String {
    match wall {
        Wall::Landlock => "landlock".to_owned(),
        Wall::PrivateProc => "private-proc".to_owned(),
    }
}

struct ProxyConnections {
    proxy: Arc<Proxy>,
    live: Live,
}

#[async_trait::async_trait]
impl Reevaluate for ProxyConnections {
    async fn reevaluate(&self) -> u32 {
        let (proxy, enforced) = (self.proxy.clone(), self.live.load_full());
        // There may be thousands, each a decision.
        let judged = tokio::task::spawn_blocking(move || proxy.reevaluate(&*enforced)).await;
        judged.unwrap_or_else(|error| {
            tracing::error!(%error, "live connections could not be judged again");
            0
        })
    }
}

/// The live connections of a sandbox, once it is sealed.
#[derive(Default)]
pub struct Connections(OnceLock<ProxyConnections>);

#[async_trait::async_trait]
impl Reevaluate for Connections {
    async fn reevaluate(&self) -> u32 {
        match self.0.get() {
            Some(connections) => connections.reevaluate().await,
            None => 0,
        }
    }
}
