//! Asking a sandbox to prove its walls again.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use openshell_api::enforcement::Enforcement;
use openshell_api::link::ToSupervisor;
use tokio::sync::oneshot;

use super::{Link, LinkClosed};

/// Longer than a supervisor lets its probe run.
const PATIENCE: Duration = Duration::from_secs(30);

/// Questions that wait for an answer.
#[derive(Default)]
pub(super) struct Questions(Mutex<HashMap<String, oneshot::Sender<Result<Enforcement, String>>>>);

/// Why nothing is proven.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// The link ended.
    #[error(transparent)]
    Closed(#[from] LinkClosed),
    /// No answer came.
    #[error("no answer within {} s", PATIENCE.as_secs())]
    Silent,
    /// The supervisor could not try.
    #[error("{0}")]
    Failed(String),
}

impl Questions {
    pub(super) fn answer(&self, id: &str, result: Result<Enforcement, String>) {
        let asker = self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
        if let Some(asker) = asker {
            // Whoever asked may have gone.
            let _ = asker.send(result);
        }
    }

    /// Nobody will answer any more.
    pub(super) fn clear(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn ask(&self, id: &str) -> oneshot::Receiver<Result<Enforcement, String>> {
        let (asker, answer) = oneshot::channel();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(id.to_owned(), asker);
        answer
    }
}

/// Has the supervisor at the other end prove its walls.
pub async fn verify(link: &Link) -> Result<Enforcement, VerifyError> {
    let id = ulid::Ulid::generate().to_string();
    let answer = link.questions.ask(&id);
    link.send(ToSupervisor::Verify { id: id.clone() }).await?;
    let answer = tokio::time::timeout(PATIENCE, answer).await;
    link.questions.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
    match answer {
        Ok(Ok(result)) => result.map_err(VerifyError::Failed),
        Ok(Err(_)) => Err(LinkClosed.into()),
        Err(_) => Err(VerifyError::Silent),
    }
}
