//! The last word on where a request may go: the host's own comparison, whatever a router said.

use openshell_api::inference::{Backend, Sensitivity};
use openshell_inference_format::clearing::{Form, form};
use openshell_inference_format::document::Document;
use openshell_inference_format::redact::Placeholders;

/// What may be sent: a request, and how sensitive it is.
#[derive(Clone, Copy)]
pub struct Content<'a> {
    /// The request.
    pub document: &'a Document,
    /// What it counts as.
    pub sensitivity: Sensitivity,
    /// What stands in it for values that were found; `None`: it is as the caller sent it.
    pub placeholders: Option<&'a Placeholders>,
}

/// The forms in which one request may be sent.
#[derive(Clone, Copy)]
pub struct Contents<'a> {
    /// As the caller sent it.
    pub whole: Content<'a>,
    /// With placeholders, for backends whose operator allows that; `None`: nothing was replaced.
    pub redacted: Option<Content<'a>>,
}

/// Proof that a backend may receive a content. Only [`Cleared::check`] makes one, and nothing is sent without one.
#[derive(Clone, Copy)]
pub struct Cleared<'a> {
    backend: &'a Backend,
    content: Content<'a>,
}

/// The backend's clearance is lower than the content's sensitivity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{backend} is cleared for {clearance:?} content only, and this is {sensitivity:?}")]
pub struct NotCleared {
    /// Name of the backend.
    pub backend: String,
    /// What it may receive.
    pub clearance: Sensitivity,
    /// What this is.
    pub sensitivity: Sensitivity,
}

impl<'a> Cleared<'a> {
    /// Picks the form that the backend may receive, the whole before the redacted. Refuses a backend whose clearance is lower
    /// than the sensitivity of either, and any that may not `redact` where only the redacted one would do.
    pub fn check(backend: &'a Backend, contents: Contents<'a>) -> Result<Self, NotCleared> {
        let Contents { whole, redacted } = contents;
        match (form(backend, whole.sensitivity, redacted.map(|content| content.sensitivity)), redacted) {
            (Some(Form::Whole), _) => Ok(Self { backend, content: whole }),
            (Some(Form::Redacted), Some(content)) => Ok(Self { backend, content }),
            _ => Err(NotCleared {
                backend: backend.name.to_string(),
                clearance: backend.clearance,
                sensitivity: redacted.filter(|_| backend.redact).unwrap_or(whole).sensitivity,
            }),
        }
    }

    /// The backend that may receive it.
    pub fn backend(self) -> &'a Backend {
        self.backend
    }

    /// What it may receive.
    pub fn content(self) -> Content<'a> {
        self.content
    }
}
