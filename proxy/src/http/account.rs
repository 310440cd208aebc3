//! What a decision record says of the question and of the votes: enough to ask another policy later, and no secret.

use openshell_api::decision::{AnswerKind, Asked, DecisionRecord, KEPT_HEADERS, ShadowRecord, Verdict, VoteRecord};
use openshell_policy_host::{
    Capture, Connection, Decision, HttpRequest, ReadName, Scheme, Shadow, Stance, View, Vote, types,
};

use crate::caller::Caller;

/// Longest value of a query parameter that is kept, in bytes.
const MAX_VALUE: usize = 24;
/// Longest value of a header that is kept, in bytes.
const MAX_HEADER: usize = 256;
/// Takes the place of what is withheld.
const WITHHELD: &str = "WITHHELD";
/// Parts of a parameter's name that make its value none of a record's business.
const SECRETIVE: [&str; 13] =
    ["auth", "code", "cred", "hash", "hmac", "jwt", "key", "nonce", "pass", "pwd", "secret", "sess", "sig"];

/// What was asked about, from the connection alone.
pub(super) fn connection(connection: &Connection, caller: &Caller, decision: &Decision) -> Asked {
    let votes = decision.ceiling.iter().chain(&decision.own);
    let mut votes = votes.chain(decision.shadows.iter().map(|shadow| &shadow.vote));
    let ancestors = votes.any(|vote| vote.read.as_slice().contains(&ReadName::Ancestors));
    Asked {
        capture: match connection.capture {
            Capture::Transparent => "transparent",
            Capture::Tunnel => "tunnel",
            Capture::Forward => "forward",
        }
        .to_owned(),
        scheme: None,
        query: None,
        headers: Vec::new(),
        body_bytes: None,
        ancestors: ancestors.then(|| caller.ancestors.clone()),
        withheld: Vec::new(),
    }
}

/// The request besides. `headers` is the view of the message that was judged: of the request, or of the response.
pub(super) fn request(asked: &mut Asked, request: &HttpRequest, headers: &dyn View, body_bytes: Option<u64>) {
    asked.scheme = Some(
        match request.scheme {
            Scheme::Http => "http",
            Scheme::Https => "https",
        }
        .to_owned(),
    );
    if let Some(query) = &request.query {
        let (kept, whole) = query_of(query);
        asked.query = Some(kept);
        if !whole {
            asked.withheld.push("query".to_owned());
        }
    }
    asked.body_bytes = body_bytes;
    let kept = KEPT_HEADERS.iter().filter_map(|name| Some((*name, headers.header(name)?)));
    for (name, value) in kept {
        if value.len() > MAX_HEADER {
            asked.withheld.push(format!("header {name}"));
        } else {
            asked.headers.push((name.to_owned(), value));
        }
    }
}

/// A query without the values that may be secrets, and whether it is whole.
fn query_of(query: &str) -> (String, bool) {
    let mut whole = true;
    let mut kept = String::with_capacity(query.len());
    for (index, parameter) in query.split('&').enumerate() {
        if index > 0 {
            kept.push('&');
        }
        let (name, value) = match parameter.split_once('=') {
            Some((name, value)) => (Some(name), value),
            None => (None, parameter),
        };
        if let Some(name) = name {
            kept.push_str(if is_tame(name) { name } else { WITHHELD });
            kept.push('=');
        }
        if is_tame(value) && !name.is_some_and(is_secretive) {
            kept.push_str(value);
        } else {
            kept.push_str(WITHHELD);
        }
        whole &= is_tame(value) && name.is_none_or(|name| is_tame(name) && !is_secretive(name));
    }
    (kept, whole)
}

fn is_secretive(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    name.contains("token") || SECRETIVE.iter().any(|part| name.contains(part))
}

/// Short, and made of words or numbers: not the form of a key.
fn is_tame(value: &str) -> bool {
    let mixed = |value: &str| {
        let digits = value.bytes().filter(u8::is_ascii_digit).count();
        let letters = value.bytes().filter(u8::is_ascii_alphabetic).count();
        value.len() > 12 && digits > 2 && letters > 2
    };
    value.len() <= MAX_VALUE && value.bytes().all(|b| b.is_ascii_graphic()) && !mixed(value)
}

/// Writes down how everybody voted.
pub(super) fn votes(record: &mut DecisionRecord, decision: &Decision) {
    let ceiling = decision.ceiling.iter().map(|vote| vote_of(vote, true));
    record.votes = ceiling.chain(decision.own.iter().map(|vote| vote_of(vote, false))).collect();
    record.shadows = decision.shadows.iter().map(shadow).collect();
}

fn shadow(shadow: &Shadow) -> ShadowRecord {
    ShadowRecord {
        vote: vote_of(&shadow.vote, false),
        would: if shadow.outcome.allows() { Verdict::Allow } else { Verdict::Deny },
        flips: shadow.flips(),
        took_ns: u64::try_from(shadow.elapsed.as_nanos()).unwrap_or(u64::MAX),
    }
}

fn vote_of(vote: &Vote, ceiling: bool) -> VoteRecord {
    let mut record = VoteRecord {
        binding: vote.binding.to_string(),
        ceiling,
        policy: vote.policy.name_version.clone(),
        digest: vote.policy.digest.clone(),
        answer: AnswerKind::None,
        rule: None,
        reason: None,
        hint: None,
        credential: None,
        audit: None,
        read: vote.read.as_slice().iter().map(ToString::to_string).collect(),
    };
    record.answer = match &vote.stance {
        Stance::Later => AnswerKind::Later,
        Stance::None => AnswerKind::None,
        Stance::Failed(failure) => {
            record.reason = Some(failure.to_string());
            AnswerKind::Failed
        }
        Stance::Said(verdict) => match &**verdict {
            types::Verdict::Abstain => AnswerKind::Abstain,
            types::Verdict::Allow(grant) => {
                record.rule = Some(grant.rule.clone());
                record.credential.clone_from(&grant.credential);
                record.audit = grant.audit.as_ref().map(|denial| denial.reason.clone());
                AnswerKind::Allow
            }
            types::Verdict::Deny(denial) => {
                record.rule = Some(denial.rule.clone());
                record.reason = Some(denial.reason.clone());
                record.hint.clone_from(&denial.hint);
                AnswerKind::Deny
            }
        },
    };
    record
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_kept_without_what_may_be_a_secret() {
        for (query, kept, whole) in [
            ("page=2&sort=name", "page=2&sort=name", true),
            ("", "", true),
            ("flag", "flag", true),
            ("access_token=abc", "access_token=WITHHELD", false),
            ("X-Amz-Signature=ab&page=1", "X-Amz-Signature=WITHHELD&page=1", false),
            ("q=ghp0a1b2c3d4e5f6", "q=WITHHELD", false),
            ("q=a-sentence-that-is-longer-than-most", "q=WITHHELD", false),
            ("4f5e6d7c8b9a0f1e2d", "WITHHELD", false),
            ("api_KEY=1", "api_KEY=WITHHELD", false),
            ("ghp0a1b2c3d4e5f6=1", "WITHHELD=1", false),
        ] {
            assert_eq!(query_of(query), (kept.to_owned(), whole), "{query}");
        }
    }
}
