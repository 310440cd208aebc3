//! The doors of the API. A handler gets the gateway by one of these extractors and in no other way, so a call that forgets to ask
//! for permission has nothing to work with, and does not compile.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};

use axum::extract::{FromRequestParts, MatchedPath};
use axum::http::request::Parts;

use super::actions;
use crate::error::{ApiError, refuse};
use crate::gateway::Gateway;
use crate::identity::{Caller, Permit, Principal, Right, Source};
use crate::store::SupervisorKey;

/// The router's state: a gateway that handlers can't reach.
#[derive(Clone)]
pub(super) struct Guarded(Arc<Gateway>);

impl Guarded {
    pub(super) fn new(gateway: Arc<Gateway>) -> Self {
        Self(gateway)
    }
}

/// What is known of a request beside what it says; filled in as it is looked at.
#[derive(Debug)]
pub(super) struct Attempt {
    pub source: Source,
    pub caller: OnceLock<Arc<Caller>>,
    /// Whether the audit trail was told.
    pub told: Arc<AtomicBool>,
}

/// A call by a user who may make it.
pub(super) struct Call<R> {
    pub gateway: Arc<Gateway>,
    pub permit: Permit<R>,
}

/// A call that anybody may make.
pub(super) struct Open(pub Arc<Gateway>);

/// A call of a supervisor for its link.
pub(super) struct SupervisorCall {
    pub gateway: Arc<Gateway>,
    pub key: SupervisorKey,
}

/// Who calls. Found out once for each request.
pub(super) async fn identified(parts: &Parts, gateway: &Gateway) -> Result<(Principal, Arc<Attempt>), ApiError> {
    let attempt = parts.extensions.get::<Arc<Attempt>>().cloned();
    let attempt = attempt.ok_or_else(|| ApiError::internal("a request without a source"))?;
    if let Some(caller) = attempt.caller.get() {
        return Ok((Principal::User(caller.clone()), attempt));
    }
    let principal = gateway.identities.identify(&gateway.store, &parts.headers, attempt.source).await?;
    if let Principal::User(caller) = &principal {
        let _ = attempt.caller.set(caller.clone());
    }
    Ok((principal, attempt))
}

impl<R: Right> FromRequestParts<Guarded> for Call<R> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, Guarded(gateway): &Guarded) -> Result<Self, ApiError> {
        let (principal, attempt) = identified(parts, gateway).await?;
        let Principal::User(caller) = principal else {
            return Err(refuse(403, "forbidden", "a supervisor's credential opens nothing but its own link"));
        };
        let path = parts.extensions.get::<MatchedPath>().map(MatchedPath::as_str).unwrap_or_default();
        let action = actions::of(&parts.method, path)
            .ok_or_else(|| ApiError::internal(format!("{} {path} has no name", parts.method)))?;
        Ok(Self { gateway: gateway.clone(), permit: Permit::check(caller, action, attempt.told.clone())? })
    }
}

impl FromRequestParts<Guarded> for Open {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(_: &mut Parts, Guarded(gateway): &Guarded) -> Result<Self, Self::Rejection> {
        Ok(Self(gateway.clone()))
    }
}

impl FromRequestParts<Guarded> for SupervisorCall {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, Guarded(gateway): &Guarded) -> Result<Self, ApiError> {
        match identified(parts, gateway).await? {
            (Principal::Supervisor(key), _) => Ok(Self { gateway: gateway.clone(), key }),
            (Principal::User(_), _) => {
                Err(refuse(403, "forbidden", "only a supervisor's own credential opens its link"))
            }
        }
    }
}
