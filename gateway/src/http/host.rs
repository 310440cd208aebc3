//! Calls that need the machine that a sandbox runs on, answered by the gateway there: stopping, starting, deleting.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::body::Body;
use axum::extract::{MatchedPath, Request, State};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderMap, Method};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use super::call::Attempt;
use crate::error::{ApiResult, refuse};
use crate::gateway::Gateway;
use crate::identity::Source;
use crate::identity::tokens::ACCESS_HEADER;
use crate::replicas::Replicas;
use crate::store::Replica;

/// Shows a gateway's token beside the caller's own credentials.
const REPLICA: &str = "x-openshell-replica";
const FORWARDED_FOR: &str = "x-forwarded-for";
const MAX_BODY: usize = 64 * 1024;
const MAX_ANSWER: usize = 16 * 1024 * 1024;

/// The answer is another gateway's, which has accounted for it.
#[derive(Debug, Clone, Copy)]
pub(super) struct PassedOn;

/// Where a call comes from that another gateway passed on; `None`: none did.
pub(super) fn source(replicas: Option<&Replicas>, headers: &HeaderMap) -> Option<Source> {
    let token = headers.get(REPLICA)?.to_str().ok()?;
    replicas.filter(|replicas| replicas.knows(token))?;
    let address: IpAddr = headers.get(FORWARDED_FOR)?.to_str().ok()?.parse().ok()?;
    Some(Source::Address(address))
}

/// Passes a call on if another machine is needed for it.
pub(super) async fn pass_on(State(gateway): State<Arc<Gateway>>, request: Request, next: Next) -> Response {
    let path = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str).unwrap_or_default();
    let needs_it = matches!(
        (request.method(), path),
        (&Method::DELETE, "/v1/sandboxes/{name}")
            | (&Method::POST, "/v1/sandboxes/{name}/stop" | "/v1/sandboxes/{name}/start")
    );
    let (Some(replicas), true) = (&gateway.replicas, needs_it) else { return next.run(request).await };
    if source(Some(replicas), request.headers()).is_some() {
        return next.run(request).await;
    }
    let name = request.uri().path().split('/').nth(3).unwrap_or_default().to_owned();
    let deletes = request.method() == Method::DELETE;
    match elsewhere(&gateway, replicas, &name, deletes).await {
        Ok(None) => next.run(request).await,
        Ok(Some(there)) => match forward(replicas, &there, request).await {
            Ok(mut response) => {
                response.extensions_mut().insert(PassedOn);
                response
            }
            Err(error) => error.into_response(),
        },
        Err(error) => error.into_response(),
    }
}

/// The gateway that a sandbox runs beside, if that is another one.
async fn elsewhere(gateway: &Gateway, replicas: &Replicas, name: &str, deletes: bool) -> ApiResult<Option<Replica>> {
    let Some(row) = gateway.store.sandbox_named(name).await? else { return Ok(None) };
    let Some(host) = row.host.filter(|host| *host != replicas.me.id) else { return Ok(None) };
    match gateway.store.replica(&host).await? {
        Some(there) => Ok(Some(there)),
        // What is left on its machine goes when its gateway comes back.
        None if deletes => Ok(None),
        None => {
            Err(refuse(503, "machine_away", format!("the gateway on the machine of sandbox {name} does not answer"))
                .hint("start it again; the sandbox goes on enforcing what it has meanwhile"))
        }
    }
}

async fn forward(replicas: &Replicas, there: &Replica, request: Request) -> ApiResult<Response> {
    let failed = |error: &dyn std::fmt::Display| {
        refuse(502, "not_passed_on", format!("the gateway at {} could not be asked: {error}", there.url))
            .hint("ask again: whether it was done shows in `openshell sandbox get`")
    };
    let attempt = request.extensions().get::<Arc<Attempt>>().cloned();
    let source = attempt.as_ref().map(|attempt| attempt.source.to_string()).unwrap_or_default();
    let (parts, body) = request.into_parts();
    let body =
        axum::body::to_bytes(body, MAX_BODY).await.map_err(|error| refuse(413, "too_large", error.to_string()))?;
    let path = parts.uri.path_and_query().map(|path| path.as_str()).unwrap_or_default();
    let mut asked = replicas.client().request(parts.method, format!("{}{path}", there.url)).body(body);
    asked = asked.header(REPLICA, replicas.token()).header(FORWARDED_FOR, source);
    for name in [AUTHORIZATION.as_str(), ACCESS_HEADER, CONTENT_TYPE.as_str()] {
        for value in parts.headers.get_all(name) {
            asked = asked.header(name, value);
        }
    }
    let answer = asked.send().await.map_err(|error| failed(&crate::upstream::reason(&error)))?;
    let (status, headers) = (answer.status(), answer.headers().clone());
    let body = crate::upstream::body(answer, MAX_ANSWER).await.map_err(|error| failed(&error))?;
    let mut response = Response::new(Body::from(body.to_vec()));
    *response.status_mut() = status;
    for name in [CONTENT_TYPE, RETRY_AFTER] {
        if let Some(value) = headers.get(&name) {
            response.headers_mut().insert(name, value.clone());
        }
    }
    if let Some(attempt) = attempt {
        attempt.told.store(true, Ordering::Relaxed);
    }
    Ok(response)
}
