//! Logging in by a browser anywhere: the device authorization grant (RFC 8628).

use std::time::{Duration, Instant};

use openshell_api::discovery::Oidc;
use serde::Deserialize;

use super::Told;
use super::browser::scope;
use super::provider::{Provider, Tokens};
use crate::error::{Error, GatewayError};

const GRANT: &str = "urn:ietf:params:oauth:grant-type:device_code";
/// Added to the pause between two questions when the provider wants fewer of them.
const SLOWER: Duration = Duration::from_secs(5);
/// Longest wait, whatever the provider says.
const LONGEST: Duration = Duration::from_secs(30 * 60);

#[derive(Deserialize)]
struct Begun {
    device_code: String,
    user_code: String,
    verification_uri: String,
    #[serde(default)]
    expires_in: Option<u64>,
    #[serde(default)]
    interval: Option<u64>,
}

/// Begins, tells where to go and what to type there, and waits until that was done.
pub async fn log_in(provider: &Provider, oidc: &Oidc, tell: &(dyn Fn(Told<'_>) + Sync)) -> Result<Tokens, Error> {
    let failed = |reason: String| GatewayError::Provider { issuer: oidc.issuer.clone(), reason };
    let at = provider.at.device_authorization_endpoint.as_deref();
    let at = at.ok_or_else(|| GatewayError::NoDevice { issuer: oidc.issuer.clone() })?;
    let scope = scope(oidc);
    let mut form = vec![("client_id", oidc.client_id.as_str()), ("scope", &scope)];
    if oidc.audience() != oidc.client_id {
        form.push(("audience", oidc.audience()));
    }
    let begun: Begun = provider.ask(at, &form).await?.map_err(|refusal| failed(refusal.to_string()))?;
    tell(Told::Type { url: &begun.verification_uri, code: &begun.user_code });

    let limit = begun.expires_in.map_or(LONGEST, Duration::from_secs).min(LONGEST);
    let mut pause = Duration::from_secs(begun.interval.unwrap_or(5).max(1));
    let form = [("grant_type", GRANT), ("device_code", &begun.device_code), ("client_id", oidc.client_id.as_str())];
    let start = Instant::now();
    while start.elapsed() < limit {
        tokio::time::sleep(pause).await;
        match provider.ask(&provider.at.token_endpoint, &form).await {
            Ok(Ok(tokens)) => return Ok(tokens),
            Ok(Err(refusal)) => match refusal.error.as_str() {
                "authorization_pending" => {}
                "slow_down" => pause += SLOWER,
                _ => return Err(failed(format!("the login was refused: {refusal}")).into()),
            },
            // A network that fails for a moment ends no login, and is asked less often (RFC 8628, 3.5).
            Err(error) if pause * 2 > SLOWER * 12 => return Err(error),
            Err(_) => pause *= 2,
        }
    }
    Err(failed(format!("nobody logged in within {} s", limit.as_secs())).into())
}
