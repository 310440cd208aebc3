//! Asks a backend for its models, to see whether address and key are right.

use std::time::Instant;

use openshell_api::inference::{Backend, BackendKind, BackendTest};

use crate::error::{ApiError, ApiResult};
use crate::gateway::Gateway;
use crate::identity::{Administer, Permit};
use crate::upstream;

/// Longest answer that is read, in bytes.
const LONGEST_ANSWER: usize = 4 * 1024 * 1024;
/// Models that are named.
const NAMED: usize = 100;

/// Asks it once. What is wrong with the backend is an answer; only what is wrong here is an error. Follows no redirect: the key
/// would follow.
pub async fn run(gateway: &Gateway, permit: &Permit<Administer>, backend: &Backend) -> ApiResult<BackendTest> {
    gateway.store.tell(&permit.change(&backend.name)).await?;
    let key = match &backend.provider {
        None => None,
        Some(name) => {
            let stored = gateway.store.provider_secret(name.as_str()).await?;
            let stored = stored.ok_or_else(|| ApiError::not_found("provider", name))?;
            Some(crate::providers::refresh::credential(gateway, &stored)?)
        }
    };
    let client =
        upstream::client(gateway.upstream_ca.as_deref()).map_err(|error| ApiError::internal(format!("{error}")))?;
    let mut request = client.get(format!("{}/models", backend.base_url.trim_end_matches('/')));
    request = match (backend.kind, &key) {
        (_, None) => request,
        (BackendKind::Anthropic, Some(key)) => request.header("x-api-key", key.as_str()),
        (BackendKind::Azure, Some(key)) => request.header("api-key", key.as_str()),
        (_, Some(key)) => request.bearer_auth(key.as_str()),
    };
    if backend.kind == BackendKind::Anthropic {
        request = request.header("anthropic-version", "2023-06-01");
    }
    let began = Instant::now();
    let answer = request.send().await;
    let took_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    let mut test = BackendTest { ok: false, status: None, took_ms, models: Vec::new(), problem: None };
    let response = match answer {
        Ok(response) => response,
        Err(error) => {
            // Whatever an error says of its request, it must not say the URL's or the headers' secrets.
            test.problem = Some(upstream::reason(&error.without_url()));
            return Ok(test);
        }
    };
    let status = response.status();
    test.status = Some(status.as_u16());
    test.problem = match status.as_u16() {
        200..=299 => None,
        401 | 403 => Some("it refused the key".to_owned()),
        404 => Some("it has no list of models there; the base URL may lack its version segment".to_owned()),
        300..=399 => Some("it redirects, and redirects are not followed".to_owned()),
        other => Some(format!("it answered {other}")),
    };
    test.ok = test.problem.is_none();
    if test.ok {
        test.models = models(response).await;
        if let Some(model) = &backend.model
            && !test.models.is_empty()
            && test.models.len() < NAMED
            && !test.models.contains(model)
        {
            test.problem = Some(format!("it does not list the model {model}"));
        }
    }
    Ok(test)
}

/// Ids of the models in an answer of either API.
async fn models(response: reqwest::Response) -> Vec<String> {
    let body = upstream::body(response, LONGEST_ANSWER).await.unwrap_or_default();
    let document: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
    let listed = document["data"].as_array().into_iter().flatten();
    listed.filter_map(|model| model["id"].as_str()).take(NAMED).map(str::to_owned).collect()
}
