//! Settings, and which backends a request may go to.

use openshell_policy_sdk::prelude::*;
use openshell_policy_sdk::testing;

use super::{backend, check, message, read, request, router};
use crate::Router;

#[test]
fn settings_change_what_counts() {
    let text = || vec![message("user", "project Bluebird, ticket ACME-1234, ann@example.org")];
    for (settings, expected) in [
        ("{}", "email@internal"),
        (r#"{"floor":"confidential"}"#, "email@confidential"),
        (r#"{"levels":{"email":"public"}}"#, "email@public"),
        (
            r#"{"patterns":[{"name":"ticket","pattern":"ACME-[0-9]{4}","level":"restricted"}]}"#,
            "email,ticket@restricted",
        ),
        (
            r#"{"dictionaries":[{"name":"codename","words":["Project BlueBird"],"level":"confidential"}]}"#,
            "codename,email@confidential",
        ),
    ] {
        assert_eq!(read(&router(settings), text()), expected, "with {settings}");
    }
}

#[test]
fn refuses_settings_it_cannot_honour() {
    for (settings, expected) in [
        (r#"{"levels":{"emial":"public"}}"#, "\"emial\" is not a kind of finding"),
        (r#"{"patterns":[{"name":"x","pattern":"(","level":"public"}]}"#, "pattern \"x\""),
        (r#"{"patterns":[{"name":"x","pattern":"a*","level":"public"}]}"#, "matches the empty text"),
        (r#"{"flor":"public"}"#, "unknown field"),
        (r#"{"never_redact":["emial"]}"#, "\"emial\" is not a kind of finding"),
    ] {
        let error = testing::configure::<Router>(settings).expect_err("refused");
        assert!(error.contains(expected), "{settings}: {error}");
    }
}

#[test]
fn chooses_cleared_first_then_cheapest() {
    let backends = [
        backend("dear-public", Sensitivity::Public, 9),
        backend("home", Sensitivity::Restricted, 5),
        backend("cheap-public", Sensitivity::Public, 1),
        backend("office", Sensitivity::Confidential, 3),
    ];
    let router = router("{}");
    for (text, so_far, expected) in [
        ("hello", Sensitivity::Public, vec![2, 3, 1, 0]),
        ("ann@example.org", Sensitivity::Public, vec![3, 1]),
        ("4111 1111 1111 1111", Sensitivity::Public, vec![1]),
        ("hello", Sensitivity::Restricted, vec![1]),
    ] {
        let asked = InferenceRequest { so_far, ..request(vec![message("user", text)]) };
        assert_eq!(router.route(&asked, &backends).expect("served").order, expected, "{text}");
    }
}

#[test]
fn backends_that_may_redact_get_what_can_be_replaced() {
    let mut cheap = backend("cheap", Sensitivity::Public, 1);
    cheap.redact = true;
    let backends = [cheap, backend("home", Sensitivity::Restricted, 5), backend("other", Sensitivity::Public, 2)];
    let unreadable =
        (0..6).fold("4111 1111 1111 1111".to_owned(), |t, _| t.bytes().map(|b| format!("%{b:02x}")).collect());
    for (settings, text, so_far, expected) in [
        ("{}", "hello", Sensitivity::Public, (vec![0, 2, 1], false)),
        ("{}", "card 4111 1111 1111 1111", Sensitivity::Public, (vec![0, 1], true)),
        ("{}", "card 4111 1111 1111 1111", Sensitivity::Internal, (vec![1], false)),
        (r#"{"floor":"internal"}"#, "card 4111 1111 1111 1111", Sensitivity::Public, (vec![1], false)),
        (r#"{"never_redact":["payment_card"]}"#, "card 4111 1111 1111 1111", Sensitivity::Public, (vec![1], false)),
        (r#"{"never_redact":["email"]}"#, "card 4111 1111 1111 1111", Sensitivity::Public, (vec![0, 1], true)),
        ("{}", unreadable.as_str(), Sensitivity::Public, (vec![1], false)),
    ] {
        let asked = InferenceRequest { so_far, ..request(vec![message("user", text)]) };
        let decision = router(settings).route(&asked, &backends).expect("served");
        assert_eq!((decision.order, decision.redact), expected, "{settings} {text}");
    }
}

/// What stands in the place of a value must not be found again, whatever stands around it.
#[test]
fn stars_in_the_place_of_values_are_nothing() {
    let stars = "*".repeat(22);
    for around in [
        "password: {}",
        "my password is {}",
        "{\"password\":\"{}\"}",
        "API_KEY={}",
        "Authorization: Bearer {}",
        "Dear Mr. {}, thanks",
        "my name is {}",
        "born on {}",
        "card {} exp 12/27",
        "passport number {}",
        "postgres://{}",
        "call me at {}",
        "token {}{}",
        "the patient has {}",
    ] {
        check(&around.replace("{}", &stars), "@public");
    }
}

#[test]
fn a_prompt_cache_keeps_a_conversation_where_it_pays() {
    let mut warm = backend("warm", Sensitivity::Public, 10);
    (warm.cached_input_price, warm.cached_tokens) = (1, 90);
    let mut cold = backend("cold", Sensitivity::Public, 5);
    let order = |warm: &Backend, cold: &Backend, expected_output_tokens| {
        let asked = InferenceRequest { expected_output_tokens, ..request(vec![message("user", "hello")]) };
        router("{}").route(&asked, &[warm.clone(), cold.clone()]).expect("served").order
    };
    // 90 of 100 tokens at a tenth: 190 against 500, until the answer is long, or nothing is held.
    assert_eq!(order(&warm, &cold, 1), [0, 1]);
    assert_eq!(order(&warm, &cold, 100), [1, 0]);
    (warm.cached_tokens, cold.cached_input_price) = (0, 5);
    assert_eq!(order(&warm, &cold, 1), [1, 0]);
}

#[test]
fn refuses_with_reason_and_hint() {
    let mut small = backend("small", Sensitivity::Restricted, 1);
    small.context = 50;
    let mut plain = backend("plain", Sensitivity::Restricted, 1);
    plain.features = vec!["json".into()];
    let mut asked = request(vec![message("user", "card 4111 1111 1111 1111")]);
    asked.needs = vec!["tools".into()];
    for (backends, rule) in [
        (vec![], "no-backend"),
        (vec![backend("public", Sensitivity::Public, 1)], "clearance"),
        (vec![plain], "features"),
        (vec![small], "context"),
    ] {
        let denial = router("{}").route(&asked, &backends).expect_err("refused");
        assert_eq!(denial.rule, rule);
        assert!(denial.hint.is_some() && !denial.reason.contains("4111"), "{}", denial.reason);
    }
}
