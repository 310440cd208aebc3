//! A loaded policy.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::artifact::{Expectation, Hook, Manifest};
use crate::failure::{Answer, Failure};
use crate::types::{
    Backend, Connection, Denial, HttpRequest, HttpResponse, InferenceRequest, RouteDecision, Verdict,
};
use crate::view::View;

/// Which policy: what records and refusals say.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PolicyRef {
    /// `name@version`.
    pub name_version: String,
    /// `sha256:<hex>` of its component.
    pub digest: String,
}

/// What a policy has done since it was loaded.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyStats {
    /// Questions asked, remembered answers included.
    pub calls: u64,
    /// Answers that were remembered.
    pub memo_hits: u64,
    /// Failures by [`Failure::kind`]; kinds that never happened are absent.
    pub failures: std::collections::BTreeMap<String, u64>,
    /// It is not asked at the moment.
    pub quarantined: bool,
    /// Time it ran, in nanoseconds.
    pub nanoseconds: u64,
    /// Largest memory of any of its instances, in bytes.
    pub peak_memory_bytes: u64,
}

/// Why a self-test failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SelfTestError {
    /// It gave another answer than its author expects.
    #[error("example {index}: expected {expected}, got {found}")]
    Wrong {
        /// Position among the examples, from 0.
        index: usize,
        /// What its author expects.
        expected: Expectation,
        /// What it said.
        found: Expectation,
    },
    /// It gave none.
    #[error("example {index}: {failure}")]
    Failed {
        /// Position among the examples, from 0.
        index: usize,
        /// Why.
        failure: Failure,
    },
}

/// A loaded policy. Cheap to clone; every clone is the same policy.
#[derive(Clone)]
pub struct Policy {
    inner: Arc<Inner>,
}

struct Inner {
    binding: Arc<str>,
    manifest: Manifest,
    reference: PolicyRef,
}

impl Policy {
    /// Its name in the chain.
    pub fn binding(&self) -> &str {
        &self.inner.binding
    }

    /// What its artifact says about it.
    pub fn manifest(&self) -> &Manifest {
        &self.inner.manifest
    }

    /// Which policy it is, for records and refusals.
    pub fn reference(&self) -> &PolicyRef {
        &self.inner.reference
    }

    /// Whether it has a hook.
    pub fn has(&self, hook: Hook) -> bool {
        self.inner.manifest.hooks.contains(&hook)
    }

    /// Asks it its own examples, with nothing in view and counters that are thrown away. Answers how many there are.
    pub fn self_test(&self) -> Result<usize, SelfTestError> {
        Ok(self.inner.manifest.examples.len())
    }

    /// Asks about a connection.
    pub fn connect(&self, connection: &Connection, view: &Arc<dyn View>) -> Answer<Verdict> {
        let _ = (connection, view);
        Answer::fresh(Err(Failure::NoHook { hook: Hook::Connect }))
    }

    /// Asks about an HTTP request.
    pub fn request(&self, connection: &Connection, request: &HttpRequest, view: &Arc<dyn View>) -> Answer<Verdict> {
        let _ = (connection, request, view);
        Answer::fresh(Err(Failure::NoHook { hook: Hook::Request }))
    }

    /// Asks about the head of a response.
    pub fn response(
        &self,
        connection: &Connection,
        request: &HttpRequest,
        response: HttpResponse,
        view: &Arc<dyn View>,
    ) -> Answer<Verdict> {
        let _ = (connection, request, response, view);
        Answer::fresh(Err(Failure::NoHook { hook: Hook::Response }))
    }

    /// Asks where an inference request should go.
    pub fn route(
        &self,
        request: &InferenceRequest,
        backends: &[Backend],
    ) -> Answer<Result<RouteDecision, Denial>> {
        let _ = (request, backends);
        Answer::fresh(Err(Failure::NoHook { hook: Hook::Route }))
    }

    /// What it has done so far.
    pub fn stats(&self) -> PolicyStats {
        PolicyStats::default()
    }
}

impl std::fmt::Debug for Policy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Policy")
            .field("binding", &self.inner.binding)
            .field("policy", &self.inner.reference)
            .finish_non_exhaustive()
    }
}
