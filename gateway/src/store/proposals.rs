//! What agents have asked for.

use openshell_api::decision::ProcessRecord;
use openshell_api::proposal::{Proposal, ProposalState, Propose};

use super::db::{Row, Transaction, query};
use super::{Store, StoreError, int, json, name, parse, timestamp, uint};
use crate::audit::Change;

/// Decisions among which refusals are counted: the newest of a sandbox.
const LOOKED_AT: i64 = 5000;

/// A stored proposal.
pub struct ProposalRow {
    /// Whose it is.
    pub sandbox_id: String,
    /// As the API shows it, without its effect.
    pub proposal: Proposal,
}

/// Which proposals to answer.
#[derive(Debug, Clone, Default)]
pub struct ProposalQuery {
    /// Only of the sandbox of this name.
    pub sandbox: Option<String>,
    /// Only those in this state.
    pub state: Option<ProposalState>,
}

/// What the records of a sandbox say about a destination.
pub struct Refused {
    /// How often it was refused lately.
    pub count: u64,
    /// The newest such decision.
    pub newest: Option<String>,
}

macro_rules! proposals {
    ($rest:literal) => {
        concat!(
            "SELECT proposals.*, sandboxes.name AS sandbox FROM proposals \
             JOIN sandboxes ON sandboxes.id = proposals.sandbox_id ",
            $rest
        )
    };
}

impl Store {
    /// Keeps a proposal.
    pub async fn insert_proposal(
        &self,
        sandbox_id: &str,
        id: &str,
        asked: &Propose,
        asked_by: &ProcessRecord,
    ) -> Result<(), StoreError> {
        query(
            "INSERT INTO proposals (id, sandbox_id, state, asked, asked_by, created_at) VALUES ($1, $2, 'pending', $3, $4, $5)",
        )
        .bind(id)
        .bind(sandbox_id)
        .bind(json("proposal", asked)?)
        .bind(json("process", asked_by)?)
        .bind(jiff::Timestamp::now().to_string())
        .execute(&self.write)
        .await?;
        Ok(())
    }

    /// A proposal by id.
    pub async fn proposal(&self, id: &str) -> Result<Option<ProposalRow>, StoreError> {
        let row = query(proposals!("WHERE proposals.id = $1")).bind(id).fetch_optional(&self.read).await?;
        row.as_ref().map(proposal).transpose()
    }

    /// Proposals that match, oldest first.
    pub async fn proposals(&self, which: &ProposalQuery) -> Result<Vec<ProposalRow>, StoreError> {
        let rows = query(proposals!(
            "WHERE ($1 IS NULL OR sandboxes.name = $1) AND ($2 IS NULL OR proposals.state = $2) ORDER BY proposals.id"
        ))
        .bind(which.sandbox.as_deref())
        .bind(which.state.map(state_text))
        .fetch_all(&self.read)
        .await?;
        rows.iter().map(proposal).collect()
    }

    /// Proposals that match and whose ids follow `after`, oldest first, at most so many.
    pub async fn proposals_after(
        &self,
        which: &ProposalQuery,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<ProposalRow>, StoreError> {
        let rows = query(proposals!(
            "WHERE ($1 IS NULL OR sandboxes.name = $1) \
             AND ($2 IS NULL OR proposals.state = $2) AND proposals.id > $3 \
             ORDER BY proposals.id LIMIT $4"
        ))
        .bind(which.sandbox.as_deref())
        .bind(which.state.map(state_text))
        .bind(after.unwrap_or_default())
        .bind(i64::from(limit))
        .fetch_all(&self.read)
        .await?;
        rows.iter().map(proposal).collect()
    }

    /// Refuses a proposal for good; `false`: it was decided before.
    pub async fn reject_proposal(&self, id: &str, reason: Option<&str>, change: &Change) -> Result<bool, StoreError> {
        let mut changing = self.changing(change).await?;
        let done = query(
            "UPDATE proposals SET state = 'rejected', reason = $1, decided_at = $2 WHERE id = $3 AND state = 'pending'",
        )
        .bind(reason)
        .bind(jiff::Timestamp::now().to_string())
        .bind(id)
        .execute(changing.tx())
        .await?;
        if done.rows_affected() == 0 {
            return Ok(false);
        }
        changing.commit().await.map(|()| true)
    }

    /// Forgets decided proposals of a sandbox, all but the newest `keep`.
    pub async fn forget_proposals(&self, sandbox_id: &str, keep: i64) -> Result<(), StoreError> {
        query(
            "DELETE FROM proposals WHERE sandbox_id = $1 AND state <> 'pending' AND id NOT IN
             (SELECT id FROM proposals WHERE sandbox_id = $1 AND state <> 'pending' ORDER BY id DESC LIMIT $2)",
        )
        .bind(sandbox_id)
        .bind(keep)
        .execute(&self.write)
        .await?;
        Ok(())
    }

    /// What a sandbox's newest records say about refusals of a destination.
    pub async fn refused(&self, sandbox: &str, host: &str, port: u16) -> Result<Refused, StoreError> {
        let row = query(
            "SELECT count(*) AS count, max(id) AS newest FROM
             (SELECT id, record FROM decisions WHERE sandbox = $1 ORDER BY seq DESC LIMIT $4) AS lately
             WHERE json_extract(record, '$.verdict') = 'deny' AND json_extract(record, '$.host') = $2
             AND CAST(json_extract(record, '$.port') AS BIGINT) = $3",
        )
        .bind(sandbox)
        .bind(host)
        .bind(i64::from(port))
        .bind(LOOKED_AT)
        .fetch_one(&self.read)
        .await?;
        Ok(Refused { count: uint(row.try_get("count")?), newest: row.try_get("newest")? })
    }
}

/// Marks a proposal as one that a generation has.
pub(super) async fn approve(tx: &mut Transaction, id: &str, generation: u64) -> Result<(), StoreError> {
    query("UPDATE proposals SET state = 'approved', generation = $1, decided_at = $2 WHERE id = $3")
        .bind(int(generation))
        .bind(jiff::Timestamp::now().to_string())
        .bind(id)
        .execute(&mut *tx)
        .await?;
    Ok(())
}

fn proposal(row: &Row) -> Result<ProposalRow, StoreError> {
    let decided: Option<&str> = row.try_get("decided_at")?;
    let generation: Option<i64> = row.try_get("generation")?;
    Ok(ProposalRow {
        sandbox_id: row.try_get("sandbox_id")?,
        proposal: Proposal {
            id: row.try_get("id")?,
            sandbox: name(row.try_get("sandbox")?)?,
            state: parse_state(row.try_get("state")?)?,
            asked: parse("proposal", row.try_get("asked")?)?,
            asked_by: parse("process", row.try_get("asked_by")?)?,
            created_at: timestamp(row.try_get("created_at")?)?,
            decided_at: decided.map(timestamp).transpose()?,
            reason: row.try_get("reason")?,
            generation: generation.map(uint),
            effect: None,
        },
    })
}

fn state_text(state: ProposalState) -> &'static str {
    match state {
        ProposalState::Pending => "pending",
        ProposalState::Approved => "approved",
        ProposalState::Rejected => "rejected",
    }
}

fn parse_state(text: &str) -> Result<ProposalState, StoreError> {
    match text {
        "pending" => Ok(ProposalState::Pending),
        "approved" => Ok(ProposalState::Approved),
        "rejected" => Ok(ProposalState::Rejected),
        other => Err(StoreError::Unknown { what: "state", value: other.to_owned() }),
    }
}
