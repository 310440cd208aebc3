//! Providers: credentials that are stored, changed and turned, and reach live sandboxes at once.

mod kinds;
pub mod refresh;
pub mod types;

use std::sync::Arc;

use openshell_api::link::ToSupervisor;
use openshell_api::provider::{
    CreateProvider, CredentialRule, PLACEHOLDER_MARK, Provider, Refresh, RefreshState, RotatedKeys, UpdateProvider,
};
use openshell_api::sandbox::Phase;
use serde_json::json;

use crate::error::{ApiError, ApiResult, refuse};
use crate::etag::Expected;
use crate::gateway::Gateway;
use crate::identity::{Administer, Operate, Permit};
use crate::machines;
use crate::push;
use crate::secrets::KeyFileError;
use crate::state_dir::random;
use crate::store::{SandboxRow, StoredProvider};
pub(crate) use kinds::Kinds;

/// Longest secret, in bytes.
const MAX_SECRET: usize = 16 * 1024;

impl From<KeyFileError> for ApiError {
    fn from(error: KeyFileError) -> Self {
        Self::internal(error)
    }
}

/// Stores a credential, encrypted.
pub async fn create(gateway: Arc<Gateway>, permit: Permit<Operate>, create: CreateProvider) -> ApiResult<Provider> {
    check_secret(&create.secret)?;
    let name = create.name.as_str();
    // Before it is sealed: the master key must not turn until it is stored.
    let _gateway_wide = gateway.locks.shared().await?;
    let rule = types::all(&gateway).await?.rule(&create)?;
    gateway.fresh_keys().await?;
    let (sealed, refresh) = sealed(&gateway, name, create.refresh.as_ref(), &create.secret).await?;
    let provider = Provider {
        name: create.name,
        kind: create.kind,
        rule,
        owner: permit.user().to_owned(),
        shared: create.shared,
        refresh,
        created_at: jiff::Timestamp::now(),
    };
    let change = permit.change(&provider.name).after(&provider);
    gateway.store.insert_provider(&StoredProvider { provider: provider.clone(), secret: sealed }, &change).await?;
    Ok(provider)
}

/// Changes a credential. Sandboxes that use it have a new secret, and are bound by new bindings, once this answers; those that are away
/// have them as soon as they return.
pub async fn update(
    gateway: Arc<Gateway>,
    permit: Permit<Operate>,
    name: String,
    update: UpdateProvider,
    expected: Expected,
) -> ApiResult<Provider> {
    let mut alone = gateway.locks.alone().await?;
    gateway.fresh_keys().await?;
    let before = known(&gateway, &permit, &name).await?;
    expected.check(&format!("provider {name}"), &before)?;
    let mut after = before.clone();
    kinds::rebind(&mut after.rule, update.hosts, update.paths, update.binaries)?;
    after.shared = update.shared.unwrap_or(after.shared);
    let sealed = match &update.secret {
        None => None,
        Some(secret) => {
            check_secret(secret)?;
            let refresh = again(&gateway, &before).await?;
            let (sealed, state) = self::sealed(&gateway, &name, refresh.as_ref(), secret).await?;
            after.refresh = state;
            Some(sealed)
        }
    };
    let mut change = permit.change(&name).before(&before).after(&after);
    if sealed.is_some() {
        change = change.detail(json!({ "secret": "it was replaced" }));
    }
    let (users, others) = users(&gateway, &name).await?;
    if after.rule == before.rule {
        gateway.store.set_provider(&after, sealed.as_deref(), &change).await?;
    } else {
        // Its bindings are part of what sandboxes enforce. Whose they are is of no matter: the credential is whose it is.
        push::rebind(&gateway, &mut alone, users.clone(), &after, sealed.as_deref(), change).await?;
    }
    if sealed.is_some() {
        for row in users.iter().chain(&others) {
            send_secrets(&gateway, row).await;
        }
    }
    Ok(after)
}

/// Forgets a credential. Refused while a sandbox or a backend uses it.
pub async fn delete(gateway: Arc<Gateway>, permit: Permit<Operate>, name: String) -> ApiResult<()> {
    let _alone = gateway.locks.alone().await?;
    let before = known(&gateway, &permit, &name).await?;
    let sandboxes = gateway.store.sandboxes().await?;
    if let Some(row) = sandboxes.iter().find(|row| uses(row, &name)) {
        return Err(refuse(409, "provider_in_use", format!("provider {name} is used by sandbox {}", row.name))
            .hint("delete that sandbox first"));
    }
    match gateway.store.delete_provider(&name, &permit.change(&name).before(before)).await? {
        true => Ok(()),
        false => Err(not_found(&name)),
    }
}

/// Turns the master key: every secret's own key is wrapped with a new one, and the old one is forgotten.
pub async fn rotate(gateway: Arc<Gateway>, permit: Permit<Administer>) -> ApiResult<RotatedKeys> {
    let _alone = gateway.locks.alone().await?;
    gateway.fresh_keys().await?;
    gateway.secrets.turn(&gateway.dir)?;
    publish(&gateway).await?;
    let secrets = rewrap(&gateway, &permit.change("secrets.key")).await?;
    Ok(RotatedKeys { secrets })
}

/// Ends a turn of the master key that a gateway did not live to end.
pub async fn end_turn(gateway: &Gateway) -> ApiResult<()> {
    if !gateway.secrets.is_turning() {
        return Ok(());
    }
    // Another gateway may be about it.
    let _alone = gateway.locks.alone().await?;
    gateway.fresh_keys().await?;
    if gateway.secrets.is_turning() {
        let change = Permit::<Administer>::of_gateway("keys.rotate").change("secrets.key");
        rewrap(gateway, &change.detail(json!({ "reason": "it had begun before the gateway ended" }))).await?;
    }
    Ok(())
}

async fn rewrap(gateway: &Gateway, change: &crate::audit::Change) -> ApiResult<u64> {
    let mut turned = Vec::new();
    let stored = gateway.store.provider_secrets().await?;
    for one in &stored {
        if let Some(secret) = gateway.secrets.rewrap(&one.name, &one.secret)? {
            turned.push((one.name.clone(), secret));
        }
    }
    let (mut keys, mut count) = (Vec::new(), stored.len() as u64);
    for (runtime, key) in gateway.store.runtimes().await? {
        let Some(key) = key else { continue };
        count += 1;
        if let Some(key) = gateway.secrets.rewrap(&machines::sealed_as(&runtime.name), &key)? {
            keys.push((runtime.name.to_string(), key));
        }
    }
    gateway.store.set_secrets(&turned, &keys, change).await?;
    gateway.secrets.forget_old_keys(&gateway.dir)?;
    publish(gateway).await?;
    Ok(count)
}

/// Tells other gateways of the master keys.
async fn publish(gateway: &Gateway) -> ApiResult<()> {
    match &gateway.replicas {
        None => Ok(()),
        Some(replicas) => Ok(replicas.keyring.publish(&gateway.dir).await?),
    }
}

/// A sandbox's own rule for a credential: with a placeholder that nobody else has, where its workload finds one.
pub(crate) fn for_sandbox(kinds: &Kinds, kind: &str, rule: &CredentialRule) -> ApiResult<CredentialRule> {
    let placeholder = match &rule.env {
        None => None,
        Some(_) => {
            let id: [u8; 12] = random()?;
            Some(format!("{}{PLACEHOLDER_MARK}{}", kinds.prefix(kind), hex::encode(id)))
        }
    };
    Ok(CredentialRule { placeholder, ..rule.clone() })
}

/// Variables with which a workload finds its placeholders.
pub fn environment<'a>(rules: impl IntoIterator<Item = &'a CredentialRule>) -> Vec<(String, String)> {
    let mut variables = Vec::new();
    for rule in rules {
        if let (Some(variable), Some(placeholder)) = (&rule.env, &rule.placeholder) {
            variables.push((variable.clone(), placeholder.clone()));
            if let openshell_api::provider::Attach::Sigv4 { access_key_id } = &rule.attach {
                variables.push(("AWS_ACCESS_KEY_ID".to_owned(), access_key_id.clone()));
            }
        }
    }
    variables
}

async fn known(gateway: &Gateway, permit: &Permit<Operate>, name: &str) -> ApiResult<Provider> {
    let found = gateway.store.provider(name).await?.ok_or_else(|| not_found(name))?;
    permit.owns_what(&format!("provider {name}"), &found.owner)?;
    Ok(found)
}

/// No provider of that name.
pub(crate) fn not_found(name: &str) -> ApiError {
    ApiError::not_found("provider", name).hint("`openshell provider list` shows them")
}

fn uses(row: &SandboxRow, name: &str) -> bool {
    row.spec.providers.iter().any(|used| used.as_str() == name)
}

/// Sandboxes whose policies may name it, and all others: a backend of theirs may use it.
async fn users(gateway: &Gateway, name: &str) -> ApiResult<(Vec<SandboxRow>, Vec<SandboxRow>)> {
    let rows = gateway.store.sandboxes().await?;
    let (users, others): (Vec<_>, Vec<_>) = rows.into_iter().partition(|row| uses(row, name));
    let living = |rows: Vec<SandboxRow>| rows.into_iter().filter(|row| row.phase != Phase::Deleting).collect();
    Ok((living(users), living(others)))
}

/// Sends a sandbox what it may have. One that is away gets it when it returns.
async fn send_secrets(gateway: &Gateway, row: &SandboxRow) {
    let link = match gateway.link(&row.id).await {
        Ok(Some(link)) => link,
        Ok(None) => return,
        Err(error) => return tracing::error!(sandbox = row.id, %error, "a changed secret could not be sent"),
    };
    let send = async {
        let newest = gateway.store.newest_generation(&row.id).await?;
        let Some(newest) = newest else { return Ok::<_, ApiError>(()) };
        let values = push::secrets(gateway, &newest.content).await?;
        if !values.is_empty() {
            // A link that has ended needs nothing.
            let _ = link.send(ToSupervisor::Secrets { values }).await;
        }
        Ok(())
    };
    if let Err(error) = send.await {
        tracing::error!(sandbox = row.id, %error, "a changed secret could not be sent; the link is ended so that it comes again");
        gateway.end_link(&row.id).await;
    }
}

/// Sends whoever uses a credential what it is now.
async fn send_to_users(gateway: &Gateway, name: &str) -> ApiResult<()> {
    let (users, others) = users(gateway, name).await?;
    for row in users.iter().chain(&others) {
        send_secrets(gateway, row).await;
    }
    Ok(())
}

/// A secret as it is stored: itself, or the tokens that it gets.
async fn sealed(
    gateway: &Gateway,
    name: &str,
    refresh: Option<&Refresh>,
    secret: &str,
) -> ApiResult<(Vec<u8>, Option<RefreshState>)> {
    match refresh {
        None => Ok((gateway.secrets.seal(name, secret)?, None)),
        Some(refresh) => {
            let (tokens, state) = refresh::first(gateway, refresh, secret).await?;
            Ok((refresh::seal(gateway, name, &tokens)?, Some(state)))
        }
    }
}

/// How a provider's access tokens are had, with its client's secret.
async fn again(gateway: &Gateway, provider: &Provider) -> ApiResult<Option<Refresh>> {
    let Some(state) = &provider.refresh else { return Ok(None) };
    let client_secret = match gateway.store.provider_secret(provider.name.as_str()).await? {
        Some(stored) => refresh::client_secret(gateway, &stored)?,
        None => None,
    };
    Ok(Some(Refresh { token_url: state.token_url.clone(), client_id: state.client_id.clone(), client_secret }))
}

fn check_secret(secret: &str) -> ApiResult<()> {
    if secret.is_empty() || secret.len() > MAX_SECRET || secret.bytes().any(|b| b.is_ascii_control()) {
        return Err(refuse(422, "bad_secret", "the secret is empty, too long, or contains control characters")
            .hint("send the bare value, without a line end"));
    }
    Ok(())
}
