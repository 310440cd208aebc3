//! Makes labelled requests: every kind in every carrier, some of them disguised, and as many with nothing in them.

use crate::case::{Case, Family, Split};
use crate::encode;
use crate::random::Random;
use crate::text;
use crate::values::{self, Kind};

/// Cases per kind of value.
const EACH: usize = 60;

/// Every case of a split. The same split always has the same cases.
pub fn cases(split: Split) -> Vec<Case> {
    let held_out = split == Split::HeldOut;
    let mut r = Random::new(if held_out { 0x5eed_0003 } else { 0x5eed_0001 });
    let mut cases = Vec::new();
    for kind in values::all() {
        for _ in 0..EACH {
            let case = positive(&kind, held_out, cases.len(), &mut r);
            cases.push(case);
        }
    }
    for id in cases.len()..cases.len() * 2 {
        let (carrier, text) = text::negative(held_out, &mut r);
        cases.push(Case {
            id,
            kind: None,
            family: None,
            carrier: carrier.to_owned(),
            encoding: "plain".to_owned(),
            messages: vec![text],
        });
    }
    cases
}

fn positive(kind: &Kind, held_out: bool, id: usize, r: &mut Random) -> Case {
    let cues = if held_out { kind.held_out } else { kind.tuned[r.range(0, 1) as usize] };
    let cue = (r.pick(cues.words), r.pick(cues.keys));
    let mut value = (kind.make)(r);
    let mut encoding = if r.one_in(4) { r.pick(encode::NAMES) } else { "plain" };
    let certain = kind.family != Family::Personal && !matches!(kind.name, "password" | "secret");
    // Values that only their surroundings give away are not told apart once cut or rewritten.
    if kind.whole || !certain && matches!(encoding, "split" | "zero-width" | "full-width") {
        encoding = "plain";
    }
    if matches!(encoding, "zero-width" | "full-width") {
        value = encode::value(encoding, &value, r);
    }
    let carrier = if kind.whole { "whole" } else { r.pick(text::NAMES) };
    let mut body = if kind.whole {
        format!("{}\n{value}\n", text::filler(held_out, r))
    } else {
        let start = text::carry(carrier, held_out, cue, &value, r);
        if r.one_in(2) {
            start
        } else {
            format!("{}\n{start}\n{}", text::filler(held_out, r), text::filler(held_out, r))
        }
    };
    let mut messages = Vec::new();
    match encoding {
        "base64" | "hex" | "percent" | "json" => body = encode::sentence(encoding, &body),
        // One half at the end of a message, the other one at the beginning of the next.
        "split" => {
            let middle = value.chars().count() / 2;
            let cut = value.char_indices().nth(middle).map_or(0, |(at, _)| at);
            messages.push(format!("{} {} {}", text::filler(held_out, r), cue.0, &value[..cut]));
            body = format!("{} {}", &value[cut..], text::filler(held_out, r));
        }
        _ => {}
    }
    messages.push(body);
    Case {
        id,
        kind: Some(kind.name.to_owned()),
        family: Some(kind.family),
        carrier: if encoding == "split" { "prose" } else { carrier }.to_owned(),
        encoding: encoding.to_owned(),
        messages,
    }
}
