//! What the router is asked, and how often.

use openshell_api::inference::Sensitivity;
use openshell_policy_host::{Answer, Denial, Failure, InferenceRequest, Process, RouteDecision};

use crate::contract;
use crate::document::Document;
use crate::texts::Texts;

/// Texts longer than this take long enough to be judged where they hold up nothing else, in bytes. One that the router can't
/// read within its limits counts as restricted.
pub const LONG: usize = 32 * 1024;

/// The question about a request. What was too long to be laid out counts as restricted.
pub fn of(
    document: &Document,
    texts: Texts,
    sandbox: &str,
    process: &Process,
    so_far: Sensitivity,
) -> InferenceRequest {
    let unread = if texts.oversized { Sensitivity::Restricted } else { Sensitivity::Public };
    InferenceRequest {
        sandbox: sandbox.to_owned(),
        process: process.clone(),
        model: document.model().to_owned(),
        messages: texts.messages,
        needs: texts.needs,
        input_tokens: texts.input_tokens,
        output_tokens: texts.output_tokens,
        so_far: contract::to_host(so_far.max(unread)),
    }
}

/// Whether reading the texts takes long.
pub fn is_long(asked: &InferenceRequest) -> bool {
    asked.messages.iter().map(|m| m.text.len()).sum::<usize>() > LONG
}

/// Asks the router. What it can't read within its limits counts as restricted: it is asked again, without the text.
pub fn ask(
    asked: &mut InferenceRequest,
    route: impl Fn(&InferenceRequest) -> Answer<Result<RouteDecision, Denial>>,
) -> Answer<Result<RouteDecision, Denial>> {
    let answer = route(asked);
    if is_long(asked) && matches!(answer.result, Err(Failure::Deadline { .. } | Failure::Memory { .. })) {
        asked.messages.clear();
        asked.so_far = openshell_policy_host::Sensitivity::Restricted;
        return route(asked);
    }
    answer
}
