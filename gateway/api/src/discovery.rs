//! How a client finds out how to log in.

use serde::{Deserialize, Serialize};

/// Path of the [`Discovery`], below a gateway's URL. Answered to anybody.
pub const DISCOVERY_PATH: &str = "/.well-known/openshell";

/// Answer of `GET /.well-known/openshell`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Discovery {
    /// The gateway's version.
    pub version: String,
    /// Ways to say who one is.
    pub auth: Vec<AuthMethod>,
}

/// A way to say who one is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum AuthMethod {
    /// `Authorization: Bearer` with a token that the gateway gave out.
    Token,
    /// `Authorization: Bearer` with a JWT of an OpenID provider.
    Oidc {
        /// The provider; its configuration is at `<issuer>/.well-known/openid-configuration`.
        issuer: String,
        /// The client to log in as: a public one, with PKCE.
        client_id: String,
        /// Scopes to ask for.
        scopes: Vec<String>,
        /// What the JWT must be for.
        audience: String,
    },
    /// Cloudflare Access stands in front and sends `Cf-Access-Jwt-Assertion`.
    CloudflareAccess {
        /// The team's domain, `https://<team>.cloudflareaccess.com`.
        issuer: String,
        /// The application's audience tag.
        audience: String,
    },
}
