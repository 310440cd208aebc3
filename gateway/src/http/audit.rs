//! The audit trail.

use openshell_api::Problem;
use openshell_api::audit::{AuditHead, AuditPage};
use serde::Deserialize;

use super::call::Call;
use super::extract::Query;
use crate::error::ApiResult;
use crate::identity::Administer;
use crate::store::AuditQuery;

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct Filter {
    /// Only what comes after this entry: `next` of the page before.
    #[serde(default)]
    after: u64,
    /// Only what this user did.
    user: Option<String>,
    /// Only this action, or every one that begins with it and a dot: `sandbox.create`, `sandbox`.
    action: Option<String>,
    /// Only what was done to this.
    object: Option<String>,
    /// Only from this time on (RFC 3339).
    #[param(value_type = Option<String>)]
    since: Option<jiff::Timestamp>,
    /// The newest so many, instead of the oldest; there is no next page then.
    #[serde(default)]
    newest: bool,
    /// At most so many, and at most 1000.
    #[serde(default = "default_limit")]
    limit: u32,
}

fn default_limit() -> u32 {
    100
}

/// Who changed what, oldest first, a page at a time. Without a filter, the links of all pages are the whole chain.
#[utoipa::path(get, path = "/v1/audit", params(Filter), responses(
    (status = 200, body = AuditPage),
    (status = 400, description = "bad_query", body = Problem),
    (status = 403, description = "forbidden", body = Problem),
))]
pub(super) async fn list(
    Call { gateway, .. }: Call<Administer>,
    Query(filter): Query<Filter>,
) -> ApiResult<axum::Json<AuditPage>> {
    let Filter { after, user, action, object, since, newest, limit } = filter;
    let query = AuditQuery { after, user, action, object, since, newest, limit };
    Ok(axum::Json(gateway.store.audit(&query).await?))
}

/// The newest entry's number and hash, signed by the gateway: with it, a trail whose end is missing does not pass for a whole one.
#[utoipa::path(get, path = "/v1/audit/head", responses(
    (status = 200, body = AuditHead),
    (status = 403, description = "forbidden", body = Problem),
))]
pub(super) async fn head(Call { gateway, .. }: Call<Administer>) -> ApiResult<axum::Json<AuditHead>> {
    Ok(axum::Json(gateway.store.audit_head().await?))
}
