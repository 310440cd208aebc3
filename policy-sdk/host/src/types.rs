//! Facts that policies are asked about, and verdicts they answer with: the contract's records as plain Rust.

use serde::{Deserialize, Serialize};

/// The program that opened a connection, as the kernel reported it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Process {
    /// Absolute path of the executable inside the sandbox; empty: unknown.
    pub executable: String,
    /// SHA-256 of the executable, lowercase hex; empty: unknown.
    pub digest: String,
    /// The script an interpreter runs.
    pub script: Option<String>,
}

/// How a connection reached the proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Capture {
    /// Caught at `connect(2)`.
    Transparent,
    /// HTTP CONNECT.
    Tunnel,
    /// Absolute-form HTTP request.
    Forward,
}

/// One outbound connection.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Connection {
    /// Name of the sandbox.
    pub sandbox: String,
    /// Who opened it.
    pub process: Process,
    /// Lowercase DNS name, or the address where no name is known.
    pub host: String,
    /// Port.
    pub port: u16,
    /// How it reached the proxy.
    pub capture: Capture,
}

/// Scheme of an HTTP request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scheme {
    /// In the clear.
    Http,
    /// Over TLS.
    Https,
}

/// Head of one HTTP request; the rest is behind [`crate::View`].
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct HttpRequest {
    /// Uppercase method.
    pub method: String,
    /// Scheme.
    pub scheme: Scheme,
    /// Normalised; starts with `/`.
    pub path: String,
    /// Without the leading `?`.
    pub query: Option<String>,
}

/// Head of one HTTP response; its headers are behind [`crate::View`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct HttpResponse {
    /// Status code.
    pub status: u16,
}

/// What may happen to the bytes of an allowed connection. Ordered from lenient to strict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Inspection {
    /// Relay opaque bytes; no request hook sees them.
    Opaque,
    /// Terminate TLS and judge each HTTP request where the protocol allows it; else relay.
    Automatic,
    /// Refuse the connection unless its requests can be judged.
    Required,
}

/// A change to a message's headers.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HeaderEdit {
    /// Replaces all values of a header.
    Set(String, String),
    /// Removes a header.
    Remove(String),
}

/// Terms of an allow.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Grant {
    /// The rule that allowed it.
    pub rule: String,
    /// What may happen to the bytes.
    pub inspection: Inspection,
    /// Name of a credential for the host to attach.
    pub credential: Option<String>,
    /// CIDR ranges the name may resolve to although they are private.
    pub private_ranges: Vec<String>,
    /// Header edits.
    pub headers: Vec<HeaderEdit>,
    /// The denial this would have been, were its rule enforced.
    pub audit: Option<Denial>,
}

/// Terms of a deny.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Denial {
    /// The rule that denied it.
    pub rule: String,
    /// One sentence: what was refused and why.
    pub reason: String,
    /// What the caller could do instead.
    pub hint: Option<String>,
}

/// A policy's answer.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// No opinion.
    Abstain,
    /// Allowed, on these terms.
    Allow(Grant),
    /// Denied.
    Deny(Denial),
}

/// How sensitive something is. Ordered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sensitivity {
    /// Anyone may see it.
    #[default]
    Public,
    /// For the organisation.
    Internal,
    /// For few.
    Confidential,
    /// Must stay home.
    Restricted,
}

/// Where a backend runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Locality {
    /// In the sandbox's own machine.
    Sandbox,
    /// On the gateway's host.
    Host,
    /// On a private network.
    Private,
    /// A public service.
    Public,
}

/// One piece of text of an inference request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// `system`, `user`, `assistant`, `tool` …
    pub role: String,
    /// Its text.
    pub text: String,
}

/// An inference request in the form the `route` hook is asked about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InferenceRequest {
    /// Name of the sandbox.
    pub sandbox: String,
    /// Who asked.
    pub process: Process,
    /// Model the caller asked for.
    pub model: String,
    /// Every text in it, in order.
    pub messages: Vec<Message>,
    /// Features it needs: `tools`, `vision`, `json`, `embeddings` …
    pub needs: Vec<String>,
    /// Estimated input tokens.
    pub input_tokens: u32,
    /// Upper bound of output tokens.
    pub output_tokens: u32,
    /// Output tokens of such requests lately; never more than the bound.
    #[serde(default)]
    pub expected_output_tokens: u32,
    /// The most sensitive its session has been so far.
    pub so_far: Sensitivity,
}

/// A backend as the `route` hook sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backend {
    /// Name.
    pub name: String,
    /// Model it would be asked for.
    pub model: String,
    /// Where it runs.
    pub locality: Locality,
    /// The most sensitive request it may receive.
    pub clearance: Sensitivity,
    /// Millionths of a dollar per million input tokens.
    pub input_price: u64,
    /// Millionths of a dollar per million output tokens.
    pub output_price: u64,
    /// Millionths of a dollar per million input tokens that its prompt cache holds.
    #[serde(default)]
    pub cached_input_price: u64,
    /// Input tokens of this request that its prompt cache is thought to hold.
    #[serde(default)]
    pub cached_tokens: u32,
    /// It may receive what it is not cleared for, once the findings are replaced.
    #[serde(default)]
    pub redact: bool,
    /// Context window, in tokens.
    pub context: u32,
    /// Features it has.
    pub features: Vec<String>,
    /// Recent median time to first token, in milliseconds; 0: not seen yet.
    pub latency_ms: u32,
}

/// Where in a request something sensitive stands: byte offsets into `messages[message].text`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// `payment_card`, `email`, `private_key` …
    pub kind: String,
    /// Index of the message.
    pub message: u32,
    /// First byte.
    pub start: u32,
    /// One past the last byte.
    pub end: u32,
}

/// A router's answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteDecision {
    /// What this request counts as.
    pub sensitivity: Sensitivity,
    /// What it found.
    pub findings: Vec<Finding>,
    /// Indices into the backends, best first.
    pub order: Vec<u32>,
    /// Replace the findings before a backend that is not cleared for them sees the request.
    pub redact: bool,
    /// For people.
    pub reason: String,
}

/// What is about to start, as the `launch` hook sees it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Workload {
    /// Name of the sandbox.
    pub sandbox: String,
    /// Image it starts from, where it is a container.
    pub image: Option<String>,
    /// The workload's argv; empty: it idles.
    pub command: Vec<String>,
}

/// What one policy's `launch` hook says. [`crate::Launch`] is what several come to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Constraints {
    /// Absolute paths to read, or `.` for the directory the workload starts in. No path in either list: nothing is said
    /// about files.
    pub read_only: Vec<String>,
    /// Paths to read and write.
    pub read_write: Vec<String>,
    /// As whom it runs.
    pub user: Option<String>,
    /// Refuse to start where the kernel can't enforce all of it.
    pub strict: bool,
}
