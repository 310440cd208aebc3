//! Reads from a component what it is.

use std::collections::BTreeSet;

use wasmparser::{Parser, Payload, Validator};

use crate::artifact::{CONTRACT, Hook, digest};
use crate::state::IMPORTS;

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
    #[error("module does not export `configure` of {CONTRACT}")]
    NoConfigure,
    /// It exports no hook.
    #[error("module exports no hook of {CONTRACT}")]
    NoHook,
}

impl CheckError {
    /// What its author can do about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::TooLarge { .. } => Some("build it in release mode and strip it: `openshell policy build` does both"),
            Self::NotWasm => Some("give a crate's directory, or a component built with `openshell policy build`"),
            Self::CoreModule => Some("componentize it with `openshell policy build`"),
            Self::Forbidden { .. } => Some(
                "policies may import only view, log, clock and counters of openshell:policy@0.1.0; see `openshell \
                 policy inspect`",
            ),
            Self::Contract { .. } => Some("build it with the SDK for openshell:policy@0.1.0, or update OpenShell"),
            Self::NoConfigure => Some("every policy exports `configure`; the SDK's macro does it for you"),
            Self::NoHook => Some("a policy exports one or more of connect, request, response, route"),
            Self::Invalid { .. } => None,
        }
    }
}

/// Reads from a component what it is. Refuses what is no policy. It runs nothing.
pub fn check(component: &[u8]) -> Result<Checked, CheckError> {
    if component.len() > MAX_COMPONENT {
        return Err(CheckError::TooLarge { found: component.len(), limit: MAX_COMPONENT });
    }
    if Parser::is_core_wasm(component) {
        return Err(CheckError::CoreModule);
    }
    if !Parser::is_component(component) {
        return Err(CheckError::NotWasm);
    }
    let invalid = |error: wasmparser::BinaryReaderError| CheckError::Invalid { detail: error.to_string() };
    Validator::new().validate_all(component).map_err(invalid)?;

    let (imports, exports) = surface(component).map_err(invalid)?;
    for name in imports.iter().chain(&exports) {
        let contract = contract(name);
        if contract.as_deref().is_some_and(|contract| contract != CONTRACT) {
            return Err(CheckError::Contract { found: contract.unwrap_or_default() });
        }
    }
    let mut imported = BTreeSet::new();
    for import in &imports {
        match crate::engine::short_name(import) {
            Some("types") => {}
            Some(name) if IMPORTS.contains(&name) => {
                imported.insert(name.to_owned());
            }
            _ => return Err(CheckError::Forbidden { import: import.clone() }),
        }
    }
    let exported: BTreeSet<_> = exports.iter().filter_map(|export| crate::engine::short_name(export)).collect();
    if !exported.contains("configure") {
        return Err(CheckError::NoConfigure);
    }
    let hooks: BTreeSet<_> = Hook::ALL.into_iter().filter(|hook| exported.contains(hook.name())).collect();
    if hooks.is_empty() {
        return Err(CheckError::NoHook);
    }
    Ok(Checked {
        digest: digest(component),
        hooks,
        pure_verdicts: !imported.contains("clock") && !imported.contains("counters"),
        imports: imported.into_iter().collect(),
        contract: CONTRACT.to_owned(),
    })
}

/// `openshell:policy@0.1.0` of `openshell:policy/view@0.1.0`; nothing for other packages.
fn contract(name: &str) -> Option<String> {
    let interface = name.strip_prefix("openshell:policy/")?;
    Some(match interface.split_once('@') {
        Some((_, version)) => format!("openshell:policy@{version}"),
        None => "openshell:policy, no version".to_owned(),
    })
}

/// Names of the outermost component's imports and exports.
fn surface(component: &[u8]) -> Result<(Vec<String>, Vec<String>), wasmparser::BinaryReaderError> {
    let (mut imports, mut exports, mut depth) = (Vec::new(), Vec::new(), 0_usize);
    for payload in Parser::new(0).parse_all(component) {
        match payload? {
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::ComponentImportSection(section) if depth == 0 => {
                for import in section {
                    imports.push(import?.name.name.to_owned());
                }
            }
            Payload::ComponentExportSection(section) if depth == 0 => {
                for export in section {
                    exports.push(export?.name.name.to_owned());
                }
            }
            _ => {}
        }
    }
    Ok((imports, exports))
}
