//! Sends a request to a backend that is cleared for it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use openshell_api::inference::Backend;

use super::clearance::Cleared;
use super::refusal::full;
use super::service::{Body, BoxError};
use crate::http::{Permit, Upstreams, Versions};

/// A request, ready for one backend.
pub struct Outgoing {
    /// Path and query below the backend's base URL, such as `/chat/completions`.
    pub suffix: String,
    /// Every header it will carry, the backend's own key included.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

/// Carries requests to backends. Takes the proof of clearance: without it there is nothing to call. Follows no redirect.
#[async_trait::async_trait]
pub trait Transport: Send + Sync {
    /// Answers the response's head; its body streams. Dropping either gives the request up.
    async fn send(&self, cleared: Cleared<'_>, outgoing: Outgoing) -> Result<Response<Body>, BoxError>;

    /// Asks for the list of models, with nothing of any request in it, and answers the status. Needs no clearance.
    async fn models(&self, backend: &Backend, headers: HeaderMap) -> Result<StatusCode, BoxError>;
}

/// Over the sandbox's own pool of connections. The operator who wrote a backend's base URL granted its address.
pub struct Pooled(pub Arc<Upstreams>);

#[async_trait::async_trait]
impl Transport for Pooled {
    async fn send(&self, cleared: Cleared<'_>, outgoing: Outgoing) -> Result<Response<Body>, BoxError> {
        let base = cleared.backend().base_url.trim_end_matches('/');
        let (permit, scheme) = Permit::operator(base)?;
        let mut request = Request::post(format!("{base}{}", outgoing.suffix)).body(full(outgoing.body))?;
        *request.headers_mut() = outgoing.headers;
        Ok(self.0.send(&permit, scheme, versions(scheme), request).await?)
    }

    async fn models(&self, backend: &Backend, headers: HeaderMap) -> Result<StatusCode, BoxError> {
        let base = backend.base_url.trim_end_matches('/');
        let (permit, scheme) = Permit::operator(base)?;
        let mut request = Request::get(format!("{base}/models")).body(full(Bytes::new()))?;
        *request.headers_mut() = headers;
        request.headers_mut().remove(http::header::CONTENT_TYPE);
        Ok(self.0.send(&permit, scheme, versions(scheme), request).await?.status())
    }
}

/// HTTP/2 is negotiated over TLS and never presumed without it.
fn versions(scheme: openshell_policy_host::Scheme) -> Versions {
    match scheme {
        openshell_policy_host::Scheme::Https => Versions::Http2,
        openshell_policy_host::Scheme::Http => Versions::Http1,
    }
}

/// Longest a backend may be silent.
pub fn idle(cleared: Cleared<'_>) -> Duration {
    Duration::from_millis(cleared.backend().idle_timeout_ms.max(1))
}
