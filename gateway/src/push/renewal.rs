//! Everything that sandboxes are to enforce, signed with the key that signs now. It means what it did.

use openshell_api::generation::Content;
use openshell_api::module::Binding;
use openshell_api::sandbox::Phase;
use serde_json::{Map, json};

use super::plan::Target;
use super::two_phase::sign;
use crate::audit::Change;
use crate::error::ApiResult;
use crate::gateway::Gateway;
use crate::locks::Held;
use crate::store::{Effect, NewGeneration};

/// Makes of each newest generation that another key signed one that this key has signed, with the same code, under the next number. It is
/// stored; whoever is linked is still to be brought it. The caller holds the gateway-wide lock alone.
pub async fn renew(gateway: &Gateway, alone: &mut Held<'_>) -> ApiResult<()> {
    let key = gateway.signing.public();
    let mut rows = gateway.store.sandboxes().await?;
    rows.retain(|row| row.phase != Phase::Deleting);
    alone.add(rows.iter().map(|row| row.id.as_str())).await?;
    let (mut generations, mut before, mut after) = (Vec::new(), Map::new(), Map::new());
    for row in rows {
        let Some(newest) = gateway.store.latest_generation(&row.id).await? else { continue };
        if newest.verify(key.verifying()).is_ok() {
            continue;
        }
        let mut target = Target::of(gateway, row).await?;
        with_present_key(gateway, &mut target.next, None).await?;
        let number = target.current.number + 1;
        let signed = sign(gateway, &target.row.id, number, "new signing key", &target.next)?;
        before.insert(target.row.name.to_string(), json!(target.current.number));
        after.insert(target.row.name.to_string(), json!(number));
        generations.push(NewGeneration { sandbox_id: target.row.id, number, signed });
    }
    let ceiling: Vec<Binding> = gateway.store.setting("ceiling").await?.unwrap_or_default();
    let mut renewed = Content { ceiling: ceiling.clone(), ..Content::default() };
    with_present_key(gateway, &mut renewed, None).await?;
    let effect = match renewed.ceiling == ceiling {
        true => Effect::None,
        false => Effect::SetCeiling(renewed.ceiling),
    };
    if generations.is_empty() && matches!(effect, Effect::None) {
        return Ok(());
    }
    let change = Change::new(None, "signing_key.renew", String::new())
        .detail(json!({ "cause": "new signing key", "key": key }))
        .before(json!({ "sandboxes": before }))
        .after(json!({ "sandboxes": after }));
    Ok(gateway.store.commit(&generations, &effect, &change).await?)
}

/// Has every artifact that a content names signed with the key that signs now. Those that `enforced` names as well are, unless the key is just
/// turning. The caller holds the gateway-wide lock.
pub(super) async fn with_present_key(
    gateway: &Gateway,
    content: &mut Content,
    enforced: Option<&Content>,
) -> ApiResult<()> {
    if gateway.signing.voucher().is_none() {
        return Ok(());
    }
    let enforced = enforced.filter(|_| gateway.signing.previous().is_none());
    let known = |artifact: &str| enforced.is_some_and(|content| content.bindings().any(|one| one.artifact == artifact));
    for binding in content.bindings_mut().filter(|binding| !known(&binding.artifact)) {
        binding.artifact = gateway.modules.under_present_key(&gateway.store, &gateway.signing, binding).await?;
    }
    Ok(())
}
