//! One accepted connection: who, where to, may it; then which protocol it speaks.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use http::{Method, Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::upgrade::Upgraded;
use hyper_util::rt::{TokioIo, TokioTimer};
use openshell_api::decision::Stage;
use openshell_policy_host::{Capture, Inspection, Scheme};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::LazyConfigAcceptor;

use super::Proxy;
use super::destination::{Destination, canonical_host};
use super::distrust::{Fresh, Shown};
use super::form::Form;
use super::interim::{Interim, WithInterim};
use super::judge::Lasting;
use super::peek::{self, Protocol, classify};
use super::permit::{Permit, default_port};
use super::refusal::{Cause, Refusal, empty};
use super::relay::{self, Severable};
use super::serve::{answer, unreachable};
use super::session::Session;
use super::stream::{Prefixed, UpstreamIo};
use super::upstream::{boxed, lock};
use crate::caller::{Attribution, Caller, Intended};
use crate::inference::Body;

/// A client that has said nothing for so long may be waiting for the server to speak first.
const SILENCE: Duration = Duration::from_millis(200);
/// Longest wait for first bytes that tell the protocol, for a TLS handshake, and for HTTP/2's preface.
pub(super) const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(30);
/// Longest wait for a complete request head, the idle time before it included.
const HEAD_TIMEOUT: Duration = Duration::from_secs(75);
/// Longest request head, in bytes (in HTTP/2 as RFC 9113 §10.5.1 counts them); beyond it the answer is 431.
pub(super) const MAX_HEAD: usize = 64 * 1024;

/// Serves an accepted connection to its end.
pub(super) async fn serve(proxy: Arc<Proxy>, stream: TcpStream, peer: SocketAddr) {
    let Ok(local) = stream.local_addr() else { return };
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let io = Prefixed::new(stream);
    match proxy.attribution.attribute(peer, local).await {
        Some(Attribution { caller, intended: Some(intended) }) => {
            Box::pin(transparent(proxy, io, caller, intended)).await;
        }
        Some(Attribution { caller, intended: None }) => Box::pin(explicit(proxy, io, Some(caller))).await,
        None => Box::pin(explicit(proxy, io, None)).await,
    }
}

/// A connection that was caught on its way elsewhere.
async fn transparent(proxy: Arc<Proxy>, io: Prefixed<TcpStream>, caller: Arc<Caller>, intended: Intended) {
    let Some(host) = canonical_host(&intended.host) else { return };
    let session = Session::new(&proxy, Some(&caller), &host, intended.port, Capture::Transparent);
    let permit = if session.local().is_some() { None } else { session.permit(&*proxy.enforced.now()).ok() };
    tunnel(session, io, permit, None).await;
}

/// A program that speaks to the proxy on purpose: CONNECT, or requests in absolute form.
async fn explicit(proxy: Arc<Proxy>, io: Prefixed<TcpStream>, caller: Option<Arc<Caller>>) {
    let last: Mutex<Option<Arc<Session>>> = Mutex::default();
    let service = service_fn(|request: Request<Incoming>| {
        let (proxy, caller, last) = (&proxy, caller.as_ref(), &last);
        async move {
            let form = Form::of(request.headers());
            let answered = if *request.method() == Method::CONNECT {
                Box::pin(connect(proxy, caller, request)).await
            } else {
                forward(proxy, caller, last, request.map(boxed)).await
            };
            Ok::<_, Infallible>(answered.unwrap_or_else(|refusal| refusal.answer(&form)))
        }
    });
    let served = http1_builder().half_close(true).serve_connection(TokioIo::new(io), service).with_upgrades().await;
    if let Err(error) = served {
        tracing::debug!(%error, "a connection to the proxy ended");
    }
}

/// `CONNECT host:port`. Opaque grants are dialled before the answer, so that a failure is an answer too.
async fn connect(
    proxy: &Arc<Proxy>,
    caller: Option<&Arc<Caller>>,
    mut request: Request<Incoming>,
) -> Result<Response<Body>, Refusal> {
    let authority = request.uri().authority().map_or("", |authority| authority.as_str());
    let destination = Destination::parse(authority);
    let named = |host: &str, port| Session::new(proxy, caller, host, port, Capture::Tunnel);
    let (host, port) = match &destination {
        Ok(Destination { host, port: Some(port) }) => (host.as_str(), *port),
        _ => return Err(malformed(&named("", 0), format!("CONNECT needs host:port, not {authority:?}"))),
    };
    let session = named(host, port);
    let (mut permit, mut upstream) = (None, None);
    if session.local().is_none() {
        let decide = proxy.enforced.now();
        let granted = session.permit(&*decide)?;
        if granted.inspection() == Inspection::Opaque {
            let dialled = proxy.upstreams.connect_opaque(&granted, Scheme::Http).await;
            let io = dialled.map_err(|error| unreachable(&session, decide.generation(), &error, ""))?;
            upstream = Some(io);
        }
        permit = Some(granted);
    }
    let upgrade = hyper::upgrade::on(&mut request);
    proxy.spawn(async move {
        if let Some(io) = upgrade.await.ok().and_then(recover) {
            Box::pin(tunnel(session, io, permit, upstream)).await;
        }
    });
    Ok(Response::new(empty()))
}

/// The stream under a CONNECT, with what was read of it already.
fn recover(upgraded: Upgraded) -> Option<Prefixed<TcpStream>> {
    let parts = upgraded.downcast::<TokioIo<Prefixed<TcpStream>>>().ok()?;
    let (ahead, stream) = parts.io.into_inner().into_parts();
    let mut read = bytes::BytesMut::from(&parts.read_buf[..]);
    read.extend_from_slice(&ahead);
    Some(Prefixed::with(stream, read))
}

/// A request in absolute form: judged like one on a connection of its own.
async fn forward(
    proxy: &Arc<Proxy>,
    caller: Option<&Arc<Caller>>,
    last: &Mutex<Option<Arc<Session>>>,
    request: Request<Body>,
) -> Result<Response<Body>, Refusal> {
    let named = |host: &str, port| Session::new(proxy, caller, host, port, Capture::Forward);
    let scheme = match request.uri().scheme_str() {
        Some("http") => Scheme::Http,
        Some("https") => Scheme::Https,
        _ => {
            let detail = "this is a proxy: send CONNECT, or a request in absolute form".to_owned();
            return Err(malformed(&named("", 0), detail));
        }
    };
    let authority = request.uri().authority().map_or("", |authority| authority.as_str());
    let destination = Destination::parse(authority).map_err(|error| malformed(&named("", 0), error.to_string()))?;
    let port = destination.port.unwrap_or(default_port(scheme));
    let session = {
        let mut last = lock(last);
        match last.as_ref().filter(|session| session.host() == destination.host && session.port() == port) {
            Some(session) => Arc::clone(session),
            None => Arc::clone(last.insert(named(&destination.host, port))),
        }
    };
    Ok(answer(&session, scheme, request).await)
}

fn malformed(session: &Session, detail: String) -> Refusal {
    let generation = session.proxy.enforced.now().generation();
    session.facts.refuse(Stage::Connect, generation, Cause::BadRequest, detail)
}

/// A client's stream to one destination. `permit`: `None` where there is nothing to dial (a refused connection, whose
/// requests are still answered with the reason, or one of the sandbox's own names).
async fn tunnel(
    session: Arc<Session>,
    mut io: Prefixed<TcpStream>,
    permit: Option<Permit>,
    upstream: Option<UpstreamIo>,
) {
    if let Some(permit) = permit.as_ref().filter(|permit| permit.inspection() == Inspection::Opaque) {
        let upstream = match upstream {
            Some(upstream) => upstream,
            None => match dial(&session, permit, Scheme::Http).await {
                Some(upstream) => upstream,
                None => return io.reset_on_close(),
            },
        };
        return opaque(&session, io, Prefixed::new(upstream), permit).await;
    }
    match sniff(&session, &mut io, permit.as_ref(), Scheme::Http).await {
        Sniffed::Client(Protocol::Tls) => Box::pin(terminate(session, io, permit)).await,
        Sniffed::Client(Protocol::Http1) => http1(&session, io, Scheme::Http).await,
        Sniffed::Client(Protocol::Http2) => http2(session, io, Scheme::Http).await,
        Sniffed::Client(Protocol::Other) => unjudged(&session, io, permit, Scheme::Http).await,
        Sniffed::Server(upstream, permit) => opaque(&session, io, upstream, &permit).await,
        Sniffed::Nothing => {}
    }
}

/// Terminates TLS with a leaf for the name the client asked for, and serves what is inside.
async fn terminate(session: Arc<Session>, io: Prefixed<TcpStream>, permit: Option<Permit>) {
    let served = permit.is_some() || session.local().is_some();
    let handshake = async {
        let start = LazyConfigAcceptor::new(rustls::server::Acceptor::default(), io).await.ok()?;
        let name = start.client_hello().server_name().and_then(canonical_host);
        let session = match &name {
            Some(name) if name != session.host() => session.contradicted(name),
            _ => session,
        };
        let leaf = name.unwrap_or_else(|| session.host().to_owned());
        let config = session.proxy.ca.server_config(&leaf).inspect_err(|error| {
            tracing::warn!(%error, host = leaf, "no certificate could be minted");
        });
        let shown = Shown::now(&session, leaf, served);
        let stream = start.into_stream(config.ok()?).await.inspect_err(|error| shown.failed(error)).ok()?;
        Some((stream, session, shown))
    };
    let Ok(Some((stream, session, shown))) = timeout(HANDSHAKE_TIMEOUT, handshake).await else { return };
    let protocol = match stream.get_ref().1.alpn_protocol() {
        Some(b"h2") => Some(Protocol::Http2),
        Some(b"http/1.1") => Some(Protocol::Http1),
        _ => None,
    };
    let permit = permit.filter(|_| session.permit(&*session.proxy.enforced.now()).is_ok());
    let served = permit.is_some() || session.local().is_some();
    let mut io = Prefixed::new(Fresh::new(stream, shown, served));
    let sniffed = match protocol {
        Some(protocol) => Sniffed::Client(protocol),
        None => sniff(&session, &mut io, permit.as_ref(), Scheme::Https).await,
    };
    match sniffed {
        Sniffed::Client(Protocol::Http1) => http1(&session, io, Scheme::Https).await,
        Sniffed::Client(Protocol::Http2) => http2(session, io, Scheme::Https).await,
        Sniffed::Client(Protocol::Tls | Protocol::Other) => unjudged(&session, io, permit, Scheme::Https).await,
        Sniffed::Server(upstream, permit) => {
            // Whoever waits to be greeted has not hung up, and may when it has read the greeting.
            let (ahead, fresh) = io.into_parts();
            opaque(&session, Prefixed::with(fresh.into_inner(), ahead), upstream, &permit).await;
        }
        Sniffed::Nothing => {}
    }
}

enum Sniffed {
    /// The client spoke first.
    Client(Protocol),
    /// The server did, and not as one of HTTP does; so it is not TLS either.
    Server(Prefixed<UpstreamIo>, Permit),
    /// Nobody did, or the connection is gone.
    Nothing,
}

/// Waits for first bytes. A silent client gets its upstream, if the grant allows unjudged bytes; only a server that
/// speaks first makes it opaque, and not one of HTTP, for a client could keep silent just to escape judgement.
async fn sniff<S>(session: &Session, io: &mut Prefixed<S>, permit: Option<&Permit>, scheme: Scheme) -> Sniffed
where
    S: AsyncRead + Unpin,
{
    let relayable = permit.filter(|permit| permit.inspection() != Inspection::Required);
    if let Some(permit) = relayable {
        match timeout(SILENCE, first_bytes(io)).await {
            Ok(sniffed) => return sniffed,
            Err(_) if io.ahead().is_empty() => {
                let Some(upstream) = dial(session, permit, scheme).await else { return Sniffed::Nothing };
                let mut upstream = Prefixed::new(upstream);
                tokio::select! {
                    read = io.read_more() => if matches!(read, Ok(0) | Err(_)) {
                        return Sniffed::Nothing;
                    },
                    greeted = greeting(&mut upstream) => match greeted {
                        Ok(true) => {}
                        Ok(false) => return Sniffed::Server(upstream, permit.clone()),
                        Err(_) => return Sniffed::Nothing,
                    },
                }
            }
            Err(_) => {}
        }
    }
    match timeout(HANDSHAKE_TIMEOUT, first_bytes(io)).await {
        Ok(sniffed) => sniffed,
        Err(_) => {
            undecided(session, io.ahead().len());
            Sniffed::Nothing
        }
    }
}

/// Records a connection that began like one of HTTP or TLS, and stopped: nothing else tells why it was closed.
fn undecided(session: &Session, bytes: usize) {
    if bytes > 0 {
        let detail = format!(
            "its first bytes, {bytes} of them, may be a request's or a handshake's, and no more came in {} s",
            HANDSHAKE_TIMEOUT.as_secs()
        );
        let generation = session.proxy.enforced.now().generation();
        session.facts.refuse(Stage::Connect, generation, Cause::InspectionRequired, detail);
    }
}

/// Waits for what a server says first: whether that is HTTP.
async fn greeting(upstream: &mut Prefixed<UpstreamIo>) -> std::io::Result<bool> {
    loop {
        if let Some(http) = peek::greets(upstream.ahead()) {
            return Ok(http);
        }
        if upstream.read_more().await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
}

async fn first_bytes<S: AsyncRead + Unpin>(io: &mut Prefixed<S>) -> Sniffed {
    loop {
        if let Some(protocol) = classify(io.ahead()) {
            return Sniffed::Client(protocol);
        }
        match io.read_more().await {
            Ok(0) | Err(_) => return Sniffed::Nothing,
            Ok(_) => {}
        }
    }
}

/// Bytes that hold no requests: relayed if the grant allows that, else refused.
async fn unjudged<S>(session: &Arc<Session>, io: Prefixed<S>, permit: Option<Permit>, scheme: Scheme)
where
    S: AsyncRead + AsyncWrite + Severable + Unpin,
{
    let Some(permit) = permit else { return };
    if permit.inspection() == Inspection::Required {
        let detail = "the grant wants every request judged, and this connection does not speak HTTP".to_owned();
        session.facts.refuse(Stage::Connect, permit.generation(), Cause::InspectionRequired, detail);
        return io.reset_on_close();
    }
    match dial(session, &permit, scheme).await {
        Some(upstream) => opaque(session, io, Prefixed::new(upstream), &permit).await,
        None => io.reset_on_close(),
    }
}

async fn dial(session: &Session, permit: &Permit, scheme: Scheme) -> Option<UpstreamIo> {
    match session.proxy.upstreams.connect_opaque(permit, scheme).await {
        Ok(upstream) => Some(upstream),
        Err(error) => {
            let refusal = unreachable(session, permit.generation(), &error, "");
            if let Some(more) = lock(&session.proxy.unreached).happened(Instant::now()) {
                tracing::info!(
                    error = refusal.cause.code(),
                    detail = refusal.detail,
                    more,
                    "an opaque connection failed"
                );
            }
            None
        }
    }
}

async fn opaque<C>(session: &Arc<Session>, client: C, upstream: Prefixed<UpstreamIo>, permit: &Permit)
where
    C: AsyncRead + AsyncWrite + Severable + Unpin,
{
    let proxy = &session.proxy;
    let address = upstream.get_ref().address();
    let lasting = Lasting { request: None, inspection: Some(permit.inspection()), address };
    let registration = proxy.registry.register(&session.facts, lasting, permit.generation(), &*proxy.enforced);
    if let Err(error) = relay::opaque(client, upstream, registration.cut()).await {
        tracing::debug!(%error, "an opaque connection ended");
    }
}

async fn http1<S>(session: &Arc<Session>, io: Prefixed<S>, scheme: Scheme)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let interim = Interim::default();
    let io = WithInterim::new(io, interim.clone());
    let service = service_fn(move |mut request: Request<Incoming>| {
        if Interim::suits(request.version()) {
            request.extensions_mut().insert(interim.clone());
        }
        async move { Ok::<_, Infallible>(answer(session, scheme, request.map(boxed)).await) }
    });
    // A client that closes its side may still want its answer. Not so where TLS ends with it (RFC 5246 §7.2.1), nor where
    // every further token costs: there the end of the client's side cancels what it asked for.
    let half_close = scheme == Scheme::Http && session.local().is_none();
    let served =
        http1_builder().half_close(half_close).serve_connection(TokioIo::new(io), service).with_upgrades().await;
    if let Err(error) = served {
        tracing::debug!(%error, "an HTTP/1.1 connection ended");
    }
}

async fn http2<S>(session: Arc<Session>, io: Prefixed<S>, scheme: Scheme)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let served = super::http2::server::serve(io, |request| {
        let session = Arc::clone(&session);
        async move { answer(&session, scheme, request).await }
    });
    if let Err(error) = served.await {
        tracing::debug!(%error, "an HTTP/2 connection ended");
    }
}

fn http1_builder() -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT).max_buf_size(MAX_HEAD).auto_date_header(false);
    builder
}
