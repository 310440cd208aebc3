//! An engine as one of a gateway's runtimes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use openshell_api::Name;
use openshell_api::runtime::{RuntimeHealth, RuntimeState};
use openshell_api::sandbox::RuntimeKind;
use tokio_util::sync::CancellationToken;

use super::docker::DockerRuntime;
use super::placement::Promised;
use crate::store::StoredRuntime;

/// An engine: the one that the gateway brings along, or one that was added.
pub struct Machine {
    /// Its name.
    pub name: Name,
    /// As what it was added; absent: the gateway brings it along.
    pub added: Option<StoredRuntime>,
    /// Its sandboxes.
    pub docker: DockerRuntime,
    /// Cancelled when it is one of the gateway's no more.
    pub gone: CancellationToken,
}

impl Machine {
    pub(super) fn new(name: Name, added: Option<StoredRuntime>, docker: DockerRuntime) -> Arc<Self> {
        Arc::new(Self { name, added, docker, gone: CancellationToken::new() })
    }

    /// Whether it can be used.
    pub fn health(&self, lost_after: Duration) -> RuntimeHealth {
        self.docker.vitals().health(lost_after, self.added.is_some())
    }

    /// What sandboxes can be placed by.
    pub fn labels(&self) -> BTreeMap<String, String> {
        self.added.as_ref().map(|added| added.labels.clone()).unwrap_or_default()
    }

    /// How it is, given what its sandboxes have been promised.
    pub(super) fn state(&self, promised: Promised, lost_after: Duration) -> RuntimeState {
        let (vitals, added) = (self.docker.vitals(), self.added.as_ref());
        let size = vitals.capacity;
        RuntimeState {
            name: self.name.clone(),
            kind: RuntimeKind::Docker,
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
    }
}
