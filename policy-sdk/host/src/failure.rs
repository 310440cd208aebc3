//! Every way a policy can fail to answer.

use serde::{Deserialize, Serialize};

use crate::artifact::Hook;

/// Why a policy gave no answer. Each denies, with a reason of its own.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, thiserror::Error)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Failure {
    /// It trapped.
    #[error("policy trapped: {message}")]
    Trap {
        /// The panic's message where the guest logged one, else the trap's.
        message: String,
    },
    /// It ran out of time.
    #[error("policy gave no answer within {limit_ms} ms")]
    Deadline {
        /// What it was given.
        limit_ms: u64,
    },
    /// It wanted more memory than it may have.
    #[error("policy wanted more than {limit_bytes} bytes of memory")]
    Memory {
        /// What it may have.
        limit_bytes: u64,
    },
    /// It asked the host too much.
    #[error("policy asked the host too much: {detail}")]
    HostCalls {
        /// Which limit it hit.
        detail: String,
    },
    /// Its answer is none.
    #[error("policy gave an invalid answer: {detail}")]
    Output {
        /// What is wrong with it.
        detail: String,
    },
    /// It kept failing and is not asked for a while.
    #[error("policy is quarantined after {failures} failures in a row; last: {last}")]
    Quarantined {
        /// Failures in a row.
        failures: u32,
        /// The last of them.
        last: String,
    },
    /// No instance of it could be made.
    #[error("policy could not be instantiated: {detail}")]
    Instantiate {
        /// The engine's words.
        detail: String,
    },
    /// It was asked a question it has no hook for.
    #[error("policy has no `{hook}` hook")]
    NoHook {
        /// The hook.
        hook: Hook,
    },
}

impl Failure {
    /// Every kind, in the order of [`Failure::index`].
    pub const KINDS: [&'static str; 8] =
        ["trap", "deadline", "memory", "host_calls", "output", "quarantined", "instantiate", "no_hook"];

    /// Position of its kind in [`Failure::KINDS`].
    pub fn index(&self) -> usize {
        match self {
            Self::Trap { .. } => 0,
            Self::Deadline { .. } => 1,
            Self::Memory { .. } => 2,
            Self::HostCalls { .. } => 3,
            Self::Output { .. } => 4,
            Self::Quarantined { .. } => 5,
            Self::Instantiate { .. } => 6,
            Self::NoHook { .. } => 7,
        }
    }

    /// Its kind, for metrics and records.
    pub fn kind(&self) -> &'static str {
        Self::KINDS[self.index()]
    }
}

/// A policy's answer, or why there is none.
#[derive(Debug, Clone)]
pub struct Answer<T> {
    /// The answer.
    pub result: Result<T, Failure>,
    /// It was remembered: the policy did not run.
    pub memoized: bool,
}

impl<T> Answer<T> {
    pub(crate) fn map<U>(self, f: impl FnOnce(T) -> U) -> Answer<U> {
        Answer { result: self.result.map(f), memoized: self.memoized }
    }
}
