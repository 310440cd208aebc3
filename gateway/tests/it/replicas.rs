//! Several gateways on one database: real processes, a real PostgreSQL, and supervisors that speak the real protocol.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use crate::process::{Gateway, Terms};
use crate::world::postgres;
use crate::world::supervisor::Supervisor;
use openshell_api::Page;
use openshell_api::audit::{AuditHead, AuditLink, Verifier};
use openshell_api::decision::{DecisionRecord, ProcessRecord, Stage, Subject};
use openshell_api::link::FromSupervisor;
use openshell_api::user::Role;
use reqwest::Method;
use serde_json::{Value, json};

/// Three gateways on one database; the first of them leads.
pub async fn trio() -> (Terms, [Gateway; 3]) {
    let terms = Terms::new(postgres::database());
    let first = terms.start("a").await;
    let (second, third) = tokio::join!(terms.start("b"), terms.start("c"));
    (terms, [first, second, third])
}

fn record(sandbox: &str, host: &str) -> DecisionRecord {
    let subject = Subject { sandbox, process: ProcessRecord::default(), host, port: 443 };
    DecisionRecord::unanswered(subject, Stage::Connect, 1)
}

/// Checks the audit trail of a gateway, from its first link to the signed end.
pub async fn verified(gateway: &Gateway) -> u64 {
    let head: AuditHead = gateway.request(Method::GET, "/v1/audit/head").send().await.unwrap().json().await.unwrap();
    let mut verifier = Verifier::new(head, None).unwrap();
    let mut next = Some(String::new());
    while let Some(cursor) = next {
        let cursor = if cursor.is_empty() { cursor } else { format!("&cursor={cursor}") };
        let page = gateway.request(Method::GET, &format!("/v1/audit?limit=1000{cursor}")).send().await.unwrap();
        let page: Page<AuditLink> = serde_json::from_str(&page.text().await.unwrap()).unwrap();
        page.items.iter().for_each(|link| verifier.take(link).unwrap());
        next = page.next;
    }
    let (count, notices) = verifier.finish().unwrap();
    assert!(notices.is_empty(), "{notices:?}");
    count
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_on_one_reaches_the_sandboxes_of_all_and_so_does_everything_else() {
    let (_terms, [a, b, c]) = trio().await;
    assert_eq!((a.token(), a.token()), (b.token(), c.token()), "one administrator");
    let mut supervisors = HashMap::new();
    for (gateway, name) in [(&a, "on-a"), (&b, "on-b"), (&c, "on-c")] {
        supervisors.insert(name, gateway.sandbox(name).await);
    }
    for gateway in [&a, &b, &c] {
        let all = |rows: &Value| {
            rows["items"]
                .as_array()
                .is_some_and(|rows| rows.len() == 3 && rows.iter().all(|row| row["connected"] == true))
        };
        gateway.until("/v1/sandboxes", all).await;
        assert_eq!(gateway.get("/v1/status").await.ok()["connected"], 3);
    }
    // One push, three gateways, the artifacts included.
    let report = a.push(&["on-a", "on-b", "on-c"], "one.test").await.unwrap().ok();
    assert_eq!(report["enforcing"].as_array().unwrap().len(), 3, "{report}");
    for (name, supervisor) in &supervisors {
        assert_eq!((supervisor.generation(), supervisor.content().chain.len()), (2, 1), "{name}");
    }
    // A refusal elsewhere takes it back everywhere.
    supervisors["on-c"].mood(crate::world::supervisor::Mood::Refuse);
    a.push(&["on-a", "on-b", "on-c"], "two.test").await.unwrap().problem(409, "not_staged");
    supervisors["on-c"].mood(crate::world::supervisor::Mood::Fine);
    assert!(supervisors.values().all(|supervisor| supervisor.generation() == 2));
    assert_eq!(supervisors["on-b"].state.lock().unwrap().aborted, 1);

    // Secrets, the proof of walls, commands, files of another one's sandbox.
    let provider = json!({ "name": "key", "type": "openai", "secret": "sk-1" });
    b.post("/v1/providers", provider).await.ok();
    let backend = json!({ "name": "cloud", "kind": "openai", "base_url": "https://api.openai.com/v1",
        "locality": "public", "clearance": "public", "provider": "key" });
    c.post("/v1/inference/backends", backend).await.ok();
    for supervisor in supervisors.values() {
        assert_eq!(supervisor.state.lock().unwrap().secrets.get("key").map(String::as_str), Some("sk-1"));
    }
    a.post("/v1/keys/rotate", json!({})).await.ok();
    let update = json!({ "secret": "sk-2" });
    c.ask(Method::PUT, "/v1/providers/key", Some(update)).await.unwrap().ok();
    for supervisor in supervisors.values() {
        until(|| supervisor.state.lock().unwrap().secrets["key"] == "sk-2").await;
    }
    supervisors["on-c"].state.lock().unwrap().verified = Some(Err("not now".to_owned()));
    b.post("/v1/sandboxes/on-c/verify", json!({})).await.problem(502, "not_verified");
    let said = exec(&c, "on-a", &["echo", "hello"]).await;
    assert_eq!(said, ("echo hello".to_owned(), json!({ "type": "exited", "code": 7 })));

    // What one stores the followers of another one see.
    let follow = c.request(Method::GET, "/v1/decisions?follow=true").send().await.unwrap();
    supervisors["on-a"].say(FromSupervisor::Records { first: 1, records: vec![record("on-a", "seen.test")] });
    let began = Instant::now();
    let mut stream = follow.bytes_stream();
    let mut text = String::new();
    while !text.contains("seen.test") {
        let chunk = tokio::time::timeout(Duration::from_secs(5), futures_util::StreamExt::next(&mut stream)).await;
        text.push_str(std::str::from_utf8(&chunk.unwrap().unwrap().unwrap()).unwrap());
    }
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());

    // What needs the machine is done there.
    let stopped = b.post("/v1/sandboxes/on-a/stop", json!({})).await.ok();
    assert_eq!(stopped["phase"], "stopped");
    c.delete("/v1/sandboxes/on-a").await.ok();
    assert!(
        !a.state().join("sandboxes").read_dir().unwrap().flatten().any(|one| one.path().join("launch.json").exists())
    );
    assert_eq!(b.get("/v1/sandboxes").await.ok()["items"].as_array().unwrap().len(), 2);
    let entries = a.get("/v1/audit?action=sandbox.delete").await.ok();
    assert_eq!(entries["items"].as_array().unwrap().len(), 1, "told once: {entries}");
    for gateway in [&a, &b, &c] {
        verified(gateway).await;
    }
}

pub async fn until(wanted: impl Fn() -> bool) {
    let look = async {
        while !wanted() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(15), look).await.expect("it comes to be so");
}

async fn exec(gateway: &Gateway, sandbox: &str, command: &[&str]) -> (String, Value) {
    use futures_util::{SinkExt as _, StreamExt as _};
    use tokio_tungstenite::tungstenite::Message;
    let url = format!("{}/v1/sandboxes/{sandbox}/streams", gateway.url().replace("https:", "wss:"));
    let ca = std::fs::read(gateway.state().join("ca.pem")).unwrap();
    let mut socket = crate::world::websocket::websocket(&url, &ca, gateway.token()).await.unwrap();
    let request = json!({ "type": "exec", "exec": { "command": command } });
    socket.send(Message::text(request.to_string())).await.unwrap();
    let mut output = String::new();
    loop {
        match socket.next().await.unwrap().unwrap() {
            Message::Binary(frame) if frame[0] == 1 => output.push_str(std::str::from_utf8(&frame[1..]).unwrap()),
            Message::Text(text) => return (output, serde_json::from_str(&text).unwrap()),
            _ => {}
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn conflicting_pushes_of_several_gateways_do_not_interleave() {
    let (_terms, gateways) = trio().await;
    let names = ["one", "two", "three"];
    let mut supervisors = Vec::new();
    for (gateway, name) in gateways.iter().zip(names) {
        supervisors.push(gateway.sandbox(name).await);
    }
    gateways[0].push(&names, "warm.test").await.unwrap().ok();
    let pushes = gateways.iter().enumerate().flat_map(|(n, gateway)| {
        (0..5).map(move |k| async move { gateway.push(&names, &format!("h{n}-{k}.test")).await.unwrap() })
    });
    for answer in futures_util::future::join_all(pushes).await {
        answer.ok();
    }
    for generation in 3..=17 {
        let mut causes = BTreeMap::new();
        for name in names {
            let all = gateways[1].items(&format!("/v1/sandboxes/{name}/generations")).await;
            assert_eq!(all.len(), 17, "{all:?}");
            let one = all.iter().find(|one| one["number"] == generation).unwrap().clone();
            causes.insert(one["cause"].as_str().unwrap().to_owned(), ());
        }
        assert_eq!(causes.len(), 1, "{causes:?}");
    }
    let contents: Vec<_> = supervisors.iter().map(|supervisor| supervisor.content().chain).collect();
    assert!(contents.iter().all(|content| *content == contents[0]), "{contents:?}");
    assert!(supervisors.iter().all(|supervisor| supervisor.generation() == 17));
    verified(&gateways[2]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_killed_under_load_loses_nothing_and_its_sandboxes_move_in_seconds() {
    let (terms, [mut a, b, c]) = trio().await;
    let mut supervisors: Vec<Supervisor> = Vec::new();
    for (gateway, name) in [(&a, "on-a"), (&b, "on-b"), (&c, "on-c")] {
        supervisors.push(gateway.sandbox(name).await);
    }
    let names = ["on-a", "on-b", "on-c"];
    a.push(&names, "warm.test").await.unwrap().ok();
    // Everybody has heard where the others are.
    for supervisor in &supervisors {
        until(|| supervisor.state.lock().unwrap().gateways.len() == 3).await;
    }

    let (mut users, mut pushes) = (Vec::new(), Vec::new());
    let load = async {
        for n in 0..400 {
            for (gateway, at) in [(&a, "a"), (&b, "b"), (&c, "c")] {
                let name = format!("{at}{n}");
                let role = Role::Viewer.word();
                let made = gateway.ask(Method::POST, "/v1/users", Some(json!({ "name": name, "role": role }))).await;
                if made.is_some_and(|made| made.status.is_success()) {
                    users.push(name);
                }
            }
            let gateway = if n % 2 == 0 { &a } else { &b };
            if let Some(pushed) = gateway.push(&names, &format!("h{n}.test")).await
                && pushed.status.is_success()
            {
                pushes.push((n, pushed.body["enforcing"][0]["generation"].as_u64().unwrap()));
            }
        }
    };
    // The process, not the value: that is in use.
    let pid = a.pid();
    let killed = async {
        tokio::time::sleep(Duration::from_secs(3)).await;
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid as i32), nix::sys::signal::Signal::SIGKILL).unwrap();
        let died = Instant::now();
        let moved = &supervisors[0];
        until(|| moved.state.lock().unwrap().linked.as_deref().is_some_and(|url| url != a.url())).await;
        died.elapsed()
    };
    let bounded = async { tokio::time::timeout(Duration::from_secs(25), load).await.is_ok() };
    let (_, moved) = tokio::join!(bounded, killed);
    assert!(moved < Duration::from_secs(8), "{moved:?}");
    until_linked(&b, &c, "on-a").await;
    a.kill();
    assert!(users.len() > 5 && users.iter().any(|name| name.starts_with('a')), "{users:?}");
    let known = b.items("/v1/users").await;
    let known: Vec<&str> = known.iter().map(|user| user["name"].as_str().unwrap()).collect();
    for name in &users {
        assert!(known.contains(&name.as_str()), "{name} was acknowledged and is lost");
    }
    // Every acknowledged push is a generation, and after one more all enforce the same.
    assert!(!pushes.is_empty());
    let generations = c.get("/v1/sandboxes/on-b/generations").await.ok();
    let newest = generations["items"][0]["number"].as_u64().unwrap();
    assert!(pushes.iter().all(|(_, generation)| *generation <= newest));
    c.until("/v1/sandboxes", |rows| rows["items"].as_array().unwrap().iter().all(|row| row["connected"] == true)).await;
    c.push(&names, "after.test").await.unwrap().ok();
    let contents: Vec<_> = supervisors.iter().map(|supervisor| supervisor.content().chain).collect();
    assert!(contents.iter().all(|content| *content == contents[0]), "{contents:?}");
    verified(&b).await;

    // What needs its machine waits for it; deleting does not.
    b.post("/v1/sandboxes/on-a/stop", json!({})).await.problem(503, "machine_away");
    b.delete("/v1/sandboxes/on-a").await.ok();
    let again = terms.start("a").await;
    assert!(
        !again
            .state()
            .join("sandboxes")
            .read_dir()
            .unwrap()
            .flatten()
            .any(|one| one.path().join("launch.json").exists())
    );
    again.push(&["on-b", "on-c"], "again.test").await.unwrap().ok();
    verified(&again).await;
}

/// Waits until a sandbox is linked to one of two gateways, as both see it.
async fn until_linked(one: &Gateway, other: &Gateway, name: &str) {
    for gateway in [one, other] {
        gateway.until(&format!("/v1/sandboxes/{name}"), |row| row["connected"] == true).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_gateways_with_the_same_passphrase_share_a_database() {
    let terms = Terms::new(postgres::database());
    let _first = terms.start("first").await;
    let refused = |mut command: std::process::Command, fact: &str, hint: &str| {
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(fact) && said.contains(hint), "{said}");
    };
    std::fs::write(terms.path("other"), "another passphrase\n").unwrap();
    let mut wrong = terms.command("second");
    wrong.arg("--passphrase-file").arg(terms.path("other"));
    refused(wrong, "the passphrase does not open the keys", "hint: every gateway of a database");
    refused(terms.command("third"), "it has other keys", "--passphrase-file");
    // A state directory with keys of its own is not written over.
    std::fs::create_dir(terms.path("fourth")).unwrap();
    std::fs::write(terms.path("fourth").join("signing.key"), "00".repeat(32)).unwrap();
    refused(terms.shared("fourth"), "signing.key of this state directory is not the one", "an empty state directory");
    // Nobody but a gateway uses links of others.
    let response = _first.request(Method::GET, "/internal/v1/links/01ARZ3NDEKTSV4RRFFQ69G5FAV").send().await.unwrap();
    assert_eq!(response.status(), 401);
    let dump = postgres::dump(terms.database());
    let key = std::fs::read_to_string(_first.state().join("signing.key")).unwrap();
    assert!(!dump.contains(key.trim()) && !dump.contains(&hex::encode(key.trim())), "no key is in the clear");
    assert!(!dump.contains(&hex::encode(_first.token())) && !dump.contains(_first.token()));
}
