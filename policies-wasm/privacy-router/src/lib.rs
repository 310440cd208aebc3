//! The privacy router: what is sensitive stays home, the rest goes where it is cheapest.
//!
//! Reads every text of an inference request for personal data and secrets ([`detect`]), through encodings and disguises
//! ([`normalize`]), and orders the backends that are cleared for what it found ([`choose`]). A pure function: it sees
//! nothing but its arguments, and the host checks its choice again.

pub mod checksum;
pub mod choose;
pub mod detect;
pub mod normalize;
pub mod read;
pub mod settings;
mod text;

use std::collections::BTreeMap;

use detect::custom::Custom;
use openshell_policy_sdk::prelude::*;
use settings::{Level, Settings};

/// Findings that an answer carries at most; all of them count.
const REPORTED: usize = 256;

/// The router, ready: settings merged with the defaults, patterns compiled.
#[derive(Debug, Deserialize)]
#[serde(crate = "openshell_policy_sdk::serde", from = "Settings")]
pub struct Router {
    settings: Settings,
    levels: BTreeMap<String, Level>,
    custom: Custom,
}

impl From<Settings> for Router {
    fn from(settings: Settings) -> Self {
        Self { settings, levels: settings::defaults(), custom: Custom::default() }
    }
}

impl Policy for Router {
    const SCHEMA: &str = settings::SCHEMA;

    fn prepare(&mut self) -> Result<(), String> {
        let mut own = BTreeMap::new();
        for pattern in &self.settings.patterns {
            self.custom.pattern(&pattern.name, &pattern.pattern)?;
            own.insert(pattern.name.clone(), pattern.level);
        }
        for dictionary in &self.settings.dictionaries {
            for word in &dictionary.words {
                self.custom.phrase(&dictionary.name, word)?;
            }
            own.insert(dictionary.name.clone(), dictionary.level);
        }
        for (kind, level) in &self.settings.levels {
            if !self.levels.contains_key(kind) && !own.contains_key(kind) {
                let known: Vec<&str> = self.levels.keys().map(String::as_str).collect();
                return Err(format!("levels: {kind:?} is not a kind of finding; known are {}", known.join(", ")));
            }
            own.insert(kind.clone(), *level);
        }
        for kind in &self.settings.never_redact {
            if !self.levels.contains_key(kind) && !own.contains_key(kind) {
                return Err(format!("never_redact: {kind:?} is not a kind of finding"));
            }
        }
        self.levels.extend(own);
        Ok(())
    }

    fn warm_up(&self) {
        let sample = "Card 4111 1111 1111 1111, mail ann@example.org, key AKIAIOSFODNN7EXAMPLE, %34%31, \\u0034, password: hunter2!";
        let _ = self.read(&[Message { role: "user".into(), text: sample.into() }]);
    }
}

impl Router {
    /// Findings, and the most sensitive of them.
    fn read(&self, messages: &[Message]) -> (Vec<read::Found<'_>>, Level) {
        let found = read::request(messages, &self.custom);
        let most = found.iter().map(|f| self.level(f.kind)).max().unwrap_or(Level::Public);
        (found, most)
    }

    /// What a kind of finding counts as. Kinds the table lacks, of which there are none, would be restricted.
    fn level(&self, kind: &str) -> Level {
        self.levels.get(kind).copied().unwrap_or(Level::Restricted)
    }
}

impl Route for Router {
    fn route(&self, request: &InferenceRequest, backends: &[Backend]) -> Result<RouteDecision, Denial> {
        let (found, most) = self.read(&request.messages);
        let floor = self.settings.floor.unwrap_or(Level::Public);
        let sensitivity = Sensitivity::from(most.max(floor)).max(request.so_far);
        let rest = self.may_replace(&found).then(|| Sensitivity::from(floor).max(request.so_far));
        let order =
            choose::choose(sensitivity, rest, request, backends).map_err(|denial| self.explained(denial, &found))?;
        let redact = order.iter().any(|&i| backends[i as usize].clearance < sensitivity);
        let reason = reason(&found, Sensitivity::from(most), Sensitivity::from(floor), request.so_far);
        let findings = found.iter().take(REPORTED).map(|f| Finding {
            kind: f.kind.to_owned(),
            message: f.message as u32,
            start: f.start as u32,
            end: f.end as u32,
        });
        Ok(RouteDecision { sensitivity, findings: findings.collect(), order, redact, reason })
    }
}

impl Router {
    /// Whether what was found may be replaced by placeholders, so that the rest goes where it may.
    fn may_replace(&self, found: &[read::Found<'_>]) -> bool {
        let stays = |kind: &str| kind == "unreadable" || self.settings.never_redact.iter().any(|k| k == kind);
        !found.is_empty() && !found.iter().any(|f| stays(f.kind))
    }

    /// The denial, saying also what was found.
    fn explained(&self, mut denial: Denial, found: &[read::Found<'_>]) -> Denial {
        if !found.is_empty() {
            denial.reason = format!("{}: found {}", denial.reason, kinds(found));
        }
        denial
    }
}

/// Why the request counts as what it does, in a few words and without any value.
fn reason(found: &[read::Found<'_>], most: Sensitivity, floor: Sensitivity, so_far: Sensitivity) -> String {
    if so_far > most && so_far >= floor {
        return "the session was so before".to_owned();
    }
    if floor > most {
        return "the sandbox's floor".to_owned();
    }
    if found.is_empty() { "nothing sensitive found".to_owned() } else { kinds(found) }
}

/// Kinds found, each once, with how often.
fn kinds(found: &[read::Found<'_>]) -> String {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for f in found {
        *counts.entry(f.kind).or_default() += 1;
    }
    let named: Vec<String> =
        counts.iter().map(|(k, n)| if *n == 1 { (*k).to_owned() } else { format!("{n} {k}") }).collect();
    named.join(", ")
}

export!(Router: route);

#[cfg(test)]
mod tests;
