//! Providers: named credentials that the proxy attaches and workloads never see.

use serde::{Deserialize, Serialize};

use crate::Name;

/// How a credential is put on a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(tag = "scheme", rename_all = "snake_case")]
pub enum Attach {
    /// `Authorization: Bearer <secret>` (RFC 6750).
    Bearer,
    /// `Authorization: Basic …` (RFC 7617) with this user name and the secret as password.
    Basic {
        /// User name.
        username: String,
    },
    /// `<name>: <secret>`.
    Header {
        /// Header's name.
        name: String,
    },
}

/// Where and how a credential may be attached. No secret in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct CredentialRule {
    /// How it is attached.
    pub attach: Attach,
    /// Hosts it is bound to: exact names, or `*.example.com` for one label. Anywhere else it is never sent.
    pub hosts: Vec<String>,
}

/// Body of `POST /v1/providers`. The secret goes in here and never comes out again.
#[derive(Clone, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateProvider {
    /// Unique on a gateway.
    pub name: Name,
    /// `openai`, `anthropic`, `github`, `generic`: decides `attach` and `hosts` where they are absent.
    #[serde(rename = "type")]
    pub kind: String,
    /// Required for `generic`.
    #[serde(default)]
    pub attach: Option<Attach>,
    /// Required for `generic`.
    #[serde(default)]
    pub hosts: Option<Vec<String>>,
    /// Let every operator's sandboxes use it, not only one's own.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub shared: bool,
    /// The secret's value.
    pub secret: String,
}

impl std::fmt::Debug for CreateProvider {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CreateProvider").field("name", &self.name).field("kind", &self.kind).finish_non_exhaustive()
    }
}

/// A provider as the API shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Provider {
    /// Name.
    pub name: Name,
    /// Type.
    #[serde(rename = "type")]
    pub kind: String,
    /// Where and how its credential may be attached.
    pub rule: CredentialRule,
    /// The user who made it; only that one, and admins, may change it.
    #[serde(default)]
    pub owner: String,
    /// Whether every operator's sandboxes may use it.
    #[serde(default)]
    pub shared: bool,
    /// RFC 3339, UTC.
    #[schema(value_type = String)]
    pub created_at: jiff::Timestamp,
}
