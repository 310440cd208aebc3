//! Chains: what several policies' answers come to.
//!
//! **Any deny wins; else one allow is needed; else deny.** Order never matters. A ceiling that is not empty must end in
//! allow as well.
//!
//! - A failure counts as a deny. Among several denials, the ceiling's come before the own chain's, denials before
//!   failures, and the smallest binding name first.
//! - A policy that has no `request` hook answers a request with what it answers on `connect`.
//! - A policy that has `request` but no `connect`: if nobody denies and nobody allows the connection, it counts as an
//!   allow with [`Inspection::Required`]: nothing is dialled or looked up before a request is allowed.
//! - `response`: any deny or failure wins, else it passes; policies without the hook have no say.
//! - Several allows merge: strictest inspection; private ranges: union within a chain, intersection between the ceiling
//!   and the own chain; header edits: union. Two different credentials, or two different edits of one header, are a
//!   conflict, which denies.
//! - The grant's rule and its author are the own chain's, from the allowing policy with the smallest binding name.
//! - Every policy is asked, whatever another one says: a counter counts the same in any order.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::artifact::Hook;
use crate::cidr::Cidr;
use crate::failure::{Answer, Failure};
use crate::memo::Question;
use crate::policy::{Policy, PolicyRef};
use crate::types::{Connection, Denial, Grant, HeaderEdit, HttpRequest, HttpResponse, Inspection, Verdict};
use crate::view::View;

/// A ceiling and a sandbox's own chain.
#[derive(Debug, Clone, Default)]
pub struct Chains {
    /// Gateway-wide policies; empty: no ceiling.
    pub ceiling: Vec<Policy>,
    /// The sandbox's own policies; empty: everything is denied.
    pub own: Vec<Policy>,
}

/// What the chains came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Allowed, on these terms.
    Allow(Grant),
    /// Denied by a policy.
    Deny(Denial),
    /// Denied, because a policy did not answer.
    Failed(Failure),
    /// Denied, because nobody allowed it.
    Unanswered,
    /// Denied, because two policies allowed it on terms that exclude each other.
    Conflict(String),
}

/// One decision.
#[derive(Debug, Clone)]
pub struct Decision {
    /// What was decided.
    pub outcome: Outcome,
    /// By which policy; absent where none decided.
    pub by: Option<PolicyRef>,
    /// Every answer was remembered.
    pub memoized: bool,
    /// How long it took.
    pub elapsed: Duration,
}

impl Chains {
    /// Decides about a connection.
    pub fn connect(&self, connection: &Connection, view: &Arc<dyn View>) -> Decision {
        self.decide(|chain| {
            chain.iter().map(|policy| {
                if policy.has(Hook::Connect) {
                    Vote::of(policy, policy.ask(Question::Connect(connection), view))
                } else if policy.has(Hook::Request) {
                    Vote::silent(policy, Stance::Later)
                } else {
                    Vote::silent(policy, Stance::None)
                }
            })
        })
    }

    /// Decides about an HTTP request.
    pub fn request(&self, connection: &Connection, request: &HttpRequest, view: &Arc<dyn View>) -> Decision {
        self.decide(|chain| {
            chain.iter().map(|policy| {
                if policy.has(Hook::Request) {
                    Vote::of(policy, policy.ask(Question::Request(connection, request), view))
                } else if policy.has(Hook::Connect) {
                    Vote::of(policy, policy.ask(Question::Connect(connection), view))
                } else {
                    Vote::silent(policy, Stance::None)
                }
            })
        })
    }

    /// Decides about the head of a response.
    pub fn response(
        &self,
        connection: &Connection,
        request: &HttpRequest,
        response: HttpResponse,
        view: &Arc<dyn View>,
    ) -> Decision {
        let start = Instant::now();
        let votes: Vec<_> = self
            .ceiling
            .iter()
            .chain(&self.own)
            .filter(|policy| policy.has(Hook::Response))
            .map(|policy| Vote::of(policy, policy.ask(Question::Response(connection, request, response), view)))
            .collect();
        let settled = match settle(&votes) {
            Settled { outcome: Outcome::Unanswered, .. } => Settled { outcome: Outcome::Allow(pass()), by: None },
            settled => settled,
        };
        settled.decision(votes.iter().all(|vote| vote.memoized) && !votes.is_empty(), start)
    }

    /// Longest request body that any policy with the `request` hook wants to see, in bytes.
    pub fn body_cap(&self) -> u32 {
        let policies = self.ceiling.iter().chain(&self.own);
        policies.filter(|policy| policy.has(Hook::Request)).map(|policy| policy.manifest().body_cap).max().unwrap_or(0)
    }

    fn decide<'a, V: Iterator<Item = Vote<'a>>>(&'a self, ask: impl Fn(&'a [Policy]) -> V) -> Decision {
        let start = Instant::now();
        let ceiling: Vec<_> = ask(&self.ceiling).collect();
        let own: Vec<_> = ask(&self.own).collect();
        let mut asked = ceiling.iter().chain(&own).filter(|vote| vote.asked()).peekable();
        let memoized = asked.peek().is_some() && asked.all(|vote| vote.memoized);
        let settled = if ceiling.is_empty() { settle(&own) } else { narrow(settle(&ceiling), settle(&own)) };
        settled.decision(memoized, start)
    }
}

/// One policy's part in a decision.
#[derive(Debug, Clone)]
struct Vote<'a> {
    binding: &'a str,
    policy: &'a PolicyRef,
    stance: Stance,
    memoized: bool,
}

#[derive(Debug, Clone)]
enum Stance {
    /// It said so.
    Said(Arc<Verdict>),
    /// It failed to say anything.
    Failed(Failure),
    /// It is asked later, about each request.
    Later,
    /// It has no say here.
    None,
}

impl<'a> Vote<'a> {
    fn of(policy: &'a Policy, answer: Answer<Arc<Verdict>>) -> Self {
        let stance = match answer.result {
            Ok(verdict) => Stance::Said(verdict),
            Err(failure) => Stance::Failed(failure),
        };
        Self { binding: policy.binding(), policy: policy.reference(), stance, memoized: answer.memoized }
    }

    fn silent(policy: &'a Policy, stance: Stance) -> Self {
        Self { binding: policy.binding(), policy: policy.reference(), stance, memoized: false }
    }

    fn asked(&self) -> bool {
        matches!(self.stance, Stance::Said(_) | Stance::Failed(_))
    }

    fn denial(&self) -> Option<&Denial> {
        match &self.stance {
            Stance::Said(verdict) => match &**verdict {
                Verdict::Deny(denial) => Some(denial),
                _ => None,
            },
            _ => None,
        }
    }

    fn failure(&self) -> Option<&Failure> {
        match &self.stance {
            Stance::Failed(failure) => Some(failure),
            _ => None,
        }
    }

    fn grant(&self) -> Option<&Grant> {
        match &self.stance {
            Stance::Said(verdict) => match &**verdict {
                Verdict::Allow(grant) => Some(grant),
                _ => None,
            },
            _ => None,
        }
    }
}

/// What one chain, or both, came to.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Settled {
    outcome: Outcome,
    by: Option<PolicyRef>,
}

impl Settled {
    fn by(vote: &Vote<'_>, outcome: Outcome) -> Self {
        Self { outcome, by: Some(vote.policy.clone()) }
    }

    fn decision(self, memoized: bool, start: Instant) -> Decision {
        Decision { outcome: self.outcome, by: self.by, memoized, elapsed: start.elapsed() }
    }
}

/// The vote with the smallest binding name that `pick` takes; among equal names, the smallest in what it said.
fn first<'v, 'a, T: Ord>(votes: &'v [Vote<'a>], pick: impl Fn(&'v Vote<'a>) -> Option<T>) -> Option<&'v Vote<'a>> {
    let picked = votes.iter().filter_map(|vote| pick(vote).map(|said| ((vote.binding, vote.policy, said), vote)));
    picked.min_by(|(one, _), (other, _)| one.cmp(other)).map(|(_, vote)| vote)
}

/// What one chain's votes come to.
fn settle(votes: &[Vote<'_>]) -> Settled {
    if let Some((vote, denial)) = first(votes, Vote::denial).and_then(|vote| Some((vote, vote.denial()?))) {
        return Settled::by(vote, Outcome::Deny(denial.clone()));
    }
    if let Some((vote, failure)) = first(votes, Vote::failure).and_then(|vote| Some((vote, vote.failure()?))) {
        return Settled::by(vote, Outcome::Failed(failure.clone()));
    }
    let allowing = first(votes, |vote| vote.grant().map(order)).and_then(|vote| Some((vote, vote.grant()?)));
    if let Some((vote, grant)) = allowing {
        let mut merged = grant.clone();
        for other in votes.iter().filter(|other| !std::ptr::eq(*other, vote)).filter_map(Vote::grant) {
            merged.private_ranges.extend_from_slice(&other.private_ranges);
            add(&mut merged, other);
        }
        merged.audit = first(votes, |vote| vote.grant()?.audit.as_ref()).and_then(|vote| vote.grant()?.audit.clone());
        return match agree(votes.iter().filter_map(Vote::grant)).and_then(|()| tidy(merged)) {
            Ok(grant) => Settled::by(vote, Outcome::Allow(grant)),
            Err(conflict) => Settled { outcome: Outcome::Conflict(conflict), by: None },
        };
    }
    if let Some(vote) = first(votes, |vote| matches!(vote.stance, Stance::Later).then_some(())) {
        let grant = Grant { rule: "each-request".to_owned(), inspection: Inspection::Required, ..pass() };
        return Settled::by(vote, Outcome::Allow(grant));
    }
    Settled { outcome: Outcome::Unanswered, by: None }
}

/// What a ceiling leaves of the own chain's outcome.
fn narrow(ceiling: Settled, own: Settled) -> Settled {
    let rank = |settled: &Settled| match settled.outcome {
        Outcome::Deny(_) => 0,
        Outcome::Failed(_) => 1,
        Outcome::Conflict(_) => 2,
        Outcome::Unanswered => 3,
        Outcome::Allow(_) => 4,
    };
    match (ceiling, own) {
        (Settled { outcome: Outcome::Allow(limit), .. }, Settled { outcome: Outcome::Allow(mut grant), by }) => {
            grant.private_ranges = intersect(&limit.private_ranges, &grant.private_ranges);
            let agreed = agree([&grant, &limit].into_iter());
            add(&mut grant, &limit);
            grant.audit = grant.audit.take().or(limit.audit);
            match agreed.and_then(|()| tidy(grant)) {
                Ok(grant) => Settled { outcome: Outcome::Allow(grant), by },
                Err(conflict) => Settled { outcome: Outcome::Conflict(conflict), by: None },
            }
        }
        (ceiling, own) if rank(&ceiling) <= rank(&own) => ceiling,
        (_, own) => own,
    }
}

/// The terms of letting something pass that nobody spoke about.
fn pass() -> Grant {
    Grant {
        rule: String::new(),
        inspection: Inspection::Opaque,
        credential: None,
        private_ranges: Vec::new(),
        headers: Vec::new(),
        audit: None,
    }
}

/// Everything in a grant, so that two of the same policy have an order.
fn order(grant: &Grant) -> impl Ord + '_ {
    let Grant { rule, inspection, credential, private_ranges, headers, audit } = grant;
    (rule, inspection, credential, private_ranges, headers, audit)
}

/// Takes over the other grant's inspection, credential and header edits.
fn add(grant: &mut Grant, other: &Grant) {
    grant.inspection = grant.inspection.max(other.inspection);
    if grant.credential.is_none() {
        grant.credential.clone_from(&other.credential);
    }
    grant.headers.extend_from_slice(&other.headers);
}

/// Refuses grants that name different credentials.
fn agree<'a>(grants: impl Iterator<Item = &'a Grant> + Clone) -> Result<(), String> {
    let mut names = grants.filter_map(|grant| grant.credential.as_deref());
    let Some(some) = names.next() else { return Ok(()) };
    let (least, most) = names.fold((some, some), |(least, most), name| (least.min(name), most.max(name)));
    if least == most { Ok(()) } else { Err(format!("credentials `{least}` and `{most}` are both granted")) }
}

/// Sorts what has no order, drops what is said twice, and refuses two different edits of one header.
fn tidy(mut grant: Grant) -> Result<Grant, String> {
    fn name(edit: &HeaderEdit) -> &str {
        match edit {
            HeaderEdit::Set(name, _) | HeaderEdit::Remove(name) => name,
        }
    }
    grant.private_ranges.sort_unstable();
    grant.private_ranges.dedup();
    if !grant.headers.is_empty() {
        for edit in &mut grant.headers {
            let (HeaderEdit::Set(name, _) | HeaderEdit::Remove(name)) = edit;
            name.make_ascii_lowercase();
        }
        grant.headers.sort_unstable_by(|one, two| name(one).cmp(name(two)).then_with(|| one.cmp(two)));
        grant.headers.dedup();
        if let Some(pair) = grant.headers.windows(2).find(|pair| name(&pair[0]) == name(&pair[1])) {
            return Err(format!("header `{}` is edited in two ways", name(&pair[0])));
        }
    }
    Ok(grant)
}

/// Ranges that lie in both lists.
fn intersect(one: &[String], two: &[String]) -> Vec<String> {
    let ranges = |list: &[String]| list.iter().filter_map(|range| range.parse::<Cidr>().ok()).collect::<Vec<_>>();
    let (one, two) = (ranges(one), ranges(two));
    one.iter().flat_map(|one| two.iter().filter_map(|two| one.intersect(*two))).map(|range| range.to_string()).collect()
}

#[cfg(test)]
mod tests;
