//! How a gateway reaches what belongs to another one: links, and the machines that sandboxes run on.

use std::sync::Arc;

use openshell_api::runtime::RuntimeHealth;
use openshell_api::sandbox::{Phase, Sandbox};

use super::{Replicas, relay};
use crate::error::ApiError;
use crate::gateway::Gateway;
use crate::link::Link;
use crate::store::{SandboxRow, StoreError};

impl Gateway {
    /// The link of a sandbox, or the way to the gateway that has it; `None`: it is linked to none that answers.
    pub async fn link(&self, sandbox_id: &str) -> Result<Option<Arc<Link>>, StoreError> {
        if let Some(link) = self.links.get(sandbox_id) {
            return Ok(Some(link));
        }
        let (Some(replicas), Some(me)) = (&self.replicas, self.me.upgrade()) else { return Ok(None) };
        let there = self.store.linked_to(sandbox_id).await?;
        let Some(there) = there.filter(|there| there.id != replicas.me.id) else { return Ok(None) };
        if let Some(link) = self.links.relay(sandbox_id, &there.id) {
            return Ok(Some(link));
        }
        match relay::open(&me, &there, sandbox_id).await {
            Ok(link) => {
                self.links.keep_relay(&there.id, link.clone());
                Ok(Some(link))
            }
            Err(error) => {
                tracing::warn!(sandbox = sandbox_id, there = there.url, %error, "another gateway does not relay to a sandbox");
                Ok(None)
            }
        }
    }

    /// Ends a sandbox's link, whichever gateway has it.
    pub async fn end_link(&self, sandbox_id: &str) {
        match (self.links.get(sandbox_id), &self.replicas) {
            (Some(link), _) => link.close(),
            (None, Some(replicas)) => {
                if let Err(error) = self.store.ring(&replicas.end(sandbox_id)).await {
                    tracing::error!(sandbox = sandbox_id, %error, "the gateway that it is linked to was not told to end that");
                }
            }
            (None, None) => {}
        }
    }

    /// Whether a sandbox is linked to this gateway or to another one.
    pub fn connected(&self, row: &SandboxRow) -> bool {
        let elsewhere = |replicas: &Replicas| row.linked_to.as_ref().is_some_and(|there| *there != replicas.me.id);
        self.links.get(&row.id).is_some() || self.replicas.as_ref().is_some_and(elsewhere)
    }

    /// A sandbox as the API shows it.
    pub fn shown(&self, row: SandboxRow) -> Sandbox {
        let (connected, lost) = (self.connected(&row), self.is_lost(&row));
        let node = self.runtime.node(&row).map(|node| node.name);
        let sandbox = Sandbox { node, ..row.into_api(connected) };
        if lost { Sandbox { phase: Phase::Lost, ..sandbox } } else { sandbox }
    }

    /// Whether nothing is heard of a sandbox that ran: neither of its machine, or its node in a Swarm, nor of its supervisor.
    pub fn is_lost(&self, row: &SandboxRow) -> bool {
        let ran = matches!(row.phase, Phase::Starting | Phase::Running);
        // Which engine of another gateway's own machine is meant, that one knows.
        let known = self.is_here(row) || self.runtime.machine(row.runtime.as_str()).is_some_and(|m| m.added.is_some());
        let silent = || self.runtime.health(row.runtime.as_str()) == Some(RuntimeHealth::Lost);
        ran && known && !self.connected(row) && (silent() || self.runtime.node(row).is_some_and(|node| node.gone))
    }

    /// How many sandboxes are linked to this gateway and the others.
    pub async fn count_links(&self) -> Result<u64, StoreError> {
        match &self.replicas {
            None => Ok(self.links.count() as u64),
            Some(_) => self.store.count_linked().await,
        }
    }

    /// Whether a sandbox runs on this gateway's machine.
    pub fn is_here(&self, row: &SandboxRow) -> bool {
        row.host.as_ref().is_none_or(|host| *host == self.id)
    }

    /// Whether this gateway does what is to be done once for all of its database.
    pub fn leads(&self) -> bool {
        self.replicas.as_ref().is_none_or(Replicas::leads)
    }

    /// Takes over what another gateway may have turned. Called before a secret is opened or sealed, under the lock that keeps keys from
    /// turning meanwhile where it is sealed.
    pub async fn fresh_keys(&self) -> Result<(), ApiError> {
        match &self.replicas {
            None => Ok(()),
            Some(replicas) => replicas.keyring.refresh(&self.secrets, &self.dir).await.map_err(ApiError::from),
        }
    }
}
