//! Who asks a gateway, and how it lets people in.

use std::time::Duration;

use openshell_api::Problem;
use reqwest::Method;
use serde::{Deserialize, Serialize};

use super::rest::{self, Client};
use crate::error::Error;

/// Where a gateway says how to log in. Needs no token.
const DISCOVERY: &str = "/.well-known/openshell";
const WHOAMI: &str = "/v1/whoami";
/// A page of a proxy's is no reason to read for long.
const LIMIT: Duration = Duration::from_secs(15);

/// How a gateway lets people in.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Welcome {
    /// The gateway's version.
    pub version: String,
    /// All ways; any of them will do.
    #[serde(default)]
    pub auth: Vec<Auth>,
}

/// One way in.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Auth {
    /// With a token that an administrator gave out.
    Token,
    /// By an OpenID Connect provider.
    Oidc(Oidc),
    /// By Cloudflare Access, in front of the gateway.
    CloudflareAccess {},
    /// Some way that this version does not know.
    #[serde(other)]
    Unknown,
}

/// An OpenID Connect provider, as a gateway names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Oidc {
    /// Its issuer URL.
    pub issuer: String,
    /// What this command line is called there: a public client.
    pub client_id: String,
    /// What to ask for, beside `openid`.
    #[serde(default)]
    pub scopes: Vec<String>,
    /// For whom tokens must be made; absent: for `client_id`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audience: Option<String>,
}

impl Oidc {
    /// For whom tokens must be made.
    pub fn audience(&self) -> &str {
        self.audience.as_deref().unwrap_or(&self.client_id)
    }
}

/// Whom a gateway takes us for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Whoami {
    /// User.
    pub user: String,
    /// `admin`, `operator` or `viewer`.
    pub role: String,
    /// `token`, `oidc` or `access`.
    pub via: String,
    /// When that ends, if it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<String>,
}

impl Client {
    /// `GET /.well-known/openshell`. `None`: a gateway that knows tokens alone and says nothing about it.
    pub async fn welcome(&self) -> Result<Option<Welcome>, Error> {
        let asked = self.get_openly(DISCOVERY, LIMIT).await;
        match asked {
            Ok(bytes) => rest::parse(&bytes, &format!("GET {DISCOVERY}")).map(Some),
            Err(Error::Refused(problem)) if problem.status == 404 && problem.code == "no_such_path" => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// `GET /v1/whoami`. `None`: the gateway knows one token and no users.
    pub async fn who_we_are(&self) -> Result<Option<Whoami>, Error> {
        let request = self.request(Method::GET, WHOAMI).timeout(LIMIT);
        match self.send(Method::GET, WHOAMI, request).await {
            Ok(response) => rest::json(response, "GET", WHOAMI).await.map(Some),
            Err(Error::Refused(Problem { status: 404, .. })) => Ok(None),
            Err(error) => Err(error),
        }
    }
}
