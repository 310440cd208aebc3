//! Asking cargo about a package, and having it built.

use std::path::{Path, PathBuf};
use std::process::Output;

use serde::Deserialize;

use crate::toolchain::TARGET;
use crate::{BuildError, DEFAULT_STACK_BYTES, Toolchain};

/// The package of a crate directory, as cargo describes it.
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) target_directory: PathBuf,
    pub(crate) stack_bytes: u32,
    optimize: Optimize,
    id: String,
    manifest: PathBuf,
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<MetadataPackage>,
    target_directory: PathBuf,
}

#[derive(Deserialize)]
struct MetadataPackage {
    id: String,
    name: String,
    version: String,
    manifest_path: PathBuf,
    targets: Vec<MetadataTarget>,
    /// `[package.metadata]`: anybody's, so only our own table is read.
    #[serde(default)]
    metadata: serde_json::Value,
}

/// `[package.metadata.openshell]`.
#[derive(Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
struct Settings {
    stack_bytes: u32,
    optimize: Optimize,
}

impl Default for Settings {
    fn default() -> Self {
        Self { stack_bytes: DEFAULT_STACK_BYTES, optimize: Optimize::default() }
    }
}

/// What the compiler strives for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Optimize {
    /// Decisions that take little time.
    #[default]
    Speed,
    /// Code that is short: it is compiled, sent and loaded sooner. For policies that read much, once, and little for each decision.
    Size,
}

impl Optimize {
    /// As `opt-level` of a Cargo profile.
    fn level(self) -> &'static str {
        match self {
            Self::Speed => "3",
            Self::Size => "s",
        }
    }
}

/// Stacks a policy may ask for, in bytes.
const STACKS: std::ops::RangeInclusive<u32> = 4096..=1 << 20;

impl MetadataPackage {
    fn settings(&self) -> Result<Settings, String> {
        let Some(table) = self.metadata.get("openshell") else { return Ok(Settings::default()) };
        let settings =
            Settings::deserialize(table).map_err(|error| format!("[package.metadata.openshell]: {error}"))?;
        let stack_bytes = settings.stack_bytes;
        if !STACKS.contains(&stack_bytes) || !stack_bytes.is_multiple_of(16) {
            return Err(format!(
                "[package.metadata.openshell]: stack-bytes is {stack_bytes}; it must be a multiple of 16 between {} and {}",
                STACKS.start(),
                STACKS.end()
            ));
        }
        Ok(settings)
    }
}

#[derive(Deserialize)]
struct MetadataTarget {
    crate_types: Vec<String>,
}

/// The lines of `--message-format=json` that matter here.
#[derive(Deserialize)]
struct Message {
    reason: String,
    #[serde(default)]
    package_id: String,
    #[serde(default)]
    filenames: Vec<PathBuf>,
}

impl Package {
    pub(crate) fn read(toolchain: &Toolchain, crate_dir: &Path) -> Result<Self, BuildError> {
        let missing = |_| BuildError::NoCrate(crate_dir.to_owned());
        let manifest = crate_dir.join("Cargo.toml").canonicalize().map_err(missing)?;
        let mut cargo = toolchain.cargo(&[]);
        cargo.args(["metadata", "--no-deps", "--format-version", "1", "--manifest-path"]).arg(&manifest);
        let output = run(&mut cargo)?;
        let unreadable = |output: String| BuildError::Manifest { manifest: manifest.clone(), output };
        if !output.status.success() {
            return Err(unreadable(text(&output.stderr)));
        }
        let metadata: Metadata =
            serde_json::from_slice(&output.stdout).map_err(|error| unreadable(error.to_string()))?;
        let package = metadata.packages.into_iter().find(|package| package.manifest_path == manifest);
        let package = package.ok_or_else(|| unreadable("it is a workspace without a package of its own".into()))?;
        if !package.targets.iter().any(|target| target.crate_types.iter().any(|kind| kind == "cdylib")) {
            return Err(BuildError::NoCdylib(package.name));
        }
        let Settings { stack_bytes, optimize } = package.settings().map_err(unreadable)?;
        Ok(Self {
            stack_bytes,
            optimize,
            name: package.name,
            version: package.version,
            target_directory: metadata.target_directory,
            id: package.id,
            manifest,
        })
    }

    /// The bytes of the core module.
    pub(crate) fn build(
        &self,
        toolchain: &Toolchain,
        target_dir: &Path,
        stack_bytes: u32,
    ) -> Result<Vec<u8>, BuildError> {
        let mut cargo = toolchain.cargo(&[
            format!("-Clink-arg=-zstack-size={stack_bytes}"),
            // The stack first: running out of it traps at address 0 instead of overwriting data.
            "-Clink-arg=--stack-first".to_owned(),
        ]);
        for (setting, value) in [
            ("OPT_LEVEL", self.optimize.level()),
            ("LTO", "fat"),
            ("PANIC", "abort"),
            ("CODEGEN_UNITS", "1"),
            ("DEBUG", "false"),
            ("STRIP", "debuginfo"),
        ] {
            cargo.env(format!("CARGO_PROFILE_RELEASE_{setting}"), value);
        }
        // Only this crate type: cargo does not optimize across crates what is a Rust library as well.
        cargo.args(["rustc", "--release", "--lib", "--crate-type", "cdylib", "--target", TARGET]);
        cargo.arg("--message-format=json-render-diagnostics");
        cargo.arg("--manifest-path").arg(&self.manifest).arg("--target-dir").arg(target_dir);
        let output = run(&mut cargo)?;
        if !output.status.success() {
            return Err(BuildError::Compile { package: self.name.clone(), output: text(&output.stderr) });
        }
        let module = text(&output.stdout)
            .lines()
            .filter_map(|line| serde_json::from_str::<Message>(line).ok())
            .filter(|message| message.reason == "compiler-artifact" && message.package_id == self.id)
            .flat_map(|message| message.filenames)
            .find(|file| file.extension().is_some_and(|extension| extension == "wasm"))
            .ok_or_else(|| BuildError::NoModule(self.name.clone()))?;
        std::fs::read(&module).map_err(|source| BuildError::Io { what: format!("read {}", module.display()), source })
    }
}

fn run(cargo: &mut std::process::Command) -> Result<Output, BuildError> {
    cargo.output().map_err(|source| BuildError::Io { what: "start cargo".into(), source })
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim_end().to_owned()
}
