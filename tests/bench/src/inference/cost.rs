//! What routing costs: a generated workload, spent by the router and by simpler ways to choose.

use anyhow::{Result, anyhow};
use openshell_eval::case::Split;
use openshell_eval::{generate, router};
use openshell_inference_format::price::dollars;
use openshell_inference_format::tokens;
use openshell_policy_sdk::prelude::*;

/// Name, clearance, dollars for a million tokens in and out, whether it may redact.
const MODELS: &[(&str, Sensitivity, f64, f64, bool)] = &[
    ("public, large", Sensitivity::Public, 3.0, 15.0, false),
    ("public, small", Sensitivity::Public, 0.15, 0.6, false),
    ("contract, no training", Sensitivity::Internal, 0.8, 4.0, false),
    ("private cloud", Sensitivity::Confidential, 1.5, 6.0, false),
    ("at home", Sensitivity::Restricted, 2.5, 2.5, false),
];

struct Spent {
    name: &'static str,
    cost: u128,
    leaks: usize,
}

/// Prints what a workload costs, and how many requests go where they are not cleared to go.
pub fn print() -> Result<()> {
    let cases = generate::cases(Split::Tune);
    let ready = router::ready().map_err(|error| anyhow!("{error}"))?;
    let mut chance = 0x5eed_u64;
    let mut random = move |below: u64| {
        chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (chance >> 33) % below
    };
    let backends = |redact: bool| -> Vec<Backend> {
        let made = MODELS.iter().map(|(name, clearance, input, output, _)| Backend {
            name: (*name).to_owned(),
            clearance: *clearance,
            input_price: (input * 1e6) as u64,
            output_price: (output * 1e6) as u64,
            cached_input_price: (input * 1e6) as u64,
            redact: redact && *clearance == Sensitivity::Public,
            ..router::backends().remove(0)
        });
        made.collect()
    };
    let (plain, redacting) = (backends(false), backends(true));
    let cheapest = 1;
    let mut spent = [
        "always the best (public, large)",
        "always the cheapest (public, small)",
        "at random",
        "always at home",
        "the router",
        "the router, public models with placeholders",
    ]
    .map(|name| Spent { name, cost: 0, leaks: 0 });
    let mut sensitive = 0;
    for case in &cases {
        let mut request = router::request(&case.messages);
        request.input_tokens = u32::try_from(tokens::count(case.messages.iter().map(String::as_str)))? + 8;
        // Answers of 20 to 1,000 tokens, short ones more often.
        let output = 20 * (1 + random(10)) * (1 + random(5));
        (request.output_tokens, request.expected_output_tokens) = (4096, u32::try_from(output)?);
        let asked = |backends: &[Backend]| {
            ready.route(&request, backends).map_err(|denial| anyhow!("the router refused: {}", denial.reason))
        };
        let (routed, redacted) = (asked(&plain)?, asked(&redacting)?);
        let truth =
            if case.kind.is_some() { routed.sensitivity.max(Sensitivity::Internal) } else { Sensitivity::Public };
        sensitive += usize::from(case.kind.is_some());
        let first = |decision: &RouteDecision| decision.order.first().map_or(4, |index| *index as usize);
        let chosen = [0, cheapest, random(MODELS.len() as u64) as usize, 4, first(&routed), first(&redacted)];
        for (way, index) in chosen.into_iter().enumerate() {
            let backend = &plain[index];
            spent[way].cost += u128::from(request.input_tokens) * u128::from(backend.input_price)
                + u128::from(output) * u128::from(backend.output_price);
            let replaced = way == 5 && redacted.redact && redacting[index].redact;
            spent[way].leaks += usize::from(!replaced && backend.clearance < truth);
        }
    }
    println!("### What routing costs\n");
    println!(
        "{} generated requests (the evaluation's own, `tests/eval`), {sensitive} of them with something sensitive, to five models from $0.15 and",
        cases.len()
    );
    println!(
        "$0.60 to $3 and $15 for a million tokens in and out. Exposed: sensitive requests sent where they are not cleared to go, by the label"
    );
    println!("that the generator gave them: what the router misses counts against it.\n");
    println!("| chosen | dollars | against always the best | sensitive requests exposed |");
    println!("|---|---|---|---|");
    let best = spent[0].cost.max(1);
    for Spent { name, cost, leaks } in &spent {
        let share = *cost as f64 * 100.0 / best as f64;
        let exposed = *leaks as f64 * 100.0 / sensitive.max(1) as f64;
        println!("| {name} | {} | {share:.0} % | {leaks} ({exposed:.1} %) |", shortened(*cost));
    }
    println!();
    Ok(())
}

/// Dollars with three decimals.
fn shortened(cost: u128) -> String {
    let text = dollars(cost);
    let end = text.find('.').map_or(text.len(), |at| (at + 4).min(text.len()));
    format!("${}", &text[..end])
}
