//! What is expected of answers and of prompt caches.

use bytes::Bytes;
use openshell_inference_format::document::Document;
use openshell_inference_format::endpoint::Endpoint;
use openshell_inference_format::texts;
use serde_json::{Value, json};

use crate::inference::forecast::{Marks, Outputs, Prefixes};

#[test]
fn answers_are_expected_to_be_as_long_as_the_last_ones_were() {
    let rows: &[(&[u64], u32, u32)] = &[
        (&[], 500, 500),
        (&[10, 10], 500, 500),
        (&[10, 300, 20], 500, 20),
        (&[10, 300, 20], 15, 15),
        (&[u64::MAX, u64::MAX, u64::MAX], 500, 500),
    ];
    for (seen, limit, expected) in rows {
        let outputs = Outputs::default();
        seen.iter().for_each(|tokens| outputs.seen("m", *tokens));
        assert_eq!(outputs.expected("m", *limit), *expected, "{seen:?}");
        assert_eq!(outputs.expected("other", *limit), *limit);
    }
    // Only the last 31 count, and no more than a thousand models are remembered.
    let outputs = Outputs::default();
    (0..100).for_each(|_| outputs.seen("m", 7));
    (0..31).for_each(|_| outputs.seen("m", 90));
    assert_eq!(outputs.expected("m", 500), 90);
    for number in 0..2_000 {
        (0..3).for_each(|_| outputs.seen(&format!("m{number}"), 1));
    }
    assert_eq!((outputs.expected("m5", 500), outputs.expected("m1999", 500)), (1, 500));
    outputs.seen("m", 90);
    assert_eq!(outputs.expected("m", 500), 90);
}

fn marks(prefixes: &Prefixes, body: &Value) -> Marks {
    let document = Document::parse(Bytes::from(body.to_string())).expect("JSON");
    let texts = texts::of(&document, Endpoint::Chat);
    prefixes.marks(&document, &texts)
}

/// A conversation of turns of a thousand bytes each.
fn conversation(system: &str, turns: &[&str]) -> Value {
    let turn = |(number, text): (usize, &&str)| {
        let role = if number % 2 == 0 { "user" } else { "assistant" };
        json!({"role": role, "content": text.repeat(1_000 / text.len())})
    };
    let turns: Vec<Value> = turns.iter().enumerate().map(turn).collect();
    json!({"model": "m", "tools": [{"type": "function", "function": {"name": system, "description": system}}], "messages": turns})
}

#[test]
fn a_cache_is_thought_to_hold_what_a_backend_has_read() {
    let prefixes = Prefixes::default();
    let begun = conversation("a", &["ab"]);
    let gone_on = conversation("a", &["ab", "cd", "ef"]);
    prefixes.read("one", &marks(&prefixes, &begun));
    let mut limited = gone_on.clone();
    limited["max_tokens"] = 5.into();
    limited["temperature"] = 1.into();
    let rows = [
        ("the same again", "one", &begun, 4_000, 4_000..=4_000),
        ("a third of it was read", "one", &gone_on, 6_000, 1_980..=2_080),
        ("limits are not part of it", "one", &limited, 6_000, 1_980..=2_080),
        ("too short to be kept", "one", &gone_on, 2_900, 0..=0),
        ("somebody else read it", "two", &gone_on, 6_000, 0..=0),
        ("other tools", "one", &conversation("b", &["ab", "cd", "ef"]), 6_000, 0..=0),
        ("another beginning", "one", &conversation("a", &["xy", "ab", "ef"]), 6_000, 0..=0),
    ];
    for (what, backend, body, tokens, expected) in rows {
        let held = prefixes.held(backend, &marks(&prefixes, body), tokens);
        assert!(expected.contains(&held), "{what}: {held}");
    }
    // The longest beginning counts, and nothing is held of what has no turns.
    prefixes.read("one", &marks(&prefixes, &conversation("a", &["ab", "cd"])));
    let held = prefixes.held("one", &marks(&prefixes, &gone_on), 6_000);
    assert!((3_960..=4_060).contains(&held), "{held}");
    assert_eq!(prefixes.held("one", &Marks::default(), 6_000), 0);
}
