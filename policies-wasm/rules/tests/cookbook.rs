//! The rules in `docs/cookbook.md` answer what is said beneath them.

use openshell_policy_sdk::testing;
use openshell_rules::Rules;

const COOKBOOK: &str = include_str!("../../../docs/cookbook.md");

/// Contents of the blocks of a kind, in order.
fn blocks(kind: &str) -> Vec<&'static str> {
    let open = format!("\n```{kind}\n");
    COOKBOOK.split(&open).skip(1).map(|rest| rest.split("\n```").next().unwrap_or_default()).collect()
}

#[test]
fn recipes_answer_as_they_say() {
    let (rules, questions) = (blocks("yaml"), blocks("text"));
    assert_eq!((rules.len(), questions.len(), blocks("rust").len()), (6, 6, 4), "ten recipes");
    for (yaml, questions) in rules.iter().zip(questions) {
        let settings = serde_json::json!({ "yaml": yaml }).to_string();
        let policy: Rules = testing::configure(&settings).unwrap_or_else(|fault| panic!("{fault}\n{yaml}"));
        for line in questions.lines() {
            let (question, expected) = line.split_once(" -> ").expect("a question and an answer");
            let ask = testing::ask(question);
            // The connection first, as the proxy asks.
            let connect = ask.clone().connect(&policy).to_string();
            let found = if connect.starts_with("deny") { connect } else { ask.request(&policy).to_string() };
            assert_eq!(found, expected, "{question}");
        }
    }
}
