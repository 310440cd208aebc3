//! What happens around every call: where it comes from is found out, pages of other origins are refused, and what is refused or changed
//! has its place in the audit trail.

use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};

use axum::extract::{MatchedPath, Request, State};
use axum::http::header::{HOST, ORIGIN, UPGRADE};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use serde_json::json;

use super::call::Attempt;
use super::host::PassedOn;
use super::{actions, host};
use crate::audit::Change;
use crate::error::{ApiError, Code, refuse};
use crate::gateway::Gateway;
use crate::identity::Source;

/// Longest name of what a refused call was about.
const MAX_OBJECT: usize = 200;

/// Where a connection comes from; the listener says so.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer(pub Source);

/// Accounts for a call.
pub(super) async fn account(State(gateway): State<Arc<Gateway>>, mut request: Request, next: Next) -> Response {
    let Some(Peer(peer)) = request.extensions().get::<Peer>().copied() else {
        return ApiError::internal("a connection without a peer").into_response();
    };
    let passed_on = host::source(gateway.replicas.as_ref(), request.headers());
    let source = passed_on.unwrap_or_else(|| gateway.identities.source(peer, request.headers()));
    let attempt = Arc::new(Attempt { source, caller: OnceLock::new(), told: Arc::default() });
    request.extensions_mut().insert(attempt.clone());
    let path = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
    let action =
        path.as_deref().and_then(|path| actions::of(request.method(), path)).filter(|action| *action != "read");
    let object = path.as_deref().map(|template| object(template, request.uri().path())).unwrap_or_default();
    let response = match same_origin(&request) {
        Ok(()) => next.run(request).await,
        Err(refused) => refused.into_response(),
    };
    match response.status() {
        StatusCode::UNAUTHORIZED => gateway.metrics.refused("unknown"),
        StatusCode::FORBIDDEN => gateway.metrics.refused("forbidden"),
        StatusCode::TOO_MANY_REQUESTS => gateway.metrics.refused("too_many"),
        _ => {}
    }
    if let Some(action) = action.filter(|_| response.extensions().get::<PassedOn>().is_none()) {
        let code = response.extensions().get::<Code>().map(|code| code.0.clone()).unwrap_or_default();
        tell(&gateway, &attempt, action, object, (response.status(), code)).await;
    }
    response
}

/// Writes down what was refused, and what was changed if nothing has said so yet.
async fn tell(
    gateway: &Gateway,
    attempt: &Attempt,
    action: &str,
    object: String,
    (status, code): (StatusCode, String),
) {
    let caller = attempt.caller.get();
    let refused = status.is_client_error() || status.is_server_error();
    if !refused && attempt.told.load(Ordering::Relaxed) {
        return;
    }
    let mut change = Change::new(caller.cloned(), action, object);
    if refused {
        // A flood of attempts must not fill the disk: how many there were is told by the next one that is written down.
        let Some(untold) = gateway.identities.tells(caller.map(Arc::as_ref), attempt.source) else { return };
        let mut detail = json!({ "status": status.as_u16(), "code": code });
        if untold > 0 {
            detail["untold"] = untold.into();
        }
        change = change.detail(detail).refused(Some(attempt.source.to_string()));
    }
    if let Err(error) = gateway.store.tell(&change).await {
        tracing::error!(action, %error, "an entry of the audit trail could not be written");
    }
}

/// What a call is about: the first part of its path that its template leaves open.
fn object(template: &str, path: &str) -> String {
    let open = template.split('/').zip(path.split('/')).find(|(template, _)| template.starts_with('{'));
    open.map(|(_, part)| part.chars().take(MAX_OBJECT).collect()).unwrap_or_default()
}

/// Refuses changes and WebSockets that a browser makes for a page of another origin. No page is the gateway's own; a browser says on
/// whose behalf it acts, and behind Cloudflare Access it would be let in for its user.
fn same_origin(request: &Request) -> Result<(), ApiError> {
    let safe = matches!(*request.method(), Method::GET | Method::HEAD) && !request.headers().contains_key(UPGRADE);
    let Some(origin) = request.headers().get(ORIGIN).filter(|_| !safe) else { return Ok(()) };
    let host = host(request.headers()).or_else(|| request.uri().authority().map(|authority| authority.as_str()));
    let origin = origin.to_str().unwrap_or_default();
    let own = origin.strip_prefix("https://").filter(|origin| Some(*origin) == host);
    match own {
        Some(_) => Ok(()),
        None => Err(refuse(403, "cross_origin", format!("pages of {origin:?} can't change anything here"))
            .hint("call the API from a program, or from a page of the gateway's own origin")),
    }
}

fn host(headers: &HeaderMap) -> Option<&str> {
    headers.get(HOST)?.to_str().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_about_what_their_template_leaves_open() {
        let check = |template: &str, path: &str, expected: &str| assert_eq!(object(template, path), expected);
        check("/v1/sandboxes", "/v1/sandboxes", "");
        check("/v1/sandboxes/{name}/stop", "/v1/sandboxes/demo/stop", "demo");
        check("/v1/proposals/{id}/approve", "/v1/proposals/01J/approve", "01J");
    }

    #[test]
    fn pages_of_other_origins_change_nothing() {
        let check = |method: &str, upgrade: bool, origin: Option<&str>, expected: bool| {
            let mut request = axum::http::Request::builder().method(method).uri("/").header(HOST, "gateway.test:7443");
            if upgrade {
                request = request.header(UPGRADE, "websocket");
            }
            if let Some(origin) = origin {
                request = request.header(ORIGIN, origin);
            }
            let request = request.body(axum::body::Body::empty()).unwrap();
            assert_eq!(same_origin(&request).is_ok(), expected, "{method} {upgrade} {origin:?}");
        };
        check("POST", false, None, true);
        check("POST", false, Some("https://gateway.test:7443"), true);
        check("POST", false, Some("https://evil.test"), false);
        check("POST", false, Some("http://gateway.test:7443"), false);
        check("POST", false, Some("null"), false);
        check("DELETE", false, Some("https://evil.test"), false);
        check("GET", false, Some("https://evil.test"), true);
        check("GET", true, Some("https://evil.test"), false);
        check("GET", true, Some("https://gateway.test:7443"), true);
    }
}
