//! Asks a policy a case's question and compares the answer.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use openshell_policy_host::{
    Denial, Failure, Grant, HeaderEdit, Hook, HttpResponse, InferenceRequest, Policy, RouteDecision, Verdict, View,
};

use super::cases::{Case, Expect, Kind, Route};
use super::question::Question;
use super::seen::Seen;
use crate::output::word;

/// A policy's answer to a case.
pub enum Said {
    /// A verdict on a connection, a request or a response.
    Verdict(Verdict),
    /// Backends of an inference request, by name.
    Routed(RouteDecision, Vec<String>),
    /// A router's refusal.
    Refused(Denial),
    /// Nothing.
    Failed(Failure),
}

/// Why a case can't be asked at all: the fault is the file's.
pub type Malformed = String;

/// Asks the question, after the ones that come before it.
pub fn ask(policy: &Policy, case: &Case) -> Result<Said, Malformed> {
    let view: Arc<dyn View> = Arc::new(seen(policy, case));
    let has = |hook: Hook| {
        let missing = || format!("it asks the `{hook}` hook, which the policy does not have");
        if policy.has(hook) { Ok(()) } else { Err(missing()) }
    };
    if let Some(route) = &case.route {
        has(Hook::Route)?;
        return Ok(route_of(policy, case, route));
    }
    let line = case.ask.as_ref().ok_or("a case needs `ask` or `route`")?;
    for before in &case.after {
        let before = question(case, &before.value)?;
        verdict(policy, &before, None, &view, has)?;
    }
    let question = question(case, &line.value)?;
    verdict(policy, &question, case.response, &view, has)
}

fn question(case: &Case, line: &str) -> Result<Question, Malformed> {
    let mut question = Question::parse(line)?;
    let connection = &mut question.connection;
    if let Some(sandbox) = &case.sandbox {
        connection.sandbox.clone_from(sandbox);
    }
    if let Some(digest) = &case.digest {
        connection.process.digest.clone_from(digest);
    }
    connection.process.script.clone_from(&case.script);
    connection.capture = case.capture.unwrap_or(connection.capture);
    Ok(question)
}

/// A policy without `request` answers requests as it answers `connect`: as in a chain.
fn verdict(
    policy: &Policy,
    question: &Question,
    response: Option<u16>,
    view: &Arc<dyn View>,
    has: impl Fn(Hook) -> Result<(), Malformed>,
) -> Result<Said, Malformed> {
    let connection = &question.connection;
    let answer = match (&question.request, response) {
        (Some(request), Some(status)) => {
            has(Hook::Response)?;
            policy.response(connection, request, HttpResponse { status }, view)
        }
        (None, Some(_)) => return Err("a response needs the request that it answers in `ask`".into()),
        (Some(request), None) if policy.has(Hook::Request) => policy.request(connection, request, view),
        (_, None) => {
            has(Hook::Connect)?;
            policy.connect(connection, view)
        }
    };
    Ok(answer.result.map_or_else(Said::Failed, Said::Verdict))
}

fn seen(policy: &Policy, case: &Case) -> Seen {
    let cap = policy.manifest().body_cap as usize;
    Seen {
        headers: case.headers.0.clone(),
        body: (cap > 0 && case.body.len() <= cap).then(|| Bytes::from(case.body.clone())),
        arguments: case.arguments.clone(),
        ancestors: case.ancestors.clone(),
        labels: case.labels.clone(),
    }
}

fn route_of(policy: &Policy, case: &Case, route: &Route) -> Said {
    let request = InferenceRequest {
        sandbox: case.sandbox.clone().unwrap_or_else(|| "example".into()),
        process: route.process.clone().unwrap_or_default(),
        model: route.model.clone(),
        messages: route.messages.clone(),
        needs: route.needs.clone(),
        input_tokens: route.input_tokens,
        output_tokens: route.output_tokens,
        expected_output_tokens: route.expected_output_tokens.unwrap_or(route.output_tokens),
        so_far: route.so_far,
    };
    match policy.route(&request, &route.backends).result {
        Ok(Ok(decision)) => {
            let name = |index: &u32| route.backends.get(*index as usize).map(|backend| backend.name.clone());
            let order = decision.order.iter().filter_map(name).collect();
            Said::Routed(decision, order)
        }
        Ok(Err(denial)) => Said::Refused(denial),
        Err(failure) => Said::Failed(failure),
    }
}

impl std::fmt::Display for Said {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Verdict(Verdict::Abstain) => f.write_str("abstain"),
            Self::Verdict(Verdict::Allow(grant)) => write!(f, "allow {}", grant.rule),
            Self::Verdict(Verdict::Deny(denial)) | Self::Refused(denial) => {
                write!(f, "deny {} ({})", denial.rule, denial.reason)
            }
            Self::Routed(decision, order) => {
                let order = if order.is_empty() { "nobody".to_owned() } else { order.join(", ") };
                write!(f, "allow: {} goes to {order} ({})", word(&decision.sensitivity), decision.reason)
            }
            Self::Failed(failure) => write!(f, "fail {} ({failure})", failure.kind()),
        }
    }
}

/// What of an answer is not as expected, a line each; empty: all of it is.
pub fn compare(expect: &Expect, said: &Said) -> Vec<String> {
    let mut faults = Faults::default();
    let parts = Parts::of(said);
    faults.same("verdict", expect.verdict.as_ref(), Some(&parts.kind), |kind| {
        match kind {
            Kind::Abstain => "abstain",
            Kind::Allow => "allow",
            Kind::Deny => "deny",
            Kind::Fail => "fail",
        }
        .to_owned()
    });
    if !faults.0.is_empty() {
        return vec![format!("expected {}, got {said}", short(expect))];
    }
    let quoted = |text: &String| format!("{text:?}");
    faults.same("rule", expect.rule.as_ref(), parts.rule.as_ref(), quoted);
    faults.holds("reason", expect.reason.as_deref(), parts.reason.as_deref());
    faults.holds("hint", expect.hint.as_deref(), parts.hint.as_deref());
    faults.holds("audit", expect.audit.as_deref(), parts.audit.as_deref());
    let grant = parts.grant.as_ref();
    faults.same("credential", expect.credential.as_ref(), grant.and_then(|grant| grant.credential.as_ref()), quoted);
    faults.same("inspection", expect.inspection.as_ref(), grant.map(|grant| &grant.inspection), word);
    let list = |list: &Vec<String>| format!("{list:?}");
    faults.same("private_ranges", expect.private_ranges.as_ref(), grant.map(|grant| &grant.private_ranges), list);
    let edits = grant.map(edits);
    faults.same("headers", expect.headers.as_ref(), edits.as_ref(), |edits| format!("{edits:?}"));
    let route = parts.route.as_ref();
    faults.same("order", expect.order.as_ref(), route.map(|(_, order)| order), list);
    faults.same("sensitivity", expect.sensitivity.as_ref(), route.map(|(decision, _)| &decision.sensitivity), word);
    faults.same("redact", expect.redact.as_ref(), route.map(|(decision, _)| &decision.redact), bool::to_string);
    let findings = route.map(|(decision, _)| decision.findings.iter().map(|found| found.kind.clone()).collect());
    faults.same("findings", expect.findings.as_ref(), findings.as_ref(), list);
    faults.0
}

/// What was expected, in short.
fn short(expect: &Expect) -> String {
    let verdict = match expect.verdict {
        Some(Kind::Abstain) => "abstain",
        Some(Kind::Allow) => "allow",
        Some(Kind::Deny) => "deny",
        Some(Kind::Fail) => "fail",
        None => "any verdict",
    };
    expect.rule.as_ref().map_or_else(|| verdict.to_owned(), |rule| format!("{verdict} {rule}"))
}

/// An answer, taken apart.
struct Parts {
    kind: Kind,
    rule: Option<String>,
    reason: Option<String>,
    hint: Option<String>,
    audit: Option<String>,
    grant: Option<Grant>,
    route: Option<(RouteDecision, Vec<String>)>,
}

impl Parts {
    fn of(said: &Said) -> Self {
        let nothing =
            Self { kind: Kind::Abstain, rule: None, reason: None, hint: None, audit: None, grant: None, route: None };
        match said {
            Said::Verdict(Verdict::Abstain) => nothing,
            Said::Verdict(Verdict::Allow(grant)) => Self {
                kind: Kind::Allow,
                rule: Some(grant.rule.clone()),
                audit: grant.audit.as_ref().map(|denial| denial.reason.clone()),
                grant: Some(grant.clone()),
                ..nothing
            },
            Said::Verdict(Verdict::Deny(denial)) | Said::Refused(denial) => Self {
                kind: Kind::Deny,
                rule: Some(denial.rule.clone()),
                reason: Some(denial.reason.clone()),
                hint: denial.hint.clone(),
                ..nothing
            },
            Said::Routed(decision, order) => Self {
                kind: Kind::Allow,
                reason: Some(decision.reason.clone()),
                route: Some((decision.clone(), order.clone())),
                ..nothing
            },
            Said::Failed(failure) => Self {
                kind: Kind::Fail,
                rule: Some(failure.kind().to_owned()),
                reason: Some(failure.to_string()),
                ..nothing
            },
        }
    }
}

fn edits(grant: &Grant) -> BTreeMap<String, Option<String>> {
    let edit = |edit: &HeaderEdit| match edit {
        HeaderEdit::Set(name, value) => (name.clone(), Some(value.clone())),
        HeaderEdit::Remove(name) => (name.clone(), None),
    };
    grant.headers.iter().map(edit).collect()
}

#[derive(Default)]
struct Faults(Vec<String>);

impl Faults {
    fn same<T: PartialEq>(&mut self, what: &str, expected: Option<&T>, found: Option<&T>, show: impl Fn(&T) -> String) {
        if let Some(expected) = expected.filter(|expected| Some(*expected) != found) {
            let found = found.map_or_else(|| "nothing".to_owned(), &show);
            self.0.push(format!("{what}: expected {}, got {found}", show(expected)));
        }
    }

    fn holds(&mut self, what: &str, expected: Option<&str>, found: Option<&str>) {
        if let Some(expected) = expected.filter(|expected| !found.is_some_and(|found| found.contains(expected))) {
            let found = found.map_or_else(|| "nothing".to_owned(), |found| format!("{found:?}"));
            self.0.push(format!("{what}: expected a part {expected:?}, got {found}"));
        }
    }
}
