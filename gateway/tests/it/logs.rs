//! Logs of sandboxes: what is missing of one is told in its place, and nothing counts as ended before its log is stored.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::world::{Database, World};
use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use openshell_api::link::FromSupervisor;
use openshell_api::sandbox::LogLine;
use reqwest::Method;
use serde_json::{Value, json};

with_both!(
    what_is_forgotten_is_told_to_whoever_had_not_read_it,
    what_a_supervisor_lost_is_told_in_its_place,
    nothing_counts_as_ended_before_its_log_is_stored,
);

/// Lines that are their numbers.
fn lines(numbers: RangeInclusive<u64>) -> Vec<LogLine> {
    let line = |number: u64| json!({ "at": "2026-01-01T00:00:00Z", "stream": "stdout", "line": number.to_string() });
    numbers.map(|number| serde_json::from_value(line(number)).unwrap()).collect()
}

/// A line, or how much is missing in its place.
fn short(line: &Value) -> String {
    match line["lost"].as_u64() {
        Some(lost) => format!("-{lost}"),
        None => line["line"].as_str().unwrap().to_owned(),
    }
}

fn shorts(page: &Value) -> Vec<String> {
    page["items"].as_array().into_iter().flatten().map(short).collect()
}

fn numbers(numbers: RangeInclusive<u64>) -> Vec<String> {
    numbers.map(|number| number.to_string()).collect()
}

/// A log that is followed.
struct Followed {
    stream: BoxStream<'static, reqwest::Result<Bytes>>,
    text: String,
}

impl Followed {
    async fn open(world: &World, query: &str) -> Self {
        let path = format!("/v1/sandboxes/a/logs?follow=true&{query}");
        let response = world.request(Method::GET, &path).send().await.unwrap();
        assert!(response.status().is_success(), "{}", response.status());
        Self { stream: response.bytes_stream().boxed(), text: String::new() }
    }

    /// The next so many.
    async fn next(&mut self, count: usize) -> Vec<String> {
        let mut found = Vec::new();
        while found.len() < count {
            match self.text.split_once('\n') {
                Some((line, rest)) => {
                    if !line.is_empty() {
                        found.push(short(&serde_json::from_str(line).unwrap()));
                    }
                    self.text = rest.to_owned();
                }
                None => {
                    let chunk = tokio::time::timeout(Duration::from_secs(20), self.stream.next()).await;
                    let chunk = chunk.expect("more comes").expect("it goes on").unwrap();
                    self.text.push_str(std::str::from_utf8(&chunk).unwrap());
                }
            }
        }
        found
    }
}

async fn what_is_forgotten_is_told_to_whoever_had_not_read_it(on: Database) {
    let world = World::new(on).await;
    world.sandbox("a").await;
    let id = world.get("/v1/sandboxes/a").await.ok()["id"].as_str().unwrap().to_owned();
    let gateway = world.running.gateway.clone();
    let put = async |numbers: RangeInclusive<u64>| {
        gateway.store.put_logs(&id, *numbers.start(), &lines(numbers)).await.unwrap();
    };
    let trim = async |keep: i64| gateway.store.trim_logs(keep, &gateway.followers).await.unwrap();

    put(1..=30).await;
    trim(10).await;
    let mut whole = Followed::open(&world, "from_start=true").await;
    assert_eq!(whole.next(11).await, [vec!["-20".to_owned()], numbers(21..=30)].concat());
    // The oldest page says it, and only that.
    let newest = world.get("/v1/sandboxes/a/logs?limit=6").await.ok();
    assert_eq!(shorts(&newest), numbers(25..=30));
    let cursor = newest["next"].as_str().unwrap();
    let oldest = world.get(&format!("/v1/sandboxes/a/logs?limit=6&cursor={cursor}")).await.ok();
    assert_eq!(shorts(&oldest), [vec!["-20".to_owned()], numbers(21..=24)].concat());
    assert_eq!(
        oldest["items"][0]["line"],
        "20 lines were dropped here: the gateway keeps the last 50,000 lines of a sandbox"
    );

    // Whoever follows is waited for, until there are four times as many.
    put(31..=50).await;
    trim(10).await;
    gateway.changed.logs();
    assert_eq!(whole.next(20).await, numbers(31..=50));
    put(51..=150).await;
    trim(10).await;
    gateway.changed.logs();
    assert_eq!(whole.next(41).await, [vec!["-60".to_owned()], numbers(111..=150)].concat());
    trim(10).await;
    assert_eq!(shorts(&world.get("/v1/sandboxes/a/logs").await.ok())[..2], ["-140", "141"]);

    // One who begins in the middle has missed nothing of what was before.
    let mut some = Followed::open(&world, "limit=2").await;
    let mut none = Followed::open(&world, "limit=0").await;
    assert_eq!(some.next(2).await, ["149", "150"]);
    put(151..=200).await;
    trim(5).await;
    gateway.changed.logs();
    for followed in [&mut whole, &mut some, &mut none] {
        assert_eq!(followed.next(21).await, [vec!["-30".to_owned()], numbers(181..=200)].concat());
    }
    put(201..=201).await;
    gateway.changed.logs();
    assert_eq!(none.next(1).await, ["201"]);
}

async fn what_a_supervisor_lost_is_told_in_its_place(on: Database) {
    let world = World::new(on).await;
    let (a, b) = (world.sandbox("a").await, world.sandbox("b").await);
    a.say(FromSupervisor::Logs { first: 1, lines: lines(1..=2) });
    for _ in 0..2 {
        a.say(FromSupervisor::Logs { first: 6, lines: lines(6..=7) });
    }
    a.say(FromSupervisor::Logs { first: 9, lines: lines(9..=9) });
    b.say(FromSupervisor::Logs { first: 4, lines: lines(4..=5) });
    let look = async |name: &str, expected: &[&str]| {
        world.until(&format!("/v1/sandboxes/{name}/logs"), |logs| shorts(logs) == expected).await
    };
    let found = look("a", &["1", "2", "-3", "6", "7", "-1", "9"]).await;
    look("b", &["-3", "4", "5"]).await;
    let why = "dropped here: the gateway could not be reached, or could not store them, for too long";
    for (at, said) in [(2_usize, "3 lines were"), (5, "1 line was")] {
        assert_eq!(found["items"][at]["line"], format!("{said} {why}"));
        assert_eq!(found["items"][at]["stream"], "gateway");
    }
}

async fn nothing_counts_as_ended_before_its_log_is_stored(on: Database) {
    let world = World::new(on).await;
    let a = world.sandbox("a").await;
    for round in 1..=10 {
        let (first, last) = (round * 500 - 499, round * 500);
        a.say(FromSupervisor::Running);
        a.say(FromSupervisor::Logs { first, lines: lines(first..=last) });
        let code = i32::try_from(round).unwrap();
        a.say(FromSupervisor::Exited { code });
        world.until("/v1/sandboxes/a", |sandbox| sandbox["exit_code"] == code && sandbox["phase"] == "exited").await;
        assert_eq!(shorts(&world.get("/v1/sandboxes/a/logs?limit=1").await.ok()), [last.to_string()]);
    }
    a.say(FromSupervisor::Logs { first: 5001, lines: lines(5001..=5500) });
    a.say(FromSupervisor::Failed { reason: "it fell".into() });
    world.until("/v1/sandboxes/a", |sandbox| sandbox["failure"] == "it fell" && sandbox["phase"] == "failed").await;
    assert_eq!(shorts(&world.get("/v1/sandboxes/a/logs?limit=1").await.ok()), ["5500"]);
}
