//! What a runtime owes that is reached over a network.

use std::collections::BTreeMap;

use openshell_api::runtime::NodeState;

use super::docker::{Capacity, Vitals};
use super::{Runtime, RuntimeError};

/// On which of a runtime's machines a sandbox is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OnNode {
    /// The machine's name for people.
    pub name: String,
    /// Whether it is gone: nothing is known of the sandbox from its runtime.
    pub gone: bool,
}

/// A machine of a runtime that is gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gone {
    /// Its name for people.
    pub name: String,
    /// What is known instead.
    pub problem: Option<String>,
    /// Ids of the sandboxes that it had.
    pub sandboxes: Vec<String>,
}

/// A runtime that may be silent: an engine, or a scheduler with machines of its own.
#[async_trait::async_trait]
pub trait Driver: Runtime {
    /// Whether it answers now.
    async fn answers(&self) -> bool;

    /// Asks it how large it is. Refuses, with the reason, when it does not answer or can't be used.
    async fn greet(&self) -> Result<(), RuntimeError>;

    /// As [`greet`](Self::greet), and whether everything else is there that it takes. Asked once, when it is added.
    async fn prove(&self) -> Result<(), RuntimeError> {
        self.greet().await
    }

    /// What is known of it.
    fn vitals(&self) -> Vitals;

    /// What a sandbox with these labels can be placed by: the runtime's own, and those of the machine in it that fits best.
    fn labels(&self, own: &BTreeMap<String, String>, _asked: &BTreeMap<String, String>) -> BTreeMap<String, String> {
        own.clone()
    }

    /// How large the part of it is that has these labels; `None`: not known.
    fn capacity(&self, _asked: &BTreeMap<String, String>) -> Option<Capacity> {
        self.vitals().capacity
    }

    /// Its machines, where it has several.
    fn nodes(&self) -> Vec<NodeState> {
        Vec::new()
    }

    /// On which of them a sandbox is.
    fn node(&self, _id: &str) -> Option<OnNode> {
        None
    }

    /// Those of them that are gone, by what tells them apart.
    fn gone(&self) -> BTreeMap<String, Gone> {
        BTreeMap::new()
    }
}
