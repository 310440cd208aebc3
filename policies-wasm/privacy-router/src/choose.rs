//! Which backend: cleared first, cost second.

use openshell_policy_sdk::{Backend, Denial, InferenceRequest, Sensitivity};

/// Indices of the backends that may and can serve the request, cheapest expected cost first, then quickest, then as given.
/// `rest`: what the request counts as once what was found is replaced; `None`: that may not be. Refuses when none is left, naming
/// what stood in the way.
pub fn choose(
    sensitivity: Sensitivity,
    rest: Option<Sensitivity>,
    request: &InferenceRequest,
    backends: &[Backend],
) -> Result<Vec<u32>, Denial> {
    if backends.is_empty() {
        return Err(Denial::new("no-backend", "the sandbox has no inference backend")
            .hint("add one with `openshell inference backend add`"));
    }
    let narrowed = |keep: &dyn Fn(&Backend) -> bool, from: &[u32]| -> Vec<u32> {
        from.iter().copied().filter(|&i| keep(&backends[i as usize])).collect()
    };
    let all: Vec<u32> = (0..backends.len() as u32).collect();
    let may = |b: &Backend| b.clearance >= sensitivity || b.redact && rest.is_some_and(|rest| b.clearance >= rest);
    let cleared = narrowed(&may, &all);
    if cleared.is_empty() {
        let reason = format!("no backend is cleared for {} content", name(sensitivity));
        return Err(Denial::new("clearance", reason).hint(format!(
            "remove the sensitive values, start a new session, or clear a backend for {}",
            name(sensitivity)
        )));
    }
    let featured = narrowed(&|b| has_features(b, &request.needs), &cleared);
    if featured.is_empty() {
        let reason =
            format!("no backend cleared for {} content offers {}", name(sensitivity), request.needs.join(", "));
        return Err(Denial::new("features", reason).hint("add a backend with these features, cleared for such content"));
    }
    let tokens = u64::from(request.input_tokens) + u64::from(request.output_tokens);
    let mut order = narrowed(&|b| u64::from(b.context) >= tokens, &featured);
    if order.is_empty() {
        let reason =
            format!("the request needs {tokens} tokens; no backend cleared for it has so large a context window");
        return Err(Denial::new("context", reason).hint("shorten the conversation"));
    }
    order.sort_by_key(|&i| {
        let backend = &backends[i as usize];
        (cost(backend, request), backend.latency_ms, i)
    });
    Ok(order)
}

/// Expected cost, in millionths of a millionth of a dollar: what its prompt cache holds is cheaper, which keeps a conversation where
/// it is as long as that pays.
fn cost(backend: &Backend, request: &InferenceRequest) -> u128 {
    let cached = backend.cached_tokens.min(request.input_tokens);
    u128::from(request.input_tokens - cached) * u128::from(backend.input_price)
        + u128::from(cached) * u128::from(backend.cached_input_price)
        + u128::from(request.expected_output_tokens) * u128::from(backend.output_price)
}

/// A backend that states no features is not held to them.
fn has_features(backend: &Backend, needs: &[String]) -> bool {
    backend.features.is_empty() || needs.iter().all(|need| backend.features.contains(need))
}

/// The sensitivity's name.
pub fn name(sensitivity: Sensitivity) -> &'static str {
    match sensitivity {
        Sensitivity::Public => "public",
        Sensitivity::Internal => "internal",
        Sensitivity::Confidential => "confidential",
        Sensitivity::Restricted => "restricted",
    }
}
