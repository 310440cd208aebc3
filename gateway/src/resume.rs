//! Stopping sandboxes and starting them again: same id, workspace, generation and logs.
//!
//! A sandbox is `stopped` in the database from before its supervisor starts again until that supervisor says that it
//! runs. A gateway that is killed in between finds either a stopped sandbox or one that runs, and both are true.
//!
//! Where nothing is kept of a sandbox that ended, as in a Swarm, it is not stopped, and not started again as if nothing were missing; nor is
//! one whose container somebody else removed.
//!
//! A sandbox whose machine is lost may be started on another one: same id, generation and logs; its files stay where they are. It is
//! stopped there, and the credentials of its old supervisor are void, in one transaction.

use std::sync::Arc;

use openshell_api::Name;
use openshell_api::link::ToSupervisor;
use openshell_api::runtime::RuntimeHealth;
use openshell_api::sandbox::{Phase, Sandbox};
use serde_json::json;

use crate::audit::Change;
use crate::error::{ApiError, ApiResult, refuse};
use crate::gateway::Gateway;
use crate::identity::{Operate, Permit, supervisors, tokens};
use crate::lifecycle::{self, GRACE};
use crate::locks::Held;
use crate::machines;
use crate::push;
use crate::runtime::Wanted;
use crate::store::SandboxRow;

/// Ends a sandbox's supervisor and everything in it; keeps all it holds. Stopping a stopped one changes nothing. Refuses where nothing would
/// be kept.
pub async fn stop(gateway: Arc<Gateway>, permit: Permit<Operate>, name: String) -> ApiResult<Sandbox> {
    let (row, _lock) = locked(&gateway, &permit, &name).await?;
    if let (false, Some(why)) = (row.phase == Phase::Stopped, gateway.runtime.forgets(&row.runtime)) {
        return Err(forgotten(&row, why).hint(format!(
            "`openshell sandbox download` fetches what is to stay, `openshell sandbox delete {name}` ends it"
        )));
    }
    if row.phase != Phase::Stopped || gateway.runtime.is_starting(&row.id) {
        gateway.store.tell(&phases(&permit, &row, Phase::Stopped)).await?;
        end(&gateway, &row).await?;
    }
    shown(&gateway, &row.id, &name).await
}

/// Where a sandbox is to be started.
#[derive(Debug, Clone)]
pub enum Whereto {
    /// Where it was.
    There,
    /// On another machine than the one that is lost.
    Elsewhere {
        /// Which; absent: whichever fits.
        runtime: Option<Name>,
    },
}

/// Starts a sandbox again that was stopped, has exited or failed; answers when it runs. If it does not come up, it is
/// stopped. Refuses one that runs, and one whose machine is lost, or of which nothing was kept, unless it is to be started elsewhere.
pub async fn start(gateway: Arc<Gateway>, permit: Permit<Operate>, name: String, to: Whereto) -> ApiResult<Sandbox> {
    let (row, locks) = match to {
        Whereto::There => locked(&gateway, &permit, &name).await?,
        // No runtime is taken away while it goes there.
        Whereto::Elsewhere { .. } => {
            let shared = gateway.locks.shared().await?;
            let id = gateway.store.sandbox_named(&name).await?.ok_or_else(|| push::sandbox_not_found(&name))?.id;
            let locks = shared.and([id.as_str()]).await?;
            (still_there(&gateway, &permit, &id, &name).await?, locks)
        }
    };
    let forgets = gateway.runtime.forgets(&row.runtime);
    let missing = missing(&gateway, &row, &to).await?;
    let kept = forgets.is_none() && missing.is_none();
    let to = match to {
        Whereto::Elsewhere { runtime: Some(runtime) } if runtime == row.runtime && kept => Whereto::There,
        to => to,
    };
    let lost = gateway.is_lost(&row);
    let runs = matches!(row.phase, Phase::Starting | Phase::Running | Phase::Deleting | Phase::Lost) && !lost;
    let starting = match gateway.runtime.starting(&row.id) {
        Some(starting) if !runs => starting,
        _ => {
            return Err(refuse(409, "sandbox_running", format!("sandbox {name} runs already"))
                .hint("stop it first, or run a command in it"));
        }
    };
    let token = tokens::generate(supervisors::PREFIX)?;
    let mut fresh = row.generation == 0;
    // Whoever says where a lost one is to go has more in mind than where it was to be.
    let named = matches!(to, Whereto::Elsewhere { runtime: Some(_) });
    match to {
        Whereto::Elsewhere { runtime } => {
            move_away(&gateway, &permit, &row, (runtime.as_ref(), kept), &tokens::hash(&token)).await?;
            fresh = true;
        }
        Whereto::There if lost || gateway.runtime.health(row.runtime.as_str()) == Some(RuntimeHealth::Lost) => {
            let why = match gateway.runtime.node(&row).filter(|node| node.gone) {
                Some(node) => format!("the node {} of sandbox {name} is down: it may still run there", node.name),
                None => format!("the runtime {} of sandbox {name} is lost: it may still run there", row.runtime),
            };
            return Err(refuse(409, "sandbox_lost", why).hint(format!(
                "`openshell sandbox start {name} --elsewhere` starts it on another machine, without the files that it has there"
            )));
        }
        Whereto::There if row.phase != Phase::Stopped && forgets.is_some() => {
            return Err(forgotten(&row, forgets.unwrap_or_default())
                .hint(format!("`openshell sandbox start {name} --elsewhere` starts it anew, without its files")));
        }
        Whereto::There if missing.is_some() => {
            return Err(forgotten(&row, missing.unwrap_or_default()).hint(format!(
                "`openshell sandbox start {name} --runtime {}` starts it anew, without its files; `openshell sandbox delete {name}` ends it",
                row.runtime
            )));
        }
        Whereto::There => {
            if matches!(row.phase, Phase::Exited | Phase::Failed) {
                end(&gateway, &row).await?;
            }
            gateway.store.tell(&phases(&permit, &row, Phase::Running)).await?;
            gateway.store.first_supervisor_key(&row.id, &tokens::hash(&token)).await?;
            gateway.store.set_phase(&row.id, Phase::Stopped, None, None).await?;
        }
    }
    let newest = gateway.store.newest_generation(&row.id).await?;
    let newest = newest.ok_or_else(|| ApiError::not_found("generation", &name))?;
    let mut launch = lifecycle::launch_spec(&gateway, &row.id, &row.name, (&row.spec, &newest.content), &token)?;
    if named {
        launch.spec.on.clear();
    }
    // One that enforces nothing is to be brought its newest generation meanwhile, under these locks.
    let mut locks = (!fresh).then_some(locks);
    let started = {
        let mut started = std::pin::pin!(lifecycle::start(&gateway, &row.id, &launch));
        tokio::select! {
            started = &mut started => started,
            () = begins_with_nothing(&gateway, &row.id) => {
                drop(locks.take());
                started.await
            }
        }
    };
    drop(starting);
    match started {
        Ok(started) => {
            lifecycle::watch(&gateway, &row.id);
            Ok(gateway.shown(started))
        }
        Err(error) => {
            end(&gateway, &row).await?;
            Err(error)
        }
    }
}

/// Waits until a supervisor says that it enforces nothing: what it enforced before may bear the signature of a key that is trusted no more.
async fn begins_with_nothing(gateway: &Gateway, id: &str) {
    let mut changes = gateway.changed.follow_sandboxes();
    loop {
        changes.borrow_and_update();
        if gateway.links.get(id).is_some_and(|link| link.began_with_nothing()) {
            return;
        }
        if changes.changed().await.is_err() {
            return std::future::pending().await;
        }
    }
}

/// Why nothing is kept of a sandbox that has run and ended, although its runtime would have kept it; `None`: it is, or nobody can tell.
/// Refuses one that is to be started where it was and whose runtime does not answer.
async fn missing(gateway: &Gateway, row: &SandboxRow, to: &Whereto) -> ApiResult<Option<&'static str>> {
    let ended = matches!(row.phase, Phase::Stopped | Phase::Exited | Phase::Failed);
    // One that enforces nothing yet has never run there.
    let ran = row.generation > 0;
    let asked = match gateway.runtime.health(row.runtime.as_str()) {
        Some(RuntimeHealth::Answers) => true,
        Some(RuntimeHealth::Silent) => matches!(to, Whereto::There),
        Some(RuntimeHealth::Lost) | None => false,
    };
    if ended && ran && asked { Ok(gateway.runtime.missing(&row.id).await?) } else { Ok(None) }
}

/// Makes a sandbox one of another runtime's, stopped. Refuses while the one that it is in may still be asked, and has kept its files.
async fn move_away(
    gateway: &Gateway,
    permit: &Permit<Operate>,
    row: &SandboxRow,
    (runtime, kept): (Option<&Name>, bool),
    hash: &tokens::TokenHash,
) -> ApiResult<()> {
    let health = gateway.runtime.health(row.runtime.as_str());
    match health {
        None | Some(RuntimeHealth::Lost) => {}
        // Its files are nowhere: no longer, or only where nobody can reach them.
        Some(RuntimeHealth::Answers) if !kept => {}
        Some(RuntimeHealth::Answers | RuntimeHealth::Silent) => {
            let why =
                format!("the runtime {} is not lost, and the files of sandbox {} are there", row.runtime, row.name);
            return Err(refuse(409, "runtime_not_lost", why)
                .hint("start it where it is; a sandbox goes elsewhere once its machine has been silent for a while"));
        }
    }
    machines::take_up(gateway).await?;
    let rows = gateway.store.sandboxes().await?;
    // In a Swarm its scheduler has other nodes; an engine whose container was removed is as good as any.
    let may_stay = !kept && health == Some(RuntimeHealth::Answers);
    let wanted = Wanted { id: &row.id, spec: &row.spec, named: runtime, leaves: Some(&row.runtime), may_stay };
    let place = gateway.runtime.choose(wanted, &rows).await?;
    let phase = if gateway.is_lost(row) { Phase::Lost } else { row.phase };
    let (before, after) = (
        json!({ "phase": phase, "runtime": row.runtime }),
        json!({ "phase": Phase::Running, "runtime": place.runtime }),
    );
    let change = permit.change(&row.name).before(before).after(after);
    gateway.store.move_sandbox(&row.id, &place.runtime, hash, &change).await?;
    place.keep();
    // Whatever held the old credentials has lost the right to.
    gateway.end_link(&row.id).await;
    if may_stay && let Some(machine) = gateway.runtime.machine(row.runtime.as_str()) {
        // What there is of it there goes now; in a Swarm, a node that is down ends it when it is back.
        machine.driver.stop(&row.id, GRACE).await?;
        machine.driver.remove(&row.id).await?;
    }
    Ok(())
}

fn forgotten(row: &SandboxRow, why: &str) -> ApiError {
    refuse(409, "nothing_kept", format!("sandbox {} is in the runtime {}: {why}", row.name, row.runtime))
}

/// Finds a sandbox of the caller's and keeps pushes and other changes of it out.
async fn locked<'a>(gateway: &'a Gateway, permit: &Permit<Operate>, name: &str) -> ApiResult<(SandboxRow, Held<'a>)> {
    let row = gateway.store.sandbox_named(name).await?.ok_or_else(|| push::sandbox_not_found(name))?;
    let lock = gateway.locks.sandbox(&row.id).await?;
    Ok((still_there(gateway, permit, &row.id, name).await?, lock))
}

/// A sandbox of the caller's as it is now: it may have changed while its lock was waited for.
async fn still_there(gateway: &Gateway, permit: &Permit<Operate>, id: &str, name: &str) -> ApiResult<SandboxRow> {
    let row = gateway.store.sandbox(id).await?.ok_or_else(|| push::sandbox_not_found(name))?;
    match row.phase {
        Phase::Deleting => Err(push::sandbox_not_found(name)),
        _ => permit.owns(&row).map(|()| row),
    }
}

fn phases(permit: &Permit<Operate>, row: &SandboxRow, next: Phase) -> Change {
    permit.change(&row.name).before(json!({ "phase": row.phase })).after(json!({ "phase": next }))
}

async fn end(gateway: &Gateway, row: &SandboxRow) -> ApiResult<()> {
    let id = row.id.as_str();
    if let Some(link) = gateway.link(id).await?
        && link.send(ToSupervisor::Shutdown).await.is_ok()
    {
        // The supervisor gives the workload its own grace and then hands over what it has recorded.
        let _ = tokio::time::timeout(2 * GRACE, gateway.runtime.wait(id)).await;
        link.close();
    }
    gateway.runtime.stop(id, GRACE).await?;
    let exit_code = gateway.store.sandbox(id).await?.and_then(|row| row.exit_code);
    gateway.store.set_phase(id, Phase::Stopped, exit_code, None).await?;
    gateway.changed.sandboxes();
    Ok(())
}

async fn shown(gateway: &Gateway, id: &str, name: &str) -> ApiResult<Sandbox> {
    let row = gateway.store.sandbox(id).await?.ok_or_else(|| push::sandbox_not_found(name))?;
    Ok(gateway.shown(row))
}
