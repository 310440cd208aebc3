//! Decision records.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use openshell_api::Problem;
use openshell_api::decision::DecisionRecord;
use serde::Deserialize;

use super::extract::Query;
use super::follow;
use crate::error::ApiResult;
use crate::gateway::Gateway;
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
pub(super) async fn list(State(gateway): State<Arc<Gateway>>, Query(filter): Query<Filter>) -> ApiResult<Response> {
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
