//! Chains: what several policies' answers come to.
//!
//! **Any deny wins; else one allow is needed; else deny.** Order never matters. A ceiling that is not empty must end in
//! allow as well.
//!
//! - A failure counts as a deny. Among several denials, the ceiling's come before the own chain's, denials before
//!   failures, and the smallest binding name first.
//! - A policy that has no `request` hook answers a request with what it answers on `connect`.
//! - A policy that has `request` but no `connect`: if nobody denies and nobody allows the connection, it counts as an
//!   allow with [`Inspection::Required`](crate::Inspection::Required): nothing is dialled or looked up before a request is allowed.
//! - `response`: any deny or failure wins, else it passes; policies without the hook have no say.
//! - Several allows merge: strictest inspection; private ranges: union within a chain, intersection between the ceiling
//!   and the own chain; header edits: union. Two different credentials, or two different edits of one header, are a
//!   conflict, which denies.
//! - The grant's rule and its author are the own chain's, from the allowing policy with the smallest binding name.
//! - Every policy is asked, whatever another one says: a counter counts the same in any order.
//! - A sandbox that observes takes what its own chain does not allow for allowed, marked as what it would have been. Its
//!   ceiling holds.
//! - A shadow is asked after everybody else, and changes nothing.

mod settle;
mod vote;

use std::sync::Arc;
use std::time::{Duration, Instant};

use self::settle::{Settled, narrow, observed, pass, settle};
pub use self::vote::{Stance, Vote};
use crate::artifact::Hook;
use crate::failure::Failure;
use crate::memo::Question;
use crate::policy::{Policy, PolicyRef};
use crate::reads::ReadName;
use crate::types::{Connection, Denial, Grant, HttpRequest, HttpResponse};
use crate::view::{Capped, View};

/// Begins the binding of every shadow: its counters are its own, never those of the policy it may take the place of.
pub const SHADOW: &str = "shadow/";

/// A ceiling and a sandbox's own chain.
#[derive(Debug, Clone, Default)]
pub struct Chains {
    /// Gateway-wide policies; empty: no ceiling.
    pub ceiling: Vec<Policy>,
    /// The sandbox's own policies; empty: everything is denied.
    pub own: Vec<Policy>,
    /// Asked and not obeyed; each is bound as [`SHADOW`] and the name it would have in the own chain.
    pub shadow: Vec<Policy>,
    /// What the own chain does not allow is allowed all the same, and marked.
    pub observe: bool,
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
    /// How long it took, shadows excluded.
    pub elapsed: Duration,
    /// How each policy of the ceiling voted.
    pub ceiling: Vec<Vote>,
    /// How each policy of the own chain voted.
    pub own: Vec<Vote>,
    /// What each shadow said, and what it would have changed.
    pub shadows: Vec<Shadow>,
}

/// What a policy that is not obeyed said.
#[derive(Debug, Clone)]
pub struct Shadow {
    /// Its vote, under the name it would have in the chain.
    pub vote: Vote,
    /// What the chains would have come to with it in place of its namesake, or beside the others where it has none.
    pub outcome: Outcome,
    /// What they came to without it, observing aside.
    pub without: Outcome,
    /// How long it took.
    pub elapsed: Duration,
}

impl Outcome {
    /// Whether it is an allow.
    pub fn allows(&self) -> bool {
        matches!(self, Self::Allow(_))
    }
}

impl Shadow {
    /// Whether the chains would have decided the other way.
    pub fn flips(&self) -> bool {
        self.outcome.allows() != self.without.allows()
    }
}

/// What votes come to, and by whom it was decided. `ceiling`: `None` where there is none.
pub fn weigh(ceiling: Option<&[Vote]>, own: &[Vote]) -> (Outcome, Option<PolicyRef>) {
    let Settled { outcome, by } = combine(ceiling, settle(own));
    (outcome, by)
}

/// The same for the head of a response, which passes unless somebody objects.
pub fn weigh_response(ceiling: &[Vote], own: &[Vote]) -> (Outcome, Option<PolicyRef>) {
    let Settled { outcome, by } = passing(ceiling, own);
    (outcome, by)
}

fn combine(ceiling: Option<&[Vote]>, own: Settled) -> Settled {
    match ceiling {
        Some(ceiling) => narrow(settle(ceiling), own),
        None => own,
    }
}

fn passing(ceiling: &[Vote], own: &[Vote]) -> Settled {
    let ceiling_alone = settle(ceiling);
    if matches!(ceiling_alone.outcome, Outcome::Deny(_) | Outcome::Failed(_)) {
        return ceiling_alone;
    }
    match settle(&[ceiling, own].concat()) {
        Settled { outcome: Outcome::Unanswered, .. } => Settled { outcome: Outcome::Allow(pass()), by: None },
        settled => settled,
    }
}

impl Chains {
    /// Decides about a connection.
    pub fn connect(&self, connection: &Connection, view: &Arc<dyn View>) -> Decision {
        self.decide(|policy| {
            if policy.has(Hook::Connect) {
                Vote::of(policy, policy.ask(Question::Connect(connection), view))
            } else if policy.has(Hook::Request) {
                Vote::silent(policy, Stance::Later)
            } else {
                Vote::silent(policy, Stance::None)
            }
        })
    }

    /// Decides about an HTTP request.
    pub fn request(&self, connection: &Connection, request: &HttpRequest, view: &Arc<dyn View>) -> Decision {
        let longest = self.body_cap();
        self.decide(|policy| {
            if policy.has(Hook::Request) {
                let view = &Capped::of(view, policy.manifest().body_cap, longest);
                Vote::of(policy, policy.ask(Question::Request(connection, request), view))
            } else if policy.has(Hook::Connect) {
                Vote::of(policy, policy.ask(Question::Connect(connection), view))
            } else {
                Vote::silent(policy, Stance::None)
            }
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
        let ask =
            |policy: &Policy| Vote::of(policy, policy.ask(Question::Response(connection, request, response), view));
        let start = Instant::now();
        let votes = |chain: &[Policy]| -> Vec<Vote> {
            chain.iter().filter(|policy| policy.has(Hook::Response)).map(ask).collect()
        };
        let (ceiling, own) = (votes(&self.ceiling), votes(&self.own));
        let weigh = |own: &[Vote]| passing(&ceiling, own);
        let obeyed = weigh(&own);
        let settled = if self.observe && !refuses(&ceiling) { observed(obeyed.clone()) } else { obeyed.clone() };
        let elapsed = start.elapsed();
        let shadows = self.shadow.iter().filter(|policy| policy.has(Hook::Response));
        let shadows = shadows.map(|policy| shadow(policy, ask, &own, &obeyed, weigh)).collect();
        decision(settled, elapsed, ceiling, own, shadows)
    }

    /// Longest request body that any policy with the `request` hook wants to see, in bytes.
    pub fn body_cap(&self) -> u32 {
        let policies = self.ceiling.iter().chain(&self.own).chain(&self.shadow);
        policies.filter(|policy| policy.has(Hook::Request)).map(|policy| policy.manifest().body_cap).max().unwrap_or(0)
    }

    /// Longest body of this request that has to be at hand before it is judged, in bytes; 0: nobody will ask for it. `view`
    /// is that of a request whose body has not come yet.
    ///
    /// A policy whose verdicts are remembered is asked without the body: it is a function of what it reads, so one that does
    /// not ask for the body now does not ask for it later, and then answers from memory. Of the others nothing is known
    /// beforehand, and asking them twice would count twice.
    pub fn body_wanted(&self, connection: &Connection, request: &HttpRequest, view: &Arc<dyn View>) -> u32 {
        let policies = self.ceiling.iter().chain(&self.own).chain(&self.shadow);
        let wants = |policy: &&Policy| {
            policy.has(Hook::Request) && policy.manifest().body_cap > 0 && {
                !policy.remembers() || {
                    let (answer, read) = policy.ask(Question::Request(connection, request), view);
                    answer.result.is_err() || read.as_slice().contains(&ReadName::Body)
                }
            }
        };
        policies.filter(wants).map(|policy| policy.manifest().body_cap).max().unwrap_or(0)
    }

    /// Whether any policy, obeyed or not, wants to see responses.
    pub fn watches_responses(&self) -> bool {
        self.ceiling.iter().chain(&self.own).chain(&self.shadow).any(|policy| policy.has(Hook::Response))
    }

    fn decide(&self, ask: impl Fn(&Policy) -> Vote + Copy) -> Decision {
        let start = Instant::now();
        let ceiling: Vec<Vote> = self.ceiling.iter().map(ask).collect();
        let own: Vec<Vote> = self.own.iter().map(ask).collect();
        let limit = (!ceiling.is_empty()).then_some(&*ceiling);
        let alone = settle(&own);
        let settled = combine(limit, if self.observe { observed(alone) } else { alone });
        let elapsed = start.elapsed();
        let mut shadows = Vec::new();
        if !self.shadow.is_empty() {
            let weigh = |own: &[Vote]| combine(limit, settle(own));
            let obeyed = weigh(&own);
            shadows = self.shadow.iter().map(|policy| shadow(policy, ask, &own, &obeyed, weigh)).collect();
        }
        decision(settled, elapsed, ceiling, own, shadows)
    }
}

fn refuses(votes: &[Vote]) -> bool {
    votes.iter().any(|vote| vote.denial().is_some() || vote.failure().is_some())
}

fn decision(settled: Settled, elapsed: Duration, ceiling: Vec<Vote>, own: Vec<Vote>, shadows: Vec<Shadow>) -> Decision {
    let mut asked = ceiling.iter().chain(&own).filter(|vote| vote.asked()).peekable();
    let memoized = asked.peek().is_some() && asked.all(|vote| vote.memoized);
    Decision { outcome: settled.outcome, by: settled.by, memoized, elapsed, ceiling, own, shadows }
}

/// Asks a shadow, and weighs the votes again with its own among them.
fn shadow(
    policy: &Policy,
    ask: impl Fn(&Policy) -> Vote,
    own: &[Vote],
    obeyed: &Settled,
    weigh: impl Fn(&[Vote]) -> Settled,
) -> Shadow {
    let start = Instant::now();
    let mut vote = ask(policy);
    let elapsed = start.elapsed();
    vote.binding = vote.binding.strip_prefix(SHADOW).unwrap_or(&vote.binding).into();
    let mut votes: Vec<Vote> = own.iter().filter(|other| other.binding != vote.binding).cloned().collect();
    votes.push(vote.clone());
    Shadow { outcome: weigh(&votes).outcome, without: obeyed.outcome.clone(), vote, elapsed }
}

#[cfg(test)]
mod tests;
