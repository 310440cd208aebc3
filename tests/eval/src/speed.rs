//! How fast the router classifies natively. `openshell-bench classify` measures it as Wasm in the host's engine.

use std::hint::black_box;
use std::time::Instant;

use anyhow::Result;
use openshell_policy_sdk::Route as _;

use crate::case::Split;
use crate::{generate, router};

/// A text of `length` bytes: what requests are made of, or only one kind of it, with nothing sensitive in it.
pub fn sample(length: usize, only: Option<&str>) -> String {
    let cases = generate::cases(Split::Tune);
    let chosen = cases.iter().filter(|c| c.kind.is_none() && only.is_none_or(|o| c.carrier == o));
    let mut text = String::with_capacity(length * 2);
    for case in chosen.cycle() {
        if text.len() >= length {
            break;
        }
        text.push_str(&case.messages[0]);
        text.push('\n');
    }
    text.truncate(text.floor_char_boundary(length));
    text
}

/// Prints the fastest of many rounds, per length and kind of text: what is left when nothing else runs.
pub fn run() -> Result<()> {
    let (router, backends) = (router::ready()?, router::backends());
    println!("| text | 2 KB | 100 KB |\n|---|---|---|");
    for only in [
        None,
        Some("prose"),
        Some("code"),
        Some("log"),
        Some("json"),
        Some("uuid"),
        Some("image"),
        Some("numbers"),
        Some("encoded"),
    ] {
        let mut cells = Vec::new();
        for (length, rounds) in [(2 * 1024, 400), (100 * 1024, 60)] {
            let request = router::request(&[sample(length, only)]);
            let mut times: Vec<u128> = (0..rounds)
                .map(|_| {
                    let start = Instant::now();
                    black_box(router.route(black_box(&request), &backends)).ok();
                    start.elapsed().as_nanos()
                })
                .collect();
            times.sort_unstable();
            cells.push(format!("{:.1} µs", times[0] as f64 / 1000.0));
        }
        println!("| {} | {} |", only.unwrap_or("mixed"), cells.join(" | "));
    }
    Ok(())
}
