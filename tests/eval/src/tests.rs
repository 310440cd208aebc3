use std::collections::BTreeSet;

use crate::case::{Family, Split};
use crate::score::{Tally, score};
use crate::{encode, generate, router};

#[test]
fn splits_are_reproducible_and_share_no_text() {
    let texts = |split| generate::cases(split).into_iter().map(|c| c.messages.concat()).collect::<Vec<_>>();
    let tuned = texts(Split::Tune);
    assert_eq!(tuned, texts(Split::Tune));
    let seen: BTreeSet<&String> = tuned.iter().collect();
    let shared = texts(Split::HeldOut).into_iter().filter(|t| seen.contains(t)).count();
    assert_eq!(shared, 0, "held-out requests that tuning saw");
}

#[test]
fn base64_pads() {
    for (text, expected) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")] {
        assert_eq!(encode::base64(text.as_bytes()), expected);
    }
}

#[test]
fn tallies_say_what_they_mean() {
    let tally = Tally { found: 8, all: 10, false_finds: 2 };
    assert_eq!((tally.recall(), tally.precision()), (0.8, 0.8));
    assert!((tally.f2() - 0.8).abs() < 1e-9);
    assert_eq!(Tally::default().precision(), 1.0);
}

/// What `EVALUATION.md` promises of the held-out split.
#[test]
fn the_router_keeps_what_the_evaluation_promises() {
    let cases = generate::cases(Split::HeldOut);
    let found = score(&cases, &router::find(&cases).expect("routed"));
    for family in [Family::Secret, Family::Identifier] {
        let recall = found.families[&family].recall();
        assert!(recall >= 0.95, "{family:?}: recall {recall:.3}");
        let alarms = found.alarms[&family] as f64 / found.negatives as f64;
        assert!(alarms <= 0.02, "{family:?}: false alarms {alarms:.3}");
    }
    let personal = found.families[&Family::Personal].f2();
    assert!(personal >= 0.85, "personal data: F2 {personal:.3}");
}
