//! One request to `policy.local`.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::header::{ALLOW, CONTENT_TYPE, HeaderValue, LOCATION, RETRY_AFTER};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, LengthLimitError};
use openshell_api::Problem;
use openshell_api::proposal::{MAX_PROPOSAL, ProposalState, ProposalStatus, Propose};
use serde_json::{Value, json};
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;

use super::denials::Denials;
use super::{Body, PROPOSALS, PolicyLocal, Proposals};
use crate::caller::Caller;
use crate::inference::{BoxError, whole};

/// Refusals in an answer, unless more or fewer are asked for.
const DEFAULT_LIMIT: usize = 50;
/// Longest wait for a decision.
const MAX_WAIT: Duration = Duration::from_secs(60);
/// Programs that may wait at once.
const MAX_WAITING: usize = 32;
/// Longest time a body may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);
/// Proposals that may come at once, and the time until there may be one more.
const BURST: u32 = 10;
const REFILL: Duration = Duration::from_secs(6);
/// What there is.
const CALLS: &str = "GET /v1/denials?limit=50, POST /v1/proposals, GET /v1/proposals/{id}?wait=30";
/// What a proposal looks like.
const FORM: &str = r#"send {"reason": "why", "endpoints": [{"host": "api.example.com", "port": 443, "access": "read-only"}]}; \
    instead of `access` there may be "allow": [{"method": "POST", "path": "/v1/*"}]; `binaries` names other programs"#;

/// Answers `policy.local` of one sandbox.
pub struct Desk {
    sandbox: String,
    denials: Denials,
    proposals: Arc<dyn Proposals>,
    /// Number of the generation that is enforced.
    generation: watch::Receiver<u64>,
    allowance: Mutex<Allowance>,
    waiting: Semaphore,
}

/// Proposals that may still come.
pub(super) struct Allowance {
    left: u32,
    at: Instant,
}

impl Allowance {
    pub(super) fn new(now: Instant) -> Self {
        Self { left: BURST, at: now }
    }

    /// One proposal less that may come; `false`: there must be none now.
    pub(super) fn spend(&mut self, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.at);
        let more = u32::try_from(passed.as_secs() / REFILL.as_secs()).unwrap_or(BURST).min(BURST);
        self.left = self.left.saturating_add(more).min(BURST);
        self.at = if self.left == BURST { now } else { self.at + REFILL * more };
        let spent = self.left.checked_sub(1);
        self.left = spent.unwrap_or(0);
        spent.is_some()
    }
}

#[async_trait::async_trait]
impl PolicyLocal for Desk {
    async fn serve(&self, caller: Arc<Caller>, request: Request<Body>) -> Response<Body> {
        self.answer(&caller, request).await
    }
}

impl Desk {
    /// A desk that shows `denials`, hands proposals on, and calls them approved once `generation` has them.
    pub fn new(
        sandbox: String,
        denials: Denials,
        proposals: Arc<dyn Proposals>,
        generation: watch::Receiver<u64>,
    ) -> Self {
        let allowance = Mutex::new(Allowance::new(Instant::now()));
        Self { sandbox, denials, proposals, generation, allowance, waiting: Semaphore::new(MAX_WAITING) }
    }

    pub(super) async fn answer(&self, caller: &Caller, request: Request<Body>) -> Response<Body> {
        self.route(caller, request).await.unwrap_or_else(|problem| refusal(&problem))
    }

    async fn route(&self, caller: &Caller, request: Request<Body>) -> Result<Response<Body>, Problem> {
        let (parts, body) = request.into_parts();
        let segments: Vec<&str> = parts.uri.path().split('/').skip(1).collect();
        let query = parts.uri.query().unwrap_or_default();
        match (&segments[..], &parts.method) {
            (["v1", "denials"], &Method::GET) => self.denials(query),
            (["v1", "proposals"], &Method::POST) => self.propose(caller, body).await,
            (["v1", "proposals", id], &Method::GET) if is_id(id) => self.stands(id, query).await,
            (["v1", "denials"], _) => Ok(not_allowed(&parts.method, "GET")),
            (["v1", "proposals"], _) => Ok(not_allowed(&parts.method, "POST")),
            (["v1", "proposals", id], _) if is_id(id) => Ok(not_allowed(&parts.method, "GET")),
            _ => Err(Problem::new(404, "no_such_path", format!("there is nothing at {}", parts.uri.path()))
                .hint(format!("there are: {CALLS}"))),
        }
    }

    fn denials(&self, query: &str) -> Result<Response<Body>, Problem> {
        let limit =
            parameter(query, "limit")?.map_or(DEFAULT_LIMIT, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
        let answer = json!({
            "sandbox": self.sandbox,
            "generation": *self.generation.borrow(),
            "denials": self.denials.newest(limit),
            "ask": format!("POST {PROPOSALS}: {FORM}"),
        });
        Ok(respond(StatusCode::OK, &answer))
    }

    async fn propose(&self, caller: &Caller, body: Body) -> Result<Response<Body>, Problem> {
        let body = match tokio::time::timeout(BODY_TIMEOUT, whole(body, MAX_PROPOSAL)).await {
            Err(_) => return Err(Problem::new(408, "timeout", "the proposal did not arrive in time")),
            Ok(Err(error)) if error.is::<LengthLimitError>() => {
                return Err(Problem::new(413, "too_large", format!("a proposal has at most {MAX_PROPOSAL} bytes"))
                    .hint("ask for what is needed now"));
            }
            Ok(Err(error)) => return Err(Problem::new(400, "bad_request", format!("the body broke off: {error}"))),
            Ok(Ok(body)) => body,
        };
        let asked: Propose = serde_json::from_slice(&body)
            .map_err(|error| Problem::new(400, "bad_proposal", format!("this is no proposal: {error}")).hint(FORM))?;
        self.spend()?;
        let status = self.proposals.propose(caller.record(), asked).await.map_err(for_agent)?;
        let mut response = respond(StatusCode::CREATED, &self.shown(&status));
        if let Ok(location) = HeaderValue::try_from(format!("/v1/proposals/{}", status.id)) {
            response.headers_mut().insert(LOCATION, location);
        }
        Ok(response)
    }

    fn spend(&self) -> Result<(), Problem> {
        match self.allowance.lock().unwrap_or_else(PoisonError::into_inner).spend(Instant::now()) {
            true => Ok(()),
            false => Err(Problem::new(429, "too_many_requests", "this sandbox asked for too much in too short a time")
                .hint("wait some seconds, and ask once for all that is needed")),
        }
    }

    async fn stands(&self, id: &str, query: &str) -> Result<Response<Body>, Problem> {
        let wait = parameter(query, "wait")?.map_or(Duration::ZERO, Duration::from_secs).min(MAX_WAIT);
        let deadline = Instant::now() + wait;
        let _room = self
            .waiting
            .try_acquire()
            .map_err(|_| Problem::new(429, "too_many_requests", format!("{MAX_WAITING} programs wait already")))?;
        let (mut changes, mut generation) = (self.proposals.changes(), self.generation.clone());
        loop {
            changes.borrow_and_update();
            generation.borrow_and_update();
            let late = Instant::now() >= deadline;
            match self.proposals.stands(id).await {
                Ok(status) if late || self.is_settled(&status) => {
                    return Ok(respond(StatusCode::OK, &self.shown(&status)));
                }
                Err(problem) if late || problem.status != 503 => return Err(for_agent(problem)),
                Ok(_) | Err(_) => {}
            }
            tokio::select! {
                changed = changes.changed() => changed.map_err(|_| ended())?,
                changed = generation.changed() => changed.map_err(|_| ended())?,
                () = tokio::time::sleep_until(deadline) => {}
            }
        }
    }

    /// Whether it was decided, and the decision is in force: an agent that tries again is not to be refused again.
    fn is_settled(&self, status: &ProposalStatus) -> bool {
        match status.state {
            ProposalState::Pending => false,
            ProposalState::Rejected => true,
            ProposalState::Approved => status.generation.is_none_or(|has| *self.generation.borrow() >= has),
        }
    }

    fn shown(&self, status: &ProposalStatus) -> Value {
        let state = if self.is_settled(status) { status.state } else { ProposalState::Pending };
        let mut shown = json!({ "id": status.id, "state": state });
        match state {
            ProposalState::Pending => shown["wait"] = json!(format!("GET {PROPOSALS}/{}?wait=30", status.id)),
            ProposalState::Approved => shown["generation"] = json!(status.generation),
            ProposalState::Rejected => shown["reason"] = json!(status.reason),
        }
        shown
    }
}

fn ended() -> Problem {
    Problem::new(503, "ended", "the sandbox is ending")
}

/// The gateway's hints name commands that a workload does not have.
fn for_agent(mut problem: Problem) -> Problem {
    if problem.hint.as_ref().is_some_and(|hint| hint.contains("openshell ")) {
        problem.hint = None;
    }
    problem
}

/// An id as the gateway gives it: a ULID.
fn is_id(text: &str) -> bool {
    text.len() == 26 && text.bytes().all(|byte| byte.is_ascii_digit() || byte.is_ascii_uppercase())
}

/// A number in the query. Refuses what is none, and parameters that there are not.
fn parameter(query: &str, name: &str) -> Result<Option<u64>, Problem> {
    let mut found = None;
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        if key != name {
            return Err(Problem::new(400, "bad_query", format!("there is no parameter {key:?}")).hint(CALLS));
        }
        let number = value.parse().map_err(|_| Problem::new(400, "bad_query", format!("{name} is a number")))?;
        found = Some(number);
    }
    Ok(found)
}

fn not_allowed(method: &Method, allowed: &'static str) -> Response<Body> {
    let problem = Problem::new(405, "method_not_allowed", format!("{method} is not possible here"));
    let mut response = refusal(&problem.hint(format!("there are: {CALLS}")));
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
    response
}

fn refusal(problem: &Problem) -> Response<Body> {
    let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let answer = json!({ "error": problem.code, "detail": problem.detail, "hint": problem.hint });
    let mut response = respond(status, &answer);
    if matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(REFILL.as_secs()));
    }
    response
}

fn respond(status: StatusCode, answer: &Value) -> Response<Body> {
    let text = format!("{answer:#}\n");
    let mut response = Response::new(Full::from(text).map_err(|never| -> BoxError { match never {} }).boxed_unsync());
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
