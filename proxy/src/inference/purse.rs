//! The seam to whoever deals out shares of budgets.

use openshell_api::share::Want;

/// Asks for shares of budgets that several sandboxes spend together.
#[async_trait::async_trait]
pub trait Purse: Send + Sync {
    /// Answers when a share was dealt to the ledger that held what is wanted, or why there is none.
    async fn ask(&self, want: Want) -> Result<(), String>;
}
