//! Builds a Rust crate into a policy component.
//!
//! [`build`] compiles the crate for `wasm32-unknown-unknown` and wraps the core module as a component of the contract
//! `openshell:policy`: it exports the hooks the policy implements and imports what it uses, and nothing else.
//! [`componentize`] does the second half alone.
//!
//! Where rustup has the target, its compiler is used. Where it has not, a compiler with library sources (Debian's
//! `rustc-web` and `rust-web-src`) builds the wasm standard library once, and the result is kept: see [`Toolchain`].

#![forbid(unsafe_code)]

mod cargo;
mod component;
mod environment;
mod error;
mod sysroot;
mod toolchain;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

pub use component::{CONTRACT, Componentized, componentize};
pub use error::{BuildError, ComponentError, ToolchainError};
pub use toolchain::Toolchain;

/// Stack of a policy whose manifest states none, in bytes.
///
/// Every decision starts in a fresh instance, and restoring its memory is most of its cost: a small stack, with the data
/// of a small policy, leaves it at one page of 64 KiB. Parsing and compiling settings runs on the same stack, before the
/// snapshot; a policy that needs more for it says so in its `Cargo.toml`:
///
/// ```toml
/// [package.metadata.openshell]
/// stack-bytes = 65536
/// # For short code, which is compiled, sent and loaded sooner, instead of "speed".
/// optimize = "size"
/// ```
pub const DEFAULT_STACK_BYTES: u32 = 16 * 1024;

/// How to build.
pub struct BuildOptions<'a> {
    /// Where cargo puts its work. By default `openshell` in the crate's target directory, so that no build waits for
    /// the lock of another: this one may be called from a build script.
    pub target_dir: Option<PathBuf>,
    /// Stack of the module, in bytes; a multiple of 16. By default what its manifest states, else
    /// [`DEFAULT_STACK_BYTES`].
    pub stack_bytes: Option<u32>,
    /// Told what a long step is about to do, one line each.
    pub progress: &'a dyn Fn(&str),
}

impl Default for BuildOptions<'_> {
    fn default() -> Self {
        Self { target_dir: None, stack_bytes: None, progress: &|_| {} }
    }
}

/// A built policy.
#[derive(Debug, Clone)]
pub struct Built {
    /// The component's bytes.
    pub component: Vec<u8>,
    /// Name of its crate.
    pub name: String,
    /// Version of its crate.
    pub version: String,
    /// Interfaces of the contract it exports, without package and version: `configure`, `connect` …
    pub exports: Vec<String>,
    /// Interfaces of the contract it imports, likewise: its capability manifest.
    pub imports: Vec<String>,
}

/// Builds the crate in `crate_dir`.
///
/// Refuses a directory without a `Cargo.toml`, a package that makes no `cdylib`, source that does not compile (with
/// the compiler's words), and a module that exports no hook or imports anything outside the contract.
pub fn build(crate_dir: &Path, options: &BuildOptions<'_>) -> Result<Built, BuildError> {
    let toolchain = Toolchain::find(options.progress)?;
    let package = cargo::Package::read(&toolchain, crate_dir)?;
    let target_dir = options.target_dir.clone().unwrap_or_else(|| package.target_directory.join("openshell"));
    (options.progress)(&format!("building {} {} for {}", package.name, package.version, toolchain::TARGET));
    let module = package.build(&toolchain, &target_dir, options.stack_bytes.unwrap_or(package.stack_bytes))?;
    let Componentized { component, exports, imports } = componentize(&module)?;
    Ok(Built { component, name: package.name, version: package.version, exports, imports })
}
