//! What was spent outlives the supervisor, whatever ends it.

use std::path::Path;

use jiff::Timestamp;
use openshell_api::inference::{Backend, Budget, Period, Sensitivity};
use openshell_inference_format::usage::Usage;

use super::world::backend;
use crate::inference::Ledger;
use crate::inference::ledger::{Claim, Ended, Exhausted, Limits};

fn entry() -> Backend {
    backend("one", "127.0.0.1:1".parse().expect("address"), Sensitivity::Public, 7)
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).expect("time")
}

fn claim(id: &str) -> Claim<'_> {
    Claim { id, model: "m", sensitivity: Sensitivity::Confidential, tokens: (60, 40) }
}

fn own(budget: &Budget) -> Limits<'_> {
    Limits { own: std::slice::from_ref(budget), shared: &[] }
}

fn ended() -> Ended {
    Ended { usage: Usage { input: Some(10), output: Some(5), ..Usage::default() }, complete: true, ..Ended::default() }
}

fn open(path: &Path) -> (Ledger, Vec<String>) {
    let (ledger, lost) = Ledger::open(path).expect("a ledger");
    (ledger, lost.into_iter().map(|lost| lost.id).collect())
}

#[test]
fn a_killed_supervisor_forgets_nothing() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("ledger");
    let now = at(1_000_000);
    let (ledger, lost) = open(&path);
    assert_eq!(lost, Vec::<String>::new());
    let settled = ledger.reserve(Limits::default(), &entry(), claim("a"), now).expect("room");
    settled.settle(&ended());
    ledger.reserve(Limits::default(), &entry(), claim("b"), now).expect("room").release();
    // Under way when the supervisor is killed: nothing is dropped then.
    std::mem::forget(ledger.reserve(Limits::default(), &entry(), claim("c"), now).expect("room"));
    std::mem::forget(ledger);

    let (ledger, lost) = open(&path);
    assert_eq!((lost, ledger.spent(Period::Day, now)), (vec!["c".to_owned()], (7 * 115, 115)));
    // A budget holds across it, and the next start has nothing more to tell.
    let budget = Budget { period: Period::Total, backend: None, cost: None, tokens: Some(214) };
    let refused = ledger.reserve(own(&budget), &entry(), claim("d"), now);
    assert!(matches!(refused, Err(Exhausted::Budget { .. })), "{refused:?}");
    std::mem::forget(ledger);
    let (ledger, lost) = open(&path);
    assert_eq!((lost.len(), ledger.spent(Period::Total, now)), (0, (7 * 115, 115)));
    let tomorrow = at(1_000_000 + 86_400);
    assert_eq!((ledger.spent(Period::Day, tomorrow), ledger.spent(Period::Total, tomorrow).1), ((0, 0), 115));
}

#[test]
fn what_was_lost_is_told_as_a_decision() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("ledger");
    let (ledger, _) = Ledger::open(&path).expect("a ledger");
    std::mem::forget(ledger.reserve(Limits::default(), &entry(), claim("01ABC"), at(1_000_000)).expect("room"));
    let (_, lost) = Ledger::open(&path).expect("a ledger");
    let record = lost[0].record("demo");
    let route = record.route.expect("route");
    let charge = route.charged.expect("charged");
    assert_eq!((record.id.as_str(), record.sandbox.as_str(), record.at), ("01ABC", "demo", at(1_000_000)));
    assert_eq!((route.backend.as_deref(), route.model.as_deref()), (Some("one"), Some("m")));
    assert_eq!((charge.cost, charge.input_tokens, charge.output_tokens, charge.estimated), (700, 60, 40, true));
    assert_eq!(route.sensitivity, Sensitivity::Confidential);
}

#[test]
fn a_torn_line_is_the_last_one_or_an_error() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("ledger");
    let (ledger, _) = open(&path);
    ledger.reserve(Limits::default(), &entry(), claim("a"), at(1_000_000)).expect("room").settle(&ended());
    drop(ledger);
    let whole = std::fs::read(&path).expect("a file");
    let mut torn = whole.clone();
    torn.extend_from_slice(br#"{"open":{"id":"b","#);
    std::fs::write(&path, &torn).expect("written");
    let (ledger, lost) = open(&path);
    assert_eq!((lost.len(), ledger.spent(Period::Total, at(1_000_000)).1), (0, 15));
    std::fs::write(&path, [b"garbage\n", whole.as_slice()].concat()).expect("written");
    assert!(Ledger::open(&path).is_err());
}

#[test]
fn a_long_journal_is_written_anew() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("ledger");
    let (ledger, _) = open(&path);
    let under_way = ledger.reserve(Limits::default(), &entry(), claim("under-way"), at(1_000_000)).expect("room");
    for number in 0..20_000 {
        let id = format!("request-{number}");
        ledger.reserve(Limits::default(), &entry(), claim(&id), at(1_000_000)).expect("room").settle(&ended());
    }
    let length = std::fs::metadata(&path).expect("a file").len();
    assert!(length < 4_300_000, "{length} bytes");
    std::mem::forget((under_way, ledger));
    let (ledger, lost) = open(&path);
    assert_eq!((lost, ledger.spent(Period::Total, at(1_000_000)).1), (vec!["under-way".to_owned()], 20_000 * 15 + 100));
}

#[test]
fn where_nothing_can_be_written_budgets_refuse() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("ledger");
    let ledger = Ledger::unwritable(&path);
    let budget = Budget { period: Period::Total, backend: None, cost: None, tokens: Some(1_000_000) };
    let refused = ledger.reserve(own(&budget), &entry(), claim("a"), at(1_000_000));
    assert!(matches!(refused, Err(Exhausted::Unwritten(_))), "{refused:?}");
    // Without budgets nothing is at stake but figures.
    assert!(ledger.reserve(Limits::default(), &entry(), claim("b"), at(1_000_000)).is_ok());
}
