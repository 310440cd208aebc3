//! Asking the router, and what it means when nothing came of it.

use openshell_api::inference::{Backend, Sensitivity};
use openshell_inference_format::{contract, question};
use openshell_policy_host::{self as host, InferenceRequest, RouteDecision};

use super::attempts::{Passed, Why};
use super::refusal::{Cause, Refusal};
use super::router::Router;

/// Asks the router. Every non-answer refuses. What it could not read in time counts as restricted in `asked` afterwards.
pub fn ask(
    router: &dyn Router,
    asked: &mut InferenceRequest,
    offered: &[host::Backend],
) -> Result<RouteDecision, Refusal> {
    let long = question::is_long(asked);
    let answer = off_the_path(long, || question::ask(asked, |asked| router.route(asked, offered)));
    match answer.result {
        Ok(Ok(decision)) => Ok(decision),
        Ok(Err(denial)) => {
            let mut refusal = Refusal::new(Cause::PolicyDenied, denial.reason);
            refusal.rule = Some(denial.rule);
            refusal.hint = denial.hint;
            Err(refusal)
        }
        Err(failure) => Err(Refusal::new(Cause::PolicyFailed, format!("the router gave no answer: {failure}"))
            .hint("`openshell logs` shows what the policy logged")),
    }
}

/// Does something that may take `long` where it holds up nothing else.
pub fn off_the_path<T>(long: bool, work: impl FnOnce() -> T) -> T {
    let threads = tokio::runtime::Handle::current().runtime_flavor() == tokio::runtime::RuntimeFlavor::MultiThread;
    if long && threads { tokio::task::block_in_place(work) } else { work() }
}

/// Why none of the candidates served; `redacted`: there was a form of the request without what was found.
pub fn unserved(candidates: &[&Backend], passed: &[Passed], sensitivity: Sensitivity, redacted: bool) -> Refusal {
    let tried: Vec<String> = passed.iter().map(ToString::to_string).collect();
    let tried = if tried.is_empty() { "the router named none".to_owned() } else { tried.join("; ") };
    let all = |kind: Why| !passed.is_empty() && passed.iter().all(|p| p.kind == kind);
    if !candidates.iter().any(|b| b.clearance >= sensitivity || b.redact && redacted) {
        let reason = format!("no backend is cleared for {} content: {tried}", contract::name(sensitivity));
        return Refusal::new(Cause::PolicyDenied, reason)
            .hint("remove the sensitive values, start a new session, or clear a backend for such content");
    }
    if all(Why::Untranslatable) {
        return Refusal::new(Cause::BadRequest, format!("no backend can be asked this: {tried}"))
            .hint("leave that out, or use a backend that speaks the API of this endpoint");
    }
    if passed.iter().any(|p| p.kind == Why::Budget) && passed.iter().all(|p| p.kind != Why::Passing) {
        return Refusal::new(Cause::BudgetExhausted, format!("there is no budget for the request: {tried}")).hint(
            "ask for less with `max_tokens`, wait for the next day or month, or have the operator raise the budget",
        );
    }
    Refusal::new(Cause::UpstreamFailed, format!("no backend served the request: {tried}"))
}
