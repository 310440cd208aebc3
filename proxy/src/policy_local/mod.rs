//! `http://policy.local`: where a program in the sandbox reads why it was refused, and asks for more.
//!
//! Answered here, whatever the network policy says: the name is never looked up and its requests never leave. What was refused
//! is remembered in memory ([`denials`]); what is asked for goes to the gateway, whose user decides ([`Proposals`]).
//!
//! Absences: nothing here allows anything; nothing of another sandbox is shown; no answer waits without an end.

mod denials;
mod serve;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use http_body_util::combinators::UnsyncBoxBody;
use openshell_api::Problem;
use openshell_api::decision::ProcessRecord;
use openshell_api::proposal::{ProposalStatus, Propose};
use tokio::sync::watch;

pub use denials::{Denials, Remembering};
pub use serve::Desk;

use crate::caller::Caller;
use crate::inference::BoxError;

/// The reserved name, on every port.
pub const HOST: &str = "policy.local";
/// Where proposals are sent.
pub const PROPOSALS: &str = "http://policy.local/v1/proposals";

/// Body of an answer.
pub type Body = UnsyncBoxBody<bytes::Bytes, BoxError>;

/// Answers requests to [`HOST`]; every refusal is an answer too, in JSON.
#[async_trait::async_trait]
pub trait PolicyLocal: Send + Sync {
    /// Answers one request.
    async fn serve(&self, caller: Arc<Caller>, request: http::Request<Body>) -> http::Response<Body>;
}

/// The gateway, as far as proposals are concerned.
#[async_trait::async_trait]
pub trait Proposals: Send + Sync {
    /// Hands a proposal on. Refused as the gateway refuses it; 503 while there is none.
    async fn propose(&self, process: ProcessRecord, asked: Propose) -> Result<ProposalStatus, Problem>;

    /// Where a proposal of this sandbox stands.
    async fn stands(&self, id: &str) -> Result<ProposalStatus, Problem>;

    /// Changes whenever a proposal was decided, and when the gateway is back.
    fn changes(&self) -> watch::Receiver<u64>;
}
