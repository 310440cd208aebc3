//! WebSockets (RFC 6455): judged as a request, then relayed frame by frame until a new generation denies them. One that is
//! a stream of an HTTP/2 connection (RFC 8441) is the same upgrade to policies and to the upstream.

use std::io::{self, Cursor};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use h2::ext::Protocol;
use http::header::{CONNECTION, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use hyper::client::conn::http1;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use openshell_policy_host::Scheme;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::handshake::client::generate_key;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::frame::FrameHeader;
use tokio_util::sync::CancellationToken;

use super::headers;
use super::http2::tunnel;
use super::judge::Lasting;
use super::refusal::Refusal;
use super::serve::{Judged, respond, unsent};
use super::session::Session;
use super::upstream::{UpstreamError, boxed, broke_off, destination};
use crate::inference::Body;

const BUFFER: usize = 16 * 1024;
const FAREWELL: Duration = Duration::from_secs(2);
/// Close, code 1008 (policy violation), unmasked as a server's frames are.
const CLOSE_1008: &[u8] = b"\x88\x1e\x03\xf0denied by the new generation";

/// The client's side of a WebSocket: what it becomes when the answer is a yes.
pub(super) enum Client {
    /// A connection of HTTP/1.1.
    Connection(OnUpgrade),
    /// A stream of an HTTP/2 connection.
    Stream(tunnel::Promised),
}

impl Client {
    /// Whoever asks for a WebSocket in HTTP/1.1.
    pub(super) fn upgrading(request: &mut Request<Body>) -> Option<Self> {
        headers::is_websocket(request).then(|| Self::Connection(hyper::upgrade::on(request)))
    }

    /// Relays between it and the upstream, once the client has been answered.
    async fn relay(self, upstream: OnUpgrade, cut: &CancellationToken) {
        let Ok(upstream) = upstream.await else { return };
        let _ = match self {
            Self::Connection(upgrade) => match upgrade.await {
                Ok(client) => relay(TokioIo::new(client), upstream, cut).await,
                Err(_) => return,
            },
            Self::Stream(promised) => match promised.tunnel().await {
                Some(client) => relay(client, upstream, cut).await,
                None => return,
            },
        };
    }
}

/// Writes an extended CONNECT for a WebSocket (RFC 8441 §5) as the upgrade of HTTP/1.1 that it stands for. Answers its stream,
/// if it was one.
pub(super) fn from_stream(request: &mut Request<Body>) -> Option<tunnel::Promised> {
    let asked = request.extensions().get::<Protocol>().is_some_and(|protocol| protocol.as_str() == "websocket");
    if !asked || *request.method() != Method::CONNECT {
        return None;
    }
    let promised = request.extensions_mut().remove::<tunnel::Promised>()?;
    *request.method_mut() = Method::GET;
    let headers = request.headers_mut();
    headers.entry(SEC_WEBSOCKET_VERSION).or_insert(HeaderValue::from_static("13"));
    // A key is base64 of 16 bytes.
    if let Ok(key) = HeaderValue::try_from(generate_key()) {
        headers.insert(SEC_WEBSOCKET_KEY, key);
    }
    Some(promised)
}

/// Says that a message changes its connection to a WebSocket, in the words of HTTP/1.1.
pub(super) fn mark(headers: &mut HeaderMap) {
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
}

/// Sends the upgrade on a connection of its own; when the upstream agrees, relays until either side ends or it is cut.
pub(super) async fn serve(
    session: &Arc<Session>,
    scheme: Scheme,
    judged: Judged,
    mut outgoing: Request<Body>,
    client: Client,
) -> Result<Response<Body>, Refusal> {
    let stream = matches!(client, Client::Stream(_));
    let headers = outgoing.headers_mut();
    // Nobody else checks it for a client that sent no key.
    let accept = stream.then(|| headers.get(SEC_WEBSOCKET_KEY).map(|key| derive_accept_key(key.as_bytes()))).flatten();
    let (mut response, address) = match send(session, scheme, &judged, outgoing).await {
        Ok(sent) => sent,
        Err(error) => return Err(unsent(session, judged, &error)),
    };
    let switched = response.status() == StatusCode::SWITCHING_PROTOCOLS;
    if let Some(accept) = accept {
        let answered = response.headers_mut().remove(SEC_WEBSOCKET_ACCEPT);
        let accepted = answered.is_some_and(|answered| answered.as_bytes() == accept.as_bytes());
        // Any success would tell the client that its WebSocket stands.
        if (switched && !accepted) || response.status().is_success() {
            let destination = destination(&judged.permit);
            return Err(unsent(session, judged, &UpstreamError::Accept { destination }));
        }
    }
    if !switched {
        return respond(session, judged, response, address);
    }
    let upstream = hyper::upgrade::on(&mut response);
    let (facts, view, generation) = (judged.facts.clone(), Arc::clone(&judged.view), judged.decide.generation());
    let mut response = respond(session, judged, response, address)?;
    if stream {
        *response.status_mut() = StatusCode::OK;
    } else {
        mark(response.headers_mut());
    }

    let (registry, enforced) = (&session.proxy.registry, &*session.proxy.enforced);
    let lasting = Lasting { request: Some((facts, view)), inspection: None, address };
    let registration = registry.register(&session.facts, lasting, generation, enforced);
    session.proxy.spawn(async move {
        client.relay(upstream, registration.cut()).await;
        drop(registration);
    });
    Ok(response)
}

async fn send(
    session: &Session,
    scheme: Scheme,
    judged: &Judged,
    outgoing: Request<Body>,
) -> Result<(Response<Body>, IpAddr), UpstreamError> {
    let permit = &judged.permit;
    let http = |error: hyper::Error| broke_off(permit, error);
    let io = session.proxy.upstreams.connect_alone(permit, scheme).await?;
    let address = io.address();
    let (mut sender, connection) = http1::handshake(TokioIo::new(io)).await.map_err(http)?;
    session.proxy.spawn(async move {
        let _ = connection.with_upgrades().await;
    });
    Ok((sender.send_request(outgoing).await.map_err(http)?.map(boxed), address))
}

/// Ends when either side has ended its stream, or with a close frame to the client when it is cut.
async fn relay<C>(client: C, upstream: Upgraded, cut: &CancellationToken) -> io::Result<()>
where
    C: AsyncRead + AsyncWrite,
{
    let (mut from_client, mut to_client) = tokio::io::split(client);
    let (mut from_upstream, mut to_upstream) = tokio::io::split(TokioIo::new(upstream));
    let upwards = async {
        let mut buffer = vec![0; BUFFER];
        loop {
            let count = from_client.read(&mut buffer).await?;
            if count == 0 {
                return to_upstream.shutdown().await;
            }
            to_upstream.write_all(&buffer[..count]).await?;
            to_upstream.flush().await?;
        }
    };
    let mut frames = Frames::default();
    let downwards = async {
        let mut buffer = vec![0; BUFFER];
        loop {
            let count = from_upstream.read(&mut buffer).await?;
            if count == 0 {
                return to_client.shutdown().await;
            }
            frames.interrupted = true;
            to_client.write_all(&buffer[..count]).await?;
            to_client.flush().await?;
            frames.interrupted = false;
            frames.advance(&buffer[..count]);
        }
    };
    let was_cut = tokio::select! {
        () = cut.cancelled() => true,
        result = async { tokio::try_join!(upwards, downwards) } => return result.map(|_| ()),
    };
    if was_cut && frames.at_boundary() {
        let farewell = async {
            to_client.write_all(CLOSE_1008).await?;
            to_client.shutdown().await
        };
        let _ = timeout(FAREWELL, farewell).await;
    }
    Ok(())
}

/// Where in the frames of one direction a relay stands.
#[derive(Default)]
struct Frames {
    /// Bytes of a header that is not complete yet.
    header: Vec<u8>,
    /// Payload bytes still to come.
    payload: u64,
    /// A write was under way: what reached the client is unknown.
    interrupted: bool,
    /// It stopped being WebSocket.
    lost: bool,
}

impl Frames {
    fn advance(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() && !self.lost {
            if self.payload > 0 {
                let skipped = usize::try_from(self.payload).unwrap_or(usize::MAX).min(bytes.len());
                self.payload -= skipped as u64;
                bytes = &bytes[skipped..];
                continue;
            }
            self.header.push(bytes[0]);
            bytes = &bytes[1..];
            match FrameHeader::parse(&mut Cursor::new(&self.header)) {
                Ok(None) => {}
                Ok(Some((_, length))) => {
                    self.payload = length;
                    self.header.clear();
                }
                Err(_) => self.lost = true,
            }
        }
    }

    fn at_boundary(&self) -> bool {
        !self.lost && !self.interrupted && self.payload == 0 && self.header.is_empty()
    }
}
