//! Proposals: what an agent in a sandbox asks to be allowed, and what became of it.

use serde::{Deserialize, Serialize};

use crate::Name;
use crate::decision::ProcessRecord;

/// Longest body of a proposal, in bytes.
pub const MAX_PROPOSAL: usize = 16 * 1024;
/// Most endpoints in one proposal.
pub const MAX_ENDPOINTS: usize = 20;
/// Longest reason, in characters.
pub const MAX_REASON: usize = 1000;

/// Body of `POST http://policy.local/v1/proposals`: an agent asks for endpoints. Nothing in it is believed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Propose {
    /// Why it is needed, in the agent's words.
    pub reason: String,
    /// What is asked for; at least one, at most 20.
    pub endpoints: Vec<ProposedEndpoint>,
    /// Absolute paths of the programs that need it; none: the program that asks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub binaries: Vec<String>,
}

/// One endpoint that an agent asks for: a part of what an endpoint of a rules file can say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ProposedEndpoint {
    /// A name, an address, `*.x` or `**.x`.
    pub host: String,
    /// Port.
    #[serde(default = "https")]
    pub port: u16,
    /// What is judged: requests, or the connection alone (`tcp`).
    #[serde(default)]
    pub protocol: ProposedProtocol,
    /// A preset of methods; absent, and nothing in `allow`: `read-only`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access: Option<ProposedAccess>,
    /// Single requests instead of a preset.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allow: Vec<ProposedRequest>,
    /// Private ranges (CIDR) that the name may lead to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allowed_ips: Vec<String>,
}

/// A request that is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ProposedRequest {
    /// HTTP method.
    pub method: String,
    /// Path, as a glob.
    pub path: String,
}

/// What of a proposed endpoint is judged.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ProposedProtocol {
    /// Each request.
    #[default]
    Rest,
    /// The connection; its bytes pass unjudged.
    Tcp,
}

/// Presets of methods.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ProposedAccess {
    /// GET, HEAD and OPTIONS.
    ReadOnly,
    /// POST, PUT and PATCH as well.
    ReadWrite,
    /// Every method.
    Full,
}

impl ProposedAccess {
    /// As a rules file spells it.
    pub fn word(self) -> &'static str {
        match self {
            Self::ReadOnly => "read-only",
            Self::ReadWrite => "read-write",
            Self::Full => "full",
        }
    }
}

fn https() -> u16 {
    443
}

/// What became of a proposal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ProposalState {
    /// Nobody has decided yet.
    Pending,
    /// The sandbox's rules have it.
    Approved,
    /// It was refused.
    Rejected,
}

/// What a sandbox is told about a proposal of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProposalStatus {
    /// Its id.
    pub id: String,
    /// What became of it.
    pub state: ProposalState,
    /// Why it was rejected, in the user's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The generation that has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<u64>,
}

/// A proposal as the user sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Proposal {
    /// ULID; sorts by time.
    pub id: String,
    /// Whose rules it would change.
    pub sandbox: Name,
    /// What became of it.
    pub state: ProposalState,
    /// What was asked for.
    pub asked: Propose,
    /// Who asked, as the kernel knows it.
    pub asked_by: ProcessRecord,
    /// RFC 3339, UTC.
    #[schema(value_type = String)]
    pub created_at: jiff::Timestamp,
    /// When it was decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub decided_at: Option<jiff::Timestamp>,
    /// Why it was rejected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The generation that has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<u64>,
    /// What approving it would change now; absent in lists, and once it is decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effect: Option<Effect>,
}

/// What approving a proposal would do to a sandbox's rules as they are now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Effect {
    /// The generation whose rules these are: approving names it, and is refused when there is a newer one.
    pub generation: u64,
    /// The rules before and after as a unified diff; empty: it can't be approved.
    pub diff: String,
    /// What makes it dangerous. Approving must accept these by name.
    pub dangers: Vec<String>,
    /// What else there is to know, from the sandbox's own records.
    pub notes: Vec<String>,
    /// Why it can't be approved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refusal: Option<crate::Problem>,
}

/// Body of `POST /v1/proposals/{id}/approve`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Approve {
    /// The generation its effect was shown for.
    pub generation: u64,
    /// The dangers are understood.
    #[serde(default)]
    pub accept_dangers: bool,
}

/// Body of `POST /v1/proposals/{id}/reject`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Reject {
    /// Why: the waiting agent reads it.
    #[serde(default)]
    pub reason: Option<String>,
}
