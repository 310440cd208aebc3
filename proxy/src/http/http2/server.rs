//! A client's connection: each of its streams is a request, answered by a task of its own.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use h2::server::{Builder, SendResponse};
use h2::{Reason, RecvStream};
use http::header::{CONTENT_LENGTH, EXPECT, TE};
use http::{HeaderMap, Method, Request, Response};
use http_body::Body as _;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;

use super::body::{self, Received};
use super::{WINDOW, tunnel};
use crate::http::connection::{HANDSHAKE_TIMEOUT, MAX_HEAD};
use crate::http::headers;
use crate::http::interim::Interim;
use crate::http::settled::settled;
use crate::inference::Body;

/// Most streams at once.
const MAX_STREAMS: u32 = 256;
/// Between two questions whether the client is still there.
const PING_EVERY: Duration = Duration::from_secs(75);

/// Serves a connection to its end. `answer` finds an [`Interim`] in a request's extensions, and a [`tunnel::Promised`] in those
/// of a CONNECT. A request whose client takes it back is dropped, with all that answers it.
pub(in crate::http) async fn serve<S, A>(io: S, mut answer: impl FnMut(Request<Body>) -> A) -> Result<(), h2::Error>
where
    S: AsyncRead + AsyncWrite + Unpin,
    A: Future<Output = Response<Body>> + Send + 'static,
{
    let handshake = Builder::new()
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(MAX_HEAD as u32)
        .initial_window_size(WINDOW)
        .initial_connection_window_size(2 * WINDOW)
        .enable_connect_protocol()
        .handshake::<_, Bytes>(io);
    let Ok(connection) = timeout(HANDSHAKE_TIMEOUT, handshake).await else { return Ok(()) };
    let mut connection = connection?;
    let Some(pings) = connection.ping_pong() else { return Ok(()) };
    let mut gone = pin!(super::gone(pings, PING_EVERY, || true));
    loop {
        let accepted = tokio::select! {
            accepted = connection.accept() => accepted,
            () = &mut gone => return Ok(()),
        };
        let Some(accepted) = accepted else { return Ok(()) };
        let (request, reply) = accepted?;
        let stream = Stream::new(request, reply);
        tokio::spawn(settled(stream.serve(&mut answer)));
    }
}

/// One request, and the way back.
struct Stream {
    request: Request<Body>,
    reply: SendResponse<Bytes>,
    interim: Interim,
    /// It has no body to answer with.
    head_only: bool,
    promise: Option<tunnel::Promise>,
}

impl Stream {
    fn new(request: Request<RecvStream>, reply: SendResponse<Bytes>) -> Self {
        let interim = Interim::default();
        let (mut parts, received) = request.into_parts();
        parts.extensions.insert(interim.clone());
        let (body, promise) = if parts.method == Method::CONNECT {
            let (promise, promised) = tunnel::promise(received);
            parts.extensions.insert(promised);
            (Body::default(), Some(promise))
        } else {
            let body = Received::new(received, &parts.headers, ());
            (Body::new(continued(body, &parts.headers, &interim)), None)
        };
        let head_only = parts.method == Method::HEAD;
        Self { request: Request::from_parts(parts, body), reply, interim, head_only, promise }
    }

    fn serve<A>(self, answer: &mut impl FnMut(Request<Body>) -> A) -> impl Future<Output = ()> + Send + 'static
    where
        A: Future<Output = Response<Body>> + Send + 'static,
    {
        let Self { request, mut reply, interim, head_only, promise } = self;
        let answer = answer(request);
        async move {
            let mut answer = Box::pin(answer);
            let answered = poll_fn(|cx| {
                if let Poll::Ready(response) = answer.as_mut().poll(cx) {
                    return Poll::Ready(Some(response));
                }
                for head in interim.take() {
                    // Only a stream that is gone takes none, and that is told below.
                    let _ = reply.send_informational(head);
                }
                reply.poll_reset(cx).map(|_| None)
            });
            let answered = answered.await;
            drop(answer);
            let Some(response) = answered else { return };
            if let Err(error) = send(reply, response, head_only, promise).await {
                tracing::debug!(%error, "an HTTP/2 stream ended");
            }
        }
    }
}

/// A body that says 100 (Continue) when somebody begins to read it, where its client waits for that (RFC 9110 §10.1.1).
fn continued(body: Received<()>, headers: &HeaderMap, interim: &Interim) -> Received<()> {
    let waits = headers.get(EXPECT).is_some_and(|expect| expect.as_bytes().eq_ignore_ascii_case(b"100-continue"));
    if !waits || body.is_end_stream() {
        return body;
    }
    body.held_back(interim.clone())
}

async fn send(
    mut reply: SendResponse<Bytes>,
    response: Response<Body>,
    head_only: bool,
    promise: Option<tunnel::Promise>,
) -> Result<(), body::Unsent> {
    let (mut head, body) = response.into_parts();
    headers::strip_hop_by_hop(&mut head.headers);
    head.headers.remove(TE);
    let tunnel = promise.filter(|_| head.status.is_success());
    let ends = tunnel.is_none() && (head_only || body.is_end_stream());
    if tunnel.is_some() {
        head.headers.remove(CONTENT_LENGTH);
    } else if !body.is_end_stream() {
        body::declare_length(&mut head.headers, &body);
    }
    let sent = reply.send_response(Response::from_parts(head, ()), ends);
    let stream = sent.inspect_err(|_| reply.send_reset(Reason::INTERNAL_ERROR))?;
    match tunnel {
        Some(tunnel) => tunnel.keep(stream),
        None if ends => {}
        None => body::send(body, stream).await?,
    }
    Ok(())
}
