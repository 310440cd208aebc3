//! What votes come to.

use super::Outcome;
use super::vote::{Stance, Vote};
use crate::cidr::Cidr;
use crate::policy::PolicyRef;
use crate::types::{Denial, Grant, HeaderEdit, Inspection};

/// What one chain, or both, came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Settled {
    pub(super) outcome: Outcome,
    pub(super) by: Option<PolicyRef>,
}

impl Settled {
    fn by(vote: &Vote, outcome: Outcome) -> Self {
        Self { outcome, by: Some(PolicyRef::clone(&vote.policy)) }
    }
}

/// The vote with the smallest binding name that `pick` takes; among equal names, the smallest in what it said.
fn first<'v, T: Ord>(votes: &'v [Vote], pick: impl Fn(&'v Vote) -> Option<T>) -> Option<&'v Vote> {
    let picked = votes.iter().filter_map(|vote| pick(vote).map(|said| ((&*vote.binding, &*vote.policy, said), vote)));
    picked.min_by(|(one, _), (other, _)| one.cmp(other)).map(|(_, vote)| vote)
}

/// What one chain's votes come to.
pub(super) fn settle(votes: &[Vote]) -> Settled {
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
pub(super) fn narrow(ceiling: Settled, own: Settled) -> Settled {
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
pub(super) fn pass() -> Grant {
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

/// What a sandbox that only observes makes of it: allowed, and recorded as what it would have been. No private range is
/// granted by it.
pub(super) fn observed(settled: Settled) -> Settled {
    let Settled { outcome, by } = settled;
    let denial = |reason: String| Denial { rule: String::new(), reason, hint: None };
    let audit = match outcome {
        Outcome::Allow(_) => return Settled { outcome, by },
        Outcome::Deny(denial) => denial,
        Outcome::Failed(failure) => denial(failure.to_string()),
        Outcome::Conflict(detail) => denial(detail),
        Outcome::Unanswered => denial("no policy allows it".to_owned()),
    };
    let grant = Grant { rule: "observe".to_owned(), inspection: Inspection::Automatic, audit: Some(audit), ..pass() };
    Settled { outcome: Outcome::Allow(grant), by }
}
