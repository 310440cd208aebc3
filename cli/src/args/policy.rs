//! `openshell policy …`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use openshell_api::Name;

use super::SourceArg;

/// Commands about policies.
#[derive(Debug, Subcommand)]
pub enum PolicyCommand {
    /// Write a new policy crate: about twenty lines of Rust, and a unit test.
    #[command(after_help = "Examples:\n  openshell policy new my-policy\n  openshell policy new ./policies/read-only")]
    New(NewArgs),
    /// Build a policy crate into a component.
    #[command(after_help = "Examples:\n  openshell policy build ./my-policy\n  \
                            openshell policy build ./my-policy --out my-policy.wasm")]
    Build(BuildArgs),
    /// Run a policy crate's unit tests, natively.
    #[command(after_help = "Examples:\n  openshell policy test ./my-policy\n  \
                            openshell policy test ./my-policy -- --nocapture")]
    Test(TestArgs),
    /// Show what a policy is: hooks, imports, size, digest, settings.
    #[command(after_help = "Examples:\n  openshell policy inspect ./my-policy\n  \
                            openshell policy inspect my-policy.wasm -o json")]
    Inspect(SourceArg),
    /// Build if need be, upload, and enforce on sandboxes: on all of them, or on none.
    #[command(after_help = PUSH_EXAMPLES)]
    Push(PushArgs),
    /// List the policies a sandbox is bound to.
    #[command(visible_alias = "ls", after_help = "Examples:\n  openshell policy list demo")]
    List(super::sandbox::NameArg),
    /// List a sandbox's generations.
    #[command(after_help = "Examples:\n  openshell policy history demo")]
    History(super::sandbox::NameArg),
    /// Bring an earlier generation's content back, under a new number.
    #[command(after_help = "Examples:\n  openshell policy rollback demo\n  openshell policy rollback demo --to 3")]
    Rollback(RollbackArgs),
    /// Replace a sandbox's policies by a YAML rules file, judged by the built-in module `rules`.
    #[command(after_help = "Examples:\n  openshell policy set demo --policy rules.yaml\n  \
                            generate-rules | openshell policy set demo --policy -")]
    Set(SetArgs),
    /// Show a sandbox's bindings and the YAML its rules came from.
    #[command(after_help = "Examples:\n  openshell policy get demo\n  openshell policy get demo -o json")]
    Get(super::sandbox::NameArg),
}

const PUSH_EXAMPLES: &str = "\
Examples:
  openshell policy push ./my-policy --sandbox demo
  openshell policy push ./my-policy --sandbox demo --settings '{\"hosts\": [\"example.com\"]}'
  openshell policy push my-policy.wasm --version 2.0.0 --sandbox demo --sandbox ci --replace-all";

/// Arguments of `policy new`.
#[derive(Debug, Args)]
pub struct NewArgs {
    /// Directory to create.
    #[arg(value_name = "DIR")]
    pub directory: PathBuf,
    /// Name of the policy and its crate; the directory's if absent.
    #[arg(long, value_name = "NAME")]
    pub name: Option<Name>,
}

/// Arguments of `policy build`.
#[derive(Debug, Args)]
pub struct BuildArgs {
    /// The crate's directory.
    #[arg(value_name = "DIR", default_value = ".")]
    pub directory: PathBuf,
    /// Copy the component here.
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

/// Arguments of `policy test`.
#[derive(Debug, Args)]
pub struct TestArgs {
    /// The crate's directory.
    #[arg(value_name = "DIR", default_value = ".")]
    pub directory: PathBuf,
    /// Passed on to the test program.
    #[arg(last = true, value_name = "ARGUMENT")]
    pub arguments: Vec<String>,
}

/// Arguments of `policy push`.
#[derive(Debug, Args)]
pub struct PushArgs {
    /// What to push.
    #[command(flatten)]
    pub source: SourceArg,
    /// Sandbox to change; several times for several.
    #[arg(short, long = "sandbox", value_name = "NAME", required = true)]
    pub sandboxes: Vec<Name>,
    /// Name of the binding; a binding of that name is replaced. The module's name if absent.
    #[arg(long, value_name = "NAME")]
    pub binding: Option<Name>,
    /// Settings for the policy: a JSON document, or a file that holds one.
    #[arg(long, value_name = "FILE|JSON")]
    pub settings: Option<String>,
    /// Decisions an instance may serve before it is thrown away; a fresh one per decision if absent.
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    pub reuse: u32,
    /// Deny a decision that takes longer, in milliseconds.
    #[arg(long, value_name = "MS")]
    pub deadline_ms: Option<u32>,
    /// Name of the module; the crate's, or the file's, if absent.
    #[arg(long, value_name = "NAME")]
    pub name: Option<Name>,
    /// Version of the module; the crate's if absent, or 0.0.0 for a component.
    #[arg(long, value_name = "VERSION")]
    pub version: Option<String>,
    /// Let the bytes take the place of others that were stored under this name and version.
    #[arg(long)]
    pub replace_version: bool,
    /// Throw away all other bindings of the sandboxes' own chains.
    #[arg(long)]
    pub replace_all: bool,
}

/// Arguments of `policy rollback`.
#[derive(Debug, Args)]
pub struct RollbackArgs {
    /// Sandbox.
    pub name: Name,
    /// Generation whose content comes back; the newest one with other policies if absent.
    #[arg(long, value_name = "GENERATION")]
    pub to: Option<u64>,
}

/// Arguments of `policy set`.
#[derive(Debug, Args)]
pub struct SetArgs {
    /// Sandbox.
    pub name: Name,
    /// The rules file; `-` reads standard input.
    #[arg(short, long, value_name = "FILE")]
    pub policy: PathBuf,
}
