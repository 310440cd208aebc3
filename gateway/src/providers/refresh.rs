//! Access tokens: had with a refresh token (RFC 6749, section 6), renewed before they expire, and sent to whoever uses them.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use openshell_api::provider::{Provider, Refresh, RefreshState};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::audit::Change;
use crate::error::{ApiResult, refuse};
use crate::gateway::Gateway;
use crate::store::ProviderSecret;
use crate::upstream;

/// Lifetime of a token whose endpoint does not say, in seconds.
const USUAL_LIFE_S: u64 = 3600;
/// A token is renewed this long before it expires, or when a fifth of its life is left, whichever is later.
const MARGIN: Duration = Duration::from_secs(300);
/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Between two attempts after one that failed.
const AGAIN: Duration = Duration::from_secs(10);
/// Longest answer, in bytes.
const MAX_ANSWER: usize = 64 * 1024;

/// What is sealed in the place of a secret.
#[derive(Serialize, Deserialize)]
pub(super) struct Tokens {
    refresh_token: String,
    #[serde(default)]
    client_secret: Option<String>,
    access_token: String,
}

/// The credential that a stored secret stands for.
pub fn credential(gateway: &Gateway, stored: &ProviderSecret) -> ApiResult<Zeroizing<String>> {
    let sealed = gateway.secrets.open_sealed(&stored.name, &stored.secret)?;
    match &stored.refresh {
        None => Ok(sealed),
        Some(_) => Ok(Zeroizing::new(serde_json::from_str::<Tokens>(&sealed)?.access_token)),
    }
}

/// The secret of its client.
pub(super) fn client_secret(gateway: &Gateway, stored: &ProviderSecret) -> ApiResult<Option<String>> {
    let sealed = gateway.secrets.open_sealed(&stored.name, &stored.secret)?;
    Ok(serde_json::from_str::<Tokens>(&sealed)?.client_secret)
}

/// Gets the first access token. Refuses where there is none to be had.
pub(super) async fn first(gateway: &Gateway, refresh: &Refresh, token: &str) -> ApiResult<(Tokens, RefreshState)> {
    upstream::check_private(&refresh.token_url, "tokens travel encrypted, or not at all")?;
    let had = Tokens {
        refresh_token: token.to_owned(),
        client_secret: refresh.client_secret.clone(),
        access_token: String::new(),
    };
    let (url, client) = (refresh.token_url.as_str(), refresh.client_id.as_str());
    ask(gateway, url, client, had).await.map_err(|reason| {
        refuse(422, "not_refreshed", format!("no access token is to be had at {url}: {reason}"))
            .hint("check the token endpoint, the client, and the refresh token")
    })
}

/// Renews access tokens for as long as the gateway lives.
pub async fn keep_fresh(gateway: Arc<Gateway>) {
    let mut failed: HashMap<String, Instant> = HashMap::new();
    loop {
        tokio::select! {
            () = gateway.stopping.cancelled() => return,
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
        if gateway.leads()
            && let Err(error) = Box::pin(look(&gateway, &mut failed)).await
        {
            tracing::warn!(%error, "access tokens could not be looked after");
        }
    }
}

async fn look(gateway: &Gateway, failed: &mut HashMap<String, Instant>) -> ApiResult<()> {
    failed.retain(|_, at| at.elapsed() < AGAIN);
    let now = jiff::Timestamp::now();
    for stored in gateway.store.refreshed_secrets().await? {
        let Some(state) = &stored.refresh else { continue };
        let margin = MARGIN.min(Duration::from_secs(state.lifetime_s) / 5).as_secs().max(1);
        let due = state.expires_at.as_second().saturating_sub(now.as_second()) <= margin.try_into().unwrap_or(0);
        if due && !failed.contains_key(&stored.name) && !renew(gateway, &stored, state).await? {
            failed.insert(stored.name.clone(), Instant::now());
        }
    }
    Ok(())
}

/// Renews one; `false`: its endpoint gave none.
async fn renew(gateway: &Gateway, stored: &ProviderSecret, state: &RefreshState) -> ApiResult<bool> {
    gateway.fresh_keys().await?;
    let had: Tokens = serde_json::from_str(&gateway.secrets.open_sealed(&stored.name, &stored.secret)?)?;
    let asked = ask(gateway, &state.token_url, &state.client_id, had).await;
    let _alone = gateway.locks.alone().await?;
    gateway.fresh_keys().await?;
    // Somebody may have changed or deleted it meanwhile.
    let still = gateway.store.provider_secret(&stored.name).await?.is_some_and(|one| one.secret == stored.secret);
    let Some(provider) = gateway.store.provider(&stored.name).await?.filter(|_| still) else { return Ok(true) };
    match asked {
        Ok((tokens, fresh)) => {
            let sealed = seal(gateway, &stored.name, &tokens)?;
            let change = change(&stored.name).before(&provider.refresh).after(&fresh);
            let provider = Provider { refresh: Some(fresh), ..provider };
            gateway.store.set_provider(&provider, Some(&sealed), &change).await?;
            super::send_to_users(gateway, &stored.name).await?;
            Ok(true)
        }
        Err(reason) => {
            tracing::warn!(provider = stored.name, reason, "an access token could not be renewed");
            if state.problem.as_ref() != Some(&reason) {
                let change = change(&stored.name).detail(serde_json::json!({ "problem": reason })).noticed();
                let provider =
                    Provider { refresh: Some(RefreshState { problem: Some(reason), ..state.clone() }), ..provider };
                gateway.store.set_provider(&provider, None, &change).await?;
            }
            Ok(false)
        }
    }
}

fn change(name: &str) -> Change {
    Change::new(None, "provider.refresh", name.to_owned())
}

/// Encrypts tokens.
pub(super) fn seal(gateway: &Gateway, name: &str, tokens: &Tokens) -> ApiResult<Vec<u8>> {
    let text = Zeroizing::new(serde_json::to_string(tokens)?);
    Ok(gateway.secrets.seal(name, &text)?)
}

/// Asks the token endpoint. The reason of a failure repeats nothing that was sent.
async fn ask(gateway: &Gateway, url: &str, client: &str, had: Tokens) -> Result<(Tokens, RefreshState), String> {
    #[derive(Deserialize)]
    struct Answer {
        access_token: String,
        #[serde(default)]
        expires_in: Option<u64>,
        #[serde(default)]
        refresh_token: Option<String>,
    }
    #[derive(Deserialize)]
    struct Refused {
        error: String,
    }
    let http = upstream::client(gateway.upstream_ca.as_deref()).map_err(|error| upstream::reason(&error))?;
    let form = url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs([("grant_type", "refresh_token"), ("refresh_token", &had.refresh_token), ("client_id", client)])
        .finish();
    let mut request = http.post(url).header("content-type", "application/x-www-form-urlencoded").body(form);
    request = request.header("accept", "application/json");
    if let Some(secret) = &had.client_secret {
        request = request.basic_auth(client, Some(secret));
    }
    let answer = request.send().await.map_err(|error| upstream::reason(&error.without_url()))?;
    let status = answer.status();
    let body = upstream::body(answer, MAX_ANSWER).await?;
    if !status.is_success() {
        // A code of RFC 6749, and no more: what else it says may repeat the token.
        let word =
            |code: &String| code.len() < 64 && code.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
        let code = serde_json::from_slice::<Refused>(&body).ok().map(|refused| refused.error).filter(word);
        return Err(format!("HTTP {}{}", status.as_u16(), code.map(|code| format!(", {code}")).unwrap_or_default()));
    }
    let answer: Answer = serde_json::from_slice(&body).map_err(|_| "its answer holds no access token".to_owned())?;
    super::check_secret(&answer.access_token).map_err(|_| "its access token can't be a header's value".to_owned())?;
    let lifetime_s = answer.expires_in.unwrap_or(USUAL_LIFE_S).clamp(1, 366 * 86_400);
    let state = RefreshState {
        token_url: url.to_owned(),
        client_id: client.to_owned(),
        lifetime_s,
        expires_at: jiff::Timestamp::now() + Duration::from_secs(lifetime_s),
        problem: None,
    };
    let refresh_token = answer.refresh_token.unwrap_or(had.refresh_token);
    Ok((Tokens { refresh_token, client_secret: had.client_secret, access_token: answer.access_token }, state))
}
