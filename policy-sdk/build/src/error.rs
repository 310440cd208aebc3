//! What can go wrong, each with what to do about it.

use std::path::PathBuf;

/// Why a crate could not be built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// There is no package there.
    #[error("{} has no Cargo.toml", .0.display())]
    NoCrate(PathBuf),
    /// Cargo can't read the package.
    #[error("cargo cannot read {}: {output}", manifest.display())]
    Manifest {
        /// The package's manifest.
        manifest: PathBuf,
        /// What cargo said.
        output: String,
    },
    /// The package has no library of the type that becomes a module.
    #[error("package {0} has no library of crate-type \"cdylib\"")]
    NoCdylib(String),
    /// The compiler refused the source.
    #[error("{package} does not compile\n{output}")]
    Compile {
        /// The package.
        package: String,
        /// What the compiler said.
        output: String,
    },
    /// The build succeeded, but left no module.
    #[error("cargo built {0}, but named no .wasm file")]
    NoModule(String),
    /// No compiler for the target.
    #[error(transparent)]
    Toolchain(#[from] ToolchainError),
    /// The module is not a policy.
    #[error(transparent)]
    Component(#[from] ComponentError),
    /// A file or a program could not be used.
    #[error("{what}: {source}")]
    Io {
        /// What was attempted.
        what: String,
        /// Why it failed.
        source: std::io::Error,
    },
}

impl BuildError {
    /// What the author can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NoCrate(_) => Some("make one with `openshell policy new DIR`, or name the directory of one".into()),
            Self::NoCdylib(_) => {
                Some("add `[lib]` with `crate-type = [\"cdylib\", \"rlib\"]` to its Cargo.toml".into())
            }
            Self::Toolchain(error) => Some(error.hint()),
            Self::Component(error) => error.hint(),
            Self::Manifest { .. } | Self::Compile { .. } | Self::NoModule(_) | Self::Io { .. } => None,
        }
    }
}

/// Why there is no compiler for `wasm32-unknown-unknown`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ToolchainError {
    /// Neither the target nor the sources to build its standard library from.
    #[error("no Rust toolchain here can build for wasm32-unknown-unknown")]
    NoTarget,
    /// There are sources, but no linker.
    #[error("the linker `wasm-ld` is missing")]
    NoLinker,
    /// Building the standard library failed.
    #[error("the standard library for wasm32-unknown-unknown does not build\n{0}")]
    Sysroot(String),
    /// A file or a program could not be used.
    #[error("{what}: {source}")]
    Io {
        /// What was attempted.
        what: String,
        /// Why it failed.
        source: std::io::Error,
    },
}

impl ToolchainError {
    /// What the user can do about it.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::NoTarget => {
                "run `rustup target add wasm32-unknown-unknown`; where rustup cannot download, on Debian: \
                               `apt-get install rustc-web cargo-web rust-web-src lld`"
                    .into()
            }
            Self::NoLinker => "on Debian: `apt-get install lld`".into(),
            Self::Sysroot(_) => "set OPENSHELL_WASM_SYSROOT to a directory that holds a built one, or use rustup's: \
                                 `rustup target add wasm32-unknown-unknown`"
                .into(),
            Self::Io { .. } => "see `openshell doctor`".into(),
        }
    }
}

/// Why a core module is not a policy.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ComponentError {
    /// Not WebAssembly, or damaged.
    #[error("not a WebAssembly module: {0}")]
    Malformed(String),
    /// Already a component.
    #[error("this is a component, not a core module")]
    AlreadyComponent,
    /// It imports something that the contract does not have.
    #[error("the module imports `{name}` from `{module}`, which is not part of {contract}")]
    ForeignImport {
        /// The import's module.
        module: String,
        /// The import's name.
        name: String,
        /// The contract.
        contract: &'static str,
    },
    /// Built with an SDK for another version of the contract.
    #[error("the module speaks {found}, this builder {contract}")]
    ContractVersion {
        /// What the module exports or imports.
        found: String,
        /// The contract.
        contract: &'static str,
    },
    /// Nothing to ask.
    #[error("the module exports no hook")]
    NoHook,
    /// The contract and the module disagree.
    #[error("the module does not fit {contract}: {detail}")]
    Encode {
        /// The contract.
        contract: &'static str,
        /// What does not fit.
        detail: String,
    },
}

impl ComponentError {
    /// What the author can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::ForeignImport { .. } => Some(
                "policies have no system, network, random numbers or JavaScript; a dependency asks for it: look for a \
                 feature to turn off"
                    .into(),
            ),
            Self::NoHook => Some("add `export!(MyPolicy: connect, request);` to its lib.rs".into()),
            Self::ContractVersion { .. } => Some("update the crate's openshell-policy-sdk".into()),
            Self::AlreadyComponent => Some("push it as it is".into()),
            Self::Malformed(_) | Self::Encode { .. } => None,
        }
    }
}
