//! The last word on where a request may go: the host's own comparison, whatever a router said.

use openshell_api::inference::{Backend, Sensitivity};

/// Proof that a backend may receive content of a sensitivity. Only [`Cleared::check`] makes one, and nothing is sent without
/// one.
#[derive(Debug, Clone, Copy)]
pub struct Cleared<'a> {
    backend: &'a Backend,
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
    /// Compares. Refuses a backend whose clearance is lower than `sensitivity`.
    pub fn check(backend: &'a Backend, sensitivity: Sensitivity) -> Result<Self, NotCleared> {
        if backend.clearance >= sensitivity {
            return Ok(Self { backend });
        }
        Err(NotCleared { backend: backend.name.to_string(), clearance: backend.clearance, sensitivity })
    }

    /// The backend that may receive it.
    pub fn backend(self) -> &'a Backend {
        self.backend
    }
}
