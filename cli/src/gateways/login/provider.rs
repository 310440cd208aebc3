//! An OpenID Connect provider (OpenID Connect Core and Discovery 1.0).

use std::time::Duration;

use base64::Engine as _;
use openshell_api::discovery::Oidc;
use serde::Deserialize;

use crate::client::access::Trust;
use crate::client::rest::Chain;
use crate::error::{Error, GatewayError};

const ANSWER_LIMIT: Duration = Duration::from_secs(20);
/// Longest document that is read, in bytes.
const MAX_ANSWER: usize = 1024 * 1024;

/// A provider that has said where it answers.
#[derive(Debug, Clone)]
pub struct Provider {
    /// Where.
    pub at: Endpoints,
    http: reqwest::Client,
}

/// Where a provider answers what: `/.well-known/openid-configuration`.
#[derive(Debug, Clone, Deserialize)]
pub struct Endpoints {
    /// Who it is.
    pub issuer: String,
    /// Where a browser goes.
    pub authorization_endpoint: String,
    /// Where tokens are made.
    pub token_endpoint: String,
    /// Where a login without a browser begins; absent: nowhere.
    #[serde(default)]
    pub device_authorization_endpoint: Option<String>,
    /// Where tokens are taken back; absent: nowhere.
    #[serde(default)]
    pub revocation_endpoint: Option<String>,
}

/// What a login or a renewal brings (RFC 6749, 5.1).
#[derive(Clone, Deserialize)]
pub struct Tokens {
    /// For whatever the provider guards.
    pub access_token: String,
    /// Who logged in.
    #[serde(default)]
    pub id_token: Option<String>,
    /// What gets new ones.
    #[serde(default)]
    pub refresh_token: Option<String>,
}

/// Why a provider gave no tokens (RFC 6749, 5.2; RFC 8628, 3.5).
#[derive(Debug, Clone, Deserialize)]
pub struct Refusal {
    /// Its code.
    pub error: String,
    /// In words.
    #[serde(default)]
    pub error_description: Option<String>,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.error_description {
            Some(words) => write!(f, "{} ({words})", self.error),
            None => write!(f, "{}", self.error),
        }
    }
}

/// What was asked for, or why not.
pub type Answered<T> = Result<T, Refusal>;

impl Provider {
    /// Asks an issuer where it answers. Refuses one that calls itself something else, and addresses that are neither
    /// `https` nor on this machine.
    pub async fn find(oidc: &Oidc, trust: Trust) -> Result<Self, Error> {
        let issuer = &oidc.issuer;
        let failed = |reason: String| GatewayError::Provider { issuer: issuer.clone(), reason };
        safe(issuer).map_err(failed)?;
        let http = reqwest::Client::builder()
            .tls_backend_preconfigured(trust.tls(issuer, &[b"h2", b"http/1.1"])?)
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(ANSWER_LIMIT)
            .user_agent(concat!("openshell/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|e| failed(Chain(&e).to_string()))?;
        let url = format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'));
        let answer = http.get(&url).send().await.map_err(|e| failed(Chain(&e).to_string()))?;
        let status = answer.status();
        let bytes = read(answer).await.map_err(failed)?;
        if !status.is_success() {
            return Err(failed(format!("{url} was answered with HTTP {status}")).into());
        }
        let at: Endpoints =
            serde_json::from_slice(&bytes).map_err(|e| failed(format!("what {url} says is not understood: {e}")))?;
        if at.issuer != *issuer {
            return Err(failed(format!("it calls itself {}", at.issuer)).into());
        }
        let optional = [&at.device_authorization_endpoint, &at.revocation_endpoint];
        let all = [&at.authorization_endpoint, &at.token_endpoint].into_iter().chain(optional.into_iter().flatten());
        for url in all {
            safe(url).map_err(failed)?;
        }
        Ok(Self { at, http })
    }

    /// A form sent to one of its endpoints, and its answer.
    pub async fn ask<T: serde::de::DeserializeOwned>(
        &self,
        url: &str,
        form: &[(&str, &str)],
    ) -> Result<Answered<T>, Error> {
        let failed = |reason: String| GatewayError::Provider { issuer: self.at.issuer.clone(), reason };
        let (success, bytes) = self.post(url, form).await?;
        if success {
            // What does not fit may be a token: it is not repeated.
            let understood = serde_json::from_slice(&bytes).map_err(|e| e.classify());
            return Ok(Ok(understood.map_err(|kind| failed(format!("its answer is not understood: {kind:?}")))?));
        }
        match serde_json::from_slice(&bytes) {
            Ok(refusal) => Ok(Err(refusal)),
            Err(_) => Err(failed(format!("{url} refused without a reason")).into()),
        }
    }

    /// Has it take a token back. One that it does not know is taken back already.
    pub async fn revoke(&self, url: &str, token: &str, kind: &str, client_id: &str) -> Result<(), Error> {
        let form = [("token", token), ("token_type_hint", kind), ("client_id", client_id)];
        match self.post(url, &form).await? {
            (true, _) => Ok(()),
            (false, bytes) => {
                let why = serde_json::from_slice::<Refusal>(&bytes).map(|refusal| refusal.to_string());
                let reason = format!("it takes no token back: {}", why.unwrap_or_else(|_| "no reason given".into()));
                Err(GatewayError::Provider { issuer: self.at.issuer.clone(), reason }.into())
            }
        }
    }

    async fn post(&self, url: &str, form: &[(&str, &str)]) -> Result<(bool, Vec<u8>), Error> {
        let failed = |reason: String| GatewayError::Provider { issuer: self.at.issuer.clone(), reason };
        let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        let request = self.http.post(url).header("content-type", "application/x-www-form-urlencoded");
        let request = request.header("accept", "application/json").body(body);
        let answer = request.send().await.map_err(|e| failed(Chain(&e).to_string()))?;
        let success = answer.status().is_success();
        Ok((success, read(answer).await.map_err(failed)?))
    }
}

async fn read(mut answer: reqwest::Response) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(|e| Chain(&e).to_string())? {
        bytes.extend_from_slice(&chunk);
        if bytes.len() > MAX_ANSWER {
            return Err(format!("its answer is longer than {MAX_ANSWER} bytes"));
        }
    }
    Ok(bytes)
}

/// Whether a secret may go there: over TLS, or never off this machine.
fn safe(given: &str) -> Result<(), String> {
    let url = url::Url::parse(given).map_err(|_| format!("{given:?} is no URL"))?;
    let here = match url.host() {
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        Some(url::Host::Domain(_)) | None => false,
    };
    match url.scheme() {
        "https" => Ok(()),
        "http" if here => Ok(()),
        _ => Err(format!("{given:?} is neither https:// nor on this machine")),
    }
}

/// What a JSON Web Token claims. Nobody has looked at its signature: it came from the provider itself, over TLS, and
/// whoever is to believe it checks it (OpenID Connect Core 3.1.3.7, 6).
#[derive(Debug, Clone, Deserialize)]
pub struct Claims {
    /// Who made it.
    pub iss: String,
    /// For whom.
    #[serde(deserialize_with = "one_or_many")]
    pub aud: Vec<String>,
    /// When it ends, in seconds since 1970.
    pub exp: i64,
    /// When it was made.
    #[serde(default)]
    pub iat: Option<i64>,
    /// What the login it belongs to was told.
    #[serde(default)]
    pub nonce: Option<String>,
    /// Names of who logged in, the most telling first.
    #[serde(default)]
    email: Option<String>,
    #[serde(default)]
    preferred_username: Option<String>,
    #[serde(default)]
    sub: Option<String>,
}

impl Claims {
    /// Reads them; `None`: it is no such token.
    pub fn of(token: &str) -> Option<Self> {
        let payload = token.split('.').nth(1)?;
        let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(payload).ok()?;
        serde_json::from_slice(&bytes).ok()
    }

    /// What to call who logged in.
    pub fn user(&self) -> String {
        let names = [&self.email, &self.preferred_username, &self.sub];
        names.into_iter().flatten().find(|name| !name.is_empty()).cloned().unwrap_or_default()
    }
}

fn one_or_many<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Audience {
        One(String),
        Many(Vec<String>),
    }
    Ok(match Audience::deserialize(deserializer)? {
        Audience::One(one) => vec![one],
        Audience::Many(many) => many,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_go_over_tls_or_stay_here() {
        for good in ["https://id.example/a", "http://127.0.0.1:8000/o", "http://[::1]/"] {
            assert_eq!(safe(good), Ok(()), "{good}");
        }
        for bad in ["http://id.example", "http://localhost.evil.test", "http://localhost", "file:///etc/passwd", "x"] {
            assert!(safe(bad).is_err(), "{bad}");
        }
    }
}
