//! What is said of a request: never a value that it holds.

use std::collections::BTreeMap;
use std::time::Duration;

use openshell_api::inference::{Backend, Catalogue, Sensitivity};
use openshell_inference_format::clearing::{Form, form};
use openshell_inference_format::contract;
use openshell_inference_format::price::{self, Prices, Tokens};
use openshell_inference_format::question::{Sanitized, Unsanitized};
use openshell_inference_format::texts::Place;
use openshell_policy_host::{Denial, InferenceRequest, PolicyRef, RouteDecision};
use serde::Serialize;

use super::requests::Request;
use crate::output::{Table, facts, list, printable, span};

/// What the router makes of one request.
#[derive(Debug, Serialize)]
pub struct Explanation {
    endpoint: &'static str,
    model: String,
    sensitivity: Sensitivity,
    reason: String,
    findings: Vec<Finding>,
    needs: Vec<String>,
    input_tokens: u32,
    output_tokens: u32,
    /// Where it would go, best first.
    backends: Vec<Candidate>,
    /// Where it would not go, and why.
    passed_over: Vec<PassedOver>,
    #[serde(skip_serializing_if = "Option::is_none")]
    denied: Option<Denied>,
    /// It was too long to be read, and so counts as restricted.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    unread: bool,
    router: String,
    decision_us: u64,
}

/// Something sensitive: what and where, and never its value.
#[derive(Debug, Serialize)]
struct Finding {
    kind: String,
    /// Part of the request, such as `messages[2]`.
    place: String,
    role: String,
    /// First byte in that part's text.
    start: u32,
    /// In bytes.
    length: u32,
}

#[derive(Debug, Serialize)]
struct Candidate {
    name: String,
    model: String,
    clearance: Sensitivity,
    /// Expected cost in dollars, as a decimal.
    expected_cost: String,
    /// It would see placeholders in the place of what was found.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    redacted: bool,
}

#[derive(Debug, Serialize)]
struct PassedOver {
    name: String,
    why: String,
}

#[derive(Debug, Serialize)]
struct Denied {
    rule: String,
    reason: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
}

/// Everything a report is made from.
pub struct Facts<'a> {
    pub request: &'a Request,
    pub asked: &'a InferenceRequest,
    pub places: &'a [Place],
    pub catalogue: &'a Catalogue,
    pub candidates: &'a [&'a Backend],
    pub unread: bool,
    /// The request without what was found, or why there is none; `None`: the router does not ask for it.
    pub redacted: Option<&'a Result<Sanitized, Unsanitized>>,
    pub decision: &'a Result<RouteDecision, Denial>,
    /// What was found, whether or not it was denied.
    pub read: Option<&'a RouteDecision>,
    pub took: Duration,
    pub router: &'a PolicyRef,
}

impl Facts<'_> {
    /// In which form a backend may receive the request.
    fn form(&self, backend: &Backend, sensitivity: Sensitivity) -> Option<Form> {
        let rest = self.redacted.and_then(|r| r.as_ref().ok()).map(|rest| contract::to_api(rest.sensitivity));
        form(backend, sensitivity, rest)
    }
}

impl Explanation {
    /// Puts the report together. Backends that the router names and that are not cleared are passed over, as the proxy does.
    pub fn of(facts: &Facts<'_>) -> Self {
        let so_far = contract::to_api(facts.asked.so_far);
        let decided = facts.decision.as_ref().ok();
        let sensitivity = facts.read.map_or(so_far, |d| contract::to_api(d.sensitivity).max(so_far));
        let mut backends: Vec<Candidate> = Vec::new();
        for &index in decided.map_or(&[][..], |d| &d.order) {
            let Some(backend) = facts.candidates.get(index as usize) else { continue };
            let listed = backends.iter().any(|b| b.name == backend.name.as_str());
            if let Some(form) = facts.form(backend, sensitivity).filter(|_| !listed) {
                backends.push(candidate(backend, facts.asked, form));
            }
        }
        let passed_over = facts
            .catalogue
            .backends
            .iter()
            .filter(|backend| !backends.iter().any(|b| b.name == backend.name.as_str()))
            .map(|backend| PassedOver { name: backend.name.to_string(), why: why_not(backend, sensitivity, facts) })
            .collect();
        Self {
            endpoint: facts.request.endpoint.suffix().trim_start_matches('/'),
            model: facts.request.document.model().to_owned(),
            sensitivity,
            reason: match facts.decision {
                Ok(decision) => decision.reason.clone(),
                Err(denial) => denial.reason.clone(),
            },
            findings: facts.read.map_or_else(Vec::new, |d| d.findings.iter().map(|f| finding(f, facts)).collect()),
            needs: facts.asked.needs.clone(),
            input_tokens: facts.asked.input_tokens,
            output_tokens: facts.asked.output_tokens,
            backends,
            passed_over,
            denied: facts.decision.as_ref().err().map(|denial| Denied {
                rule: denial.rule.clone(),
                reason: denial.reason.clone(),
                hint: denial.hint.clone(),
            }),
            unread: facts.unread,
            router: facts.router.name_version.clone(),
            decision_us: u64::try_from(facts.took.as_micros()).unwrap_or(u64::MAX),
        }
    }

    /// As people read it.
    pub fn text(&self) -> String {
        let mut text = facts(&[
            ("endpoint", self.endpoint.to_owned()),
            ("model", printable(&self.model)),
            ("sensitivity", contract::name(self.sensitivity).to_owned()),
            ("reason", printable(&self.reason)),
            ("needs", list(&self.needs)),
            ("tokens", format!("{} in, up to {} out", self.input_tokens, self.output_tokens)),
            ("router", format!("{} in {}", self.router, span(self.decision_us.saturating_mul(1000)))),
        ]);
        if self.unread {
            text.push_str("too long to be read, and so restricted\n");
        }
        if let Some(denied) = &self.denied {
            text.push_str(&format!("denied by {}: {}\n", printable(&denied.rule), printable(&denied.reason)));
            if let Some(hint) = &denied.hint {
                text.push_str(&format!("hint: {}\n", printable(hint)));
            }
        }
        let mut findings = Table::new(["FOUND", "PLACE", "ROLE", "AT", "LENGTH"]);
        for found in &self.findings {
            let (start, length) = (found.start.to_string(), found.length.to_string());
            findings.row([found.kind.clone(), found.place.clone(), found.role.clone(), start, length]);
        }
        text.push_str(&findings.render_or("nothing sensitive found"));
        let mut table = Table::new(["BACKEND", "MODEL", "CLEARANCE", "EXPECTED $", ""]);
        for b in &self.backends {
            let clearance = contract::name(b.clearance).to_owned();
            let note = if b.redacted { "sees placeholders" } else { "" };
            table.row([b.name.clone(), b.model.clone(), clearance, b.expected_cost.clone(), note.to_owned()]);
        }
        for b in &self.passed_over {
            table.row([b.name.clone(), String::new(), String::new(), "-".to_owned(), b.why.clone()]);
        }
        text.push_str(&table.render_or("no backends"));
        text
    }

    /// Kinds found, each once, with how often.
    fn kinds(&self) -> String {
        let mut counts: BTreeMap<&str, u32> = BTreeMap::new();
        for found in &self.findings {
            *counts.entry(&found.kind).or_default() += 1;
        }
        let named: Vec<String> =
            counts.iter().map(|(kind, n)| if *n == 1 { (*kind).to_owned() } else { format!("{n} {kind}") }).collect();
        list(&named)
    }
}

/// One line of a batch.
#[derive(Debug, Serialize)]
pub struct Line {
    line: u64,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    explained: Option<Explanation>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

impl Line {
    /// What became of the line of this number, from 1.
    pub fn new(line: u64, result: Result<Explanation, String>) -> Self {
        match result {
            Ok(explained) => Self { line, explained: Some(explained), error: None },
            Err(error) => Self { line, explained: None, error: Some(error) },
        }
    }

    /// It was no request, or got no answer.
    pub fn is_refused(&self) -> bool {
        self.error.is_some()
    }

    /// As people read it.
    pub fn text(&self) -> String {
        match (&self.explained, &self.error) {
            (Some(e), _) => {
                let first = e.backends.first().map_or("-", |b| b.name.as_str());
                let cost = e.backends.first().map_or("-", |b| b.expected_cost.as_str());
                let level = contract::name(e.sensitivity);
                format!("{:>6}  {level:<12}  {first:<20}  {cost:<14}  {}\n", self.line, e.kinds())
            }
            (None, error) => format!("{:>6}  refused: {}\n", self.line, error.as_deref().unwrap_or_default()),
        }
    }
}

fn candidate(backend: &Backend, asked: &InferenceRequest, form: Form) -> Candidate {
    let (input, output) = (asked.input_tokens.into(), asked.expected_output_tokens.into());
    let cost = Prices::of(backend).cost(Tokens { input, output, ..Tokens::default() });
    Candidate {
        name: backend.name.to_string(),
        model: backend.model.clone().unwrap_or_else(|| asked.model.clone()),
        clearance: backend.clearance,
        expected_cost: price::dollars(cost),
        redacted: form == Form::Redacted,
    }
}

fn why_not(backend: &Backend, sensitivity: Sensitivity, facts: &Facts<'_>) -> String {
    if facts.form(backend, sensitivity).is_none() {
        let why = match facts.redacted {
            Some(Err(why)) if backend.redact => format!(", and {why}"),
            Some(Ok(_)) if backend.redact => ", also without what was found".to_owned(),
            _ => String::new(),
        };
        return format!("cleared for {} only{why}", contract::name(backend.clearance));
    }
    if !facts.request.endpoint.carried_to(backend) {
        return "speaks another API".to_owned();
    }
    let lacks: Vec<_> = facts.asked.needs.iter().filter(|need| !backend.features.contains(need)).cloned().collect();
    if !backend.features.is_empty() && !lacks.is_empty() {
        return format!("lacks {}", lacks.join(", "));
    }
    let tokens = u64::from(facts.asked.input_tokens) + u64::from(facts.asked.output_tokens);
    if u64::from(backend.context) < tokens {
        return format!("its context of {} tokens is too small", backend.context);
    }
    "the router left it out".to_owned()
}

fn finding(found: &openshell_policy_host::Finding, facts: &Facts<'_>) -> Finding {
    let index = found.message as usize;
    Finding {
        kind: found.kind.clone(),
        place: facts.places.get(index).map(|p| p.path(&facts.request.document)).unwrap_or_default(),
        role: facts.asked.messages.get(index).map(|m| m.role.clone()).unwrap_or_default(),
        start: found.start,
        length: found.end.saturating_sub(found.start),
    }
}
