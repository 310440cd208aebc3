//! Proposals on their way to the gateway, and its answers.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use openshell_api::Problem;
use openshell_api::decision::ProcessRecord;
use openshell_api::link::FromSupervisor;
use openshell_api::proposal::{ProposalStatus, Propose};
use tokio::sync::{oneshot, watch};

use super::outbox::Outbox;

/// A gateway that does not answer for so long counts as away.
const PATIENCE: Duration = Duration::from_secs(10);

type Answer = Result<ProposalStatus, Problem>;

/// Asks the gateway over whichever link there is.
#[derive(Default)]
pub struct Proposals {
    asked: Mutex<Asked>,
    next: AtomicU64,
    changes: watch::Sender<u64>,
}

#[derive(Default)]
struct Asked {
    link: Option<Outbox>,
    waiting: HashMap<String, oneshot::Sender<Answer>>,
}

impl Proposals {
    /// A link is up.
    pub(super) fn linked(&self, outbox: Outbox) {
        self.lock().link = Some(outbox);
        self.changed();
    }

    /// It has ended: nobody will answer what was asked over it.
    pub(super) fn unlinked(&self) {
        *self.lock() = Asked::default();
    }

    /// An answer has come.
    pub(super) fn answered(&self, question: &str, result: Answer) {
        let asker = self.lock().waiting.remove(question);
        if let Some(asker) = asker {
            // Whoever asked may have gone.
            let _ = asker.send(result);
        }
    }

    /// Something was decided.
    pub(super) fn changed(&self) {
        self.changes.send_modify(|changes| *changes = changes.wrapping_add(1));
    }

    async fn ask(&self, message: impl FnOnce(String) -> FromSupervisor) -> Answer {
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

    fn lock(&self) -> std::sync::MutexGuard<'_, Asked> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn away() -> Problem {
    Problem::new(503, "gateway_away", "the gateway is away, so nobody can decide now")
        .hint("try again in a while; what is enforced stays enforced")
}

#[async_trait::async_trait]
impl crate::policy_local::Proposals for Proposals {
    async fn propose(&self, process: ProcessRecord, asked: Propose) -> Answer {
        self.ask(|question| FromSupervisor::Propose { question, process, proposal: asked }).await
    }

    async fn stands(&self, id: &str) -> Answer {
        self.ask(|question| FromSupervisor::Proposal { question, id: id.to_owned() }).await
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }
}
