//! The commit of a push: new generations, together with the gateway-wide change that caused them and its entry in the audit trail.

use openshell_api::generation::SignedGeneration;
use openshell_api::inference::{Backend, Budget};
use openshell_api::module::Binding;
use openshell_api::provider::Provider;
use openshell_api::rollout::Rollout;

use super::db::{Transaction, query};
use super::{Store, StoreError, int, is_unique_violation, json};
use crate::audit::Change;

/// A generation to store.
pub struct NewGeneration {
    /// Whose it is.
    pub sandbox_id: String,
    /// Its number.
    pub number: u64,
    /// As signed.
    pub signed: SignedGeneration,
}

/// What changes on the gateway at the very moment its sandboxes' generations do.
#[derive(Debug, Clone, Default)]
pub enum Effect {
    /// Nothing.
    #[default]
    None,
    /// A backend is added; a name that is taken refuses the whole commit.
    AddBackend(Backend),
    /// A backend is replaced by one of the same name.
    SetBackend(Backend),
    /// A backend is removed.
    RemoveBackend(String),
    /// A provider is changed, and its secret if there is a new one.
    SetProvider(Box<Provider>, Option<Vec<u8>>),
    /// The ceiling is replaced.
    SetCeiling(Vec<Binding>),
    /// What a user's sandboxes may spend together is replaced.
    SetOwnerBudgets {
        /// The user.
        owner: String,
        /// Its budgets.
        budgets: Vec<Budget>,
    },
    /// A proposal is approved: this generation has it.
    ApproveProposal {
        /// Its id.
        id: String,
        /// The generation.
        generation: u64,
    },
    /// A rollout begins, or ends.
    PutRollout(Box<Rollout>),
}

impl Store {
    /// Stores generations and their cause: all or nothing.
    pub async fn commit(
        &self,
        generations: &[NewGeneration],
        effect: &Effect,
        change: &Change,
    ) -> Result<(), StoreError> {
        let mut changing = self.changing(change).await?;
        generations.iter().try_for_each(|new| changing.check_signer(&new.signed))?;
        let tx = changing.tx();
        match effect {
            Effect::None => {}
            Effect::AddBackend(backend) => add_backend(tx, backend).await?,
            Effect::SetBackend(backend) => {
                query("UPDATE backends SET provider = $1, backend = $2 WHERE name = $3")
                    .bind(backend.provider.as_ref().map(|name| name.as_str()))
                    .bind(json("backend", backend)?)
                    .bind(backend.name.as_str())
                    .execute(&mut *tx)
                    .await?;
            }
            Effect::RemoveBackend(name) => {
                query("DELETE FROM backends WHERE name = $1").bind(name).execute(&mut *tx).await?;
            }
            Effect::SetProvider(provider, secret) => {
                super::inference::set_provider(tx, provider, secret.as_deref()).await?;
            }
            Effect::SetCeiling(ceiling) => {
                query(
                    "INSERT INTO settings (key, value) VALUES ('ceiling', $1) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
                )
                    .bind(json("ceiling", ceiling)?)
                    .execute(&mut *tx)
                    .await?;
            }
            Effect::SetOwnerBudgets { owner, budgets } => super::budgets::set(tx, owner, budgets).await?,
            Effect::ApproveProposal { id, generation } => super::proposals::approve(tx, id, *generation).await?,
            Effect::PutRollout(rollout) => super::rollouts::put(tx, rollout).await?,
        }
        for new in generations {
            insert_generation(tx, &new.sandbox_id, new.number, &new.signed).await?;
        }
        changing.commit().await
    }
}

pub(super) async fn insert_generation(
    tx: &mut Transaction,
    sandbox_id: &str,
    number: u64,
    signed: &SignedGeneration,
) -> Result<(), StoreError> {
    query("INSERT INTO generations (sandbox_id, number, payload, signature) VALUES ($1, $2, $3, $4)")
        .bind(sandbox_id)
        .bind(int(number))
        .bind(&signed.payload)
        .bind(&signed.signature)
        .execute(&mut *tx)
        .await?;
    Ok(())
}

async fn add_backend(tx: &mut Transaction, backend: &Backend) -> Result<(), StoreError> {
    query("INSERT INTO backends (name, provider, backend) VALUES ($1, $2, $3)")
        .bind(backend.name.as_str())
        .bind(backend.provider.as_ref().map(|name| name.as_str()))
        .bind(json("backend", backend)?)
        .execute(&mut *tx)
        .await
        .map_err(|error| {
            if is_unique_violation(&error) {
                StoreError::Exists { what: "backend", name: backend.name.to_string() }
            } else {
                error.into()
            }
        })?;
    Ok(())
}
