//! A sandbox that (re)connects is brought to its newest generation.

use std::sync::Arc;

use openshell_api::link::ToSupervisor;
use serde_json::json;

use super::plan::Target;
use super::renewal::with_present_key;
use super::secrets;
use super::two_phase::sign;
use crate::audit::Change;
use crate::error::{ApiError, ApiResult, refuse};
use crate::gateway::Gateway;
use crate::link::Link;
use crate::link::attempt;
use crate::store::{Effect, NewGeneration};

/// Sends a sandbox its secrets and sessions, and brings it to its newest generation. What it refuses it will be offered
/// again when it next connects; until then it enforces what it did.
pub async fn catch_up(gateway: Arc<Gateway>, link: Arc<Link>, enforces: u64) {
    if let Err(error) = run(&gateway, &link, enforces).await {
        tracing::warn!(sandbox = link.sandbox_id(), %error, "a sandbox could not be brought to its newest generation");
    }
}

async fn run(gateway: &Gateway, link: &Arc<Link>, enforces: u64) -> ApiResult<()> {
    let id = link.sandbox_id();
    let closed = |error| refuse(409, "sandbox_not_connected", format!("{error}"));
    let _locks = gateway.locks.shared().await?.and([id]).await?;
    let row = gateway.store.sandbox(id).await?.ok_or_else(|| ApiError::not_found("sandbox", id))?;
    let mut target = Target::of(gateway, row).await?;

    let sensitivity = gateway.store.sessions(id).await?;
    link.send(ToSupervisor::Sessions { sensitivity }).await.map_err(&closed)?;
    let spent = gateway.store.spent(id, jiff::Timestamp::now()).await?;
    link.send(ToSupervisor::Spent { spent }).await.map_err(&closed)?;
    let values = secrets(gateway, &target.current.content).await?;
    link.send(ToSupervisor::Secrets { values }).await.map_err(closed)?;

    let newest = target.current.number;
    if enforces < newest {
        let signed = gateway.store.latest_generation(id).await?;
        let signed = signed.ok_or_else(|| ApiError::not_found("generation", newest))?;
        bring(gateway, link, signed, &target).await
    } else if enforces > newest {
        // Only a gateway whose state was set back meets this. A sandbox refuses to go backwards, so the same content
        // goes forward under a new number.
        tracing::warn!(sandbox = id, enforces, newest, "a sandbox is ahead of the gateway's state");
        let number = enforces.checked_add(1).ok_or_else(|| ApiError::internal("generation numbers are used up"))?;
        with_present_key(gateway, &mut target.current.content, None).await?;
        let signed = sign(gateway, id, number, "gateway state set back", &target.current.content)?;
        let new = NewGeneration { sandbox_id: id.to_owned(), number, signed: signed.clone() };
        let change = Change::new(None, "generation.set_forward", target.row.name.to_string())
            .detail(json!({ "reason": "the sandbox is ahead of the gateway's state" }))
            .before(json!({ "generation": newest }))
            .after(json!({ "generation": number }));
        gateway.store.commit(&[new], &Effect::None, &change).await?;
        bring(gateway, link, signed, &target).await
    } else {
        acknowledge(gateway, id, enforces).await
    }
}

async fn bring(
    gateway: &Gateway,
    link: &Arc<Link>,
    signed: openshell_api::generation::SignedGeneration,
    target: &Target,
) -> ApiResult<()> {
    let failed = |error: attempt::AttemptError| refuse(409, "not_staged", error.to_string());
    let push = ulid::Ulid::generate().to_string();
    let signer = gateway.signing.public();
    let staged = attempt::stage(link.clone(), &push, &signer, signed, &target.current.content);
    let staged = staged.await.map_err(failed)?;
    let enforced = staged.activate().await.map_err(failed)?;
    acknowledge(gateway, link.sandbox_id(), enforced.generation).await
}

async fn acknowledge(gateway: &Gateway, id: &str, generation: u64) -> ApiResult<()> {
    gateway.store.set_enforcing(&[(id, generation)]).await?;
    gateway.changed.sandboxes();
    Ok(())
}
