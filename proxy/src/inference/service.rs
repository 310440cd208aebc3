//! The seam between the proxy, which accepts `https://inference.local`, and the service that answers it.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::{BoxFuture, FutureExt as _, TryFutureExt as _};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Collected, Limited};

use crate::caller::Caller;

/// Why a body broke off.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Body of an answer; it may stream for hours.
pub type Body = UnsyncBoxBody<Bytes, BoxError>;

/// A body in memory. An error: it breaks off, or is longer than `most` bytes ([`LengthLimitError`](http_body_util::LengthLimitError)).
pub fn whole(body: Body, most: usize) -> BoxFuture<'static, Result<Bytes, BoxError>> {
    Limited::new(body, most).collect().map_ok(Collected::to_bytes).boxed()
}

/// The reserved name. Its requests are answered here and never meet the network policy.
pub const HOST: &str = "inference.local";

/// Answers requests to [`HOST`], whatever HTTP version and whichever path: every refusal is an answer too, in the
/// caller's own API dialect.
#[async_trait::async_trait]
pub trait Inference: Send + Sync {
    /// Answers one request. Dropping the answer's body gives up the request upstream as well.
    async fn serve(&self, caller: Arc<Caller>, request: http::Request<Body>) -> http::Response<Body>;
}
