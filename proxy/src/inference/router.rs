//! Asks the `route` hook, and translates between the catalogue's types and the contract's.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use openshell_api::inference as api;
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

/// A backend as the hook sees it.
pub fn offered(backend: &api::Backend, asked_model: &str, latency_ms: u32) -> host::Backend {
    host::Backend {
        name: backend.name.to_string(),
        model: backend.model.clone().unwrap_or_else(|| asked_model.to_owned()),
        locality: match backend.locality {
            api::Locality::Sandbox => host::Locality::Sandbox,
            api::Locality::Host => host::Locality::Host,
            api::Locality::Private => host::Locality::Private,
            api::Locality::Public => host::Locality::Public,
        },
        clearance: to_host(backend.clearance),
        input_price: backend.input_price,
        output_price: backend.output_price,
        context: backend.context,
        features: backend.features.clone(),
        latency_ms,
    }
}

/// The contract's sensitivity.
pub fn to_host(sensitivity: api::Sensitivity) -> host::Sensitivity {
    match sensitivity {
        api::Sensitivity::Public => host::Sensitivity::Public,
        api::Sensitivity::Internal => host::Sensitivity::Internal,
        api::Sensitivity::Confidential => host::Sensitivity::Confidential,
        api::Sensitivity::Restricted => host::Sensitivity::Restricted,
    }
}

/// The wire's sensitivity.
pub fn to_api(sensitivity: host::Sensitivity) -> api::Sensitivity {
    match sensitivity {
        host::Sensitivity::Public => api::Sensitivity::Public,
        host::Sensitivity::Internal => api::Sensitivity::Internal,
        host::Sensitivity::Confidential => api::Sensitivity::Confidential,
        host::Sensitivity::Restricted => api::Sensitivity::Restricted,
    }
}

/// A sensitivity's name, for headers and sentences.
pub fn name(sensitivity: api::Sensitivity) -> &'static str {
    match sensitivity {
        api::Sensitivity::Public => "public",
        api::Sensitivity::Internal => "internal",
        api::Sensitivity::Confidential => "confidential",
        api::Sensitivity::Restricted => "restricted",
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
