//! Sandboxes.

use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use openshell_api::enforcement::Enforcement;
use openshell_api::generation::GenerationSummary;
use openshell_api::module::Binding;
use openshell_api::push::{Policies, PushReport, Rollback};
use openshell_api::sandbox::{CreateSandbox, LogLine, Sandbox};
use openshell_api::{Name, Page, Problem};
use serde::Deserialize;

use super::call::Call;
use super::extract::{Json, Path, Query};
use super::page::{self, Cursor, Part, Records};
use super::{follow, to_the_end};
use crate::error::{ApiError, ApiResult, refuse};
use crate::gateway::Gateway;
use crate::identity::{Operate, Read};
use crate::link::verify;
use crate::push::sandbox_not_found;
use crate::resume::Whereto;
use crate::store::{LogPart, SandboxRow, trimmed};
use crate::{lifecycle, push, resume};

/// Every sandbox, oldest first.
#[utoipa::path(get, path = "/v1/sandboxes", params(Part), responses((status = 200, body = Page<Sandbox>)))]
pub(super) async fn list(
    Call { gateway, .. }: Call<Read>,
    Query(part): Query<Part>,
) -> ApiResult<axum::Json<Page<Sandbox>>> {
    let rows = gateway.store.sandboxes_after(part.after("sandboxes")?.as_deref(), part.limit() + 1).await?;
    let page = page::page("sandboxes", rows, part.limit(), |row| row.id.clone());
    Ok(axum::Json(page.map(|row| gateway.shown(row))))
}

/// Makes a sandbox; answers when it runs and denies everything. If it does not come up, nothing of it is left.
#[utoipa::path(post, path = "/v1/sandboxes", request_body = CreateSandbox, responses(
    (status = 201, body = Sandbox),
    (status = 404, description = "module_not_found: of one of its policies", body = Problem),
    (status = 409, description = "sandbox_exists", body = Problem),
    (status = 422, description = "provider_not_found, runtime_unavailable, no_runtime, no_node, bad_env …; sandbox_failed: its command can't be run", body = Problem),
    (status = 500, description = "sandbox_failed: it did not start, with the reason", body = Problem),
))]
pub(super) async fn create(
    Call { gateway, permit }: Call<Operate>,
    Json(spec): Json<CreateSandbox>,
) -> ApiResult<(StatusCode, axum::Json<Sandbox>)> {
    let sandbox = to_the_end(lifecycle::create(gateway, permit, spec)).await?;
    Ok((StatusCode::CREATED, axum::Json(sandbox)))
}

/// One sandbox.
#[utoipa::path(get, path = "/v1/sandboxes/{name}", params(("name" = String, Path)), responses(
    (status = 200, body = Sandbox),
    (status = 404, description = "sandbox_not_found", body = Problem),
))]
pub(super) async fn get(Call { gateway, .. }: Call<Read>, Path(name): Path<String>) -> ApiResult<axum::Json<Sandbox>> {
    let row = named(&gateway, &name).await?;
    Ok(axum::Json(gateway.shown(row)))
}

/// Ends a sandbox and removes everything of it but its decision records.
#[utoipa::path(delete, path = "/v1/sandboxes/{name}", params(("name" = String, Path)), responses(
    (status = 204, description = "It is gone"),
    (status = 404, description = "sandbox_not_found", body = Problem),
))]
pub(super) async fn delete(Call { gateway, permit }: Call<Operate>, Path(name): Path<String>) -> ApiResult<StatusCode> {
    to_the_end(lifecycle::delete(gateway, permit, name)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Ends what runs in a sandbox and keeps what it holds: workspace, generation, logs. Answers when nothing runs.
#[utoipa::path(post, path = "/v1/sandboxes/{name}/stop", params(("name" = String, Path)), responses(
    (status = 200, body = Sandbox),
    (status = 404, description = "sandbox_not_found", body = Problem),
    (status = 409, description = "nothing_kept: its runtime keeps nothing of what has ended", body = Problem),
))]
pub(super) async fn stop(
    Call { gateway, permit }: Call<Operate>,
    Path(name): Path<String>,
) -> ApiResult<axum::Json<Sandbox>> {
    to_the_end(resume::stop(gateway, permit, name)).await.map(axum::Json)
}

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct StartQuery {
    /// Start one whose machine is lost, or of which nothing was kept, on this one: without its files.
    #[param(value_type = Option<String>)]
    runtime: Option<Name>,
    /// The same, on whichever machine fits.
    #[serde(default)]
    elsewhere: bool,
}

/// Starts a sandbox again that was stopped, has exited or failed, with what it held; answers when it runs.
#[utoipa::path(post, path = "/v1/sandboxes/{name}/start", params(("name" = String, Path), StartQuery), responses(
    (status = 200, body = Sandbox),
    (status = 404, description = "sandbox_not_found", body = Problem),
    (status = 409, description = "sandbox_running; sandbox_lost: its machine is; runtime_not_lost: it can't go elsewhere; nothing_kept: its \
        files are gone, so it can only be started elsewhere, anew", body = Problem),
    (status = 422, description = "no_runtime, runtime_unavailable: there is no place for it elsewhere; sandbox_failed: its command can't be run; it is stopped", body = Problem),
    (status = 500, description = "sandbox_failed: it did not start, with the reason; it is stopped", body = Problem),
))]
pub(super) async fn start(
    Call { gateway, permit }: Call<Operate>,
    Path(name): Path<String>,
    Query(query): Query<StartQuery>,
) -> ApiResult<axum::Json<Sandbox>> {
    let to = match query {
        StartQuery { runtime: None, elsewhere: false } => Whereto::There,
        StartQuery { runtime, .. } => Whereto::Elsewhere { runtime },
    };
    to_the_end(resume::start(gateway, permit, name, to)).await.map(axum::Json)
}

/// Lets a probe inside a sandbox try to get out again, while everything runs.
#[utoipa::path(post, path = "/v1/sandboxes/{name}/verify", params(("name" = String, Path)), responses(
    (status = 200, body = Enforcement, description = "What it found; a check may have failed"),
    (status = 404, description = "sandbox_not_found", body = Problem),
    (status = 409, description = "sandbox_not_connected", body = Problem),
    (status = 502, description = "not_verified: the supervisor could not try, or did not answer", body = Problem),
))]
pub(super) async fn verify(
    Call { gateway, permit }: Call<Operate>,
    Path(name): Path<String>,
) -> ApiResult<axum::Json<Enforcement>> {
    let row = named(&gateway, &name).await?;
    permit.owns(&row)?;
    let link = gateway.link(&row.id).await?.ok_or_else(|| {
        refuse(409, "sandbox_not_connected", format!("sandbox {name} is not connected, so nothing can be proven"))
            .hint(format!("see `openshell sandbox get {name}`"))
    })?;
    let enforcement = verify::verify(&link)
        .await
        .map_err(|error| refuse(502, "not_verified", format!("sandbox {name} proves nothing: {error}")))?;
    gateway.store.set_walls(&row.id, &row.degraded, &enforcement).await?;
    let found = serde_json::json!({ "checks": enforcement.checks.len(), "holds": enforcement.holds() });
    gateway.store.tell(&permit.change(&row.name).detail(found)).await?;
    gateway.changed.sandboxes();
    Ok(axum::Json(enforcement))
}

/// Generations of a sandbox, newest first.
#[utoipa::path(get, path = "/v1/sandboxes/{name}/generations", params(("name" = String, Path), Part), responses(
    (status = 200, body = Page<GenerationSummary>),
    (status = 404, description = "sandbox_not_found", body = Problem),
))]
pub(super) async fn generations(
    Call { gateway, .. }: Call<Read>,
    Path(name): Path<String>,
    Query(part): Query<Part>,
) -> ApiResult<axum::Json<Page<GenerationSummary>>> {
    let row = named(&gateway, &name).await?;
    let before = part.after_number("generations")?;
    let generations = gateway.store.generations_before(&row.id, before, part.limit() + 1).await?;
    let page = page::page("generations", generations, part.limit(), |generation| generation.number.to_string());
    let label = |binding: &Binding| match &binding.publisher {
        Some(publisher) => format!("{}@{} (signed by {publisher})", binding.name, binding.version),
        None => format!("{}@{}", binding.name, binding.version),
    };
    Ok(axum::Json(page.map(|generation| GenerationSummary {
        number: generation.number,
        cause: generation.cause,
        created_at: generation.created_at,
        enforcing: generation.number == row.generation,
        policies: generation.content.chain.iter().map(label).collect(),
        router: generation.content.router.as_ref().map(label),
    })))
}

/// What the newest generation of a sandbox binds, with settings.
#[utoipa::path(get, path = "/v1/sandboxes/{name}/policies", params(("name" = String, Path)), responses(
    (status = 200, body = Policies),
    (status = 404, description = "sandbox_not_found", body = Problem),
))]
pub(super) async fn policies(
    Call { gateway, .. }: Call<Read>,
    Path(name): Path<String>,
) -> ApiResult<axum::Json<Policies>> {
    let row = named(&gateway, &name).await?;
    let newest = gateway.store.newest_generation(&row.id).await?;
    let newest = newest.ok_or_else(|| ApiError::not_found("generation", &name))?;
    Ok(axum::Json(Policies {
        generation: newest.number,
        enforcing: newest.number == row.generation,
        ceiling: newest.content.ceiling,
        chain: newest.content.chain,
        shadow: newest.content.shadow,
        observe: newest.content.observe,
        router: newest.content.router,
    }))
}

/// Brings the policies of an older generation back, under a new number.
#[utoipa::path(post, path = "/v1/sandboxes/{name}/rollback", params(("name" = String, Path)), request_body = Rollback,
    responses(
    (status = 200, body = PushReport),
    (status = 404, description = "sandbox_not_found, generation_not_found", body = Problem),
    (status = 409, description = "nothing_to_roll_back, sandbox_not_connected, not_staged", body = Problem),
))]
pub(super) async fn rollback(
    Call { gateway, permit }: Call<Operate>,
    Path(name): Path<String>,
    Json(rollback): Json<Rollback>,
) -> ApiResult<axum::Json<PushReport>> {
    to_the_end(push::rollback(gateway, permit, name, rollback)).await.map(axum::Json)
}

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct LogQuery {
    /// Go on before a page: its `next`.
    #[param(value_type = Option<String>)]
    cursor: Option<Cursor>,
    /// The newest so many lines.
    #[serde(default = "default_lines")]
    #[param(value_type = u32, minimum = 0, maximum = 10000, default = 1000)]
    limit: Records,
    /// Stay and send lines as they come, one JSON document per line (`application/x-ndjson`), until the sandbox is gone.
    #[serde(default)]
    follow: bool,
    /// With `follow`: begin with the oldest line that is kept, instead of the newest few.
    #[serde(default)]
    from_start: bool,
}

fn default_lines() -> Records {
    page::Limit(1000)
}

/// What a sandbox's workload and supervisor wrote: the newest page first, and oldest first on each page.
#[utoipa::path(get, path = "/v1/sandboxes/{name}/logs", params(("name" = String, Path), LogQuery), responses(
    (status = 200, content((Page<LogLine> = "application/json"), (String = "application/x-ndjson")),
        description = "Oldest first; a `LogLine` a line with `follow`"),
    (status = 404, description = "sandbox_not_found", body = Problem),
))]
pub(super) async fn logs(
    Call { gateway, .. }: Call<Read>,
    Path(name): Path<String>,
    Query(query): Query<LogQuery>,
) -> ApiResult<Response> {
    let row = named(&gateway, &name).await?;
    let changed = gateway.changed.follow_logs();
    if query.follow && query.from_start {
        let source = follow::Logs::whole(&gateway, row.id);
        return Ok(follow::stream_after(gateway, source, Vec::new(), 0, changed));
    }
    let before = query.cursor.as_ref().map(|cursor| cursor.number("logs")).transpose()?;
    let page::Limit(limit) = query.limit;
    let LogPart { forgotten, lines } = gateway.store.logs_before(&row.id, before, limit + 1).await?;
    let newest = lines.first().map_or(0, |line| line.seq);
    let page = page::newest("logs", lines, limit, |line| line.seq);
    if query.follow {
        let source = follow::Logs::after_line(&gateway, row.id, newest).await?;
        return Ok(follow::stream_after(gateway, source, page.items, newest, changed));
    }
    let mut page = page.map(|line| line.item);
    // The oldest page begins with what precedes it.
    if let (Some(oldest), None, 1..) = (page.items.first(), &page.next, forgotten) {
        let missing = trimmed(oldest.at, forgotten);
        page.items.insert(0, missing);
    }
    Ok(axum::Json(page).into_response())
}

pub(super) async fn named(gateway: &Gateway, name: &str) -> ApiResult<SandboxRow> {
    gateway.store.sandbox_named(name).await?.ok_or_else(|| sandbox_not_found(name))
}
