//! Watching canaries, and taking back what fails.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use openshell_api::rollout::Rollout;
use openshell_api::sandbox::Phase;

use super::count::Count;
use crate::error::ApiResult;
use crate::gateway::Gateway;
use crate::identity::Permit;
use crate::push;

/// Rest between two looks: decisions come in crowds.
const REST: Duration = Duration::from_millis(200);
/// Rest after a look that failed.
const RETRY: Duration = Duration::from_secs(2);

/// Looks at every running rollout whenever something was decided or a sandbox changed, until the gateway stops. What it knows
/// it reads from the store, so a gateway that comes back goes on where it was.
pub async fn watch(gateway: Arc<Gateway>) {
    let (mut decisions, mut sandboxes) = (gateway.changed.follow_decisions(), gateway.changed.follow_sandboxes());
    let mut counts: HashMap<String, Count> = HashMap::new();
    loop {
        decisions.borrow_and_update();
        sandboxes.borrow_and_update();
        let looked = look(&gateway, &mut counts).await;
        let mut rest = REST;
        if let Err(error) = looked {
            tracing::error!(%error, "rollouts could not be watched; trying again");
            rest = RETRY;
            decisions.mark_changed();
        }
        let waited = async {
            tokio::time::sleep(rest).await;
            tokio::select! {
                changed = decisions.changed() => changed.is_ok(),
                changed = sandboxes.changed() => changed.is_ok(),
            }
        };
        tokio::select! {
            () = gateway.stopping.cancelled() => return,
            goes_on = waited => if !goes_on { return },
        }
    }
}

async fn look(gateway: &Arc<Gateway>, counts: &mut HashMap<String, Count>) -> ApiResult<()> {
    if !gateway.leads() {
        return Ok(());
    }
    let running = gateway.store.running_rollouts().await?;
    counts.retain(|id, _| running.iter().any(|rollout| rollout.id == *id));
    for rollout in running {
        let count = counts.entry(rollout.id.clone()).or_default();
        count.go_on(gateway, &rollout).await?;
        let Some(reason) = objection(gateway, &rollout, count).await? else { continue };
        tracing::warn!(rollout = rollout.id, policy = rollout.binding.name.as_str(), reason, "taking a rollout back");
        match push::roll_back(gateway.clone(), Permit::of_gateway("rollout.rollback"), rollout.id.clone(), reason).await
        {
            // Somebody ended it meanwhile.
            Err(error) if error.0.code == "rollout_ended" => {}
            other => drop(other?),
        }
    }
    Ok(())
}

/// Why a rollout must not go on.
async fn objection(gateway: &Gateway, rollout: &Rollout, count: &Count) -> ApiResult<Option<String>> {
    if count.failures > rollout.max_failures {
        let kinds: Vec<&str> = count.reasons.keys().map(String::as_str).take(3).collect();
        return Ok(Some(format!("it gave no answer {} times ({})", count.failures, kinds.join(", "))));
    }
    for canary in &rollout.canaries {
        let row = gateway.store.sandbox(&canary.sandbox_id).await?;
        if let Some(row) = row.filter(|row| row.phase == Phase::Failed) {
            return Ok(Some(format!("sandbox {} failed: {}", row.name, row.failure.unwrap_or_default())));
        }
    }
    Ok(None)
}
