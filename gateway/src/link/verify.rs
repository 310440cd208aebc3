//! Asking a sandbox to prove its walls again.

use std::time::Duration;

use openshell_api::enforcement::Enforcement;
use openshell_api::link::ToSupervisor;

use super::{Link, Unanswered};

/// Longer than a supervisor lets its probe run.
const PATIENCE: Duration = Duration::from_secs(30);

/// Why nothing is proven.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// Nobody answered.
    #[error(transparent)]
    Unanswered(#[from] Unanswered),
    /// The supervisor could not try.
    #[error("{0}")]
    Failed(String),
}

/// Has the supervisor at the other end prove its walls.
pub async fn verify(link: &Link) -> Result<Enforcement, VerifyError> {
    let answer = link.proofs.ask(link, PATIENCE, (), |id| ToSupervisor::Verify { id }).await?;
    answer.map_err(VerifyError::Failed)
}
