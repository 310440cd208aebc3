//! The gateway as one value: what every part of it works with, and how it comes up.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use ed25519_dalek::SigningKey;
use openshell_api::sandbox::RuntimeKind;
use openshell_api::user::Role;
use tokio::sync::{OwnedMutexGuard, RwLock, watch};
use tokio_util::sync::CancellationToken;

use crate::error::ApiError;
use crate::identity::jwt::KeyFault;
use crate::identity::permit::FIRST_ADMIN;
use crate::identity::{Identities, IdentityOptions, tokens};
use crate::link::Links;
use crate::metrics::Metrics;
use crate::modules::Modules;
use crate::public_url::PublicUrl;
use crate::runtime::docker::{DockerOptions, DockerRuntime};
use crate::runtime::process::ProcessRuntime;
use crate::runtime::{Runtime, Runtimes};
use crate::secrets::{self, KeyFileError, Passphrase, SecretBox};
use crate::state_dir::{self, StateDir, StateDirError, random};
use crate::store::{DatabaseUrl, Store, StoreError};
use crate::tls::{self, Identity, TlsError};

/// What a gateway is started with.
#[derive(Clone)]
pub struct Options {
    /// Its directory.
    pub state_dir: PathBuf,
    /// Where it listens. Port 0: the port it had last, else any.
    pub listen: SocketAddr,
    /// Unix socket on which plain HTTP is answered, for a reverse proxy on this machine.
    pub proxy_socket: Option<PathBuf>,
    /// Its database, if that is not a file in its directory.
    pub database: Option<DatabaseUrl>,
    /// Where users reach it, if by a proxy.
    pub public_url: Option<PublicUrl>,
    /// Sandboxes are containers, or none.
    pub containers_only: bool,
    /// PEM file of further CAs that sandboxes trust upstream.
    pub upstream_ca: Option<PathBuf>,
    /// The supervisor's executable.
    pub supervisor: PathBuf,
    /// Runs sandboxes instead of the runtimes there are.
    pub runtime: Option<Arc<dyn Runtime>>,
    /// Where sandboxes go that name no runtime; absent: `docker` where an engine answers, else `process`.
    pub default_runtime: Option<RuntimeKind>,
    /// Image of sandboxes in Docker that name none.
    pub default_image: String,
    /// Longest wait for a new sandbox to run.
    pub start_timeout: Duration,
    /// How it knows its callers.
    pub identity: IdentityOptions,
    /// What protects the key of its secrets; absent: the rights of its file alone.
    pub passphrase: Option<Passphrase>,
}

/// Why a gateway did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Its directory.
    #[error(transparent)]
    StateDir(#[from] StateDirError),
    /// Its database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Its certificates.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Its address.
    #[error("can't listen on {address}: {source}")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The socket for a reverse proxy.
    #[error("can't listen on {path}: {source}")]
    ProxySocket {
        /// Where.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file with further CAs.
    #[error("can't read {path}: {source}")]
    UpstreamCa {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// An identity provider that can't be relied on.
    #[error("an identity provider can't be trusted: {0}")]
    Provider(#[from] KeyFault),
    /// The key of its secrets.
    #[error(transparent)]
    Secrets(#[from] KeyFileError),
    /// Its client for calls to elsewhere.
    #[error("the gateway's HTTP client: {0}")]
    Http(#[from] reqwest::Error),
    /// The policy compiler, the built-in modules, or the sandboxes it had.
    #[error("{0}")]
    Setup(#[from] ApiError),
}

impl StartError {
    /// What to do about it.
    pub fn hint(&self) -> Option<&str> {
        match self {
            Self::Store(error) => error.hint(),
            Self::Setup(ApiError(problem)) => problem.hint.as_deref(),
            _ => None,
        }
    }
}

/// The gateway.
pub struct Gateway {
    /// Its directory, locked.
    pub dir: StateDir,
    /// Its database.
    pub store: Store,
    /// Encrypts provider secrets.
    pub secrets: SecretBox,
    /// Signs generations and artifacts.
    pub signing: SigningKey,
    /// Who may call.
    pub identities: Identities,
    /// Links to supervisors.
    pub links: Links,
    /// Checks and compiles modules.
    pub modules: Modules,
    /// Starts and stops supervisors.
    pub runtime: Runtimes,
    /// Who changes what.
    pub locks: Locks,
    /// Tells followers that there is more.
    pub changed: Changed,
    /// Its URL, for supervisors.
    pub url: String,
    /// PEM of its CA, for supervisors.
    pub ca_pem: String,
    /// PEM of further CAs, for sandboxes.
    pub upstream_ca: Option<String>,
    /// Longest wait for a new sandbox to run.
    pub start_timeout: Duration,
    /// What it has counted.
    pub metrics: Metrics,
    /// When it started.
    pub started: Instant,
    /// Cancelled when it is to stop.
    pub stopping: CancellationToken,
}

impl Gateway {
    /// Opens everything a gateway keeps and brings sandboxes and database to agree. `address` is where it will answer.
    pub async fn open(
        dir: StateDir,
        options: &Options,
        address: SocketAddr,
    ) -> Result<(Arc<Self>, Identity), StartError> {
        let identity = tls::identity(&dir, address.ip())?;
        let signing = secrets::signing_key(&dir)?;
        let store = Store::open(dir.root(), options.database.as_ref(), signing.clone()).await?;
        store.ensure_user(FIRST_ADMIN, Role::Admin).await?;
        let upstream_ca = match &options.upstream_ca {
            None => None,
            Some(path) => Some(
                std::fs::read_to_string(path)
                    .map_err(|source| StartError::UpstreamCa { path: path.clone(), source })?,
            ),
        };
        // The default provider of whatever does not name its own. An error means that there is one already.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let http = crate::upstream::client(upstream_ca.as_deref())?;
        let admin = tokens::hash(&tokens::admin_token(&dir)?);
        let identities = Identities::new(admin, options.identity.clone(), &http)?;
        let runtime = runtimes(&dir, options)?;
        let gateway = Arc::new(Self {
            secrets: SecretBox::open(&dir, options.passphrase.as_ref())?,
            signing,
            store,
            identities,
            links: Links::default(),
            modules: Modules::new()?,
            runtime,
            locks: Locks::default(),
            changed: Changed::default(),
            url: url(address),
            ca_pem: identity.ca_pem.clone(),
            upstream_ca,
            start_timeout: options.start_timeout,
            metrics: Metrics::default(),
            started: Instant::now(),
            stopping: CancellationToken::new(),
            dir,
        });
        crate::providers::end_turn(&gateway).await?;
        gateway.modules.register_builtins(&gateway.store).await?;
        crate::lifecycle::recover(&gateway).await?;
        Ok((gateway, identity))
    }
}

fn runtimes(dir: &StateDir, options: &Options) -> Result<Runtimes, StateDirError> {
    if let Some(runtime) = &options.runtime {
        return Ok(Runtimes::new(runtime.clone(), None, options.default_runtime));
    }
    let process = Arc::new(ProcessRuntime::new(options.supervisor.clone(), dir.sandboxes())?);
    let id = dir.read_or_create("gateway.id", || Ok(hex::encode(random::<16>()?).into_bytes()))?;
    let docker = DockerRuntime::new(DockerOptions {
        supervisor: options.supervisor.clone(),
        link: dir.link(),
        socket: state_dir::LINK_SOCKET.to_owned(),
        gateway: String::from_utf8_lossy(&id).into_owned(),
        default_image: options.default_image.clone(),
    });
    let runtimes = Runtimes::new(process, Some(Arc::new(docker)), options.default_runtime);
    Ok(if options.containers_only { runtimes.containers_only() } else { runtimes })
}

/// How supervisors and clients on this machine reach a listener.
fn url(address: SocketAddr) -> String {
    let host = match address {
        SocketAddr::V4(v4) if v4.ip().is_unspecified() => "127.0.0.1".to_owned(),
        SocketAddr::V4(v4) => v4.ip().to_string(),
        SocketAddr::V6(v6) if v6.ip().is_unspecified() => "[::1]".to_owned(),
        SocketAddr::V6(v6) => format!("[{}]", v6.ip()),
    };
    format!("https://{host}:{}", address.port())
}

/// Keeps changes from interleaving. Whoever changes single sandboxes holds [`Self::gateway_wide`] shared and then the
/// sandboxes' own locks, in the order of their ids; whoever changes all of them holds it alone and then each.
#[derive(Default)]
pub struct Locks {
    /// What belongs to all sandboxes: backends, providers, the ceiling, the set of sandboxes.
    pub gateway_wide: RwLock<()>,
    /// Rollouts begin and end one at a time. Taken before the others.
    pub rollouts: tokio::sync::Mutex<()>,
    sandboxes: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
}

impl Locks {
    /// Locks sandboxes, in the order of their ids.
    pub async fn sandboxes(&self, ids: impl IntoIterator<Item = &str>) -> Vec<OwnedMutexGuard<()>> {
        let mut ids: Vec<&str> = ids.into_iter().collect();
        ids.sort_unstable();
        ids.dedup();
        let mut guards = Vec::with_capacity(ids.len());
        for id in ids {
            let lock = self.table().entry(id.to_owned()).or_default().clone();
            guards.push(lock.lock_owned().await);
        }
        guards
    }

    /// Forgets the lock of a sandbox that is gone.
    pub fn forget(&self, id: &str) {
        self.table().remove(id);
    }

    fn table(&self) -> std::sync::MutexGuard<'_, HashMap<String, Arc<tokio::sync::Mutex<()>>>> {
        self.sandboxes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Wakes those who follow something; what is new they read from the store.
#[derive(Default)]
pub struct Changed {
    decisions: watch::Sender<()>,
    logs: watch::Sender<()>,
    sandboxes: watch::Sender<()>,
}

impl Changed {
    /// Decisions were stored.
    pub fn decisions(&self) {
        self.decisions.send_replace(());
    }

    /// Log lines were stored.
    pub fn logs(&self) {
        self.logs.send_replace(());
    }

    /// A sandbox changed its phase, its generation or its connection.
    pub fn sandboxes(&self) {
        self.sandboxes.send_replace(());
    }

    /// To wait for decisions.
    pub fn follow_decisions(&self) -> watch::Receiver<()> {
        self.decisions.subscribe()
    }

    /// To wait for log lines.
    pub fn follow_logs(&self) -> watch::Receiver<()> {
        self.logs.subscribe()
    }

    /// To wait for changes of sandboxes.
    pub fn follow_sandboxes(&self) -> watch::Receiver<()> {
        self.sandboxes.subscribe()
    }
}
