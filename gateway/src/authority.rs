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
use crate::secrets::Turned;
use crate::store::SandboxRow;
use crate::tls::TlsError;

/// How long those that are linked are waited for, so that the first answer says what is left to do.
const PATIENCE: Duration = Duration::from_secs(3);
/// Between two looks at whether all of them know.
const LOOK: Duration = Duration::from_millis(50);

/// How it stands.
pub async fn state(gateway: &Gateway) -> ApiResult<AuthorityState> {
    let (fingerprint, previous) = gateway.authority.fingerprints();
    let (awaits, gateways) = match previous {
        None => (Vec::new(), Vec::new()),
        Some(_) => awaits(gateway).await?,
    };
    Ok(AuthorityState { fingerprint, previous, awaits, gateways })
}

/// Makes a new CA, serves its certificate, and tells every sandbox that is linked. Other gateways of the database take it over at once.
pub async fn turn(gateway: Arc<Gateway>, permit: Permit<Administer>) -> ApiResult<AuthorityState> {
    {
        let _alone = gateway.locks.alone().await?;
        let next = gateway.authority.turned().map_err(refused)?;
        let (before, _) = gateway.authority.fingerprints();
        let change = permit.change("authority").before(json!({ "fingerprint": before }));
        let change = change.after(json!({ "fingerprint": next.fingerprint(), "previous": before }));
        gateway.put_keys(Turned::Authority(next), Some(&change)).await?;
    }
    tell_all(&gateway).await;
    let began = tokio::time::Instant::now();
    loop {
        let state = state(&gateway).await?;
        if (state.awaits.is_empty() && state.gateways.is_empty()) || began.elapsed() > PATIENCE {
            return Ok(state);
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Lets the CA before this one go, once every gateway has this one and every sandbox that runs trusts it; before that only with force.
pub async fn finish(gateway: Arc<Gateway>, permit: Permit<Administer>, force: bool) -> ApiResult<AuthorityState> {
    let after = {
        let _alone = gateway.locks.alone().await?;
        let before = state(&gateway).await?;
        let next = gateway.authority.finished().map_err(refused)?;
        if !force {
            gateways_await(&before.gateways)?;
        }
        if !before.awaits.is_empty() && !force {
            let names: Vec<&str> = before.awaits.iter().map(Name::as_str).collect();
            return Err(refuse(
                409,
                "sandboxes_await",
                format!("sandboxes do not trust the new authority yet: {}", names.join(", ")),
            )
            .hint("they learn of it when they are linked (`openshell sandbox list`), or when they are stopped and started; with `--force` they are cut off until then"));
        }
        let after = AuthorityState { previous: None, ..before.clone() };
        let told = permit.change("authority").before(&before).after(&after);
        gateway.put_keys(Turned::Authority(next), Some(&told)).await?;
        after
    };
    tell_all(&gateway).await;
    Ok(after)
}

/// Refuses while gateways have not taken over keys that another one has turned.
pub fn gateways_await(urls: &[String]) -> ApiResult<()> {
    match urls.is_empty() {
        true => Ok(()),
        false => {
            let why = format!("gateways have not taken over the newest keys, or do not answer: {}", urls.join(", "));
            Err(refuse(409, "gateways_await", why).hint(
                "they take them over within a second of reaching the database; one that was stopped is waited for five seconds at most, and with `--force` none is",
            ))
        }
    }
}

/// Tells every supervisor that is linked here whom to trust, as far as that is new to it.
pub async fn tell_all(gateway: &Gateway) {
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

/// Sandboxes that run and have not said that they trust the CA of now, and gateways that do not have it.
async fn awaits(gateway: &Gateway) -> ApiResult<(Vec<Name>, Vec<String>)> {
    let view = gateway.view().await?;
    let since = gateway.authority.since();
    let lags = |row: &SandboxRow| match view.of(row) {
        Some(says) => says.ca.is_none_or(|trusts| trusts < since),
        None => matches!(row.phase, Phase::Starting | Phase::Running),
    };
    let rows = gateway.store.sandboxes().await?;
    Ok((rows.into_iter().filter(lags).map(|row| row.name).collect(), view.lag))
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
