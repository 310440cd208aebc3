//! Shares of budgets that this sandbox has with others, asked of the gateway.

use openshell_api::link::FromSupervisor;
use openshell_api::share::Want;

use super::questions::Questions;
use crate::inference::Purse;

/// Asks the gateway over whichever link there is.
#[derive(Default)]
pub struct Shares {
    pub(super) questions: Questions<()>,
}

#[async_trait::async_trait]
impl Purse for Shares {
    async fn ask(&self, want: Want) -> Result<(), String> {
        let asked = self.questions.ask(|question| FromSupervisor::NeedShare { question, want });
        asked.await.map_err(|problem| problem.detail)
    }
}
