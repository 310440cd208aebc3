//! Several gateways on one database: none is special, and each may go at any time.
//!
//! A gateway says every second that it lives and where it is reached ([`beat`]). What one of them stores the others hear of through a
//! *bell* of PostgreSQL's (`LISTEN`): it says that there is something new, and whoever follows reads it from the tables. A sandbox is
//! linked to one of them; the others reach it through that one ([`relay`]). What needs the machine that a sandbox runs on is passed on to
//! the gateway there (`http/host`). One of them, whichever is first, does what is to be done once ([`Replicas::leads`]).
//!
//! Gateways know one another by a token of theirs, over TLS of the CA, both of which only they have. The CA and the signing key turn while all of
//! them run ([`keys`]): what one has turned the others take over, and [`view`] knows what supervisors linked anywhere have said of it.

pub(crate) mod keys;
mod reach;
pub(crate) mod relay;
pub mod view;

use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use openshell_api::link::ToSupervisor;
use subtle::ConstantTimeEq as _;
use tokio::sync::Notify;

use crate::gateway::Gateway;
use crate::secrets::Keyring;
use crate::signing::rotation;
use crate::store::Replica;

/// Between two signs of life.
const BEAT: Duration = Duration::from_secs(1);
/// Changes that come together ring once.
const TOGETHER: Duration = Duration::from_millis(20);
/// Longest wait for a connection to another gateway, and for its answer.
const CONNECT: Duration = Duration::from_secs(3);
const PATIENCE: Duration = Duration::from_secs(175);
/// After a failure of the database.
const AGAIN: Duration = Duration::from_secs(1);

/// What may be new.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum News {
    /// Decisions.
    Decisions,
    /// Log lines.
    Logs,
    /// Sandboxes: their phases, generations, links.
    Sandboxes,
    /// The CA, the signing key, and what that has signed.
    Keys,
}

const NEWS: [(News, &str); 4] =
    [(News::Decisions, "decisions"), (News::Logs, "logs"), (News::Sandboxes, "sandboxes"), (News::Keys, "keys")];

/// Begins a word of the bell's that ends a link.
const END: &str = "end:";

/// This gateway among those of its database.
pub struct Replicas {
    /// This one.
    pub me: Replica,
    /// What all of them share.
    pub keyring: Arc<Keyring>,
    token: String,
    client: RwLock<reqwest::Client>,
    leads: AtomicBool,
}

/// What has changed here and the others were not told of yet.
#[derive(Default)]
pub struct Untold {
    kinds: AtomicU8,
    any: Notify,
}

impl Untold {
    /// Something is new.
    pub fn add(&self, news: News) {
        self.kinds.fetch_or(1 << news as u8, Ordering::AcqRel);
        self.any.notify_one();
    }

    async fn take(&self) -> Vec<&'static str> {
        self.any.notified().await;
        tokio::time::sleep(TOGETHER).await;
        let kinds = self.kinds.swap(0, Ordering::AcqRel);
        NEWS.iter().filter(|(news, _)| kinds & (1 << *news as u8) != 0).map(|(_, word)| *word).collect()
    }
}

impl Replicas {
    /// This one, not begun. The others have certificates of the CAs `ca_pem`.
    pub fn new(me: Replica, keyring: Arc<Keyring>, ca_pem: &str) -> Result<Self, reqwest::Error> {
        let (token, client) = (keyring.token(), RwLock::new(client(ca_pem)?));
        Ok(Self { me, keyring, token, client, leads: AtomicBool::new(false) })
    }

    /// For calls of the others.
    pub fn client(&self) -> reqwest::Client {
        self.client.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// From now on the others have certificates of these CAs.
    fn trust(&self, ca_pem: &str) -> Result<(), reqwest::Error> {
        let client = client(ca_pem)?;
        *self.client.write().unwrap_or_else(PoisonError::into_inner) = client;
        Ok(())
    }

    /// What gateways show one another.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// What is called out so that whichever gateway has a sandbox's link ends it.
    pub fn end(&self, sandbox_id: &str) -> String {
        format!("{} {END}{sandbox_id}", self.me.id)
    }

    /// Whether this is another gateway's token.
    pub fn knows(&self, token: &str) -> bool {
        token.as_bytes().ct_eq(self.token.as_bytes()).into()
    }

    /// Whether this gateway does what is to be done once for all.
    pub fn leads(&self) -> bool {
        self.leads.load(Ordering::Acquire)
    }
}

fn client(ca_pem: &str) -> Result<reqwest::Client, reqwest::Error> {
    reqwest::Client::builder()
        .tls_certs_only(reqwest::Certificate::from_pem_bundle(ca_pem.as_bytes())?)
        .no_proxy()
        .connect_timeout(CONNECT)
        .timeout(PATIENCE)
        .redirect(reqwest::redirect::Policy::none())
        .build()
}

/// Begins to be one of several.
pub fn begin(gateway: &Arc<Gateway>) {
    let gateway = gateway.clone();
    tokio::spawn(async move {
        let work = async {
            tokio::join!(beat(&gateway), ring(&gateway), hear(&gateway), lead(&gateway), keys::follow(&gateway))
        };
        tokio::select! {
            () = gateway.stopping.cancelled() => {}
            _ = work => {}
        }
    });
}

/// Says that this gateway lives, takes over what others have turned, and tells supervisors where the gateways are.
async fn beat(gateway: &Gateway) {
    let Some(replicas) = &gateway.replicas else { return };
    let mut every = tokio::time::interval(BEAT);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        every.tick().await;
        let said = async {
            gateway.store.beat(&replicas.me).await?;
            gateway.store.adopt().await?;
            gateway.store.replicas().await
        };
        match said.await {
            Ok(alive) => gateway.links.tell_gateways(urls(&replicas.me, alive)),
            Err(error) => tracing::warn!(%error, "the database did not hear that this gateway lives"),
        }
    }
}

/// This one's first: whoever is linked here stays here.
fn urls(me: &Replica, alive: Vec<Replica>) -> Vec<String> {
    let others = alive.into_iter().filter(|one| one.id != me.id).map(|one| one.url);
    std::iter::once(me.url.clone()).chain(others).collect()
}

/// What a supervisor is told of the gateways.
pub(crate) fn told(urls: &[String]) -> ToSupervisor {
    ToSupervisor::Gateways { urls: urls.to_vec() }
}

/// Tells the others what is new here.
async fn ring(gateway: &Gateway) {
    let Some(replicas) = &gateway.replicas else { return };
    loop {
        let kinds = gateway.changed.untold.take().await.join(" ");
        while let Err(error) = gateway.store.ring(&format!("{} {kinds}", replicas.me.id)).await {
            tracing::debug!(%error, "the other gateways could not be told what is new");
            tokio::time::sleep(AGAIN).await;
        }
    }
}

/// Hears what is new elsewhere. After a silence anything may be.
async fn hear(gateway: &Gateway) {
    let Some(replicas) = &gateway.replicas else { return };
    loop {
        match gateway.store.listen().await {
            Ok(mut bell) => {
                NEWS.iter().for_each(|(news, _)| gateway.changed.heard(*news));
                while let Ok(Some(said)) = bell.next().await {
                    let mut words = said.split(' ');
                    if words.next() == Some(replicas.me.id.as_str()) {
                        continue;
                    }
                    for word in words {
                        if let Some((news, _)) = NEWS.iter().find(|(_, known)| *known == word) {
                            gateway.changed.heard(*news);
                        }
                        if let Some(link) = word.strip_prefix(END).and_then(|id| gateway.links.get(id)) {
                            link.close();
                        }
                    }
                }
            }
            Err(error) => tracing::debug!(%error, "the bell of the database can't be heard"),
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// Does what is to be done once, or waits until whoever does it is gone.
async fn lead(gateway: &Arc<Gateway>) {
    let Some(replicas) = &gateway.replicas else { return };
    loop {
        if let Ok(Some(mut claim)) = gateway.store.try_housekeeping().await {
            replicas.leads.store(true, Ordering::Release);
            gateway.changed.heard(News::Decisions);
            rotation::resume(gateway);
            while claim.is_held().await {
                tokio::time::sleep(BEAT).await;
            }
            replicas.leads.store(false, Ordering::Release);
        }
        tokio::time::sleep(BEAT).await;
    }
}
