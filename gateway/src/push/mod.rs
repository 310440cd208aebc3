//! Pushes: how a change reaches sandboxes.
//!
//! [`plan`] says what each sandbox shall enforce; [`two_phase`] brings it there, all or none; [`catch_up`](fn@catch_up)
//! brings a sandbox that was away to its newest generation; [`renewal`] signs everything anew; [`told`] says it to the audit trail; [`gateway_wide`] changes what all of them share; [`canary`] begins
//! with a few.

mod approval;
mod canary;
mod catch_up;
mod gateway_wide;
mod plan;
mod renewal;
mod requests;
mod told;
mod two_phase;

pub use approval::Plan;
pub use canary::{promote_rollout, roll_back};
pub use catch_up::catch_up;
pub use gateway_wide::{add_backend, rebind, remove_backend, set_backend, set_ceiling, set_owner_budgets};
pub use plan::initial;
pub use renewal::renew;
pub use requests::{lacking, promote, push, rollback, sandbox_not_found, set_inference};

use std::collections::{BTreeMap, BTreeSet};

use openshell_api::generation::{Content, SignedGeneration};

use crate::error::ApiResult;
use crate::gateway::Gateway;

/// The first generation of a new sandbox.
pub fn first_generation(gateway: &Gateway, sandbox_id: &str, content: &Content) -> ApiResult<SignedGeneration> {
    two_phase::sign(gateway, sandbox_id, 1, "sandbox created", content)
}

/// Values of the credentials that a content names: those of its grants and those of its backends.
pub async fn secrets(gateway: &Gateway, content: &Content) -> ApiResult<BTreeMap<String, String>> {
    let named = secret_names(content);
    if named.is_empty() {
        return Ok(BTreeMap::new());
    }
    gateway.fresh_keys().await?;
    let mut values = BTreeMap::new();
    for stored in gateway.store.provider_secrets().await? {
        if named.contains(stored.name.as_str()) {
            let value = crate::providers::refresh::credential(gateway, &stored)?;
            values.insert(stored.name, value.to_string());
        }
    }
    Ok(values)
}

fn secret_names(content: &Content) -> BTreeSet<&str> {
    let backends = content.catalogue.backends.iter().filter_map(|backend| backend.provider.as_ref());
    content.credentials.keys().map(String::as_str).chain(backends.map(|name| name.as_str())).collect()
}
