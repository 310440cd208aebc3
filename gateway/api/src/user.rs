//! Users of a gateway: who they are, what they may do, and the tokens they are known by.

use serde::{Deserialize, Serialize};

use crate::Name;

/// What a user may do. Each role may do all that the ones before it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// See everything but the audit trail; change nothing.
    Viewer,
    /// Make sandboxes, and work with one's own.
    Operator,
    /// Everything.
    Admin,
}

impl Role {
    /// As it is typed and shown.
    pub fn word(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }
}

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.word())
    }
}

impl std::str::FromStr for Role {
    type Err = String;

    fn from_str(given: &str) -> Result<Self, String> {
        [Self::Viewer, Self::Operator, Self::Admin]
            .into_iter()
            .find(|role| role.word() == given)
            .ok_or_else(|| format!("there is no role {given:?}; there are: viewer, operator, admin"))
    }
}

/// How a caller proved who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Via {
    /// A token of the gateway.
    Token,
    /// A token of an OpenID provider.
    Oidc,
    /// An assertion of Cloudflare Access.
    Access,
}

/// Answer of `GET /v1/whoami`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct WhoAmI {
    /// Name of a user of this gateway; `oidc:…` or `access:…` for one that a provider vouches for.
    pub user: String,
    /// What it may do.
    pub role: Role,
    /// How that is known.
    pub via: Via,
    /// When that proof ends (RFC 3339, UTC); absent: it doesn't by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub expires: Option<jiff::Timestamp>,
}

/// A user of the gateway's own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct User {
    /// Unique among all users that ever were: a name is never given anew, for sandboxes and the audit trail refer to it.
    pub name: Name,
    /// What it may do.
    pub role: Role,
    /// RFC 3339, UTC.
    #[schema(value_type = String)]
    pub created_at: jiff::Timestamp,
    /// Tokens it has that have not expired.
    pub tokens: u64,
}

/// Body of `POST /v1/users`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateUser {
    /// Its name.
    pub name: Name,
    /// What it may do.
    pub role: Role,
}

/// Body of `PUT /v1/users/{name}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SetUser {
    /// What it may do from now on.
    pub role: Role,
}

/// A user's token, without its value: the gateway keeps only a hash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Token {
    /// Names it where it is revoked (a ULID).
    pub id: String,
    /// What its user calls it.
    pub name: Name,
    /// Whose it is.
    pub user: Name,
    /// RFC 3339, UTC.
    #[schema(value_type = String)]
    pub created_at: jiff::Timestamp,
    /// RFC 3339, UTC; absent: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub expires_at: Option<jiff::Timestamp>,
    /// When it was last used, to the minute (RFC 3339, UTC); absent: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub used_at: Option<jiff::Timestamp>,
}

/// Body of `POST /v1/users/{name}/tokens`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateToken {
    /// What to call it; unique among its user's.
    pub name: Name,
    /// Seconds until it expires, from 60; absent: it does not expire.
    #[serde(default)]
    pub expires_in_s: Option<u64>,
}

/// A new token, with its value: shown this once.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct CreatedToken {
    /// The bearer token.
    pub secret: String,
    /// The rest.
    #[serde(flatten)]
    pub token: Token,
}

impl std::fmt::Debug for CreatedToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CreatedToken").field("token", &self.token).finish_non_exhaustive()
    }
}
