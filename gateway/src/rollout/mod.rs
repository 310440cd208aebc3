//! Rollouts: what their canaries' records say, and taking back what fails.

mod count;
mod watch;

use openshell_api::rollout::{Rollout, RolloutReport};

use crate::error::{ApiError, ApiResult};
use crate::gateway::Gateway;
use crate::push;
use count::Count;
pub use watch::watch;

/// A report on each of these rollouts.
pub async fn reports(gateway: &Gateway, rollouts: Vec<Rollout>) -> ApiResult<Vec<RolloutReport>> {
    let mut reports = Vec::with_capacity(rollouts.len());
    for rollout in rollouts {
        reports.push(report(gateway, rollout).await?);
    }
    Ok(reports)
}

/// A report on one.
pub async fn report_on(gateway: &Gateway, id: &str) -> ApiResult<RolloutReport> {
    let rollout = gateway
        .store
        .rollout(id)
        .await?
        .ok_or_else(|| ApiError::not_found("rollout", id).hint("`openshell policy status` lists them"))?;
    report(gateway, rollout).await
}

async fn report(gateway: &Gateway, rollout: Rollout) -> ApiResult<RolloutReport> {
    let Count { asked, denied, failures, reasons, .. } = counted(gateway, &rollout).await?;
    let waiting = push::lacking(gateway, &rollout).await?;
    Ok(RolloutReport { rollout, asked, denied, failures, reasons, waiting })
}

/// What the records say of a rollout.
pub(crate) async fn counted(gateway: &Gateway, rollout: &Rollout) -> ApiResult<Count> {
    let mut count = Count::default();
    count.go_on(gateway, rollout).await?;
    Ok(count)
}
