//! Stopping sandboxes and starting them again: same id, workspace, generation and logs.
//!
//! A sandbox is `stopped` in the database from before its supervisor starts again until that supervisor says that it
//! runs. A gateway that is killed in between finds either a stopped sandbox or one that runs, and both are true.

use std::sync::Arc;

use openshell_api::link::ToSupervisor;
use openshell_api::sandbox::{Phase, Sandbox};
use serde_json::json;

use crate::audit::Change;
use crate::error::{ApiError, ApiResult, refuse};
use crate::gateway::Gateway;
use crate::identity::{Operate, Permit, supervisors, tokens};
use crate::lifecycle::{self, GRACE};
use crate::locks::Held;
use crate::push;
use crate::store::SandboxRow;

/// Ends a sandbox's supervisor and everything in it; keeps all it holds. Stopping a stopped one changes nothing.
pub async fn stop(gateway: Arc<Gateway>, permit: Permit<Operate>, name: String) -> ApiResult<Sandbox> {
    let (row, _lock) = locked(&gateway, &permit, &name).await?;
    if row.phase != Phase::Stopped {
        gateway.store.tell(&phases(&permit, &row, Phase::Stopped)).await?;
        end(&gateway, &row).await?;
    }
    shown(&gateway, &row.id, &name).await
}

/// Starts a sandbox again that was stopped, has exited or failed; answers when it runs. If it does not come up, it is
/// stopped. Refuses one that runs.
pub async fn start(gateway: Arc<Gateway>, permit: Permit<Operate>, name: String) -> ApiResult<Sandbox> {
    let (row, _lock) = locked(&gateway, &permit, &name).await?;
    match row.phase {
        Phase::Stopped => {}
        Phase::Exited | Phase::Failed => end(&gateway, &row).await?,
        Phase::Starting | Phase::Running | Phase::Deleting => {
            return Err(refuse(409, "sandbox_running", format!("sandbox {name} runs already"))
                .hint("stop it first, or run a command in it"));
        }
    }
    gateway.store.tell(&phases(&permit, &row, Phase::Running)).await?;
    let token = tokens::generate(supervisors::PREFIX)?;
    let newest = gateway.store.newest_generation(&row.id).await?;
    let newest = newest.ok_or_else(|| ApiError::not_found("generation", &name))?;
    let launch = lifecycle::launch_spec(&gateway, &row.id, &row.name, (&row.spec, &newest.content), &token)?;
    gateway.store.first_supervisor_key(&row.id, &tokens::hash(&token)).await?;
    gateway.store.set_phase(&row.id, Phase::Stopped, None, None).await?;
    match lifecycle::start(&gateway, &row.id, &launch).await {
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

/// Finds a sandbox of the caller's and keeps pushes and other changes of it out.
async fn locked<'a>(gateway: &'a Gateway, permit: &Permit<Operate>, name: &str) -> ApiResult<(SandboxRow, Held<'a>)> {
    let row = gateway.store.sandbox_named(name).await?.ok_or_else(|| push::sandbox_not_found(name))?;
    let lock = gateway.locks.sandbox(&row.id).await?;
    // It may have changed while the lock was waited for.
    let row = gateway.store.sandbox(&row.id).await?.ok_or_else(|| push::sandbox_not_found(name))?;
    match row.phase {
        Phase::Deleting => Err(push::sandbox_not_found(name)),
        _ => permit.owns(&row).map(|()| (row, lock)),
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
