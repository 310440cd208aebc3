//! Sandboxes across failures: those that don't start, those that die, and gateways that come back.

use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::process::Terms;
use crate::world::{Database, World};
use openshell_api::launch::LaunchSpec;
use openshell_api::link::FromSupervisor;
use openshell_api::sandbox::CreateSandbox;
use openshell_gateway::runtime::process::ProcessRuntime;
use openshell_gateway::runtime::{Runtime, RuntimeError, Start};
use serde_json::json;

with_both!(
    acknowledged_state_survives_a_restart,
    a_sandbox_that_does_not_start_leaves_nothing,
    the_end_of_a_workload_and_the_death_of_a_supervisor_are_told_apart,
    what_belongs_to_no_sandbox_is_removed_at_the_next_start,
);

async fn acknowledged_state_survives_a_restart(on: Database) {
    let world = World::new(on).await;
    let a = world.sandbox("a").await;
    world.push(&["a"], "one.test").await.ok();
    let before = world.items("/v1/sandboxes/a/generations").await;
    a.disconnect();
    let world = world.restart().await;
    assert_eq!(world.items("/v1/sandboxes/a/generations").await, before);
    a.connect();
    world.until("/v1/sandboxes/a", |sandbox| sandbox["connected"] == true).await;
    world.push(&["a"], "two.test").await.ok();
    assert_eq!(a.generation(), 3);
}

async fn a_sandbox_that_does_not_start_leaves_nothing(on: Database) {
    let world = World::new(on).await;
    world.runtime.mute.store(true, Ordering::Relaxed);
    let problem = world.post("/v1/sandboxes", json!({ "name": "a" })).await.problem(500, "sandbox_failed");
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.contains("did not run within 5 s") && detail.contains("last words"), "{detail}");
    assert_eq!(world.items("/v1/sandboxes").await, json!([]));
    assert!(world.runtime.seats.lock().unwrap().is_empty());
    world.runtime.mute.store(false, Ordering::Relaxed);
    world.sandbox("a").await;
}

async fn the_end_of_a_workload_and_the_death_of_a_supervisor_are_told_apart(on: Database) {
    let world = World::new(on).await;
    let (a, b) = (world.sandbox("a").await, world.sandbox("b").await);
    a.say(FromSupervisor::Exited { code: 3 });
    world.until("/v1/sandboxes/a", |sandbox| sandbox["phase"] == "exited" && sandbox["exit_code"] == 3).await;
    b.disconnect();
    world.runtime.seat("b").ended.cancel();
    let failed = world.until("/v1/sandboxes/b", |sandbox| sandbox["phase"] == "failed").await;
    assert!(failed["failure"].as_str().unwrap().contains("last words"));
    world.delete("/v1/sandboxes/a").await.ok();
    world.delete("/v1/sandboxes/b").await.ok();
    assert_eq!(world.items("/v1/sandboxes").await, json!([]));
}

async fn what_belongs_to_no_sandbox_is_removed_at_the_next_start(on: Database) {
    let world = World::new(on).await;
    world.sandbox("a").await;
    let mut stray = world.runtime.seat("a");
    stray.spec.sandbox_id = "stray".into();
    stray.ended = Default::default();
    world.runtime.seats.lock().unwrap().insert("stray".into(), stray);
    world.runtime.seat("a").supervisor.disconnect();
    let world = world.restart().await;
    let ids: Vec<String> = world.runtime.seats.lock().unwrap().keys().cloned().collect();
    assert_eq!(ids.len(), 1);
    assert_ne!(ids[0], "stray");
}

fn spec(root: &Path, id: &str) -> Start {
    let text = |name: &str| root.join(id).join(name).to_string_lossy().into_owned();
    let launch = LaunchSpec {
        hidden: Vec::new(),
        allow_degraded: false,
        image: None,
        sandbox_id: id.into(),
        sandbox: "a".parse().unwrap(),
        gateway_url: String::new(),
        gateway_ca: String::new(),
        gateway_ca_epoch: 0,
        token: "secret".into(),
        verifying_key: String::new(),
        further_keys: vec![],
        state_dir: text("state"),
        workspace: text("workspace"),
        command: vec![],
        env: Default::default(),
        workdir: None,
        labels: Default::default(),
        add_hosts: Default::default(),
        upstream_ca: None,
        gateway_socket: None,
        own_root: false,
        writable: vec![],
        degraded: vec![],
    };
    Start { launch, spec: CreateSandbox::default() }
}

/// A program in the supervisor's place that says something and stays.
fn program(dir: &Path) -> std::path::PathBuf {
    use std::os::unix::fs::PermissionsExt as _;
    let path = dir.join("supervisor");
    std::fs::write(&path, "#!/bin/sh\necho began with $1\nexec sleep 300\n").unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700)).unwrap();
    path
}

#[tokio::test]
async fn processes_are_started_adopted_and_ended() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("sandboxes");
    let runtime = ProcessRuntime::new(program(dir.path()), root.clone()).unwrap();
    runtime.start(&spec(&root, "one")).await.unwrap();
    assert!(runtime.alive("one").await.unwrap());
    let mode = std::fs::metadata(root.join("one/launch.json")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "the launch file holds a token");

    // As another gateway process would find it.
    let adopted = ProcessRuntime::new("/nowhere".into(), root.clone()).unwrap();
    assert_eq!(adopted.traces().await.unwrap(), ["one"]);
    assert!(adopted.alive("one").await.unwrap());
    while !adopted.log_tail("one", 5).await.contains("began with --launch") {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    adopted.stop("one", Duration::from_secs(10)).await.unwrap();
    assert!(!runtime.alive("one").await.unwrap());
    runtime.wait("one").await;
    adopted.remove("one").await.unwrap();
    adopted.remove("one").await.unwrap();
    assert!(adopted.traces().await.unwrap().is_empty());

    let missing = adopted.start(&spec(&root, "two")).await;
    assert!(matches!(missing, Err(RuntimeError::NoSupervisor(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_gateway_on_a_state_directory_is_refused_and_the_first_one_goes_on() {
    let terms = Terms::alone();
    let first = terms.start("a").await;
    let supervisor = first.sandbox("s").await;
    let output = terms.shared("a").output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    let fact = format!("another gateway (pid {}) is running with the state directory", first.pid());
    assert!(said.contains(&fact) && said.contains("hint: "), "{said}");
    // What the first one had said of itself is still there.
    assert!(first.state().join("endpoint.json").is_file());
    first.push(&["s"], "one.test").await.unwrap().ok();
    assert_eq!(supervisor.generation(), 2);
}
