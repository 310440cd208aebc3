//! The audit trail.

use openshell_api::audit::{AuditHead, AuditLink};
use openshell_api::{Page, Problem};
use serde::Deserialize;

use super::call::Call;
use super::extract::Query;
use super::page::{self, Cursor, Items, Limit};
use crate::error::ApiResult;
use crate::identity::Administer;
use crate::store::AuditQuery;

const LIST: &str = "audit";

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct Filter {
    /// Only what this user did.
    user: Option<String>,
    /// Only this action, or every one that begins with it and a dot: `sandbox.create`, `sandbox`.
    action: Option<String>,
    /// Only what was done to this.
    object: Option<String>,
    /// Only from this time on (RFC 3339).
    #[param(value_type = Option<String>, format = DateTime)]
    since: Option<jiff::Timestamp>,
    /// From the newest page back, instead of from the oldest on.
    #[serde(default)]
    newest: bool,
    /// Go on after a page: its `next`.
    #[param(value_type = Option<String>)]
    cursor: Option<Cursor>,
    /// At most so many.
    #[serde(default)]
    #[param(value_type = u32, minimum = 1, maximum = 1000, default = 100)]
    limit: Items,
}

/// Who changed what, oldest first on each page. Without a filter, the links of all pages are the whole chain.
#[utoipa::path(get, path = "/v1/audit", params(Filter), responses(
    (status = 200, body = Page<AuditLink>),
    (status = 400, description = "bad_query, bad_cursor", body = Problem),
    (status = 403, description = "forbidden", body = Problem),
))]
pub(super) async fn list(
    Call { gateway, .. }: Call<Administer>,
    Query(filter): Query<Filter>,
) -> ApiResult<axum::Json<Page<AuditLink>>> {
    let after = filter.cursor.as_ref().map(|cursor| cursor.number(LIST)).transpose()?;
    let Filter { user, action, object, since, newest, limit: Limit(limit), .. } = filter;
    let found =
        gateway.store.audit(&AuditQuery { after, user, action, object, since, newest, limit: limit + 1 }).await?;
    let page = match newest {
        true => page::newest(LIST, found, limit, |link| link.seq),
        false => page::page(LIST, found, limit, |link| link.seq.to_string()),
    };
    Ok(axum::Json(page.map(|link| link.item)))
}

/// The newest entry's number and hash, signed by the gateway: with it, a trail whose end is missing does not pass for a whole one.
#[utoipa::path(get, path = "/v1/audit/head", responses(
    (status = 200, body = AuditHead),
    (status = 403, description = "forbidden", body = Problem),
))]
pub(super) async fn head(Call { gateway, .. }: Call<Administer>) -> ApiResult<axum::Json<AuditHead>> {
    Ok(axum::Json(gateway.store.audit_head().await?))
}
