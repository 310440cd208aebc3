//! What is written down of a request, and what its caller reads of it in the answer's head.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::header::{HeaderName, HeaderValue};
use http::request::Parts;
use http::{Response, StatusCode};
use openshell_api::decision::{DecisionRecord, Stage, Subject, Verdict};
use openshell_api::inference::Sensitivity;
use openshell_inference_format::contract;
use openshell_inference_format::endpoint::Endpoint;
use openshell_policy_host::{PolicyRef, RouteDecision};
use serde_json::json;

use super::attempts::Served;
use super::head;
use super::refusal::{Refusal, json_response};
use super::serve::{Case, InferenceService, Terms};
use super::service::{Body, HOST};
use super::sessions;
use crate::caller::Caller;
use crate::http::trace;

impl InferenceService {
    /// The answer for the caller; its record follows once it is over.
    pub(super) fn served(
        &self,
        case: &Case<'_>,
        served: Served<'_>,
        decision: &RouteDecision,
        sensitivity: Sensitivity,
        draft: &DecisionRecord,
    ) -> Response<Body> {
        let Served { backend, head, relay, reservation, redacted, escalated } = served;
        let by = case.router.reference();
        let mut headers = head::for_caller(&head.headers);
        let mut route = format!("{}; {}", contract::name(sensitivity), decision.reason);
        if redacted > 0 {
            route.push_str(&format!("; {redacted} replaced"));
        }
        for escalation in &escalated {
            route.push_str(&format!("; {} did not pass {}", escalation.backend, escalation.check));
        }
        for (name, text) in [("x-openshell-served-by", backend.name.as_str()), ("x-openshell-route", route.as_str())] {
            headers.insert(HeaderName::from_static(name), header_text(text));
        }
        let name = backend.name.to_string();
        let asked_model = backend.model.clone().unwrap_or_else(|| case.model.to_owned());
        let mut record = Box::new(draft.clone());
        record.verdict = Verdict::Allow;
        record.credential = backend.provider.as_ref().map(ToString::to_string);
        record.reason = Some(decision.reason.clone());
        (record.policy, record.digest) = (Some(by.name_version), Some(by.digest));
        if let Some(route) = &mut record.route {
            route.sensitivity =
                self.sessions.get(&case.session).max(if redacted > 0 { Sensitivity::Public } else { sensitivity });
            route.backend = Some(name.clone());
            route.model = Some(asked_model);
            (route.redacted, route.escalated) = (redacted, escalated);
        }
        let (sink, outputs, prefixes) =
            (Arc::clone(&self.record), Arc::clone(&self.outputs), Arc::clone(&self.prefixes));
        let (responses, kept) = (self.responses.clone(), Arc::clone(&self.sessions));
        let (model, marks, session) = (case.model.to_owned(), case.marks.clone(), case.session.clone());
        let keeps = case.endpoint == Endpoint::Responses;
        let status = head.status;
        let body = relay.into_body(Box::new(move |ended| {
            if status.is_success() {
                prefixes.read(&name, &marks);
            }
            if let Some(tokens) = ended.usage.output.filter(|_| ended.complete) {
                outputs.seen(&model, tokens);
            }
            if let Some(id) = ended.id.as_ref().filter(|_| keeps) {
                responses.insert(id.clone(), name);
                // Whatever follows it counts as what came before it, also after a restart.
                kept.raise(&sessions::after(id), kept.get(&session));
            }
            if let Some(route) = &mut record.route {
                (route.input_tokens, route.output_tokens) = (ended.usage.input, ended.usage.output);
                route.charged = reservation.map(|reservation| reservation.settle(&ended));
            }
            record.answered(status.as_u16());
            sink.record(&record);
        }));
        let mut response = Response::new(body);
        *response.status_mut() = head.status;
        *response.headers_mut() = headers;
        response
    }

    /// The answer to `count_tokens` where no backend gives one: counted here.
    pub(super) fn counted(&self, case: &Case<'_>, tokens: u32, draft: &DecisionRecord) -> Response<Body> {
        let mut record = draft.clone();
        record.verdict = Verdict::Allow;
        record.answered(StatusCode::OK.as_u16());
        record.reason = Some("counted here, sent nowhere".to_owned());
        let by = case.router.reference();
        (record.policy, record.digest) = (Some(by.name_version), Some(by.digest));
        self.record.record(&record);
        let mut response = json_response(StatusCode::OK, &json!({ "input_tokens": tokens }));
        for (name, text) in
            [("x-openshell-served-by", "openshell"), ("x-openshell-route", "counted here, sent nowhere")]
        {
            response.headers_mut().insert(HeaderName::from_static(name), HeaderValue::from_static(text));
        }
        response
    }

    /// What is known before anything is decided.
    pub(super) fn draft(&self, terms: &Terms<'_>, caller: &Caller, parts: &Parts) -> DecisionRecord {
        let process = caller.record();
        let subject = Subject { sandbox: &self.sandbox, process, host: HOST, port: 443 };
        DecisionRecord {
            method: Some(parts.method.to_string()),
            path: Some(parts.uri.path().to_owned()),
            trace: trace::of(&parts.headers),
            ..DecisionRecord::unanswered(subject, Stage::Route, terms.generation)
        }
    }

    pub(super) fn refused(&self, record: &mut DecisionRecord, by: Option<&PolicyRef>, refusal: &Refusal) {
        record.answered(refusal.cause.status().as_u16());
        record.error = Some(refusal.cause.code().to_owned());
        record.reason = Some(refusal.reason.clone());
        record.rule = refusal.rule.clone();
        record.hint = refusal.hint.clone();
        record.policy = by.map(|p| p.name_version.clone());
        record.digest = by.map(|p| p.digest.clone());
        self.record.record(record);
    }
}

/// Kinds found, each with how often.
pub(super) fn findings(decision: &RouteDecision) -> BTreeMap<String, u32> {
    decision.findings.iter().fold(BTreeMap::new(), |mut counts, finding| {
        *counts.entry(finding.kind.clone()).or_insert(0) += 1;
        counts
    })
}

/// Text as a header's value: printable ASCII, and not endless.
fn header_text(text: &str) -> HeaderValue {
    let printable: String = text.chars().map(|c| if (' '..='~').contains(&c) { c } else { '?' }).take(500).collect();
    HeaderValue::try_from(printable).unwrap_or(HeaderValue::from_static("?"))
}
