//! Raising the walls, with the proxy as their only door.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use openshell_api::decision::DecisionRecord;
use openshell_api::launch::LaunchSpec;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::keystore::{self, KEYSTORES};
use super::pushes::Reevaluate;
use super::refusals::Recorded;
use super::state::StateDir;
use super::workload::{self, CA_BUNDLE, SYSTEM_BUNDLES, Workload};
use crate::active::{Live, Secrets};
use crate::http::{AuthorityError, CertificateAuthority, Proxy, ProxyConfig, TrustError, Upstreams};
use crate::inference::{InferenceOptions, InferenceService, Sessions};
use crate::isolation::{Overlay, Sandbox, SealConfig, SealError, Wall, Walls};
use crate::record::Spool;

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
}

/// What the inside is connected to.
pub struct Outside {
    /// What is enforced.
    pub live: Live,
    /// Values of credentials.
    pub secrets: Secrets,
    /// What conversations have contained.
    pub sessions: Arc<Sessions>,
    /// Where decisions go.
    pub records: Spool<DecisionRecord>,
    /// Ends the proxy.
    pub shutdown: CancellationToken,
}

/// A sealed sandbox with its proxy, or what is left when it could not be sealed.
pub struct Inside {
    /// What runs in it.
    pub workload: Workload,
    /// Its live connections.
    pub connections: Arc<dyn Reevaluate>,
    /// Walls that are missing.
    pub degraded: Vec<String>,
    /// Serving tasks; they end with [`Outside::shutdown`].
    pub proxies: Vec<JoinHandle<()>>,
}

/// Seals the sandbox and starts its proxy. Fails closed: where that is impossible, nothing will run in it.
pub async fn seal(spec: &LaunchSpec, state: &StateDir, outside: Outside) -> Inside {
    match try_seal(spec, state, outside).await {
        Ok(inside) => inside,
        Err(error) => {
            tracing::error!(%error, "the sandbox can't be sealed");
            Inside {
                workload: Workload::unsealed(error.to_string()),
                connections: Arc::new(NoConnections),
                degraded: Vec::new(),
                proxies: Vec::new(),
            }
        }
    }
}

async fn try_seal(spec: &LaunchSpec, state: &StateDir, outside: Outside) -> Result<Inside, InsideError> {
    let Outside { live, secrets, sessions, records, shutdown } = outside;
    let sandbox = spec.sandbox.to_string();
    let upstream_ca = spec.upstream_ca.as_deref();
    let ca = CertificateAuthority::load_or_generate(&state.path("ca"), &sandbox)?;
    let upstreams = Upstreams::new(spec.add_hosts.clone(), upstream_ca)?;

    let mut config = SealConfig::new(&spec.workspace);
    config.hidden.push(PathBuf::from(&spec.state_dir));
    if spec.own_root {
        config.walls = Walls::whole();
    }
    config.walls.read_write.extend(spec.writable.iter().map(PathBuf::from));
    config.hostname.clone_from(&sandbox);
    let bundle = ca.bundle(upstream_ca).into_bytes();
    let existing = SYSTEM_BUNDLES.into_iter().filter(|path| Path::new(path).is_file());
    for path in existing.chain([CA_BUNDLE]) {
        config.overlays.push(Overlay { path: path.into(), content: bundle.clone() });
    }
    for path in KEYSTORES {
        let extended = std::fs::read(path).ok().map(|kept| keystore::with_certificate(&kept, "openshell", ca.der()));
        match extended {
            Some(Some(content)) => config.overlays.push(Overlay { path: path.into(), content }),
            Some(None) => tracing::warn!(path, "not a JKS trust store: Java will not trust inspected origins"),
            None => {}
        }
    }
    let mut environment = config.base_environment();
    environment.extend(spec.env.clone());
    workload::trust(&mut environment);
    let refusals = Recorded { sandbox: sandbox.clone(), live: live.clone(), records: records.clone() };
    let Sandbox { listeners, callers, spawner, seal } = Sandbox::seal(config, Arc::new(refusals)).await?;

    let inference = InferenceService::new(InferenceOptions {
        sandbox: sandbox.clone(),
        live: live.clone(),
        secrets: secrets.clone(),
        record: Arc::new(records.clone()),
        sessions,
        upstreams: upstreams.clone(),
    });
    let proxy = Proxy::new(ProxyConfig {
        sandbox,
        labels: spec.labels.clone(),
        enforced: live.clone(),
        secrets,
        recorder: Arc::new(records),
        attribution: callers,
        ca,
        upstreams,
        inference: Some(Arc::new(inference)),
    });
    let serve = |listener| tokio::spawn(proxy.clone().serve(listener, shutdown.clone()));
    let proxies = listeners.into_iter().map(serve).collect();
    let workdir = spec.workdir.as_deref().map_or_else(|| Path::new(&spec.workspace), Path::new);
    Ok(Inside {
        workload: Workload::new(spawner, environment, workdir.to_owned()),
        connections: Arc::new(ProxyConnections { proxy, live }),
        degraded: spec.degraded.iter().cloned().chain(seal.degraded.iter().map(wall_name)).collect(),
        proxies,
    })
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

/// The live connections of a sandbox that was never sealed.
struct NoConnections;

#[async_trait::async_trait]
impl Reevaluate for NoConnections {
    async fn reevaluate(&self) -> u32 {
        0
    }
}
