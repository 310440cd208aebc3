//! What requests cost, and what budgets refuse.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use http::Response;
use http_body_util::BodyExt as _;
use jiff::Timestamp;
use openshell_api::decision::Charge;
use openshell_api::inference::{Backend, BackendKind, Budget, InferenceRules, Period, Sensitivity, Spent};
use openshell_api::share::{Pot, Share};
use openshell_inference_format::usage::Usage;

use super::world::{Origin, World, backend, chat, post};
use crate::inference::Ledger;
use crate::inference::ledger::{Claim, Ended, Exhausted, Limits};
use crate::inference::refusal::full;

const CHAT: &str = "/v1/chat/completions";
const MESSAGES: &str = "/v1/messages";
const SSE: &str = "text/event-stream";
const JSON: &str = "application/json";

/// Answers 200 with this, always.
async fn origin(content_type: &'static str, body: &'static str) -> Origin {
    Origin::start(move |_| async move {
        Response::builder().header("content-type", content_type).body(full(body.into())).expect("response")
    })
    .await
}

fn priced(origin: &Origin, kind: BackendKind) -> Backend {
    let mut entry = backend("one", origin.address, Sensitivity::Public, 0);
    (entry.kind, entry.input_price, entry.output_price) = (kind, 3_000_000, 15_000_000);
    entry
}

fn budget(period: Period, cost: Option<u64>, tokens: Option<u64>) -> Budget {
    Budget { period, backend: None, cost, tokens }
}

/// A backend's kind, the path, the answer's content type and body, and the tokens it must be charged for.
type Charged = (BackendKind, &'static str, &'static str, &'static str, Option<(u64, u64)>);

#[tokio::test]
async fn charges_by_the_final_figures_of_each_api() {
    let rows: &[Charged] = &[
        (BackendKind::Openai, CHAT, JSON, r#"{"usage":{"prompt_tokens":10,"completion_tokens":20}}"#, Some((10, 20))),
        (
            BackendKind::Openai,
            CHAT,
            SSE,
            "data: {\"choices\":[]}\n\ndata: {\"choices\":[],\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":8}}\n\ndata: [DONE]\n\n",
            Some((7, 8)),
        ),
        (
            BackendKind::Openai,
            "/v1/completions",
            JSON,
            r#"{"usage":{"prompt_tokens":1,"completion_tokens":2}}"#,
            Some((1, 2)),
        ),
        (BackendKind::Openai, "/v1/responses", JSON, r#"{"usage":{"input_tokens":5,"output_tokens":6}}"#, Some((5, 6))),
        (
            BackendKind::Openai,
            "/v1/responses",
            SSE,
            "event: response.completed\ndata: {\"response\":{\"usage\":{\"input_tokens\":9,\"output_tokens\":4}}}\n\n",
            Some((9, 4)),
        ),
        (
            BackendKind::Openai,
            "/v1/embeddings",
            JSON,
            r#"{"usage":{"prompt_tokens":12,"total_tokens":12}}"#,
            Some((12, 0)),
        ),
        (
            BackendKind::Anthropic,
            MESSAGES,
            JSON,
            r#"{"usage":{"input_tokens":3,"cache_read_input_tokens":4,"output_tokens":5}}"#,
            Some((7, 5)),
        ),
        (
            BackendKind::Anthropic,
            MESSAGES,
            SSE,
            "event: message_start\ndata: {\"message\":{\"usage\":{\"input_tokens\":6,\"output_tokens\":1}}}\n\nevent: message_delta\ndata: {\"usage\":{\"output_tokens\":11}}\n\nevent: message_stop\ndata: {}\n\n",
            Some((6, 11)),
        ),
        (BackendKind::Anthropic, "/v1/messages/count_tokens", JSON, r#"{"input_tokens":99}"#, None),
    ];
    for (kind, path, content_type, answer, expected) in rows {
        let origin = origin(content_type, answer).await;
        let world = World::new(vec![priced(&origin, *kind)]);
        world.post(path, &[], r#"{"model":"m","max_tokens":50,"messages":[],"input":"x"}"#).await;
        // What was cached is at full price here; see the test of each family.
        let charged = world.record().route.expect("route").charged.map(|c| Charge { cached_tokens: 0, ..c });
        let expected = expected.map(|(input_tokens, output_tokens)| Charge {
            input_tokens,
            cached_tokens: 0,
            output_tokens,
            cost: input_tokens * 3_000_000 + output_tokens * 15_000_000,
            estimated: false,
        });
        assert_eq!(charged, expected, "{path} {content_type}");
        let spent = world.ledger.spent(Period::Total, Timestamp::now());
        assert_eq!(spent, expected.map_or((0, 0), |c| (c.cost.into(), c.input_tokens + c.output_tokens)), "{path}");
    }
}

#[tokio::test]
async fn estimates_what_nobody_reported_and_never_above_what_was_set_aside() {
    let silent = origin(SSE, "data: {\"a\":1}\n\ndata: {\"a\":2}\n\ndata: [DONE]\n\n").await;
    let body = r#"{"model":"m","stream":true,"max_tokens":50,"messages":[]}"#;
    let world = World::new(vec![priced(&silent, BackendKind::Openai)]);
    world.post(CHAT, &[], body).await;
    let charge = world.record().route.expect("route").charged.expect("charged");
    assert_eq!((charge.output_tokens, charge.estimated), (3, true));

    // A caller that hangs up after the first event pays for what it heard.
    let endless = Origin::start(|_| async {
        let frames = futures_util::stream::repeat_with(|| {
            Ok::<_, crate::inference::BoxError>(hyper::body::Frame::data(Bytes::from_static(b"data: 1\n\n")))
        });
        let body = http_body_util::StreamBody::new(frames).boxed_unsync();
        Response::builder().header("content-type", SSE).body(body).expect("response")
    })
    .await;
    let world = World::new(vec![priced(&endless, BackendKind::Openai)]);
    let mut answer = world.send(post(CHAT, &[], body)).await.into_body();
    answer.frame().await.expect("an event").expect("whole");
    drop(answer);
    let charge = world.record().route.expect("route").charged.expect("charged");
    assert!(charge.estimated && (1..=50).contains(&charge.output_tokens), "{charge:?}");
}

#[tokio::test]
async fn budgets_refuse_before_anything_is_sent() {
    let answer = r#"{"usage":{"prompt_tokens":100,"completion_tokens":100}}"#;
    // One request sets 1.5 cents and some 1,000 tokens aside; it uses 0.18 cents and 200 tokens.
    let rows = [
        (budget(Period::Day, Some(16_000), None), "for the day is used up", true),
        (budget(Period::Month, None, Some(1_100)), "1100 tokens", true),
        (budget(Period::Total, None, Some(1_500)), "", false),
        (Budget { backend: Some("other".parse().expect("name")), ..budget(Period::Day, Some(1), None) }, "", false),
    ];
    for (limit, expected, second_refused) in rows {
        let origin = origin(JSON, answer).await;
        let mut world = World::new(vec![priced(&origin, BackendKind::Openai)]);
        world.rules = InferenceRules { budgets: vec![limit.clone()], ..InferenceRules::default() };
        let body = r#"{"model":"m","max_tokens":1000,"messages":[]}"#;
        assert_eq!(world.post(CHAT, &[], body).await.status, 200, "{limit:?}");
        let second = world.post(CHAT, &[], body).await;
        assert_eq!(second.status, if second_refused { 402 } else { 200 }, "{limit:?}: {}", second.text);
        assert!(second.text.contains(expected), "{}", second.text);
        assert_eq!(origin.count(), if second_refused { 1 } else { 2 });
        if second_refused {
            assert_eq!(world.record().error.as_deref(), Some("budget_exhausted"));
            // Anthropic's clients read it in their own words.
            let messages = world.post(MESSAGES, &[], r#"{"model":"m","max_tokens":1000,"messages":[]}"#).await;
            assert!(messages.status == 402 && messages.text.contains("billing_error"), "{}", messages.text);
        }
    }
}

#[tokio::test]
async fn a_backend_without_budget_makes_room_for_the_next() {
    let (cheap, dear) = (origin(JSON, "{}").await, origin(JSON, "{}").await);
    let mut world = World::new(vec![
        backend("cheap", cheap.address, Sensitivity::Public, 1),
        backend("dear", dear.address, Sensitivity::Public, 9),
    ]);
    let limit = Budget { backend: Some("cheap".parse().expect("name")), ..budget(Period::Day, None, Some(1)) };
    world.rules.budgets = vec![limit];
    let answer = world.post(CHAT, &[], &chat("hello")).await;
    assert_eq!(answer.headers["x-openshell-served-by"], "dear");
    assert_eq!((cheap.count(), dear.count()), (0, 1));
}

#[tokio::test]
async fn what_a_backend_refused_costs_nothing() {
    for status in [400, 404, 503] {
        let origin = Origin::json(status, r#"{"usage":{"prompt_tokens":5,"completion_tokens":5}}"#).await;
        let world = World::new(vec![priced(&origin, BackendKind::Openai)]);
        world.post(CHAT, &[], &chat("hello")).await;
        assert_eq!(world.ledger.spent(Period::Total, Timestamp::now()), (0, 0), "{status}");
        assert_eq!(world.record().route.expect("route").charged, None, "{status}");
    }
}

#[tokio::test]
async fn a_shared_budget_is_asked_for_and_no_more_is_spent_than_is_dealt() {
    let origin = origin(JSON, r#"{"usage":{"prompt_tokens":1,"completion_tokens":9}}"#).await;
    let mut world = World::new(vec![priced(&origin, BackendKind::Openai)]);
    world.shared = vec![budget(Period::Day, None, Some(1_000_000))];
    *world.purse.left.lock().expect("left") = 150;
    let body = r#"{"model":"m","max_tokens":100,"messages":[]}"#;
    // Each sets some hundred tokens aside and uses ten: what the first was dealt is enough for the next ones.
    let mut served = 0;
    let refused = loop {
        let answer = world.post(CHAT, &[], body).await;
        match answer.status {
            200 => served += 1,
            _ => break answer,
        }
        assert!(served < 50, "a shared budget holds nobody back");
    };
    assert_eq!(refused.status, 402, "{}", refused.text);
    assert!(refused.text.contains("tokens are left, and"), "{}", refused.text);
    assert_eq!((served, origin.count()), (world.ledger.spent(Period::Day, Timestamp::now()).1 / 10, served as usize));
    let asked = world.purse.asked.lock().expect("asked").clone();
    assert!(asked.iter().all(|want| want.pot.period == Period::Day && want.pot.backend.is_none()), "{asked:?}");
    assert!((2..=served as usize + 1).contains(&asked.len()), "{served} served, {asked:?}");
    // The sandbox's own budgets hold as well, and another backend's shared one does not.
    world.shared = vec![Budget { backend: Some("other".parse().expect("name")), ..budget(Period::Day, None, Some(1)) }];
    assert_eq!(world.post(CHAT, &[], body).await.status, 200);
    world.rules.budgets = vec![budget(Period::Day, None, Some(1))];
    assert_eq!(world.post(CHAT, &[], body).await.status, 402);
}

#[test]
fn what_is_given_back_is_what_is_neither_spent_nor_set_aside() {
    let entry = backend("one", "127.0.0.1:1".parse().expect("address"), Sensitivity::Public, 7);
    let (ledger, now) = (Ledger::default(), Timestamp::now());
    let shared = [budget(Period::Day, None, Some(1_000_000)), budget(Period::Total, None, Some(1_000_000))];
    let limits = Limits { own: &[], shared: &shared };
    let share = |number: usize, tokens, serial| Share {
        pot: Pot::of(&shared[number], now),
        cost: None,
        tokens: Some(tokens),
        serial,
    };
    let wanted = |reserved: Result<_, Exhausted>| match reserved {
        Err(Exhausted::Share(want)) => (want.pot.period, want.tokens),
        other => panic!("{other:?}"),
    };
    assert_eq!(wanted(ledger.reserve(limits, &entry, CLAIM, now)), (Period::Day, 100));
    ledger.dealt(share(0, 250, 4));
    assert_eq!(wanted(ledger.reserve(limits, &entry, CLAIM, now)), (Period::Total, 100));
    ledger.dealt(share(1, 500, 1));
    let first = ledger.reserve(limits, &entry, CLAIM, now).expect("room");
    let usage = Usage { input: Some(10), output: Some(5), ..Usage::default() };
    first.settle(&Ended { usage, complete: true, ..Ended::default() });
    let _second = ledger.reserve(limits, &entry, CLAIM, now).expect("room");
    // An older share than the one that is held changes nothing; of a newer one that is held nothing is given back.
    ledger.dealt(share(0, 9_999, 3));
    let yesterday = Share { pot: Pot { window: 1, ..Pot::of(&shared[0], now) }, ..share(0, 50, 9) };
    let kept = ledger.give_back(vec![share(0, 250, 4), share(1, 500, 0), yesterday], now);
    assert_eq!(kept, [share(0, 115, 4)]);
    assert_eq!(wanted(ledger.reserve(limits, &entry, CLAIM, now)), (Period::Day, 215));
    // A supervisor that began anew holds nothing, and says what it has used.
    let anew = Ledger::default();
    assert_eq!(anew.give_back(vec![share(1, 500, 7)], now), [share(1, 0, 7)]);
}

/// A request of up to a hundred tokens.
const CLAIM: Claim<'static> = Claim { id: "one", model: "m", sensitivity: Sensitivity::Public, tokens: (60, 40) };

#[test]
fn side_by_side_no_more_is_spent_than_there_is() {
    let entry = backend("one", "127.0.0.1:1".parse().expect("address"), Sensitivity::Public, 7);
    let (ledger, admitted) = (Arc::new(Ledger::default()), AtomicU64::new(0));
    let limits = [budget(Period::Day, None, Some(30 * 100)), budget(Period::Total, None, Some(1 << 40))];
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for turn in 0..50 {
                    let now = Timestamp::from_second(1_000_000).expect("time");
                    let Ok(room) = ledger.reserve(Limits { own: &limits, shared: &[] }, &entry, CLAIM, now) else {
                        continue;
                    };
                    admitted.fetch_add(1, Ordering::Relaxed);
                    let usage = Usage { input: Some(60), output: Some(40), ..Usage::default() };
                    match turn % 2 {
                        // Unsettled, it counts as it was set aside.
                        0 => drop(room),
                        _ => drop(room.settle(&Ended { usage, complete: true, ..Ended::default() })),
                    }
                }
            });
        }
    });
    let now = Timestamp::from_second(1_000_000).expect("time");
    assert_eq!((admitted.into_inner(), ledger.spent(Period::Day, now)), (30, (30 * 100 * 7, 3_000)));
    let tomorrow = Timestamp::from_second(1_000_000 + 86_400).expect("time");
    assert!(ledger.reserve(Limits { own: &limits, shared: &[] }, &entry, CLAIM, now).is_err());
    assert!(ledger.reserve(Limits { own: &limits, shared: &[] }, &entry, CLAIM, tomorrow).is_ok());
    assert_eq!(ledger.spent(Period::Total, tomorrow).1, 3_100);
}

#[test]
fn takes_over_what_the_gateway_remembers_where_it_is_more() {
    let ledger = Ledger::default();
    let now = Timestamp::from_second(1_000_000).expect("time");
    let remembered =
        |period: Period, window: i64, tokens: u64| Spent { period, window, backend: None, cost: 0, tokens };
    let day = Period::Day.window(now);
    for (known, expected) in [
        (remembered(Period::Day, day, 40), 40),
        (remembered(Period::Day, day, 20), 40),
        (remembered(Period::Day, day - 1, 90), 40),
        (remembered(Period::Day, day, 50), 50),
    ] {
        ledger.merge(&[known], now);
        assert_eq!(ledger.spent(Period::Day, now).1, expected);
    }
}
