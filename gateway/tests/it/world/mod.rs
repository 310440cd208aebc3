//! A gateway of its own per test, and supervisors that speak the real link protocol.
#![allow(dead_code)] // Each test crate uses its part.

#[macro_use]
mod database;
mod mood;
pub mod postgres;
mod received;
pub mod supervisor;
pub mod websocket;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

pub use database::Database;
use openshell_api::launch::LaunchSpec;
use openshell_api::sandbox::{CreateSandbox, RuntimeKind};
use openshell_gateway::identity::IdentityOptions;
use openshell_gateway::runtime::{Places, Runtime, RuntimeError, Start};
use openshell_gateway::{Options, Running};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use supervisor::Supervisor;
use tokio_util::sync::CancellationToken;

/// A sandbox's supervisor inside this process.
#[derive(Clone)]
pub struct Seat {
    pub spec: LaunchSpec,
    pub supervisor: Supervisor,
    pub ended: CancellationToken,
}

/// Runs supervisors as tasks of this process. They outlive the gateway, as real ones do.
#[derive(Default)]
pub struct InProcess {
    pub seats: Mutex<HashMap<String, Seat>>,
    /// The next ones never dial in.
    pub mute: std::sync::atomic::AtomicBool,
}

impl InProcess {
    pub fn seat(&self, name: &str) -> Seat {
        let seats = self.seats.lock().unwrap();
        seats.values().find(|seat| seat.spec.sandbox.as_str() == name).expect("the sandbox was started").clone()
    }
}

#[async_trait::async_trait]
impl Runtime for InProcess {
    fn kind(&self) -> RuntimeKind {
        RuntimeKind::Process
    }

    fn places(&self, id: &str) -> Places {
        Places { state_dir: format!("/nowhere/{id}/state"), workspace: format!("/nowhere/{id}/workspace") }
    }

    fn refusal(&self, _spec: &CreateSandbox) -> Option<String> {
        None
    }

    async fn start(&self, start: &Start) -> Result<(), RuntimeError> {
        let spec = &start.launch;
        let supervisor = Supervisor::new(spec.clone());
        let seat = Seat { spec: spec.clone(), supervisor: supervisor.clone(), ended: CancellationToken::new() };
        self.seats.lock().unwrap().insert(spec.sandbox_id.clone(), seat);
        if !self.mute.load(std::sync::atomic::Ordering::Relaxed) {
            supervisor.connect();
        }
        Ok(())
    }

    async fn alive(&self, id: &str) -> Result<bool, RuntimeError> {
        Ok(self.seats.lock().unwrap().get(id).is_some_and(|seat| !seat.ended.is_cancelled()))
    }

    async fn wait(&self, id: &str) {
        let ended = self.seats.lock().unwrap().get(id).map(|seat| seat.ended.clone());
        if let Some(ended) = ended {
            ended.cancelled().await;
        }
    }

    async fn stop(&self, id: &str, _grace: Duration) -> Result<(), RuntimeError> {
        if let Some(seat) = self.seats.lock().unwrap().get(id) {
            seat.supervisor.disconnect();
            seat.ended.cancel();
        }
        Ok(())
    }

    async fn remove(&self, id: &str) -> Result<(), RuntimeError> {
        self.seats.lock().unwrap().remove(id);
        Ok(())
    }

    async fn log_tail(&self, _id: &str, _lines: usize) -> String {
        "the supervisor's last words".to_owned()
    }

    async fn traces(&self) -> Result<Vec<String>, RuntimeError> {
        Ok(self.seats.lock().unwrap().keys().cloned().collect())
    }
}

/// A gateway and what it takes to ask it.
pub struct World {
    pub running: Running,
    pub runtime: Arc<InProcess>,
    pub dir: tempfile::TempDir,
    pub http: reqwest::Client,
    pub token: String,
    pub identity: IdentityOptions,
    pub database: Database,
}

/// An answer: status and JSON body (null where there is none).
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub content_type: String,
    pub etag: String,
    pub replayed: bool,
    pub body: Value,
}

impl Answer {
    /// What a request is answered.
    pub async fn to(request: reqwest::RequestBuilder) -> reqwest::Result<Self> {
        let response = request.send().await?;
        let content_type = response.headers().get("content-type").map(|value| value.to_str().unwrap().to_owned());
        let etag = response.headers().get("etag").map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default();
        let replayed = response.headers().contains_key("idempotency-replayed");
        let status = response.status();
        let body = serde_json::from_slice(&response.bytes().await?).unwrap_or(Value::Null);
        Ok(Self { status, content_type: content_type.unwrap_or_default(), etag, replayed, body })
    }

    /// The body, if the call succeeded.
    #[track_caller]
    pub fn ok(self) -> Value {
        assert!(self.status.is_success(), "{self:?}");
        self.body
    }

    /// Status and code of a problem.
    #[track_caller]
    pub fn problem(self, status: u16, code: &str) -> Value {
        assert_eq!((self.status.as_u16(), self.body["code"].as_str()), (status, Some(code)), "{self:?}");
        assert_eq!(self.content_type, "application/problem+json");
        assert!(self.body["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{self:?}");
        self.body
    }
}

impl World {
    pub async fn new(database: Database) -> Self {
        Self::with(database, IdentityOptions::default()).await
    }

    /// One whose gateway knows its callers so.
    pub async fn with(database: Database, identity: IdentityOptions) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let runtime = Arc::new(InProcess::default());
        Self::open(dir, runtime, identity, database).await
    }

    /// One on a directory that holds a state already.
    pub async fn at(dir: tempfile::TempDir) -> Self {
        Self::open(dir, Arc::default(), IdentityOptions::default(), Database::Sqlite).await
    }

    async fn open(
        dir: tempfile::TempDir,
        runtime: Arc<InProcess>,
        identity: IdentityOptions,
        database: Database,
    ) -> Self {
        let running = Running::start(Options {
            state_dir: dir.path().join("state"),
            database: database.url(),
            modules: None,
            internal_url: None,
            listen: "127.0.0.1:0".parse().unwrap(),
            proxy_socket: None,
            public_url: None,
            compile_cache: std::env::var_os("OPENSHELL_COMPILE_CACHE").map(Into::into),
            containers_only: false,
            upstream_ca: None,
            supervisor: "/nowhere/openshell-supervisor".into(),
            runtime: Some(runtime.clone()),
            default_runtime: None,
            default_image: String::new(),
            start_timeout: Duration::from_secs(5),
            lost_after: Duration::from_secs(30),
            identity: identity.clone(),
            passphrase: None,
        })
        .await
        .unwrap();
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let ca = std::fs::read(&running.endpoint.ca).unwrap();
        let http = reqwest::Client::builder()
            .tls_certs_only([reqwest::Certificate::from_pem(&ca).unwrap()])
            .no_proxy()
            .build()
            .unwrap();
        let token = std::fs::read_to_string(&running.endpoint.token_file).unwrap();
        Self { running, runtime, dir, http, token, identity, database }
    }

    /// Stops the gateway and starts another one on its directory; supervisors stay as they are.
    pub async fn restart(self) -> Self {
        self.changed_while_stopped(|_| ()).await
    }

    /// The same, with something done to its state directory in between.
    pub async fn changed_while_stopped(self, change: impl FnOnce(&std::path::Path)) -> Self {
        let Self { running, runtime, dir, identity, database, .. } = self;
        running.stop().await;
        change(&dir.path().join("state"));
        Self::open(dir, runtime, identity, database).await
    }

    /// The same with something that takes its time.
    pub async fn changed_meanwhile(self, change: impl AsyncFnOnce(&std::path::Path)) -> Self {
        let Self { running, runtime, dir, identity, database, .. } = self;
        running.stop().await;
        change(&dir.path().join("state")).await;
        Self::open(dir, runtime, identity, database).await
    }

    /// Makes a user and answers a token of it.
    pub async fn user(&self, name: &str, role: &str) -> String {
        self.post("/v1/users", json!({ "name": name, "role": role })).await.ok();
        let token = self.post(&format!("/v1/users/{name}/tokens"), json!({ "name": "test" })).await.ok();
        token["secret"].as_str().unwrap().to_owned()
    }

    /// A call with another token than the administrator's.
    pub async fn call(&self, token: &str, method: Method, path: &str, body: Option<Value>) -> Answer {
        let request = self.http.request(method, format!("{}{path}", self.running.endpoint.url)).bearer_auth(token);
        self.send(match body {
            Some(body) => request.json(&body),
            None => request,
        })
        .await
    }

    pub fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.http.request(method, format!("{}{path}", self.running.endpoint.url)).bearer_auth(&self.token)
    }

    pub async fn send(&self, request: reqwest::RequestBuilder) -> Answer {
        Answer::to(request).await.unwrap()
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(self.request(Method::GET, path)).await
    }

    /// Items of a list's first page.
    pub async fn items(&self, path: &str) -> Value {
        self.get(path).await.ok()["items"].take()
    }

    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.send(self.request(Method::POST, path).json(&body)).await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        self.send(self.request(Method::DELETE, path)).await
    }

    /// Makes a sandbox and answers its supervisor.
    pub async fn sandbox(&self, name: &str) -> Supervisor {
        self.post("/v1/sandboxes", json!({ "name": name })).await.ok();
        self.runtime.seat(name).supervisor
    }

    /// Digest of the built-in `rules`.
    pub async fn rules(&self) -> String {
        let modules = self.items("/v1/modules").await;
        let rules = modules.as_array().unwrap().iter().find(|module| module["name"] == "rules").unwrap().clone();
        rules["digest"].as_str().unwrap().to_owned()
    }

    /// Pushes `rules` that allow one host.
    pub async fn push(&self, sandboxes: &[&str], host: &str) -> Answer {
        let module = self.rules().await;
        self.post("/v1/pushes", json!({ "sandboxes": sandboxes, "module": module, "settings": allow(host) })).await
    }

    /// The generation a sandbox enforces, as the gateway knows it.
    pub async fn generation(&self, name: &str) -> u64 {
        self.get(&format!("/v1/sandboxes/{name}")).await.ok()["generation"].as_u64().unwrap()
    }

    /// Waits until a JSON value looks as wanted.
    pub async fn until(&self, path: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let began = std::time::Instant::now();
        loop {
            let found = self.get(path).await.body;
            if wanted(&found) {
                return found;
            }
            assert!(began.elapsed() < Duration::from_secs(20), "{path} does not come to look as wanted: {found}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

/// Settings of `rules` that allow one host.
pub fn allow(host: &str) -> Value {
    json!({ "yaml": format!(
        "version: 1\nnetwork_policies:\n  one:\n    endpoints:\n      - {{host: {host}, port: 443, protocol: rest, access: read-only}}\n    binaries: [{{path: /usr/bin/curl}}]\n"
    ) })
}
