//! `Idempotency-Key`: a POST that takes effect once, however often it is sent. Whoever lost the answer, or never got one, asks again
//! with the same key and hears what came of the first.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::body::{Body, Bytes};
use axum::extract::{MatchedPath, Request, State};
use axum::http::header::{CONTENT_TYPE, ETAG, RETRY_AFTER};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use openshell_api::page::{IDEMPOTENCY_KEY, IDEMPOTENCY_REPLAYED};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::call::{Attempt, identified};
use crate::error::{ApiError, ApiResult, Code, refuse};
use crate::gateway::Gateway;
use crate::identity::Principal;
use crate::secrets::answer;
use crate::store::{CallHash, CallState};

/// Longest key.
const MAX_KEY: usize = 255;
/// Longest body of a call with a key, in bytes: that of a module.
const MAX_BODY: usize = 64 * 1024 * 1024;
/// How long an answer is kept, in milliseconds.
const KEPT_MS: i64 = 24 * 60 * 60 * 1000;
/// How long a call may run, in milliseconds: one that has not ended by then is not waited for any more.
const RUNS_MS: i64 = 15 * 60 * 1000;
/// When to ask again for what runs still, in seconds.
const RETRY_S: u64 = 1;

/// An answer as it is kept.
#[derive(Serialize, Deserialize)]
struct Kept {
    status: u16,
    content_type: Option<String>,
    etag: Option<String>,
    retry_after: Option<String>,
    /// Code of the problem, if it is one.
    code: Option<String>,
    body: String,
}

/// Lets a POST through once for each key, and answers the others.
pub(super) async fn once(State(gateway): State<Arc<Gateway>>, request: Request, next: Next) -> Response {
    let begun = request.method() == Method::POST && request.extensions().get::<MatchedPath>().is_some();
    let key = match key(request.headers()) {
        Ok(Some(key)) if begun => key,
        Err(refused) if begun => return refused.into_response(),
        _ => return next.run(request).await,
    };
    with_key(gateway, &key, request, next).await.unwrap_or_else(ApiError::into_response)
}

/// The key that a request bears. Refuses one that could be mistaken for another.
fn key(headers: &HeaderMap) -> ApiResult<Option<String>> {
    let bad = |detail: &str| {
        refuse(400, "bad_idempotency_key", detail)
            .hint("send one key of 1 to 255 visible ASCII characters, such as a UUID")
    };
    let mut values = headers.get_all(IDEMPOTENCY_KEY).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(bad("there are several idempotency keys"));
    }
    let text = value.to_str().unwrap_or_default();
    let fine = (1..=MAX_KEY).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
    if fine {
        Ok(Some(text.to_owned()))
    } else {
        Err(bad("the idempotency key is empty, too long, or has other characters"))
    }
}

async fn with_key(gateway: Arc<Gateway>, key: &str, request: Request, next: Next) -> ApiResult<Response> {
    let (parts, body) = request.into_parts();
    let (principal, attempt) = identified(&parts, &gateway).await?;
    let Principal::User(caller) = principal else {
        // It may not call what a key is for; whoever checks permission says so.
        return Ok(next.run(Request::from_parts(parts, body)).await);
    };
    let body = read(body).await?;
    let target = parts.uri.path_and_query().map(|target| target.as_str()).unwrap_or_default();
    let call = hash(&[caller.user.as_bytes(), key.as_bytes()]);
    let asked = hash(&[parts.method.as_str().as_bytes(), target.as_bytes(), &body]);
    let now = jiff::Timestamp::now().as_millisecond();
    match gateway.store.begin_call(&call, &asked, now, now + RUNS_MS).await? {
        CallState::Begun => {}
        CallState::Other => {
            return Err(refuse(422, "idempotency_key_reused", "another request was sent with that idempotency key")
                .hint("a key is for one request and what repeats it: make a new one"));
        }
        CallState::Running => {
            let mut refused = refuse(409, "still_running", "the request with that idempotency key is not answered yet")
                .hint("wait, then send the same request again for its answer");
            refused.0.retry_after_s = Some(RETRY_S);
            return Err(refused);
        }
        CallState::Answered(sealed) => {
            gateway.store.adopt().await?;
            return replayed(&gateway, &call, &sealed, &attempt);
        }
    }
    // To the end even if the caller hangs up: it will come back for the answer.
    let request = Request::from_parts(parts, Body::from(body));
    tokio::spawn(async move { carry_out(&gateway, &call, request, next).await }).await?
}

async fn carry_out(gateway: &Gateway, call: &CallHash, request: Request, next: Next) -> ApiResult<Response> {
    let (parts, body) = next.run(request).await.into_parts();
    let body = body.collect().await.map_err(ApiError::internal)?.to_bytes();
    match is_kept(parts.status) {
        true => {
            let header = |name| parts.headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
            let kept = Kept {
                status: parts.status.as_u16(),
                content_type: header(CONTENT_TYPE),
                etag: header(ETAG),
                retry_after: header(RETRY_AFTER),
                code: parts.extensions.get::<Code>().map(|code| code.0.clone()),
                body: String::from_utf8_lossy(&body).into_owned(),
            };
            keep(gateway, call, &serde_json::to_vec(&kept)?).await?;
        }
        false => gateway.store.forget_claim(call).await?,
    }
    Ok(Response::from_parts(parts, Body::from(body)))
}

/// Keeps an answer under the gateway's key: once more if that has turned meanwhile, here or in another gateway.
async fn keep(gateway: &Gateway, call: &CallHash, answer: &[u8]) -> ApiResult<()> {
    let until = jiff::Timestamp::now().as_millisecond() + KEPT_MS;
    loop {
        let key = gateway.signing.key();
        let sealed = answer::seal(&key, call, answer)?;
        let sealed = sealed.ok_or_else(|| ApiError::internal("an answer can't be encrypted"))?;
        let keeping = async {
            gateway.store.keep_answer(call, &sealed, until).await?;
            gateway.store.adopt().await
        };
        if let Err(error) = keeping.await {
            // It took effect; who asks again hears that it runs still, and does nothing twice.
            tracing::error!(%error, "an answer could not be kept for its idempotency key");
            return Ok(());
        }
        if gateway.signing.key() == key {
            return Ok(());
        }
    }
}

/// Whether an answer stands. Those that only say "not now" or "not you" do not: nothing was tried.
fn is_kept(status: StatusCode) -> bool {
    !matches!(
        status,
        StatusCode::UNAUTHORIZED
            | StatusCode::FORBIDDEN
            | StatusCode::REQUEST_TIMEOUT
            | StatusCode::PAYLOAD_TOO_LARGE
            | StatusCode::TOO_MANY_REQUESTS
            | StatusCode::SERVICE_UNAVAILABLE
    )
}

fn replayed(gateway: &Gateway, call: &CallHash, sealed: &[u8], attempt: &Attempt) -> ApiResult<Response> {
    // Sealed with the key before until that has been done anew.
    let keys = std::iter::once(gateway.signing.key()).chain(gateway.signing.left_over());
    let kept = keys.into_iter().find_map(|key| answer::unseal(&key, call, sealed));
    let kept = kept.and_then(|kept| serde_json::from_slice::<Kept>(&kept).ok());
    let kept = kept.ok_or_else(|| {
        refuse(
            409,
            "answer_lost",
            "the request with that idempotency key was answered, and its answer can't be read any more",
        )
        .hint("look at what it was to change; for another request, make a new key")
    })?;
    // The first one was written down.
    attempt.told.store(true, Ordering::Relaxed);
    let status = StatusCode::from_u16(kept.status).map_err(ApiError::internal)?;
    let mut response = (status, kept.body).into_response();
    let headers = response.headers_mut();
    headers.remove(CONTENT_TYPE);
    for (name, value) in [(CONTENT_TYPE, kept.content_type), (ETAG, kept.etag), (RETRY_AFTER, kept.retry_after)] {
        if let Some(value) = value.and_then(|value| HeaderValue::from_str(&value).ok()) {
            headers.insert(name, value);
        }
    }
    headers.insert(IDEMPOTENCY_REPLAYED, HeaderValue::from_static("true"));
    if let Some(code) = kept.code {
        response.extensions_mut().insert(Code(code));
    }
    Ok(response)
}

async fn read(body: Body) -> ApiResult<Bytes> {
    match Limited::new(body, MAX_BODY).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => {
            Err(refuse(413, "too_large", format!("the body has more than {MAX_BODY} bytes")))
        }
        Err(error) => Err(refuse(400, "upload_broken", format!("the body ended early: {error}"))),
    }
}

/// Of parts whose lengths count.
fn hash(parts: &[&[u8]]) -> CallHash {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_one_word() {
        let check = |sent: &[&[u8]], expected: Result<Option<&str>, ()>| {
            let mut headers = HeaderMap::new();
            for value in sent {
                headers.append(IDEMPOTENCY_KEY, HeaderValue::from_bytes(value).unwrap());
            }
            assert_eq!(key(&headers).map_err(drop), expected.map(|key| key.map(str::to_owned)), "{sent:?}");
        };
        check(&[], Ok(None));
        check(&[b"8e03978e-40d5-43e8-bc93-6894a57f9324"], Ok(Some("8e03978e-40d5-43e8-bc93-6894a57f9324")));
        check(&[b""], Err(()));
        check(&[b"two words"], Err(()));
        check(&[b"\xff"], Err(()));
        check(&[b"a", b"b"], Err(()));
        check(&[&[b'a'; 255]], Ok(Some(&"a".repeat(255))));
        check(&[&[b'a'; 256]], Err(()));
    }

    #[test]
    fn parts_are_not_mistaken_for_each_other() {
        assert_ne!(hash(&[b"ab", b"c"]), hash(&[b"a", b"bc"]));
        assert_eq!(hash(&[b"ab", b"c"]), hash(&[b"ab", b"c"]));
    }
}
