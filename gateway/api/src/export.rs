//! Exports: where decisions are sent as they come.

use serde::{Deserialize, Serialize};

use crate::Name;
use crate::decision::Verdict;

/// How an export says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ExportFormat {
    /// A `DecisionRecord` a line, `application/x-ndjson`.
    JsonLines,
    /// OCSF 1.6.0: a JSON array of HTTP Activity (4002) and Network Activity (4001) events.
    Ocsf,
    /// OTLP/HTTP in JSON: a log record for each; sent to `<url>/v1/logs`.
    OtlpLogs,
    /// OTLP/HTTP in JSON: a span for each request, from its question to its answer; sent to `<url>/v1/traces`.
    OtlpTraces,
}

/// Where decisions are sent. What was not acknowledged with a 2xx status is sent again, so that everything arrives at least once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Export {
    /// Unique on a gateway.
    pub name: Name,
    /// `https`, or `http` on the gateway's own machine.
    pub url: String,
    /// How it is said.
    pub format: ExportFormat,
    /// Only decisions that ended so; absent: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub only: Option<Verdict>,
    /// Whose credential the gateway sends along: of a provider that attaches it to a header and is bound to the URL's host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<Name>,
}

/// Body of `POST /v1/exports`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AddExport {
    /// Where and how.
    pub export: Export,
    /// Send what is kept already, too; else what is decided from now on.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub from_beginning: bool,
}

/// An export, and how it stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ExportState {
    /// Where and how.
    pub export: Export,
    /// How many decisions were acknowledged.
    pub delivered: u64,
    /// How many the other side refused for good, one by one (400, 413, 422): not sent again.
    pub refused: u64,
    /// How many were cut back before they could be delivered: the gateway keeps them four times as long as others, not for ever.
    pub lost: u64,
    /// How many are waiting.
    pub waiting: u64,
    /// RFC 3339, UTC; absent: nothing was delivered yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub delivered_at: Option<jiff::Timestamp>,
    /// Why the last attempt failed; absent: it did not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}
