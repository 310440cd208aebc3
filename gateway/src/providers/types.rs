//! Types of providers that a gateway has beside those that it brings along.

use std::sync::Arc;

use openshell_api::provider::ProviderType;

use super::kinds::{self, Kinds};
use crate::error::{ApiError, ApiResult, refuse};
use crate::etag::Expected;
use crate::gateway::Gateway;
use crate::identity::{Administer, Permit};

/// Most types of a gateway's own.
const MOST: usize = 200;

/// Every type.
pub(crate) async fn all(gateway: &Gateway) -> ApiResult<Kinds> {
    Ok(Kinds::with(gateway.store.provider_types().await?))
}

/// One by name.
pub async fn one(gateway: &Gateway, name: &str) -> ApiResult<ProviderType> {
    let found = all(gateway).await?.into_vec().into_iter().find(|kind| kind.name.as_str() == name);
    found.ok_or_else(|| not_found(name))
}

fn not_found(name: &str) -> ApiError {
    ApiError::not_found("provider_type", name).hint("`openshell provider type list` shows them")
}

/// Adds a type, or replaces one. Providers that there are stay as they are.
pub async fn set(
    gateway: Arc<Gateway>,
    permit: Permit<Administer>,
    kind: ProviderType,
    expected: Expected,
) -> ApiResult<ProviderType> {
    let _alone = gateway.locks.alone().await?;
    let kind = kinds::check(&kind)?;
    let known = gateway.store.provider_types().await?;
    let before = known.iter().find(|known| known.name == kind.name);
    expected.check(&format!("provider type {}", kind.name), &before)?;
    if before.is_none() && known.len() >= MOST {
        return Err(refuse(409, "too_many_types", format!("there are {MOST} types of this gateway's own already")));
    }
    gateway.store.set_provider_type(&kind, &permit.change(&kind.name).before(before).after(&kind)).await?;
    Ok(kind)
}

/// Forgets a type. Refused while a provider is of it: nobody would know how its placeholders begin.
pub async fn delete(gateway: Arc<Gateway>, permit: Permit<Administer>, name: String) -> ApiResult<()> {
    let _alone = gateway.locks.alone().await?;
    let known = gateway.store.provider_types().await?;
    let before = known.iter().find(|known| known.name.as_str() == name).ok_or_else(|| not_found(&name))?;
    if let Some(provider) = gateway.store.providers().await?.iter().find(|provider| provider.kind == name) {
        return Err(refuse(409, "provider_type_in_use", format!("provider {} is of the type {name}", provider.name))
            .hint("delete that provider first"));
    }
    Ok(gateway.store.delete_provider_type(&name, &permit.change(&name).before(Some(before))).await?)
}
