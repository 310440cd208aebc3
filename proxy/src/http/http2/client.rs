//! An upstream's connection, shared by all requests to it.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::task::noop_waker_ref;
use h2::Reason;
use h2::client::{Builder, ResponseFuture, SendRequest};
use http::{Method, Request, Response};
use http_body::Body as _;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::AbortOnDropHandle;

use super::WINDOW;
use super::again::{self, Again};
use super::body::{self, Received};
use crate::http::interim::Interim;
use crate::inference::Body;

/// Between two questions whether an upstream is still there, while it owes an answer. gRPC servers cut off whoever asks more
/// often than every five minutes (gRPC proposal A8).
const PING_EVERY: Duration = Duration::from_secs(310);

/// A connection that takes requests. Cheap to clone; ends, once what it has begun is done, when the last clone is dropped.
#[derive(Clone)]
pub(in crate::http) struct Requests {
    requests: SendRequest<Bytes>,
    open: Arc<AtomicUsize>,
    _held: Arc<DropGuard>,
}

/// Why a request got no answer.
pub(in crate::http) enum Unanswered {
    /// Nothing was done of it: it was not sent, or the upstream says so.
    Undone(Request<Body>),
    /// Something may have been.
    Failed(h2::Error),
}

impl Unanswered {
    /// Nothing was done of the request; unless it can't be sent again, that it failed is all there is to say.
    fn undone(again: Again, error: h2::Error) -> Self {
        again.request().map_or(Self::Failed(error), Self::Undone)
    }
}

/// Counts a stream as open, as long as it lives.
struct Open(Arc<AtomicUsize>);

impl Open {
    fn new(open: &Arc<AtomicUsize>) -> Self {
        open.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(open))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Requests {
    /// Begins a connection; a task of its own drives it.
    pub(in crate::http) async fn begin<S>(io: S) -> Result<Self, h2::Error>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let handshake = Builder::new()
            .enable_push(false)
            .initial_window_size(WINDOW)
            .initial_connection_window_size(2 * WINDOW)
            .handshake::<_, Bytes>(io);
        let (requests, mut connection) = handshake.await?;
        let pings = connection.ping_pong();
        let open = Arc::<AtomicUsize>::default();
        let forgotten = CancellationToken::new();
        let held = Arc::new(forgotten.clone().drop_guard());
        let owes = Arc::clone(&open);
        tokio::spawn(async move {
            let gone = async {
                match pings {
                    Some(pings) => super::gone(pings, PING_EVERY, || owes.load(Ordering::Relaxed) > 0).await,
                    None => std::future::pending().await,
                }
            };
            let ended = tokio::select! {
                ended = &mut connection => ended,
                () = gone => return tracing::debug!("an upstream answers no ping"),
                // Polled again, it sees that nobody will ask any more.
                () = forgotten.cancelled() => connection.await,
            };
            if let Err(error) = ended {
                tracing::debug!(%error, "an upstream HTTP/2 connection ended");
            }
        });
        Ok(Self { requests, open, _held: held })
    }

    /// Whether it takes no more requests.
    pub(in crate::http) fn is_closed(&self) -> bool {
        matches!(self.requests.clone().poll_ready(&mut Context::from_waker(noop_waker_ref())), Poll::Ready(Err(_)))
    }

    /// Sends a request; what comes before its answer goes to `interim`. Dropped before there is one, or with its answer's
    /// body, it takes the request back.
    pub(in crate::http) async fn exchange(
        self,
        request: Request<Body>,
        interim: Option<Interim>,
    ) -> Result<Response<Body>, Unanswered> {
        let open = Open::new(&self.open);
        let Ok(mut requests) = self.requests.ready().await else { return Err(Unanswered::Undone(request)) };
        let (mut head, body) = request.into_parts();
        let ends = body.is_end_stream();
        if !ends || matches!(head.method, Method::POST | Method::PUT | Method::PATCH) {
            body::declare_length(&mut head.headers, &body);
        }
        let (body, again) = again::keep(&head, body);
        let sent = requests.send_request(Request::from_parts(head, ()), ends);
        let (response, stream) = match sent {
            Ok(sent) => sent,
            // The connection ended just now: the request has not become a stream of it.
            Err(error) if error.is_go_away() || error.is_io() => return Err(Unanswered::undone(again, error)),
            Err(error) => return Err(Unanswered::Failed(error)),
        };
        let upload = if ends { None } else { begin(body::send(body, stream)) };
        let response = match answer(response, interim).await {
            Ok(response) => response,
            Err(error) if undone(&error) => {
                drop(upload);
                return Err(Unanswered::undone(again, error));
            }
            Err(error) => return Err(Unanswered::Failed(error)),
        };
        again.forget();
        // An answer may come, and end, before the request has; that ends by itself.
        if let Some(upload) = upload {
            upload.detach();
        }
        let (head, stream) = response.into_parts();
        let body = Received::new(stream, &head.headers, open);
        Ok(Response::from_parts(head, Body::new(body)))
    }
}

/// Whether an upstream has done nothing of a request, and may be sent it again (RFC 9113 §8.7): it says so of a stream, or of all
/// after the last that it took.
fn undone(error: &h2::Error) -> bool {
    let refused = error.is_reset() && error.reason() == Some(Reason::REFUSED_STREAM);
    error.is_remote() && (refused || error.is_go_away())
}

/// Sends what is there at once; the rest is another task's, for an answer may need it, and it an answer.
fn begin(upload: impl Future<Output = Result<(), body::Unsent>> + Send + 'static) -> Option<AbortOnDropHandle<()>> {
    let mut upload = Box::pin(async {
        if let Err(error) = upload.await {
            tracing::debug!(%error, "a request's body was not sent");
        }
    });
    match upload.as_mut().now_or_never() {
        Some(()) => None,
        None => Some(AbortOnDropHandle::new(tokio::spawn(upload))),
    }
}

async fn answer(mut response: ResponseFuture, interim: Option<Interim>) -> Result<Response<h2::RecvStream>, h2::Error> {
    poll_fn(|cx| {
        while let Poll::Ready(Some(head)) = response.poll_informational(cx) {
            let head = head?;
            if let Some(interim) = &interim {
                interim.hint(head.status(), head.headers());
            }
        }
        Pin::new(&mut response).poll(cx)
    })
    .await
}
