//! The links: one WebSocket per supervisor, dialled by it.
//!
//! [`session`] reads and writes one; [`relayed`] lets other gateways use it; [`attempt`] stages and activates generations over it; [`streams`] carries
//! commands, files and ports over it; [`keys`] renews its credentials; [`trusts`] knows whose signatures it takes; [`verify`](mod@verify) has the walls proven, [`mod@reset`] sessions forgotten; [`Links`] finds the one of a sandbox.
//! A newer link of the same sandbox replaces the older one.

pub mod attempt;
mod keys;
pub(crate) mod outgoing;
mod questions;
pub(crate) mod relayed;
mod reports;
pub mod reset;
mod session;
pub mod streams;
mod trusts;
pub mod verify;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use openshell_api::enforcement::Enforcement;
use openshell_api::link::{MAX_CHUNK, ToSupervisor};
use openshell_api::share::Share;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use attempt::AttemptSlot;
use outgoing::Outgoing;
use questions::Questions;
pub use questions::Unanswered;

pub use session::serve;
use streams::Outbox;
pub use trusts::Trusts;

/// The link has ended; what was asked of it may or may not have arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("its supervisor's connection has ended")]
pub struct LinkClosed;

/// A live link to one supervisor.
pub struct Link {
    id: u64,
    sandbox_id: String,
    control: mpsc::Sender<ToSupervisor>,
    data: mpsc::Sender<Bytes>,
    attempts: Mutex<HashMap<String, AttemptSlot>>,
    streams: Mutex<HashMap<u64, Arc<Outbox>>>,
    /// Proofs of the walls.
    proofs: Questions<Result<Enforcement, String>>,
    /// What is kept of shares of budgets.
    shares: Questions<Vec<Share>>,
    resets: reset::Resets,
    /// Other gateways that use it.
    relays: relayed::Relays,
    /// The newest pair of credentials that the supervisor says it has.
    kept: watch::Sender<u64>,
    /// Since when the supervisor trusts the CAs that it does; `None`: it did not say, or can't be told of others.
    trusts: Mutex<Option<u64>>,
    signing_keys: watch::Sender<Trusts>,
    /// What the supervisor enforced when the link began.
    enforced: OnceLock<u64>,
    next_channel: AtomicU64,
    closed: CancellationToken,
}

impl Link {
    fn new(id: u64, sandbox_id: &str, first_channel: u64) -> (Arc<Self>, Outgoing) {
        let (control, control_out) = mpsc::channel(64);
        let (data, data_out) = mpsc::channel(8);
        let link = Arc::new(Self {
            id,
            sandbox_id: sandbox_id.to_owned(),
            control,
            data,
            attempts: Mutex::default(),
            streams: Mutex::default(),
            proofs: Questions::default(),
            shares: Questions::default(),
            resets: reset::Resets::default(),
            kept: watch::Sender::default(),
            trusts: Mutex::default(),
            signing_keys: watch::Sender::default(),
            enforced: OnceLock::new(),
            relays: relayed::Relays::default(),
            next_channel: AtomicU64::new(first_channel),
            closed: CancellationToken::new(),
        });
        (link, Outgoing::new(control_out, data_out))
    }

    /// One that another gateway holds, by its number among those that use it.
    pub(crate) fn relayed(sandbox_id: &str, number: u64) -> (Arc<Self>, Outgoing) {
        let (link, outgoing) = Self::new(0, sandbox_id, (number << relayed::CHANNEL_BITS) + 1);
        // The gateway that holds it has heard.
        link.set_signing_keys(Trusts::Unsaid);
        (link, outgoing)
    }

    /// Its number in this gateway.
    pub(crate) fn number(&self) -> u64 {
        self.id
    }

    /// Id of the sandbox at the other end.
    pub fn sandbox_id(&self) -> &str {
        &self.sandbox_id
    }

    /// Whether the supervisor has said that it enforced nothing when the link began.
    pub fn began_with_nothing(&self) -> bool {
        self.enforced.get() == Some(&0)
    }

    /// Since when the supervisor trusts the CAs that it does; `None`: it did not say, or can't be told of others.
    pub fn trusts(&self) -> Option<u64> {
        *self.trusts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_trusts(&self, epoch: Option<u64>) {
        *self.trusts.lock().unwrap_or_else(PoisonError::into_inner) = epoch;
    }

    /// Sends a message; waits while the link is busy.
    pub async fn send(&self, message: ToSupervisor) -> Result<(), LinkClosed> {
        tokio::select! {
            biased;
            () = self.closed.cancelled() => Err(LinkClosed),
            sent = self.control.send(message) => sent.map_err(|_| LinkClosed),
        }
    }

    /// Has the supervisor keep of its shares what it needs now; answers what that is, nothing where it does not say so.
    pub async fn give_back(&self, shares: Vec<Share>, patience: Duration) -> Vec<Share> {
        let asked = self.shares.ask(self, patience, (), |id| ToSupervisor::GiveBack { id, shares });
        asked.await.unwrap_or_default()
    }

    /// Sends bytes on a channel, in frames of at most [`MAX_CHUNK`]; waits while the link is busy.
    async fn send_bytes(&self, channel: u64, data: &[u8]) -> Result<(), LinkClosed> {
        for chunk in data.chunks(MAX_CHUNK) {
            self.send_frame([&channel.to_be_bytes(), chunk].concat().into()).await?;
        }
        Ok(())
    }

    async fn send_frame(&self, frame: Bytes) -> Result<(), LinkClosed> {
        tokio::select! {
            biased;
            () = self.closed.cancelled() => Err(LinkClosed),
            sent = self.data.send(frame) => sent.map_err(|_| LinkClosed),
        }
    }

    /// Ends the link.
    pub fn close(&self) {
        self.closed.cancel();
    }

    /// Waits until it ends.
    pub(crate) async fn ended(&self) {
        self.closed.cancelled().await;
    }

    /// Ends it; whoever waits on it learns that.
    pub(crate) fn tear_down(&self) {
        self.close();
        self.attempts().clear();
        self.proofs.clear();
        self.shares.clear();
        self.resets.clear();
        self.relays.clear();
        for (_, outbox) in self.streams().drain() {
            outbox.lose();
        }
    }

    /// Whether it has ended.
    pub fn is_closed(&self) -> bool {
        self.closed.is_cancelled()
    }

    fn channel(&self) -> u64 {
        self.next_channel.fetch_add(1, Ordering::Relaxed)
    }

    fn attempts(&self) -> MutexGuard<'_, HashMap<String, AttemptSlot>> {
        self.attempts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn streams(&self) -> MutexGuard<'_, HashMap<u64, Arc<Outbox>>> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The live links, by sandbox.
#[derive(Default)]
pub struct Links {
    by_sandbox: RwLock<HashMap<String, Arc<Link>>>,
    /// By sandbox: which gateway holds its link, and the way there.
    relays: Mutex<HashMap<String, (String, Arc<Link>)>>,
    gateways: Mutex<Vec<String>>,
    next_id: AtomicU64,
}

impl Links {
    /// The link of a sandbox.
    pub fn get(&self, sandbox_id: &str) -> Option<Arc<Link>> {
        self.read().get(sandbox_id).filter(|link| !link.is_closed()).cloned()
    }

    /// Every one.
    pub fn all(&self) -> Vec<Arc<Link>> {
        self.read().values().cloned().collect()
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.read().len()
    }

    /// Ends every link.
    pub fn close_all(&self) {
        for link in self.read().values() {
            link.close();
        }
        for (_, link) in self.relays.lock().unwrap_or_else(PoisonError::into_inner).values() {
            link.close();
        }
    }

    /// Makes a link the one of its sandbox; ends the one it replaces.
    fn open(&self, sandbox_id: &str) -> (Arc<Link>, Outgoing) {
        let (link, outgoing) = Link::new(self.next_id.fetch_add(1, Ordering::Relaxed), sandbox_id, 1);
        let replaced = self.write().insert(sandbox_id.to_owned(), link.clone());
        if let Some(replaced) = replaced {
            tracing::info!(sandbox = sandbox_id, "a newer link replaces the supervisor's older one");
            replaced.close();
        }
        (link, outgoing)
    }

    /// Forgets a link, unless a newer one took its place. Whoever waits on it learns that it ended.
    fn forget(&self, link: &Link) {
        {
            let mut links = self.write();
            if links.get(&link.sandbox_id).is_some_and(|current| current.id == link.id) {
                links.remove(&link.sandbox_id);
            }
        }
        link.tear_down();
    }

    /// The way to a sandbox that is linked to another gateway, if it is open.
    pub(crate) fn relay(&self, sandbox_id: &str, replica: &str) -> Option<Arc<Link>> {
        let relays = self.relays.lock().unwrap_or_else(PoisonError::into_inner);
        let (to, link) = relays.get(sandbox_id)?;
        (to == replica && !link.is_closed()).then(|| link.clone())
    }

    /// Keeps such a way for the next one who needs it.
    pub(crate) fn keep_relay(&self, replica: &str, link: Arc<Link>) {
        let mut relays = self.relays.lock().unwrap_or_else(PoisonError::into_inner);
        relays.retain(|_, (_, link)| !link.is_closed());
        relays.insert(link.sandbox_id.clone(), (replica.to_owned(), link));
    }

    /// Tells supervisors where the gateways are, if that is new.
    pub(crate) fn tell_gateways(&self, urls: Vec<String>) {
        {
            let mut known = self.gateways.lock().unwrap_or_else(PoisonError::into_inner);
            if *known == urls {
                return;
            }
            known.clone_from(&urls);
        }
        for link in self.read().values() {
            // One that is that busy is told when it links again.
            let _ = link.control.try_send(crate::replicas::told(&urls));
        }
    }

    /// Where the gateways are; none: this is the only one.
    pub(crate) fn gateways(&self) -> Vec<String> {
        self.gateways.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, HashMap<String, Arc<Link>>> {
        self.by_sandbox.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, HashMap<String, Arc<Link>>> {
        self.by_sandbox.write().unwrap_or_else(PoisonError::into_inner)
    }
}
