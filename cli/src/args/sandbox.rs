//! `openshell sandbox …`.

use std::net::IpAddr;

use clap::{Args, Subcommand};
use openshell_api::Name;

use super::parse;

/// Commands about sandboxes.
#[derive(Debug, Subcommand)]
pub enum SandboxCommand {
    /// Create a sandbox; with a command, run it, stream its output and pass on its exit code.
    #[command(after_help = CREATE_EXAMPLES)]
    Create(CreateArgs),
    /// List sandboxes.
    #[command(
        visible_alias = "ls",
        after_help = "Examples:\n  openshell sandbox list\n  openshell sandbox list -o json"
    )]
    List,
    /// Show one sandbox.
    #[command(after_help = "Examples:\n  openshell sandbox get demo -o yaml")]
    Get(NameArg),
    /// Run a program in a sandbox; its exit code is passed on.
    #[command(after_help = EXEC_EXAMPLES)]
    Exec(ExecArgs),
    /// Show what the workload and the supervisor wrote.
    #[command(
        after_help = "Examples:\n  openshell sandbox logs demo\n  openshell sandbox logs demo --tail 50 --follow"
    )]
    Logs(LogsArgs),
    /// Delete sandboxes and what they hold.
    #[command(
        visible_alias = "rm",
        after_help = "Examples:\n  openshell sandbox delete demo\n  \
                                                  openshell sandbox delete demo scratch"
    )]
    Delete(DeleteArgs),
}

const CREATE_EXAMPLES: &str = "\
Examples:
  openshell sandbox create --name demo                         # idles; see `sandbox exec`
  openshell sandbox create --name once -- python3 agent.py     # returns the program's exit code
  openshell sandbox create --detach --env MODE=fast --label team=red -- ./serve
  openshell sandbox create --name demo --add-host origin.test:127.0.0.1 --provider github";

const EXEC_EXAMPLES: &str = "\
Examples:
  openshell sandbox exec demo -- curl -sS https://example.com
  openshell sandbox exec demo --tty -- bash
  echo hello | openshell sandbox exec demo -- tr a-z A-Z";

/// Arguments of `sandbox create`.
#[derive(Debug, Args)]
pub struct CreateArgs {
    /// Name; the gateway picks one if absent.
    #[arg(long)]
    pub name: Option<Name>,
    /// Add to the workload's environment.
    #[arg(short, long, value_name = "KEY=VALUE", value_parser = parse::key_value)]
    pub env: Vec<(String, String)>,
    /// Label; policies can read it.
    #[arg(short, long, value_name = "KEY=VALUE", value_parser = parse::key_value)]
    pub label: Vec<(String, String)>,
    /// Absolute working directory; the sandbox's own workspace if absent.
    #[arg(short, long, value_name = "DIR")]
    pub workdir: Option<String>,
    /// Resolve a name to a fixed address.
    #[arg(long, value_name = "NAME:ADDRESS", value_parser = parse::add_host)]
    pub add_host: Vec<(String, IpAddr)>,
    /// Provider whose credential policies of this sandbox may attach.
    #[arg(long, value_name = "NAME")]
    pub provider: Vec<Name>,
    /// Return as soon as the sandbox runs, without waiting for the command to end.
    #[arg(short, long)]
    pub detach: bool,
    /// The program and its arguments.
    #[arg(last = true, value_name = "COMMAND")]
    pub command: Vec<String>,
}

/// Arguments of `sandbox exec`.
#[derive(Debug, Args)]
pub struct ExecArgs {
    /// Sandbox.
    pub name: Name,
    /// Give the program a terminal.
    #[arg(short, long)]
    pub tty: bool,
    /// Add to the program's environment.
    #[arg(short, long, value_name = "KEY=VALUE", value_parser = parse::key_value)]
    pub env: Vec<(String, String)>,
    /// Absolute working directory; the sandbox's own workspace if absent.
    #[arg(short, long, value_name = "DIR")]
    pub workdir: Option<String>,
    /// The program and its arguments.
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub command: Vec<String>,
}

/// Arguments of `sandbox logs`.
#[derive(Debug, Args)]
pub struct LogsArgs {
    /// Sandbox.
    pub name: Name,
    /// Go on as lines come.
    #[arg(short, long)]
    pub follow: bool,
    /// Show only the last lines.
    #[arg(long, value_name = "LINES")]
    pub tail: Option<usize>,
}

/// One sandbox by name.
#[derive(Debug, Args)]
pub struct NameArg {
    /// Sandbox.
    pub name: Name,
}

/// Arguments of `sandbox delete`.
#[derive(Debug, Args)]
pub struct DeleteArgs {
    /// Sandboxes.
    #[arg(required = true, value_name = "NAME")]
    pub names: Vec<Name>,
}
