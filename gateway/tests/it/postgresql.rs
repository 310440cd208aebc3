//! What is PostgreSQL's own: a server that is away when the gateway starts, or for a while; a schema of another version.

use std::process::{Command, Output};
use std::time::Duration;

use crate::world::postgres::{self, Cluster, psql};
use crate::world::{Database, World};
use openshell_api::decision::{DecisionRecord, ProcessRecord, Stage, Subject};
use openshell_api::link::FromSupervisor;
use openshell_gateway::identity::IdentityOptions;
use serde_json::json;

/// Runs the real program on a database, as long as it takes to refuse.
fn refused(database: &str) -> String {
    let state = tempfile::tempdir().unwrap();
    let Output { status, stderr, .. } = Command::new(env!("CARGO_BIN_EXE_openshell-gateway"))
        .args(["run", "--state-dir"])
        .arg(state.path().join("state"))
        .env("OPENSHELL_DATABASE", database)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&stderr).into_owned();
    assert_eq!(status.code(), Some(1), "{database}: {said}");
    said
}

#[test]
fn a_database_that_can_not_be_used_says_why_and_never_its_password() {
    let fresh = postgres::database();
    let port = url::Url::parse(&fresh).unwrap().port().unwrap();
    let check = |database: &str, fact: &str, hint: &str| {
        let said = refused(database);
        assert!(said.contains(fact) && said.contains(hint), "{database}: {said}");
        assert!(!said.contains("hidden"), "{said}");
    };
    let hint = "hint: is it running, and is the URL right?";
    check("postgres://me:hidden@127.0.0.1:1/x", "error: the database x at 127.0.0.1:1 can't be used", hint);
    check(&format!("postgres://postgres:hidden@127.0.0.1:{port}/nothing"), "database \"nothing\" does not exist", hint);
    check(&format!("postgres://nobody:hidden@127.0.0.1:{port}/postgres"), "role \"nobody\" does not exist", hint);
    check(&format!("{fresh}?sslmode=require"), "can't be used", "sslmode");
    check("mysql://me:hidden@db.test/x", "there is no database for \"mysql\" URLs", "postgres://");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_of_a_newer_gateway_is_refused() {
    for database in [Database::Sqlite, Database::postgres()] {
        let world = World::new(database.clone()).await;
        let state = world.dir.path().join("state");
        let newer = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
            SELECT 9999, 'of the future', success, checksum, 0 FROM _sqlx_migrations LIMIT 1";
        let World { running, dir, .. } = world;
        running.stop().await;
        database.tamper(&state, newer);
        let mut command = Command::new(env!("CARGO_BIN_EXE_openshell-gateway"));
        command.args(["run", "--state-dir"]).arg(&state);
        if let Database::Postgres(url) = &database {
            command.env("OPENSHELL_DATABASE", url);
        }
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(
            said.contains("this one does not know migration 9999") && said.contains("hint: run the newer"),
            "{said}"
        );
        drop(dir);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn both_schemas_have_the_same_tables_and_columns() {
    let world = World::new(Database::postgres()).await;
    let Database::Postgres(url) = &world.database else { unreachable!() };
    let there = psql(
        url,
        "SELECT table_name || '.' || column_name FROM information_schema.columns
         WHERE table_schema = 'public' AND table_name <> '_sqlx_migrations'",
    );
    let world = World::new(Database::Sqlite).await;
    let here = world.database.rows(
        &world.dir.path().join("state"),
        "SELECT t.name || '.' || c.name FROM sqlite_master t, pragma_table_info(t.name) c
         WHERE t.type = 'table' AND t.name NOT LIKE 'sqlite_%' AND t.name <> '_sqlx_migrations'",
    );
    let sorted = |text: &str| {
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    assert_eq!(sorted(&there), sorted(&here));
    assert!(sorted(&here).len() > 80, "{here}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_goes_away_and_comes_back_loses_nothing() {
    let mut cluster = Cluster::start();
    let world = World::with(Database::Postgres(cluster.database()), IdentityOptions::default()).await;
    let supervisor = world.sandbox("a").await;
    world.push(&["a"], "a.test").await.ok();
    let push = json!({ "sandboxes": ["a"], "module": world.rules().await, "settings": crate::world::allow("b.test") });

    cluster.kill();
    for path in ["/v1/sandboxes", "/readyz"] {
        let request = world.request(reqwest::Method::GET, path);
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 503, "{path}");
        let after: u64 = response.headers()["retry-after"].to_str().unwrap().parse().unwrap();
        assert!((1..=10).contains(&after), "{after}");
        assert_eq!(response.headers()["content-type"], "application/problem+json");
        let problem: serde_json::Value = response.json().await.unwrap();
        assert_eq!(problem["code"], "database_unavailable", "{problem}");
        assert!(!problem.to_string().contains("postgres://"), "{problem}");
    }
    world.send(world.request(reqwest::Method::GET, "/healthz")).await.ok();
    world.post("/v1/pushes", push.clone()).await.problem(503, "database_unavailable");
    assert_eq!(supervisor.generation(), 2, "it enforces what it did");
    // What it decides meanwhile is kept until it is stored.
    let subject = Subject { sandbox: "a", process: ProcessRecord::default(), host: "a.test", port: 443 };
    let record = DecisionRecord::unanswered(subject, Stage::Connect, 2);
    supervisor.say(FromSupervisor::Records { first: 1, records: vec![record.clone()] });
    // A minute is longer than anything waits.
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(supervisor.state.lock().unwrap().records_stored.is_empty());

    cluster.begin();
    world.until("/readyz", serde_json::Value::is_null).await;
    world.until("/v1/decisions", |found| found["items"][0]["id"] == json!(record.id)).await;
    assert_eq!(supervisor.state.lock().unwrap().records_stored, [1]);
    world.until("/v1/sandboxes/a", |sandbox| sandbox["connected"] == true).await;
    world.post("/v1/pushes", push).await.ok();
    assert_eq!(supervisor.generation(), 3);
    let page = world.get("/v1/audit?action=policy").await.ok();
    assert_eq!(page["items"].as_array().unwrap().len(), 2, "{page}");
}

#[tokio::test(flavor = "multi_thread")]
async fn writers_take_turns_at_the_end_of_the_trail_and_at_the_numbers_of_records() {
    let world = World::new(Database::postgres()).await;
    let supervisor = world.sandbox("a").await;
    let record = |host: &str| {
        let subject = Subject { sandbox: "a", process: ProcessRecord::default(), host, port: 443 };
        DecisionRecord::unanswered(subject, Stage::Connect, 1)
    };
    let users = futures_util::future::join_all((0..40).map(|n| {
        let body = json!({ "name": format!("u{n}"), "role": "viewer" });
        world.post("/v1/users", body)
    }));
    for batch in 0..40 {
        let records = (0..20).map(|n| record(&format!("h{batch}-{n}.test"))).collect();
        supervisor.say(FromSupervisor::Records { first: batch * 20 + 1, records });
    }
    for answer in users.await {
        answer.ok();
    }
    let found = world
        .until("/v1/decisions?limit=1000", |found| found["items"].as_array().is_some_and(|found| found.len() == 800))
        .await;
    let hosts: Vec<&str> = found["items"].as_array().unwrap().iter().map(|one| one["host"].as_str().unwrap()).collect();
    let expected: Vec<String> = (0..800).map(|n| format!("h{}-{}.test", n / 20, n % 20)).collect();
    assert_eq!(hosts, expected);
    let head = world.get("/v1/audit/head").await.ok();
    let page = world.get("/v1/audit?limit=1000").await.ok();
    assert_eq!(page["items"].as_array().unwrap().len() as u64, head["seq"].as_u64().unwrap());
    assert!(!page.to_string().contains("audit.broken"), "{page}");
}
