//! Decision records.

use axum::body::Body;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse as _, Response};
use openshell_api::Problem;
use openshell_api::decision::DecisionRecord;
use serde::Deserialize;

use super::call::Call;
use super::extract::{Path, Query};
use super::follow;
use crate::error::{ApiError, ApiResult};
use crate::identity::Read;
use crate::store::DecisionQuery;

const MAX_DECISIONS: u32 = 10_000;

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct Filter {
    /// Only of this sandbox.
    sandbox: Option<String>,
    /// Only from this time on (RFC 3339).
    #[param(value_type = Option<String>)]
    since: Option<jiff::Timestamp>,
    /// The newest so many.
    #[serde(default = "default_limit")]
    limit: u32,
    /// Stay and send decisions as they come, one JSON document per line (`application/x-ndjson`).
    #[serde(default)]
    follow: bool,
}

fn default_limit() -> u32 {
    100
}

/// What was decided, oldest first.
#[utoipa::path(get, path = "/v1/decisions", params(Filter), responses(
    (status = 200, body = Vec<DecisionRecord>, description = "Oldest first; a line each with `follow`"),
    (status = 400, description = "bad_query", body = Problem),
))]
pub(super) async fn list(Call { gateway, .. }: Call<Read>, Query(filter): Query<Filter>) -> ApiResult<Response> {
    let changed = gateway.changed.follow_decisions();
    let last = gateway.store.last_decision_seq().await?;
    let query =
        DecisionQuery { sandbox: filter.sandbox.clone(), since: filter.since, limit: filter.limit.min(MAX_DECISIONS) };
    let records = gateway.store.decisions(&query).await?;
    if filter.follow {
        let source = follow::Decisions { sandbox: filter.sandbox };
        return Ok(follow::stream_after(gateway, source, records, last, changed));
    }
    Ok(axum::Json(records.into_iter().map(|record| record.item).collect::<Vec<_>>()).into_response())
}

/// One decision.
#[utoipa::path(get, path = "/v1/decisions/{id}", params(("id" = String, Path)), responses(
    (status = 200, body = DecisionRecord),
    (status = 404, description = "decision_not_found", body = Problem),
))]
pub(super) async fn get(
    Call { gateway, .. }: Call<Read>,
    Path(id): Path<String>,
) -> ApiResult<axum::Json<DecisionRecord>> {
    let found = gateway.store.decision(&id).await?;
    found.map(axum::Json).ok_or_else(|| ApiError::not_found("decision", id))
}

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct Export {
    /// Only of this sandbox.
    sandbox: Option<String>,
    /// Only from this time on (RFC 3339).
    #[param(value_type = Option<String>)]
    since: Option<jiff::Timestamp>,
}

/// Every decision that is kept, oldest first, one JSON document per line: as many as there are.
#[utoipa::path(get, path = "/v1/decisions/export", params(Export), responses(
    (status = 200, body = String, content_type = "application/x-ndjson", description = "A `DecisionRecord` a line"),
    (status = 400, description = "bad_query", body = Problem),
))]
pub(super) async fn export(Call { gateway, .. }: Call<Read>, Query(export): Query<Export>) -> ApiResult<Response> {
    let pages = futures_util::stream::try_unfold((gateway, export, 0), |(gateway, export, seq)| async move {
        let page = gateway.store.decision_lines(export.sandbox.as_deref(), export.since, seq).await;
        let page = page.map_err(std::io::Error::other)?;
        Ok::<_, std::io::Error>(page.map(|(last, lines)| (lines, (gateway, export, last))))
    });
    Ok(([(CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(pages)).into_response())
}
