//! Engines of other machines, and Swarms: given to the gateway and taken away, watched, lost, and found again.
//!
//! A machine that is silent may be dead, or cut off with everything still running on it. So nothing is decided about its sandboxes but
//! where they are looked for: they show as lost, and a user may have them started elsewhere. That revokes what their supervisors there
//! know, in the transaction that moves them; when the machine is back, what it still runs of them is ended and removed.
//!
//! A Swarm's managers may answer and a node of it be down: then that node's sandboxes are lost, and the Swarm ends them once it is back.

mod follow;
mod keys;

use std::collections::BTreeMap;
use std::sync::Arc;

use openshell_api::Name;
use openshell_api::runtime::{AddRuntime, RegistryLogin, RuntimeState, SetRuntime};
use openshell_api::sandbox::RuntimeKind;
use serde_json::json;

use crate::error::{ApiError, ApiResult, refuse};
use crate::etag::Expected;
use crate::gateway::Gateway;
use crate::identity::{Administer, Permit};
use crate::runtime::docker::{
    Address, DockerError, DockerOptions, DockerRuntime, InvalidAddress, Registry, Repository, SwarmError, SwarmRuntime,
};
use crate::runtime::{Driver, RuntimeError};
use crate::store::{StoredLogin, StoredRuntime};
use crate::upstream;
pub(crate) use follow::begin;
use follow::follow;
use keys::Keys;
pub(crate) use keys::sealed_as;

/// Most engines of a gateway.
const MOST: usize = 200;

impl From<InvalidAddress> for ApiError {
    fn from(error: InvalidAddress) -> Self {
        let (code, hint) = match &error {
            InvalidAddress::Url(_) => {
                ("bad_url", "an engine is reached by TLS (tcp://) or by the gateway's own ssh (ssh://)")
            }
            InvalidAddress::NoTls => ("tls_required", "give --tls-ca, --tls-cert and --tls-key, or an ssh:// address"),
            InvalidAddress::NeedlessTls => ("bad_tls", "leave them out"),
            InvalidAddress::Tls { .. } => {
                ("bad_tls", "give PEM files: the engine's authority, and a certificate of it with its key")
            }
        };
        refuse(422, code, error.to_string()).hint(hint)
    }
}

/// All runtimes, and how they are.
pub async fn all(gateway: &Gateway) -> ApiResult<Vec<RuntimeState>> {
    let rows = gateway.store.sandboxes().await?;
    take_up(gateway).await?;
    Ok(gateway.runtime.states(&rows))
}

/// One of them.
pub async fn one(gateway: &Gateway, name: &str) -> ApiResult<RuntimeState> {
    let found = all(gateway).await?.into_iter().find(|state| state.name.as_str() == name);
    found.ok_or_else(|| not_found(name))
}

fn not_found(name: &str) -> ApiError {
    ApiError::not_found("runtime", name).hint("`openshell runtime list` shows them")
}

/// Gives the gateway an engine, or a Swarm, which must answer.
pub async fn add(gateway: Arc<Gateway>, permit: Permit<Administer>, add: AddRuntime) -> ApiResult<RuntimeState> {
    if [RuntimeKind::Process, RuntimeKind::Docker].iter().any(|kind| kind.as_str() == add.name.as_str()) {
        return Err(refuse(422, "built_in", format!("the runtime {} is the gateway's own", add.name))
            .hint("choose another name"));
    }
    if add.kind == RuntimeKind::Process {
        return Err(refuse(422, "bad_kind", format!("no runtime of the kind {} can be added", add.kind.as_str()))
            .hint("an engine of another machine is of the kind docker, a Swarm of the kind swarm"));
    }
    check_labels(&add.labels)?;
    repository(add.kind, add.registry.as_deref(), add.registry_login.is_some())?;
    let address = Address::parse(&add.url, add.tls.as_ref())?;
    let known = add.gateway_url.as_ref().or(gateway.reached_at.as_ref()).ok_or_else(|| {
        refuse(422, "no_gateway_url", "no address is known at which another machine could reach this gateway")
            .hint("give --gateway-url https://HOST:PORT, or start the gateway with --internal-url")
    })?;
    let gateway_url = reachable(known)?;
    let options = options(&gateway)?;
    let runtime = StoredRuntime {
        name: add.name,
        kind: add.kind,
        url: add.url,
        gateway_url,
        labels: add.labels,
        ca: add.tls.as_ref().map(|tls| tls.ca.clone()),
        certificate: add.tls.as_ref().map(|tls| tls.certificate.clone()),
        registry: add.registry,
        login: add.registry_login.as_ref().map(stored_login),
    };
    let keys = Keys::of(add.tls.as_ref(), add.registry_login.as_ref(), Keys::default());
    let driver = driver(address, &runtime, &keys, &options)?;
    prove(driver.as_ref()).await?;

    // Shared, so that the master key does not turn between sealing and storing.
    let _shared = gateway.locks.shared().await?;
    if gateway.store.runtimes().await?.len() >= MOST {
        return Err(refuse(409, "too_many_runtimes", format!("there are {MOST} runtimes of this gateway's already")));
    }
    gateway.fresh_keys().await?;
    let sealed = keys.seal(&gateway, &runtime.name)?;
    let name = runtime.name.clone();
    gateway.store.insert_runtime(&runtime, sealed.as_deref(), &permit.change(&name).after(&runtime)).await?;
    install(&gateway, runtime, driver)?;
    one(&gateway, name.as_str()).await
}

/// Changes how an engine is reached, or what it is known for. It must answer; its sandboxes go on.
pub async fn set(
    gateway: Arc<Gateway>,
    permit: Permit<Administer>,
    name: String,
    set: SetRuntime,
    expected: Expected,
) -> ApiResult<RuntimeState> {
    let _alone = gateway.locks.alone().await?;
    gateway.fresh_keys().await?;
    let (before, sealed) = stored(&gateway, &name).await?;
    expected.check(&format!("runtime {name}"), &one(&gateway, &name).await?)?;
    let mut after = before.clone();
    if let Some(labels) = set.labels {
        check_labels(&labels)?;
        after.labels = labels;
    }
    if let Some(url) = &set.gateway_url {
        after.gateway_url = reachable(url)?;
    }
    if set.registry.is_some() {
        after.registry = set.registry;
    }
    let mut replaced = BTreeMap::new();
    if let Some(login) = &set.registry_login {
        after.login = Some(stored_login(login));
        replaced.insert("password", "it was replaced");
    }
    if let Some(tls) = &set.tls {
        (after.ca, after.certificate) = (Some(tls.ca.clone()), Some(tls.certificate.clone()));
        replaced.insert("key", "it was replaced");
    }
    let kept = Keys::open(&gateway, &after.name, sealed.as_deref())?;
    let keys = Keys::of(set.tls.as_ref(), set.registry_login.as_ref(), kept);
    let driver = driver(Address::parse(&after.url, keys.tls(&after).as_ref())?, &after, &keys, &options(&gateway)?)?;
    prove(driver.as_ref()).await?;
    let mut change = permit.change(&name);
    let sealed = match replaced.is_empty() {
        true => None,
        false => keys.seal(&gateway, &after.name)?,
    };
    if !replaced.is_empty() {
        change = change.detail(json!(replaced));
    }
    gateway.store.set_runtime(&after, sealed.as_deref(), &change.before(&before).after(&after)).await?;
    install(&gateway, after, driver)?;
    one(&gateway, &name).await
}

async fn stored(gateway: &Gateway, name: &str) -> ApiResult<(StoredRuntime, Option<Vec<u8>>)> {
    let all = gateway.store.runtimes().await?;
    all.into_iter().find(|(runtime, _)| runtime.name.as_str() == name).ok_or_else(|| not_found(name))
}

async fn prove(driver: &dyn Driver) -> ApiResult<()> {
    driver.prove().await.map_err(|error| match error {
        RuntimeError::Docker(error) | RuntimeError::Swarm(SwarmError::Docker(error)) => unreachable(&error),
        other => other.into(),
    })
}

fn unreachable(error: &DockerError) -> ApiError {
    refuse(422, "runtime_unreachable", error.to_string()).hint(
        "the gateway itself must reach it: as its own user, with that user's ssh configuration, keys and known hosts",
    )
}

fn stored_login(login: &RegistryLogin) -> StoredLogin {
    StoredLogin { user: login.user.clone(), since: jiff::Timestamp::now() }
}

fn check_labels(labels: &BTreeMap<String, String>) -> ApiResult<()> {
    match labels.keys().find(|key| key.is_empty() || key.contains('=')) {
        None => Ok(()),
        Some(key) => Err(refuse(422, "bad_label", format!("{key:?} is no name of a label")).hint("write KEY=VALUE")),
    }
}

/// Takes an engine away. Refused while a sandbox is there.
pub async fn remove(gateway: Arc<Gateway>, permit: Permit<Administer>, name: String) -> ApiResult<()> {
    let _alone = gateway.locks.alone().await?;
    let (runtime, _) = stored(&gateway, &name).await?;
    let rows = gateway.store.sandboxes().await?;
    if let Some(row) = rows.iter().find(|row| row.runtime == runtime.name) {
        return Err(refuse(409, "runtime_in_use", format!("sandbox {} is in the runtime {name}", row.name))
            .hint("delete its sandboxes first, or start those that are lost elsewhere"));
    }
    gateway.store.delete_runtime(&runtime.name, &permit.change(&name).before(&runtime)).await?;
    gateway.runtime.uninstall(&runtime.name);
    Ok(())
}

fn options(gateway: &Gateway) -> ApiResult<DockerOptions> {
    let options = gateway.runtime.options().cloned();
    options.ok_or_else(|| refuse(422, "runtime_unavailable", "this gateway's sandboxes are never containers"))
}

/// Where the images of a Swarm are put. Refuses a Swarm without a registry, and a registry without a Swarm.
fn repository(kind: RuntimeKind, registry: Option<&str>, login: bool) -> ApiResult<Option<Repository>> {
    let wrong = |why: String| refuse(422, "bad_registry", why);
    match (kind, registry) {
        (RuntimeKind::Swarm, Some(registry)) => Repository::parse(registry).map(Some).ok_or_else(|| {
            wrong(format!("{registry:?} is no repository of a registry")).hint("write HOST:PORT/NAME, without a tag")
        }),
        (RuntimeKind::Swarm, None) => Err(wrong("the nodes of a Swarm take their images from a registry".into())
            .hint("give --registry HOST:PORT/NAME")),
        (_, Some(_)) => Err(wrong("an engine takes no registry: what a sandbox needs is copied there".into())
            .hint("leave --registry out, or add a swarm")),
        (_, None) if login => {
            Err(wrong("there is nothing to log in at".into()).hint("leave --registry-user out, or add a swarm"))
        }
        (_, None) => Ok(None),
    }
}

/// What drives a runtime.
fn driver(
    address: Address,
    runtime: &StoredRuntime,
    keys: &Keys,
    options: &DockerOptions,
) -> ApiResult<Box<dyn Driver>> {
    let options = DockerOptions {
        runtime: runtime.name.to_string(),
        gateway_url: Some(runtime.gateway_url.clone()),
        ..options.clone()
    };
    let url = runtime.url.clone();
    Ok(match repository(runtime.kind, runtime.registry.as_deref(), runtime.login.is_some())? {
        Some(repository) => {
            let registry = Registry::new(repository, keys.login(runtime));
            Box::new(SwarmRuntime::at(address, url, registry, runtime.labels.clone(), options))
        }
        None => Box::new(DockerRuntime::at(address, url, options)),
    })
}

/// A URL that supervisors elsewhere can dial.
fn reachable(given: &str) -> ApiResult<String> {
    let wrong = |why: &str| {
        refuse(422, "bad_url", format!("{given:?} is no address at which another machine reaches this gateway: {why}"))
            .hint("write https://HOST:PORT")
    };
    let url: url::Url = given.parse().map_err(|error: url::ParseError| wrong(&error.to_string()))?;
    if url.scheme() != "https" || url.path() != "/" || !url.username().is_empty() || url.query().is_some() {
        return Err(wrong("it is not https, or names more than host and port"));
    }
    let loopback = match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(address)) => address.is_loopback() || address.is_unspecified(),
        Some(url::Host::Ipv6(address)) => address.is_loopback() || address.is_unspecified(),
        None => true,
    };
    if loopback {
        return Err(wrong("there it means that machine itself"));
    }
    Ok(given.trim_end_matches('/').to_owned())
}

/// Takes up what the database has that is not known here: at the start, and what other gateways were given meanwhile.
pub(crate) async fn take_up(gateway: &Gateway) -> ApiResult<()> {
    let known = gateway.runtime.machines();
    let added = |name: &Name| known.iter().find(|machine| machine.added.is_some() && machine.name == *name);
    let stored = gateway.store.runtimes().await?;
    for machine in known.iter().filter(|machine| machine.added.is_some()) {
        if !stored.iter().any(|(runtime, _)| runtime.name == machine.name) {
            gateway.runtime.uninstall(&machine.name);
        }
    }
    for (runtime, sealed) in stored {
        if added(&runtime.name).is_some_and(|machine| machine.added.as_ref() == Some(&runtime)) {
            continue;
        }
        let name = runtime.name.clone();
        if let Err(error) = take_one_up(gateway, runtime, sealed).await {
            tracing::error!(runtime = %name, %error, "a runtime can't be used");
        }
    }
    Ok(())
}

async fn take_one_up(gateway: &Gateway, runtime: StoredRuntime, sealed: Option<Vec<u8>>) -> ApiResult<()> {
    gateway.fresh_keys().await?;
    let keys = Keys::open(gateway, &runtime.name, sealed.as_deref())?;
    let address = Address::parse(&runtime.url, keys.tls(&runtime).as_ref())?;
    let driver = driver(address, &runtime, &keys, &options(gateway)?)?;
    install(gateway, runtime, driver)
}

fn install(gateway: &Gateway, runtime: StoredRuntime, driver: Box<dyn Driver>) -> ApiResult<()> {
    gateway.authority.answer_to(upstream::host(&runtime.gateway_url)).map_err(ApiError::internal)?;
    let machine = gateway.runtime.install(runtime, driver);
    if let Some(gateway) = gateway.me.upgrade() {
        follow(&gateway, machine);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gateway_is_told_where_others_reach_it() {
        let check = |given: &str, expected: Option<&str>| {
            let found = reachable(given).ok();
            assert_eq!(found.as_deref(), expected, "{given}");
        };
        check("https://gateway.example:7443/", Some("https://gateway.example:7443"));
        check("https://10.0.0.5:7443", Some("https://10.0.0.5:7443"));
        check("http://gateway.example", None);
        check("https://gateway.example/prefix", None);
        check("https://me@gateway.example", None);
        check("https://127.0.0.1:7443", None);
        check("https://localhost:7443", None);
        check("https://[::1]:7443", None);
        check("https://0.0.0.0:7443", None);
        check("gateway.example:7443", None);
    }
}
