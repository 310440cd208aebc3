//! What sandboxes shall enforce next.

use openshell_api::Name;
use openshell_api::generation::{Content, Generation};
use openshell_api::inference::Catalogue;
use openshell_api::module::{Binding, Module};
use openshell_api::sandbox::CreateSandbox;

use crate::error::{ApiError, ApiResult, refuse};
use crate::gateway::Gateway;
use crate::identity::{Operate, Permit};
use crate::modules::BindRequest;
use crate::providers;
use crate::store::SandboxRow;

/// The module that routes inference unless another one was pushed.
const DEFAULT_ROUTER: &str = "privacy-router";

/// A sandbox, what it enforces and what it shall.
pub(super) struct Target {
    pub row: SandboxRow,
    pub current: Generation,
    pub next: Content,
}

impl Target {
    /// A target that changes nothing yet.
    pub async fn of(gateway: &Gateway, row: SandboxRow) -> ApiResult<Self> {
        let current = gateway.store.newest_generation(&row.id).await?;
        let current = current.ok_or_else(|| ApiError::not_found("generation", &row.name))?;
        let next = current.content.clone();
        Ok(Self { row, current, next })
    }
}

/// Whether a module answers `route`.
pub(super) fn routes(module: &Module) -> bool {
    module.hooks.iter().any(|hook| hook == "route")
}

/// Whether a module belongs into a chain.
pub(super) fn decides(module: &Module) -> bool {
    module.hooks.iter().any(|hook| matches!(hook.as_str(), "connect" | "request" | "response" | "launch"))
}

/// Has a binding asked and not obeyed, in the place of a shadow of the same name.
pub(super) fn place_shadow(content: &mut Content, binding: &Binding) {
    put(&mut content.shadow, binding);
}

/// In the place of the one with the same name, else at the end.
pub(super) fn put(bindings: &mut Vec<Binding>, binding: &Binding) {
    match bindings.iter_mut().find(|existing| existing.name == binding.name) {
        Some(existing) => *existing = binding.clone(),
        None => bindings.push(binding.clone()),
    }
}

/// Puts a binding where its module's hooks belong: the chain (in the place of one with the same name), the router's
/// place, or both.
pub(super) fn place(content: &mut Content, module: &Module, binding: &Binding, replace_all: bool) {
    if decides(module) {
        // Whoever says what is allowed has observed enough.
        content.observe = false;
        if replace_all {
            content.chain.clear();
        }
        put(&mut content.chain, binding);
    }
    if routes(module) {
        content.router = Some(binding.clone());
    }
}

/// The binding that a new one takes the place of.
pub(super) fn replaced<'a>(content: &'a Content, module: &Module, name: &Name) -> Option<&'a Binding> {
    let chained = content.chain.iter().find(|existing| existing.name == *name);
    if routes(module) { chained.or(content.router.as_ref()) } else { chained }
}

/// Content of a new sandbox: what it is created with, else nothing is allowed; inference goes through the default router
/// where there are backends.
pub async fn initial(gateway: &Gateway, permit: &Permit<Operate>, spec: &CreateSandbox) -> ApiResult<Content> {
    let catalogue = gateway.store.catalogue().await?;
    let router = router_for(gateway, &catalogue, None).await?;
    let ceiling =
        refreshed(gateway, &gateway.store.setting::<Vec<Binding>>("ceiling").await?.unwrap_or_default()).await?;
    let (known, kinds) = (gateway.store.providers().await?, providers::types::all(gateway).await?);
    let owner_budgets = gateway.store.owner_budgets(permit.user()).await?;
    let mut content = Content { ceiling, router, catalogue, owner_budgets, ..Content::default() };
    for name in &spec.providers {
        let provider = known.iter().find(|provider| provider.name == *name).ok_or_else(|| {
            refuse(422, "provider_not_found", format!("there is no provider {name}"))
                .hint("create it first: `openshell provider create`")
        })?;
        if !provider.shared {
            permit.owns_what(&format!("provider {name}"), &provider.owner)?;
        }
        let rule = providers::for_sandbox(&kinds, &provider.kind, &provider.rule)?;
        content.credentials.insert(name.to_string(), rule);
    }
    for policy in &spec.policies {
        let module = known_module(gateway, &policy.module).await?;
        let request = BindRequest {
            module: &module,
            name: policy.binding.as_ref(),
            settings: policy.settings.clone().unwrap_or_default(),
            reuse: 0,
            deadline_ms: None,
        };
        let binding = gateway.modules.bind(&gateway.store, &gateway.signing.key(), request).await?;
        place(&mut content, &module, &binding, false);
    }
    Ok(content)
}

/// A stored module that has a hook to be asked.
pub(super) async fn known_module(gateway: &Gateway, digest: &str) -> ApiResult<Module> {
    let module =
        gateway.store.module(digest).await?.ok_or_else(|| {
            ApiError::not_found("module", digest).hint("upload it first: `openshell policy push` does")
        })?;
    if !decides(&module) && !routes(&module) {
        return Err(refuse(422, "no_hook", format!("module {}@{} has no hook", module.name, module.version)));
    }
    Ok(module)
}

/// The router for a catalogue: the one that is bound, else the default one as soon as there is a backend.
pub(super) async fn router_for(
    gateway: &Gateway,
    catalogue: &Catalogue,
    bound: Option<Binding>,
) -> ApiResult<Option<Binding>> {
    if bound.is_some() || catalogue.backends.is_empty() {
        return Ok(bound);
    }
    let modules = gateway.store.modules().await?;
    let module = modules
        .iter()
        .find(|module| module.name.as_str() == DEFAULT_ROUTER && routes(module))
        .ok_or_else(|| ApiError::internal(format!("the built-in module {DEFAULT_ROUTER} is missing")))?;
    let request = BindRequest { module, name: None, settings: serde_json::Value::Null, reuse: 0, deadline_ms: None };
    gateway.modules.bind(&gateway.store, &gateway.signing.key(), request).await.map(Some)
}

/// The same bindings with artifacts that this gateway's engine runs.
pub(super) async fn refreshed(gateway: &Gateway, bindings: &[Binding]) -> ApiResult<Vec<Binding>> {
    let mut fresh = Vec::with_capacity(bindings.len());
    for binding in bindings {
        fresh.push(gateway.modules.refresh(&gateway.store, &gateway.signing.key(), binding).await?);
    }
    Ok(fresh)
}
