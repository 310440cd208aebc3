//! Providers: credentials that go in and never come out.

use axum::http::StatusCode;
use openshell_api::Problem;
use openshell_api::provider::{Attach, CreateProvider, CredentialRule, Provider};

use super::call::Call;
use super::extract::{Json, Path};
use super::to_the_end;
use crate::error::{ApiError, ApiResult, refuse};
use crate::identity::{Operate, Read};
use crate::store::StoredProvider;

/// Longest secret, in bytes.
const MAX_SECRET: usize = 16 * 1024;

/// Every provider, by name, without secrets.
#[utoipa::path(get, path = "/v1/providers", responses((status = 200, body = Vec<Provider>)))]
pub(super) async fn list(Call { gateway, .. }: Call<Read>) -> ApiResult<axum::Json<Vec<Provider>>> {
    Ok(axum::Json(gateway.store.providers().await?))
}

/// Stores a credential, encrypted.
#[utoipa::path(post, path = "/v1/providers", request_body = CreateProvider, responses(
    (status = 201, body = Provider),
    (status = 409, description = "provider_exists", body = Problem),
    (status = 422, description = "unknown_provider_type, incomplete_provider, bad_secret, bad_host, bad_header", body = Problem),
))]
pub(super) async fn create(
    Call { gateway, permit }: Call<Operate>,
    Json(create): Json<CreateProvider>,
) -> ApiResult<(StatusCode, axum::Json<Provider>)> {
    let rule = rule(&create)?;
    let secret = create.secret.as_str();
    if secret.is_empty() || secret.len() > MAX_SECRET || secret.bytes().any(|b| b.is_ascii_control()) {
        return Err(refuse(422, "bad_secret", "the secret is empty, too long, or contains control characters")
            .hint("send the bare value, without a line end"));
    }
    let sealed = gateway.secrets.seal(create.name.as_str(), secret)?;
    let provider = Provider {
        name: create.name,
        kind: create.kind,
        rule,
        owner: permit.user().to_owned(),
        shared: create.shared,
        created_at: jiff::Timestamp::now(),
    };
    let change = permit.change(&provider.name).after(&provider);
    gateway.store.insert_provider(&StoredProvider { provider: provider.clone(), secret: sealed }, &change).await?;
    Ok((StatusCode::CREATED, axum::Json(provider)))
}

/// Forgets a credential. Refused while a sandbox or a backend uses it.
#[utoipa::path(delete, path = "/v1/providers/{name}", params(("name" = String, Path)), responses(
    (status = 204, description = "It is gone"),
    (status = 404, description = "provider_not_found", body = Problem),
    (status = 409, description = "provider_in_use", body = Problem),
))]
pub(super) async fn delete(Call { gateway, permit }: Call<Operate>, Path(name): Path<String>) -> ApiResult<StatusCode> {
    to_the_end(async move {
        let _alone = gateway.locks.gateway_wide.write().await;
        let sandboxes = gateway.store.sandboxes().await?;
        let uses = |spec: &[openshell_api::Name]| spec.iter().any(|used| used.as_str() == name);
        if let Some(row) = sandboxes.iter().find(|row| uses(&row.spec.providers)) {
            return Err(refuse(409, "provider_in_use", format!("provider {name} is used by sandbox {}", row.name))
                .hint("delete that sandbox first"));
        }
        let known = gateway.store.providers().await?;
        let before = known.iter().find(|provider| provider.name.as_str() == name);
        if let Some(provider) = before {
            permit.owns_what(&format!("provider {name}"), &provider.owner)?;
        }
        if !gateway.store.delete_provider(&name, &permit.change(&name).before(before)).await? {
            return Err(ApiError::not_found("provider", &name).hint("`openshell provider list` shows them"));
        }
        Ok(StatusCode::NO_CONTENT)
    })
    .await
}

/// How and where a provider's credential is attached: as asked, else as is usual for its type.
fn rule(create: &CreateProvider) -> ApiResult<CredentialRule> {
    let defaults: Option<(Attach, &[&str])> = match create.kind.as_str() {
        "openai" => Some((Attach::Bearer, &["api.openai.com"])),
        "anthropic" => Some((Attach::Header { name: "x-api-key".into() }, &["api.anthropic.com"])),
        "github" => Some((Attach::Bearer, &["api.github.com", "uploads.github.com"])),
        "generic" => None,
        other => {
            return Err(refuse(422, "unknown_provider_type", format!("there is no provider type {other:?}"))
                .hint("use openai, anthropic, github, or generic with `attach` and `hosts`"));
        }
    };
    let incomplete = |what| {
        refuse(422, "incomplete_provider", format!("a generic provider needs `{what}`"))
            .hint("say how the secret is attached and which hosts may receive it")
    };
    let (attach, hosts) = defaults.map_or((None, None), |(attach, hosts)| {
        (Some(attach), Some(hosts.iter().map(|&host| host.to_owned()).collect()))
    });
    let attach = create.attach.clone().or(attach).ok_or_else(|| incomplete("attach"))?;
    let hosts: Vec<String> = create.hosts.clone().or(hosts).ok_or_else(|| incomplete("hosts"))?;
    if let Attach::Header { name } = &attach {
        check_header(name)?;
    }
    if hosts.is_empty() {
        return Err(incomplete("hosts"));
    }
    let hosts = hosts.iter().map(|host| check_host(host)).collect::<ApiResult<_>>()?;
    Ok(CredentialRule { attach, hosts })
}

fn check_header(name: &str) -> ApiResult<()> {
    const FRAMING: [&str; 7] =
        ["host", "content-length", "transfer-encoding", "connection", "te", "upgrade", "proxy-authorization"];
    match http::HeaderName::from_bytes(name.as_bytes()) {
        Ok(parsed) if !FRAMING.contains(&parsed.as_str()) => Ok(()),
        _ => Err(refuse(422, "bad_header", format!("a secret can't be sent as header {name:?}"))),
    }
}

/// A host name, or `*.` and one: lowercase, without port and trailing dot.
fn check_host(host: &str) -> ApiResult<String> {
    let lower = host.to_ascii_lowercase();
    let lower = lower.strip_suffix('.').unwrap_or(&lower);
    let bare = lower.strip_prefix("*.").unwrap_or(lower);
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
            && !label.starts_with('-')
    };
    let address = bare.parse::<std::net::IpAddr>().is_ok() && bare == lower;
    let name = bare.len() <= 253 && bare.split('.').all(label) && (bare == lower || bare.contains('.'));
    if address || name {
        return Ok(lower.to_owned());
    }
    Err(refuse(422, "bad_host", format!("{host:?} is not a host that a secret can be bound to"))
        .hint("write a name such as api.example.com, or *.example.com for one label in front of it; no port, no URL"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_bound_to_hosts_that_mean_something() {
        let check = |host: &str, expected: Option<&str>| {
            assert_eq!(check_host(host).ok().as_deref(), expected, "{host}");
        };
        check("api.example.com", Some("api.example.com"));
        check("API.Example.com.", Some("api.example.com"));
        check("*.example.com", Some("*.example.com"));
        check("localhost", Some("localhost"));
        check("127.0.0.1", Some("127.0.0.1"));
        check("::1", Some("::1"));
        for bad in ["", "*", "*.com", "*.*.example.com", "https://x", "x:443", "a b", "-a.example", "*.127.0.0.1/"] {
            check(bad, None);
        }
    }

    #[test]
    fn types_say_how_and_where() {
        let check = |kind: &str, expected: &str| {
            let create = CreateProvider {
                name: "p".parse().unwrap(),
                kind: kind.into(),
                attach: None,
                hosts: None,
                shared: false,
                secret: "s".into(),
            };
            let found = match rule(&create) {
                Ok(rule) => rule.hosts.join(","),
                Err(error) => error.0.code,
            };
            assert_eq!(found, expected, "{kind}");
        };
        check("openai", "api.openai.com");
        check("anthropic", "api.anthropic.com");
        check("github", "api.github.com,uploads.github.com");
        check("generic", "incomplete_provider");
        check("other", "unknown_provider_type");
    }
}
