//! Proposals on their way to the gateway, and its answers.

use openshell_api::Problem;
use openshell_api::decision::ProcessRecord;
use openshell_api::link::FromSupervisor;
use openshell_api::proposal::{ProposalStatus, Propose};
use tokio::sync::watch;

use super::outbox::Outbox;
use super::questions::Questions;

type Answer = Result<ProposalStatus, Problem>;

/// Asks the gateway over whichever link there is.
#[derive(Default)]
pub struct Proposals {
    questions: Questions<ProposalStatus>,
    changes: watch::Sender<u64>,
}

impl Proposals {
    /// A link is up.
    pub(super) fn linked(&self, outbox: Outbox) {
        self.questions.linked(outbox);
        self.changed();
    }

    /// It has ended: nobody will answer what was asked over it.
    pub(super) fn unlinked(&self) {
        self.questions.unlinked();
    }

    /// An answer has come.
    pub(super) fn answered(&self, question: &str, result: Answer) {
        self.questions.answered(question, result);
    }

    /// Something was decided.
    pub(super) fn changed(&self) {
        self.changes.send_modify(|changes| *changes = changes.wrapping_add(1));
    }
}

#[async_trait::async_trait]
impl crate::policy_local::Proposals for Proposals {
    async fn propose(&self, process: ProcessRecord, asked: Propose) -> Answer {
        self.questions.ask(|question| FromSupervisor::Propose { question, process, proposal: asked }).await
    }

    async fn stands(&self, id: &str) -> Answer {
        self.questions.ask(|question| FromSupervisor::Proposal { question, id: id.to_owned() }).await
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }
}
