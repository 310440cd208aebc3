//! Reads from a component what it is.

use std::collections::BTreeSet;

use crate::artifact::Hook;

/// Longest component, in bytes.
pub const MAX_COMPONENT: usize = 64 << 20;

/// What a component is, as read from its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    /// `sha256:<hex>` of the bytes.
    pub digest: String,
    /// Hooks it has.
    pub hooks: BTreeSet<Hook>,
    /// Interfaces it imports (`view`, `log`, `clock`, `counters`), sorted.
    pub imports: Vec<String>,
    /// Contract it speaks.
    pub contract: String,
    /// It imports neither `clock` nor `counters`.
    pub pure_verdicts: bool,
}

/// Why a component is no policy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CheckError {
    /// Longer than [`MAX_COMPONENT`].
    #[error("module has {found} bytes; the limit is {limit}")]
    TooLarge {
        /// Its length.
        found: usize,
        /// [`MAX_COMPONENT`].
        limit: usize,
    },
    /// Not WebAssembly.
    #[error("not a WebAssembly file")]
    NotWasm,
    /// A core module.
    #[error("this is a core WebAssembly module, not a component")]
    CoreModule,
    /// WebAssembly that is not valid.
    #[error("module is not valid WebAssembly: {detail}")]
    Invalid {
        /// The validator's words.
        detail: String,
    },
    /// It imports what no policy may.
    #[error("module imports `{import}`, which no policy may")]
    Forbidden {
        /// The import.
        import: String,
    },
    /// It speaks a contract that this version does not know.
    #[error("module speaks contract `{found}`, which is unknown here")]
    Contract {
        /// What it speaks.
        found: String,
    },
    /// It exports no `configure`.
    #[error("module does not export `configure` of openshell:policy@0.1.0")]
    NoConfigure,
    /// It exports no hook.
    #[error("module exports no hook of openshell:policy@0.1.0")]
    NoHook,
}

impl CheckError {
    /// What its author can do about it.
    pub fn hint(&self) -> Option<&'static str> {
        None
    }
}

/// Reads from a component what it is. Refuses what is no policy.
pub fn check(component: &[u8]) -> Result<Checked, CheckError> {
    let _ = component;
    Err(CheckError::NotWasm)
}
