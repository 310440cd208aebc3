//! `EVALUATION.md`.

use std::path::Path;

use anyhow::{Context as _, Result};

use crate::case::{Family, Found, Split};
use crate::score::{Score, Tally, score};
use crate::{generate, router};

const FAMILIES: [(Family, &str); 3] =
    [(Family::Secret, "secrets"), (Family::Identifier, "checksummed identifiers"), (Family::Personal, "personal data")];

/// Other finders, and the families that each looks for.
const OTHERS: &[(&str, &[Family])] =
    &[("detect-secrets", &[Family::Secret]), ("presidio", &[Family::Identifier, Family::Personal])];

/// Prints the evaluation of both splits, with what other finders answered, if they ran. Fails on an answer that is no JSON.
pub fn print(directory: Option<&Path>) -> Result<()> {
    println!("# Evaluation of the privacy router\n");
    println!(
        "Written by `make eval`. The requests are made by `tests/eval`: every kind of value in ten carriers (prose, JSON, YAML, \
         logs, code …), in several languages, a quarter of them encoded or disguised; and as many without anything sensitive that \
         look as if they had it (hashes, UUIDs, lock files, tool-call ids, placeholders, code about passwords). The *held-out* \
         split has its own seed, templates, cue words and negatives, written after the detectors they score; it is scored and never \
         tuned on. It shares the values' formats with the other split, and its authors with the detectors: it shows whether \
         they generalise to other surroundings, not what they have never heard of. Generated requests are not your requests: read \
         the figures as a comparison on the same cases.\n"
    );
    for (split, name) in [(Split::HeldOut, "held-out"), (Split::Tune, "tune")] {
        let cases = generate::cases(split);
        let ours = score(&cases, &router::find(&cases)?);
        println!("## Split `{name}`: {} requests, {} of them with nothing in them\n", cases.len(), ours.negatives);
        println!(
            "Found: the share of requests with such a value in which one of its family was found. False alarms: the share of requests with nothing in them.\n"
        );
        println!("| | family | found | precision | F2 | false alarms |\n|---|---|---|---|---|---|");
        families("privacy router", &ours, &[Family::Secret, Family::Identifier, Family::Personal]);
        for (other, theirs) in OTHERS {
            match others(directory, other, name)? {
                Some(found) => families(other, &score(&cases, &found as &[Found]), theirs),
                None => println!("| {other} | not installed | | | | |"),
            }
        }
        if split == Split::HeldOut {
            let presidio = others(directory, "presidio", name)?.map(|found| score(&cases, &found));
            kinds(&ours, presidio.as_ref());
            encodings(&ours);
        }
        println!();
    }
    Ok(())
}

fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

fn families(finder: &str, score: &Score, of: &[Family]) {
    for (family, name) in FAMILIES.iter().filter(|(f, _)| of.contains(f)) {
        let tally = score.families.get(family).copied().unwrap_or_default();
        let alarms = score.alarms.get(family).copied().unwrap_or_default() as f64 / score.negatives.max(1) as f64;
        println!(
            "| {finder} | {name} | {} | {} | {:.3} | {} |",
            percent(tally.recall()),
            percent(tally.precision()),
            tally.f2(),
            percent(alarms)
        );
    }
}

fn kinds(ours: &Score, presidio: Option<&Score>) {
    println!("\n### By kind\n");
    println!("Found and named as exactly this kind. Presidio where it has a recognizer for it.\n");
    println!("| kind | recall | precision | F2 | Presidio: recall | precision |\n|---|---|---|---|---|---|");
    for ((family, kind), tally) in &ours.kinds {
        let theirs = presidio.and_then(|p| p.kinds.get(&(*family, kind.clone()))).copied().unwrap_or_default();
        let other = |share: fn(Tally) -> f64| {
            if theirs.found + theirs.false_finds > 0 { percent(share(theirs)) } else { "–".to_owned() }
        };
        println!(
            "| `{kind}` | {} | {} | {:.3} | {} | {} |",
            percent(tally.recall()),
            percent(tally.precision()),
            tally.f2(),
            other(Tally::recall),
            other(Tally::precision)
        );
    }
}

fn encodings(ours: &Score) {
    println!("\n### Secrets and identifiers by disguise\n");
    println!("| disguise | requests | found |\n|---|---|---|");
    for (name, tally) in &ours.encodings {
        println!("| {name} | {} | {} |", tally.all, percent(tally.recall()));
    }
}

/// What another finder answered, if it ran.
fn others(directory: Option<&Path>, name: &str, split: &str) -> Result<Option<Vec<Found>>> {
    let Some(path) = directory.map(|d| d.join(format!("{name}.{split}.jsonl"))).filter(|p| p.exists()) else {
        return Ok(None);
    };
    let text = std::fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    let lines = text.lines().map(|line| serde_json::from_str(line).with_context(|| format!("in {}", path.display())));
    lines.collect::<Result<Vec<Found>>>().map(Some)
}
