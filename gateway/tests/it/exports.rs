//! Decisions that are sent elsewhere: all of them, at least once, in order, whatever the other side does.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::world::supervisor::Supervisor;
use crate::world::{Database, World};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use openshell_api::decision::{DecisionRecord, ProcessRecord, Stage, Subject, TraceRecord, Verdict};
use openshell_api::link::FromSupervisor;
use serde_json::{Value, json};

with_both!(
    what_is_decided_arrives_at_least_once_and_in_order,
    what_fails_is_tried_again_also_by_the_next_gateway,
    what_is_refused_for_good_holds_nothing_up,
    a_credential_goes_along_where_it_is_bound,
    every_format_says_what_was_decided,
    what_can_not_work_is_refused,
);

/// Something that takes decisions: what it got, and what it answers to the next messages; else 200.
#[derive(Clone, Default)]
struct Collector {
    got: Arc<Mutex<Vec<Message>>>,
    answers: Arc<Mutex<VecDeque<u16>>>,
    /// Refuses a message with this in it.
    poison: Arc<Mutex<Option<String>>>,
}

#[derive(Clone)]
struct Message {
    path: String,
    headers: HeaderMap,
    body: String,
}

impl Collector {
    async fn start() -> (Self, String) {
        let collector = Self::default();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = axum::Router::new().fallback(take).with_state(collector.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        (collector, url)
    }

    fn got(&self) -> Vec<Message> {
        self.got.lock().unwrap().clone()
    }

    /// Ids of the JSON lines that were accepted.
    fn ids(&self) -> Vec<String> {
        let id = |line: &str| serde_json::from_str::<Value>(line).unwrap()["id"].as_str().unwrap().to_owned();
        self.got().iter().flat_map(|message| message.body.lines().map(id).collect::<Vec<_>>()).collect()
    }

    /// Waits until it has accepted so many lines.
    async fn until(&self, count: usize) {
        for _ in 0..1000 {
            if self.ids().len() >= count {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("{} lines came, and not {count}", self.ids().len());
    }
}

async fn take(State(collector): State<Collector>, uri: Uri, headers: HeaderMap, body: String) -> StatusCode {
    let next = collector.answers.lock().unwrap().pop_front().unwrap_or(200);
    if collector.poison.lock().unwrap().as_ref().is_some_and(|poison| body.contains(poison)) {
        return StatusCode::BAD_REQUEST;
    }
    if next == 200 {
        collector.got.lock().unwrap().push(Message { path: uri.path().to_owned(), headers, body });
    }
    StatusCode::from_u16(next).unwrap()
}

fn decision(number: usize) -> DecisionRecord {
    let process = ProcessRecord { executable: "/usr/bin/agent".into(), pid: 7, ..ProcessRecord::default() };
    let subject = Subject { sandbox: "a", process, host: "one.test", port: 443 };
    let mut record = DecisionRecord::unanswered(subject, Stage::Request, 1);
    record.method = Some("GET".into());
    record.path = Some(format!("/{number}"));
    record.decision_ns = 20_000;
    if number.is_multiple_of(2) {
        record.verdict = Verdict::Allow;
        record.answered(200);
    } else {
        (record.error, record.reason) = (Some("policy_denied".into()), Some("odd".into()));
    }
    record
}

/// Has a sandbox report so many decisions; answers their ids.
fn decide(supervisor: &Supervisor, numbers: std::ops::Range<usize>) -> Vec<String> {
    let mut ids = Vec::new();
    for chunk in numbers.collect::<Vec<_>>().chunks(200) {
        let records: Vec<DecisionRecord> = chunk.iter().map(|number| decision(*number)).collect();
        ids.extend(records.iter().map(|record| record.id.clone()));
        report(supervisor, &records);
    }
    ids
}

async fn add(world: &World, name: &str, url: &str, format: &str) {
    let export = json!({ "name": name, "url": url, "format": format });
    world.post("/v1/exports", json!({ "export": export })).await.ok();
}

/// Every one is there, and none before one that was stored earlier, but for those that came again.
fn complete(got: &[String], sent: &[String]) {
    let mut seen = Vec::new();
    for id in got {
        if !seen.contains(id) {
            seen.push(id.clone());
        }
    }
    assert_eq!(seen, sent);
}

async fn what_is_decided_arrives_at_least_once_and_in_order(on: Database) {
    let world = World::new(on).await;
    let a = world.sandbox("a").await;
    let (collector, url) = Collector::start().await;
    let before = decide(&a, 0..3);
    world.until("/v1/decisions", |found| found["items"].as_array().is_some_and(|found| found.len() == 3)).await;
    add(&world, "late", &format!("{url}/late"), "json-lines").await;
    let beginning = json!({ "name": "all", "url": format!("{url}/all"), "format": "json-lines" });
    world.post("/v1/exports", json!({ "export": beginning, "from_beginning": true })).await.ok();
    let denied = json!({ "name": "denied", "url": format!("{url}/denied"), "format": "json-lines", "only": "deny" });
    world.post("/v1/exports", json!({ "export": denied })).await.ok();
    let after = decide(&a, 3..1203);
    collector.until(1203 + 1200 + 600).await;
    let of = |path: &str| {
        let mut one = collector.clone();
        one.got = Arc::new(Mutex::new(collector.got().into_iter().filter(|message| message.path == path).collect()));
        one.ids()
    };
    let odd: Vec<String> =
        (3..1203).zip(&after).filter(|(number, _)| number % 2 == 1).map(|(_, id)| id.clone()).collect();
    complete(&of("/late"), &after);
    complete(&of("/all"), &[before, after].concat());
    complete(&of("/denied"), &odd);
    assert!(collector.got().iter().all(|message| message.headers["content-type"] == "application/x-ndjson"));
    let state = world.until("/v1/exports/all", |state| state["waiting"] == 0).await;
    assert_eq!(
        (&state["delivered"], &state["lost"], &state["problem"]),
        (&json!(1203), &json!(0), &Value::Null),
        "{state}"
    );
    let metrics = world.get("/metrics").await;
    assert!(metrics.status.is_success());
    world.delete("/v1/exports/all").await.ok();
    world.get("/v1/exports/all").await.problem(404, "export_not_found");
    assert_eq!(world.items("/v1/exports").await.as_array().unwrap().len(), 2);
}

async fn what_fails_is_tried_again_also_by_the_next_gateway(on: Database) {
    let world = World::new(on).await;
    let a = world.sandbox("a").await;
    let (collector, url) = Collector::start().await;
    collector.answers.lock().unwrap().extend([503, 500, 200]);
    add(&world, "sink", &url, "json-lines").await;
    let mut sent = decide(&a, 0..10);
    let failing = world.until("/v1/exports/sink", |state| state["problem"].is_string()).await;
    assert_eq!((&failing["problem"], &failing["waiting"]), (&json!("it answered 503"), &json!(10)), "{failing}");
    collector.until(10).await;
    world.until("/v1/exports/sink", |state| state["problem"].is_null() && state["delivered"] == 10).await;
    // What it answers last is not heard any more.
    collector.answers.lock().unwrap().extend(std::iter::repeat_n(502, 1000));
    sent.extend(decide(&a, 10..20));
    world.until("/v1/exports/sink", |state| state["problem"] == "it answered 502").await;
    let _world = world.restart().await;
    collector.answers.lock().unwrap().clear();
    collector.until(20).await;
    complete(&collector.ids(), &sent);
}

async fn what_is_refused_for_good_holds_nothing_up(on: Database) {
    let world = World::new(on).await;
    let a = world.sandbox("a").await;
    let (collector, url) = Collector::start().await;
    *collector.poison.lock().unwrap() = Some("\"/5\"".to_owned());
    add(&world, "sink", &url, "json-lines").await;
    let mut sent = decide(&a, 0..20);
    let state = world.until("/v1/exports/sink", |state| state["refused"] == 1 && state["waiting"] == 0).await;
    assert_eq!((&state["delivered"], &state["refused"]), (&json!(19), &json!(1)), "{state}");
    sent.remove(5);
    complete(&collector.ids(), &sent);
}

async fn a_credential_goes_along_where_it_is_bound(on: Database) {
    let world = World::new(on).await;
    let a = world.sandbox("a").await;
    let (collector, url) = Collector::start().await;
    let provider = |name: &str, host: &str, attach: Value| json!({ "name": name, "type": "generic", "attach": attach, "hosts": [host], "secret": "s3cret-of-the-sink" });
    world
        .post("/v1/providers", provider("sink", "127.0.0.1", json!({ "scheme": "header", "name": "DD-API-KEY" })))
        .await
        .ok();
    world.post("/v1/providers", provider("other", "elsewhere.test", json!({ "scheme": "bearer" }))).await.ok();
    world.post("/v1/providers", provider("query", "127.0.0.1", json!({ "scheme": "query", "name": "key" }))).await.ok();
    let export = |provider: &str| json!({ "export": { "name": "sink", "url": url, "format": "json-lines", "provider": provider } });
    world.post("/v1/exports", export("other")).await.problem(422, "bad_provider");
    world.post("/v1/exports", export("query")).await.problem(422, "bad_provider");
    world.post("/v1/exports", export("nobody")).await.problem(422, "provider_not_found");
    world.post("/v1/exports", export("sink")).await.ok();
    decide(&a, 0..1);
    collector.until(1).await;
    assert_eq!(collector.got()[0].headers["dd-api-key"], "s3cret-of-the-sink");
    world.delete("/v1/providers/sink").await.problem(409, "provider_in_use");
    let told = world.get("/v1/exports/sink").await.ok().to_string() + &world.get("/v1/audit").await.ok().to_string();
    assert!(!told.contains("s3cret"), "{told}");
}

async fn every_format_says_what_was_decided(on: Database) {
    let world = World::new(on).await;
    let a = world.sandbox("a").await;
    let (collector, url) = Collector::start().await;
    add(&world, "ocsf", &format!("{url}/ocsf"), "ocsf").await;
    add(&world, "logs", &url, "otlp-logs").await;
    add(&world, "spans", &format!("{url}/"), "otlp-traces").await;
    let (mut allowed, denied) = (decision(0), decision(1));
    let (trace, parent) = ("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7");
    allowed.trace = Some(TraceRecord { trace_id: trace.to_owned(), parent_id: parent.to_owned() });
    let mut connect = DecisionRecord { stage: Stage::Connect, method: None, path: None, ..decision(1) };
    connect.status = None;
    report(&a, &[allowed.clone(), denied.clone(), connect.clone()]);
    for name in ["ocsf", "logs", "spans"] {
        let told = if name == "spans" { 2 } else { 3 };
        world.until(&format!("/v1/exports/{name}"), |state| state["delivered"] == told).await;
    }
    let body = |path: &str| -> Value {
        let got = collector.got();
        let message =
            got.iter().find(|message| message.path == path).unwrap_or_else(|| panic!("nothing came at {path}"));
        assert_eq!(message.headers["content-type"], "application/json");
        serde_json::from_str(&message.body).unwrap()
    };
    let ocsf = body("/ocsf");
    let row = |at: usize, keys: &[&str]| {
        keys.iter().map(|key| ocsf[at].pointer(key).cloned().unwrap_or_default()).collect::<Vec<_>>()
    };
    let keys = [
        "/class_uid",
        "/activity_id",
        "/type_uid",
        "/action_id",
        "/metadata/uid",
        "/http_response/code",
        "/status_detail",
    ];
    assert_eq!(
        row(0, &keys),
        [json!(4002), json!(3), json!(400_203), json!(1), json!(allowed.id), json!(200), Value::Null]
    );
    assert_eq!(
        row(1, &keys),
        [json!(4002), json!(3), json!(400_203), json!(2), json!(denied.id), Value::Null, json!("odd")]
    );
    assert_eq!(row(2, &keys[..4]), [json!(4001), json!(5), json!(400_105), json!(2)]);
    assert_eq!(
        row(0, &["/dst_endpoint/hostname", "/actor/process/file/path", "/http_request/url/path"]),
        [json!("one.test"), json!("/usr/bin/agent"), json!("/0")]
    );

    let logs = body("/v1/logs");
    let logs = &logs["resourceLogs"][0]["scopeLogs"][0]["logRecords"];
    assert_eq!(logs.as_array().unwrap().len(), 3);
    assert_eq!(
        (&logs[0]["traceId"], &logs[0]["severityNumber"], &logs[1]["severityNumber"]),
        (&json!(trace), &json!(9), &json!(13))
    );

    let spans = body("/v1/traces");
    let spans = &spans["resourceSpans"][0]["scopeSpans"][0]["spans"];
    assert_eq!(spans.as_array().unwrap().len(), 4, "a connection is no request: {spans}");
    assert_eq!(
        (&spans[0]["traceId"], &spans[0]["parentSpanId"], &spans[0]["spanId"]),
        (&json!(trace), &json!(parent), &json!(allowed.span_id()))
    );
    assert_eq!((&spans[1]["parentSpanId"], &spans[1]["traceId"]), (&json!(allowed.span_id()), &json!(trace)));
    assert_ne!(spans[1]["spanId"], spans[0]["spanId"]);
    assert_eq!((&spans[2]["traceId"], &spans[2]["status"]["code"]), (&json!(denied.trace_id()), &json!(2)));
    let number = |value: &Value| value.as_str().unwrap().parse::<u64>().unwrap();
    assert!(number(&spans[0]["endTimeUnixNano"]) >= number(&spans[0]["startTimeUnixNano"]) + 20_000);
}

async fn what_can_not_work_is_refused(on: Database) {
    let world = World::new(on).await;
    let add = async |export: Value| world.post("/v1/exports", json!({ "export": export })).await;
    let good = json!({ "name": "a", "url": "https://sink.test/in", "format": "ocsf" });
    let with = |key: &str, value: Value| {
        let mut changed = good.clone();
        changed[key] = value;
        changed
    };
    add(with("url", json!("http://sink.test/in"))).await.problem(422, "bad_url");
    add(with("url", json!("ftp://sink.test"))).await.problem(422, "bad_url");
    add(with("url", json!("sink"))).await.problem(422, "bad_url");
    add(with("format", json!("csv"))).await.problem(422, "bad_request");
    add(with("name", json!("Not A Name"))).await.problem(422, "bad_request");
    add(with("only", json!("maybe"))).await.problem(422, "bad_request");
    add(with("nonsense", json!(1))).await.problem(422, "bad_request");
    add(good.clone()).await.ok();
    add(good).await.problem(409, "export_exists");
    world.delete("/v1/exports/nobody").await.problem(404, "export_not_found");
    assert_eq!(world.items("/v1/exports").await.as_array().unwrap().len(), 1);
}

fn report(supervisor: &Supervisor, records: &[DecisionRecord]) {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let first = NEXT.fetch_add(records.len() as u64, Ordering::Relaxed);
    supervisor.say(FromSupervisor::Records { first, records: records.to_vec() });
}
