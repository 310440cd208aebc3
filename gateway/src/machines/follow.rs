//! What becomes of engines, Swarms and their nodes: noticed, told, and settled when they are back.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use openshell_api::runtime::RuntimeHealth;
use openshell_api::sandbox::Phase;
use serde_json::json;

use crate::audit::Change;
use crate::error::ApiResult;
use crate::gateway::Gateway;
use crate::lifecycle::{self, GRACE};
use crate::runtime::{Gone, Machine, RuntimeError};
use crate::store::SandboxRow;

/// How often it is looked whether one came or went.
const LOOK: Duration = Duration::from_secs(1);
/// How long a supervisor whose link was ended may take to link again before its sandbox counts as lost.
const RELINK: Duration = Duration::from_secs(2);

/// Follows the engines, now that it is known which sandbox is where.
pub(crate) fn begin(gateway: &Arc<Gateway>) {
    gateway.settled.cancel();
    for machine in gateway.runtime.machines().into_iter().filter(|machine| machine.added.is_none()) {
        follow(gateway, machine);
    }
}

/// Notices that an engine is lost, and that it is back; and the same of its nodes.
pub(super) fn follow(gateway: &Arc<Gateway>, machine: Arc<Machine>) {
    let (stopping, settled) = (gateway.stopping.clone(), gateway.settled.clone());
    let gateway = Arc::downgrade(gateway);
    tokio::spawn(async move {
        tokio::select! {
            () = stopping.cancelled() => return,
            () = settled.cancelled() => {}
        }
        let mut last = RuntimeHealth::Silent;
        let mut down = BTreeMap::new();
        loop {
            tokio::select! {
                () = stopping.cancelled() => return,
                () = machine.gone.cancelled() => return,
                () = tokio::time::sleep(LOOK) => {}
            }
            let Some(gateway) = gateway.upgrade() else { return };
            let now = machine.health(gateway.runtime.lost_after());
            let done = match (last, now) {
                (RuntimeHealth::Silent | RuntimeHealth::Lost, RuntimeHealth::Answers) => {
                    back(&gateway, &machine, last == RuntimeHealth::Lost).await
                }
                (RuntimeHealth::Silent | RuntimeHealth::Answers, RuntimeHealth::Lost) => lost(&gateway, &machine).await,
                _ => Ok(()),
            };
            match done {
                Ok(()) => last = now,
                Err(error) => {
                    tracing::warn!(runtime = %machine.name, %error, "what became of a runtime is not settled yet")
                }
            }
            if now == RuntimeHealth::Answers
                && let Err(error) = compare_nodes(&gateway, &machine, &mut down).await
            {
                tracing::warn!(runtime = %machine.name, %error, "what became of its nodes is not settled yet");
            }
        }
    });
}

/// Sandboxes of a runtime that this gateway looks after.
async fn of(gateway: &Gateway, machine: &Machine) -> ApiResult<Vec<SandboxRow>> {
    let mut rows = gateway.store.sandboxes().await?;
    rows.retain(|row| row.runtime == machine.name && gateway.is_here(row));
    Ok(rows)
}

/// Notices which nodes are down now, and which are back.
async fn compare_nodes(gateway: &Gateway, machine: &Machine, down: &mut BTreeMap<String, Gone>) -> ApiResult<()> {
    let now = machine.driver.gone();
    for (id, gone) in now.iter().filter(|(id, _)| !down.contains_key(*id)).collect::<Vec<_>>() {
        node_lost(gateway, machine, gone).await?;
        down.insert(id.clone(), gone.clone());
    }
    let back: Vec<String> = down.keys().filter(|id| !now.contains_key(*id)).cloned().collect();
    for id in back {
        if let Some(gone) = down.get(&id) {
            // One that is not listed either was taken out of the Swarm.
            let back = machine.driver.nodes().iter().any(|node| node.name == gone.name);
            tracing::info!(runtime = %machine.name, node = gone.name, back, "a node is not down any more");
            let action = if back { "runtime.back" } else { "runtime.remove" };
            gateway.store.tell(&of_node(action, machine, gone).detail(json!({ "node": gone.name }))).await?;
            gateway.changed.sandboxes();
            down.remove(&id);
        }
    }
    Ok(())
}

fn of_node(action: &str, machine: &Machine, gone: &Gone) -> Change {
    Change::new(None, action, format!("{}/{}", machine.name, gone.name)).noticed()
}

/// Says that a node is lost, and with it those of its sandboxes that are not heard of otherwise.
async fn node_lost(gateway: &Gateway, machine: &Machine, gone: &Gone) -> ApiResult<()> {
    let mut rows = of(gateway, machine).await?;
    rows.retain(|row| gone.sandboxes.contains(&row.id));
    let names = unheard(gateway, &rows).await;
    tracing::warn!(runtime = %machine.name, node = gone.name, problem = gone.problem, sandboxes = ?names, "a node is lost");
    let detail = json!({ "node": gone.name, "problem": gone.problem, "lost": names });
    gateway.store.tell(&of_node("runtime.lost", machine, gone).detail(detail)).await?;
    gateway.changed.sandboxes();
    Ok(())
}

/// Ends the links of sandboxes whose machine is silent: a link may be one to a machine that is gone, and whoever lives links again at once.
/// Answers the names of those that don't.
async fn unheard(gateway: &Gateway, rows: &[SandboxRow]) -> Vec<String> {
    for row in rows {
        gateway.end_link(&row.id).await;
    }
    tokio::time::sleep(RELINK).await;
    rows.iter().filter(|row| gateway.is_lost(row)).map(|row| row.name.to_string()).collect()
}

/// Says that an engine is lost, and with it those of its sandboxes that are not heard of otherwise.
async fn lost(gateway: &Gateway, machine: &Machine) -> ApiResult<()> {
    let rows = of(gateway, machine).await?;
    let names = unheard(gateway, &rows).await;
    let vitals = machine.driver.vitals();
    tracing::warn!(runtime = %machine.name, problem = vitals.problem, sandboxes = ?names, "a runtime is lost");
    if machine.added.is_some() || !names.is_empty() {
        let since = vitals.silent.map(|(_, at)| at);
        let detail = json!({ "silent_since": since, "problem": vitals.problem, "lost": names });
        gateway.store.tell(&noticed("runtime.lost", machine).detail(detail)).await?;
    }
    gateway.changed.sandboxes();
    Ok(())
}

/// Takes an engine up again: what it runs of sandboxes that are elsewhere by now, or gone, is removed.
async fn back(gateway: &Arc<Gateway>, machine: &Machine, was_lost: bool) -> ApiResult<()> {
    let traces = machine.driver.traces().await?;
    // After the traces: a sandbox is stored before anything is made of it.
    let rows = gateway.store.sandboxes().await?;
    let mut removed = Vec::new();
    for id in traces {
        let row = rows.iter().find(|row| row.id == id);
        if row.is_some_and(|row| row.runtime == machine.name) {
            continue;
        }
        tracing::warn!(runtime = %machine.name, sandbox = id, "removing what a sandbox left behind that is elsewhere, or gone");
        let ended: Result<(), RuntimeError> = async {
            machine.driver.stop(&id, GRACE).await?;
            machine.driver.remove(&id).await
        }
        .await;
        ended?;
        removed.push(row.map_or(id, |row| row.name.to_string()));
    }
    if was_lost || !removed.is_empty() {
        gateway.store.tell(&noticed("runtime.back", machine).detail(json!({ "removed": removed }))).await?;
    }
    // What a gateway that ended left half-done there could not be ended before.
    let half_done = |row: &SandboxRow| match row.phase {
        Phase::Starting => row.created_at < gateway.began,
        phase => phase == Phase::Deleting,
    };
    if machine.added.is_some() {
        for row in of(gateway, machine).await?.iter().filter(|row| half_done(row)) {
            lifecycle::remove_half_done(gateway, row).await;
        }
    }
    gateway.changed.sandboxes();
    Ok(())
}

fn noticed(action: &str, machine: &Machine) -> Change {
    Change::new(None, action, machine.name.to_string()).noticed()
}
