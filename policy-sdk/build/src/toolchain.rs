//! Finding a compiler for `wasm32-unknown-unknown`.

use std::path::{Path, PathBuf};

use crate::environment::command;
use crate::{ToolchainError, sysroot};

pub(crate) const TARGET: &str = "wasm32-unknown-unknown";

/// A compiler that can build policies.
///
/// The first of these that is there:
/// 1. the `rustc` of the path (rustup's), when its target `wasm32-unknown-unknown` is installed;
/// 2. that `rustc`, or Debian's `/usr/bin/rustc`, when it has the library sources beside it. The standard library is
///    built from them once and kept in `$OPENSHELL_WASM_SYSROOT`, or else in
///    `${XDG_CACHE_HOME:-~/.cache}/openshell/wasm-sysroot-<version>`.
#[derive(Debug, Clone)]
pub struct Toolchain {
    /// The compiler.
    pub rustc: PathBuf,
    /// The cargo that goes with it.
    pub cargo: PathBuf,
    /// The kept standard library, where the compiler has none of its own for the target.
    pub sysroot: Option<PathBuf>,
}

impl Toolchain {
    /// Finds one, and builds its standard library if it must (about a minute, once).
    pub fn find(progress: &dyn Fn(&str)) -> Result<Self, ToolchainError> {
        let candidates = [("rustc", "cargo"), ("/usr/bin/rustc", "/usr/bin/cargo")];
        let candidates = candidates.map(|(rustc, cargo)| Compiler::inspect(rustc, cargo));
        if let Some(ready) = candidates.iter().flatten().find(|compiler| compiler.has_target) {
            return Ok(Self { rustc: ready.rustc.clone(), cargo: ready.cargo.clone(), sysroot: None });
        }
        let Some(compiler) = candidates.into_iter().flatten().find(|compiler| compiler.has_sources) else {
            return Err(ToolchainError::NoTarget);
        };
        let sysroot = sysroot::ready(&compiler, progress)?;
        Ok(Self { rustc: compiler.rustc, cargo: compiler.cargo, sysroot: Some(sysroot) })
    }

    /// Cargo, set to use this compiler, and for the wasm target these flags besides the toolchain's own.
    pub(crate) fn cargo(&self, flags: &[String]) -> std::process::Command {
        let mut all = Vec::new();
        if let Some(sysroot) = &self.sysroot {
            all.push("--sysroot".to_owned());
            all.push(sysroot.display().to_string());
            all.push("-Clinker=wasm-ld".to_owned());
        }
        all.extend_from_slice(flags);
        let mut cargo = command(&self.cargo);
        // In the environment these flags reach only what is built for `--target`, not build scripts and macros.
        cargo.env("RUSTC", &self.rustc).env("CARGO_ENCODED_RUSTFLAGS", all.join("\u{1f}"));
        cargo
    }
}

/// A compiler that is there, and what it brings.
pub(crate) struct Compiler {
    pub(crate) rustc: PathBuf,
    pub(crate) cargo: PathBuf,
    /// Such as `1.96.0`.
    pub(crate) version: String,
    has_target: bool,
    has_sources: bool,
}

impl Compiler {
    fn inspect(rustc: &str, cargo: &str) -> Option<Self> {
        command(cargo).arg("--version").output().ok().filter(|output| output.status.success())?;
        let version = print(rustc, &["--version"])?.split_whitespace().nth(1)?.to_owned();
        let libraries = print(rustc, &["--print", "target-libdir", "--target", TARGET])?;
        let sysroot = print(rustc, &["--print", "sysroot"])?;
        Some(Self {
            rustc: rustc.into(),
            cargo: cargo.into(),
            version,
            has_target: holds_std(Path::new(&libraries)),
            has_sources: Path::new(&sysroot).join("lib/rustlib/src/rust/library/std/Cargo.toml").is_file(),
        })
    }
}

/// Whether a directory of libraries holds a standard library.
pub(crate) fn holds_std(libraries: &Path) -> bool {
    let Ok(entries) = std::fs::read_dir(libraries) else { return false };
    entries.flatten().any(|entry| {
        let name = entry.file_name();
        name.to_str().is_some_and(|name| name.starts_with("libstd-") && name.ends_with(".rlib"))
    })
}

fn print(program: &str, arguments: &[&str]) -> Option<String> {
    let output = command(program).args(arguments).output().ok()?;
    if !output.status.success() {
        return None;
    }
    Some(String::from_utf8(output.stdout).ok()?.trim().to_owned())
}
