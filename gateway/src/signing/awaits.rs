//! Whom a turn of the signing key waits for.

use openshell_api::Name;
use openshell_api::sandbox::Phase;

use crate::error::ApiResult;
use crate::gateway::Gateway;
use crate::replicas::view::Knows;
use crate::store::SandboxRow;

/// Sandboxes that a turn waits for, of all gateways; while there is none, those that do not trust this gateway's key. With them, gateways that
/// do not have the keys of now.
pub(super) async fn awaits(gateway: &Gateway) -> ApiResult<(Vec<Name>, Vec<String>)> {
    let view = gateway.view().await?;
    let turned = gateway.signing.previous().is_some();
    let turning = turned || gateway.signing.next().is_some();
    let newest = gateway.store.newest_numbers().await?;
    let lags = |row: &SandboxRow| {
        let behind = newest.get(&row.id).is_some_and(|newest| row.generation < *newest);
        match view.of(row).map(|says| says.key) {
            Some(Knows::Yes) => turned && behind,
            Some(Knows::No) => true,
            Some(Knows::Unsaid) => turning || behind,
            Some(Knows::Unheard) => turning,
            None => turned && matches!(row.phase, Phase::Starting | Phase::Running),
        }
    };
    let rows = gateway.store.sandboxes().await?;
    Ok((rows.into_iter().filter(lags).map(|row| row.name).collect(), view.lag))
}
