//! Requests as an agent makes them, and what it reads.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::Request;
use http_body_util::{BodyExt as _, Full};
use openshell_api::Problem;
use openshell_api::decision::{DecisionRecord, ProcessRecord, Stage, Subject, Verdict};
use openshell_api::proposal::{ProposalState, ProposalStatus, Propose};
use serde_json::{Value, json};
use tokio::sync::watch;

use super::serve::Allowance;
use super::{Denials, Desk, Proposals, Remembering};
use crate::caller::Caller;
use crate::record::Record;

const ID: &str = "01KBXJ3M5YV2N7E4Q0R8S6T1WZ";

/// A gateway of memory.
struct Memory {
    status: Mutex<Result<ProposalStatus, Problem>>,
    asked: Mutex<Vec<(ProcessRecord, Propose)>>,
    changes: watch::Sender<u64>,
}

impl Memory {
    fn becomes(&self, status: Result<ProposalStatus, Problem>) {
        *self.status.lock().unwrap() = status;
        self.changes.send_modify(|changes| *changes += 1);
    }
}

#[async_trait::async_trait]
impl Proposals for Memory {
    async fn propose(&self, process: ProcessRecord, asked: Propose) -> Result<ProposalStatus, Problem> {
        self.asked.lock().unwrap().push((process, asked));
        self.status.lock().unwrap().clone()
    }
    async fn stands(&self, _id: &str) -> Result<ProposalStatus, Problem> {
        self.status.lock().unwrap().clone()
    }
    fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }
}

fn status(state: ProposalState) -> ProposalStatus {
    let reason = (state == ProposalState::Rejected).then(|| "not today".to_owned());
    let generation = (state == ProposalState::Approved).then_some(5);
    ProposalStatus { id: ID.to_owned(), state, reason, generation }
}

struct World {
    desk: Desk,
    memory: Arc<Memory>,
    denials: Denials,
    generation: watch::Sender<u64>,
}

impl World {
    fn new() -> Self {
        let memory = Arc::new(Memory {
            status: Mutex::new(Ok(status(ProposalState::Pending))),
            asked: Mutex::default(),
            changes: watch::Sender::new(0),
        });
        let (denials, generation) = (Denials::default(), watch::Sender::new(4));
        let desk = Desk::new("box".to_owned(), denials.clone(), memory.clone(), generation.subscribe());
        Self { desk, memory, denials, generation }
    }

    async fn ask(&self, method: &str, target: &str, body: &str) -> (u16, Value) {
        let request = Request::builder().method(method).uri(target);
        let request = request.body(Full::from(body.to_owned()).map_err(|never| match never {}).boxed_unsync()).unwrap();
        let mut caller = Caller { pid: 7, ..Caller::default() };
        caller.process.executable = "/usr/bin/agent".to_owned();
        let response = self.desk.answer(&caller, request).await;
        assert_eq!(response.headers()["content-type"], "application/json");
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice(&body).unwrap())
    }
}

fn denied(path: &str) -> DecisionRecord {
    let subject = Subject { sandbox: "box", process: ProcessRecord::default(), host: "a.test", port: 443 };
    DecisionRecord {
        path: Some(path.to_owned()),
        rule: Some("no".to_owned()),
        reason: Some("because".to_owned()),
        hint: Some("do not".to_owned()),
        ..DecisionRecord::unanswered(subject, Stage::Request, 4)
    }
}

struct Nowhere;

impl Record for Nowhere {
    fn record(&self, _record: &DecisionRecord) {}
}

#[tokio::test]
async fn refusals_are_shown_newest_first_and_each_kind_once() {
    let world = World::new();
    let recorder = Remembering { inner: Arc::new(Nowhere), denials: world.denials.clone() };
    for path in ["/1", "/2", "/1", "/3"] {
        recorder.record(&denied(path));
    }
    recorder.record(&DecisionRecord { verdict: Verdict::Allow, ..denied("/allowed") });
    let (status, answer) = world.ask("GET", "/v1/denials", "").await;
    assert_eq!(status, 200);
    let seen: Vec<_> = answer["denials"].as_array().unwrap().iter().map(|d| (&d["path"], &d["times"])).collect();
    assert_eq!(seen, [(&json!("/3"), &json!(1)), (&json!("/1"), &json!(2)), (&json!("/2"), &json!(1))]);
    let first = &answer["denials"][0];
    assert_eq!((&first["rule"], &first["reason"], &first["hint"]), (&json!("no"), &json!("because"), &json!("do not")));
    assert_eq!(first["decision"].as_str().map(str::len), Some(26));
    let (_, answer) = world.ask("GET", "/v1/denials?limit=1", "").await;
    assert_eq!(answer["denials"].as_array().map(Vec::len), Some(1));

    for number in 0..300 {
        recorder.record(&denied(&format!("/n/{number}")));
    }
    let (_, answer) = world.ask("GET", "/v1/denials?limit=100000", "").await;
    assert_eq!(answer["denials"].as_array().map(Vec::len), Some(200), "what is remembered is bounded");
}

#[tokio::test]
async fn a_proposal_goes_to_the_gateway_with_the_kernels_word_for_who_asks() {
    let world = World::new();
    let body = r#"{"reason": "to work", "endpoints": [{"host": "a.test"}]}"#;
    let (code, answer) = world.ask("POST", "/v1/proposals", body).await;
    assert_eq!((code, &answer["state"]), (201, &json!("pending")));
    assert_eq!(answer["wait"], format!("GET http://policy.local/v1/proposals/{ID}?wait=30"));
    let asked = world.memory.asked.lock().unwrap().clone();
    assert_eq!((asked[0].0.executable.as_str(), asked[0].0.pid), ("/usr/bin/agent", 7));
    assert_eq!((asked[0].1.endpoints[0].host.as_str(), asked[0].1.endpoints[0].port), ("a.test", 443));
}

#[tokio::test]
async fn what_can_not_be_asked_is_refused_in_json() {
    let world = World::new();
    let long = format!(r#"{{"reason": "{}", "endpoints": []}}"#, "x".repeat(20_000));
    for (method, target, body, status, error) in [
        ("GET", "/", "", 404, "no_such_path"),
        ("GET", "/v1/denials/", "", 404, "no_such_path"),
        ("GET", "/v1/proposals/../denials", "", 404, "no_such_path"),
        ("GET", "/v1/proposals/nonsense", "", 404, "no_such_path"),
        ("GET", "/v2/denials", "", 404, "no_such_path"),
        ("POST", "/v1/denials", "", 405, "method_not_allowed"),
        ("GET", "/v1/proposals", "", 405, "method_not_allowed"),
        ("DELETE", "/v1/proposals/01KBXJ3M5YV2N7E4Q0R8S6T1WZ", "", 405, "method_not_allowed"),
        ("GET", "/v1/denials?limit=x", "", 400, "bad_query"),
        ("GET", "/v1/denials?since=1", "", 400, "bad_query"),
        ("POST", "/v1/proposals", "", 400, "bad_proposal"),
        ("POST", "/v1/proposals", r#"{"reason": "r", "endpoints": [], "approve": true}"#, 400, "bad_proposal"),
        (
            "POST",
            "/v1/proposals",
            r#"{"reason": "r", "endpoints": [{"host": "a.test", "generation": 1}]}"#,
            400,
            "bad_proposal",
        ),
        ("POST", "/v1/proposals", &long, 413, "too_large"),
    ] {
        let (found, answer) = world.ask(method, target, body).await;
        assert_eq!((found, &answer["error"]), (status, &json!(error)), "{method} {target}: {answer}");
        assert!(answer["detail"].as_str().is_some_and(|detail| !detail.is_empty()));
    }
    assert!(world.memory.asked.lock().unwrap().is_empty(), "nothing of it went to the gateway");
}

#[test]
fn who_asks_too_often_has_to_wait() {
    let begin = tokio::time::Instant::now();
    let mut allowance = Allowance::new(begin);
    // Seconds since the beginning, and how many proposals may come then.
    for (seconds, may) in [(0, 10), (5, 0), (6, 1), (11, 0), (12, 1), (30, 3), (3600, 10), (3605, 0), (3606, 1)] {
        let now = begin + Duration::from_secs(seconds);
        let spent = (0..20).filter(|_| allowance.spend(now)).count();
        assert_eq!(spent, may, "after {seconds} s");
    }
}

#[tokio::test]
async fn a_flood_is_refused() {
    let world = World::new();
    let body = r#"{"reason": "r", "endpoints": [{"host": "a.test"}]}"#;
    for _ in 0..10 {
        assert_eq!(world.ask("POST", "/v1/proposals", body).await.0, 201);
    }
    let (status, answer) = world.ask("POST", "/v1/proposals", body).await;
    assert_eq!((status, &answer["error"]), (429, &json!("too_many_requests")));
}

#[tokio::test]
async fn who_waits_learns_as_soon_as_it_is_so() {
    let world = World::new();
    let target = format!("/v1/proposals/{ID}?wait=30");
    let began = tokio::time::Instant::now();
    assert_eq!(world.ask("GET", &format!("/v1/proposals/{ID}?wait=1"), "").await.1["state"], "pending");
    assert!(began.elapsed() >= Duration::from_secs(1), "it waits as long as it was told to");

    let away = Problem::new(503, "gateway_away", "away");
    world.memory.becomes(Err(away));
    let decide = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        world.memory.becomes(Ok(status(ProposalState::Pending)));
        tokio::time::sleep(Duration::from_millis(50)).await;
        world.memory.becomes(Ok(status(ProposalState::Approved)));
        tokio::time::sleep(Duration::from_millis(50)).await;
        world.generation.send_replace(5);
    };
    let began = tokio::time::Instant::now();
    let ((code, answer), ()) = tokio::join!(world.ask("GET", &target, ""), decide);
    assert_eq!((code, answer), (200, json!({ "id": ID, "state": "approved", "generation": 5 })));
    let waited = began.elapsed();
    assert!(waited >= Duration::from_millis(150), "approved is what the sandbox enforces, not what was promised");
    assert!(waited < Duration::from_secs(20), "and not later: {waited:?}");

    world.memory.becomes(Ok(status(ProposalState::Rejected)));
    let (_, answer) = world.ask("GET", &target, "").await;
    assert_eq!(answer, json!({ "id": ID, "state": "rejected", "reason": "not today" }));
    world.memory.becomes(Err(Problem::new(404, "proposal_not_found", "no").hint("`openshell proposal list` shows")));
    let (code, answer) = world.ask("GET", &target, "").await;
    assert_eq!((code, &answer["hint"]), (404, &Value::Null), "a workload has no such command");
}
