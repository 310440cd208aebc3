//! The privacy router, natively: the same source that runs as Wasm.

use anyhow::{Context as _, Result};
use openshell_policy_sdk::prelude::*;
use openshell_policy_sdk::testing;
use openshell_privacy_router::Router;

use crate::case::{Case, Found};

/// The router with its default settings.
pub fn ready() -> Result<Router> {
    testing::configure("{}").map_err(anyhow::Error::msg)
}

/// A request of these texts, as the host would ask about it.
pub fn request(messages: &[String]) -> InferenceRequest {
    InferenceRequest {
        sandbox: "eval".into(),
        process: Process { executable: "/usr/bin/python3".into(), digest: String::new(), script: None },
        model: "m".into(),
        messages: messages.iter().map(|text| Message { role: "user".into(), text: text.clone() }).collect(),
        needs: Vec::new(),
        input_tokens: 100,
        output_tokens: 100,
        expected_output_tokens: 100,
        so_far: Sensitivity::Public,
    }
}

/// One backend that may receive anything.
pub fn backends() -> Vec<Backend> {
    vec![Backend {
        name: "home".into(),
        model: "m".into(),
        locality: Locality::Host,
        clearance: Sensitivity::Restricted,
        input_price: 0,
        output_price: 0,
        context: 1_000_000,
        features: Vec::new(),
        latency_ms: 0,
        cached_input_price: 0,
        cached_tokens: 0,
        redact: false,
    }]
}

/// What the router finds in each case.
pub fn find(cases: &[Case]) -> Result<Vec<Found>> {
    let (router, backends) = (ready()?, backends());
    cases
        .iter()
        .map(|case| {
            let decision = router.route(&request(&case.messages), &backends);
            let decision = decision.map_err(|denial| anyhow::anyhow!(denial.reason)).context("the router refused")?;
            let mut kinds: Vec<String> = decision.findings.into_iter().map(|f| f.kind).collect();
            kinds.sort_unstable();
            kinds.dedup();
            Ok(Found { id: case.id, kinds })
        })
        .collect()
}
