//! The gateway as one value: what every part of it works with, and how it comes up.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use openshell_api::sandbox::RuntimeKind;
use openshell_api::user::Role;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::bucket::{Bucket, BucketOptions};
use crate::error::ApiError;
use crate::followers::Followers;
use crate::identity::jwt::KeyFault;
use crate::identity::permit::FIRST_ADMIN;
use crate::identity::{Identities, IdentityOptions, tokens};
use crate::link::Links;
use crate::locks::Locks;
use crate::metrics::Metrics;
use crate::modules::{Homes, HomesError, Modules, sweep};
use crate::public_url::PublicUrl;
use crate::replicas::{News, Replicas, Untold};
use crate::runtime::docker::DockerOptions;
use crate::runtime::process::ProcessRuntime;
use crate::runtime::{Runtime, Runtimes};
use crate::secrets::{self, KeyFileError, KeyringError, Opened, Passphrase, SecretBox};
use crate::signing::{Signing, SigningError, rotation};
use crate::state_dir::{self, StateDir, StateDirError, random};
use crate::store::{Database, DatabaseUrl, Replica, SERVER_FILE, Store, StoreError};
use crate::tls::{Authority, TlsError};

/// The gateway's id.
pub(crate) const ID_FILE: &str = "gateway.id";
/// Compiled functions, for the next start.
const COMPILE_CACHE: &str = "compile-cache";

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
    /// Where bytes of new modules go, if not into its database.
    pub modules: Option<BucketOptions>,
    /// Where other gateways of its database, and supervisors, reach it: `https://host:port`; absent: where it listens.
    pub internal_url: Option<String>,
    /// Where users reach it, if by a proxy.
    pub public_url: Option<PublicUrl>,
    /// Where it keeps what its compiler made of functions, for the next start; absent: in its directory.
    pub compile_cache: Option<PathBuf>,
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
    /// After how long a silence an engine is lost.
    pub lost_after: Duration,
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
    /// The key that signs.
    #[error(transparent)]
    Signing(#[from] SigningError),
    /// The file with further CAs.
    #[error("can't read {path}: {source}")]
    UpstreamCa {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Where bytes of modules are.
    #[error(transparent)]
    Modules(#[from] HomesError),
    /// An identity provider that can't be relied on.
    #[error("an identity provider can't be trusted: {0}")]
    Provider(#[from] KeyFault),
    /// The key of its secrets.
    #[error(transparent)]
    Secrets(#[from] KeyFileError),
    /// What it shares with the other gateways of its database.
    #[error(transparent)]
    Keyring(#[from] KeyringError),
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
            Self::Keyring(error) => error.hint(),
            Self::Modules(error) => error.hint(),
            Self::Setup(ApiError(problem)) => problem.hint.as_deref(),
            Self::StateDir(StateDirError::Busy { .. }) => Some(
                "each gateway has a directory of its own (--state-dir); `openshell gateway stop` stops the one that runs",
            ),
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
    pub signing: Arc<Signing>,
    /// Who may call.
    pub identities: Identities,
    /// Its id, the same for as long as its state directory is.
    pub id: String,
    /// This one among those of its database; absent: it has that to itself.
    pub replicas: Option<Replicas>,
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
    /// Who follows logs.
    pub followers: Followers,
    /// Its URL, for supervisors.
    pub url: String,
    /// Where other machines reach it; absent: nobody said, and it listens on no address that says so.
    pub reached_at: Option<String>,
    /// Its CA.
    pub authority: Arc<Authority>,
    /// PEM of further CAs, for sandboxes.
    pub upstream_ca: Option<String>,
    /// Longest wait for a new sandbox to run.
    pub start_timeout: Duration,
    /// What it has counted.
    pub metrics: Metrics,
    /// When it started.
    pub started: Instant,
    /// The same by the clock.
    pub began: jiff::Timestamp,
    /// Cancelled once database and machines have been brought to agree.
    pub(crate) settled: CancellationToken,
    /// Cancelled when it is to stop.
    pub stopping: CancellationToken,
    /// Itself, for what outlives a call.
    pub(crate) me: Weak<Gateway>,
}

impl Gateway {
    /// Opens everything a gateway keeps and brings sandboxes and database to agree. `address` is where it will answer.
    pub async fn open(dir: StateDir, options: &Options, address: SocketAddr) -> Result<Arc<Self>, StartError> {
        // The default provider of whatever does not name its own. An error means that there is one already.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let database = Database::open(dir.root(), options.database.as_ref()).await?;
        say_where(&dir, options.database.as_ref())?;
        let opened = match &options.passphrase {
            Some(passphrase) if database.is_shared() => {
                let make = || secrets::make(&dir, passphrase, address.ip());
                Some(Opened::open(&database, &dir, passphrase, make).await?)
            }
            _ => None,
        };
        let internal = options.internal_url.clone().unwrap_or_else(|| url(address));
        let authority = Arc::new(Authority::open(&dir, address.ip(), crate::upstream::host(&internal).as_deref())?);
        let signing = Arc::new(Signing::open(&dir)?);
        if database.is_shared() && !database.is_ours(&signing).await? {
            return Err(KeyringError::NotOurs.into());
        }
        let keyring = opened.map(|opened| Arc::new(opened.begin(&database, authority.clone(), signing.clone())));
        let store = Store::over(database, dir.root(), signing.clone(), keyring.clone()).await?;
        let id = id(&dir)?;
        store.give_up_puts_of(&id).await?;
        let replicas = match keyring {
            None => None,
            Some(keyring) => {
                let me = Replica { id: id.clone(), url: internal.trim_end_matches('/').to_owned() };
                store.beat(&me).await?;
                store.forget_links(&me.id, false).await?;
                Some(Replicas::new(me, keyring, &authority.trusted().pem)?)
            }
        };
        store.ensure_user(FIRST_ADMIN, Role::Admin).await?;
        let upstream_ca = match &options.upstream_ca {
            None => None,
            Some(path) => Some(
                std::fs::read_to_string(path)
                    .map_err(|source| StartError::UpstreamCa { path: path.clone(), source })?,
            ),
        };
        let http = crate::upstream::client(upstream_ca.as_deref())?;
        let admin = tokens::hash(&tokens::admin_token(&dir)?);
        let identities = Identities::new(admin, options.identity.clone(), &http)?;
        let runtime = runtimes(&dir, &id, options)?;
        let secrets = SecretBox::open(&dir, options.passphrase.as_ref())?;
        let compile_cache = options.compile_cache.clone().unwrap_or_else(|| dir.path(COMPILE_CACHE));
        let modules = Modules::new(&compile_cache, homes(&store, options, &id, upstream_ca.as_deref()).await?)?;
        let gateway = Arc::new_cyclic(|me| Self {
            me: me.clone(),
            id,
            secrets,
            replicas,
            locks: Locks::new(store.clone()),
            signing,
            store,
            identities,
            links: Links::default(),
            modules,
            runtime,
            changed: Changed::default(),
            followers: Followers::default(),
            url: url(address),
            reached_at: reached_at(options, address),
            authority,
            upstream_ca,
            start_timeout: options.start_timeout,
            metrics: Metrics::default(),
            started: Instant::now(),
            began: jiff::Timestamp::now(),
            settled: CancellationToken::new(),
            stopping: CancellationToken::new(),
            dir,
        });
        if let Some(bucket) = gateway.modules.homes().bucket() {
            tokio::spawn(bucket.clone().watch(gateway.stopping.clone()));
            tokio::spawn(sweep::run(bucket.clone(), gateway.store.clone(), gateway.stopping.clone()));
        }
        if gateway.replicas.is_some() {
            crate::replicas::begin(&gateway);
        }
        crate::providers::end_turn(&gateway).await?;
        gateway.modules.register_builtins(&gateway.store).await?;
        crate::machines::take_up(&gateway).await?;
        crate::lifecycle::recover(&gateway).await?;
        crate::machines::begin(&gateway);
        rotation::resume(&gateway);
        Ok(gateway)
    }
}

/// Writes down where the database is, for whoever wants to back it up.
fn say_where(dir: &StateDir, database: Option<&DatabaseUrl>) -> Result<(), StateDirError> {
    let path = dir.path(SERVER_FILE);
    match database {
        Some(url) => state_dir::write_private(&path, url.shown().as_bytes()),
        None => match std::fs::remove_file(&path) {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => Err(StateDirError::Io { path, source }),
            _ => Ok(()),
        },
    }
}

/// The id of a directory's gateway.
pub(crate) fn id(dir: &StateDir) -> Result<String, StateDirError> {
    let id = dir.read_or_create(ID_FILE, || Ok(hex::encode(random::<16>()?).into_bytes()))?;
    Ok(String::from_utf8_lossy(&id).trim().to_owned())
}

/// Where bytes of modules are; all of them can be found.
async fn homes(store: &Store, options: &Options, id: &str, extra_ca: Option<&str>) -> Result<Homes, StartError> {
    let bucket = options.modules.as_ref().map(|options| Bucket::open(options, extra_ca));
    let homes = Homes::new(bucket.transpose().map_err(HomesError::from)?, id);
    homes.check(store).await?;
    Ok(homes)
}

fn runtimes(dir: &StateDir, id: &str, options: &Options) -> Result<Runtimes, StateDirError> {
    if let Some(runtime) = &options.runtime {
        return Ok(Runtimes::new(runtime.clone(), options.default_runtime, options.lost_after));
    }
    let process = Arc::new(ProcessRuntime::new(options.supervisor.clone(), dir.sandboxes())?);
    let docker = DockerOptions {
        supervisor: options.supervisor.clone(),
        link: dir.link(),
        socket: state_dir::LINK_SOCKET.to_owned(),
        gateway: id.to_owned(),
        default_image: options.default_image.clone(),
        runtime: RuntimeKind::Docker.as_str().to_owned(),
        gateway_url: None,
    };
    let runtimes = Runtimes::new(process, options.default_runtime, options.lost_after).with_docker(docker);
    Ok(if options.containers_only { runtimes.containers_only() } else { runtimes })
}

/// How other machines reach a gateway, as far as it was said.
fn reached_at(options: &Options, address: SocketAddr) -> Option<String> {
    let listens = !address.ip().is_unspecified() && !address.ip().is_loopback();
    options.internal_url.clone().or_else(|| listens.then(|| url(address)))
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

/// Wakes those who follow something; what is new they read from the store.
#[derive(Default)]
pub struct Changed {
    pub(crate) untold: Untold,
    decisions: watch::Sender<()>,
    logs: watch::Sender<()>,
    sandboxes: watch::Sender<()>,
    keys: watch::Sender<()>,
}

impl Changed {
    /// Decisions were stored.
    pub fn decisions(&self) {
        self.happened(News::Decisions);
    }

    /// Log lines were stored.
    pub fn logs(&self) {
        self.happened(News::Logs);
    }

    /// A sandbox changed its phase, its generation or its connection.
    pub fn sandboxes(&self) {
        self.happened(News::Sandboxes);
    }

    /// Here; other gateways are to hear of it.
    fn happened(&self, news: News) {
        self.untold.add(news);
        self.heard(news);
    }

    /// Another gateway says so.
    pub(crate) fn heard(&self, news: News) {
        match news {
            News::Decisions => self.decisions.send_replace(()),
            News::Logs => self.logs.send_replace(()),
            News::Sandboxes => self.sandboxes.send_replace(()),
            News::Keys => self.keys.send_replace(()),
        };
    }

    /// To wait for decisions.
    pub fn follow_decisions(&self) -> watch::Receiver<()> {
        self.decisions.subscribe()
    }

    /// To wait for log lines.
    pub fn follow_logs(&self) -> watch::Receiver<()> {
        self.logs.subscribe()
    }

    /// To wait for keys that another gateway has turned, and for what they have signed.
    pub(crate) fn follow_keys(&self) -> watch::Receiver<()> {
        self.keys.subscribe()
    }

    /// To wait for changes of sandboxes.
    pub fn follow_sandboxes(&self) -> watch::Receiver<()> {
        self.sandboxes.subscribe()
    }
}
