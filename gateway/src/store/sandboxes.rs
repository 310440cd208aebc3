//! Sandboxes and their generations.

use std::collections::HashMap;

use openshell_api::Name;
use openshell_api::enforcement::Enforcement;
use openshell_api::generation::{Generation, SignedGeneration};
use openshell_api::sandbox::{CreateSandbox, Phase, Sandbox};

use super::db::{Row, Turn, query, query_scalar};
use super::{Store, StoreError, int, is_unique_violation, json, name, parse, timestamp, uint};
use crate::audit::Change;

/// A sandbox about to exist.
pub struct NewSandbox<'a> {
    /// Its id.
    pub id: &'a str,
    /// Its name.
    pub name: &'a Name,
    /// Who makes it.
    pub owner: &'a str,
    /// The gateway on whose machine it will run, if there are several.
    pub host: Option<&'a str>,
    /// The runtime it is in.
    pub runtime: &'a Name,
    /// What it is made from.
    pub spec: &'a CreateSandbox,
    /// SHA-256 of its supervisor's first credential.
    pub token_hash: [u8; 32],
    /// Its first generation.
    pub generation: &'a SignedGeneration,
    /// That generation's number.
    pub number: u64,
    /// Now.
    pub created_at: jiff::Timestamp,
    /// For the audit trail.
    pub change: &'a Change,
}

/// A stored sandbox.
#[derive(Debug, Clone)]
pub struct SandboxRow {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: Name,
    /// Who made it.
    pub owner: String,
    /// The gateway on whose machine it runs; absent: the only one.
    pub host: Option<String>,
    /// The living gateway of several that it is linked to.
    pub linked_to: Option<String>,
    /// The runtime it is in.
    pub runtime: Name,
    /// What it was last known to do.
    pub phase: Phase,
    /// What it was made from.
    pub spec: CreateSandbox,
    /// Exit code of its workload.
    pub exit_code: Option<i32>,
    /// Why it failed.
    pub failure: Option<String>,
    /// Protections that are missing.
    pub degraded: Vec<String>,
    /// What a probe last found about its walls.
    pub enforcement: Option<Enforcement>,
    /// Last acknowledged generation.
    pub generation: u64,
    /// Whether that generation only observes.
    pub observing: bool,
    /// When it was made.
    pub created_at: jiff::Timestamp,
}

impl SandboxRow {
    /// As the API shows it.
    pub fn into_api(self, connected: bool) -> Sandbox {
        Sandbox {
            id: self.id,
            name: self.name,
            owner: self.owner,
            runtime: self.runtime,
            node: None,
            image: self.spec.image,
            phase: self.phase,
            exit_code: self.exit_code,
            failure: self.failure,
            connected,
            generation: self.generation,
            command: self.spec.command,
            labels: self.spec.labels,
            created_at: self.created_at,
            degraded: self.degraded,
            observing: self.observing,
            enforcement: self.enforcement,
        }
    }
}

/// A query of sandboxes with what their acknowledged generation says about observing; before the first one, what was
/// asked for.
macro_rules! sandboxes {
    ($rest:literal) => {
        concat!(
            "SELECT sandboxes.*, CAST(CASE WHEN CAST(COALESCE( \
               (SELECT COALESCE(json_extract(payload, '$.content.observe'), 'false') FROM generations \
                 WHERE sandbox_id = sandboxes.id AND number = sandboxes.generation), \
               json_extract(spec, '$.observe')) AS TEXT) IN ('1', 'true') THEN 1 ELSE 0 END AS BIGINT) AS observing, \
             (SELECT replicas.id FROM links JOIN replicas ON replicas.id = links.replica \
               WHERE links.sandbox_id = sandboxes.id AND ",
            super::replicas::alive!(),
            ") AS linked_to FROM sandboxes ",
            $rest
        )
    };
}

impl Store {
    /// Stores a sandbox in phase `Starting`, with its first generation. Refuses a name that is taken.
    pub async fn insert_sandbox(&self, new: NewSandbox<'_>) -> Result<(), StoreError> {
        let mut changing = self.changing(new.change).await?;
        changing.check_signer(new.generation)?;
        let tx = changing.tx();
        query(
            "INSERT INTO sandboxes (id, name, owner, runtime, phase, spec, token_hash, created_at, host)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        )
        .bind(new.id)
        .bind(new.name.as_str())
        .bind(new.owner)
        .bind(new.runtime.as_str())
        .bind(phase_text(Phase::Starting))
        .bind(json("sandbox", new.spec)?)
        .bind(new.token_hash.as_slice())
        .bind(new.created_at.to_string())
        .bind(new.host)
        .execute(&mut *tx)
        .await
        .map_err(|error| {
            if is_unique_violation(&error) {
                StoreError::Exists { what: "sandbox", name: new.name.to_string() }
            } else {
                error.into()
            }
        })?;
        super::commit::insert_generation(tx, new.id, new.number, new.generation).await?;
        super::supervisor_keys::insert_first(tx, new.id, &new.token_hash).await?;
        changing.commit().await
    }

    /// Every sandbox, oldest first.
    pub async fn sandboxes(&self) -> Result<Vec<SandboxRow>, StoreError> {
        let rows = query(sandboxes!("ORDER BY id")).fetch_all(&self.read).await?;
        rows.iter().map(sandbox).collect()
    }

    /// Sandboxes whose ids follow `after`, oldest first, at most so many.
    pub async fn sandboxes_after(&self, after: Option<&str>, limit: u32) -> Result<Vec<SandboxRow>, StoreError> {
        let rows = query(sandboxes!("WHERE id > $1 ORDER BY id LIMIT $2"))
            .bind(after.unwrap_or_default())
            .bind(i64::from(limit))
            .fetch_all(&self.read)
            .await?;
        rows.iter().map(sandbox).collect()
    }

    /// How many sandboxes there are.
    pub async fn count_sandboxes(&self) -> Result<u64, StoreError> {
        let count: i64 = query_scalar("SELECT count(*) FROM sandboxes").fetch_one(&self.read).await?;
        Ok(uint(count))
    }

    /// A sandbox by name.
    pub async fn sandbox_named(&self, name: &str) -> Result<Option<SandboxRow>, StoreError> {
        let row = query(sandboxes!("WHERE name = $1")).bind(name).fetch_optional(&self.read).await?;
        row.as_ref().map(sandbox).transpose()
    }

    /// A sandbox by id.
    pub async fn sandbox(&self, id: &str) -> Result<Option<SandboxRow>, StoreError> {
        let row = query(sandboxes!("WHERE id = $1")).bind(id).fetch_optional(&self.read).await?;
        row.as_ref().map(sandbox).transpose()
    }

    /// Changes the phase. One that is being deleted stays so.
    pub async fn set_phase(
        &self,
        id: &str,
        phase: Phase,
        exit_code: Option<i32>,
        failure: Option<&str>,
    ) -> Result<(), StoreError> {
        query("UPDATE sandboxes SET phase = $1, exit_code = $2, failure = $3 WHERE id = $4 AND phase <> 'deleting'")
            .bind(phase_text(phase))
            .bind(exit_code)
            .bind(failure)
            .bind(id)
            .execute(&self.write)
            .await?;
        Ok(())
    }

    /// Marks a sandbox as one that is being deleted, and forgets the credentials of its supervisor. One that was marked before is
    /// not told of again.
    pub async fn begin_deletion(&self, id: &str, exit_code: Option<i32>, change: &Change) -> Result<(), StoreError> {
        let mut changing = self.changing(change).await?;
        let done = query(
            "UPDATE sandboxes SET phase = 'deleting', exit_code = $1, failure = NULL WHERE id = $2 AND phase <> 'deleting'",
        )
        .bind(exit_code)
        .bind(id)
        .execute(changing.tx())
        .await?;
        if done.rows_affected() > 0 {
            query("DELETE FROM supervisor_keys WHERE sandbox_id = $1").bind(id).execute(changing.tx()).await?;
            changing.commit().await?;
        }
        Ok(())
    }

    /// Keeps which protections are missing.
    pub async fn set_degraded(&self, id: &str, degraded: &[String]) -> Result<(), StoreError> {
        query("UPDATE sandboxes SET degraded = $1 WHERE id = $2")
            .bind(json("degraded", &degraded)?)
            .bind(id)
            .execute(&self.write)
            .await?;
        Ok(())
    }

    /// Keeps what a probe found about the walls, and which are missing.
    pub async fn set_walls(&self, id: &str, degraded: &[String], enforcement: &Enforcement) -> Result<(), StoreError> {
        query("UPDATE sandboxes SET degraded = $1, enforcement = $2 WHERE id = $3")
            .bind(json("degraded", &degraded)?)
            .bind(json("enforcement", enforcement)?)
            .bind(id)
            .execute(&self.write)
            .await?;
        Ok(())
    }

    /// Keeps that generations were acknowledged: all of them, or none.
    pub async fn set_enforcing(&self, acknowledged: &[(&str, u64)]) -> Result<(), StoreError> {
        let mut tx = self.write.begin(Turn::Enforcing).await?;
        for (id, generation) in acknowledged {
            query("UPDATE sandboxes SET generation = $1 WHERE id = $2")
                .bind(int(*generation))
                .bind(*id)
                .execute(&mut tx)
                .await?;
        }
        tx.commit().await?;
        Ok(())
    }

    /// Forgets a sandbox, its generations, logs and sessions. Its decision records stay.
    pub async fn delete_sandbox(&self, id: &str) -> Result<(), StoreError> {
        query("DELETE FROM sandboxes WHERE id = $1").bind(id).execute(&self.write).await?;
        Ok(())
    }

    /// The newest generation of a sandbox, as signed.
    pub async fn latest_generation(&self, id: &str) -> Result<Option<SignedGeneration>, StoreError> {
        let row =
            query("SELECT payload, signature FROM generations WHERE sandbox_id = $1 ORDER BY number DESC LIMIT 1")
                .bind(id)
                .fetch_optional(&self.read)
                .await?;
        row.as_ref().map(signed).transpose()
    }

    /// The number of each sandbox's newest generation, by id.
    pub async fn newest_numbers(&self) -> Result<HashMap<String, u64>, StoreError> {
        let rows = query("SELECT sandbox_id, MAX(number) AS number FROM generations GROUP BY sandbox_id");
        let rows = rows.fetch_all(&self.read).await?;
        rows.iter().map(|row| Ok((row.try_get("sandbox_id")?, uint(row.try_get("number")?)))).collect()
    }

    /// Generations of a sandbox, newest first.
    pub async fn generations(&self, id: &str, limit: u32) -> Result<Vec<Generation>, StoreError> {
        let rows = query("SELECT payload FROM generations WHERE sandbox_id = $1 ORDER BY number DESC LIMIT $2")
            .bind(id)
            .bind(i64::from(limit))
            .fetch_all(&self.read)
            .await?;
        rows.iter().map(|row| parse("generation", row.try_get("payload")?)).collect()
    }

    /// Generations of a sandbox before `before`, newest first, at most so many.
    pub async fn generations_before(
        &self,
        id: &str,
        before: Option<i64>,
        limit: u32,
    ) -> Result<Vec<Generation>, StoreError> {
        let rows = query(
            "SELECT payload FROM generations WHERE sandbox_id = $1 AND number < $2 ORDER BY number DESC LIMIT $3",
        )
        .bind(id)
        .bind(before.unwrap_or(i64::MAX))
        .bind(i64::from(limit))
        .fetch_all(&self.read)
        .await?;
        rows.iter().map(|row| parse("generation", row.try_get("payload")?)).collect()
    }

    /// A sandbox's newest generation.
    pub async fn newest_generation(&self, id: &str) -> Result<Option<Generation>, StoreError> {
        Ok(self.generations(id, 1).await?.pop())
    }

    /// One generation of a sandbox.
    pub async fn generation(&self, id: &str, number: u64) -> Result<Option<Generation>, StoreError> {
        let text: Option<String> =
            query_scalar("SELECT payload FROM generations WHERE sandbox_id = $1 AND number = $2")
                .bind(id)
                .bind(int(number))
                .fetch_optional(&self.read)
                .await?;
        text.map(|text| parse("generation", &text)).transpose()
    }
}

fn sandbox(row: &Row) -> Result<SandboxRow, StoreError> {
    Ok(SandboxRow {
        id: row.try_get("id")?,
        name: name(row.try_get("name")?)?,
        owner: row.try_get("owner")?,
        host: row.try_get("host")?,
        linked_to: row.try_get("linked_to")?,
        runtime: name(row.try_get("runtime")?)?,
        phase: parse_phase(row.try_get("phase")?)?,
        spec: parse("sandbox", row.try_get("spec")?)?,
        exit_code: exit_code(row.try_get("exit_code")?),
        failure: row.try_get("failure")?,
        degraded: parse("degraded", row.try_get("degraded")?)?,
        enforcement: row.try_get::<Option<&str>>("enforcement")?.map(|text| parse("enforcement", text)).transpose()?,
        generation: uint(row.try_get("generation")?),
        observing: row.try_get("observing")?,
        created_at: timestamp(row.try_get("created_at")?)?,
    })
}

/// As the kernel has it; what does not fit was never written by a gateway.
fn exit_code(stored: Option<i64>) -> Option<i32> {
    stored.map(|code| i32::try_from(code).unwrap_or(i32::MAX))
}

fn signed(row: &Row) -> Result<SignedGeneration, StoreError> {
    Ok(SignedGeneration { payload: row.try_get("payload")?, signature: row.try_get("signature")? })
}

fn phase_text(phase: Phase) -> &'static str {
    match phase {
        Phase::Starting => "starting",
        Phase::Running => "running",
        Phase::Exited => "exited",
        Phase::Failed => "failed",
        Phase::Lost => "lost",
        Phase::Stopped => "stopped",
        Phase::Deleting => "deleting",
    }
}

fn parse_phase(text: &str) -> Result<Phase, StoreError> {
    match text {
        "starting" => Ok(Phase::Starting),
        "running" => Ok(Phase::Running),
        "exited" => Ok(Phase::Exited),
        "failed" => Ok(Phase::Failed),
        "lost" => Ok(Phase::Lost),
        "stopped" => Ok(Phase::Stopped),
        "deleting" => Ok(Phase::Deleting),
        other => Err(StoreError::Unknown { what: "phase", value: other.to_owned() }),
    }
}
