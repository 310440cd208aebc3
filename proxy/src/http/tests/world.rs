//! A proxy, an origin, clients.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode, Version};
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use openshell_api::decision::DecisionRecord;
use openshell_api::provider::{Attach, CredentialRule};
use openshell_policy_host::{
    Connection, Decision, Denial, Grant, HttpRequest, HttpResponse, Inspection, Outcome, PolicyRef, Process, View,
};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio_rustls::{TlsAcceptor, TlsConnector};
use tokio_util::sync::CancellationToken;

use crate::active::Secrets;
use crate::caller::{Attribute, Attribution, Caller, Intended};
use crate::http::{CertificateAuthority, Decide, Proxy, ProxyConfig, Upstreams};
use crate::inference::{Body, BoxError, Inference};
use crate::policy_local::PolicyLocal;
use crate::record::Record;

pub(super) const HOST: &str = "origin.test";
pub(super) const SECRET: &str = "s3cr3t";

pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}
pub(super) type Io = Box<dyn Stream>;

type OnConnect = fn(&Connection) -> Outcome;
type OnRequest = fn(&Connection, &HttpRequest, &dyn View) -> Outcome;

/// One generation.
#[derive(Clone)]
pub(super) struct Rules {
    pub(super) generation: u64,
    pub(super) connect: OnConnect,
    pub(super) request: OnRequest,
    pub(super) response: Option<fn(&HttpResponse, &dyn View) -> Outcome>,
    pub(super) body_cap: u32,
    /// Whether a policy will ask for the body of this request.
    pub(super) body_wanted: fn(&HttpRequest) -> bool,
    pub(super) credentials: BTreeMap<String, CredentialRule>,
}

impl Default for Rules {
    fn default() -> Self {
        let rule = CredentialRule { hosts: vec![HOST.to_owned()], ..CredentialRule::new(Attach::Bearer) };
        let elsewhere = CredentialRule { hosts: vec!["*.origin.test".to_owned()], ..rule.clone() };
        let absent = rule.clone();
        let credentials = [("key", rule), ("elsewhere", elsewhere), ("absent", absent)];
        Self {
            generation: 1,
            connect: |_| allow(Inspection::Automatic),
            request: |_, _, _| allow(Inspection::Automatic),
            response: None,
            body_cap: 0,
            body_wanted: |_| true,
            credentials: credentials.into_iter().map(|(name, rule)| (name.to_owned(), rule)).collect(),
        }
    }
}

pub(super) fn grant(inspection: Inspection) -> Grant {
    Grant {
        rule: "test-rule".to_owned(),
        inspection,
        credential: None,
        private_ranges: vec!["127.0.0.0/8".to_owned()],
        headers: Vec::new(),
        audit: None,
    }
}

pub(super) fn allow(inspection: Inspection) -> Outcome {
    Outcome::Allow(grant(inspection))
}

pub(super) fn deny(reason: &str) -> Outcome {
    Outcome::Deny(Denial { rule: "no".to_owned(), reason: reason.to_owned(), hint: Some("ask".to_owned()) })
}

fn decision(outcome: Outcome) -> Decision {
    let by = (outcome != Outcome::Unanswered)
        .then(|| PolicyRef { name_version: "test@1.0.0".to_owned(), digest: "sha256:00".to_owned() });
    Decision {
        outcome,
        by,
        memoized: false,
        elapsed: Duration::from_micros(1),
        ceiling: Vec::new(),
        own: Vec::new(),
        shadows: Vec::new(),
    }
}

impl Decide for Rules {
    fn generation(&self) -> u64 {
        self.generation
    }
    fn connect(&self, connection: &Connection, _view: &Arc<dyn View>) -> Decision {
        decision((self.connect)(connection))
    }
    fn request(&self, connection: &Connection, request: &HttpRequest, view: &Arc<dyn View>) -> Decision {
        decision((self.request)(connection, request, &**view))
    }
    fn response(
        &self,
        _connection: &Connection,
        _request: &HttpRequest,
        response: HttpResponse,
        view: &dyn Fn() -> Arc<dyn View>,
    ) -> Option<Decision> {
        self.response.map(|decide| decision(decide(&response, &*view())))
    }
    fn watches_responses(&self) -> bool {
        self.response.is_some()
    }
    fn body_cap(&self) -> u32 {
        self.body_cap
    }
    fn body_wanted(&self, _connection: &Connection, request: &HttpRequest, _view: &Arc<dyn View>) -> u32 {
        if (self.body_wanted)(request) { self.body_cap } else { 0 }
    }
    fn credentials(&self) -> &BTreeMap<String, CredentialRule> {
        &self.credentials
    }
}

/// Keeps records in memory.
#[derive(Default)]
pub(super) struct Records(Mutex<Vec<DecisionRecord>>);

impl Record for Records {
    fn record(&self, record: &DecisionRecord) {
        self.0.lock().unwrap().push(record.clone());
    }
}

/// Attributes every connection to one program.
#[derive(Default)]
pub(super) struct Known {
    pub(super) intended: Mutex<Option<Intended>>,
    pub(super) unknown: std::sync::atomic::AtomicBool,
}

#[async_trait::async_trait]
impl Attribute for Known {
    async fn attribute(&self, _peer: SocketAddr, _local: SocketAddr) -> Option<Attribution> {
        if self.unknown.load(std::sync::atomic::Ordering::Relaxed) {
            return None;
        }
        let process = Process { executable: "/usr/bin/curl".to_owned(), digest: "ab".repeat(32), script: None };
        let caller = Arc::new(Caller { process, pid: 7, ..Caller::default() });
        Some(Attribution { caller, intended: self.intended.lock().unwrap().clone() })
    }
}

struct Echo;

#[async_trait::async_trait]
impl Inference for Echo {
    async fn serve(&self, caller: Arc<Caller>, request: Request<Body>) -> Response<Body> {
        let text = format!("inference {} for {}", request.uri().path(), caller.process.executable);
        Response::new(full(text))
    }
}

#[async_trait::async_trait]
impl PolicyLocal for Echo {
    async fn serve(&self, caller: Arc<Caller>, request: Request<Body>) -> Response<Body> {
        let text = format!("policy {} for {}", request.uri().path(), caller.process.executable);
        Response::new(full(text))
    }
}

pub(super) fn full(text: impl Into<Bytes>) -> Body {
    Body::new(Full::new(text.into()).map_err(|never| -> BoxError { match never {} }))
}

pub(super) struct World {
    pub(super) proxy: Arc<Proxy>,
    pub(super) address: SocketAddr,
    pub(super) rules: Arc<ArcSwap<Rules>>,
    pub(super) records: Arc<Records>,
    pub(super) known: Arc<Known>,
    /// Speaks TLS (h2 and http/1.1).
    pub(super) tls_port: u16,
    /// Speaks HTTP/1.1 and h2c.
    pub(super) plain_port: u16,
    /// What origins present: the proxy trusts it.
    pub(super) origin_tls: Arc<ServerConfig>,
    stop: CancellationToken,
}

impl Drop for World {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// What came back.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: String,
    pub(super) trailers: Option<HeaderMap>,
}

impl World {
    pub(super) async fn new(rules: Rules) -> Self {
        Self::with(rules, |config| config).await
    }

    pub(super) async fn with(rules: Rules, change: impl FnOnce(ProxyConfig) -> ProxyConfig) -> Self {
        let origin_ca = CertificateAuthority::generate("origin").unwrap();
        let origin_tls = origin_ca.server_config(HOST).unwrap();
        let tls_port = origin(Some(Arc::clone(&origin_tls).into())).await;
        let plain_port = origin(None).await;
        let local = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let add_hosts = [HOST, "other.test", "metadata.test"].map(|name| (name.to_owned(), local)).into();
        let mut add_hosts: BTreeMap<String, IpAddr> = add_hosts;
        add_hosts.insert("metadata.test".to_owned(), "169.254.169.254".parse().unwrap());
        let rules = Arc::new(ArcSwap::from_pointee(rules));
        let records = Arc::new(Records::default());
        let known = Arc::new(Known::default());
        let secrets = Secrets::default();
        let values = ["key", "elsewhere"].map(|name| (name.to_owned(), SECRET.to_owned()));
        secrets.0.store(Arc::new(values.into()));
        let proxy = Proxy::new(change(ProxyConfig {
            sandbox: "box".to_owned(),
            labels: BTreeMap::new(),
            enforced: Arc::clone(&rules) as _,
            secrets,
            recorder: Arc::clone(&records) as _,
            attribution: Arc::clone(&known) as _,
            ca: CertificateAuthority::generate("box").unwrap(),
            upstreams: Upstreams::new(add_hosts, Some(origin_ca.pem())).unwrap(),
            inference: Some(Arc::new(Echo)),
            policy_local: Arc::new(Echo),
        }));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        tokio::spawn(Arc::clone(&proxy).serve(listener, stop.clone()));
        Self { proxy, address, rules, records, known, tls_port, plain_port, origin_tls, stop }
    }

    /// Swaps the rules and re-evaluates, as the supervisor does.
    pub(super) fn enforce(&self, rules: Rules) -> u32 {
        let rules = Arc::new(rules);
        self.rules.store(Arc::clone(&rules));
        self.proxy.reevaluate(&*rules)
    }

    pub(super) async fn raw(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// CONNECT; gives the tunnel, or the refusal's text.
    pub(super) async fn tunnel(&self, host: &str, port: u16) -> Result<TcpStream, String> {
        let mut stream = self.raw().await;
        let head = format!("CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut seen = Vec::new();
        while !seen.ends_with(b"\r\n\r\n") {
            seen.push(stream.read_u8().await.unwrap());
        }
        let mut text = String::from_utf8(seen).unwrap();
        if text.starts_with("HTTP/1.1 200") {
            return Ok(stream);
        }
        let length = text.lines().find_map(|line| {
            line.to_ascii_lowercase().strip_prefix("content-length: ").map(|n| n.parse::<usize>().unwrap())
        });
        let mut body = vec![0; length.unwrap_or(0)];
        stream.read_exact(&mut body).await.unwrap();
        text.push_str(&String::from_utf8(body).unwrap());
        Err(text)
    }

    /// TLS inside `stream`, trusting the sandbox's authority.
    pub(super) async fn tls(&self, stream: TcpStream, name: &str, alpn: &[&str]) -> std::io::Result<Io> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.proxy.certificate().as_bytes()).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|p| p.as_bytes().to_vec()).collect();
        let name = ServerName::try_from(name.to_owned()).unwrap();
        Ok(Box::new(TlsConnector::from(Arc::new(config)).connect(name, stream).await?))
    }

    /// A TLS stream through CONNECT to the origin.
    pub(super) async fn inspected(&self, alpn: &[&str]) -> Io {
        let tunnel = self.tunnel(HOST, self.tls_port).await.unwrap();
        self.tls(tunnel, HOST, alpn).await.unwrap()
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("https://{HOST}:{}{path}", self.tls_port)
    }

    /// One request over HTTP/1.1 and TLS through CONNECT.
    pub(super) async fn h1(&self, request: Request<Body>) -> Answer {
        let io = self.inspected(&["http/1.1"]).await;
        send_h1(io, request).await
    }

    /// One request over HTTP/2 and TLS through CONNECT.
    pub(super) async fn h2(&self, request: Request<Body>) -> Answer {
        let io = self.inspected(&["h2"]).await;
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(io)).await.unwrap();
        tokio::spawn(connection);
        read(sender.send_request(request).await.unwrap()).await
    }

    pub(super) fn records(&self) -> Vec<DecisionRecord> {
        self.records.0.lock().unwrap().clone()
    }

    /// Waits until `found` holds of the records.
    pub(super) async fn until(&self, found: impl Fn(&[DecisionRecord]) -> bool) {
        eventually(|| found(&self.records())).await;
    }
}

pub(super) async fn eventually(mut found: impl FnMut() -> bool) {
    for _ in 0..2000 {
        if found() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("it never happened");
}

/// A request to the origin, in the form HTTP/1.1 wants inside a tunnel.
pub(super) fn get(world: &World, path: &str) -> Request<Body> {
    Request::get(path).header("host", format!("{HOST}:{}", world.tls_port)).body(full("")).unwrap()
}

pub(super) async fn send_h1(io: Io, request: Request<Body>) -> Answer {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(io)).await.unwrap();
    tokio::spawn(connection.with_upgrades());
    read(sender.send_request(request).await.unwrap()).await
}

/// The next request on a kept-alive connection.
pub(super) async fn next(sender: &mut hyper::client::conn::http1::SendRequest<Body>, request: Request<Body>) -> Answer {
    sender.ready().await.unwrap();
    read(sender.send_request(request).await.unwrap()).await
}

pub(super) async fn read(response: Response<Incoming>) -> Answer {
    let (parts, body) = response.into_parts();
    let body = body.collect().await.unwrap();
    let trailers = body.trailers().cloned();
    let body = String::from_utf8(body.to_bytes().to_vec()).unwrap();
    Answer { status: parts.status, headers: parts.headers, body, trailers }
}

async fn io(stream: TcpStream, tls: Option<TlsAcceptor>) -> std::io::Result<Io> {
    Ok(match tls {
        Some(tls) => Box::new(tls.accept(stream).await?),
        None => Box::new(stream),
    })
}

/// An HTTP/1.1 origin that sends a hint, and its answer once it may.
pub(super) async fn hinting(tls: Option<TlsAcceptor>) -> (u16, oneshot::Sender<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (answer, may_answer) = oneshot::channel::<()>();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut stream = io(stream, tls).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        let hint = b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\nX-OpenShell-Forged: 1\r\n\r\n";
        stream.write_all(hint).await.unwrap();
        stream.flush().await.unwrap();
        let _ = may_answer.await;
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await.unwrap();
        stream.flush().await.unwrap();
        std::future::pending::<()>().await;
    });
    (port, answer)
}

async fn origin(tls: Option<TlsAcceptor>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (stream, peer) = listener.accept().await.unwrap();
            let tls = tls.clone();
            tokio::spawn(async move {
                let Ok(io) = io(stream, tls).await else { return };
                let service =
                    service_fn(move |request| async move { Ok::<_, Infallible>(respond(request, peer).await) });
                let _ = auto::Builder::new(TokioExecutor::new())
                    .serve_connection_with_upgrades(TokioIo::new(io), service)
                    .await;
            });
        }
    });
    port
}

/// `/echo` gives the body back, with trailers; `/events` never ends; `/ws` upgrades; the rest says what was asked.
async fn respond(mut request: Request<Incoming>, peer: SocketAddr) -> Response<Body> {
    match request.uri().path() {
        "/echo" => {
            let body = request.into_body().collect().await.unwrap();
            let trailers = body.trailers().cloned().unwrap_or_default();
            let frames = [Ok::<_, BoxError>(Frame::data(body.to_bytes())), Ok(Frame::trailers(trailers))];
            let mut response = Response::new(Body::new(StreamBody::new(futures_util::stream::iter(frames))));
            response.headers_mut().insert("trailer", "x-sum".parse().unwrap());
            response
        }
        "/events" => {
            let events = futures_util::stream::unfold(0_u32, |n| async move {
                tokio::time::sleep(Duration::from_millis(u64::from(n.min(1)) * 20)).await;
                Some((Ok::<_, BoxError>(Frame::data(Bytes::from(format!("data: {n}\n\n")))), n + 1))
            });
            let mut response = Response::new(Body::new(StreamBody::new(events)));
            response.headers_mut().insert("content-type", "text/event-stream".parse().unwrap());
            response
        }
        "/ws" => {
            let key = request.headers()["sec-websocket-key"].clone();
            let accept = tokio_tungstenite::tungstenite::handshake::derive_accept_key(key.as_bytes());
            let upgrade = hyper::upgrade::on(&mut request);
            tokio::spawn(async move {
                use futures_util::{SinkExt as _, StreamExt as _};
                use tokio_tungstenite::tungstenite::protocol::Role;
                let io = TokioIo::new(upgrade.await.unwrap());
                let mut socket = tokio_tungstenite::WebSocketStream::from_raw_socket(io, Role::Server, None).await;
                while let Some(Ok(message)) = socket.next().await {
                    if socket.send(message).await.is_err() {
                        break;
                    }
                }
            });
            let mut response = Response::new(full(""));
            *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
            for (name, value) in
                [("connection", "Upgrade"), ("upgrade", "websocket"), ("sec-websocket-accept", &accept)]
            {
                response.headers_mut().insert(name, value.parse().unwrap());
            }
            response
        }
        "/big" => Response::new(full(vec![b'x'; 3 << 20])),
        _ => {
            let version = if request.version() == Version::HTTP_2 { "h2" } else { "h1" };
            let header = |name| request.headers().get(name).and_then(|v| v.to_str().ok()).unwrap_or("-").to_owned();
            let text = format!(
                "{version} {} {} auth={} added={} spoofed={} peer={}",
                request.method(),
                request.uri().path_and_query().map_or("", |path| path.as_str()),
                header("authorization"),
                header("x-added"),
                header("x-openshell-spoof"),
                peer.port(),
            );
            let mut response = Response::new(full(text));
            response.headers_mut().insert("x-openshell-policy", "forged".parse().unwrap());
            response
        }
    }
}
