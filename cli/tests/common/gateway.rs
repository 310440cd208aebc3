//! A gateway played by the test: real TLS, HTTP and WebSockets, and answers of the real wire types.

use std::path::Path;
use std::sync::{Arc, Mutex};

use axum::body::Bytes;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::extract::{Path as UrlPath, RawQuery, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::{any, delete, get, post};
use axum::{Json, Router};
use openshell_api::Problem;
use openshell_api::stream::{StreamControl, StreamEvent, StreamRequest};
use serde_json::{Value, json};

use crate::common::Ran;

pub const TOKEN: &str = "the-admin-token";

/// What it was asked: method, path with query, and body.
pub type Seen = Arc<Mutex<Vec<(String, String)>>>;

pub struct Gateway {
    pub url: String,
    seen: Seen,
    _runtime: tokio::runtime::Runtime,
}

impl Gateway {
    /// What a command wrote, with a name in the place of this gateway's address, which is another one each time.
    pub fn without_port(&self, mut ran: Ran) -> Ran {
        for text in [&mut ran.stdout, &mut ran.stderr] {
            *text = text.replace(&self.url, "https://gateway.test");
        }
        ran
    }

    /// Starts one and writes the endpoint file that leads to it into `state_dir`.
    pub fn start(state_dir: &Path) -> Self {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let seen = Seen::default();
        let key = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).expect("a certificate");
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.set_nonblocking(true).expect("non-blocking");
        let url = format!("https://{}", listener.local_addr().expect("an address"));
        write_endpoint(state_dir, &url, &key.cert.pem(), TOKEN);

        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(
                vec![key.cert.der().clone()],
                rustls_pki_types::PrivateKeyDer::try_from(key.signing_key.serialize_der()).expect("a key"),
            )
            .expect("a configuration");
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
        let routes = routes(seen.clone());
        runtime.spawn(async move {
            let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
            while let Ok((tcp, _)) = listener.accept().await {
                let (acceptor, routes) = (acceptor.clone(), routes.clone());
                tokio::spawn(async move {
                    let Ok(tls) = acceptor.accept(tcp).await else { return };
                    let service = hyper_util::service::TowerToHyperService::new(routes);
                    let executor = hyper_util::rt::TokioExecutor::new();
                    let _ = hyper_util::server::conn::auto::Builder::new(executor)
                        .serve_connection_with_upgrades(hyper_util::rt::TokioIo::new(tls), service)
                        .await;
                });
            }
        });
        Self { url, seen, _runtime: runtime }
    }

    /// Bodies that were sent to `method path`, as JSON where they are.
    pub fn bodies(&self, request: &str) -> Vec<Value> {
        let seen = self.seen.lock().expect("unpoisoned");
        let found = seen.iter().filter(|(asked, _)| asked == request);
        found.map(|(_, body)| serde_json::from_str(body).unwrap_or_else(|_| body.as_str().into())).collect()
    }
}

pub fn write_endpoint(state_dir: &Path, url: &str, ca: &str, token: &str) {
    std::fs::create_dir_all(state_dir).expect("created");
    let write = |file: &str, text: &str| std::fs::write(state_dir.join(file), text).expect("written");
    write("ca.pem", ca);
    write("token", token);
    let endpoint = json!({
        "url": url, "ca": state_dir.join("ca.pem"), "token_file": state_dir.join("token"),
        "pid": std::process::id(), "version": "0.1.0",
    });
    write("endpoint.json", &endpoint.to_string());
}

fn routes(seen: Seen) -> Router {
    Router::new()
        .route(
            "/.well-known/openshell",
            get(|| async { Json(json!({ "version": "0.1.0", "auth": [{ "kind": "token" }] })) }),
        )
        .route("/v1/whoami", get(|| async { Json(json!({ "user": "alice", "role": "admin", "via": "token" })) }))
        .route("/v1/status", get(|| async { Json(status()) }))
        .route("/v1/sandboxes", get(|| async { Json(json!([sandbox("demo", "running")])) }).post(create))
        .route("/v1/sandboxes/{name}", get(one).delete(|| async { axum::http::StatusCode::NO_CONTENT }))
        .route("/v1/sandboxes/{name}/verify", post(|| async { Json(proof()) }))
        .route("/v1/sandboxes/{name}/logs", get(logs))
        .route("/v1/sandboxes/{name}/streams", any(streams))
        .route("/v1/sandboxes/{name}/policies", get(|| async { Json(policies()) }))
        .route("/v1/sandboxes/{name}/generations", get(|| async { Json(generations()) }))
        .route("/v1/sandboxes/{name}/rollback", post(|| async { Json(report()) }))
        .route("/v1/modules", get(|| async { Json(json!([module("rules")])) }))
        .route("/v1/pushes", post(|| async { Json(report()) }))
        .route("/v1/decisions", get(decisions))
        .route("/v1/rollouts", get(|| async { Json(json!([])) }))
        .route("/v1/providers", post(provider))
        .route(
            "/v1/providers/{name}",
            delete(|| async { refusal(404, "provider_not_found", "there is no provider x") }),
        )
        .layer(axum::middleware::from_fn_with_state(seen, watch))
}

/// Checks the token and keeps what was asked.
async fn watch(State(seen): State<Seen>, request: Request, next: Next) -> Response {
    let bearer = request.headers().get("authorization").and_then(|value| value.to_str().ok());
    let open = request.uri().path() == "/.well-known/openshell";
    if !open && bearer != Some(&format!("Bearer {TOKEN}")) {
        return refusal(401, "unauthorized", "the request carries no valid bearer token");
    }
    let asked = format!("{} {}", request.method(), request.uri());
    if request.headers().contains_key("upgrade") {
        return next.run(request).await;
    }
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, usize::MAX).await.expect("a body");
    seen.lock().expect("unpoisoned").push((asked, String::from_utf8_lossy(&body).into_owned()));
    next.run(Request::from_parts(parts, body.into())).await
}

fn refusal(status: u16, code: &str, detail: &str) -> Response {
    let status_code = axum::http::StatusCode::from_u16(status).expect("a status");
    (status_code, Json(Problem::new(status, code, detail))).into_response()
}

fn hours_ago(hours: i64) -> String {
    let then = jiff::Timestamp::now() - jiff::SignedDuration::from_mins(hours * 60 + 30);
    then.to_string()
}

fn status() -> Value {
    json!({ "version": "0.1.0", "uptime_s": 90, "sandboxes": 1, "connected": 1, "modules": 2, "decisions": 7,
        "runtimes": ["process"] })
}

fn sandbox(name: &str, phase: &str) -> Value {
    json!({ "id": "01J", "name": name, "runtime": "process", "phase": phase, "connected": true, "generation": 2,
        "command": ["python3", "agent.py"], "labels": { "team": "red" }, "created_at": hours_ago(3) })
}

async fn create(body: Bytes) -> Json<Value> {
    let spec: Value = serde_json::from_slice(&body).expect("JSON");
    Json(sandbox(spec["name"].as_str().unwrap_or("chosen-name"), "running"))
}

/// `demo` runs; `once` has ended with 7; `broken` failed.
async fn one(UrlPath(name): UrlPath<String>) -> Response {
    let mut shown = sandbox(&name, "running");
    shown["created_at"] = "2026-01-10T12:00:00Z".into();
    match name.as_str() {
        "demo" => {}
        "once" => {
            (shown["phase"], shown["exit_code"]) = ("exited".into(), 7.into());
            (shown["enforcement"], shown["degraded"]) = (proof(), json!(["landlock"]));
            shown["observing"] = true.into();
        }
        "broken" => (shown["phase"], shown["failure"]) = ("failed".into(), "no such program".into()),
        _ => return refusal(404, "sandbox_not_found", &format!("there is no sandbox {name}")),
    }
    Json(shown).into_response()
}

/// What a probe found: one wall held, one is missing with leave, and one without.
fn proof() -> Value {
    let check = |name: &str, expected: &str, seen: &str, outcome: &str| json!({ "name": name, "expected": expected, "seen": seen, "outcome": outcome });
    json!({ "at": "2026-01-10T12:00:00Z", "checks": [
        check("dial-v4", "led to the proxy at port 3128", "connected to 127.0.0.1:3128", "proven"),
        check("leaked-handle", "EACCES", "it succeeded", "waived"),
        check("mount", "EPERM", "it succeeded", "failed"),
    ] })
}

async fn logs(UrlPath(name): UrlPath<String>, RawQuery(query): RawQuery) -> Response {
    let line = |stream: &str, line: &str| json!({ "at": "2026-01-10T12:00:00Z", "stream": stream, "line": line });
    let mut lines = vec![line("supervisor", "walls are up"), line("stdout", "hello"), line("stderr", "careful")];
    if name == "once" {
        let mut missing =
            line("gateway", "3 lines were dropped here: the gateway keeps the last 50,000 lines of a sandbox");
        missing["lost"] = 3.into();
        lines.insert(1, missing);
        let mut end = line("supervisor", "the workload exited with code 7");
        end["exit_code"] = 7.into();
        lines.push(end);
    }
    if query.is_some_and(|query| query.contains("follow=true")) {
        // In pieces that do not end where lines do, and an end that never comes: as of a living sandbox.
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        let middle = text.len() / 2;
        let (first, second) = (text[..middle].to_owned(), text[middle..].to_owned());
        let (sender, receiver) = tokio::sync::mpsc::channel::<Result<String, std::io::Error>>(1);
        tokio::spawn(async move {
            for part in [first, second] {
                let _ = sender.send(Ok(part)).await;
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
            sender.closed().await;
        });
        let stream =
            futures_util::stream::unfold(receiver, |mut receiver| async { Some((receiver.recv().await?, receiver)) });
        return axum::body::Body::from_stream(stream).into_response();
    }
    Json(json!(lines)).into_response()
}

fn binding(name: &str, settings: Value) -> Value {
    let digest = format!("sha256:{}", "0123456789abcdef".repeat(4));
    json!({ "name": name, "version": "1.0.0", "module": digest, "artifact": digest, "settings": settings,
        "reuse": 0, "deadline_ms": 50, "granted_imports": ["log", "view"] })
}

fn policies() -> Value {
    json!({ "generation": 2, "enforcing": true, "ceiling": [],
        "chain": [binding("rules", json!({ "yaml": "version: 1\nnetwork_policies: {}\n" }))],
        "router": binding("privacy-router", json!({})) })
}

fn generations() -> Value {
    json!([
        { "number": 2, "cause": "push rules@1.0.0", "created_at": hours_ago(1), "enforcing": true,
          "policies": ["rules@1.0.0"], "router": "privacy-router@1.0.0" },
        { "number": 1, "cause": "created", "created_at": hours_ago(3), "enforcing": false, "policies": [] },
    ])
}

fn module(name: &str) -> Value {
    json!({ "digest": "sha256:aa", "name": name, "version": "1.0.0", "size": 1024, "contract": "0.1.0",
        "hooks": ["connect", "request"], "imports": ["log", "view"], "pure_verdicts": true, "settings_schema": {},
        "created_at": hours_ago(3) })
}

fn report() -> Value {
    json!({ "enforcing": [{ "sandbox": "demo", "generation": 3, "connections_cut": 1 }],
        "newly_imports": ["clock"], "no_longer_imports": [],
        "timing": { "compile_us": 0, "stage_us": 8_200, "activate_us": 1_500, "total_us": 9_900 } })
}

async fn decisions(RawQuery(query): RawQuery) -> Response {
    let record = json!({ "id": "01J", "at": "2026-01-10T12:00:00.5Z", "sandbox": "demo", "generation": 2,
        "stage": "request", "process": { "executable": "/usr/bin/curl", "digest": "", "pid": 12 },
        "host": "api.test", "port": 443, "method": "POST", "path": "/items\u{1b}[31m", "status": 403, "verdict": "deny",
        "error": "policy_denied", "policy": "rules@1.0.0", "digest": "sha256:aa", "rule": "read-only",
        "reason": "POST would write", "hint": "use GET", "decision_ns": 12_345, "memoized": false });
    if query.is_some_and(|query| query.contains("follow=true")) {
        return format!("{record}\n{record}\n").into_response();
    }
    Json(json!([record])).into_response()
}

async fn provider(body: Bytes) -> Json<Value> {
    let given: Value = serde_json::from_slice(&body).expect("JSON");
    Json(json!({ "name": given["name"], "type": given["type"], "created_at": hours_ago(0),
        "rule": { "attach": { "scheme": "bearer" }, "hosts": ["api.openai.com"] } }))
}

async fn streams(UrlPath(name): UrlPath<String>, upgrade: WebSocketUpgrade) -> Response {
    if name != "demo" {
        return refusal(404, "sandbox_not_found", &format!("there is no sandbox {name}"));
    }
    upgrade.on_upgrade(run)
}

/// Plays the programs `talk`, `cat`, `signalled`, `missing` and `cut`.
async fn run(mut socket: WebSocket) {
    let Some(Ok(Message::Text(text))) = socket.recv().await else { return };
    let request: StreamRequest = serde_json::from_str(&text).expect("a request");
    let StreamRequest::Exec { exec: request, resumable } = request else { panic!("not a command: {request:?}") };
    assert!(resumable, "a command line's command outlives its connection");
    let output = |stream: u8, text: &[u8]| Message::Binary([&[stream], text].concat().into());
    let end = match request.command[0].as_str() {
        "talk" => {
            let said = format!("{} {}\n", request.command[1..].join(" "), request.env["MODE"]);
            let _ = socket.send(output(1, said.as_bytes())).await;
            let _ = socket.send(output(2, b"to stderr\n")).await;
            StreamEvent::Exited { code: 3, signal: None }
        }
        "cat" => {
            while let Some(Ok(Message::Binary(data))) = socket.recv().await {
                if data.is_empty() {
                    break;
                }
                let _ = socket.send(output(1, &data)).await;
            }
            StreamEvent::Exited { code: 0, signal: None }
        }
        "signalled" => {
            let _ = socket.send(output(1, b"ready\n")).await;
            loop {
                match socket.recv().await {
                    Some(Ok(Message::Text(text))) => match serde_json::from_str(&text).expect("a control") {
                        StreamControl::Signal { signal } => {
                            break StreamEvent::Exited { code: 128 + signal, signal: Some(signal) };
                        }
                        StreamControl::Resize(_) | StreamControl::Received { .. } => {}
                    },
                    Some(Ok(_)) => {}
                    _ => return,
                }
            }
        }
        "missing" => StreamEvent::Failed { reason: "not found in PATH".into() },
        _ => return,
    };
    let _ = socket.send(Message::text(serde_json::to_string(&end).expect("JSON"))).await;
    // Closing with input unread would reset the connection, and the end might be lost on its way.
    while let Some(Ok(_)) = socket.recv().await {}
}
