//! HTTP towards upstreams: pooled connections, each reused only by requests whose permit covers its address.

use std::collections::{BTreeMap, HashMap};
use std::error::Error as _;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use http::header::{HOST, HeaderValue, TRANSFER_ENCODING};
use http::{Request, Response, Uri, Version};
use http_body::Body as _;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use openshell_policy_host::Scheme;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::address;
use super::destination::HostPort;
use super::dial::{DialError, Dialer, Upstream};
use super::exchange::{Exchanged, H1, H1Body};
use super::http2::client::{Requests, Unanswered};
use super::interim::Interim;
use super::permit::{Permit, default_port};
use super::stream::UpstreamIo;
use super::tls::{HandshakeError, Trust, TrustError, Versions};
use crate::inference::{Body, BoxError};

const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(15);
const IDLE_LIFE: Duration = Duration::from_secs(55);
const IDLE_PER_ORIGIN: usize = 64;
/// How often a request is sent that upstreams say they did not take.
const ATTEMPTS: u32 = 3;

/// Opens and keeps connections to upstreams. One per sandbox, shared by the proxy and by inference.
pub struct Upstreams {
    dialer: Dialer,
    trust: Trust,
    /// Connections that may be open.
    slots: Arc<Semaphore>,
    origins: Mutex<HashMap<Key, Arc<Origin>, ahash::RandomState>>,
}

/// Why a request got no response. `Dial` may be the host's own refusal; the rest is the upstream's doing.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    /// Nothing was dialled, or nothing answered.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// No TLS session came to be.
    #[error("{destination}: {error}")]
    Handshake {
        /// `host:port`.
        destination: String,
        /// Why.
        error: HandshakeError,
    },
    /// TLS or HTTP/2 set-up took too long.
    #[error("{destination} did not finish its handshake in time")]
    TimedOut {
        /// `host:port`.
        destination: String,
    },
    /// It said yes to a WebSocket in another way than RFC 6455 §4.1 asks for.
    #[error("{destination} answered a WebSocket's handshake wrongly")]
    Accept {
        /// `host:port`.
        destination: String,
    },
    /// It broke the HTTP protocol or hung up before a response.
    #[error("{destination} broke off: {error}")]
    Http {
        /// `host:port`.
        destination: String,
        /// Why.
        error: ProtocolError,
    },
}

impl UpstreamError {
    /// Whether a connection of HTTP/1.1 ended without an answer.
    fn is_hang_up(&self) -> bool {
        let Self::Http { error: ProtocolError::Http1(error), .. } = self else { return false };
        error.is_incomplete_message() || error.source().is_some_and(<dyn std::error::Error>::is::<std::io::Error>)
    }
}

/// Why an exchange broke off, in the words of its protocol.
#[derive(Debug, thiserror::Error)]
pub enum ProtocolError {
    /// HTTP/1.1.
    #[error(transparent)]
    Http1(#[from] hyper::Error),
    /// HTTP/2.
    #[error(transparent)]
    Http2(#[from] h2::Error),
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    host: String,
    port: u16,
    scheme: Scheme,
    versions: Versions,
}

/// Idle connections to one host, port, scheme and set of versions.
#[derive(Default)]
pub(super) struct Origin {
    idle: Mutex<Vec<(H1, Instant)>>,
    h2: Mutex<Option<H2>>,
    /// Held while a connection that may turn out to be HTTP/2 is made, so that a burst of requests makes one.
    negotiating: tokio::sync::Mutex<()>,
}

#[derive(Clone)]
struct H2 {
    requests: Requests,
    address: IpAddr,
}

enum Taken {
    H1(H1),
    H2(H2),
}

impl Upstreams {
    /// `add_hosts`: names with a fixed address. `upstream_ca`: PEM roots trusted besides the system's.
    pub fn new(add_hosts: BTreeMap<String, IpAddr>, upstream_ca: Option<&str>) -> Result<Arc<Self>, TrustError> {
        Ok(Arc::new(Self {
            dialer: Dialer::new(add_hosts),
            trust: Trust::new(upstream_ca)?,
            slots: Arc::new(Semaphore::new(super::connections_at_once())),
            origins: Mutex::default(),
        }))
    }

    /// The dialer behind it, for bytes that are not HTTP.
    pub fn dialer(&self) -> &Dialer {
        &self.dialer
    }

    /// Sends one request to where the permit says, whatever authority its URI names (`Host` is kept if set, else made
    /// from the permit). The response streams; dropping its body gives up the request. Sent again only where nothing was done
    /// of it, because its connection had been closed or the upstream says that it did not take it, or where it asks for nothing
    /// to be done ([`again`]).
    pub async fn send(
        &self,
        permit: &Permit,
        scheme: Scheme,
        versions: Versions,
        request: Request<Body>,
    ) -> Result<Response<Body>, UpstreamError> {
        let origin = self.origin(permit, scheme, versions);
        Ok(self.send_on(&origin, permit, scheme, versions, request).await?.0)
    }

    /// [`Self::send`] for callers that hold the origin already; also the address that answered.
    pub(super) async fn send_on(
        &self,
        origin: &Arc<Origin>,
        permit: &Permit,
        scheme: Scheme,
        versions: Versions,
        mut request: Request<Body>,
    ) -> Result<Answer, UpstreamError> {
        if let Some(h1) = origin.checkout(permit) {
            let again = again(&request);
            request = match exchange_h1(origin, permit, scheme, h1, request).await {
                Ok(Ok(answer)) => return Ok(answer),
                // What else is idle may be as old: it gets a connection of its own.
                Ok(Err(unsent)) => unsent,
                Err(error) => again.filter(|_| error.is_hang_up()).ok_or(error)?,
            };
        }
        for _ in 0..ATTEMPTS {
            let sent = match self.take(origin, permit, scheme, versions).await? {
                Taken::H1(h1) => exchange_h1(origin, permit, scheme, h1, request).await?,
                Taken::H2(h2) => exchange_h2(permit, scheme, h2, request).await?,
            };
            match sent {
                Ok(answer) => return Ok(answer),
                Err(unsent) => request = unsent,
            }
        }
        let detail = format!("it took none of {ATTEMPTS} attempts to send a request");
        Err(DialError::Unreachable { destination: destination(permit), detail }.into())
    }

    /// HTTP/2 that is shared, or else a connection of its own.
    async fn take(
        &self,
        origin: &Origin,
        permit: &Permit,
        scheme: Scheme,
        versions: Versions,
    ) -> Result<Taken, UpstreamError> {
        if versions == Versions::Http1 {
            return self.connect(permit, scheme, versions).await;
        }
        if let Some(h2) = origin.h2(permit) {
            return Ok(Taken::H2(h2));
        }
        let _one = origin.negotiating.lock().await;
        if let Some(h2) = origin.h2(permit) {
            return Ok(Taken::H2(h2));
        }
        let fresh = self.connect(permit, scheme, versions).await?;
        if let Taken::H2(h2) = &fresh {
            *lock(&origin.h2) = Some(h2.clone());
        }
        Ok(fresh)
    }

    /// A connection of its own, outside the pool, for a request that will take it over (an upgrade).
    pub(super) async fn connect_alone(&self, permit: &Permit, scheme: Scheme) -> Result<UpstreamIo, UpstreamError> {
        self.open(permit, scheme, Some(Versions::Http1)).await
    }

    /// A connection for bytes that are not HTTP.
    pub(super) async fn connect_opaque(&self, permit: &Permit, scheme: Scheme) -> Result<UpstreamIo, UpstreamError> {
        self.open(permit, scheme, None).await
    }

    /// Finds or makes the pool for a destination.
    pub(super) fn origin(&self, permit: &Permit, scheme: Scheme, versions: Versions) -> Arc<Origin> {
        let key = Key { host: permit.host().to_owned(), port: permit.port(), scheme, versions };
        Arc::clone(lock(&self.origins).entry(key).or_default())
    }

    /// Closes connections that have been idle for long, and forgets origins nobody uses.
    pub fn prune(&self) {
        let mut origins = lock(&self.origins);
        origins.retain(|_, origin| {
            lock(&origin.idle).retain(|(_, since)| since.elapsed() < IDLE_LIFE);
            let mut h2 = lock(&origin.h2);
            if h2.as_ref().is_some_and(|h2| h2.requests.is_closed()) {
                *h2 = None;
            }
            h2.is_some() || !lock(&origin.idle).is_empty() || Arc::strong_count(origin) > 1
        });
    }

    /// A place among the open connections, if need be an idle one's: streams of HTTP/2 are not counted where they come in, and each
    /// may want a connection here.
    fn slot(&self, permit: &Permit) -> Result<OwnedSemaphorePermit, DialError> {
        let take = || Arc::clone(&self.slots).try_acquire_owned();
        let slot = take().or_else(|_| {
            lock(&self.origins).values().for_each(|origin| lock(&origin.idle).clear());
            take()
        });
        slot.map_err(|_| DialError::Unreachable {
            destination: destination(permit),
            detail: "too many connections are open".to_owned(),
        })
    }

    async fn open(
        &self,
        permit: &Permit,
        scheme: Scheme,
        versions: Option<Versions>,
    ) -> Result<UpstreamIo, UpstreamError> {
        let slot = self.slot(permit)?;
        let Upstream { stream, address } = self.dialer.dial(permit).await?;
        let address = address.ip();
        match scheme {
            Scheme::Http => Ok(UpstreamIo::plain(stream, address, slot)),
            Scheme::Https => {
                match timeout(HANDSHAKE_TIMEOUT, self.trust.connect(permit.host(), versions, stream)).await {
                    Ok(Ok(stream)) => Ok(UpstreamIo::tls(stream, address, slot)),
                    Ok(Err(error)) => Err(UpstreamError::Handshake { destination: destination(permit), error }),
                    Err(_) => Err(UpstreamError::TimedOut { destination: destination(permit) }),
                }
            }
        }
    }

    async fn connect(&self, permit: &Permit, scheme: Scheme, versions: Versions) -> Result<Taken, UpstreamError> {
        let io = self.open(permit, scheme, Some(versions)).await?;
        let address = io.address();
        let h2 = versions == Versions::Http2 && (scheme == Scheme::Http || io.negotiated_h2());
        if h2 {
            let requests = Requests::begin(io).await.map_err(|error| broke_off(permit, error))?;
            Ok(Taken::H2(H2 { requests, address }))
        } else {
            let begun = http1::Builder::new().handshake(TokioIo::new(io)).await;
            let (sender, connection) = begun.map_err(|error| broke_off(permit, error))?;
            Ok(Taken::H1(H1 { sender, connection: Box::new(connection), address }))
        }
    }
}

impl Origin {
    /// A connection that is still open and whose address the permit covers.
    fn checkout(&self, permit: &Permit) -> Option<H1> {
        loop {
            let (mut h1, since) = lock(&self.idle).pop()?;
            let permitted = address::check(h1.address, permit.private_ranges()).is_ok();
            if permitted && since.elapsed() < IDLE_LIFE && h1.is_open() {
                return Some(h1);
            }
        }
    }

    /// Takes back a connection whose exchange is over.
    pub(super) fn checkin(&self, h1: H1) {
        let mut idle = lock(&self.idle);
        if idle.len() < IDLE_PER_ORIGIN {
            idle.push((h1, Instant::now()));
        }
    }

    fn h2(&self, permit: &Permit) -> Option<H2> {
        let mut slot = lock(&self.h2);
        if slot.as_ref().is_some_and(|h2| h2.requests.is_closed()) {
            *slot = None;
        }
        slot.clone().filter(|h2| address::check(h2.address, permit.private_ranges()).is_ok())
    }
}

/// A response, and the address that it came from.
type Answer = (Response<Body>, IpAddr);
type Sent = Result<Answer, Request<Body>>;

/// The same request, if sending it twice does no harm: a safe method (RFC 9110 §9.2.1), no body. Servers close connections that
/// have been idle for long, now and then just as a request leaves.
fn again(request: &Request<Body>) -> Option<Request<Body>> {
    if !request.method().is_safe() || !request.body().is_end_stream() {
        return None;
    }
    let mut same = Request::new(Body::default());
    request.method().clone_into(same.method_mut());
    request.uri().clone_into(same.uri_mut());
    request.headers().clone_into(same.headers_mut());
    request.extensions().clone_into(same.extensions_mut());
    Some(same)
}

async fn exchange_h1(
    origin: &Arc<Origin>,
    permit: &Permit,
    scheme: Scheme,
    h1: H1,
    mut request: Request<Body>,
) -> Result<Sent, UpstreamError> {
    *request.version_mut() = Version::HTTP_11;
    if !request.headers().contains_key(HOST) {
        let host = host_header(permit, scheme);
        request.headers_mut().insert(HOST, host);
    }
    let path = request.uri().path_and_query().cloned();
    *request.uri_mut() = path.map_or_else(|| Uri::from_static("/"), Uri::from);
    // Of a GET or HEAD whose body's length is unknown hyper would send none.
    if !request.body().is_end_stream() && request.body().size_hint().exact().is_none() {
        request.headers_mut().insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
    if let Some(interim) = request.extensions().get::<Interim>().cloned() {
        hyper::ext::on_informational(&mut request, move |head| interim.hint(head.status(), head.headers()));
    }
    let address = h1.address;
    match h1.exchange(request).await {
        Exchanged::Answered(response, h1) => {
            let response = response.map(|incoming| Body::new(H1Body::new(incoming, h1, Arc::clone(origin))));
            Ok(Ok((response, address)))
        }
        Exchanged::Unsent(request) => Ok(Err(request)),
        Exchanged::Failed(error) => Err(broke_off(permit, error)),
    }
}

async fn exchange_h2(
    permit: &Permit,
    scheme: Scheme,
    h2: H2,
    mut request: Request<Body>,
) -> Result<Sent, UpstreamError> {
    *request.version_mut() = Version::HTTP_2;
    let authority = match request.headers_mut().remove(HOST) {
        Some(host) => host,
        None => host_header(permit, scheme),
    };
    let path = request.uri().path_and_query().cloned();
    let uri = Uri::builder()
        .scheme(if scheme == Scheme::Https { "https" } else { "http" })
        .authority(authority.as_bytes())
        .path_and_query(path.unwrap_or_else(|| http::uri::PathAndQuery::from_static("/")))
        .build();
    match uri {
        Ok(uri) => *request.uri_mut() = uri,
        Err(error) => {
            return Err(DialError::Unreachable { destination: destination(permit), detail: error.to_string() }.into());
        }
    }
    let interim = request.extensions().get::<Interim>().cloned();
    match h2.requests.exchange(request, interim).await {
        Ok(response) => Ok(Ok((response, h2.address))),
        Err(Unanswered::Undone(mut request)) => {
            // It may travel on over HTTP/1.1.
            request.headers_mut().insert(HOST, authority);
            Ok(Err(request))
        }
        Err(Unanswered::Failed(error)) => Err(broke_off(permit, error)),
    }
}

/// Boxes what hyper received.
pub(super) fn boxed(incoming: hyper::body::Incoming) -> Body {
    use http_body_util::BodyExt as _;
    Body::new(incoming.map_err(|error| Box::new(error) as BoxError))
}

fn host_header(permit: &Permit, scheme: Scheme) -> HeaderValue {
    let text = if permit.port() == default_port(scheme) {
        if permit.host().contains(':') { format!("[{}]", permit.host()) } else { permit.host().to_owned() }
    } else {
        HostPort(permit.host(), permit.port()).to_string()
    };
    // A canonical host holds only characters that a header may hold.
    HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static("invalid"))
}

pub(super) fn broke_off(permit: &Permit, error: impl Into<ProtocolError>) -> UpstreamError {
    UpstreamError::Http { destination: destination(permit), error: error.into() }
}

pub(super) fn destination(permit: &Permit) -> String {
    HostPort(permit.host(), permit.port()).to_string()
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
