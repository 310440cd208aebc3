//! Tries candidates in the router's order until one answers. Falls back before the first byte, never after.

mod answer;
mod cascade;
mod one;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use http::HeaderMap;
use http::response::Parts;
use openshell_api::decision::Escalation;
use openshell_api::inference::{Backend, Cascade, Sensitivity};
use openshell_inference_format::endpoint::Endpoint;
use openshell_inference_format::translate::Untranslatable;

use super::clearance::Contents;
use super::health::Health;
use super::ledger::{Ledger, Limits, Reservation};
use super::probe::Probes;
use super::purse::Purse;
use super::relay::Relay;
use super::router::Latencies;
use super::upstream::Transport;

/// How often the candidates are gone through, as long as one of them failed in a way that passes.
const ROUNDS: u32 = 3;
/// Pause before the second round; it doubles, and up to as much again is added by chance.
const PAUSE: Duration = Duration::from_millis(200);
/// Longest `retry-after` that is waited for.
const LONGEST_PAUSE: Duration = Duration::from_secs(3);

/// What is to be sent, whoever gets it.
pub struct Attempts<'a> {
    pub transport: &'a dyn Transport,
    pub secrets: &'a BTreeMap<String, String>,
    pub latencies: &'a Latencies,
    pub health: &'a Health,
    pub probes: &'a Probes,
    pub ledger: &'a Ledger,
    pub limits: Limits<'a>,
    pub purse: &'a dyn Purse,
    pub cascade: Option<&'a Cascade>,
    /// The decision's id.
    pub id: &'a str,
    pub contents: Contents<'a>,
    pub endpoint: Endpoint,
    /// The caller's headers and query.
    pub headers: &'a HeaderMap,
    pub query: Option<&'a str>,
    /// Model for backends that have none of their own, aliases resolved.
    pub model: &'a str,
    /// Tokens that it may use, input and output.
    pub tokens: (u64, u64),
    /// Told what a model is about to see, before it does.
    pub shown: &'a (dyn Fn(Sensitivity) + Send + Sync),
}

/// An answer that has begun.
pub struct Served<'a> {
    pub backend: &'a Backend,
    pub head: Parts,
    pub relay: Relay,
    /// What was set aside for it; `None`: it costs nothing, or was settled.
    pub reservation: Option<Reservation>,
    /// Values that were replaced before the backend saw the request.
    pub redacted: u32,
    /// Answers that did not pass before.
    pub escalated: Vec<Escalation>,
}

/// Why a candidate did not serve. Holds nothing of the request and no key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Passed {
    pub backend: String,
    pub why: String,
    pub kind: Why,
}

/// Why no candidate served.
pub struct Unserved {
    pub passed: Vec<Passed>,
    /// Answers that could not be passed on, and may be charged for all the same.
    pub escalated: Vec<Escalation>,
}

/// What kind of reason it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// It was sent nothing, because its API has no form for part of the request.
    Untranslatable,
    /// It was sent nothing, because a budget has no room.
    Budget,
    /// It may serve the same request soon.
    Passing,
    /// It will not.
    Lasting,
}

impl fmt::Display for Passed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.backend, self.why)
    }
}

/// One attempt of a request: which it is, and whether its answer will be checked.
#[derive(Debug, Clone, Copy, Default)]
struct Turn {
    number: u32,
    /// The answer is to tell the probability of its tokens.
    logprobs: bool,
}

impl<'a> Attempts<'a> {
    /// The first answer, or why there is none, candidate by candidate. Of several refusals for want of capacity the last one
    /// is the answer, in the backend's own words. A candidate that failed in a way that passes is tried again, after every other
    /// one and a pause.
    pub async fn run(&self, candidates: &[&'a Backend], order: &[u32]) -> Result<Served<'a>, Unserved> {
        let mut seen = BTreeSet::new();
        let mut left: Vec<&'a Backend> = order
            .iter()
            .filter_map(|&i| candidates.get(i as usize).copied())
            .filter(|backend| seen.insert(backend.name.as_str()))
            .collect();
        let mut turn = Turn::default();
        let (mut passed, mut escalated, mut small) = (Vec::new(), Vec::new(), None);
        if let Some((cascade, first)) = self.first(&left) {
            left.retain(|backend| backend.name != first.name);
            match self.try_first(cascade, first, &mut turn).await {
                cascade::Outcome::Passed(served) => return Ok(*served),
                cascade::Outcome::Escalated(served, escalation) => {
                    escalated.push(escalation);
                    small = served;
                }
                cascade::Outcome::Failed(failure) => passed.push(failure),
            }
        }
        let outcome = self.rounds(left, &mut turn, passed).await;
        match (outcome, small) {
            (Ok(mut served), _) => {
                served.escalated = escalated;
                Ok(served)
            }
            // What did not pass is better than nothing. It is settled already.
            (Err(_), Some(mut served)) => {
                served.escalated = escalated;
                Ok(*served)
            }
            (Err(passed), None) => Err(Unserved { passed, escalated }),
        }
    }

    async fn rounds(
        &self,
        mut left: Vec<&'a Backend>,
        turn: &mut Turn,
        mut passed: Vec<Passed>,
    ) -> Result<Served<'a>, Vec<Passed>> {
        let mut busy = None;
        for round in 0..ROUNDS {
            let mut again = Vec::new();
            let mut wait = None;
            for backend in left {
                let failure = match self.one(backend, turn).await {
                    Ok(Answer::Served(served)) => return Ok(*served),
                    Ok(Answer::Busy(served, after)) => {
                        let why = format!("it answered {}", served.head.status);
                        busy = Some(served);
                        wait = wait.max(after);
                        let lasting = after.is_some_and(|after| after > LONGEST_PAUSE);
                        (why, if lasting { Why::Lasting } else { Why::Passing })
                    }
                    Err(failure) => failure,
                };
                if failure.1 == Why::Passing {
                    again.push(backend);
                }
                passed.retain(|p| p.backend != backend.name.as_str());
                passed.push(Passed { backend: backend.name.to_string(), why: failure.0, kind: failure.1 });
            }
            left = again;
            if left.is_empty() || round + 1 == ROUNDS {
                break;
            }
            tokio::time::sleep(pause(round, wait)).await;
        }
        match busy {
            Some(served) => Ok(*served),
            None => Err(passed),
        }
    }
}

/// Part of the request has no form in the backend's API.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
struct Refused(Untranslatable);

enum Answer<'a> {
    /// Its answer is the answer.
    Served(Box<Served<'a>>),
    /// It has no capacity now, for so long as it says; another one may.
    Busy(Box<Served<'a>>, Option<Duration>),
}

/// A failure that trying again would not mend.
#[derive(Debug, thiserror::Error)]
#[error("{why}")]
struct Lasting {
    why: String,
    /// It says that the backend is not well.
    ill: bool,
}

/// How long a backend says that it will be busy: `retry-after-ms`, or `retry-after` in seconds.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let number = |name: &str| headers.get(name)?.to_str().ok()?.trim().parse::<f64>().ok();
    let seconds = number("retry-after-ms").map(|ms| ms / 1000.0).or_else(|| number("retry-after"))?;
    Duration::try_from_secs_f64(seconds).ok()
}

/// The pause after a round: what the backends asked for, else one that doubles; with chance added, so that callers that failed
/// together do not come back together.
fn pause(round: u32, asked: Option<Duration>) -> Duration {
    let least = asked.map_or(PAUSE * 2u32.pow(round), |asked| asked.min(LONGEST_PAUSE));
    let mut chance = [0u8; 2];
    // Without chance, callers merely come back together.
    let _ = getrandom::fill(&mut chance);
    least + PAUSE.mul_f64(f64::from(u16::from_le_bytes(chance)) / f64::from(u16::MAX)) * 2u32.pow(round)
}
