//! The gateway's own certificate authority.

use serde::{Deserialize, Serialize};

use crate::name::Name;

/// Which authority a gateway's certificate is of, and how far its turn to a new one is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct AuthorityState {
    /// `sha256:<hex>` of its certificate (DER).
    pub fingerprint: String,
    /// The same of the one before, while that is trusted, too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<String>,
    /// Sandboxes that run and have not said yet that they trust it. Without the one before they could not link again; in the answer to a turn that
    /// was finished with force they are cut off.
    pub awaits: Vec<Name>,
    /// URLs of gateways of the same database that live, and have not taken the newest keys over or could not be asked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gateways: Vec<String>,
}

/// Body of `POST /v1/authority/finish`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct FinishTurn {
    /// Also where sandboxes have not said that they trust the new one: they are cut off until they are started again.
    #[serde(default)]
    pub force: bool,
}
