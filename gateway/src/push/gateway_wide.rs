//! Changes of what all sandboxes share: backends and the ceiling.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Instant;

use openshell_api::generation::Content;
use openshell_api::inference::{Backend, Budget, Catalogue};
use openshell_api::module::Binding;
use openshell_api::provider::{CredentialRule, Provider};
use openshell_api::push::{Enforcing, SetCeiling};
use openshell_api::sandbox::Phase;

use super::plan::{Target, decides, router_for};
use super::two_phase::{Reach, carry_out, carry_out_as};
use crate::audit::Change;
use crate::error::{ApiError, ApiResult, refuse};
use crate::etag::Expected;
use crate::gateway::Gateway;
use crate::identity::{Administer, Permit};
use crate::locks::Held;
use crate::modules::BindRequest;
use crate::store::{Effect, SandboxRow};

/// Adds a backend; every sandbox may use it once this answers. Refuses a name that is taken and a provider that is
/// missing.
pub async fn add_backend(gateway: Arc<Gateway>, permit: Permit<Administer>, backend: Backend) -> ApiResult<Backend> {
    let mut alone = gateway.locks.alone().await?;
    let mut catalogue = gateway.store.catalogue().await?;
    if catalogue.backends.iter().any(|existing| existing.name == backend.name) {
        return Err(refuse(409, "backend_exists", format!("backend {:?} exists already", backend.name.as_str()))
            .hint("choose another name, or remove that backend first"));
    }
    check_provider(&gateway, &backend).await?;
    catalogue.backends.push(backend.clone());
    let cause = format!("add backend {}", backend.name);
    change_catalogue(&gateway, &mut alone, &permit, catalogue, &cause, Effect::AddBackend(backend.clone())).await?;
    Ok(backend)
}

/// Replaces the backend of the same name; every sandbox uses the new one once this answers. Refuses one that does not exist and
/// a provider that is missing.
pub async fn set_backend(
    gateway: Arc<Gateway>,
    permit: Permit<Administer>,
    backend: Backend,
    expected: Expected,
) -> ApiResult<Backend> {
    let mut alone = gateway.locks.alone().await?;
    let mut catalogue = gateway.store.catalogue().await?;
    let slot = catalogue.backends.iter_mut().find(|existing| existing.name == backend.name);
    let slot = slot.ok_or_else(|| {
        ApiError::not_found("backend", &backend.name).hint("`openshell inference backend list` shows them")
    })?;
    expected.check(&format!("backend {}", backend.name), slot)?;
    *slot = backend.clone();
    check_provider(&gateway, &backend).await?;
    let cause = format!("set backend {}", backend.name);
    change_catalogue(&gateway, &mut alone, &permit, catalogue, &cause, Effect::SetBackend(backend.clone())).await?;
    Ok(backend)
}

async fn check_provider(gateway: &Gateway, backend: &Backend) -> ApiResult<()> {
    match &backend.provider {
        Some(name) if !gateway.store.providers().await?.iter().any(|provider| provider.name == *name) => {
            Err(refuse(422, "provider_not_found", format!("there is no provider {name}"))
                .hint("create it first: `openshell provider create`"))
        }
        _ => Ok(()),
    }
}

/// Removes a backend from every sandbox.
pub async fn remove_backend(gateway: Arc<Gateway>, permit: Permit<Administer>, name: String) -> ApiResult<()> {
    let mut alone = gateway.locks.alone().await?;
    let mut catalogue = gateway.store.catalogue().await?;
    let before = catalogue.backends.len();
    catalogue.backends.retain(|backend| backend.name.as_str() != name);
    if catalogue.backends.len() == before {
        return Err(ApiError::not_found("backend", &name).hint("`openshell inference backend list` shows them"));
    }
    let cause = format!("remove backend {name}");
    change_catalogue(&gateway, &mut alone, &permit, catalogue, &cause, Effect::RemoveBackend(name)).await
}

async fn change_catalogue(
    gateway: &Gateway,
    alone: &mut Held<'_>,
    permit: &Permit<Administer>,
    catalogue: Catalogue,
    cause: &str,
    effect: Effect,
) -> ApiResult<()> {
    let default_router = router_for(gateway, &catalogue, None).await?;
    let change = |content: &mut Content| {
        content.catalogue = catalogue.clone();
        if content.router.is_none() {
            content.router.clone_from(&default_router);
        }
    };
    for_all((gateway, alone), permit, |_| true, change, cause, effect).await.map(drop)
}

/// Replaces the gateway-wide chain; answers it, and who enforces it.
pub async fn set_ceiling(
    gateway: Arc<Gateway>,
    permit: Permit<Administer>,
    ceiling: SetCeiling,
    expected: Expected,
) -> ApiResult<(Vec<Binding>, Vec<Enforcing>)> {
    let mut bindings: Vec<Binding> = Vec::with_capacity(ceiling.bindings.len());
    let mut names = HashSet::new();
    for wanted in ceiling.bindings {
        let module = gateway.store.module(&wanted.module).await?;
        let module = module.ok_or_else(|| ApiError::not_found("module", &wanted.module))?;
        if !decides(&module) {
            return Err(refuse(422, "no_hook", format!("module {} has no hook that a ceiling asks", module.name)));
        }
        let request = BindRequest {
            module: &module,
            name: wanted.binding.as_ref(),
            settings: wanted.settings.unwrap_or_default(),
            reuse: 0,
            deadline_ms: wanted.deadline_ms,
        };
        let binding = gateway.modules.bind(&gateway.store, &gateway.signing.key(), request).await?;
        if !names.insert(binding.name.clone()) {
            return Err(refuse(422, "duplicate_binding", format!("two bindings are named {}", binding.name))
                .hint("give each a `binding` name of its own"));
        }
        bindings.push(binding);
    }
    let mut alone = gateway.locks.alone().await?;
    let present: Vec<Binding> = gateway.store.setting("ceiling").await?.unwrap_or_default();
    expected.check("the ceiling", &present)?;
    let change = |content: &mut Content| content.ceiling.clone_from(&bindings);
    let effect = Effect::SetCeiling(bindings.clone());
    let enforcing = for_all((&gateway, &mut alone), &permit, |_| true, change, "set ceiling", effect).await?;
    Ok((bindings, enforcing))
}

/// Binds a credential anew in the sandboxes that use it. The caller holds the gateway-wide lock alone.
pub async fn rebind(
    gateway: &Gateway,
    alone: &mut Held<'_>,
    users: Vec<SandboxRow>,
    provider: &Provider,
    secret: Option<&[u8]>,
    change: Change,
) -> ApiResult<()> {
    let began = Instant::now();
    alone.add(users.iter().map(|row| row.id.as_str())).await?;
    let mut targets = Vec::with_capacity(users.len());
    for row in users {
        let mut target = Target::of(gateway, row).await?;
        if let Some(bound) = target.next.credentials.get_mut(provider.name.as_str()) {
            // What its workload has in the secret's place stays.
            *bound = CredentialRule { placeholder: bound.placeholder.take(), ..provider.rule.clone() };
        }
        targets.push(target);
    }
    let cause = format!("bind credential {}", provider.name);
    let effect = Effect::SetProvider(Box::new(provider.clone()), secret.map(<[u8]>::to_vec));
    carry_out_as(gateway, change, targets, &cause, effect, Reach::Connected, began).await.map(drop)
}

/// Replaces what a user's sandboxes may spend together; it holds in all that are connected once this answers.
pub async fn set_owner_budgets(
    gateway: &Gateway,
    permit: &Permit<Administer>,
    owner: &str,
    budgets: Vec<Budget>,
    expected: &Expected,
) -> ApiResult<()> {
    let mut alone = gateway.locks.alone().await?;
    let present = gateway.store.owner_budgets(owner).await?;
    expected.check(&format!("the budget of {owner}"), &crate::budgets::standing(gateway, owner, present).await?)?;
    let change = |content: &mut Content| content.owner_budgets.clone_from(&budgets);
    let effect = Effect::SetOwnerBudgets { owner: owner.to_owned(), budgets: budgets.clone() };
    let cause = format!("set budgets of {owner}");
    for_all((gateway, &mut alone), permit, |row| row.owner == owner, change, &cause, effect).await.map(drop)
}

/// Changes the content of every sandbox that is `meant` and not being deleted. The caller holds the gateway-wide lock alone.
async fn for_all(
    (gateway, alone): (&Gateway, &mut Held<'_>),
    permit: &Permit<Administer>,
    meant: impl Fn(&SandboxRow) -> bool,
    change: impl Fn(&mut Content),
    cause: &str,
    effect: Effect,
) -> ApiResult<Vec<Enforcing>> {
    let mut rows = gateway.store.sandboxes().await?;
    rows.retain(meant);
    alone.add(rows.iter().map(|row| row.id.as_str())).await?;
    let mut targets = Vec::with_capacity(rows.len());
    for row in rows.into_iter().filter(|row| row.phase != Phase::Deleting) {
        let mut target = Target::of(gateway, row).await?;
        change(&mut target.next);
        targets.push(target);
    }
    Ok(carry_out(gateway, permit, targets, cause, effect, Reach::Connected).await?.enforcing)
}
