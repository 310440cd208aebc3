//! A service over real connections to backends on loopback.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::request::Parts;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use openshell_api::Name;
use openshell_api::decision::DecisionRecord;
use openshell_api::inference::{Backend, BackendKind, Catalogue, InferenceRules, Locality, Sensitivity};
use openshell_policy_host::{self as host, Answer, Denial, Finding, InferenceRequest, PolicyRef, RouteDecision};

use crate::active::{Active, Secrets};
use crate::caller::Caller;
use crate::http::Upstreams;
use crate::inference::refusal::full;
use crate::inference::router::Router;
use crate::inference::serve::Terms;
use crate::inference::service::Body;
use crate::inference::sessions::Rise;
use crate::inference::upstream::Transport;
use crate::inference::{InferenceOptions, InferenceService, Ledger, Sessions};
use crate::record::Record;

/// Orders cleared backends by price; whatever says `4111` is restricted, whatever says `hush` confidential.
pub struct Simple;

impl Router for Simple {
    fn route(&self, asked: &InferenceRequest, offered: &[host::Backend]) -> Answer<Result<RouteDecision, Denial>> {
        let mut sensitivity = asked.so_far;
        let mut findings = Vec::new();
        for (index, message) in asked.messages.iter().enumerate() {
            for (word, level) in [("4111", host::Sensitivity::Restricted), ("hush", host::Sensitivity::Confidential)] {
                if let Some(at) = message.text.find(word) {
                    sensitivity = sensitivity.max(level);
                    let (start, end) = (at as u32, (at + 4) as u32);
                    findings.push(Finding { kind: "payment_card".into(), message: index as u32, start, end });
                }
            }
        }
        let mut order: Vec<u32> = (0..offered.len() as u32).collect();
        order.retain(|&i| offered[i as usize].clearance >= sensitivity);
        order.sort_by_key(|&i| offered[i as usize].input_price);
        let result = if order.is_empty() {
            Err(Denial {
                rule: "clearance".into(),
                reason: "no backend is cleared".into(),
                hint: Some("clear one".into()),
            })
        } else {
            Ok(RouteDecision { sensitivity, findings, order, redact: false, reason: "cheapest".into() })
        };
        Answer { result: Ok(result), memoized: false }
    }
    fn reference(&self) -> PolicyRef {
        PolicyRef { name_version: "simple@1".into(), digest: "sha256:00".into() }
    }
}

/// What a backend received.
#[derive(Debug, Clone)]
pub struct Seen {
    pub head: String,
    pub body: Bytes,
}

/// A backend on loopback.
pub struct Origin {
    pub address: SocketAddr,
    pub seen: Arc<Mutex<Vec<Seen>>>,
}

impl Origin {
    /// Serves each request with `answer`, until the test ends.
    pub async fn start<F, R>(answer: F) -> Self
    where
        F: Fn(Parts) -> R + Clone + Send + Sync + 'static,
        R: Future<Output = Response<Body>> + Send,
    {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("loopback");
        let address = listener.local_addr().expect("bound");
        let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
        let log = Arc::clone(&seen);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (answer, log) = (answer.clone(), Arc::clone(&log));
                let service = service_fn(move |request: Request<Incoming>| {
                    let (answer, log) = (answer.clone(), Arc::clone(&log));
                    async move {
                        let (parts, body) = request.into_parts();
                        let body = body.collect().await?.to_bytes();
                        let head = format!("{} {} {:?}", parts.method, parts.uri, parts.headers);
                        log.lock().expect("log").push(Seen { head, body });
                        Ok::<_, hyper::Error>(answer(parts).await)
                    }
                });
                tokio::spawn(
                    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service),
                );
            }
        });
        Self { address, seen }
    }

    /// Always answers this document.
    pub async fn json(status: u16, document: &'static str) -> Self {
        Self::start(move |_| async move {
            let mut response = Response::new(full(document.into()));
            *response.status_mut() = status.try_into().expect("status");
            response.headers_mut().insert("content-type", http::HeaderValue::from_static("application/json"));
            response
        })
        .await
    }

    /// How many requests came.
    pub fn count(&self) -> usize {
        self.seen.lock().expect("log").len()
    }

    /// The last request.
    pub fn last(&self) -> Seen {
        self.seen.lock().expect("log").last().cloned().expect("a request came")
    }
}

/// A backend's entry in the catalogue.
pub fn backend(name: &str, at: SocketAddr, clearance: Sensitivity, price: u64) -> Backend {
    Backend {
        name: Name::parse(name).expect("name"),
        kind: BackendKind::Openai,
        base_url: format!("http://{at}/v1"),
        model: None,
        locality: Locality::Public,
        clearance,
        input_price: price,
        output_price: price,
        context: 100_000,
        features: Vec::new(),
        provider: None,
        idle_timeout_ms: 5_000,
    }
}

/// Keeps records in memory.
#[derive(Default)]
pub struct Kept(pub Mutex<Vec<DecisionRecord>>);

impl Record for Kept {
    fn record(&self, record: DecisionRecord) {
        self.0.lock().expect("records").push(record);
    }
}

/// A sandbox's inference, without the sandbox.
pub struct World {
    pub service: InferenceService,
    pub catalogue: Catalogue,
    pub rules: InferenceRules,
    pub ledger: Arc<Ledger>,
    pub records: Arc<Kept>,
    pub sessions: Arc<Sessions>,
    pub rises: tokio::sync::mpsc::UnboundedReceiver<Rise>,
}

/// An answer, read to its end.
#[derive(Debug)]
pub struct Read {
    pub status: u16,
    pub headers: http::HeaderMap,
    pub text: String,
}

impl World {
    pub fn new(backends: Vec<Backend>) -> Self {
        Self::over(backends, None)
    }

    pub fn over(backends: Vec<Backend>, transport: Option<Box<dyn Transport>>) -> Self {
        let records = Arc::new(Kept::default());
        let (sessions, rises) = Sessions::new();
        let sessions = Arc::new(sessions);
        let ledger = Arc::new(Ledger::default());
        let secrets = Secrets::default();
        secrets.0.store(Arc::new(BTreeMap::from([("acme".to_owned(), "the-backends-own-key".to_owned())])));
        let options = InferenceOptions {
            sandbox: "demo".into(),
            live: Arc::new(ArcSwap::from_pointee(Active::nothing())),
            secrets,
            record: Arc::clone(&records) as Arc<dyn Record>,
            sessions: Arc::clone(&sessions),
            ledger: Arc::clone(&ledger),
            upstreams: Upstreams::new(BTreeMap::new(), None).expect("trust"),
        };
        let service = match transport {
            Some(transport) => InferenceService::with_transport(options, transport),
            None => InferenceService::new(options),
        };
        let rules = InferenceRules::default();
        Self { service, catalogue: Catalogue { backends }, rules, ledger, records, sessions, rises }
    }

    /// Sends a request as it is; its answer may still stream.
    pub async fn send(&self, request: Request<impl Into<Bytes>>) -> Response<Body> {
        self.send_under(Some(&Simple), request).await
    }

    pub async fn send_under(&self, router: Option<&dyn Router>, request: Request<impl Into<Bytes>>) -> Response<Body> {
        let (parts, body) = request.into_parts();
        let terms = Terms { generation: 7, router, catalogue: &self.catalogue, rules: &self.rules };
        self.service.answer(&terms, &Caller::default(), parts, Full::new(body.into())).await
    }

    /// Posts a JSON body and reads the answer.
    pub async fn post(&self, path: &str, headers: &[(&str, &str)], body: &str) -> Read {
        read(self.send(post(path, headers, body)).await).await
    }

    /// The last record.
    pub fn record(&self) -> DecisionRecord {
        self.records.0.lock().expect("records").last().cloned().expect("a record")
    }
}

/// A POST with a JSON body.
pub fn post(path: &str, headers: &[(&str, &str)], body: &str) -> Request<Bytes> {
    let mut builder = Request::post(path);
    if !headers.iter().any(|(name, _)| *name == "content-type") {
        builder = builder.header("content-type", "application/json");
    }
    for (name, value) in headers {
        builder = builder.header(*name, *value);
    }
    builder.body(Bytes::copy_from_slice(body.as_bytes())).expect("request")
}

/// Reads an answer to its end.
pub async fn read(response: Response<Body>) -> Read {
    let (parts, body) = response.into_parts();
    let text = body.collect().await.expect("the answer ends well").to_bytes();
    Read {
        status: parts.status.as_u16(),
        headers: parts.headers,
        text: String::from_utf8(text.to_vec()).expect("text"),
    }
}

/// A chat request whose user says `text`.
pub fn chat(text: &str) -> String {
    serde_json::json!({"model": "small", "messages": [{"role": "user", "content": text}]}).to_string()
}
