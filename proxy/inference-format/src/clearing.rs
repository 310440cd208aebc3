//! In which form a backend may receive a request: the one comparison that everything else is built around.

use openshell_api::inference::{Backend, Sensitivity};

/// A form of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// As the caller sent it.
    Whole,
    /// With placeholders for what was found.
    Redacted,
}

/// The form that a backend may receive, the whole before the redacted; `None`: neither. `rest`: what the redacted form counts as,
/// where there is one.
pub fn form(backend: &Backend, whole: Sensitivity, rest: Option<Sensitivity>) -> Option<Form> {
    if backend.clearance >= whole {
        return Some(Form::Whole);
    }
    rest.filter(|rest| backend.redact && backend.clearance >= *rest).map(|_| Form::Redacted)
}
