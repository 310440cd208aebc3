//! The egress proxy: reads, judges, dials, relays.
//!
//! A connection's way: [`connection`] asks who it is and where it goes, [`judge`] asks the enforced generation and, if
//! it allows, makes a [`Permit`]; [`peek`] tells protocols apart, [`authority`] mints leaves, [`serve`] takes each
//! request through judgement to [`Upstreams`] and back. Without a [`Permit`] nothing is looked up or dialled.
//!
//! Inference shares the way out: `Permit::operator(base_url)` turns a backend's base URL into a permit, and
//! `Upstreams::send(&permit, scheme, Versions::Http1, request)` answers a response whose body streams.
//!
//! Absences: no policy is skipped by staying silent; no name that is denied is looked up; no address is dialled that
//! was not checked; no request is sent again that anything was done of, unless it is safe; no secret is in a record, a refusal or a log.

#![allow(clippy::result_large_err, reason = "a refusal says much and is rare; boxing it would only hide that")]

mod account;
mod address;
mod authority;
mod body;
mod connection;
mod credentials;
mod destination;
mod dial;
mod distrust;
mod exchange;
mod form;
mod headers;
mod http2;
mod interim;
mod judge;
pub(crate) mod names;
mod path;
mod peek;
mod permit;
mod refusal;
mod registry;
mod relay;
mod serve;
mod session;
mod settled;
mod stream;
mod tls;
pub(crate) mod trace;
mod upstream;
mod view;
mod websocket;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use address::Forbidden;
pub use authority::{AuthorityError, CertificateAuthority};
pub(crate) use destination::canonical_host;
pub use dial::{DialError, Dialer, Upstream};
pub use judge::{Decide, Enforced};
pub use permit::{InvalidBaseUrl, InvalidRange, Permit};
pub use refusal::{Cause, POLICY_HEADER};
pub use tls::{HandshakeError, TrustError, Versions};
pub use upstream::{UpstreamError, Upstreams};

use crate::active::Secrets;
use crate::caller::{Accept, Attribute};
use crate::inference::Inference;
use crate::policy_local::PolicyLocal;
use crate::record::Record;
use crate::seldom::Seldom;
use registry::Registry;
use settled::settled;

/// More connections at once are closed as they come, and the others are unharmed. Fewer, where fewer files may be open:
/// see [`connections_at_once`].
const MAX_CONNECTIONS: usize = 16_384;
/// Most bytes of request bodies that are held for policies at once; policies don't see more, which those that need a body deny.
const MAX_HELD: usize = 64 * 1024 * 1024;
/// Descriptors that the rest of the supervisor may need: its link, spools, artifacts, streams, pooled upstreams, and the
/// processes that it remembers.
const OTHER_DESCRIPTORS: u64 = 256 + crate::intercept::DESCRIPTORS;
const PRUNE_EVERY: Duration = Duration::from_secs(15);
const ACCEPT_BACKOFF: Duration = Duration::from_millis(50);

/// What a proxy is made of.
pub struct ProxyConfig {
    /// Name of the sandbox.
    pub sandbox: String,
    /// Its labels, for policies to read.
    pub labels: BTreeMap<String, String>,
    /// What is enforced now: `active::Live`.
    pub enforced: Arc<dyn Enforced>,
    /// Values of credentials.
    pub secrets: Secrets,
    /// Where decisions are recorded.
    pub recorder: Arc<dyn Record>,
    /// Who is behind a connection.
    pub attribution: Arc<dyn Attribute>,
    /// Mints the leaves.
    pub ca: CertificateAuthority,
    /// The way out, shared with inference: `Upstreams::new(add_hosts, upstream_ca)`.
    pub upstreams: Arc<Upstreams>,
    /// Answers `inference.local`; absent: such requests are refused.
    pub inference: Option<Arc<dyn Inference>>,
    /// Answers `policy.local`.
    pub policy_local: Arc<dyn PolicyLocal>,
}

/// The egress proxy of one sandbox.
pub struct Proxy {
    sandbox: String,
    labels: Arc<BTreeMap<String, String>>,
    enforced: Arc<dyn Enforced>,
    secrets: Secrets,
    recorder: Arc<dyn Record>,
    attribution: Arc<dyn Attribute>,
    ca: CertificateAuthority,
    upstreams: Arc<Upstreams>,
    inference: Option<Arc<dyn Inference>>,
    policy_local: Arc<dyn PolicyLocal>,
    registry: Arc<Registry>,
    /// Room for request bodies that policies want to see, in bytes.
    held: Arc<Semaphore>,
    most: usize,
    /// Connections beyond the most.
    crowded: Mutex<Seldom>,
    /// Opaque connections whose upstream was not reached.
    unreached: Mutex<Seldom>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Proxy {
    /// Puts one together; nothing runs before [`Self::serve`].
    pub fn new(config: ProxyConfig) -> Arc<Self> {
        let ProxyConfig {
            sandbox,
            labels,
            enforced,
            secrets,
            recorder,
            attribution,
            ca,
            upstreams,
            inference,
            policy_local,
        } = config;
        Arc::new(Self {
            sandbox,
            labels: Arc::new(labels),
            enforced,
            secrets,
            recorder,
            attribution,
            ca,
            upstreams,
            inference,
            policy_local,
            registry: Arc::default(),
            held: Arc::new(Semaphore::new(MAX_HELD)),
            most: connections_at_once(),
            crowded: Mutex::default(),
            unreached: Mutex::default(),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
        })
    }

    /// Serves connections until `shutdown`, then closes all of them and returns. They may arrive in another
    /// network namespace: only what is dialled belongs to this process's own. Several entrances may be served at once;
    /// the first shutdown ends them all.
    pub async fn serve(self: Arc<Self>, entrance: impl Accept, shutdown: CancellationToken) {
        let mut prune = tokio::time::interval(PRUNE_EVERY);
        loop {
            tokio::select! {
                () = shutdown.cancelled() => break,
                _ = prune.tick() => self.upstreams.prune(),
                accepted = entrance.accept() => match accepted {
                    Ok((stream, peer)) if self.tasks.len() < self.most => {
                        self.spawn(connection::serve(Arc::clone(&self), stream, peer));
                    }
                    Ok((_, peer)) => {
                        self.attribution.forget(peer);
                        if let Some(more) = upstream::lock(&self.crowded).happened(Instant::now()) {
                            tracing::warn!(limit = self.most, more, "a connection was refused: too many are open");
                        }
                    }
                    Err(error) => {
                        tracing::warn!(%error, "no connection can be accepted");
                        tokio::time::sleep(ACCEPT_BACKOFF).await;
                    }
                },
            }
        }
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// Asks a generation that has just become the enforced one about everything that lives on (tunnels, WebSockets,
    /// streams). Cuts what it denies, and only that, and says how many. Requests under way finish under the generation
    /// they began with. Call it after the swap.
    pub fn reevaluate(&self, generation: &dyn Decide) -> u32 {
        self.registry.reevaluate(generation)
    }

    /// How many tunnels, WebSockets and streams live on after their verdict.
    pub fn live_streams(&self) -> usize {
        self.registry.len()
    }

    /// The sandbox's own authority alone, PEM.
    pub fn certificate(&self) -> &str {
        self.ca.pem()
    }

    /// Runs a task that ends with the proxy.
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let stop = self.stop.clone();
        self.tasks.spawn(async move {
            stop.run_until_cancelled(settled(task)).await;
        });
    }
}

/// How many connections leave room for the rest of the supervisor: each takes two descriptors, the client's and the
/// upstream's.
fn connections_at_once() -> usize {
    use nix::sys::resource::{Resource, getrlimit};
    let files = getrlimit(Resource::RLIMIT_NOFILE).map_or(1024, |(soft, _)| soft);
    let spare = files.saturating_sub(OTHER_DESCRIPTORS).max(files / 4);
    usize::try_from(spare / 2).unwrap_or(MAX_CONNECTIONS).min(MAX_CONNECTIONS)
}

#[cfg(test)]
mod tests;
