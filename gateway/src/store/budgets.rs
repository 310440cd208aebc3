//! Budgets that the sandboxes of one user spend together, and what of them was dealt to each.

use std::collections::BTreeMap;

use openshell_api::inference::{Budget, Period};
use openshell_api::share::{Pot, Share, Want};

use super::db::{Transaction, Turn, query, query_scalar};
use super::usage::spending;
use super::{Store, StoreError, int, json, parse, uint};

/// What became of a wish for more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Deal {
    /// The sandbox's share from now on: what it wants, and some more where there is plenty.
    Dealt(Share),
    /// There is not that much.
    Lacking(Use),
}

/// What is used of a budget in a window. Costs in millionths of a millionth of a US dollar.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Use {
    /// Cost of what was served.
    pub cost: u64,
    /// Tokens of what was served.
    pub tokens: u64,
    /// Cost that sandboxes may spend besides.
    pub held_cost: u64,
    /// Tokens that sandboxes may use besides.
    pub held_tokens: u64,
}

/// Of what nobody needs, one part in so many is dealt beyond what is wanted: fewer questions, and little to give back.
const SPARE: u64 = 8;

impl Store {
    /// The budgets that a user's sandboxes spend together.
    pub async fn owner_budgets(&self, owner: &str) -> Result<Vec<Budget>, StoreError> {
        let text: Option<String> = query_scalar("SELECT budgets FROM owner_budgets WHERE owner = $1")
            .bind(owner)
            .fetch_optional(&self.read)
            .await?;
        text.map_or_else(|| Ok(Vec::new()), |text| parse("budget", &text))
    }

    /// Deals a sandbox of `owner` a share of a budget that holds what it wants, unless all shares and what was spent would then come
    /// to more than the budget.
    pub async fn deal(&self, sandbox_id: &str, owner: &str, budget: &Budget, want: &Want) -> Result<Deal, StoreError> {
        let mut tx = self.write.begin(Turn::Budgets(owner)).await?;
        let (used, own) = standing(&mut tx, owner, &want.pot, Some(sandbox_id)).await?;
        let old = share(&mut tx, sandbox_id, &want.pot).await?;
        let (old_cost, old_tokens, serial) = old.unwrap_or_default();
        let part = |limit: Option<u64>, old: u64, want: u64, (spent, held): (u64, u64), own: u64| match limit {
            Some(limit) if want > old => {
                // The most that this one's share may be: all that is left, and what it spent itself.
                let most = limit.saturating_add(own).saturating_sub(spent).saturating_sub(held);
                (want <= most).then(|| want + (most - want) / SPARE)
            }
            _ => Some(old),
        };
        let limit = budget.fine_cost().map(|cost| u64::try_from(cost).unwrap_or(u64::MAX));
        let cost = part(limit, old_cost, want.cost, (used.cost, used.held_cost), own.0);
        let tokens = part(budget.tokens, old_tokens, want.tokens, (used.tokens, used.held_tokens), own.1);
        let (Some(cost), Some(tokens)) = (cost, tokens) else { return Ok(Deal::Lacking(used)) };
        let dealt = Share {
            pot: want.pot.clone(),
            cost: budget.cost.map(|_| cost),
            tokens: budget.tokens.map(|_| tokens),
            serial: serial + 1,
        };
        query(
            "INSERT INTO budget_shares (sandbox_id, period, number, backend, cost, tokens, serial)
             VALUES ($1, $2, $3, $4, $5, $6, $7)
             ON CONFLICT (sandbox_id, period, number, backend)
             DO UPDATE SET cost = excluded.cost, tokens = excluded.tokens, serial = excluded.serial",
        )
        .bind(sandbox_id)
        .bind(period(want.pot.period))
        .bind(want.pot.window)
        .bind(backend(&want.pot))
        .bind(int(cost))
        .bind(int(tokens))
        .bind(int(dealt.serial))
        .execute(&mut tx)
        .await?;
        // Shares of windows that are over hold nothing back any more.
        query("DELETE FROM budget_shares WHERE sandbox_id = $1 AND period = $2 AND number < $3")
            .bind(sandbox_id)
            .bind(period(want.pot.period))
            .bind(want.pot.window)
            .execute(&mut tx)
            .await?;
        tx.commit().await?;
        Ok(Deal::Dealt(dealt))
    }

    /// A sandbox keeps so much of a share and no more. Changes nothing if another share was dealt meanwhile.
    pub async fn given_back(&self, sandbox_id: &str, left: &Share) -> Result<(), StoreError> {
        query(
            "UPDATE budget_shares SET cost = COALESCE($5, cost), tokens = COALESCE($6, tokens)
             WHERE sandbox_id = $1 AND period = $2 AND number = $3 AND backend = $4 AND serial = $7",
        )
        .bind(sandbox_id)
        .bind(period(left.pot.period))
        .bind(left.pot.window)
        .bind(backend(&left.pot))
        .bind(left.cost.map(int))
        .bind(left.tokens.map(int))
        .bind(int(left.serial))
        .execute(&self.write)
        .await?;
        Ok(())
    }

    /// What a sandbox was dealt of a budget in a window, as it is to be told: the limits that the budget has.
    pub async fn share(&self, sandbox_id: &str, budget: &Budget, pot: &Pot) -> Result<Option<Share>, StoreError> {
        let mut tx = self.read.snapshot().await?;
        Ok(share(&mut tx, sandbox_id, pot).await?.map(|(cost, tokens, serial)| Share {
            pot: pot.clone(),
            cost: budget.cost.map(|_| cost),
            tokens: budget.tokens.map(|_| tokens),
            serial,
        }))
    }

    /// What is used of a user's budget in a window.
    pub async fn owner_use(&self, owner: &str, pot: &Pot) -> Result<Use, StoreError> {
        let mut tx = self.read.snapshot().await?;
        Ok(standing(&mut tx, owner, pot, None).await?.0)
    }
}

/// What is used of a budget, without what `except` holds; and what that one has spent itself.
async fn standing(
    tx: &mut Transaction,
    owner: &str,
    pot: &Pot,
    except: Option<&str>,
) -> Result<(Use, (u64, u64)), StoreError> {
    let mut sql = spending("sandbox_id", ("owner", owner), pot.period, pot.window);
    if let Some(name) = &pot.backend {
        sql.push(" AND backend = ").push_bind(name.as_str());
    }
    sql.push(" GROUP BY sandbox_id");
    let rows = sql.build().fetch_all(&mut *tx).await?;
    let (mut all, mut spent) = (Use::default(), BTreeMap::new());
    for row in &rows {
        let one = (uint(row.try_get("cost")?), uint(row.try_get("tokens")?));
        all.cost = all.cost.saturating_add(one.0);
        all.tokens = all.tokens.saturating_add(one.1);
        spent.insert(row.try_get::<String>("sandbox_id")?, one);
    }
    let rows = query(
        "SELECT budget_shares.sandbox_id, cost, tokens FROM budget_shares
         JOIN sandboxes ON sandboxes.id = budget_shares.sandbox_id
         WHERE sandboxes.owner = $1 AND period = $2 AND number = $3 AND backend = $4",
    )
    .bind(owner)
    .bind(period(pot.period))
    .bind(pot.window)
    .bind(backend(pot))
    .fetch_all(&mut *tx)
    .await?;
    for row in &rows {
        let id: String = row.try_get("sandbox_id")?;
        if Some(id.as_str()) == except {
            continue;
        }
        let own = spent.get(&id).copied().unwrap_or_default();
        all.held_cost = all.held_cost.saturating_add(uint(row.try_get("cost")?).saturating_sub(own.0));
        all.held_tokens = all.held_tokens.saturating_add(uint(row.try_get("tokens")?).saturating_sub(own.1));
    }
    let own = except.and_then(|id| spent.get(id)).copied().unwrap_or_default();
    Ok((all, own))
}

/// Cost, tokens and serial of a share.
async fn share(tx: &mut Transaction, sandbox_id: &str, pot: &Pot) -> Result<Option<(u64, u64, u64)>, StoreError> {
    let row = query(
        "SELECT cost, tokens, serial FROM budget_shares
         WHERE sandbox_id = $1 AND period = $2 AND number = $3 AND backend = $4",
    )
    .bind(sandbox_id)
    .bind(period(pot.period))
    .bind(pot.window)
    .bind(backend(pot))
    .fetch_optional(&mut *tx)
    .await?;
    row.map(|row| Ok((uint(row.try_get("cost")?), uint(row.try_get("tokens")?), uint(row.try_get("serial")?))))
        .transpose()
}

fn period(period: Period) -> &'static str {
    match period {
        Period::Day => "day",
        Period::Month => "month",
        Period::Total => "total",
    }
}

fn backend(pot: &Pot) -> &str {
    pot.backend.as_ref().map_or("", |name| name.as_str())
}

/// Keeps a user's budgets, whole.
pub(super) async fn set(tx: &mut Transaction, owner: &str, budgets: &[Budget]) -> Result<(), StoreError> {
    query(
        "INSERT INTO owner_budgets (owner, budgets) VALUES ($1, $2)
         ON CONFLICT (owner) DO UPDATE SET budgets = excluded.budgets",
    )
    .bind(owner)
    .bind(json("budget", &budgets)?)
    .execute(&mut *tx)
    .await?;
    Ok(())
}
