//! Request and response heads: what may pass, rather than what may not.

use http::header::{
    ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue,
    USER_AGENT,
};
use openshell_api::inference::{BackendKind, Sensitivity};
use openshell_inference_format::contract;
use openshell_inference_format::endpoint::{Dialect, Endpoint};

use super::refusal::{Cause, Refusal};

/// Feature switches of the two APIs. Everything else that the sandbox sent stays behind, credentials first of all.
const SWITCHES: &[&str] = &["anthropic-version", "anthropic-beta", "openai-beta"];

/// Headers for a backend's `operation`: made here, but for the [`SWITCHES`] that look like such.
pub fn for_backend(
    caller: &HeaderMap,
    kind: BackendKind,
    operation: Endpoint,
    stream: bool,
    key: Option<&str>,
) -> Result<HeaderMap, InvalidKey> {
    let mut headers = HeaderMap::new();
    for name in SWITCHES {
        for value in caller.get_all(*name).iter().filter(|v| is_switch(v)) {
            headers.append(HeaderName::from_static(name), value.clone());
        }
    }
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(ACCEPT, HeaderValue::from_static(if stream { "text/event-stream" } else { "application/json" }));
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    headers.insert(USER_AGENT, HeaderValue::from_static(concat!("openshell/", env!("CARGO_PKG_VERSION"))));
    if operation.dialect() == Dialect::Anthropic {
        headers.entry("anthropic-version").or_insert(HeaderValue::from_static("2023-06-01"));
    }
    if let Some(key) = key {
        let (name, text) = match kind {
            BackendKind::Openai | BackendKind::Ollama | BackendKind::Vllm | BackendKind::Compatible => {
                (AUTHORIZATION, format!("Bearer {key}"))
            }
            BackendKind::Azure => (HeaderName::from_static("api-key"), key.to_owned()),
            BackendKind::Anthropic => (HeaderName::from_static("x-api-key"), key.to_owned()),
        };
        let mut value = HeaderValue::try_from(text).map_err(|_| InvalidKey)?;
        value.set_sensitive(true);
        headers.insert(name, value);
    }
    Ok(headers)
}

/// A key that can't be written into a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("its key holds characters that no header can carry")]
pub struct InvalidKey;

/// `2023-06-01`, `prompt-caching-2024-07-31`, `assistants=v2`, listed: words and dates; never anything long enough, or with the
/// capitals or prefix, to be a key.
fn is_switch(value: &HeaderValue) -> bool {
    let Ok(text) = value.to_str() else { return false };
    text.split(',').map(str::trim).all(|item| {
        let words = item.split(['-', '=']).all(|word| {
            word.len() <= 24 && word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'.')
        });
        (1..=64).contains(&item.len()) && words && !item.starts_with("sk-")
    })
}

/// Of the caller's query only `beta=true` means anything to a backend; keys travel in queries too.
pub fn query(caller: Option<&str>) -> &'static str {
    if caller.is_some_and(|q| q.split('&').any(|pair| pair == "beta=true")) { "?beta=true" } else { "" }
}

/// Refuses bodies that would not be read: other types than JSON, and compressed ones.
pub fn check_body_kind(headers: &HeaderMap) -> Result<(), Refusal> {
    let kind = headers.get(CONTENT_TYPE).map(|v| v.to_str().unwrap_or_default().to_ascii_lowercase());
    let essence = kind.as_deref().and_then(|k| k.split(';').next()).map(str::trim);
    if essence.is_some_and(|e| e != "application/json") {
        return Err(Refusal::new(Cause::UnsupportedMediaType, "the body's content type is not application/json")
            .hint("send JSON with `content-type: application/json`"));
    }
    let encoded = headers.get_all("content-encoding").iter().any(|v| !v.as_bytes().eq_ignore_ascii_case(b"identity"));
    if encoded {
        return Err(Refusal::new(Cause::UnsupportedMediaType, "the body is compressed, and so could not be judged")
            .hint("send it without `content-encoding`"));
    }
    Ok(())
}

/// The sensitivity that the caller's label claims. Refuses a label that is none.
pub fn label(headers: &HeaderMap) -> Result<Sensitivity, Refusal> {
    let mut claimed = Sensitivity::Public;
    for value in headers.get_all("x-openshell-sensitivity") {
        let level = contract::parse(value.as_bytes()).ok_or_else(|| {
            Refusal::new(Cause::BadRequest, "x-openshell-sensitivity is not a sensitivity")
                .hint("use public, internal, confidential or restricted")
        })?;
        claimed = claimed.max(level);
    }
    Ok(claimed)
}

/// What of a backend's answer passes: not its framing, its cookies, where it would redirect, or what only this proxy says.
pub fn for_caller(backend: &HeaderMap) -> HeaderMap {
    const STAYS: &[&str] = &[
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "set-cookie",
        "location",
        "refresh",
        "alt-svc",
        "strict-transport-security",
        "www-authenticate",
    ];
    let mut headers = HeaderMap::with_capacity(backend.len() + 2);
    for (name, value) in backend {
        if !STAYS.contains(&name.as_str()) && !name.as_str().starts_with("x-openshell-") {
            headers.append(name.clone(), value.clone());
        }
    }
    if headers.get(CONTENT_TYPE).is_some_and(|v| v.as_bytes().starts_with(b"text/event-stream")) {
        // A stream that breaks off ends with an event of ours.
        headers.remove(CONTENT_LENGTH);
    }
    headers
}
