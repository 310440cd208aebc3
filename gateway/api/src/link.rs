//! The link between gateway and supervisor: one WebSocket at `/v1/supervisor`, dialled by the supervisor.
//!
//! Text frames carry [`ToSupervisor`] and [`FromSupervisor`] as JSON. Binary frames carry bytes: an 8-byte big-endian
//! channel number, then data. Channels are artifact transfers (gateway → supervisor, announced by
//! [`ToSupervisor::Artifact`]) and streams into the sandbox (both ways; see [`ExecStream`]). Channel numbers are chosen by the
//! gateway and never reused on a link.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::Problem;
use crate::decision::{DecisionRecord, ProcessRecord};
use crate::enforcement::Enforcement;
use crate::generation::SignedGeneration;
use crate::proposal::{ProposalStatus, Propose};
use crate::sandbox::{LogLine, WindowSize};
use crate::share::{Share, Want};
use crate::signing::{GatewayKey, Voucher};
use crate::stream::{StreamEvent, StreamRequest};

/// Longest data part of one binary frame, in bytes. Each end of a link keeps the memory of the longest frame it has sent.
pub const MAX_CHUNK: usize = 32 * 1024;

/// What each end of a link sets aside to read into, in bytes. A gateway has thousands of links.
pub const READ_BUFFER: usize = 16 * 1024;

/// Output of an exec, in bytes (stdout and stderr together), that a supervisor may send before it is granted more by
/// [`ToSupervisor::ExecCredit`]. A gateway ends an exec that is sent further and is not read.
pub const EXEC_WINDOW: u64 = 1024 * 1024;

/// Gateway → supervisor.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ToSupervisor {
    /// Prepare this generation: verify, load, self-test. Answered by `Need`*, then `Staged` or `Refused`.
    Stage {
        /// Names this attempt.
        push: String,
        /// What to prepare.
        generation: SignedGeneration,
    },
    /// Bytes of a needed artifact follow on this channel, `size` in total.
    Artifact {
        /// `sha256:<hex>`.
        digest: String,
        /// Channel of the binary frames.
        channel: u64,
        /// Total size in bytes.
        size: u64,
        /// The bytes are a [`patch`](crate::patch) of this artifact, of those that `Need` says are there. Absent: they are the
        /// artifact itself.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        base: Option<String>,
        /// The bytes are [compressed](crate::compress). Never those of a patch.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        zstd: bool,
    },
    /// Enforce what was staged. Answered by `Enforcing`, or `Refused` if nothing is staged under that name.
    Activate {
        /// The attempt.
        push: String,
    },
    /// Forget what was staged.
    Abort {
        /// The attempt.
        push: String,
    },
    /// Trust these CAs for the gateway from now on, and no others. To those only that say in `Hello` that they would. Answered by
    /// `Trusts`.
    Trust {
        /// A greater number is newer; an older one changes nothing.
        epoch: u64,
        /// PEM.
        ca: String,
    },
    /// From now on generations and artifacts bear the signature of one of these keys. To those only that say in `Hello` which ones they
    /// trust. A key that is not trusted already must be vouched for. Answered by `SigningKeys`.
    SigningKeys {
        /// All of them: others are trusted no more.
        keys: Vec<GatewayKey>,
        /// How each followed from the one before it.
        vouchers: Vec<Voucher>,
    },
    /// Values of credentials, whole set: name → secret. Kept in memory only.
    Secrets {
        /// Name → value.
        values: BTreeMap<String, String>,
    },
    /// What sessions have contained so far; merged by maximum.
    Sessions {
        /// Session → sensitivity.
        sensitivity: BTreeMap<String, crate::inference::Sensitivity>,
    },
    /// Forget what one session, or all of them, have contained: a user says so. Answered by `SessionsReset`, after every rise that came
    /// before.
    ResetSessions {
        /// Names this question.
        id: String,
        /// The session; absent: all of them.
        session: Option<String>,
    },
    /// What the sandbox has spent on inference in the windows of now, as far as its records have arrived; taken over where it
    /// is more.
    Spent {
        /// Per window and backend, and for all backends together.
        spent: Vec<crate::inference::Spent>,
    },
    /// Answers `NeedShare`.
    Share {
        /// The question.
        question: String,
        /// What it may spend now, or why no more.
        result: Result<Share, Problem>,
    },
    /// Another sandbox of the same user needs what this one does not use: keep of each share what is spent and set aside there. Answered by
    /// `GivenBack`.
    GiveBack {
        /// Names this question.
        id: String,
        /// Its shares, as the gateway counts them.
        shares: Vec<Share>,
    },
    /// Open a stream into the sandbox, or take one up again.
    Open {
        /// Channel of its bytes.
        channel: u64,
        /// What it is for.
        request: StreamRequest,
    },
    /// The client of a stream is gone. A resumable one is kept for a while, unless it is `done`; any other ends.
    Detach {
        /// The stream.
        channel: u64,
        /// The client has all of it, and its end; or it wants no more.
        done: bool,
    },
    /// The client of a resumable stream has so much of its output, in bytes since it began.
    Received {
        /// The stream.
        channel: u64,
        /// Bytes.
        bytes: u64,
    },
    /// The terminal of an exec changed size.
    ExecResize {
        /// The exec.
        channel: u64,
        /// New size.
        size: WindowSize,
    },
    /// Send a signal to an exec.
    ExecSignal {
        /// The exec.
        channel: u64,
        /// Number.
        signal: i32,
    },
    /// The supervisor may send this many more bytes of output on an exec's channel, beyond [`EXEC_WINDOW`] at its start.
    /// Keeps one slow reader from holding up the whole link.
    ExecCredit {
        /// The exec.
        channel: u64,
        /// Further bytes.
        bytes: u64,
    },
    /// Prove the walls again. Answered by `Verified`.
    Verify {
        /// Names this question.
        id: String,
    },
    /// Answers `Propose` and `Proposal`.
    Proposal {
        /// The question.
        question: String,
        /// Where the proposal stands, or why there is none.
        result: Result<ProposalStatus, Problem>,
    },
    /// A proposal of this sandbox was decided: whoever waits may ask again.
    ProposalDecided {
        /// The proposal.
        id: String,
    },
    /// Records up to this sequence number are stored; the supervisor may forget them.
    RecordsStored {
        /// Sequence number.
        through: u64,
    },
    /// Log lines up to this sequence number are stored.
    LogsStored {
        /// Sequence number.
        through: u64,
    },
    /// New credentials for the link, instead of those the supervisor has. Answered by `Rekeyed` once they are kept; until then,
    /// and for a short while after, the old ones are good as well.
    Rekey {
        /// Names this pair.
        id: u64,
        /// Opens the link for `lifetime_s`.
        key: Sensitive,
        /// Opens the link once that has expired: once.
        refresh: Sensitive,
        /// Seconds from now.
        lifetime_s: u64,
    },
    /// Where the gateway answers: this one first, then its replicas. A supervisor that loses its link tries them in turn.
    Gateways {
        /// `https://host:port` of each.
        urls: Vec<String>,
    },
    /// End the workload and exit.
    Shutdown,
}

/// A text that is never shown: it travels, and that is all.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Sensitive(pub String);

impl std::fmt::Debug for Sensitive {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("…")
    }
}

/// [`FromSupervisor::Records`] as a gateway reads it: each record is still the text that came.
#[derive(Debug, Deserialize)]
pub struct RecordsText<'a> {
    /// Sequence number of `records[0]`.
    pub first: u64,
    /// The records.
    #[serde(borrow)]
    pub records: Vec<&'a RawValue>,
}

impl<'a> RecordsText<'a> {
    /// How such a message begins when a supervisor writes it.
    const BEGINNING: &'static str = r#"{"type":"records","#;

    /// Whether a message is one of these; one that is written in another order may be [`FromSupervisor::Records`] still.
    pub fn is(text: &str) -> bool {
        text.starts_with(Self::BEGINNING)
    }

    /// Takes a message apart, without a look into its records.
    pub fn parse(text: &'a str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(text)
    }
}

/// Supervisor → gateway.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum FromSupervisor {
    /// First message of every link.
    Hello {
        /// The supervisor's version.
        version: String,
        /// What it enforces now; 0: nothing yet.
        generation: u64,
        /// Protections that could not be put up.
        degraded: Vec<String>,
        /// Exit code, if the workload already ended and the gateway has stored all of the log.
        exit_code: Option<i32>,
        /// Whether it takes new credentials over its link ([`ToSupervisor::Rekey`]).
        #[serde(default)]
        rekeys: bool,
        /// Since when it trusts the CAs that it does; absent: it can't be told of others.
        #[serde(default)]
        trusts: Option<u64>,
        /// Whose signatures it trusts; absent: it can't be told of others.
        #[serde(default)]
        signing_keys: Option<Vec<GatewayKey>>,
    },
    /// Whose signatures it trusts, durably.
    SigningKeys {
        /// All of them.
        keys: Vec<GatewayKey>,
    },
    /// Since when it trusts the CAs that it does, durably.
    Trusts {
        /// The `epoch` of what it was told last, or of its start file.
        epoch: u64,
    },
    /// New credentials are kept, durably, and used from the next link on.
    Rekeyed {
        /// The pair.
        id: u64,
    },
    /// What a probe found before the workload started, or when it last tried.
    Enforcement {
        /// Protections that could not be put up, with leave.
        degraded: Vec<String>,
        /// What it found.
        enforcement: Enforcement,
    },
    /// The walls were tried again.
    Verified {
        /// The question.
        id: String,
        /// What was found, or why nobody could try.
        result: Result<Enforcement, String>,
    },
    /// A program in the sandbox asks to be allowed more. Answered by `Proposal`.
    Propose {
        /// Names this question.
        question: String,
        /// Who asks.
        process: ProcessRecord,
        /// For what.
        proposal: Propose,
    },
    /// Where does a proposal of this sandbox stand? Answered by `Proposal`.
    Proposal {
        /// Names this question.
        question: String,
        /// The proposal.
        id: String,
    },
    /// Walls are up and the workload has started (or the sandbox idles).
    Running,
    /// Artifacts it does not have yet.
    Need {
        /// The attempt.
        push: String,
        /// `sha256:<hex>` each.
        digests: Vec<String>,
        /// Others that it has, of which those may be made. The newest first.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        have: Vec<String>,
        /// They may be [compressed](crate::compress).
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        zstd: bool,
    },
    /// Ready to activate.
    Staged {
        /// The attempt.
        push: String,
    },
    /// Not staged, or not activated: nothing changed here.
    Refused {
        /// The attempt.
        push: String,
        /// Why, in words.
        reason: String,
    },
    /// Enforced from now on.
    Enforcing {
        /// The attempt.
        push: String,
        /// The generation.
        generation: u64,
        /// Live connections cut because their verdict changed to deny.
        connections_cut: u32,
        /// The swap itself, in nanoseconds.
        swap_ns: u64,
    },
    /// Decision records, oldest first; `first` is the sequence number of the first one. Sent again until stored.
    Records {
        /// Sequence number of `records[0]`.
        first: u64,
        /// The records.
        records: Vec<DecisionRecord>,
    },
    /// Lines of the workload and the supervisor; sent again until stored.
    Logs {
        /// Sequence number of `lines[0]`.
        first: u64,
        /// The lines.
        lines: Vec<LogLine>,
    },
    /// A session's sensitivity rose.
    Session {
        /// Session.
        session: String,
        /// Its sensitivity now.
        sensitivity: crate::inference::Sensitivity,
    },
    /// A request needs more of a budget that its user's sandboxes share. Answered by `Share`.
    NeedShare {
        /// Names this question.
        question: String,
        /// How much.
        want: Want,
    },
    /// What is kept of each share; the rest is no longer this sandbox's.
    GivenBack {
        /// The question.
        id: String,
        /// The shares that are left.
        shares: Vec<Share>,
    },
    /// Sessions are forgotten; whatever is said of them from now on was seen since.
    SessionsReset {
        /// The question.
        id: String,
    },
    /// The gateway may send this many more bytes of input on an exec's channel, beyond [`EXEC_WINDOW`] at its start:
    /// the command took that much. An exec that is sent far more than it was granted is ended.
    ExecCredit {
        /// The exec.
        channel: u64,
        /// Further bytes, of what came on this channel.
        bytes: u64,
        /// Input that the command took, in bytes since the stream began. Absent from older supervisors.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        taken: Option<u64>,
    },
    /// Something happened to a stream that is not its end.
    Stream {
        /// The stream.
        channel: u64,
        /// What.
        event: StreamEvent,
    },
    /// An exec ended.
    ExecExited {
        /// The exec.
        channel: u64,
        /// 128 + n if signal n ended it.
        code: i32,
        /// The signal that ended it, if one did.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        signal: Option<i32>,
    },
    /// An exec could not start.
    ExecFailed {
        /// The exec.
        channel: u64,
        /// Why.
        reason: String,
    },
    /// The workload ended. Sent after every line of the log up to its end, and so to be stored after them.
    Exited {
        /// 128 + n if signal n ended it.
        code: i32,
    },
    /// The sandbox could not start. Sent after every line of the log that says why.
    Failed {
        /// Why.
        reason: String,
    },
}

/// First byte after the channel number of a binary frame that belongs to an exec.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum ExecStream {
    /// Gateway → supervisor; no data: end of input.
    Stdin = 0,
    /// Supervisor → gateway.
    Stdout = 1,
    /// Supervisor → gateway.
    Stderr = 2,
}
