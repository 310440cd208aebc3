//! A service over real connections to backends on loopback.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::request::Parts;
use http::{Request, Response};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use openshell_api::Name;
use openshell_api::decision::DecisionRecord;
use openshell_api::inference::{Backend, BackendKind, Budget, Catalogue, InferenceRules, Locality, Sensitivity};
use openshell_api::share::{Share, Want};
use openshell_policy_host::{self as host, Answer, Denial, Finding, InferenceRequest, PolicyRef, RouteDecision};

use crate::active::{Active, Secrets};
use crate::caller::Caller;
use crate::http::Upstreams;
use crate::inference::refusal::full;
use crate::inference::router::Router;
use crate::inference::serve::Terms;
use crate::inference::service::Body;
use crate::inference::sessions::Told;
use crate::inference::upstream::Transport;
use crate::inference::{InferenceOptions, InferenceService, Ledger, Purse, Sessions};
use crate::record::Record;

/// Orders cleared backends by price, and those that may redact; whatever says `4111` is restricted, whatever says `hush`
/// confidential.
pub struct Simple;

impl Router for Simple {
    fn route(&self, asked: &InferenceRequest, offered: &[host::Backend]) -> Answer<Result<RouteDecision, Denial>> {
        let mut sensitivity = asked.so_far;
        let mut findings = Vec::new();
        for (index, message) in asked.messages.iter().enumerate() {
            for (word, level) in [("4111", host::Sensitivity::Restricted), ("hush", host::Sensitivity::Confidential)] {
                for (at, _) in message.text.match_indices(word) {
                    sensitivity = sensitivity.max(level);
                    let rest = &message.text[at..];
                    let length = rest.find(|c: char| !c.is_alphanumeric() && c != ' ').unwrap_or(rest.len()).min(19);
                    let (start, end) = (at as u32, (at + rest[..length].trim_end().len()) as u32);
                    findings.push(Finding { kind: "payment_card".into(), message: index as u32, start, end });
                }
            }
        }
        let mut order: Vec<u32> = (0..offered.len() as u32).collect();
        let may = |b: &host::Backend| b.clearance >= sensitivity || b.redact && b.clearance >= asked.so_far;
        order.retain(|&i| may(&offered[i as usize]));
        order.sort_by_key(|&i| offered[i as usize].input_price);
        let redact = order.iter().any(|&i| offered[i as usize].clearance < sensitivity);
        let result = if order.is_empty() {
            Err(Denial {
                rule: "clearance".into(),
                reason: "no backend is cleared".into(),
                hint: Some("clear one".into()),
            })
        } else {
            Ok(RouteDecision { sensitivity, findings, order, redact, reason: "cheapest".into() })
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
        Self::talking(move |parts, _| answer(parts)).await
    }

    /// Serves each request with what `answer` makes of it, until the test ends.
    pub async fn talking<F, R>(answer: F) -> Self
    where
        F: Fn(Parts, Bytes) -> R + Clone + Send + Sync + 'static,
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
                        log.lock().expect("log").push(Seen { head, body: body.clone() });
                        Ok::<_, hyper::Error>(answer(parts, body).await)
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

    /// Answers each connection with these bytes, HTTP or not, and closes it.
    pub async fn raw(answer: Vec<u8>) -> Self {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("loopback");
        let address = listener.local_addr().expect("bound");
        let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
        let log = Arc::clone(&seen);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = vec![0; 64 * 1024];
                let read = stream.read(&mut request).await.unwrap_or(0);
                let head = String::from_utf8_lossy(&request[..read]).into_owned();
                log.lock().expect("log").push(Seen { head, body: Bytes::new() });
                // Whoever was sent enough hangs up.
                let _ = stream.write_all(&answer).await;
            }
        });
        Self { address, seen }
    }

    /// Talks in each API: repeats the last text that it was sent, as text and as arguments of a tool call, three bytes an event where
    /// it streams.
    pub async fn echo() -> Self {
        Self::talking(|parts, body| async move { echo(parts.uri.path(), &body) }).await
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
        apis: Vec::new(),
        base_url: format!("http://{at}/v1"),
        model: None,
        locality: Locality::Public,
        clearance,
        input_price: price,
        output_price: price,
        cached_input_price: None,
        cache_write_price: None,
        redact: false,
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
    fn record(&self, record: &DecisionRecord) {
        self.0.lock().expect("records").push(record.clone());
    }
}

/// Deals out tokens of one budget, as many as are asked for, as long as there are some.
pub struct Pool {
    ledger: Arc<Ledger>,
    pub left: Mutex<u64>,
    dealt: Mutex<u64>,
    pub asked: Mutex<Vec<Want>>,
}

#[async_trait::async_trait]
impl Purse for Pool {
    async fn ask(&self, want: Want) -> Result<(), String> {
        let (mut left, mut dealt) = (self.left.lock().expect("left"), self.dealt.lock().expect("dealt"));
        let mut asked = self.asked.lock().expect("asked");
        let more = want.tokens.saturating_sub(*dealt);
        asked.push(want.clone());
        *left = left.checked_sub(more).ok_or_else(|| format!("{left} tokens are left, and {more} are asked for"))?;
        *dealt += more;
        self.ledger.dealt(Share { pot: want.pot, cost: None, tokens: Some(*dealt), serial: asked.len() as u64 });
        Ok(())
    }
}

/// A sandbox's inference, without the sandbox.
pub struct World {
    pub service: InferenceService,
    pub catalogue: Catalogue,
    pub rules: InferenceRules,
    pub shared: Vec<Budget>,
    pub purse: Arc<Pool>,
    pub ledger: Arc<Ledger>,
    pub records: Arc<Kept>,
    pub sessions: Arc<Sessions>,
    pub rises: tokio::sync::mpsc::UnboundedReceiver<Told>,
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

    pub fn over(backends: Vec<Backend>, transport: Option<Arc<dyn Transport>>) -> Self {
        let records = Arc::new(Kept::default());
        let (sessions, rises) = Sessions::new();
        let sessions = Arc::new(sessions);
        let ledger = Arc::new(Ledger::default());
        let (left, dealt, asked) = Default::default();
        let purse = Arc::new(Pool { ledger: Arc::clone(&ledger), left, dealt, asked });
        let secrets = Secrets::default();
        secrets.0.store(Arc::new(BTreeMap::from([("acme".to_owned(), "the-backends-own-key".to_owned())])));
        let catalogue = Catalogue { backends };
        let active = Active { catalogue: catalogue.clone(), ..Active::nothing() };
        let options = InferenceOptions {
            sandbox: "demo".into(),
            live: Arc::new(ArcSwap::from_pointee(active)),
            secrets,
            record: Arc::clone(&records) as Arc<dyn Record>,
            sessions: Arc::clone(&sessions),
            ledger: Arc::clone(&ledger),
            purse: Arc::clone(&purse) as Arc<dyn Purse>,
            upstreams: Upstreams::new(BTreeMap::new(), None).expect("trust"),
        };
        let service = match transport {
            Some(transport) => InferenceService::with_transport(options, transport),
            None => InferenceService::new(options),
        };
        let rules = InferenceRules::default();
        Self { service, catalogue, rules, shared: Vec::new(), purse, ledger, records, sessions, rises }
    }

    /// Sends a request as it is; its answer may still stream.
    pub async fn send(&self, request: Request<impl Into<Bytes>>) -> Response<Body> {
        self.send_under(Some(&Simple), request).await
    }

    pub async fn send_under(&self, router: Option<&dyn Router>, request: Request<impl Into<Bytes>>) -> Response<Body> {
        let (parts, body) = request.into_parts();
        let terms =
            Terms { generation: 7, router, catalogue: &self.catalogue, rules: &self.rules, shared: &self.shared };
        self.service.answer(&terms, &Caller::default(), parts, full(body.into())).await
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

/// The last text of a request in any of the APIs.
fn last_text(asked: &serde_json::Value) -> String {
    let turns = asked["messages"].as_array().or(asked["input"].as_array());
    let content = turns.and_then(|turns| turns.last()).map_or(&asked["input"], |turn| &turn["content"]);
    let parts = content.as_array().and_then(|parts| parts.last()).map_or(content, |part| &part["text"]);
    parts.as_str().unwrap_or_default().to_owned()
}

fn echo(path: &str, body: &[u8]) -> Response<Body> {
    use serde_json::json;
    let asked: serde_json::Value = serde_json::from_slice(body).expect("JSON");
    let said = last_text(&asked);
    let arguments = json!({ "said": said }).to_string();
    let stream = asked["stream"] == true;
    let pieces = |text: &str| -> Vec<String> {
        text.chars().collect::<Vec<_>>().chunks(3).map(|piece| piece.iter().collect()).collect()
    };
    let mut events = String::new();
    let mut event = |data: serde_json::Value| {
        let name = data["type"].as_str().map(|name| format!("event: {name}\n")).unwrap_or_default();
        events.push_str(&format!("{name}data: {data}\n\n"));
    };
    let whole = if path.ends_with("/messages") {
        event(json!({"type": "message_start", "message": {"id": "msg_1", "model": "m", "usage": {"input_tokens": 7}}}));
        event(json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}));
        for text in pieces(&said) {
            event(json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}}));
        }
        event(json!({"type": "content_block_stop", "index": 0}));
        event(
            json!({"type": "content_block_start", "index": 1, "content_block": {"type": "tool_use", "id": "t1", "name": "f", "input": {}}}),
        );
        for partial in pieces(&arguments) {
            let delta = json!({"type": "input_json_delta", "partial_json": partial});
            event(json!({"type": "content_block_delta", "index": 1, "delta": delta}));
        }
        event(json!({"type": "content_block_stop", "index": 1}));
        event(json!({"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 5}}));
        event(json!({"type": "message_stop"}));
        json!({"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "stop_reason": "tool_use",
            "content": [{"type": "text", "text": said}, {"type": "tool_use", "id": "t1", "name": "f", "input": {"said": said}}],
            "usage": {"input_tokens": 7, "output_tokens": 5}})
    } else if path.ends_with("/responses") {
        let message = json!({"id": "m1", "type": "message", "status": "completed", "role": "assistant",
            "content": [{"type": "output_text", "text": said, "annotations": []}]});
        let call = json!({"id": "f1", "type": "function_call", "status": "completed", "call_id": "c1", "name": "f", "arguments": arguments});
        let response = json!({"id": "resp_1", "object": "response", "created_at": 1, "status": "completed", "model": "m",
            "output": [message, call], "usage": {"input_tokens": 7, "output_tokens": 5, "total_tokens": 12}});
        event(
            json!({"type": "response.created", "sequence_number": 0, "response": {"id": "resp_1", "status": "in_progress", "output": []}}),
        );
        event(
            json!({"type": "response.output_item.added", "sequence_number": 1, "output_index": 0, "item": {"type": "message", "id": "m1", "content": []}}),
        );
        let mut number = 1;
        for delta in pieces(&said) {
            number += 1;
            event(
                json!({"type": "response.output_text.delta", "sequence_number": number, "output_index": 0, "content_index": 0, "item_id": "m1", "delta": delta}),
            );
        }
        event(
            json!({"type": "response.output_item.done", "sequence_number": number + 1, "output_index": 0, "item": message}),
        );
        event(json!({"type": "response.completed", "sequence_number": number + 2, "response": response}));
        response
    } else {
        let chunk = |delta: serde_json::Value, finish: serde_json::Value| {
            json!({"id": "chatcmpl-1", "object": "chat.completion.chunk", "model": "m",
                "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})
        };
        for content in pieces(&said) {
            event(chunk(json!({"content": content}), json!(null)));
        }
        event(chunk(
            json!({"tool_calls": [{"index": 0, "id": "c1", "type": "function", "function": {"name": "f", "arguments": ""}}]}),
            json!(null),
        ));
        for partial in pieces(&arguments) {
            event(chunk(json!({"tool_calls": [{"index": 0, "function": {"arguments": partial}}]}), json!(null)));
        }
        event(chunk(json!({}), json!("tool_calls")));
        event(json!({"id": "chatcmpl-1", "choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 5}}));
        events.push_str("data: [DONE]\n\n");
        let call = json!({"id": "c1", "type": "function", "function": {"name": "f", "arguments": arguments}});
        json!({"id": "chatcmpl-1", "object": "chat.completion", "model": "m", "choices": [{"index": 0, "finish_reason": "tool_calls",
            "message": {"role": "assistant", "content": said, "tool_calls": [call]}}],
            "usage": {"prompt_tokens": 7, "completion_tokens": 5}})
    };
    let (kind, text) = if stream { ("text/event-stream", events) } else { ("application/json", whole.to_string()) };
    Response::builder().header("content-type", kind).body(full(text.into())).expect("response")
}
