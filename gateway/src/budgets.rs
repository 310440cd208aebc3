//! Budgets that the sandboxes of one user spend together. Each sandbox's supervisor sets aside and settles by itself, within the share
//! that it was dealt; where all that is left is held by others, these give back what they don't use.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use jiff::Timestamp;
use openshell_api::inference::{self, Budget, BudgetUse};
use openshell_api::share::{Pot, Share, Want};

use crate::error::{ApiError, ApiResult, refuse};
use crate::etag::Expected;
use crate::gateway::Gateway;
use crate::identity::{Administer, Permit, Read};
use crate::push;
use crate::store::{Deal, Use};

/// Longest wait for a supervisor to give back.
const PATIENCE: Duration = Duration::from_secs(2);
/// Most budgets of a user.
const MOST: usize = 32;

/// Deals a sandbox a share of one of its owner's budgets that holds what it wants. Refuses what the budget has no room for.
pub async fn deal(gateway: &Gateway, sandbox_id: &str, want: Want) -> ApiResult<Share> {
    let row = gateway.store.sandbox(sandbox_id).await?.ok_or_else(|| ApiError::not_found("sandbox", sandbox_id))?;
    let owner = row.owner.as_str();
    let budgets = gateway.store.owner_budgets(owner).await?;
    let meant = |budget: &&Budget| budget.period == want.pot.period && budget.backend == want.pot.backend;
    let budget = budgets.iter().find(meant);
    let budget = budget.ok_or_else(|| refuse(409, "no_such_budget", format!("{owner} has no such budget any more")))?;
    if want.pot != Pot::of(budget, Timestamp::now()) {
        return Err(refuse(409, "other_window", "the gateway's clock says another day or month")
            .hint("ask again; if it stays so, set the clocks"));
    }
    if let Deal::Dealt(share) = gateway.store.deal(sandbox_id, owner, budget, &want).await? {
        return Ok(share);
    }
    collect(gateway, owner, Some(sandbox_id), std::slice::from_ref(budget)).await?;
    match gateway.store.deal(sandbox_id, owner, budget, &want).await? {
        Deal::Dealt(share) => Ok(share),
        Deal::Lacking(used) => Err(refuse(409, "budget_exhausted", used_up(owner, budget, used))),
    }
}

/// Has an owner's sandboxes give back what they don't use of these budgets; those that don't answer keep what they have.
async fn collect(gateway: &Gateway, owner: &str, except: Option<&str>, budgets: &[Budget]) -> ApiResult<()> {
    let now = Timestamp::now();
    let mut asked = Vec::new();
    for row in gateway.store.sandboxes().await? {
        if row.owner != owner || Some(row.id.as_str()) == except {
            continue;
        }
        let Some(link) = gateway.link(&row.id).await? else { continue };
        let mut shares = Vec::new();
        for budget in budgets {
            shares.extend(gateway.store.share(&row.id, budget, &Pot::of(budget, now)).await?);
        }
        if !shares.is_empty() {
            asked.push(async move { (row.id, link.give_back(shares, PATIENCE).await) });
        }
    }
    for (id, left) in join_all(asked).await {
        for share in left {
            gateway.store.given_back(&id, &share).await?;
        }
    }
    Ok(())
}

/// What a user's sandboxes may spend together, and what is spent. One's own, or an administrator asks.
pub async fn of(gateway: &Gateway, permit: &Permit<Read>, owner: &str) -> ApiResult<Vec<BudgetUse>> {
    permit.owns_what("the budget", owner)?;
    known(gateway, owner).await?;
    standing(gateway, owner, gateway.store.owner_budgets(owner).await?).await
}

/// What is spent of an owner's budgets.
pub async fn standing(gateway: &Gateway, owner: &str, budgets: Vec<Budget>) -> ApiResult<Vec<BudgetUse>> {
    let now = Timestamp::now();
    let mut standing = Vec::with_capacity(budgets.len());
    for budget in budgets {
        let used = gateway.store.owner_use(owner, &Pot::of(&budget, now)).await?;
        standing.push(BudgetUse { budget, cost: used.cost, tokens: used.tokens });
    }
    Ok(standing)
}

/// Replaces what a user's sandboxes may spend together; it holds in all that are connected once this answers. What sandboxes hold of a
/// budget that became smaller they give back, as far as it is not spent.
pub async fn set(
    gateway: Arc<Gateway>,
    permit: Permit<Administer>,
    owner: String,
    budgets: Vec<Budget>,
    expected: Expected,
) -> ApiResult<Vec<BudgetUse>> {
    known(&gateway, &owner).await?;
    check(&budgets)?;
    push::set_owner_budgets(&gateway, &permit, &owner, budgets.clone(), &expected).await?;
    collect(&gateway, &owner, None, &budgets).await?;
    standing(&gateway, &owner, budgets).await
}

/// Refuses budgets that limit nothing.
pub fn check_limits(budgets: &[Budget]) -> ApiResult<()> {
    match budgets.iter().any(|budget| budget.cost.is_none() && budget.tokens.is_none()) {
        true => Err(refuse(422, "bad_budget", "a budget limits neither dollars nor tokens")
            .hint("give it `cost`, in millionths of a dollar, or `tokens`")),
        false => Ok(()),
    }
}

fn check(budgets: &[Budget]) -> ApiResult<()> {
    if budgets.len() > MOST {
        return Err(refuse(422, "bad_budget", format!("{} budgets, and {MOST} are the most", budgets.len())));
    }
    check_limits(budgets)?;
    for (number, budget) in budgets.iter().enumerate() {
        let same = |other: &Budget| other.period == budget.period && other.backend == budget.backend;
        if budgets[..number].iter().any(same) {
            return Err(refuse(422, "bad_budget", "two budgets are for the same time and backend")
                .hint("one budget may limit dollars and tokens"));
        }
    }
    Ok(())
}

/// Refuses a name that no user of the gateway's own has; who comes from an identity provider is known to that alone.
async fn known(gateway: &Gateway, owner: &str) -> ApiResult<()> {
    if owner.contains(':') || gateway.store.user(owner).await?.is_some() {
        return Ok(());
    }
    Err(ApiError::not_found("user", owner).hint("`openshell user list` shows them"))
}

fn used_up(owner: &str, budget: &Budget, used: Use) -> String {
    let of = budget.backend.as_ref().map(|name| format!(" on {name}")).unwrap_or_default();
    let dollars = |cost: u128| format!("${}", inference::dollars(cost));
    let mut parts = Vec::new();
    if let Some(limit) = budget.fine_cost() {
        parts.push(format!(
            "{} of {} spent and {} set aside by other sandboxes",
            dollars(used.cost.into()),
            dollars(limit),
            dollars(used.held_cost.into())
        ));
    }
    if let Some(limit) = budget.tokens {
        parts.push(format!(
            "{} of {limit} tokens used and {} set aside by other sandboxes",
            used.tokens, used.held_tokens
        ));
    }
    format!("the budget of {owner}{of} for {} is used up: {}", budget.period.words(), parts.join("; "))
}
