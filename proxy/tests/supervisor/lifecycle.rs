//! The workload, its words, and the supervisor's end.

use nix::sys::signal::Signal;
use openshell_api::link::{FromSupervisor, Sensitive, ToSupervisor};
use openshell_api::sandbox::LogLine;

use super::gateway::{Heard, Link};
use super::world::{World, can_seal};

/// Log lines as they come, until `last` is among them: sequence number, stream, text.
async fn lines_until(link: &mut Link, last: &str) -> Vec<(u64, String, String)> {
    let mut all = Vec::new();
    while !all.iter().any(|(_, _, text): &(u64, String, String)| text == last) {
        let (first, lines) = link
            .until(|message| match message {
                FromSupervisor::Logs { first, lines } => Some((first, lines)),
                _ => None,
            })
            .await;
        let numbered = |(number, LogLine { stream, line, .. })| (number, stream, line);
        all.extend((first..).zip(lines).map(numbered));
    }
    all
}

async fn phase(link: &mut Link) -> String {
    // It may have been said while something else was waited for.
    if std::mem::take(&mut link.running) {
        return "running".to_owned();
    }
    let said = link.until(|message| match message {
        FromSupervisor::Running => Some("running".to_owned()),
        FromSupervisor::Exited { code } => Some(format!("exited {code}")),
        FromSupervisor::Failed { reason } => Some(reason),
        _ => None,
    });
    let said = said.await;
    link.running = false;
    said
}

#[tokio::test]
async fn a_workload_speaks_exits_and_leaves_the_sandbox() {
    if !can_seal() {
        return;
    }
    let script = "echo $GREETING; echo aside >&2; head -c 3 \"$SSL_CERT_FILE\"; \
                  until [ -e heard ]; do sleep 0.02; done; exit 7";
    let world = World::running(&["sh", "-c", script]).await;
    let (_supervisor, mut link) = world.begin().await;
    assert_eq!(phase(&mut link).await, "running", "{}", world.log());
    // Over before that was said, it would only be said to have exited.
    std::fs::write(world.path("workspace/heard"), "").unwrap();
    assert_eq!(phase(&mut link).await, "exited 7");
    drop(link);

    let hello = async |link: &mut Link| match link.hear().await {
        Some(Heard::Said(FromSupervisor::Hello { exit_code, generation, .. })) => (exit_code, generation),
        other => panic!("{other:?}"),
    };
    let mut link = world.gateway.accept().await;
    assert_eq!(hello(&mut link).await, (None, 1), "its log is not stored");
    let lines = lines_until(&mut link, "the workload exited with code 7").await;
    assert_eq!(phase(&mut link).await, "exited 7");
    let of = |stream: &str| -> Vec<&str> {
        lines.iter().filter(|(_, from, _)| from == stream).map(|(_, _, text)| text.as_str()).collect()
    };
    assert_eq!(of("stderr"), ["aside"]);
    assert_eq!(of("stdout")[0], "hello");

    link.say(&ToSupervisor::LogsStored { through: lines.last().expect("some lines").0 }).await;
    assert_eq!(link.stage("after", world.empty(2, "two")).await, "staged");
    drop(link);
    let mut link = world.gateway.accept().await;
    assert_eq!(hello(&mut link).await, (Some(7), 1));
}

#[tokio::test]
async fn the_news_of_an_end_follows_every_line_before_it() {
    if !can_seal() {
        return;
    }
    let world = World::running(&["sh", "-c", "seq 5000; echo aside >&2; exit 3"]).await;
    let (_supervisor, mut link) = world.begin().await;
    let mut heard: Vec<LogLine> = Vec::new();
    let code = link
        .until(|message| match message {
            FromSupervisor::Logs { lines, .. } => {
                heard.extend(lines);
                None
            }
            FromSupervisor::Exited { code } => Some(code),
            _ => None,
        })
        .await;
    let of = |stream: &str| heard.iter().filter(|line| line.stream == stream).count();
    assert_eq!((code, of("stdout"), of("stderr")), (3, 5000, 1), "{}", world.log());
    assert!(heard.iter().any(|line| line.exit_code == Some(3)));
}

#[tokio::test]
async fn what_is_not_stored_is_sent_again() {
    if !can_seal() {
        return;
    }
    let world = World::running(&["sh", "-c", "for n in 1 2 3; do echo line $n; done"]).await;
    let (supervisor, mut link) = world.begin().await;
    let lines = lines_until(&mut link, "line 3").await;
    let number = |text: &str, lines: &[(u64, String, String)]| {
        lines.iter().find(|(_, _, line)| line == text).map(|(number, _, _)| *number)
    };
    let second = number("line 2", &lines).expect("it was written");
    link.say(&ToSupervisor::LogsStored { through: second }).await;
    assert_eq!(link.stage("after", world.empty(2, "two")).await, "staged");
    drop(link);

    let mut link = world.gateway.accept().await;
    let lines = lines_until(&mut link, "line 3").await;
    assert_eq!(number("line 2", &lines), None, "it was stored");
    assert_eq!(number("line 3", &lines), Some(second + 1));

    supervisor.signal(Signal::SIGKILL);
    supervisor.end().await;
    drop(link);
    let _again = world.start();
    let mut link = world.gateway.accept().await;
    let lines = lines_until(&mut link, "line 3").await;
    assert_eq!(number("line 3", &lines), Some(second + 1), "a restart forgets nothing");
}

#[tokio::test]
async fn a_workload_that_can_not_start_is_a_failure_told() {
    if !can_seal() {
        return;
    }
    let world = World::running(&["/no/such/program"]).await;
    let (_supervisor, mut link) = world.begin().await;
    let reason = phase(&mut link).await;
    assert!(reason.starts_with("can't run /no/such/program"), "{reason}");
}

#[tokio::test]
async fn a_shutdown_ends_the_workload_and_then_the_supervisor() {
    if !can_seal() {
        return;
    }
    let script = "trap 'echo goodbye; exit 3' TERM; echo ready; while :; do sleep 0.05; done";
    let world = World::running(&["sh", "-c", script]).await;
    let (supervisor, mut link) = world.begin().await;
    lines_until(&mut link, "ready").await;
    link.running = false;
    link.say(&ToSupervisor::Shutdown).await;
    let mut said = phase(&mut link).await;
    if said == "running" {
        // Lines and phases travel apart: this may come after the first line.
        said = phase(&mut link).await;
    }
    assert_eq!(said, "exited 3");
    let lines = lines_until(&mut link, "the sandbox has ended").await;
    let through = lines.last().expect("some lines").0;
    link.say(&ToSupervisor::LogsStored { through }).await;
    assert_eq!(supervisor.end().await.code(), Some(0), "{}", world.log());
}

#[tokio::test]
async fn sigterm_ends_it_gracefully_with_the_gateway_away() {
    let world = World::new().await;
    let (supervisor, link) = world.begin().await;
    let World { gateway, dir, .. } = world;
    drop((link, gateway));
    supervisor.signal(Signal::SIGTERM);
    assert_eq!(supervisor.end().await.code(), Some(0), "{}", dir.path().display());
}

#[tokio::test]
async fn start_failures_have_their_exit_codes() {
    let world = World::new().await;
    let (_supervisor, _link) = world.begin().await;
    assert_eq!(world.start().end().await.code(), Some(11), "the state directory is in use");
    let broken = |change: fn(&mut openshell_api::launch::LaunchSpec)| {
        let mut spec = world.spec();
        spec.state_dir = world.path("elsewhere").to_string_lossy().into_owned();
        change(&mut spec);
        world.start_as(&spec).end()
    };
    assert_eq!(broken(|spec| spec.verifying_key = "00".to_owned()).await.code(), Some(10));
    assert_eq!(broken(|spec| spec.gateway_ca = String::new()).await.code(), Some(10));
    assert_eq!(broken(|spec| spec.gateway_url = "http://127.0.0.1:1".to_owned()).await.code(), Some(10));
    assert_eq!(broken(|spec| spec.state_dir = "/proc/nothing".to_owned()).await.code(), Some(10));
}

#[tokio::test]
async fn credentials_are_kept_before_they_are_acknowledged_and_outlive_the_supervisor() {
    let world = World::running(&["sleep", "60"]).await;
    let supervisor = world.start();
    let mut link = world.gateway.accept().await;
    link.hello().await;
    let first = link.authorization.clone();
    let rekey = |id: u64, lifetime_s: u64| ToSupervisor::Rekey {
        id,
        key: Sensitive(format!("key-{id}")),
        refresh: Sensitive(format!("refresh-{id}")),
        lifetime_s,
    };
    let rekeyed = |message| match message {
        FromSupervisor::Rekeyed { id } => Some(id),
        _ => None,
    };
    drop(link);
    let mut link = world.gateway.accept().await;
    assert_eq!(link.authorization, first, "there is nothing better yet");
    link.say(&rekey(1, 3600)).await;
    assert_eq!(link.until(rekeyed).await, 1);
    drop(link);

    let mut link = world.gateway.accept().await;
    assert_eq!(link.authorization, "Bearer key-1");
    link.say(&rekey(2, 0)).await;
    assert_eq!(link.until(rekeyed).await, 2);
    supervisor.signal(Signal::SIGKILL);
    supervisor.end().await;
    drop(link);

    let _again = world.start();
    let link = world.gateway.accept().await;
    assert_eq!(link.authorization, "Bearer refresh-2", "its key has expired; it was kept over the end");
}
