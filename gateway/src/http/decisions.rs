//! Decision records.

use axum::body::Body;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse as _, Response};
use openshell_api::decision::DecisionRecord;
use openshell_api::{Page, Problem};
use serde::Deserialize;

use super::call::Call;
use super::extract::{Path, Query};
use super::follow;
use super::page::{self, Cursor, Records};
use crate::error::{ApiError, ApiResult};
use crate::identity::Read;
use crate::store::DecisionQuery;

const LIST: &str = "decisions";

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct Filter {
    /// Only of this sandbox.
    sandbox: Option<String>,
    /// Only from this time on (RFC 3339).
    #[param(value_type = Option<String>, format = DateTime)]
    since: Option<jiff::Timestamp>,
    /// Go on before a page: its `next`.
    #[param(value_type = Option<String>)]
    cursor: Option<Cursor>,
    /// The newest so many.
    #[serde(default)]
    #[param(value_type = u32, minimum = 0, maximum = 10000, default = 100)]
    limit: Records,
    /// Stay and send decisions as they come, one JSON document per line (`application/x-ndjson`).
    #[serde(default)]
    follow: bool,
}

/// What was decided: the newest page first, and oldest first on each page.
#[utoipa::path(get, path = "/v1/decisions", params(Filter), responses(
    (status = 200, content((Page<DecisionRecord> = "application/json"), (String = "application/x-ndjson")),
        description = "Oldest first; a `DecisionRecord` a line with `follow`"),
    (status = 400, description = "bad_query, bad_cursor", body = Problem),
))]
pub(super) async fn list(Call { gateway, .. }: Call<Read>, Query(filter): Query<Filter>) -> ApiResult<Response> {
    let changed = gateway.changed.follow_decisions();
    let last = gateway.store.last_decision_seq().await?;
    let before = filter.cursor.as_ref().map(|cursor| cursor.number(LIST)).transpose()?;
    let page::Limit(limit) = filter.limit;
    let query = DecisionQuery { sandbox: filter.sandbox.clone(), since: filter.since, before, limit: limit + 1 };
    let page = page::newest(LIST, gateway.store.decisions(&query).await?, limit, |record| record.seq);
    if filter.follow {
        let source = follow::Decisions { sandbox: filter.sandbox };
        return Ok(follow::stream_after(gateway, source, page.items, last, changed));
    }
    Ok(axum::Json(page.map(|record| record.item)).into_response())
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
    #[param(value_type = Option<String>, format = DateTime)]
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
