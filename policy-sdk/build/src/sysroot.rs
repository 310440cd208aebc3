//! The kept standard library, for compilers that come with its sources but not with the target.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use crate::ToolchainError;
use crate::environment::command;
use crate::toolchain::{Compiler, TARGET, holds_std};

/// The sysroot for a compiler, built if it is not there yet. Callers at the same time wait for one of them.
pub(crate) fn ready(compiler: &Compiler, progress: &dyn Fn(&str)) -> Result<PathBuf, ToolchainError> {
    let sysroot = location(&compiler.version);
    if holds_std(&libraries(&sysroot)) {
        return Ok(sysroot);
    }
    if command("wasm-ld").arg("--version").output().is_err() {
        return Err(ToolchainError::NoLinker);
    }
    attempt("create the directory of the kept standard library", fs::create_dir_all(&sysroot))?;
    let lock = attempt("lock the kept standard library", File::create(sysroot.join("lock")))?;
    attempt("lock the kept standard library", lock.lock())?;
    if !holds_std(&libraries(&sysroot)) {
        progress(&format!(
            "building Rust {}'s standard library for {TARGET} (about a minute; once, kept in {})",
            compiler.version,
            sysroot.display()
        ));
        build(compiler, &sysroot)?;
    }
    Ok(sysroot)
}

fn location(version: &str) -> PathBuf {
    if let Some(chosen) = std::env::var_os("OPENSHELL_WASM_SYSROOT").filter(|value| !value.is_empty()) {
        return chosen.into();
    }
    let cache = match (std::env::var_os("XDG_CACHE_HOME"), std::env::home_dir()) {
        (Some(cache), _) if !cache.is_empty() => PathBuf::from(cache),
        (_, Some(home)) => home.join(".cache"),
        (_, None) => std::env::temp_dir(),
    };
    cache.join("openshell").join(format!("wasm-sysroot-{version}"))
}

fn libraries(sysroot: &Path) -> PathBuf {
    sysroot.join("lib/rustlib").join(TARGET).join("lib")
}

/// Builds an empty crate with its own standard library, and keeps the latter.
fn build(compiler: &Compiler, sysroot: &Path) -> Result<(), ToolchainError> {
    let work = sysroot.join("build");
    attempt("clear a previous attempt", remove(&work))?;
    let write = |path: &str, text: &str| fs::write(work.join(path), text);
    attempt("write the crate that pulls in the standard library", fs::create_dir_all(work.join("src")))?;
    let manifest = "[package]\nname = \"sysroot\"\nversion = \"0.0.0\"\nedition = \"2021\"\n\n[workspace]\n\n\
                    [profile.release]\nopt-level = 3\npanic = \"abort\"\ncodegen-units = 1\n";
    attempt("write the crate that pulls in the standard library", write("Cargo.toml", manifest))?;
    attempt("write the crate that pulls in the standard library", write("src/lib.rs", ""))?;

    let mut cargo = command(&compiler.cargo);
    cargo.current_dir(&work).env("RUSTC", &compiler.rustc).env("RUSTC_BOOTSTRAP", "1");
    cargo.env("CARGO_ENCODED_RUSTFLAGS", "-Clinker=wasm-ld\u{1f}-Cembed-bitcode=yes");
    cargo.args(["build", "--release", "-Zbuild-std=std,panic_abort", "--target", TARGET, "--target-dir", "target"]);
    let output = attempt("start cargo", cargo.output())?;
    if !output.status.success() {
        return Err(ToolchainError::Sysroot(String::from_utf8_lossy(&output.stderr).into_owned()));
    }

    // Complete before it is seen: `libstd-*.rlib` in the final place is what says that a sysroot is ready.
    let staged = sysroot.join("staged");
    attempt("clear a previous attempt", remove(&staged))?;
    attempt("keep the standard library", fs::create_dir_all(&staged))?;
    let built = work.join("target").join(TARGET).join("release/deps");
    for entry in attempt("keep the standard library", fs::read_dir(built))? {
        let entry = attempt("keep the standard library", entry)?;
        let name = entry.file_name();
        if name.to_str().is_some_and(|name| name.ends_with(".rlib") && !name.starts_with("libsysroot-")) {
            attempt("keep the standard library", fs::copy(entry.path(), staged.join(name)))?;
        }
    }
    if !holds_std(&staged) {
        return Err(ToolchainError::Sysroot("cargo left no libstd-*.rlib".into()));
    }
    let kept = libraries(sysroot);
    attempt("keep the standard library", remove(&kept))?;
    attempt("keep the standard library", fs::create_dir_all(kept.parent().unwrap_or(sysroot)))?;
    attempt("keep the standard library", fs::rename(&staged, &kept))?;
    attempt("clear the work", remove(&work))
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

fn attempt<T>(what: &str, result: io::Result<T>) -> Result<T, ToolchainError> {
    result.map_err(|source| ToolchainError::Io { what: what.to_owned(), source })
}
