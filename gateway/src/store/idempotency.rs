//! Calls that take effect once: who has begun one, and how it was answered.

use super::db::{Turn, query};
use super::{Store, StoreError};

/// Hash of a user and a key, or of a request.
pub type CallHash = [u8; 32];

/// What is known of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CallState {
    /// Nothing: whoever asked has begun it now.
    Begun,
    /// Another request has that key.
    Other,
    /// It was begun, and not answered yet.
    Running,
    /// It was answered so; encrypted.
    Answered(Vec<u8>),
}

impl Store {
    /// Begins a call, unless it was begun before. The claim is forgotten at `until_ms` if no answer is kept by then.
    pub async fn begin_call(
        &self,
        key: &CallHash,
        request: &CallHash,
        now_ms: i64,
        until_ms: i64,
    ) -> Result<CallState, StoreError> {
        let mut tx = self.write.begin(Turn::Keyring).await?;
        query("DELETE FROM idempotency WHERE until_ms <= $1").bind(now_ms).execute(&mut tx).await?;
        let begun =
            query("INSERT INTO idempotency (key, request, until_ms) VALUES ($1, $2, $3) ON CONFLICT (key) DO NOTHING")
                .bind(key.as_slice())
                .bind(request.as_slice())
                .bind(until_ms)
                .execute(&mut tx)
                .await?;
        if begun.rows_affected() > 0 {
            tx.commit().await?;
            return Ok(CallState::Begun);
        }
        let row = query("SELECT request, answer FROM idempotency WHERE key = $1")
            .bind(key.as_slice())
            .fetch_one(&mut tx)
            .await?;
        tx.commit().await?;
        let same: Vec<u8> = row.try_get("request")?;
        let answer: Option<Vec<u8>> = row.try_get("answer")?;
        Ok(match answer {
            _ if same != request => CallState::Other,
            None => CallState::Running,
            Some(answer) => CallState::Answered(answer),
        })
    }

    /// Keeps how a call was answered, until then.
    pub async fn keep_answer(&self, key: &CallHash, answer: &[u8], until_ms: i64) -> Result<(), StoreError> {
        query("UPDATE idempotency SET answer = $2, until_ms = $3 WHERE key = $1")
            .bind(key.as_slice())
            .bind(answer)
            .bind(until_ms)
            .execute(&self.write)
            .await?;
        Ok(())
    }

    /// Encrypts every answer anew, at one moment. One of which `anew` makes nothing stays as it is.
    pub async fn reseal_answers(&self, anew: impl Fn(&CallHash, &[u8]) -> Option<Vec<u8>>) -> Result<(), StoreError> {
        let mut tx = self.write.begin(Turn::Keyring).await?;
        let rows = query("SELECT key, answer FROM idempotency WHERE answer IS NOT NULL").fetch_all(&mut tx).await?;
        for row in rows {
            let (key, answer): (Vec<u8>, Vec<u8>) = (row.try_get("key")?, row.try_get("answer")?);
            let Ok(key) = CallHash::try_from(key) else { continue };
            if let Some(answer) = anew(&key, &answer) {
                query("UPDATE idempotency SET answer = $2 WHERE key = $1")
                    .bind(key.as_slice())
                    .bind(answer.as_slice())
                    .execute(&mut tx)
                    .await?;
            }
        }
        tx.commit().await?;
        Ok(())
    }

    /// Forgets a call that came to nothing.
    pub async fn forget_claim(&self, key: &CallHash) -> Result<(), StoreError> {
        query("DELETE FROM idempotency WHERE key = $1").bind(key.as_slice()).execute(&self.write).await?;
        Ok(())
    }

    /// Forgets calls that a gateway did not live to answer: what they began was taken back, or goes on by itself.
    pub async fn forget_unanswered(&self) -> Result<(), StoreError> {
        query("DELETE FROM idempotency WHERE answer IS NULL").execute(&self.write).await?;
        Ok(())
    }
}
