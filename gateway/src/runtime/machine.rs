//! An engine, or a Swarm, as one of a gateway's runtimes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use openshell_api::Name;
use openshell_api::runtime::{RuntimeHealth, RuntimeState};
use openshell_api::sandbox::{CreateSandbox, RuntimeKind};
use tokio_util::sync::CancellationToken;

use super::driver::Driver;
use super::placement::Promised;
use crate::store::StoredRuntime;

/// An engine: the one that the gateway brings along, or one that was added; or a Swarm.
pub struct Machine {
    /// Its name.
    pub name: Name,
    /// As what it was added; absent: the gateway brings it along.
    pub added: Option<StoredRuntime>,
    /// Its sandboxes.
    pub driver: Box<dyn Driver>,
    /// Cancelled when it is one of the gateway's no more.
    pub gone: CancellationToken,
}

impl Machine {
    pub(super) fn new(name: Name, added: Option<StoredRuntime>, driver: Box<dyn Driver>) -> Arc<Self> {
        Arc::new(Self { name, added, driver, gone: CancellationToken::new() })
    }

    /// Whether it can be used.
    pub fn health(&self, lost_after: Duration) -> RuntimeHealth {
        self.driver.vitals().health(lost_after, self.added.is_some())
    }

    /// What sandboxes can be placed by.
    pub fn labels(&self) -> BTreeMap<String, String> {
        self.added.as_ref().map(|added| added.labels.clone()).unwrap_or_default()
    }

    /// What this sandbox can be placed by: the same, and labels of the machine in it that fits best.
    pub(super) fn labels_for(&self, spec: &CreateSandbox) -> BTreeMap<String, String> {
        self.driver.labels(&self.labels(), &spec.on)
    }

    /// How it is, given what its sandboxes have been promised.
    pub(super) fn state(&self, promised: Promised, lost_after: Duration) -> RuntimeState {
        let (vitals, added) = (self.driver.vitals(), self.added.as_ref());
        let size = vitals.capacity;
        RuntimeState {
            name: self.name.clone(),
            kind: self.driver.kind(),
            built_in: added.is_none(),
            url: added.map(|added| added.url.clone()),
            gateway_url: added.map(|added| added.gateway_url.clone()),
            labels: self.labels(),
            health: self.health(lost_after),
            silent_since: vitals.silent.map(|(_, at)| at),
            problem: vitals.problem,
            sandboxes: promised.sandboxes,
            cpus: size.map(|size| size.cpus),
            free_cpus: size.map(|size| size.cpus - promised.cpus),
            memory: size.map(|size| size.memory),
            free_memory: size.map(|size| size.memory.saturating_sub(promised.memory)),
            registry: added.and_then(|added| added.registry.clone()),
            registry_user: added.and_then(|added| Some(added.login.as_ref()?.user.clone())),
            nodes: self.driver.nodes(),
        }
    }
}

/// How the processes of the gateway's own machine are: that one answers, and gives no room away.
pub(super) fn processes(name: Name, promised: Promised) -> RuntimeState {
    RuntimeState {
        name,
        kind: RuntimeKind::Process,
        built_in: true,
        url: None,
        gateway_url: None,
        labels: BTreeMap::new(),
        health: RuntimeHealth::Answers,
        silent_since: None,
        problem: None,
        sandboxes: promised.sandboxes,
        cpus: None,
        free_cpus: None,
        memory: None,
        free_memory: None,
        registry: None,
        registry_user: None,
        nodes: Vec::new(),
    }
}
