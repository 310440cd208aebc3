//! What a sandbox's sessions have contained, and forgetting it.

use axum::http::StatusCode;
use openshell_api::inference::Session;
use openshell_api::{Page, Problem};
use serde::Deserialize;

use super::call::Call;
use super::extract::{Path, Query};
use super::page::Part;
use super::sandboxes::named;
use super::to_the_end;
use crate::error::{ApiResult, refuse};
use crate::identity::{Administer, Read};
use crate::link::reset;

/// What the sessions of a sandbox have contained, by session, as far as it is more than public. Sensitivity only rises.
#[utoipa::path(get, path = "/v1/sandboxes/{name}/inference/sessions", params(("name" = String, Path), Part), responses(
    (status = 200, body = Page<Session>),
    (status = 404, description = "sandbox_not_found", body = Problem),
))]
pub(super) async fn list(
    Call { gateway, .. }: Call<Read>,
    Path(name): Path<String>,
    Query(part): Query<Part>,
) -> ApiResult<axum::Json<Page<Session>>> {
    let row = named(&gateway, &name).await?;
    let known = gateway.store.sessions(&row.id).await?;
    let sessions = known.into_iter().map(|(session, sensitivity)| Session { session, sensitivity }).collect();
    part.of("sessions", sessions, |session| session.session.clone()).map(axum::Json)
}

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct Which {
    /// Key of one session; absent: all of them.
    session: Option<String>,
}

/// Has what sessions of a sandbox contained forgotten: what comes next is judged by itself alone.
#[utoipa::path(delete, path = "/v1/sandboxes/{name}/inference/sessions", params(("name" = String, Path), Which), responses(
    (status = 204, description = "Forgotten, here and in the sandbox"),
    (status = 404, description = "sandbox_not_found; session_not_found: nothing is known of it", body = Problem),
    (status = 409, description = "sandbox_not_connected: it would remember", body = Problem),
    (status = 502, description = "not_reset: the supervisor did not say that it forgot", body = Problem),
))]
pub(super) async fn reset(
    Call { gateway, permit }: Call<Administer>,
    Path(name): Path<String>,
    Query(Which { session }): Query<Which>,
) -> ApiResult<StatusCode> {
    let row = named(&gateway, &name).await?;
    let mut forgotten = gateway.store.sessions(&row.id).await?;
    if let Some(session) = &session {
        forgotten.retain(|known, _| known == session);
        if forgotten.is_empty() {
            return Err(refuse(404, "session_not_found", format!("nothing is known of session {session} of {name}"))
                .hint(format!("`openshell inference session list {name}` shows them")));
        }
    }
    let link = gateway.link(&row.id).await?.ok_or_else(|| {
        refuse(409, "sandbox_not_connected", format!("sandbox {name} is not connected, so it would remember"))
            .hint(format!("start it first; see `openshell sandbox get {name}`"))
    })?;
    let change = permit.change(&row.name).before(forgotten);
    to_the_end(async move {
        reset::reset(&link, session, change).await.map_err(|error| {
            refuse(502, "not_reset", format!("sandbox {name} does not say that it forgot: {error}"))
                .hint("nothing counts as less than before; try again")
        })
    })
    .await?;
    Ok(StatusCode::NO_CONTENT)
}
