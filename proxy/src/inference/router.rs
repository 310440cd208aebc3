//! Asks the `route` hook.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use openshell_policy_host::{self as host, Answer, Denial, InferenceRequest, Policy, PolicyRef, RouteDecision};

/// Whatever answers the `route` hook.
pub trait Router: Send + Sync {
    /// Orders the backends, or denies.
    fn route(&self, request: &InferenceRequest, backends: &[host::Backend]) -> Answer<Result<RouteDecision, Denial>>;
    /// Which policy it is.
    fn reference(&self) -> PolicyRef;
}

impl Router for Policy {
    fn route(&self, request: &InferenceRequest, backends: &[host::Backend]) -> Answer<Result<RouteDecision, Denial>> {
        Policy::route(self, request, backends)
    }
    fn reference(&self) -> PolicyRef {
        Policy::reference(self).clone()
    }
}

/// Times to first byte, the last few of each backend.
#[derive(Debug, Default)]
pub struct Latencies(Mutex<BTreeMap<String, VecDeque<u32>>>);

impl Latencies {
    const KEPT: usize = 15;

    /// Remembers one, in milliseconds.
    pub fn seen(&self, backend: &str, ms: u32) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let recent = all.entry(backend.to_owned()).or_default();
        if recent.len() == Self::KEPT {
            recent.pop_front();
        }
        recent.push_back(ms);
    }

    /// The median, in milliseconds; 0: not seen yet.
    pub fn median(&self, backend: &str) -> u32 {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut sorted: Vec<u32> = all.get(backend).into_iter().flatten().copied().collect();
        sorted.sort_unstable();
        sorted.get(sorted.len() / 2).copied().unwrap_or(0)
    }
}
