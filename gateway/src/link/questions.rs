//! Questions to a supervisor that it answers by name.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use openshell_api::link::ToSupervisor;
use tokio::sync::oneshot;

use super::{Link, LinkClosed};

/// Questions of one kind that wait for an answer.
pub(super) struct Questions<T>(Mutex<HashMap<String, oneshot::Sender<T>>>);

/// Why there is no answer.
pub(super) enum Unanswered {
    /// The link ended.
    Closed(LinkClosed),
    /// None came in time.
    Silent,
}

impl<T> Default for Questions<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T> Questions<T> {
    /// An answer has come.
    pub fn answer(&self, id: &str, answer: T) {
        let asker = self.lock().remove(id);
        if let Some(asker) = asker {
            // Whoever asked may have gone.
            let _ = asker.send(answer);
        }
    }

    /// Nobody will answer any more.
    pub fn clear(&self) {
        self.lock().clear();
    }

    /// Asks over a link, whose questions these are, and waits for the answer.
    pub async fn ask(
        &self,
        link: &Link,
        patience: Duration,
        message: impl FnOnce(String) -> ToSupervisor,
    ) -> Result<T, Unanswered> {
        let id = ulid::Ulid::generate().to_string();
        let (asker, answer) = oneshot::channel();
        self.lock().insert(id.clone(), asker);
        let asked = async {
            link.send(message(id.clone())).await.map_err(Unanswered::Closed)?;
            match tokio::time::timeout(patience, answer).await {
                Ok(answer) => answer.map_err(|_| Unanswered::Closed(LinkClosed)),
                Err(_) => Err(Unanswered::Silent),
            }
        };
        let answer = asked.await;
        self.lock().remove(&id);
        answer
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, oneshot::Sender<T>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
