//! What the router is asked, and how often.

use openshell_api::inference::Sensitivity;
use openshell_policy_host::{self as host, Answer, Denial, Failure, InferenceRequest, Process, RouteDecision};

use crate::contract;
use crate::document::Document;
use crate::endpoint::Endpoint;
use crate::redact::{self, Irreplaceable, Placeholders, Redacted};
use crate::texts::{self, Piece, Texts};

/// Texts longer than this take long enough to be judged where they hold up nothing else, in bytes. One that the router can't
/// read within its limits counts as restricted.
pub const LONG: usize = 32 * 1024;

/// How often what is left is asked about again, because something was still found in it.
const ROUNDS: usize = 6;

/// The question about a request; takes its texts. What was too long to be laid out, or is tokens instead of text, counts as restricted.
pub fn of(
    document: &Document,
    texts: &mut Texts,
    sandbox: &str,
    process: &Process,
    so_far: Sensitivity,
) -> InferenceRequest {
    let unread = if texts.oversized || texts.encoded { Sensitivity::Restricted } else { Sensitivity::Public };
    InferenceRequest {
        sandbox: sandbox.to_owned(),
        process: process.clone(),
        model: document.model().to_owned(),
        messages: std::mem::take(&mut texts.messages),
        needs: std::mem::take(&mut texts.needs),
        input_tokens: texts.input_tokens,
        output_tokens: texts.output_tokens,
        expected_output_tokens: texts.output_tokens,
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

/// A request without what was found in it.
pub struct Sanitized {
    /// The request, with placeholders.
    pub document: Document,
    /// What they stand for.
    pub placeholders: Placeholders,
    /// What the router says that the rest counts as.
    pub sensitivity: host::Sensitivity,
}

/// Why a request has no form without what was found in it. Holds nothing of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unsanitized {
    /// Something can't be replaced.
    #[error(transparent)]
    Irreplaceable(#[from] Irreplaceable),
    /// The router gave no answer about the rest, or refused it.
    #[error("the router gave no verdict on the rest")]
    NoVerdict,
    /// Something is still found, however often it is asked.
    #[error("something is still found after it was replaced")]
    StillFound,
    /// Nobody read the request.
    #[error("the request could not be read")]
    Unread,
}

/// What to sanitize, and how.
pub struct Unclean<'a> {
    /// The request.
    pub document: &'a Document,
    /// Its API.
    pub endpoint: Endpoint,
    /// Where its strings went in the question.
    pub pieces: &'a [Piece],
    /// The question about it.
    pub asked: &'a InferenceRequest,
    /// The router's answer.
    pub decision: &'a RouteDecision,
    /// Makes placeholders that nobody can guess.
    pub key: &'a [u8],
}

/// Replaces what was found and asks the router about the rest, until it finds nothing more.
pub fn sanitize(
    unclean: &Unclean<'_>,
    route: impl Fn(&InferenceRequest) -> Answer<Result<RouteDecision, Denial>>,
) -> Result<Sanitized, Unsanitized> {
    let Unclean { document, endpoint, pieces, asked, decision, key } = *unclean;
    if asked.messages.is_empty() {
        return Err(Unsanitized::Unread);
    }
    let mut redacted = redact::redact(document, pieces, &decision.findings, key, Placeholders::default())?;
    for _ in 0..ROUNDS {
        let Redacted { document, placeholders } = redacted;
        let mut texts = texts::of(&document, endpoint);
        let mut messages = std::mem::take(&mut texts.messages);
        messages.iter_mut().for_each(|message| placeholders.hide(&mut message.text));
        let mut again = InferenceRequest {
            sandbox: asked.sandbox.clone(),
            process: asked.process.clone(),
            model: asked.model.clone(),
            messages,
            needs: asked.needs.clone(),
            ..*asked
        };
        let answer = ask(&mut again, &route);
        let Ok(Ok(rest)) = answer.result else { return Err(Unsanitized::NoVerdict) };
        if again.messages.is_empty() {
            return Err(Unsanitized::Unread);
        }
        if rest.findings.is_empty() {
            return Ok(Sanitized { document, placeholders, sensitivity: rest.sensitivity.max(again.so_far) });
        }
        redacted = redact::redact(&document, &texts.pieces, &rest.findings, key, placeholders)?;
    }
    Err(Unsanitized::StillFound)
}
