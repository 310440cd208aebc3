//! Between the catalogue's types and the contract's.

use openshell_api::inference as api;
use openshell_policy_host as host;

/// A backend as the `route` hook sees it.
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
        cached_input_price: backend.cached_input_price.unwrap_or(backend.input_price),
        cached_tokens: 0,
        redact: backend.redact,
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

/// The sensitivity of this name.
pub fn parse(name: &[u8]) -> Option<api::Sensitivity> {
    Some(match name {
        b"public" => api::Sensitivity::Public,
        b"internal" => api::Sensitivity::Internal,
        b"confidential" => api::Sensitivity::Confidential,
        b"restricted" => api::Sensitivity::Restricted,
        _ => return None,
    })
}
