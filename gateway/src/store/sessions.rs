//! Forgetting what sessions contained. Nothing else lowers them.

use super::db::query;
use super::{Store, StoreError};
use crate::audit::Change;

impl Store {
    /// Forgets one session of a sandbox, or all of them; answers how many there were.
    pub async fn forget_sessions(
        &self,
        sandbox_id: &str,
        session: Option<&str>,
        change: &Change,
    ) -> Result<u64, StoreError> {
        let mut changing = self.changing(change).await?;
        let done = query("DELETE FROM sessions WHERE sandbox_id = $1 AND ($2 IS NULL OR session = $2)")
            .bind(sandbox_id)
            .bind(session)
            .execute(changing.tx())
            .await?;
        changing.commit().await?;
        Ok(done.rows_affected())
    }
}
