//! The gateway's CA turns: a new one is made, sandboxes are told of it, and the one before is let go once all have said that they know.

use std::sync::Arc;
use std::time::Duration;

use openshell_api::Name;
use openshell_api::authority::AuthorityState;
use openshell_api::link::ToSupervisor;
use openshell_api::sandbox::Phase;
use serde_json::json;

use crate::error::{ApiError, ApiResult, refuse};
use crate::gateway::Gateway;
use crate::identity::{Administer, Permit};
use crate::link::Link;
use crate::tls::TlsError;

/// How long those that are linked are waited for, so that the first answer says what is left to do.
const PATIENCE: Duration = Duration::from_secs(3);

/// How it stands.
pub async fn state(gateway: &Gateway) -> ApiResult<AuthorityState> {
    let (fingerprint, previous) = gateway.authority.fingerprints();
    Ok(AuthorityState { fingerprint, previous, awaits: awaits(gateway).await? })
}

/// Makes a new CA, serves its certificate, and tells every sandbox that is linked.
pub async fn turn(gateway: Arc<Gateway>, permit: Permit<Administer>) -> ApiResult<AuthorityState> {
    let _alone = gateway.locks.alone().await?;
    if gateway.replicas.is_some() {
        return Err(refuse(
            409,
            "authority_is_shared",
            "several gateways share this authority, and each has it in files",
        )
        .hint("the authority of gateways that share a database can't be turned while they run"));
    }
    let (before, _) = gateway.authority.fingerprints();
    gateway.authority.turn().map_err(refused)?;
    let (after, _) = gateway.authority.fingerprints();
    let change = permit.change("authority").before(json!({ "fingerprint": before }));
    gateway.store.tell(&change.after(json!({ "fingerprint": after, "previous": before }))).await?;
    tell_all(&gateway).await;
    let began = tokio::time::Instant::now();
    loop {
        let state = state(&gateway).await?;
        if state.awaits.is_empty() || began.elapsed() > PATIENCE {
            return Ok(state);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Lets the CA before this one go, once every sandbox that runs trusts the new one; before that only with force.
pub async fn finish(gateway: Arc<Gateway>, permit: Permit<Administer>, force: bool) -> ApiResult<AuthorityState> {
    let _alone = gateway.locks.alone().await?;
    let before = state(&gateway).await?;
    if before.previous.is_some() && !before.awaits.is_empty() && !force {
        let names: Vec<&str> = before.awaits.iter().map(Name::as_str).collect();
        return Err(refuse(
            409,
            "sandboxes_await",
            format!("sandboxes do not trust the new authority yet: {}", names.join(", ")),
        )
        .hint("they learn of it when they are linked (`openshell sandbox list`), or when they are stopped and started; with `--force` they are cut off until then"));
    }
    gateway.authority.finish().map_err(refused)?;
    let after = AuthorityState { awaits: before.awaits.clone(), ..state(&gateway).await? };
    gateway.store.tell(&permit.change("authority").before(&before).after(&after)).await?;
    tell_all(&gateway).await;
    Ok(after)
}

async fn tell_all(gateway: &Gateway) {
    for link in gateway.links.all() {
        tell(gateway, &link).await;
    }
}

/// Tells a supervisor whom to trust, if that is new to it.
pub async fn tell(gateway: &Gateway, link: &Link) {
    let trusted = gateway.authority.trusted();
    if link.trusts().is_some_and(|epoch| epoch < trusted.epoch) {
        // One whose link has ended is told when it links again.
        let _ = link.send(ToSupervisor::Trust { epoch: trusted.epoch, ca: trusted.pem }).await;
    }
}

/// While the CA before is trusted: sandboxes that run and have not said that they trust the CA of now.
async fn awaits(gateway: &Gateway) -> ApiResult<Vec<Name>> {
    if gateway.authority.fingerprints().1.is_none() {
        return Ok(Vec::new());
    }
    let since = gateway.authority.since();
    let lags = |id: &str, phase: Phase| match gateway.links.get(id) {
        Some(link) => link.trusts().is_none_or(|trusts| trusts < since),
        None => matches!(phase, Phase::Starting | Phase::Running),
    };
    let rows = gateway.store.sandboxes().await?;
    Ok(rows.into_iter().filter(|row| lags(&row.id, row.phase)).map(|row| row.name).collect())
}

fn refused(error: TlsError) -> ApiError {
    match error {
        TlsError::Turning => refuse(409, "authority_is_turning", error.to_string())
            .hint("let it go first: `openshell gateway rotate-ca --finish`"),
        TlsError::NotTurning => refuse(409, "authority_is_not_turning", error.to_string())
            .hint("`openshell gateway rotate-ca` makes a new authority"),
        error => ApiError::internal(error),
    }
}
