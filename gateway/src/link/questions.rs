//! Questions to a supervisor that it answers by name.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use openshell_api::link::ToSupervisor;
use tokio::sync::oneshot;

use super::{Link, LinkClosed};

/// Questions of one kind that wait for an answer, each with what it is about.
pub(super) struct Questions<T, About = ()>(Mutex<HashMap<String, (About, oneshot::Sender<T>)>>);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Unanswered {
    /// The link ended.
    #[error(transparent)]
    Closed(#[from] LinkClosed),
    /// None came in time.
    #[error("no answer within {} s", .0.as_secs())]
    Silent(Duration),
}

impl<T, About> Default for Questions<T, About> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T, About> Questions<T, About> {
    /// An answer has come.
    pub fn answer(&self, id: &str, answer: T) {
        let asker = self.lock().remove(id);
        if let Some((_, asker)) = asker {
            // Whoever asked may have gone.
            let _ = asker.send(answer);
        }
    }

    /// What a question is about; `None`: nobody waits for its answer.
    pub fn about(&self, id: &str) -> Option<About>
    where
        About: Clone,
    {
        self.lock().get(id).map(|(about, _)| about.clone())
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
        about: About,
        message: impl FnOnce(String) -> ToSupervisor,
    ) -> Result<T, Unanswered> {
        let id = ulid::Ulid::generate().to_string();
        let (asker, answer) = oneshot::channel();
        self.lock().insert(id.clone(), (about, asker));
        let asked = async {
            link.send(message(id.clone())).await?;
            match tokio::time::timeout(patience, answer).await {
                Ok(answer) => answer.map_err(|_| LinkClosed.into()),
                Err(_) => Err(Unanswered::Silent(patience)),
            }
        };
        let answer = asked.await;
        self.lock().remove(&id);
        answer
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, (About, oneshot::Sender<T>)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
