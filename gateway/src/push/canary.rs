//! A push that begins with a few of its sandboxes, goes on to the rest, or is taken back.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use openshell_api::module::{Binding, Module};
use openshell_api::push::{CanaryShare, Push, PushReport};
use openshell_api::rollout::{Canary, PromoteRollout, Rollout, RolloutState};
use openshell_api::sandbox::Phase;
use sha2::{Digest as _, Sha256};

use super::plan::{Target, known_module, place, refreshed, router_for};
use super::requests::{alone, matching, report, still_there};
use super::two_phase::{Reach, carry_out};
use crate::error::{ApiError, ApiResult, refuse};
use crate::gateway::Gateway;
use crate::identity::{Operate, Permit};
use crate::rollout::counted;
use crate::store::{Effect, SandboxRow};

/// Of those that a push selects, the ones that get it first: at least one, and never all. Which ones is anybody's guess, and
/// another for each rollout.
fn chosen(
    rows: Vec<SandboxRow>,
    share: CanaryShare,
    rollout: &str,
    live: impl Fn(&SandboxRow) -> bool,
) -> ApiResult<Vec<SandboxRow>> {
    if !(1..100).contains(&share.percent) {
        return Err(refuse(422, "bad_share", format!("{} % is no share of sandboxes", share.percent))
            .hint("use 1 to 99 %, or push without --canary"));
    }
    let all = rows.len();
    let mut rows: Vec<SandboxRow> = rows.into_iter().filter(live).collect();
    let wanted = (all * usize::from(share.percent)).div_ceil(100).clamp(1, all.saturating_sub(1).max(1));
    if all < 2 || rows.is_empty() {
        let detail = format!("{all} sandboxes are selected, of which {} run and are connected", rows.len());
        return Err(refuse(422, "too_few_sandboxes", format!("nothing can be tried on a few: {detail}"))
            .hint("select two or more, or push without --canary"));
    }
    rows.sort_by_cached_key(|row| Sha256::digest(format!("{rollout} {}", row.id)));
    rows.truncate(wanted);
    Ok(rows)
}

/// Binds a module on a few of the sandboxes that a push selects, and has them watched.
pub(super) async fn begin(
    gateway: &Gateway,
    permit: &Permit<Operate>,
    push: &Push,
    share: CanaryShare,
    (module, binding): (&Module, Binding),
    began: Instant,
) -> ApiResult<PushReport> {
    let Some(selector) = push.selector.clone().filter(|_| push.sandboxes.is_empty() && !push.shadow) else {
        return Err(refuse(422, "no_selector", "a canary begins with a share of the sandboxes that labels select")
            .hint("use --selector, and neither --sandbox nor --shadow"));
    };
    let _one_at_a_time = gateway.locks.rollouts().await?;
    let id = ulid::Ulid::generate().to_string();
    let rows = matching(gateway, &selector).await?;
    for running in gateway.store.running_rollouts().await? {
        let shared = rows.iter().find(|row| running.canaries.iter().any(|canary| canary.sandbox_id == row.id));
        if let (true, Some(row)) = (running.binding.name == binding.name, shared) {
            let detail = format!("rollout {} of {} already runs on sandbox {}", running.id, binding.name, row.name);
            return Err(refuse(409, "rollout_running", detail).hint(format!(
                "end it first: `openshell policy promote --canary {0}` or `openshell policy rollback --canary {0}`",
                running.id
            )));
        }
    }
    let live = |row: &SandboxRow| row.phase == Phase::Running && gateway.connected(row);
    let rows = chosen(rows, share, &id, live)?;
    let compile = began.elapsed();

    let _locks = gateway.locks.shared().await?.and(rows.iter().map(|row| row.id.as_str())).await?;
    let (mut targets, mut before) = (Vec::with_capacity(rows.len()), BTreeSet::new());
    for row in rows {
        let mut target = Target::of(gateway, still_there(gateway, row).await?).await?;
        before.extend(super::requests::imports(&target.current.content));
        place(&mut target.next, module, &binding, push.replace_all);
        targets.push(target);
    }
    let canaries = targets.iter().map(|target| Canary {
        sandbox_id: target.row.id.clone(),
        sandbox: target.row.name.clone(),
        generation: target.current.number + 1,
    });
    let rollout = Rollout {
        id: id.clone(),
        selector,
        percent: share.percent,
        max_failures: share.max_failures,
        replace_all: push.replace_all,
        canaries: canaries.collect(),
        state: RolloutState::Running,
        created_at: jiff::Timestamp::now(),
        ended_at: None,
        reason: None,
        binding: binding.clone(),
    };
    let cause = format!("canary {}@{}", binding.name, binding.version);
    let done = carry_out(gateway, permit, targets, &cause, Effect::PutRollout(Box::new(rollout)), Reach::Each).await?;
    let imports = binding.granted_imports.into_iter().collect();
    Ok(PushReport { rollout: Some(id), ..report(done, &before, &imports, compile, began) })
}

async fn running(gateway: &Gateway, id: &str) -> ApiResult<Rollout> {
    let rollout = gateway
        .store
        .rollout(id)
        .await?
        .ok_or_else(|| ApiError::not_found("rollout", id).hint("`openshell policy status` lists them"))?;
    let word = match rollout.state {
        RolloutState::Running => return Ok(rollout),
        RolloutState::Promoted => "promoted",
        RolloutState::RolledBack => "taken back",
    };
    Err(refuse(409, "rollout_ended", format!("rollout {id} was {word} already")))
}

/// Binds a rollout's module on every other sandbox that its labels select, all or none; those that are away catch up. Refuses,
/// with every reason, one that gave no answer too often or was hardly asked.
pub async fn promote_rollout(
    gateway: Arc<Gateway>,
    permit: Permit<Operate>,
    id: String,
    promote: PromoteRollout,
) -> ApiResult<PushReport> {
    let began = Instant::now();
    let _one_at_a_time = gateway.locks.rollouts().await?;
    let mut rollout = running(&gateway, &id).await?;
    let count = counted(&gateway, &rollout).await?;
    let mut objections = Vec::new();
    if count.asked < promote.min_decisions {
        let least = promote.min_decisions;
        objections.push(format!("it had a say in {} decisions, and {least} are wanted", count.asked));
    }
    if count.failures > rollout.max_failures {
        objections.push(format!("it gave no answer {} times", count.failures));
    }
    if !objections.is_empty() {
        let detail = format!("{} stays on its canaries: {}", rollout.binding.name, objections.join("; "));
        return Err(refuse(409, "not_promoted", detail).hint("see `openshell policy status`"));
    }
    let module = known_module(&gateway, &rollout.binding.module).await?;
    let publisher = gateway.modules.vouched(&gateway.store, &module).await?;
    let fresh = refreshed(&gateway, std::slice::from_ref(&rollout.binding)).await?.pop();
    let fresh = fresh.ok_or_else(|| ApiError::internal("the rollout has no binding"))?;
    let binding = Binding { publisher, ..fresh };
    let compile = began.elapsed();

    let rows = matching(&gateway, &rollout.selector).await?;
    let _locks = gateway.locks.shared().await?.and(rows.iter().map(|row| row.id.as_str())).await?;
    let (mut targets, mut before) = (Vec::new(), BTreeSet::new());
    for row in rows {
        // One that was deleted meanwhile needs nothing.
        let Some(row) = gateway.store.sandbox(&row.id).await? else { continue };
        let mut target = Target::of(&gateway, row).await?;
        if has(&target, &binding) {
            continue;
        }
        before.extend(super::requests::imports(&target.current.content));
        place(&mut target.next, &module, &binding, rollout.replace_all);
        targets.push(target);
    }
    rollout.state = RolloutState::Promoted;
    rollout.ended_at = Some(jiff::Timestamp::now());
    let cause = format!("promote canary {}@{}", binding.name, binding.version);
    let done =
        carry_out(&gateway, &permit, targets, &cause, Effect::PutRollout(Box::new(rollout)), Reach::Connected).await?;
    let imports = binding.granted_imports.into_iter().collect();
    Ok(PushReport { rollout: Some(id), ..report(done, &before, &imports, compile, began) })
}

fn has(target: &Target, binding: &Binding) -> bool {
    let content = &target.current.content;
    content
        .chain
        .iter()
        .chain(&content.router)
        .any(|bound| bound.name == binding.name && bound.artifact == binding.artifact)
}

/// Takes a rollout back from its canaries: each gets what the rollout replaced. A canary whose policy was changed since keeps
/// that change; one that is away catches up.
pub async fn roll_back(
    gateway: Arc<Gateway>,
    permit: Permit<Operate>,
    id: String,
    reason: String,
) -> ApiResult<Rollout> {
    let _one_at_a_time = gateway.locks.rollouts().await?;
    let mut rollout = running(&gateway, &id).await?;
    let mut reason = reason;
    for canary in &rollout.canaries {
        if let Some(row) = gateway.store.sandbox(&canary.sandbox_id).await? {
            permit.owns(&row)?;
        }
    }
    for canary in &rollout.canaries {
        // One by one: a sandbox that refuses must not keep the others from getting well.
        if let Err(error) = take_back(&gateway, &permit, &rollout, canary).await {
            tracing::error!(rollout = id, sandbox = canary.sandbox.as_str(), %error, "a canary could not be taken back");
            reason.push_str(&format!("; {} still has it: {error}", canary.sandbox));
        }
    }
    rollout.state = RolloutState::RolledBack;
    rollout.ended_at = Some(jiff::Timestamp::now());
    rollout.reason = Some(reason);
    let change =
        permit.change(&rollout.id).after(serde_json::json!({ "state": rollout.state, "reason": rollout.reason }));
    gateway.store.commit(&[], &Effect::PutRollout(Box::new(rollout.clone())), &change).await?;
    Ok(rollout)
}

async fn take_back(gateway: &Gateway, permit: &Permit<Operate>, rollout: &Rollout, canary: &Canary) -> ApiResult<()> {
    // By id: another sandbox may bear the name by now.
    let Some(row) = gateway.store.sandbox(&canary.sandbox_id).await? else { return Ok(()) };
    let (mut target, _locks) = alone(gateway, row.name.as_str()).await?;
    let base = gateway.store.generation(&canary.sandbox_id, canary.generation - 1).await?;
    let base = base.ok_or_else(|| ApiError::not_found("generation", canary.generation - 1))?.content;
    let ours = |bound: &Binding| bound.is_same_policy(&rollout.binding);
    let now = &target.current.content;
    if let Some(at) = now.chain.iter().position(ours) {
        if rollout.replace_all && now.chain.len() == 1 {
            target.next.chain = refreshed(gateway, &base.chain).await?;
        } else {
            let old: Vec<Binding> = base.chain.iter().filter(|old| old.name == rollout.binding.name).cloned().collect();
            target.next.chain.splice(at..=at, refreshed(gateway, &old).await?);
        }
        target.next.observe = base.observe;
    }
    if now.router.as_ref().is_some_and(ours) {
        let old = refreshed(gateway, base.router.as_slice()).await?.pop();
        target.next.router = router_for(gateway, &target.next.catalogue, old).await?;
    }
    if target.next == target.current.content {
        return Ok(());
    }
    let cause = format!("roll back canary {}@{}", rollout.binding.name, rollout.binding.version);
    carry_out(gateway, permit, vec![target], &cause, Effect::None, Reach::Connected).await.map(drop)
}
