//! The two phases: stage everywhere, commit, activate everywhere.
//!
//! Until the commit any refusal, silence or lost link takes everything back. After it, a sandbox that was lost catches up
//! when it returns; nothing is taken back any more.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use futures_util::stream::FuturesUnordered;
use futures_util::{StreamExt as _, TryStreamExt as _};
use openshell_api::generation::{Content, Generation, SignedGeneration};
use openshell_api::link::ToSupervisor;
use openshell_api::push::Enforcing;

use super::plan::Target;
use super::renewal::with_present_key;
use super::{secret_names, secrets};
use crate::audit::Change;
use crate::error::{ApiResult, refuse};
use crate::gateway::Gateway;
use crate::identity::{Permit, Right};
use crate::link::Link;
use crate::link::attempt::{self, AttemptError, Staged};
use crate::store::{Effect, NewGeneration};

/// Ways to other gateways that are opened at the same time, at most.
const MAX_OPENING: usize = 32;

/// Acknowledgements that are kept in one write, at most.
const MAX_CHUNK: usize = 512;

/// Which sandboxes must take part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    /// Each of them: one that is not connected refuses the whole.
    Each,
    /// Those that are connected; the others catch up.
    Connected,
}

/// What became of a change that went all the way.
pub(super) struct Done {
    pub enforcing: Vec<Enforcing>,
    pub stage: Duration,
    pub activate: Duration,
}

struct Prepared {
    target: Target,
    link: Option<Arc<Link>>,
    number: u64,
    signed: SignedGeneration,
}

/// Brings every target to its next content, or none. The caller holds the locks of all of them. Refuses a target that belongs to
/// somebody else.
pub(super) async fn carry_out<R: Right>(
    gateway: &Gateway,
    permit: &Permit<R>,
    targets: Vec<Target>,
    cause: &str,
    effect: Effect,
    reach: Reach,
) -> ApiResult<Done> {
    let began = Instant::now();
    for target in &targets {
        permit.owns(&target.row)?;
    }
    let change = super::told::change(permit, &targets, cause, &effect, &gateway.store).await?;
    carry_out_as(gateway, change, targets, cause, effect, reach, began).await
}

/// The same for a change that is told already, and whose targets may be anybody's.
pub(super) async fn carry_out_as(
    gateway: &Gateway,
    change: Change,
    targets: Vec<Target>,
    cause: &str,
    effect: Effect,
    reach: Reach,
    began: Instant,
) -> ApiResult<Done> {
    let push = ulid::Ulid::generate().to_string();
    // Those that are linked to other gateways are reached side by side.
    let preparing = targets.into_iter().map(|target| prepare(gateway, target, cause, reach));
    let prepared: Vec<Prepared> = futures_util::stream::iter(preparing).buffered(MAX_OPENING).try_collect().await?;
    let staged = stage_all(gateway, &push, &prepared).await?;
    let stage = began.elapsed();

    let generations: Vec<NewGeneration> = prepared
        .iter()
        .map(|one| NewGeneration {
            sandbox_id: one.target.row.id.clone(),
            number: one.number,
            signed: one.signed.clone(),
        })
        .collect();
    if let Err(error) = gateway.store.commit(&generations, &effect, &change).await {
        abort_all(gateway, &prepared, staged).await;
        return Err(error.into());
    }

    let committed = Instant::now();
    let enforcing = activate_all(gateway, &prepared, staged, reach).await?;
    Ok(Done { enforcing, stage, activate: committed.elapsed() })
}

async fn prepare(gateway: &Gateway, mut target: Target, cause: &str, reach: Reach) -> ApiResult<Prepared> {
    let link = gateway.link(&target.row.id).await?;
    if link.is_none() && reach == Reach::Each {
        let name = &target.row.name;
        return Err(refuse(
            409,
            "sandbox_not_connected",
            format!("sandbox {name} is not connected ({:?}); nothing was changed anywhere", target.row.phase)
                .to_lowercase(),
        )
        .hint(format!("see `openshell sandbox get {name}`; push again once it runs, or without it")));
    }
    // It may have been compiled before the key turned.
    with_present_key(gateway, &mut target.next, Some(&target.current.content)).await?;
    let number = target.current.number + 1;
    let signed = sign(gateway, &target.row.id, number, cause, &target.next)?;
    Ok(Prepared { target, link, number, signed })
}

/// Signs a content as a generation.
pub(super) fn sign(
    gateway: &Gateway,
    sandbox_id: &str,
    number: u64,
    cause: &str,
    content: &Content,
) -> ApiResult<SignedGeneration> {
    let generation = Generation {
        sandbox_id: sandbox_id.to_owned(),
        number,
        created_at: jiff::Timestamp::now(),
        cause: cause.to_owned(),
        content: content.clone(),
    };
    Ok(SignedGeneration::sign(&generation, &gateway.signing.key())?)
}

/// What each prepared sandbox answered; `None`: it is not connected and catches up later.
type StagedAll = Vec<Option<Staged>>;

async fn stage_all(gateway: &Gateway, push: &str, prepared: &[Prepared]) -> ApiResult<StagedAll> {
    let signer = gateway.signing.public();
    let answers = join_all(prepared.iter().map(|one| async {
        let Some(link) = &one.link else { return Ok(None) };
        if secret_names(&one.target.next) != secret_names(&one.target.current.content) {
            let values = secrets(gateway, &one.target.next).await.map_err(|error| error.0.detail)?;
            let sent = link.send(ToSupervisor::Secrets { values }).await;
            sent.map_err(|error| error.to_string())?;
        }
        let staged = attempt::stage(link.clone(), push, &signer, one.signed.clone(), &one.target.next).await;
        staged.map(Some).map_err(|error| error.to_string())
    }))
    .await;

    let mut staged = Vec::with_capacity(answers.len());
    let mut refusals = Vec::new();
    for (one, answer) in prepared.iter().zip(answers) {
        match answer {
            Ok(answer) => staged.push(answer),
            Err(reason) => {
                refusals.push(format!("{}: {reason}", one.target.row.name));
                staged.push(None);
            }
        }
    }
    if refusals.is_empty() {
        return Ok(staged);
    }
    abort_all(gateway, prepared, staged).await;
    Err(refuse(
        409,
        "not_staged",
        format!(
            "refused by {} of {} sandboxes, so nothing was changed anywhere: {}",
            refusals.len(),
            prepared.len(),
            refusals.join("; ")
        ),
    )
    .hint("correct the policy or its settings, or push without the sandboxes that refused"))
}

async fn abort_all(gateway: &Gateway, prepared: &[Prepared], staged: StagedAll) {
    join_all(prepared.iter().zip(staged).map(|(one, staged)| async {
        if let Some(staged) = staged {
            staged.abort().await;
        }
        let before = &one.target.current.content;
        if let Some(link) = &one.link
            && secret_names(&one.target.next) != secret_names(before)
            && let Ok(values) = secrets(gateway, before).await
        {
            // A closed link gets its secrets when it returns.
            let _ = link.send(ToSupervisor::Secrets { values }).await;
        }
    }))
    .await;
}

async fn activate_all(
    gateway: &Gateway,
    prepared: &[Prepared],
    staged: StagedAll,
    reach: Reach,
) -> ApiResult<Vec<Enforcing>> {
    let activating = prepared.iter().zip(staged).filter_map(|(one, staged)| {
        let staged = staged?;
        Some(async move { (one, staged.activate().await) })
    });
    // Whoever has answered by then shares one write: a thousand acknowledgements are a few of them.
    let mut answers = activating.collect::<FuturesUnordered<_>>().ready_chunks(MAX_CHUNK);
    let (mut enforcing, mut failed) = (Vec::new(), Vec::new());
    while let Some(chunk) = answers.next().await {
        let mut acknowledged = Vec::with_capacity(chunk.len());
        for (one, answer) in chunk {
            match answer {
                Ok(enforced) => acknowledged.push((one, enforced)),
                Err(error) => {
                    // Back in step as soon as it returns: it will say an older generation in its Hello.
                    if let (Some(link), false) = (&one.link, matches!(error, AttemptError::Closed(_))) {
                        link.close();
                    }
                    failed.push(format!("{}: {error}", one.target.row.name));
                }
            }
        }
        let kept: Vec<(&str, u64)> =
            acknowledged.iter().map(|(one, enforced)| (one.target.row.id.as_str(), enforced.generation)).collect();
        let kept = gateway.store.set_enforcing(&kept).await;
        for (one, enforced) in acknowledged {
            let name = one.target.row.name.clone();
            let attempt::Enforced { generation, connections_cut, swap_ns } = enforced;
            match &kept {
                Ok(()) => enforcing.push(Enforcing { sandbox: name, generation, connections_cut, swap_ns }),
                Err(error) => failed.push(format!("{name}: {error}")),
            }
        }
    }
    gateway.changed.sandboxes();
    enforcing.sort_by(|one, other| one.sandbox.cmp(&other.sandbox));
    if failed.is_empty() || reach == Reach::Connected {
        for reason in failed {
            tracing::warn!(reason, "a sandbox will catch up with a committed generation");
        }
        return Ok(enforcing);
    }
    Err(refuse(
        504,
        "not_acknowledged",
        format!("committed, but not yet acknowledged by every sandbox: {}", failed.join("; ")),
    )
    .hint("they will enforce it as soon as they are back in touch; see `openshell sandbox list`"))
}
