//! A turn of the signing key while sandboxes run: they are told of the next key, it signs once all that are linked trust it, everything is
//! signed anew, and the key before is let go. Where several gateways share the key, whichever is asked makes the next one and lets the one before go; the one
//! that leads does what is in between.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use openshell_api::Name;
use openshell_api::audit::SIGNING_ACTION;
use openshell_api::link::ToSupervisor;
use openshell_api::signing::{GatewayKey, SigningState};
use serde_json::json;

use super::SigningError;
use super::awaits::awaits;
use crate::audit::Change;
use crate::authority::gateways_await;
use crate::error::{ApiError, ApiResult, refuse};
use crate::gateway::Gateway;
use crate::identity::{Administer, Permit};
use crate::link::{Link, Trusts};
use crate::locks::Held;
use crate::push;
use crate::secrets::{Turned, answer};

/// How long those that are linked are waited for, so that the first answer says what is left to do.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long those that were linked to the gateway before have to come back.
const COME_BACK: Duration = Duration::from_secs(10);
/// Between two looks at whether all of them know.
const LOOK: Duration = Duration::from_millis(50);
/// The same where other gateways have to be asked.
const LOOK_AROUND: Duration = Duration::from_millis(150);
/// The same after a failure.
const AGAIN: Duration = Duration::from_secs(1);
/// Sandboxes that are brought what was signed anew at the same time, at most.
const TOGETHER: usize = 32;

/// How it stands.
pub async fn state(gateway: &Gateway) -> ApiResult<SigningState> {
    let signing = &gateway.signing;
    let name = |key: GatewayKey| key.to_string();
    let (awaits, gateways) = awaits(gateway).await?;
    Ok(SigningState {
        key: name(signing.public()),
        next: signing.next().map(name),
        previous: signing.previous().map(name),
        awaits,
        gateways,
    })
}

/// Makes the next key, unless there is one, and tells every sandbox that is linked. It signs as soon as all of them trust it; answers then,
/// or after a while.
pub async fn turn(gateway: Arc<Gateway>, permit: Permit<Administer>) -> ApiResult<SigningState> {
    {
        let _alone = gateway.locks.alone().await?;
        let key = gateway.signing.public();
        let change = permit.change("signing key").before(json!({ "key": key }));
        let said = |next, made: bool| change.after(json!({ "key": key, "next": next })).detail(json!({ "made": made }));
        match gateway.signing.introduced().map_err(refused)? {
            Some(keys) => {
                let change = said(keys.next(), true);
                gateway.put_keys(Turned::Signing(keys.into()), Some(&change)).await?;
            }
            None => gateway.store.tell(&said(gateway.signing.next(), false)).await?,
        }
    }
    tell_all(&gateway).await;
    if gateway.leads() {
        go_on(&gateway);
    }
    settled(&gateway).await
}

/// Lets the key before this one go, once every gateway has this one, and every sandbox that runs trusts it and enforces what it has signed;
/// before that only with force.
pub async fn finish(gateway: Arc<Gateway>, permit: Permit<Administer>, force: bool) -> ApiResult<SigningState> {
    gateway.store.adopt().await?;
    if gateway.signing.next().is_some() && !force {
        return Err(awaited(refused(SigningError::Unused), &awaits(&gateway).await?.0));
    }
    let mut before = state(&gateway).await?;
    if before.previous.is_some() && !force {
        // What could not be signed or brought then is now.
        step(&gateway).await?;
        before = settled(&gateway).await?;
        gateways_await(&before.gateways)?;
        if !before.awaits.is_empty() {
            let error = refuse(409, "sandboxes_await", "sandboxes do not enforce what the new key has signed yet");
            return Err(awaited(error, &before.awaits));
        }
    }
    let mut alone = gateway.locks.alone().await?;
    if gateway.signing.next().is_some() {
        if !force {
            return Err(awaited(refused(SigningError::Unused), &[]));
        }
        change(&gateway).await?;
    }
    if gateway.signing.previous().is_none() {
        return Err(refused(SigningError::NotTurning));
    }
    if !force {
        // One may have come to be since they were asked.
        gateways_await(&gateway.view().await?.lag)?;
    }
    // Nothing that only the key before has signed is left, neither here nor for those that are away or stopped.
    anew(&gateway, &mut alone).await?;
    let keys = gateway.signing.finished().map_err(refused)?;
    let key = gateway.signing.public().to_string();
    let after = SigningState { key, next: None, previous: None, ..before.clone() };
    let told = permit.change("signing key").before(&before).after(&after);
    gateway.put_keys(Turned::Signing(keys.into()), Some(&told)).await?;
    drop(alone);
    tell_all(&gateway).await;
    bring(&gateway);
    Ok(after)
}

fn awaited(error: ApiError, awaits: &[Name]) -> ApiError {
    let mut error = error;
    let names: Vec<&str> = awaits.iter().map(Name::as_str).collect();
    if !names.is_empty() {
        error.0.detail.push_str(&format!(": {}", names.join(", ")));
    }
    error.hint(
        "they learn of it when they are linked (`openshell sandbox list`), or when they are stopped and started; \
         with `--force` they are not waited for",
    )
}

/// Goes on with a turn that the gateway before was in, if it was, and this one leads.
pub fn resume(gateway: &Arc<Gateway>) {
    let signing = &gateway.signing;
    if !gateway.leads() || !is_turning(gateway) {
        return;
    }
    // Nobody is linked yet: whoever runs comes back within seconds, and is asked before the next key signs.
    let wait = if signing.next().is_some() { COME_BACK } else { Duration::ZERO };
    let gateway = gateway.clone();
    tokio::spawn(async move {
        tokio::select! {
            () = gateway.stopping.cancelled() => {}
            () = tokio::time::sleep(wait) => go_on(&gateway),
        }
    });
}

fn is_turning(gateway: &Gateway) -> bool {
    gateway.signing.next().is_some() || gateway.signing.previous().is_some()
}

/// Goes on with a turn wherever it is, until only `finish` is left to do, or another gateway leads.
pub fn go_on(gateway: &Arc<Gateway>) {
    if !is_turning(gateway) {
        return;
    }
    let gateway = gateway.clone();
    tokio::spawn(async move {
        let going = async {
            let _one = gateway.signing.going.lock().await;
            while gateway.leads() {
                match step(&gateway).await {
                    Ok(true) => return,
                    Ok(false) => tokio::time::sleep(look(&gateway)).await,
                    Err(error) => {
                        tracing::error!(%error, "the turn of the signing key does not go on");
                        tokio::time::sleep(AGAIN).await;
                    }
                }
            }
        };
        tokio::select! {
            () = gateway.stopping.cancelled() => {}
            () = going => {}
        }
    });
}

/// `true`: nothing is left to do but to let the key before go.
async fn step(gateway: &Gateway) -> ApiResult<bool> {
    if gateway.signing.next().is_some() && !all_know(gateway).await? {
        return Ok(false);
    }
    {
        let mut alone = gateway.locks.alone().await?;
        // Another step may have been faster, and a link may have come to be.
        if gateway.signing.next().is_some() {
            if !all_know(gateway).await? {
                return Ok(false);
            }
            change(gateway).await?;
        }
        if gateway.signing.previous().is_none() {
            return Ok(true);
        }
        anew(gateway, &mut alone).await?;
    }
    deliver(gateway).await?;
    Ok(true)
}

/// Whether everybody who is linked trusts the next key. Nobody says so of links that this gateway has closed because it stops.
async fn all_know(gateway: &Gateway) -> ApiResult<bool> {
    let view = gateway.view().await?;
    Ok(view.all_know() && !gateway.stopping.is_cancelled())
}

/// The next key signs from now on. The caller holds the gateway-wide lock alone.
async fn change(gateway: &Gateway) -> ApiResult<()> {
    let keys = gateway.signing.changed().map_err(refused)?;
    gateway.put_keys(Turned::Signing(keys.into()), None).await
}

/// Has this key do anew what the one before did: the gateway's own, and every generation.
async fn anew(gateway: &Gateway, alone: &mut Held<'_>) -> ApiResult<()> {
    if let Some(before) = gateway.signing.left_over() {
        let key = gateway.signing.key();
        gateway.store.is_now_of(&gateway.signing.public().to_hex()).await?;
        gateway
            .store
            .reseal_answers(|call, sealed| {
                let answer = answer::unseal(&before, call, sealed)?;
                answer::seal(&key, call, &answer).ok().flatten()
            })
            .await?;
        let (from, to) = (GatewayKey::of(&before), gateway.signing.public());
        let change = Change::new(None, SIGNING_ACTION, "signing key".to_owned())
            .before(json!({ "key": from }))
            .after(json!({ "key": to }))
            .detail(json!({ "voucher": gateway.signing.voucher() }));
        let settled = Turned::Signing(gateway.signing.settled().into());
        if gateway.replicas.is_some() {
            gateway.put_keys(settled, Some(&change)).await?;
        } else {
            // The head beside the database must be signed anew before nothing of the key before is left.
            gateway.store.tell(&change).await?;
            gateway.store.keep_trail_head().map_err(ApiError::internal)?;
            gateway.put_keys(settled, None).await?;
        }
    }
    push::renew(gateway, alone).await?;
    gateway.changed.keys();
    Ok(())
}

/// Brings everybody who is linked here to its newest generation, without being waited for.
pub fn bring(gateway: &Arc<Gateway>) {
    if gateway.signing.voucher().is_none() {
        return;
    }
    let gateway = gateway.clone();
    tokio::spawn(async move {
        if let Err(error) = deliver(&gateway).await {
            tracing::warn!(%error, "sandboxes get what the new key has signed when they link again");
        }
    });
}

/// Brings everybody who is linked to its newest generation. One that can't be brought there is among those that the turn awaits.
async fn deliver(gateway: &Gateway) -> ApiResult<()> {
    let newest = gateway.store.newest_numbers().await?;
    let rows = gateway.store.sandboxes().await?;
    let behind = rows.into_iter().filter(|row| newest.get(&row.id).is_some_and(|number| row.generation < *number));
    let bringing = behind.filter_map(|row| {
        let link = gateway.links.get(&row.id)?;
        let gateway = gateway.me.upgrade()?;
        Some(push::catch_up(gateway, link, row.generation))
    });
    futures_util::stream::iter(bringing).buffer_unordered(TOGETHER).collect::<()>().await;
    Ok(())
}

/// How it stands once nobody is awaited any more, or after a while.
async fn settled(gateway: &Gateway) -> ApiResult<SigningState> {
    let began = tokio::time::Instant::now();
    loop {
        let state = {
            // Never between the change of the key and what is signed anew for it.
            let _steady = gateway.locks.shared().await?;
            state(gateway).await?
        };
        let nobody = state.awaits.is_empty() && state.gateways.is_empty();
        let done = nobody && state.next.is_none() && gateway.signing.left_over().is_none();
        if done || began.elapsed() > PATIENCE {
            return Ok(state);
        }
        tokio::time::sleep(look(gateway)).await;
    }
}

/// How long to wait between two looks: the others are asked each time.
fn look(gateway: &Gateway) -> Duration {
    if gateway.replicas.is_some() { LOOK_AROUND } else { LOOK }
}

/// Tells every supervisor that is linked here whose signatures to trust, as far as that is new to it.
pub async fn tell_all(gateway: &Gateway) {
    for link in gateway.links.all() {
        tell(gateway, &link).await;
    }
}

/// Tells a supervisor whose signatures to trust, if that is new to it.
pub async fn tell(gateway: &Gateway, link: &Link) {
    let (keys, vouchers) = gateway.signing.trusted();
    if let Trusts::These(known) = link.signing_keys()
        && (known.len() != keys.len() || !keys.iter().all(|key| known.contains(key)))
    {
        // One whose link has ended is told when it links again.
        let _ = link.send(ToSupervisor::SigningKeys { keys, vouchers }).await;
    }
}

fn refused(error: SigningError) -> ApiError {
    match error {
        SigningError::Turning => refuse(409, "signing_key_is_turning", error.to_string())
            .hint("let it go first: `openshell gateway rotate-signing-key --finish`"),
        SigningError::NotTurning => refuse(409, "signing_key_is_not_turning", error.to_string())
            .hint("`openshell gateway rotate-signing-key` makes a new one"),
        SigningError::Unused => refuse(409, "sandboxes_await", error.to_string()),
        error => ApiError::internal(error),
    }
}
