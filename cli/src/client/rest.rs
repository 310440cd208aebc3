//! The gateway's REST API.

use std::time::Duration;

use openshell_api::Name;
use openshell_api::decision::DecisionRecord;
use openshell_api::enforcement::Enforcement;
use openshell_api::export::{AddExport, ExportState};
use openshell_api::generation::GenerationSummary;
use openshell_api::inference::{Backend, BackendTest, InferenceRules, Session, Usage};
use openshell_api::module::Module;
use openshell_api::proposal::{Approve, Proposal, Reject};
use openshell_api::provider::{CreateProvider, Provider};
use openshell_api::push::{Policies, Push, PushReport, Rollback};
use openshell_api::rollout::{PromoteRollout, Rollout, RolloutReport};
use openshell_api::sandbox::{CreateSandbox, LogLine, Sandbox};
use openshell_api::shadow::{Promote, ShadowReport};
use openshell_api::signature::{AddPublisher, AddedPublisher, ModuleSignature, Publisher, SIGNATURE_HEADER};
use openshell_api::status::Status;
use reqwest::{Method, RequestBuilder, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::access::{Access, Door};
use super::foreign::foreign;
use super::pages::Tagged;
use crate::error::Error;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A gateway's REST API. Each call is one request; none is retried.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    access: Access,
}

impl Client {
    /// A client that trusts whom the access says, and follows no redirection: a gateway makes none. Opens the way to the
    /// gateway if it takes a tunnel; does not dial yet.
    pub async fn new(access: Access) -> Result<Self, Error> {
        let failed = |e: reqwest::Error| Error::Untrusted { url: access.url.clone(), reason: Chain(&e).to_string() };
        let mut http = reqwest::Client::builder()
            .tls_backend_preconfigured(access.tls(&[b"h2", b"http/1.1"])?)
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .user_agent(concat!("openshell/", env!("CARGO_PKG_VERSION")));
        if let Door::Socket(socket) = access.keeper.door().await? {
            http = http.unix_socket(socket);
        }
        Ok(Self { http: http.build().map_err(failed)?, access })
    }

    /// What the client was made from.
    pub fn access(&self) -> &Access {
        &self.access
    }

    /// `GET /v1/status`.
    pub async fn status(&self) -> Result<Status, Error> {
        self.get("/v1/status").await
    }

    /// `GET /v1/status`, given up after a while.
    pub async fn status_within(&self, limit: Duration) -> Result<Status, Error> {
        let path = "/v1/status";
        json(self.send(Method::GET, path, self.request(Method::GET, path).timeout(limit)).await?, "GET", path).await
    }

    /// `POST /v1/sandboxes`.
    pub async fn create_sandbox(&self, spec: &CreateSandbox) -> Result<Sandbox, Error> {
        self.post("/v1/sandboxes", spec).await
    }

    /// `GET /v1/sandboxes`.
    pub async fn sandboxes(&self) -> Result<Vec<Sandbox>, Error> {
        self.all("/v1/sandboxes", &[]).await
    }

    /// `GET /v1/sandboxes/{name}`.
    pub async fn sandbox(&self, name: &Name) -> Result<Sandbox, Error> {
        self.get(&format!("/v1/sandboxes/{name}")).await
    }

    /// `POST /v1/sandboxes/{name}/stop`.
    pub async fn stop_sandbox(&self, name: &Name) -> Result<Sandbox, Error> {
        self.post(&format!("/v1/sandboxes/{name}/stop"), &()).await
    }

    /// `DELETE /v1/sandboxes/{name}`.
    pub async fn delete_sandbox(&self, name: &Name) -> Result<(), Error> {
        self.delete(&format!("/v1/sandboxes/{name}")).await
    }

    /// `POST /v1/sandboxes/{name}/verify`.
    pub async fn verify_sandbox(&self, name: &Name) -> Result<Enforcement, Error> {
        self.post(&format!("/v1/sandboxes/{name}/verify"), &()).await
    }

    /// `GET /v1/sandboxes/{name}/logs`: the newest so many.
    pub async fn logs(&self, name: &Name, limit: usize) -> Result<Vec<LogLine>, Error> {
        self.newest_records(&format!("/v1/sandboxes/{name}/logs"), &[], limit).await
    }

    /// `GET /v1/modules`.
    pub async fn modules(&self) -> Result<Vec<Module>, Error> {
        self.all("/v1/modules", &[]).await
    }

    /// `POST /v1/modules?name=&version=&replace=` with the component's bytes.
    pub async fn upload_module(
        &self,
        name: &Name,
        version: &str,
        replace: bool,
        signature: Option<&ModuleSignature>,
        component: Vec<u8>,
    ) -> Result<Module, Error> {
        let path = "/v1/modules";
        let mut request = self
            .request(Method::POST, path)
            .query(&[("name", name.as_str()), ("version", version)])
            .query(&[("replace", replace)])
            .header("content-type", "application/wasm")
            .body(component);
        if let Some(signature) = signature {
            request = request.header(SIGNATURE_HEADER, serde_json::json!(signature).to_string());
        }
        json(self.send(Method::POST, path, request).await?, "POST", path).await
    }

    /// `POST /v1/pushes`.
    pub async fn push(&self, push: &Push) -> Result<PushReport, Error> {
        self.post("/v1/pushes", push).await
    }

    /// `POST /v1/sandboxes/{name}/rollback`.
    pub async fn rollback(&self, name: &Name, rollback: &Rollback) -> Result<PushReport, Error> {
        self.post(&format!("/v1/sandboxes/{name}/rollback"), rollback).await
    }

    /// `GET /v1/sandboxes/{name}/generations`.
    pub async fn generations(&self, name: &Name) -> Result<Vec<GenerationSummary>, Error> {
        self.all(&format!("/v1/sandboxes/{name}/generations"), &[]).await
    }

    /// `GET /v1/sandboxes/{name}/policies`.
    pub async fn policies(&self, name: &Name) -> Result<Policies, Error> {
        self.get(&format!("/v1/sandboxes/{name}/policies")).await
    }

    /// `POST /v1/providers`.
    pub async fn create_provider(&self, provider: &CreateProvider) -> Result<Provider, Error> {
        self.post("/v1/providers", provider).await
    }

    /// `GET /v1/providers`.
    pub async fn providers(&self) -> Result<Vec<Provider>, Error> {
        self.all("/v1/providers", &[]).await
    }

    /// `DELETE /v1/providers/{name}`.
    pub async fn delete_provider(&self, name: &Name) -> Result<(), Error> {
        self.delete(&format!("/v1/providers/{name}")).await
    }

    /// `POST /v1/inference/backends`.
    pub async fn add_backend(&self, backend: &Backend) -> Result<Backend, Error> {
        self.post("/v1/inference/backends", backend).await
    }

    /// `GET /v1/inference/backends`.
    pub async fn backends(&self) -> Result<Vec<Backend>, Error> {
        self.all("/v1/inference/backends", &[]).await
    }

    /// `GET /v1/inference/backends/{name}`.
    pub async fn backend(&self, name: &Name) -> Result<Tagged<Backend>, Error> {
        self.get_tagged(&format!("/v1/inference/backends/{name}")).await
    }

    /// `PUT /v1/inference/backends/{name}`, in the place of what was read.
    pub async fn set_backend(&self, backend: &Backend, etag: Option<&str>) -> Result<Backend, Error> {
        self.put_tagged(&format!("/v1/inference/backends/{}", backend.name), backend, etag).await
    }

    /// `POST /v1/inference/backends/{name}/test`.
    pub async fn test_backend(&self, name: &Name) -> Result<BackendTest, Error> {
        self.post(&format!("/v1/inference/backends/{name}/test"), &()).await
    }

    /// `GET /v1/inference/usage`.
    pub async fn usage(&self, query: &[(&str, String)]) -> Result<Vec<Usage>, Error> {
        self.all("/v1/inference/usage", query).await
    }

    /// `GET /v1/sandboxes/{name}/inference`.
    pub async fn inference_rules(&self, name: &Name) -> Result<Tagged<InferenceRules>, Error> {
        self.get_tagged(&format!("/v1/sandboxes/{name}/inference")).await
    }

    /// `PUT /v1/sandboxes/{name}/inference`, in the place of what was read.
    pub async fn set_inference_rules(
        &self,
        name: &Name,
        rules: &InferenceRules,
        etag: Option<&str>,
    ) -> Result<InferenceRules, Error> {
        self.put_tagged(&format!("/v1/sandboxes/{name}/inference"), rules, etag).await
    }

    /// `GET /v1/sandboxes/{name}/inference/sessions`.
    pub async fn sessions(&self, name: &Name) -> Result<Vec<Session>, Error> {
        self.all(&format!("/v1/sandboxes/{name}/inference/sessions"), &[]).await
    }

    /// `DELETE /v1/sandboxes/{name}/inference/sessions`: of one session, or of all.
    pub async fn reset_sessions(&self, name: &Name, session: Option<&str>) -> Result<(), Error> {
        let which = session.map(|session| format!("?session={}", segment(session))).unwrap_or_default();
        self.delete(&format!("/v1/sandboxes/{name}/inference/sessions{which}")).await
    }

    /// `DELETE /v1/inference/backends/{name}`.
    pub async fn remove_backend(&self, name: &Name) -> Result<(), Error> {
        self.delete(&format!("/v1/inference/backends/{name}")).await
    }

    /// `POST /v1/exports`.
    pub async fn add_export(&self, export: &AddExport) -> Result<ExportState, Error> {
        self.post("/v1/exports", export).await
    }

    /// `GET /v1/exports`.
    pub async fn exports(&self) -> Result<Vec<ExportState>, Error> {
        self.all("/v1/exports", &[]).await
    }

    /// `DELETE /v1/exports/{name}`.
    pub async fn remove_export(&self, name: &Name) -> Result<(), Error> {
        self.delete(&format!("/v1/exports/{name}")).await
    }

    /// `GET /v1/decisions`: the newest so many.
    pub async fn decisions(&self, query: &[(&str, String)], limit: usize) -> Result<Vec<DecisionRecord>, Error> {
        self.newest_records("/v1/decisions", query, limit).await
    }

    /// `GET /v1/decisions/{id}`.
    pub async fn decision(&self, id: &str) -> Result<DecisionRecord, Error> {
        self.get(&format!("/v1/decisions/{}", segment(id))).await
    }

    /// `GET /v1/decisions/export`: as many as there are, a line each.
    pub async fn export_decisions(&self, query: &[(&str, String)]) -> Result<Response, Error> {
        let path = "/v1/decisions/export";
        self.send(Method::GET, path, self.request(Method::GET, path).query(query)).await
    }

    /// `GET /v1/modules/{digest}/component`.
    pub async fn component(&self, digest: &str) -> Result<Vec<u8>, Error> {
        let path = format!("/v1/modules/{digest}/component");
        let response = self.send(Method::GET, &path, self.request(Method::GET, &path)).await?;
        let bytes = response.bytes().await;
        let answer = |e| Error::Answer { request: format!("GET {path}"), reason: Chain(&e).to_string() };
        bytes.map(Vec::from).map_err(answer)
    }

    /// `GET /v1/sandboxes/{name}/shadows`.
    pub async fn shadows(&self, name: &Name) -> Result<Vec<ShadowReport>, Error> {
        self.all(&format!("/v1/sandboxes/{name}/shadows"), &[]).await
    }

    /// `POST /v1/sandboxes/{name}/promote`.
    pub async fn promote(&self, name: &Name, promote: &Promote) -> Result<PushReport, Error> {
        self.post(&format!("/v1/sandboxes/{name}/promote"), promote).await
    }

    /// `GET /v1/proposals`.
    pub async fn proposals(&self, query: &[(&str, String)]) -> Result<Vec<Proposal>, Error> {
        self.all("/v1/proposals", query).await
    }

    /// `GET /v1/proposals/{id}`.
    pub async fn proposal(&self, id: &str) -> Result<Proposal, Error> {
        self.get(&format!("/v1/proposals/{}", segment(id))).await
    }

    /// `POST /v1/proposals/{id}/approve`.
    pub async fn approve_proposal(&self, id: &str, approve: &Approve) -> Result<PushReport, Error> {
        self.post(&format!("/v1/proposals/{}/approve", segment(id)), approve).await
    }

    /// `POST /v1/proposals/{id}/reject`.
    pub async fn reject_proposal(&self, id: &str, reject: &Reject) -> Result<Proposal, Error> {
        self.post(&format!("/v1/proposals/{}/reject", segment(id)), reject).await
    }

    /// `GET /v1/rollouts`.
    pub async fn rollouts(&self) -> Result<Vec<RolloutReport>, Error> {
        self.all("/v1/rollouts", &[]).await
    }

    /// `POST /v1/rollouts/{id}/promote`.
    pub async fn promote_rollout(&self, id: &str, promote: &PromoteRollout) -> Result<PushReport, Error> {
        self.post(&format!("/v1/rollouts/{}/promote", segment(id)), promote).await
    }

    /// `POST /v1/rollouts/{id}/rollback`.
    pub async fn roll_back_rollout(&self, id: &str) -> Result<Rollout, Error> {
        self.post(&format!("/v1/rollouts/{}/rollback", segment(id)), &()).await
    }

    /// `GET /v1/publishers`.
    pub async fn publishers(&self) -> Result<Vec<Publisher>, Error> {
        self.all("/v1/publishers", &[]).await
    }

    /// `POST /v1/publishers`.
    pub async fn add_publisher(&self, publisher: &AddPublisher) -> Result<AddedPublisher, Error> {
        self.post("/v1/publishers", publisher).await
    }

    /// `DELETE /v1/publishers/{name}`.
    pub async fn remove_publisher(&self, name: &Name, allow_unsigned: bool) -> Result<(), Error> {
        self.delete(&format!("/v1/publishers/{name}?allow_unsigned={allow_unsigned}")).await
    }

    /// `GET` of an answer that does not end: given `follow=true`.
    pub(super) async fn open_stream(&self, path: &str, query: &[(&str, String)]) -> Result<Response, Error> {
        let request = self.request(Method::GET, path).query(query).query(&[("follow", true)]);
        self.send(Method::GET, path, request).await
    }

    /// `GET` without a token: the answer's bytes.
    pub(super) async fn get_openly(&self, path: &str, limit: Duration) -> Result<Vec<u8>, Error> {
        let request = self.request(Method::GET, path).timeout(limit);
        let response = self.send_as_it_is(Method::GET, path, request).await?;
        let answer = |e| Error::Answer { request: format!("GET {path}"), reason: Chain(&e).to_string() };
        response.bytes().await.map(Vec::from).map_err(answer)
    }

    pub(super) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Error> {
        json(self.send(Method::GET, path, self.request(Method::GET, path)).await?, "GET", path).await
    }

    pub(super) async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &(impl Serialize + ?Sized),
    ) -> Result<T, Error> {
        let request = self.request(Method::POST, path).json(body);
        json(self.send(Method::POST, path, request).await?, "POST", path).await
    }

    pub(super) async fn put<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &(impl Serialize + ?Sized),
    ) -> Result<T, Error> {
        let request = self.request(Method::PUT, path).json(body);
        json(self.send(Method::PUT, path, request).await?, "PUT", path).await
    }

    pub(super) async fn delete(&self, path: &str) -> Result<(), Error> {
        self.send(Method::DELETE, path, self.request(Method::DELETE, path)).await.map(drop)
    }

    pub(super) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.access.url)).headers(self.access.headers())
    }

    /// Sends; any status but 2xx is a [`Problem`](openshell_api::Problem).
    pub(super) async fn send(&self, method: Method, path: &str, request: RequestBuilder) -> Result<Response, Error> {
        let request = match self.access.keeper.bearer().await? {
            Some(bearer) => request.bearer_auth(bearer),
            None => request,
        };
        self.send_as_it_is(method, path, request).await
    }

    /// The same without a token.
    async fn send_as_it_is(&self, method: Method, path: &str, request: RequestBuilder) -> Result<Response, Error> {
        let response = request.send().await.map_err(|e| not_connected(&self.access, &e))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let location = response.headers().get("location").and_then(|value| value.to_str().ok()).map(str::to_owned);
        let text = response.text().await.unwrap_or_default();
        let foreign = || foreign(status.as_u16(), location.as_deref(), &format!("{method} {path}"));
        Err(Error::Refused(serde_json::from_str(&text).unwrap_or_else(|_| foreign())))
    }
}

/// What was typed, as one segment of a path.
pub(super) fn segment(typed: &str) -> String {
    url::form_urlencoded::byte_serialize(typed.as_bytes()).collect()
}

/// Why no connection came about: nobody there, or somebody else.
pub fn not_connected(access: &Access, error: &(dyn std::error::Error + 'static)) -> Error {
    let url = access.url.clone();
    let reason = Chain(error).to_string();
    if is_certificate_error(error) { Error::Untrusted { url, reason } } else { Error::Unreachable { url, reason } }
}

pub(super) async fn json<T: DeserializeOwned>(response: Response, method: &str, path: &str) -> Result<T, Error> {
    let request = format!("{method} {path}");
    match response.bytes().await {
        Ok(bytes) => parse(&bytes, &request),
        Err(error) => Err(Error::Answer { request, reason: Chain(&error).to_string() }),
    }
}

/// Parses what answered a request.
pub fn parse<T: DeserializeOwned>(bytes: &[u8], request: &str) -> Result<T, Error> {
    serde_json::from_slice(bytes).map_err(|e| Error::Answer { request: request.to_owned(), reason: e.to_string() })
}

/// The innermost causes of an error: what the system or TLS said, without the layers around it.
pub struct Chain<'a>(pub &'a (dyn std::error::Error + 'static));

impl std::fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut innermost = self.0;
        while let Some(source) = innermost.source() {
            innermost = source;
        }
        write!(f, "{innermost}")
    }
}

/// Whether TLS refused the peer's certificate somewhere beneath.
fn is_certificate_error(error: &(dyn std::error::Error + 'static)) -> bool {
    if let Some(inner) = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref) {
        // `source` of an I/O error passes over the error that it wraps.
        return is_certificate_error(inner);
    }
    matches!(error.downcast_ref(), Some(rustls::Error::InvalidCertificate(_)))
        || error.source().is_some_and(is_certificate_error)
}
