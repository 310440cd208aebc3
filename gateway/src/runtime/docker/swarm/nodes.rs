//! Machines of a Swarm, as its managers know them.

use std::collections::BTreeMap;

use bollard::models::{Node as Found, NodeSpecAvailabilityEnum as Availability, NodeState as Seen};
use openshell_api::runtime::{NodeHealth, NodeState};

use super::super::vitals::Capacity;

/// First release of the engine whose services have a seccomp profile of their own. An older node would leave it away without a word.
const FIRST_RELEASE: u32 = 25;

/// One machine.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Node {
    /// What the Swarm calls it.
    pub id: String,
    /// Whether its engine gives a service what a sandbox takes.
    pub fit: bool,
    /// For people.
    pub state: NodeState,
}

impl Node {
    /// Whether it takes new sandboxes with these labels.
    pub fn takes(&self, asked: &BTreeMap<String, String>) -> bool {
        let has = |(key, value): (&String, &String)| self.state.labels.get(key) == Some(value);
        self.fit && self.state.health == NodeHealth::Ready && asked.iter().all(has)
    }

    /// Whether nothing is heard of it.
    pub fn is_down(&self) -> bool {
        self.state.health == NodeHealth::Down
    }
}

/// Understands a node. `None`: it has not said yet what it is.
pub(super) fn node(found: Found) -> Option<Node> {
    let (spec, description) = (found.spec.unwrap_or_default(), found.description?);
    let status = found.status.unwrap_or_default();
    let resources = description.resources.unwrap_or_default();
    let release = description.engine.and_then(|engine| engine.engine_version).unwrap_or_default();
    let fit = major(&release).is_some_and(|major| major >= FIRST_RELEASE);
    let health = match (status.state, spec.availability) {
        (Some(Seen::READY), Some(Availability::DRAIN)) => NodeHealth::Drained,
        (Some(Seen::READY), Some(Availability::PAUSE)) => NodeHealth::Paused,
        (Some(Seen::READY), _) => NodeHealth::Ready,
        _ => NodeHealth::Down,
    };
    let said = status.message.filter(|message| !message.is_empty());
    let old =
        || format!("its engine is of the release {release:?}: a service has a seccomp profile from {FIRST_RELEASE} on");
    let id = found.id?;
    let state = NodeState {
        name: description.hostname.unwrap_or_else(|| id.clone()),
        health,
        problem: said.or_else(|| (!fit).then(old)),
        labels: spec.labels.unwrap_or_default().into_iter().collect(),
        cpus: resources.nano_cpus.unwrap_or_default() as f64 / 1e9,
        memory: resources.memory_bytes.and_then(|bytes| u64::try_from(bytes).ok()).unwrap_or_default(),
    };
    Some(Node { id, fit, state })
}

/// The first number of a release such as `26.1.5+dfsg1`.
fn major(release: &str) -> Option<u32> {
    release.split('.').next()?.parse().ok()
}

/// How large those together are that take a sandbox with these labels.
pub(super) fn capacity(nodes: &[Node], asked: &BTreeMap<String, String>) -> Capacity {
    let taking = nodes.iter().filter(|node| node.takes(asked));
    taking.fold(Capacity { cpus: 0.0, memory: 0 }, |sum, node| Capacity {
        cpus: sum.cpus + node.state.cpus,
        memory: sum.memory + node.state.memory,
    })
}

/// Why no node could hold a sandbox, were all of them empty.
pub(super) fn too_small(
    nodes: &[Node],
    asked: &BTreeMap<String, String>,
    cpu: Option<f64>,
    memory: Option<u64>,
) -> Option<String> {
    let taking: Vec<&Node> = nodes.iter().filter(|node| node.takes(asked)).collect();
    let holds = |node: &&&Node| {
        cpu.is_none_or(|cpu| cpu <= node.state.cpus) && memory.is_none_or(|memory| memory <= node.state.memory)
    };
    if taking.is_empty() || taking.iter().any(|node| holds(&node)) {
        return None;
    }
    let cores = taking.iter().map(|node| node.state.cpus).fold(0.0, f64::max);
    let bytes = taking.iter().map(|node| node.state.memory).max().unwrap_or_default();
    Some(format!("none of its nodes is that large: at most {cores} cores and {} MiB", bytes >> 20))
}

/// The labels of a runtime, and those of a node of it that has all others which are asked for; if none has, its own alone.
pub(super) fn labels(
    nodes: &[Node],
    own: &BTreeMap<String, String>,
    asked: &BTreeMap<String, String>,
) -> BTreeMap<String, String> {
    let others = beyond(own, asked);
    let fitting = nodes.iter().find(|node| node.takes(&others));
    let mut all = fitting.map(|node| node.state.labels.clone()).unwrap_or_default();
    all.extend(own.clone());
    all
}

/// What is asked for that the runtime itself does not have: its nodes may.
pub(super) fn beyond(own: &BTreeMap<String, String>, asked: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    asked.iter().filter(|(key, value)| own.get(*key) != Some(*value)).map(|(k, v)| (k.clone(), v.clone())).collect()
}
