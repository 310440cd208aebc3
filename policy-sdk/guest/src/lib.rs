//! Write OpenShell policies in Rust.
//!
//! A policy is a struct: its fields are its settings, its hooks are trait implementations, and [`export!`] makes a
//! WebAssembly component of it. Each decision is a pure question: what a hook may depend on is its arguments and what
//! it reads through [`view`], [`clock`] and [`counters`]. There is no network, no file system, no environment.
//!
//! ```
//! use openshell_policy_sdk::prelude::*;
//!
//! /// Lets one program read one host.
//! #[derive(Deserialize)]
//! #[serde(deny_unknown_fields)]
//! struct ReadOnly {
//!     host: String,
//! }
//!
//! impl Policy for ReadOnly {
//!     const SCHEMA: &str = r#"{ "type": "object", "properties": { "host": { "type": "string" } }, "required": ["host"] }"#;
//! }
//!
//! impl Request for ReadOnly {
//!     fn request(&self, connection: &Connection, request: &HttpRequest) -> Verdict {
//!         match (connection.host == self.host, request.method.as_str()) {
//!             (false, _) => Verdict::abstain(),
//!             (true, "GET" | "HEAD") => Verdict::allow("read-only"),
//!             (true, method) => Verdict::deny("read-only", format!("{method} would write")).hint("use GET"),
//!         }
//!     }
//! }
//!
//! export!(ReadOnly: request);
//!
//! // In `#[cfg(test)]`, the same code runs natively:
//! use openshell_policy_sdk::testing;
//! let policy: ReadOnly = testing::configure(r#"{ "host": "api.test" }"#).unwrap();
//! let verdict = testing::ask("POST https://api.test/items by /usr/bin/curl").request(&policy);
//! assert_eq!(verdict.to_string(), "deny read-only");
//! ```
//!
//! # What happens to it
//!
//! When a policy is bound to a sandbox, the gateway instantiates it once, calls `configure` with the settings, runs
//! [`Policy::prepare`], [`Policy::warm_up`] and the [`Policy::examples`], and keeps a snapshot of the memory that
//! results. Each decision then starts from that snapshot in a fresh instance. So: parse, compile and index in
//! `prepare`; a hook only looks up. Nothing a hook writes to memory is seen by the next decision.
//!
//! A panic refuses the decision at hand, and its message goes to the policy's log.

// `deny`, not `forbid`: the allocator and the generated bindings, and nothing else, may say `unsafe`.
#![deny(unsafe_code)]

#[cfg(target_arch = "wasm32")]
mod allocator;
#[doc(hidden)]
pub mod bindings;
mod example;
#[doc(hidden)]
pub mod export;
mod hooks;
mod imports;
mod input;
#[cfg(target_arch = "wasm32")]
mod last_words;
#[cfg(not(target_arch = "wasm32"))]
pub mod testing;
mod verdict;

pub use bindings::exports::openshell::policy::configure::{Example, Expectation};
pub use bindings::exports::openshell::policy::launch::{Constraints, Workload};
pub use bindings::exports::openshell::policy::route::{
    Backend, Decision as RouteDecision, Finding, InferenceRequest, Locality, Message, Sensitivity,
};
pub use bindings::openshell::policy::types::{
    Capture, Connection, Denial, Grant, HeaderEdit, HttpRequest, HttpResponse, Inspection, Process, Scheme, Verdict,
};
pub use hooks::{Connect, Launch, Policy, Request, Response, Route};
pub use imports::{clock, counters, log, view};
pub use serde;
pub use serde_json;

/// The recipes of the user's guide, compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/cookbook.md")]
struct Cookbook;

/// What a policy usually needs: `use openshell_policy_sdk::prelude::*;`.
pub mod prelude {
    pub use crate::{
        Backend, Capture, Connect, Connection, Constraints, Denial, Example, Finding, Grant, HttpRequest, HttpResponse,
        InferenceRequest, Inspection, Launch, Locality, Message, Policy, Process, Request, Response, Route,
        RouteDecision, Scheme, Sensitivity, Verdict, Workload, clock, counters, export, log, view,
    };
    pub use serde::Deserialize;
}
