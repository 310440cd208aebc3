//! How a client finds out how to log in.

use serde::{Deserialize, Serialize};

/// Path of the [`Discovery`], below a gateway's URL. Answered to anybody.
pub const DISCOVERY_PATH: &str = "/.well-known/openshell";

/// Answer of `GET /.well-known/openshell`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Discovery {
    /// The gateway's version.
    pub version: String,
    /// Ways to say who one is; any of them will do.
    #[serde(default)]
    #[schema(required)]
    pub auth: Vec<AuthMethod>,
}

/// A way to say who one is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum AuthMethod {
    /// `Authorization: Bearer` with a token that the gateway gave out.
    Token,
    /// `Authorization: Bearer` with a JWT of an OpenID provider.
    Oidc(Oidc),
    /// Cloudflare Access stands in front and sends `Cf-Access-Jwt-Assertion`.
    CloudflareAccess {
        /// The team's domain, `https://<team>.cloudflareaccess.com`.
        issuer: String,
        /// The application's audience tag.
        audience: String,
    },
    /// Some way that this version does not know.
    #[serde(other)]
    Unknown,
}

/// An OpenID provider, and what to ask it for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Oidc {
    /// The provider; its configuration is at `<issuer>/.well-known/openid-configuration`.
    pub issuer: String,
    /// The client to log in as: a public one, with PKCE.
    pub client_id: String,
    /// Scopes to ask for, beside `openid`.
    #[serde(default)]
    #[schema(required)]
    pub scopes: Vec<String>,
    /// What the JWT must be for. A gateway says it; where one does not, it is `client_id`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(required, value_type = String)]
    pub audience: Option<String>,
}

impl Oidc {
    /// What the JWT must be for.
    pub fn audience(&self) -> &str {
        self.audience.as_deref().unwrap_or(&self.client_id)
    }
}
