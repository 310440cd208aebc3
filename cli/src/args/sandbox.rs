//! `openshell sandbox …`.

use clap::{Args, Subcommand};
use openshell_api::Name;
use openshell_api::sandbox::{RuntimeKind, Volume};

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
  openshell sandbox create --name demo --add-host origin.test:127.0.0.1 --provider github
  openshell sandbox create --name trial --observe -- ./agent   # then: openshell policy suggest trial
  openshell sandbox create --from python:3.13-slim --cpu 2 --memory 4g --volume ./data:/data:ro -- python3";

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
    /// Resolve a name to a fixed address; `host-gateway` is the machine that the sandbox runs on.
    #[arg(long, value_name = "NAME:ADDRESS", value_parser = parse::add_host)]
    pub add_host: Vec<(String, String)>,
    /// Provider whose credential policies of this sandbox may attach.
    #[arg(long, value_name = "NAME")]
    pub provider: Vec<Name>,
    /// Where it runs: `docker` or `process`; absent: `docker` with --from, else the gateway's default.
    #[arg(long, value_name = "RUNTIME", value_parser = parse::runtime)]
    pub runtime: Option<RuntimeKind>,
    #[command(flatten)]
    pub container: ContainerArgs,
    /// Record what it does without blocking, until a policy is set or pushed; see `policy suggest`. A ceiling holds, and
    /// private and metadata addresses stay refused.
    #[arg(long)]
    pub observe: bool,
    /// Return as soon as the sandbox runs, without waiting for the command to end.
    #[arg(short, long)]
    pub detach: bool,
    /// The program and its arguments.
    #[arg(last = true, value_name = "COMMAND")]
    pub command: Vec<String>,
}

/// What a sandbox gets of its machine.
#[derive(Debug, Args)]
pub struct ContainerArgs {
    /// Image to run in (docker).
    #[arg(long, value_name = "IMAGE")]
    pub from: Option<String>,
    /// Show a directory, or a volume by name, inside (docker).
    #[arg(short, long, value_name = "SOURCE:TARGET[:ro]", value_parser = parse::volume)]
    pub volume: Vec<Volume>,
    /// Network from which the proxy dials; the workload has none (docker).
    #[arg(long, value_name = "NETWORK")]
    pub network: Option<String>,
    /// Pass all GPUs through (docker).
    #[arg(long)]
    pub gpu: bool,
    /// Most processor time, in cores, such as 1.5.
    #[arg(long, value_name = "CORES", value_parser = parse::cores)]
    pub cpu: Option<f64>,
    /// Most memory, such as 512m or 4g.
    #[arg(long, value_name = "SIZE", value_parser = parse::size)]
    pub memory: Option<u64>,
    /// Most processes and threads.
    #[arg(long, value_name = "COUNT")]
    pub pids: Option<u32>,
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
