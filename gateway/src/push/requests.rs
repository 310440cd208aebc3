//! Pushes and rollbacks, as users ask for them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use openshell_api::Name;
use openshell_api::generation::Content;
use openshell_api::inference::InferenceRules;
use openshell_api::module::Binding;
use openshell_api::push::{Push, PushReport, PushTiming, Rollback};
use openshell_api::rollout::Rollout;
use openshell_api::sandbox::Phase;
use openshell_api::shadow::{Promote, ShadowReport};

use super::plan::{Target, decides, known_module, place, place_shadow, put, refreshed, replaced, router_for};
use super::two_phase::{Done, Reach, carry_out};
use crate::error::{ApiError, ApiResult, refuse};
use crate::etag::Expected;
use crate::gateway::Gateway;
use crate::identity::{Administer, Operate, Permit};
use crate::locks::Held;
use crate::modules::BindRequest;
use crate::store::{Effect, SandboxRow};

/// How far back a rollback looks for other content.
const ROLLBACK_DEPTH: u32 = 1000;

/// Binds a module on sandboxes, all or none.
pub async fn push(gateway: Arc<Gateway>, permit: Permit<Operate>, push: Push) -> ApiResult<PushReport> {
    let began = Instant::now();
    let rows = targets(&gateway, &push).await?;
    for row in &rows {
        permit.owns(row)?;
    }
    let module = known_module(&gateway, &push.module).await?;
    if push.shadow && (push.replace_all || !decides(&module)) {
        return Err(refuse(
            422,
            "no_shadow",
            "a shadow judges connections, requests or responses, and replaces nothing",
        )
        .hint("push it without `replace_all`; a router has no shadow"));
    }
    let request = BindRequest {
        module: &module,
        name: push.binding.as_ref(),
        settings: push.settings.clone().unwrap_or_default(),
        reuse: push.reuse,
        deadline_ms: push.deadline_ms,
    };
    let binding = gateway.modules.bind(&gateway.store, &gateway.signing.key(), request).await?;
    if let Some(share) = push.canary {
        return super::canary::begin(&gateway, &permit, &push, share, (&module, binding), began).await;
    }
    let compile = began.elapsed();

    let _locks = gateway.locks.shared().await?.and(rows.iter().map(|row| row.id.as_str())).await?;
    // Again: a publisher may have been added since.
    gateway.modules.vouched(&gateway.store, &module).await?;
    let mut targets = Vec::with_capacity(rows.len());
    let mut imported_before = BTreeSet::new();
    for row in rows {
        let mut target = Target::of(&gateway, still_there(&gateway, row).await?).await?;
        if let Some(old) = replaced(&target.current.content, &module, &binding.name) {
            imported_before.extend(old.granted_imports.iter().cloned());
        }
        if push.shadow {
            place_shadow(&mut target.next, &binding);
        } else {
            place(&mut target.next, &module, &binding, push.replace_all);
        }
        targets.push(target);
    }
    let how = if push.shadow { "shadow" } else { "push" };
    let cause = format!("{how} {}@{}", module.name, module.version);
    // Who is named must be there; of those that labels select, the ones that are away catch up.
    let reach = if push.sandboxes.is_empty() { Reach::Connected } else { Reach::Each };
    let done = carry_out(&gateway, &permit, targets, &cause, Effect::None, reach).await?;
    let imports_now: BTreeSet<String> = binding.granted_imports.into_iter().collect();
    Ok(report(done, &imported_before, &imports_now, compile, began))
}

/// Obeys a shadow from now on, or throws it away. Refuses, with every reason, one that would have changed too much, gave
/// no answer, or was hardly asked.
pub async fn promote(
    gateway: Arc<Gateway>,
    permit: Permit<Operate>,
    name: String,
    promote: Promote,
) -> ApiResult<PushReport> {
    let began = Instant::now();
    let (mut target, _locks) = alone(&gateway, &name).await?;
    let shadow = chosen(&target.current.content, &name, promote.binding.as_ref())?.clone();
    target.next.shadow.retain(|other| other.name != shadow.name);
    if !promote.discard {
        let reports = crate::shadow::reports(&gateway, &name).await?;
        let report = reports.iter().find(|report| report.binding == shadow.name);
        let report = report.ok_or_else(|| ApiError::not_found("shadow", &shadow.name))?;
        let objections = objections(report, &promote);
        if !objections.is_empty() {
            return Err(refuse(
                409,
                "not_promoted",
                format!("{} stays a shadow: {}", shadow.name, objections.join("; ")),
            )
            .hint(format!("see what it would have changed: `openshell policy shadow-report {name}`")));
        }
        target.next.observe = false;
        put(&mut target.next.chain, &shadow);
    }
    let (before, after) = (imports(&target.current.content), imports(&target.next));
    let how = if promote.discard { "discard" } else { "promote" };
    let cause = format!("{how} {}@{}", shadow.name, shadow.version);
    let compile = began.elapsed();
    let done = carry_out(&gateway, &permit, vec![target], &cause, Effect::None, Reach::Each).await?;
    Ok(report(done, &before, &after, compile, began))
}

fn chosen<'a>(content: &'a Content, sandbox: &str, wanted: Option<&Name>) -> ApiResult<&'a Binding> {
    let names = || content.shadow.iter().map(|shadow| shadow.name.to_string()).collect::<Vec<_>>().join(", ");
    match (wanted, content.shadow.as_slice()) {
        (Some(name), shadows) => shadows.iter().find(|shadow| shadow.name == *name).ok_or_else(|| {
            ApiError::not_found("shadow", format!("{name} on sandbox {sandbox}")).hint(format!("it has: {}", names()))
        }),
        (None, [only]) => Ok(only),
        (None, []) => Err(ApiError::not_found("shadow", format!("on sandbox {sandbox}"))
            .hint("bind one with `openshell policy push --shadow`")),
        (None, _) => Err(refuse(409, "which_shadow", format!("sandbox {sandbox} has several shadows: {}", names()))
            .hint("name one in `binding`")),
    }
}

fn objections(report: &ShadowReport, promote: &Promote) -> Vec<String> {
    let mut objections = Vec::new();
    if report.asked < promote.min_decisions {
        let least = promote.min_decisions;
        objections.push(format!("it was asked about {} decisions, and {least} are wanted", report.asked));
    }
    if report.flips > promote.max_flips {
        let most = promote.max_flips;
        objections
            .push(format!("it would have changed {} of {} decisions, and {most} may be", report.flips, report.asked));
    }
    if report.failures > 0 {
        let reasons: Vec<&str> = report.reasons.keys().map(String::as_str).take(3).collect();
        objections.push(format!("it gave no answer {} times ({})", report.failures, reasons.join(", ")));
    }
    objections
}

/// Brings the chain and router of an older generation back, under a new number. Ceiling, backends and credentials stay
/// as they are now: rolling a policy back must not undo what the gateway's administrator changed since.
pub async fn rollback(
    gateway: Arc<Gateway>,
    permit: Permit<Operate>,
    name: String,
    rollback: Rollback,
) -> ApiResult<PushReport> {
    let began = Instant::now();
    let (mut target, _locks) = alone(&gateway, &name).await?;
    let (number, old) = older(&gateway, &target, &rollback).await?;

    for binding in old.chain.iter().chain(&old.router) {
        gateway.modules.still_vouched(&gateway.store, binding).await?;
    }
    target.next.chain = refreshed(&gateway, &old.chain).await?;
    let router = refreshed(&gateway, old.router.as_slice()).await?.pop();
    let catalogue = target.next.catalogue.clone();
    target.next.router = router_for(&gateway, &catalogue, router).await?;
    let compile = began.elapsed();
    let (before, after) = (imports(&target.current.content), imports(&target.next));
    let cause = format!("rollback to {number}");
    let done = carry_out(&gateway, &permit, vec![target], &cause, Effect::None, Reach::Each).await?;
    Ok(report(done, &before, &after, compile, began))
}

/// Replaces budgets, aliases and models of a sandbox; they hold once this answers. For administrators: whoever may spend must not be
/// who says how much.
pub async fn set_inference(
    gateway: Arc<Gateway>,
    permit: Permit<Administer>,
    name: String,
    rules: InferenceRules,
    expected: Expected,
) -> ApiResult<InferenceRules> {
    let (mut target, _locks) = alone(&gateway, &name).await?;
    expected.check(&format!("what inference of sandbox {name} may cost"), &target.next.inference)?;
    target.next.inference = rules.clone();
    carry_out(&gateway, &permit, vec![target], "set inference rules", Effect::None, Reach::Connected).await?;
    Ok(rules)
}

async fn older(gateway: &Gateway, target: &Target, rollback: &Rollback) -> ApiResult<(u64, Content)> {
    let (id, name) = (&target.row.id, &target.row.name);
    if let Some(number) = rollback.to {
        let generation = gateway.store.generation(id, number).await?.ok_or_else(|| {
            ApiError::not_found("generation", format!("{number} of sandbox {name}"))
                .hint(format!("`openshell policy history {name}` lists them"))
        })?;
        return Ok((number, generation.content));
    }
    let now = &target.current.content;
    let differs = |content: &Content| {
        !same(&content.chain, &now.chain)
            || (content.router.is_some()
                && now.router.is_some()
                && !same(content.router.as_slice(), now.router.as_slice()))
    };
    let generations = gateway.store.generations(id, ROLLBACK_DEPTH).await?;
    let found = generations.into_iter().find(|generation| differs(&generation.content));
    found.map(|generation| (generation.number, generation.content)).ok_or_else(|| {
        refuse(409, "nothing_to_roll_back", format!("sandbox {name} never enforced another policy than it does now"))
    })
}

/// Whether they are the same policies, whoever signed their artifacts.
fn same(some: &[Binding], others: &[Binding]) -> bool {
    let same =
        |(one, other): (&Binding, &Binding)| Binding { artifact: other.artifact.clone(), ..one.clone() } == *other;
    some.len() == others.len() && some.iter().zip(others).all(same)
}

/// The sandboxes that a push names or selects, each once.
async fn targets(gateway: &Gateway, push: &Push) -> ApiResult<Vec<SandboxRow>> {
    let names: BTreeSet<&Name> = push.sandboxes.iter().collect();
    if names.is_empty() && push.selector.is_none() {
        return Err(refuse(422, "no_sandbox", "the push names no sandbox")
            .hint("name at least one in `sandboxes`, or select some by `selector`"));
    }
    let mut rows = Vec::with_capacity(names.len());
    for name in &names {
        let row = gateway.store.sandbox_named(name.as_str()).await?;
        rows.push(row.ok_or_else(|| sandbox_not_found(name))?);
    }
    if let Some(selector) = &push.selector {
        rows.extend(matching(gateway, selector).await?.into_iter().filter(|row| !names.contains(&row.name)));
    }
    if rows.is_empty() {
        return Err(refuse(422, "no_sandbox", "no sandbox has the labels that the push selects by")
            .hint("`openshell sandbox list` shows labels"));
    }
    Ok(rows)
}

/// The sandboxes that have all of these labels and are not being deleted.
pub(super) async fn matching(gateway: &Gateway, selector: &BTreeMap<String, String>) -> ApiResult<Vec<SandboxRow>> {
    let mut rows = gateway.store.sandboxes().await?;
    let labels = |row: &SandboxRow| selector.iter().all(|(key, value)| row.spec.labels.get(key) == Some(value));
    rows.retain(|row| row.phase != Phase::Deleting && labels(row));
    Ok(rows)
}

/// How many sandboxes a rollout's labels select that do not have its policy.
pub async fn lacking(gateway: &Gateway, rollout: &Rollout) -> ApiResult<u64> {
    let mut lacking = 0;
    for row in matching(gateway, &rollout.selector).await? {
        let newest = gateway.store.newest_generation(&row.id).await?;
        let ours = |bound: &Binding| bound.is_same_policy(&rollout.binding);
        lacking += u64::from(!newest.is_some_and(|newest| newest.content.bindings().any(ours)));
    }
    Ok(lacking)
}

/// One sandbox, kept from every other change for as long as the locks live.
pub(super) async fn alone<'a>(gateway: &'a Gateway, name: &str) -> ApiResult<(Target, Held<'a>)> {
    let row = gateway.store.sandbox_named(name).await?.ok_or_else(|| sandbox_not_found(name))?;
    let locks = gateway.locks.shared().await?.and([row.id.as_str()]).await?;
    let target = Target::of(gateway, still_there(gateway, row).await?).await?;
    Ok((target, locks))
}

/// The row as it is under its lock: it may have been deleted while the lock was waited for.
pub(super) async fn still_there(gateway: &Gateway, row: SandboxRow) -> ApiResult<SandboxRow> {
    gateway.store.sandbox(&row.id).await?.ok_or_else(|| sandbox_not_found(&row.name))
}

/// No sandbox of that name.
pub fn sandbox_not_found(name: impl std::fmt::Display) -> ApiError {
    ApiError::not_found("sandbox", name).hint("`openshell sandbox list` shows those that exist")
}

pub(super) fn imports(content: &Content) -> BTreeSet<String> {
    let bindings = content.chain.iter().chain(&content.router);
    bindings.flat_map(|binding| binding.granted_imports.iter().cloned()).collect()
}

pub(super) fn report(
    done: Done,
    before: &BTreeSet<String>,
    after: &BTreeSet<String>,
    compile: Duration,
    began: Instant,
) -> PushReport {
    PushReport {
        enforcing: done.enforcing,
        newly_imports: after.difference(before).cloned().collect(),
        no_longer_imports: before.difference(after).cloned().collect(),
        timing: timing(compile, done.stage, done.activate, began),
        rollout: None,
    }
}

fn timing(compile: Duration, stage: Duration, activate: Duration, began: Instant) -> PushTiming {
    let us = |duration: Duration| u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
    PushTiming {
        compile_us: us(compile),
        stage_us: us(stage),
        activate_us: us(activate),
        total_us: us(began.elapsed()),
    }
}
