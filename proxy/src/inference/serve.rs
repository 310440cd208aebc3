//! One inference request, from its head to its record.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http::header::{HeaderName, HeaderValue};
use http::request::Parts;
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use openshell_api::decision::{DecisionRecord, ProcessRecord, RouteRecord, Stage, Subject, Verdict};
use openshell_api::inference::{Backend, Catalogue, InferenceRules, Sensitivity};
use openshell_inference_format::document::Document;
use openshell_inference_format::endpoint::{self, Dialect, Endpoint, Unknown};
use openshell_inference_format::{contract, question, texts};
use openshell_policy_host::{Hook, InferenceRequest, PolicyRef, RouteDecision};
use serde_json::json;

use super::attempts::{Attempts, Passed, Served, Why};
use super::head;
use super::health::Health;
use super::ledger::Ledger;
use super::refusal::{Cause, Refusal, json_response};
use super::router::{Latencies, Router};
use super::service::{Body, BoxError, HOST, Inference};
use super::sessions::{self, Sessions};
use super::upstream::{Pooled, Transport};
use crate::active::{Live, Secrets};
use crate::caller::Caller;
use crate::http::Upstreams;
use crate::record::Record;

/// Longest request body, in bytes.
const BODY_CAP: usize = 32 * 1024 * 1024;
/// Longest pause while a request's body arrives.
const BODY_IDLE: Duration = Duration::from_secs(30);
/// What the service needs.
pub struct InferenceOptions {
    /// Name of the sandbox.
    pub sandbox: String,
    /// What is enforced now.
    pub live: Live,
    /// Values of credentials; a backend's key is the one of its provider.
    pub secrets: Secrets,
    /// Where decisions go.
    pub record: Arc<dyn Record>,
    /// What conversations have contained.
    pub sessions: Arc<Sessions>,
    /// What has been spent.
    pub ledger: Arc<Ledger>,
    /// Connections to backends.
    pub upstreams: Arc<Upstreams>,
}

/// Answers `https://inference.local`.
pub struct InferenceService {
    sandbox: String,
    live: Live,
    secrets: Secrets,
    record: Arc<dyn Record>,
    sessions: Arc<Sessions>,
    ledger: Arc<Ledger>,
    transport: Box<dyn Transport>,
    latencies: Latencies,
    health: Health,
}

/// What a request is judged under.
pub(super) struct Terms<'a> {
    pub generation: u64,
    pub router: Option<&'a dyn Router>,
    pub catalogue: &'a Catalogue,
    pub rules: &'a InferenceRules,
}

#[async_trait::async_trait]
impl Inference for InferenceService {
    async fn serve(&self, caller: Arc<Caller>, request: Request<Incoming>) -> Response<Body> {
        let active = self.live.load_full();
        let router = active.router.as_ref().filter(|policy| policy.has(Hook::Route));
        let terms = Terms {
            generation: active.generation,
            router: router.map(|policy| policy as &dyn Router),
            catalogue: &active.catalogue,
            rules: &active.inference,
        };
        let (parts, body) = request.into_parts();
        self.answer(&terms, &caller, parts, body).await
    }
}

impl InferenceService {
    /// A service over the sandbox's own connections.
    pub fn new(options: InferenceOptions) -> Self {
        let transport = Box::new(Pooled(Arc::clone(&options.upstreams)));
        Self::with_transport(options, transport)
    }

    pub(super) fn with_transport(options: InferenceOptions, transport: Box<dyn Transport>) -> Self {
        let InferenceOptions { sandbox, live, secrets, record, sessions, ledger, upstreams: _ } = options;
        let (latencies, health) = (Latencies::default(), Health::default());
        Self { sandbox, live, secrets, record, sessions, ledger, transport, latencies, health }
    }

    /// Answers one request. Everything that goes wrong is an answer in the caller's dialect.
    pub(super) async fn answer<B>(&self, terms: &Terms<'_>, caller: &Caller, parts: Parts, body: B) -> Response<Body>
    where
        B: http_body::Body<Data = Bytes> + Send,
        B::Error: Into<BoxError>,
    {
        let path = parts.uri.path();
        let guessed = endpoint::guess(&parts.headers, path);
        let endpoint = match Endpoint::parse(&parts.method, path) {
            Ok(Endpoint::Models) => return models(terms.catalogue, terms.rules, guessed, path),
            Ok(endpoint) => endpoint,
            Err(unknown) => return unknown_endpoint(unknown).answer(guessed, None, terms.generation, None),
        };
        let mut draft = self.draft(terms, caller, &parts);
        match self.route(terms, caller, &parts, body, endpoint, &mut draft).await {
            Ok(response) => response,
            Err(refusal) => {
                let by = terms.router.map(Router::reference);
                let answer = refusal.answer(endpoint.dialect(), by.as_ref(), terms.generation, Some(&draft.id));
                self.refused(draft, by.as_ref(), &refusal);
                answer
            }
        }
    }

    async fn route<B>(
        &self,
        terms: &Terms<'_>,
        caller: &Caller,
        parts: &Parts,
        body: B,
        endpoint: Endpoint,
        draft: &mut DecisionRecord,
    ) -> Result<Response<Body>, Refusal>
    where
        B: http_body::Body<Data = Bytes> + Send,
        B::Error: Into<BoxError>,
    {
        let router = terms.router.ok_or_else(|| {
            Refusal::new(Cause::Unavailable, "no router is bound to this sandbox, so no inference request can be judged")
                .hint("the operator binds one with `openshell policy push --router`, or adds backends with `openshell inference backend add`")
        })?;
        head::check_body_kind(&parts.headers)?;
        let label = head::label(&parts.headers)?;
        let bytes = collect(body).await?;
        let document = Document::parse(bytes).map_err(|error| Refusal::new(Cause::BadRequest, error.to_string()))?;
        let model = terms.rules.resolve(document.model());
        if !terms.rules.allows(model) {
            return Err(Refusal::new(
                Cause::ModelNotAllowed,
                format!("this sandbox may not ask for the model {model:?}"),
            )
            .hint(format!("it may ask for {}", terms.rules.models.join(", "))));
        }
        let candidates = candidates(terms.catalogue, endpoint)?;
        let session = sessions::key(&parts.headers, &document);
        let texts = texts::of(&document, endpoint);
        let so_far = self.sessions.get(&session).max(label);
        let mut asked = question::of(&document, texts, &self.sandbox, &caller.process, so_far);
        model.clone_into(&mut asked.model);
        let tokens = (u64::from(asked.input_tokens), u64::from(asked.output_tokens));
        let start = Instant::now();
        let decision = self.ask(router, asked, &candidates);
        draft.decision_ns = u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let (decision, so_far) = decision?;

        let said = contract::to_api(decision.sensitivity).max(contract::to_api(so_far));
        let sensitivity = self.sessions.raise(&session, said).max(said);
        draft.route = Some(RouteRecord {
            sensitivity,
            backend: None,
            model: None,
            findings: findings(&decision),
            reason: decision.reason.clone(),
            input_tokens: None,
            output_tokens: None,
            charged: None,
        });
        let secrets = self.secrets.0.load_full();
        let attempts = Attempts {
            transport: &*self.transport,
            secrets: &secrets,
            latencies: &self.latencies,
            health: &self.health,
            ledger: &self.ledger,
            budgets: &terms.rules.budgets,
            document: &document,
            endpoint,
            headers: &parts.headers,
            query: parts.uri.query(),
            sensitivity,
            model,
            tokens,
        };
        match attempts.run(&candidates, &decision.order).await {
            Ok(served) => Ok(self.served(served, model, &decision, sensitivity, router.reference(), draft)),
            Err(passed) => Err(unserved(&candidates, &passed, sensitivity)),
        }
    }

    /// Asks the router. Every non-answer refuses. Also answers how sensitive the session was said to be.
    fn ask(
        &self,
        router: &dyn Router,
        mut asked: InferenceRequest,
        candidates: &[&Backend],
    ) -> Result<(RouteDecision, openshell_policy_host::Sensitivity), Refusal> {
        let latency = |backend: &Backend| self.latencies.median(backend.name.as_str());
        let offered: Vec<_> = candidates.iter().map(|b| contract::offered(b, &asked.model, latency(b))).collect();
        let threads = tokio::runtime::Handle::current().runtime_flavor() == tokio::runtime::RuntimeFlavor::MultiThread;
        let answer = if question::is_long(&asked) && threads {
            tokio::task::block_in_place(|| question::ask(&mut asked, |asked| router.route(asked, &offered)))
        } else {
            question::ask(&mut asked, |asked| router.route(asked, &offered))
        };
        match answer.result {
            Ok(Ok(decision)) => Ok((decision, asked.so_far)),
            Ok(Err(denial)) => {
                let mut refusal = Refusal::new(Cause::PolicyDenied, denial.reason);
                refusal.rule = Some(denial.rule);
                refusal.hint = denial.hint;
                Err(refusal)
            }
            Err(failure) => Err(Refusal::new(Cause::PolicyFailed, format!("the router gave no answer: {failure}"))
                .hint("`openshell logs` shows what the policy logged")),
        }
    }

    /// The answer for the caller; its record follows once it is over.
    fn served(
        &self,
        served: Served<'_>,
        model: &str,
        decision: &RouteDecision,
        sensitivity: Sensitivity,
        by: PolicyRef,
        draft: &DecisionRecord,
    ) -> Response<Body> {
        let Served { backend, head, relay, reservation } = served;
        let mut headers = head::for_caller(&head.headers);
        let route = format!("{}; {}", contract::name(sensitivity), decision.reason);
        for (name, text) in [("x-openshell-served-by", backend.name.as_str()), ("x-openshell-route", route.as_str())] {
            headers.insert(HeaderName::from_static(name), header_text(text));
        }
        let mut record = draft.clone();
        record.verdict = Verdict::Allow;
        record.status = Some(head.status.as_u16());
        record.credential = backend.provider.as_ref().map(ToString::to_string);
        record.reason = Some(decision.reason.clone());
        (record.policy, record.digest) = (Some(by.name_version), Some(by.digest));
        if let Some(route) = &mut record.route {
            route.backend = Some(backend.name.to_string());
            route.model = Some(backend.model.clone().unwrap_or_else(|| model.to_owned()));
        }
        let sink = Arc::clone(&self.record);
        let body = relay.into_body(Box::new(move |ended| {
            if let Some(route) = &mut record.route {
                (route.input_tokens, route.output_tokens) = (ended.usage.input, ended.usage.output);
                route.charged = reservation.map(|reservation| reservation.settle(&ended));
            }
            sink.record(record);
        }));
        let mut response = Response::new(body);
        *response.status_mut() = head.status;
        *response.headers_mut() = headers;
        response
    }

    /// What is known before anything is decided.
    fn draft(&self, terms: &Terms<'_>, caller: &Caller, parts: &Parts) -> DecisionRecord {
        let process = ProcessRecord {
            executable: caller.process.executable.clone(),
            digest: caller.process.digest.clone(),
            script: caller.process.script.clone(),
            pid: caller.pid,
        };
        let subject = Subject { sandbox: &self.sandbox, process, host: HOST, port: 443 };
        DecisionRecord {
            method: Some(parts.method.to_string()),
            path: Some(parts.uri.path().to_owned()),
            ..DecisionRecord::unanswered(subject, Stage::Route, terms.generation)
        }
    }

    fn refused(&self, mut record: DecisionRecord, by: Option<&PolicyRef>, refusal: &Refusal) {
        record.status = Some(refusal.cause.status().as_u16());
        record.error = Some(refusal.cause.code().to_owned());
        record.reason = Some(refusal.reason.clone());
        record.rule = refusal.rule.clone();
        record.hint = refusal.hint.clone();
        record.policy = by.map(|p| p.name_version.clone());
        record.digest = by.map(|p| p.digest.clone());
        self.record.record(record);
    }
}

/// Why none of the candidates served.
fn unserved(candidates: &[&Backend], passed: &[Passed], sensitivity: Sensitivity) -> Refusal {
    let tried: Vec<String> = passed.iter().map(ToString::to_string).collect();
    let tried = if tried.is_empty() { "the router named none".to_owned() } else { tried.join("; ") };
    let all = |kind: Why| !passed.is_empty() && passed.iter().all(|p| p.kind == kind);
    if !candidates.iter().any(|b| b.clearance >= sensitivity) {
        let reason = format!("no backend is cleared for {} content: {tried}", contract::name(sensitivity));
        return Refusal::new(Cause::PolicyDenied, reason)
            .hint("remove the sensitive values, start a new session, or clear a backend for such content");
    }
    if all(Why::Untranslatable) {
        return Refusal::new(Cause::BadRequest, format!("no backend can be asked this: {tried}"))
            .hint("leave that out, or use a backend that speaks the API of this endpoint");
    }
    if passed.iter().any(|p| p.kind == Why::Budget) && passed.iter().all(|p| p.kind != Why::Passing) {
        return Refusal::new(Cause::BudgetExhausted, format!("there is no budget for the request: {tried}")).hint(
            "ask for less with `max_tokens`, wait for the next day or month, or have the operator raise the budget",
        );
    }
    Refusal::new(Cause::UpstreamFailed, format!("no backend served the request: {tried}"))
}

/// Backends that can be asked this, in their own API or by translation. Refuses, naming those that can't, when there is none.
fn candidates(catalogue: &Catalogue, endpoint: Endpoint) -> Result<Vec<&Backend>, Refusal> {
    let able: Vec<&Backend> = catalogue.backends.iter().filter(|b| endpoint.carried_to(b.kind)).collect();
    if !able.is_empty() {
        return Ok(able);
    }
    let others: Vec<String> = catalogue.backends.iter().map(|b| b.name.to_string()).collect();
    let others = if others.is_empty() {
        "there are no backends".to_owned()
    } else {
        format!("the API of {} has no such operation", others.join(", "))
    };
    let operation = endpoint.suffix().trim_start_matches('/');
    Err(Refusal::new(Cause::Unavailable, format!("no backend of this sandbox can serve {operation}; {others}"))
        .hint("add one with `openshell inference backend add`, or use the API that they speak"))
}

/// The whole body. Refuses what is too long, or stops arriving.
async fn collect<B>(body: B) -> Result<Bytes, Refusal>
where
    B: http_body::Body<Data = Bytes> + Send,
    B::Error: Into<BoxError>,
{
    let too_large = || {
        Refusal::new(Cause::TooLarge, format!("the body is longer than {} MiB", BODY_CAP / (1024 * 1024)))
            .hint("send less context")
    };
    if body.size_hint().lower() > BODY_CAP as u64 {
        return Err(too_large());
    }
    let mut body = std::pin::pin!(body);
    let mut all = BytesMut::new();
    loop {
        let frame = tokio::time::timeout(BODY_IDLE, body.frame())
            .await
            .map_err(|_| Refusal::new(Cause::BodyTimeout, "the body stopped arriving"))?;
        match frame {
            None => return Ok(all.freeze()),
            Some(Err(_)) => return Err(Refusal::new(Cause::BadRequest, "the body broke off")),
            Some(Ok(frame)) => {
                let Ok(data) = frame.into_data() else { continue };
                if all.len() + data.len() > BODY_CAP {
                    return Err(too_large());
                }
                all.extend_from_slice(&data);
            }
        }
    }
}

fn unknown_endpoint(unknown: Unknown) -> Refusal {
    let known = "served are chat/completions, completions, responses, embeddings, models, messages and messages/count_tokens below /v1";
    match unknown {
        Unknown::Path => Refusal::new(Cause::UnknownEndpoint, "inference.local has no such endpoint").hint(known),
        Unknown::Method(takes) => Refusal::new(Cause::MethodNotAllowed, format!("this endpoint takes {takes} only")),
    }
}

/// The models that backends name and the aliases, once each and as far as they may be asked for; or the one whose path this is.
fn models(catalogue: &Catalogue, rules: &InferenceRules, dialect: Dialect, path: &str) -> Response<Body> {
    let mut named: BTreeMap<&str, &Backend> = BTreeMap::new();
    for backend in &catalogue.backends {
        if let Some(model) = &backend.model {
            named.entry(model).or_insert(backend);
        }
    }
    if let Some(any) = catalogue.backends.first() {
        for (alias, model) in &rules.aliases {
            let backend = catalogue.backends.iter().find(|b| b.model.as_ref() == Some(model)).unwrap_or(any);
            named.insert(alias, backend);
        }
    }
    named.retain(|model, _| rules.allows(rules.resolve(model)));
    let entry = |(model, backend): (&&str, &&Backend)| match dialect {
        Dialect::Openai => json!({"id": model, "object": "model", "created": 0, "owned_by": backend.name}),
        Dialect::Anthropic => {
            json!({"type": "model", "id": model, "display_name": model, "created_at": "1970-01-01T00:00:00Z"})
        }
    };
    if let Some(wanted) = path.strip_prefix("/v1/models/").filter(|w| !w.is_empty()) {
        return match named.get_key_value(wanted) {
            Some(found) => json_response(StatusCode::OK, &entry(found)),
            None => Refusal::new(Cause::UnknownEndpoint, "no backend names this model").answer(dialect, None, 0, None),
        };
    }
    let list: Vec<_> = named.iter().map(entry).collect();
    let document = match dialect {
        Dialect::Openai => json!({"object": "list", "data": list}),
        Dialect::Anthropic => json!({
            "data": list, "has_more": false,
            "first_id": named.keys().next(), "last_id": named.keys().next_back(),
        }),
    };
    json_response(StatusCode::OK, &document)
}

fn findings(decision: &RouteDecision) -> BTreeMap<String, u32> {
    decision.findings.iter().fold(BTreeMap::new(), |mut counts, finding| {
        *counts.entry(finding.kind.clone()).or_insert(0) += 1;
        counts
    })
}

/// Text as a header's value: printable ASCII, and not endless.
fn header_text(text: &str) -> HeaderValue {
    let printable: String = text.chars().map(|c| if (' '..='~').contains(&c) { c } else { '?' }).take(500).collect();
    HeaderValue::try_from(printable).unwrap_or(HeaderValue::from_static("?"))
}
