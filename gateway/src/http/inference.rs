//! Inference backends.

use axum::http::{StatusCode, Uri};
use openshell_api::inference::{Backend, BackendTest, InferenceRules, Usage};
use openshell_api::{Page, Problem};
use serde::Deserialize;

use super::call::Call;
use super::extract::{Json, Path, Query};
use super::page::{self, Cursor, Items, Part};
use super::sandboxes::named;
use super::to_the_end;
use crate::error::{ApiError, ApiResult, refuse};
use crate::etag::Expected;
use crate::gateway::Gateway;
use crate::identity::{Administer, Read};
use crate::store::{UsageBy, UsageQuery};
use crate::{budgets, push};

/// Every backend, in the operator's order.
#[utoipa::path(get, path = "/v1/inference/backends", params(Part), responses((status = 200, body = Page<Backend>)))]
pub(super) async fn list(
    Call { gateway, .. }: Call<Read>,
    Query(part): Query<Part>,
) -> ApiResult<axum::Json<Page<Backend>>> {
    let after = part.after_number("backends")?;
    let found = gateway.store.backends_after(after, part.limit() + 1).await?;
    let page = page::page("backends", found, part.limit(), |backend| backend.seq.to_string());
    Ok(axum::Json(page.map(|backend| backend.item)))
}

/// One backend.
#[utoipa::path(get, path = "/v1/inference/backends/{name}", params(("name" = String, Path)), responses(
    (status = 200, body = Backend),
    (status = 404, description = "backend_not_found", body = Problem),
))]
pub(super) async fn get(Call { gateway, .. }: Call<Read>, Path(name): Path<String>) -> ApiResult<axum::Json<Backend>> {
    backend_named(&gateway, &name).await.map(axum::Json)
}

async fn backend_named(gateway: &Gateway, name: &str) -> ApiResult<Backend> {
    let found = gateway.store.catalogue().await?.backends.into_iter().find(|backend| backend.name.as_str() == name);
    found.ok_or_else(|| ApiError::not_found("backend", name).hint("`openshell inference backend list` shows them"))
}

/// Adds a backend; every connected sandbox may use it once this answers, or none.
#[utoipa::path(post, path = "/v1/inference/backends", request_body = Backend, responses(
    (status = 201, body = Backend),
    (status = 409, description = "backend_exists; not_staged: a sandbox refused, nothing changed", body = Problem),
    (status = 422, description = "provider_not_found, bad_url", body = Problem),
))]
pub(super) async fn add(
    Call { gateway, permit }: Call<Administer>,
    Json(backend): Json<Backend>,
) -> ApiResult<(StatusCode, axum::Json<Backend>)> {
    check_url(&backend.base_url)?;
    let backend = to_the_end(push::add_backend(gateway, permit, backend)).await?;
    Ok((StatusCode::CREATED, axum::Json(backend)))
}

/// Replaces a backend; every connected sandbox uses the new one once this answers, or none.
#[utoipa::path(put, path = "/v1/inference/backends/{name}", params(("name" = String, Path)), request_body = Backend, responses(
    (status = 200, body = Backend),
    (status = 404, description = "backend_not_found", body = Problem),
    (status = 409, description = "not_staged: a sandbox refused, nothing changed", body = Problem),
    (status = 422, description = "provider_not_found, bad_url, other_name", body = Problem),
))]
pub(super) async fn set(
    Call { gateway, permit }: Call<Administer>,
    Path(name): Path<String>,
    expected: Expected,
    Json(backend): Json<Backend>,
) -> ApiResult<axum::Json<Backend>> {
    check_url(&backend.base_url)?;
    if backend.name.as_str() != name {
        return Err(refuse(422, "other_name", format!("the body names backend {}, the path {name}", backend.name))
            .hint("a backend keeps its name; add another one and remove this one"));
    }
    to_the_end(push::set_backend(gateway, permit, backend, expected)).await.map(axum::Json)
}

/// Asks a backend for its models, with its key, from the gateway's own host.
#[utoipa::path(post, path = "/v1/inference/backends/{name}/test", params(("name" = String, Path)), responses(
    (status = 200, body = BackendTest, description = "What it said, good or bad"),
    (status = 404, description = "backend_not_found", body = Problem),
))]
pub(super) async fn test(
    Call { gateway, permit }: Call<Administer>,
    Path(name): Path<String>,
) -> ApiResult<axum::Json<BackendTest>> {
    let backend = backend_named(&gateway, &name).await?;
    Ok(axum::Json(crate::backend_test::run(&gateway, &permit, &backend).await?))
}

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct UsageFilter {
    /// Only of this sandbox.
    sandbox: Option<String>,
    /// Only from the day of this time on (RFC 3339).
    #[param(value_type = Option<String>, format = DateTime)]
    since: Option<jiff::Timestamp>,
    /// What to break it down by, with commas between: `sandbox`, `model`, `backend`, `day`.
    #[serde(default)]
    #[param(pattern = "^(( *(sandbox|model|backend|day) *)?(,|$))*$")]
    by: String,
    /// Go on after a page: its `next`.
    #[param(value_type = Option<String>)]
    cursor: Option<Cursor>,
    /// At most so many.
    #[serde(default)]
    #[param(value_type = u32, minimum = 1, maximum = 1000, default = 100)]
    limit: Items,
}

/// What inference was used and what it cost, by day, sandbox, model and backend.
#[utoipa::path(get, path = "/v1/inference/usage", params(UsageFilter), responses(
    (status = 200, body = Page<Usage>, description = "An item for each combination of what `by` names"),
    (status = 400, description = "bad_query, bad_cursor", body = Problem),
))]
pub(super) async fn usage(
    Call { gateway, .. }: Call<Read>,
    Query(filter): Query<UsageFilter>,
) -> ApiResult<axum::Json<Page<Usage>>> {
    let mut by = Vec::new();
    for word in filter.by.split(',').map(str::trim).filter(|word| !word.is_empty()) {
        let part = match word {
            "sandbox" => UsageBy::Sandbox,
            "model" => UsageBy::Model,
            "backend" => UsageBy::Backend,
            "day" => UsageBy::Day,
            other => {
                return Err(refuse(400, "bad_query", format!("usage is not kept by {other:?}"))
                    .hint("`by` takes sandbox, model, backend and day"));
            }
        };
        if !by.contains(&part) {
            by.push(part);
        }
    }
    let query = UsageQuery { sandbox: filter.sandbox, since: filter.since, by };
    let lines = gateway.store.usage(&query).await?;
    Part::new(filter.cursor, filter.limit).of("usage", lines, usage_key).map(axum::Json)
}

/// What no two lines of an answer have in common. What they cost changes from call to call, so no page can end by it.
fn usage_key(line: &Usage) -> String {
    let parts = [&line.day, &line.sandbox, &line.model, &line.backend];
    parts.map(|part| part.as_deref().unwrap_or_default()).join("\u{1}")
}

/// Budgets, aliases and models of a sandbox.
#[utoipa::path(get, path = "/v1/sandboxes/{name}/inference", params(("name" = String, Path)), responses(
    (status = 200, body = InferenceRules),
    (status = 404, description = "sandbox_not_found", body = Problem),
))]
pub(super) async fn rules(
    Call { gateway, .. }: Call<Read>,
    Path(name): Path<String>,
) -> ApiResult<axum::Json<InferenceRules>> {
    let row = named(&gateway, &name).await?;
    let newest = gateway.store.newest_generation(&row.id).await?;
    Ok(axum::Json(newest.map(|generation| generation.content.inference).unwrap_or_default()))
}

/// Replaces budgets, aliases and models of a sandbox; they hold once this answers, or once it connects again.
#[utoipa::path(put, path = "/v1/sandboxes/{name}/inference", params(("name" = String, Path)),
    request_body = InferenceRules, responses(
    (status = 200, body = InferenceRules),
    (status = 404, description = "sandbox_not_found", body = Problem),
    (status = 409, description = "not_staged: the sandbox refused, nothing changed", body = Problem),
    (status = 422, description = "bad_budget, bad_alias, bad_cascade", body = Problem),
))]
pub(super) async fn set_rules(
    Call { gateway, permit }: Call<Administer>,
    Path(name): Path<String>,
    expected: Expected,
    Json(rules): Json<InferenceRules>,
) -> ApiResult<axum::Json<InferenceRules>> {
    budgets::check_limits(&rules.budgets)?;
    if let Some((alias, model)) = rules.aliases.iter().find(|(alias, model)| alias.is_empty() || model.is_empty()) {
        return Err(refuse(422, "bad_alias", format!("the alias {alias:?} for {model:?} has an empty side")));
    }
    if let Some(cascade) = &rules.cascade {
        if cascade.checks.is_empty() {
            return Err(refuse(422, "bad_cascade", format!("nothing checks what {} answers", cascade.first))
                .hint("name what its answer must pass: refusal, json, cut, short=CHARACTERS, logprob=MEAN"));
        }
        if !gateway.store.catalogue().await?.backends.iter().any(|backend| backend.name == cascade.first) {
            return Err(refuse(422, "bad_cascade", format!("there is no backend {}", cascade.first))
                .hint("`openshell inference backend list` shows them"));
        }
    }
    to_the_end(push::set_inference(gateway, permit, name, rules, expected)).await.map(axum::Json)
}

/// Removes a backend from every sandbox.
#[utoipa::path(delete, path = "/v1/inference/backends/{name}", params(("name" = String, Path)), responses(
    (status = 204, description = "It is gone"),
    (status = 404, description = "backend_not_found", body = Problem),
))]
pub(super) async fn remove(
    Call { gateway, permit }: Call<Administer>,
    Path(name): Path<String>,
) -> ApiResult<StatusCode> {
    to_the_end(push::remove_backend(gateway, permit, name)).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn check_url(url: &str) -> ApiResult<()> {
    let parsed = url.parse::<Uri>().ok();
    let fine = parsed.is_some_and(|uri| {
        matches!(uri.scheme_str(), Some("http" | "https"))
            && uri
                .authority()
                .is_some_and(|authority| !authority.host().is_empty() && !authority.as_str().contains('@'))
            && uri.query().is_none()
    });
    if fine {
        return Ok(());
    }
    Err(refuse(422, "bad_url", format!("{url:?} is not a base URL"))
        .hint("write it up to its version segment, such as https://api.openai.com/v1; no user, no query"))
}
