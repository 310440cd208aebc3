//! What the sandbox enforces right now: one immutable value, swapped whole.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use openshell_api::inference::{Budget, Catalogue, InferenceRules};
use openshell_api::provider::CredentialRule;
use openshell_policy_host::{Chains, Policy};

/// A loaded generation. Requests hold the `Arc` they began with; a swap changes what the next ones get.
pub struct Active {
    /// Its number; 0 denies everything.
    pub generation: u64,
    /// The ceiling's and the sandbox's chains.
    pub chains: Chains,
    /// The module behind the `route` hook.
    pub router: Option<Policy>,
    /// Backends for inference.
    pub catalogue: Catalogue,
    /// Budgets, model aliases and models for inference.
    pub inference: InferenceRules,
    /// Budgets that it shares with the other sandboxes of its owner.
    pub owner_budgets: Vec<Budget>,
    /// Credentials that grants may name.
    pub credentials: BTreeMap<String, CredentialRule>,
}

/// The swappable slot.
pub type Live = Arc<ArcSwap<Active>>;

/// Values of credentials, by name. Never logged: it has no `Debug`.
#[derive(Clone, Default)]
pub struct Secrets(pub Arc<ArcSwap<BTreeMap<String, String>>>);

impl Active {
    /// Generation 0: nothing is bound, so everything is denied.
    pub fn nothing() -> Self {
        Self {
            generation: 0,
            chains: Chains::default(),
            router: None,
            catalogue: Catalogue::default(),
            inference: InferenceRules::default(),
            owner_budgets: Vec::new(),
            credentials: BTreeMap::new(),
        }
    }
}
