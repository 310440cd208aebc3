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
    /// `?<name>=<secret>`.
    Query {
        /// Parameter's name.
        name: String,
    },
    /// An AWS signature, version 4, with the secret as secret access key. Region and service are those the workload's own
    /// signature names.
    Sigv4 {
        /// Access key id.
        access_key_id: String,
    },
}

/// Where and how a credential may be attached. No secret in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct CredentialRule {
    /// How it is attached.
    pub attach: Attach,
    /// Hosts it is bound to: exact names, or `*.example.com` for one label. Anywhere else it is never sent.
    pub hosts: Vec<String>,
    /// Paths it is bound to, each with all below it; empty: every path.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub paths: Vec<String>,
    /// Executables it is bound to, by absolute path; empty: every program.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub binaries: Vec<String>,
    /// Variable in which the workload finds the placeholder; absent: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub env: Option<String>,
    /// What the workload has in the secret's place, in this sandbox. The proxy replaces it where the credential is bound; anywhere
    /// else a request with it is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub placeholder: Option<String>,
}

impl CredentialRule {
    /// A rule that is bound to nothing yet.
    pub fn new(attach: Attach) -> Self {
        Self { attach, hosts: Vec::new(), paths: Vec::new(), binaries: Vec::new(), env: None, placeholder: None }
    }

    /// Whether it is bound to a host: to exactly that name, or to `*.example.com`, which has exactly one label in its place.
    pub fn is_bound_to_host(&self, host: &str) -> bool {
        self.hosts.iter().any(|bound| match bound.strip_prefix("*.") {
            Some(parent) => {
                let labels = host.split_once('.');
                labels.is_some_and(|(label, rest)| !label.is_empty() && rest.eq_ignore_ascii_case(parent))
            }
            None => bound.eq_ignore_ascii_case(host),
        })
    }

    /// Whether it is bound to a path: `/v1` has `/v1` and `/v1/x`, and not `/v10`.
    pub fn is_bound_to_path(&self, path: &str) -> bool {
        let below = |bound: &String| {
            let rest = path.strip_prefix(bound.trim_end_matches('/'));
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        self.paths.is_empty() || self.paths.iter().any(below)
    }
}

/// Part of every placeholder.
pub const PLACEHOLDER_MARK: &str = "openshell-placeholder-";

/// A type of providers: what is usual for the credential of each.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ProviderType {
    /// What providers name it by.
    pub name: Name,
    /// How a credential is attached; absent: each provider says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attach: Option<Attach>,
    /// Hosts that credentials are bound to; empty: each provider says them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<String>,
    /// Paths that they are bound to, each with all below it; empty: every path.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub paths: Vec<String>,
    /// Variable in which programs look for the credential; absent: workloads find none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub env: Option<String>,
    /// How secrets begin: some programs look at that, so placeholders do, too.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub prefix: String,
    /// The gateway brings it along: it can't be changed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub built_in: bool,
}

/// Body of `POST /v1/providers`. The secret goes in here and never comes out again.
#[derive(Clone, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateProvider {
    /// Unique on a gateway.
    pub name: Name,
    /// `openai`, `anthropic`, `github`, `gitlab`, `pypi`, `npm`, `aws`, `generic` or one of the gateway's own types: decides `attach`,
    /// `hosts`, `paths` and `env` where they are absent.
    #[serde(rename = "type")]
    pub kind: String,
    /// Required for `generic`.
    #[serde(default)]
    pub attach: Option<Attach>,
    /// Required for `generic`.
    #[serde(default)]
    pub hosts: Option<Vec<String>>,
    /// Paths it is bound to, each with all below it; empty: every path.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub paths: Vec<String>,
    /// Executables it is bound to, by absolute path; empty: every program.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub binaries: Vec<String>,
    /// Variable in which workloads find a placeholder; absent: the usual one of its type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub env: Option<String>,
    /// Let every operator's sandboxes use it, not only one's own.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub shared: bool,
    /// The secret is a refresh token, and the credential is the access token that it gets; absent: the secret is the credential.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refresh: Option<Refresh>,
    /// The secret's value.
    pub secret: String,
}

impl std::fmt::Debug for CreateProvider {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CreateProvider").field("name", &self.name).field("kind", &self.kind).finish_non_exhaustive()
    }
}

/// How access tokens are had (RFC 6749, section 6).
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Refresh {
    /// The token endpoint.
    pub token_url: String,
    /// The client.
    pub client_id: String,
    /// Its secret; absent: it is a public one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_secret: Option<String>,
}

impl std::fmt::Debug for Refresh {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Refresh").field("token_url", &self.token_url).finish_non_exhaustive()
    }
}

/// How the access token of a provider stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct RefreshState {
    /// The token endpoint.
    pub token_url: String,
    /// The client.
    pub client_id: String,
    /// How long its access tokens live, in seconds.
    pub lifetime_s: u64,
    /// When the present one expires (RFC 3339, UTC). It is renewed before.
    #[schema(value_type = String)]
    pub expires_at: jiff::Timestamp,
    /// Why it could not be renewed when that was last tried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// Body of `PUT /v1/providers/{name}`: what is absent stays.
#[derive(Clone, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdateProvider {
    /// The new secret. Live sandboxes have it once this answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
    /// Hosts it is bound to from now on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hosts: Option<Vec<String>>,
    /// Paths it is bound to from now on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paths: Option<Vec<String>>,
    /// Executables it is bound to from now on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub binaries: Option<Vec<String>>,
    /// Whether every operator's sandboxes may use it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shared: Option<bool>,
}

impl std::fmt::Debug for UpdateProvider {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UpdateProvider")
            .field("hosts", &self.hosts)
            .field("shared", &self.shared)
            .finish_non_exhaustive()
    }
}

/// Answer of `POST /v1/keys/rotate`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct RotatedKeys {
    /// Secrets that the new key protects.
    pub secrets: u64,
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
    /// How its access token stands; absent: its secret is the credential itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refresh: Option<RefreshState>,
    /// RFC 3339, UTC.
    #[schema(value_type = String)]
    pub created_at: jiff::Timestamp,
}
