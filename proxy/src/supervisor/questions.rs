//! Questions to the gateway, over whichever link there is.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use openshell_api::Problem;
use openshell_api::link::FromSupervisor;
use tokio::sync::oneshot;

use super::outbox::Outbox;

/// A gateway that does not answer for so long counts as away.
const PATIENCE: Duration = Duration::from_secs(10);

/// Questions of one kind, and who waits for their answers.
pub(super) struct Questions<T> {
    asked: Mutex<Asked<T>>,
    next: AtomicU64,
}

struct Asked<T> {
    link: Option<Outbox>,
    waiting: HashMap<String, oneshot::Sender<Result<T, Problem>>>,
}

impl<T> Default for Questions<T> {
    fn default() -> Self {
        Self { asked: Mutex::new(Asked { link: None, waiting: HashMap::new() }), next: AtomicU64::new(0) }
    }
}

impl<T> Questions<T> {
    /// A link is up.
    pub fn linked(&self, outbox: Outbox) {
        self.lock().link = Some(outbox);
    }

    /// It has ended: nobody will answer what was asked over it.
    pub fn unlinked(&self) {
        let mut asked = self.lock();
        asked.link = None;
        asked.waiting.clear();
    }

    /// An answer has come.
    pub fn answered(&self, question: &str, result: Result<T, Problem>) {
        let asker = self.lock().waiting.remove(question);
        if let Some(asker) = asker {
            // Whoever asked may have gone.
            let _ = asker.send(result);
        }
    }

    /// Asks, and waits for the answer.
    pub async fn ask(&self, message: impl FnOnce(String) -> FromSupervisor) -> Result<T, Problem> {
        let question = self.next.fetch_add(1, Ordering::Relaxed).to_string();
        let (asker, answer) = oneshot::channel();
        let link = {
            let mut asked = self.lock();
            let link = asked.link.clone().ok_or_else(away)?;
            asked.waiting.insert(question.clone(), asker);
            link
        };
        let asked = async {
            link.send(&message(question.clone())).await.map_err(|_| away())?;
            answer.await.map_err(|_| away())?
        };
        let answer = tokio::time::timeout(PATIENCE, asked).await;
        self.lock().waiting.remove(&question);
        answer.unwrap_or_else(|_| Err(away()))
    }

    fn lock(&self) -> MutexGuard<'_, Asked<T>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn away() -> Problem {
    Problem::new(503, "gateway_away", "the gateway is away, so nobody can decide now")
        .hint("try again in a while; what is enforced stays enforced")
}
