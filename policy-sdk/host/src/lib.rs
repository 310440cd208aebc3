//! The policy engine: checks, bakes and compiles policy modules (feature `compile`), and runs them.
//!
//! Two faces. **Run** links no compiler: [`Artifact::open`] verifies, [`Engine::load`] links only what a binding grants,
//! [`Policy`] answers, [`Chains`] decide. **Author**, behind the feature `compile`: `check` says what a component is, and
//! `Compiler` turns it and its settings into a signed artifact.

pub mod allocator;
pub mod artifact;
#[cfg(feature = "compile")]
pub mod author;
mod bindings;
mod breaker;
pub mod chain;
pub mod cidr;
mod code;
mod config;
mod convert;
pub mod counters;
pub mod engine;
pub mod failure;
mod last_words;
pub mod launch;
mod memo;
mod overtime;
pub mod policy;
mod reads;
mod session;
mod state;
mod ticker;
pub mod types;
pub mod view;

pub use artifact::{Artifact, ArtifactError, CONTRACT, Example, Expectation, Hook, Manifest, digest};
#[cfg(feature = "compile")]
pub use author::{BakeError, CheckError, Checked, CompileError, Compiled, Compiler, check};
pub use chain::{Chains, Decision, Outcome, SHADOW, Shadow, Stance, Vote};
pub use cidr::Cidr;
pub use counters::{CounterError, Counters};
pub use ed25519_dalek::{SigningKey, VerifyingKey};
pub use engine::{
    Engine, EngineError, EngineOptions, LoadError, LoadOptions, LogLevel, LogSink, NoLog, Quarantine, TracingLog,
};
pub use failure::{Answer, Failure};
pub use launch::{Files, Launch, LaunchRefusal};
pub use policy::{Policy, PolicyRef, PolicyStats, SelfTestError};
pub use reads::{ReadName, ReadNames};
pub use types::*;
pub use view::{NoView, View};
