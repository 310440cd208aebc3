//! `openshell sandbox …`.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use openshell_api::Name;
use openshell_api::sandbox::Volume;

use super::parse;

/// Commands about sandboxes.
#[derive(Debug, Subcommand)]
pub enum SandboxCommand {
    /// Create a sandbox; with a command, run it, stream its output and pass on its exit code.
    #[command(after_help = CREATE_EXAMPLES)]
    Create(Box<CreateArgs>),
    /// List sandboxes.
    #[command(
        visible_alias = "ls",
        after_help = "Examples:\n  openshell sandbox list\n  openshell sandbox list --selector team=red -o json"
    )]
    List(ListArgs),
    /// Show one sandbox.
    #[command(after_help = "Examples:\n  openshell sandbox get demo -o yaml")]
    Get(NameArg),
    /// Try to get out of a sandbox, from inside; fails unless every wall holds.
    #[command(after_help = "Examples:\n  openshell sandbox verify demo\n  openshell sandbox verify demo -o json")]
    Verify(NameArg),
    /// Run a program in a sandbox; its exit code is passed on.
    #[command(after_help = EXEC_EXAMPLES)]
    Exec(ExecArgs),
    /// Open a shell in a sandbox. A connection that is cut is made again, and the shell goes on.
    #[command(after_help = "Examples:\n  openshell sandbox connect demo\n  \
                            openshell sandbox connect demo --shell /bin/zsh")]
    Connect(ConnectArgs),
    /// Copy a file or folder into a sandbox.
    #[command(after_help = UPLOAD_EXAMPLES)]
    Upload(UploadArgs),
    /// Copy a file or folder out of a sandbox.
    #[command(after_help = DOWNLOAD_EXAMPLES)]
    Download(DownloadArgs),
    /// Listen on this machine and carry connections to a port in a sandbox, until interrupted.
    #[command(after_help = "Examples:\n  openshell sandbox forward demo 8080:80\n  \
                            openshell sandbox forward demo 5432 0.0.0.0:3000:3000")]
    Forward(ForwardArgs),
    /// Print what OpenSSH must be told to reach a sandbox, for ssh, scp, sftp, rsync, Git and VS Code.
    #[command(after_help = "Examples:\n  openshell sandbox ssh-config demo --install && ssh openshell-demo\n  \
                            openshell sandbox ssh-config demo > demo.ssh && ssh -F demo.ssh openshell-demo")]
    SshConfig(super::ssh::SshConfigArgs),
    /// Show what the workload and the supervisor wrote.
    #[command(
        after_help = "Examples:\n  openshell sandbox logs demo\n  openshell sandbox logs demo --tail 50 --follow"
    )]
    Logs(LogsArgs),
    /// End what runs in sandboxes; keep their files, policies and logs.
    #[command(after_help = "Examples:\n  openshell sandbox stop demo\n  openshell sandbox stop demo scratch")]
    Stop(NamesArg),
    /// Start sandboxes again that were stopped, have exited or failed, with what they held.
    #[command(after_help = "Examples:\n  openshell sandbox start demo\n  openshell sandbox start demo --elsewhere")]
    Start(StartArgs),
    /// Delete sandboxes and what they hold.
    #[command(
        visible_alias = "rm",
        after_help = "Examples:\n  openshell sandbox delete demo\n  \
                                                  openshell sandbox delete demo scratch"
    )]
    Delete(NamesArg),
}

const CREATE_EXAMPLES: &str = "\
Examples:
  openshell sandbox create --name demo                         # idles; see `sandbox exec`
  openshell sandbox create --name once -- python3 agent.py     # returns the program's exit code
  openshell sandbox create --detach --env MODE=fast --label team=red -- ./serve
  openshell sandbox create --name demo --policy rules.yaml     # with rules from its first moment
  openshell sandbox create --name demo --add-host origin.test:127.0.0.1 --provider github
  openshell sandbox create --name trial --observe -- ./agent   # then: openshell policy suggest trial
  openshell sandbox create --on zone=east --cpu 2 --memory 4g  # on a machine of `runtime list`
  openshell sandbox create --from python:3.13-slim --cpu 2 --memory 4g --volume ./data:/data:ro -- python3";

const UPLOAD_EXAMPLES: &str = "\
Examples:
  openshell sandbox upload demo ./project                # into the workspace
  openshell sandbox upload demo notes.txt /tmp/          # into a directory
  openshell sandbox upload demo notes.txt todo.txt       # under another name";

const DOWNLOAD_EXAMPLES: &str = "\
Examples:
  openshell sandbox download demo project/report.md
  openshell sandbox download demo /tmp/results ./here/";

const EXEC_EXAMPLES: &str = "\
Examples:
  openshell sandbox exec demo -- curl -sS https://example.com
  openshell sandbox exec demo --tty -- bash
  echo hello | openshell sandbox exec demo -- tr a-z A-Z";

/// Arguments of `sandbox list`.
#[derive(Debug, Args)]
pub struct ListArgs {
    /// Only those with this label; several times for those that have all of them.
    #[arg(short = 'l', long, value_name = "KEY=VALUE", value_parser = parse::key_value)]
    pub selector: Vec<(String, String)>,
}

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
    /// Where it runs: `docker`, `process`, or another one of `runtime list`; absent: where there is most room.
    #[arg(long, value_name = "RUNTIME")]
    pub runtime: Option<Name>,
    /// Label that its runtime must have; several times for all of them.
    #[arg(long, value_name = "KEY=VALUE", value_parser = parse::key_value)]
    pub on: Vec<(String, String)>,
    #[command(flatten)]
    pub container: ContainerArgs,
    /// Record what it does without blocking, until a policy is set or pushed; see `policy suggest`. A ceiling holds, and
    /// private and metadata addresses stay refused.
    #[arg(long)]
    pub observe: bool,
    /// Rules (YAML) it has from the start; `-` reads standard input. What they say about files and user is fixed then.
    #[arg(long, value_name = "FILE")]
    pub policy: Option<PathBuf>,
    /// Start even where this kernel can't raise every wall; what is missing shows in every listing.
    #[arg(long)]
    pub allow_degraded: bool,
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

/// Arguments of `sandbox connect`.
#[derive(Debug, Args)]
pub struct ConnectArgs {
    /// Sandbox.
    pub name: Name,
    /// Shell to run; bash, or sh where there is none.
    #[arg(long, value_name = "PROGRAM")]
    pub shell: Option<String>,
}

/// Arguments of `sandbox upload`.
#[derive(Debug, Args)]
pub struct UploadArgs {
    /// Sandbox.
    pub name: Name,
    /// File or folder on this machine.
    #[arg(value_name = "SOURCE")]
    pub source: PathBuf,
    /// Where to in the sandbox: into a directory, or under a new name; the working directory if absent.
    #[arg(value_name = "PATH")]
    pub path: Option<String>,
}

/// Arguments of `sandbox download`.
#[derive(Debug, Args)]
pub struct DownloadArgs {
    /// Sandbox.
    pub name: Name,
    /// File or folder in the sandbox.
    #[arg(value_name = "PATH")]
    pub path: String,
    /// Where to on this machine: into a directory, or under a new name; the current directory if absent.
    #[arg(value_name = "DESTINATION")]
    pub destination: Option<PathBuf>,
}

/// Arguments of `sandbox forward`.
#[derive(Debug, Args)]
pub struct ForwardArgs {
    /// Sandbox.
    pub name: Name,
    /// Port here (0: any that is free) and port there; on 127.0.0.1 unless another address is named.
    #[arg(required = true, value_name = "[ADDRESS:]LOCAL:REMOTE", value_parser = parse::port_mapping)]
    pub ports: Vec<PortMapping>,
}

/// A port of this machine that leads into a sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortMapping {
    /// Where to listen; loopback if absent.
    pub address: Option<IpAddr>,
    /// The port here.
    pub local: u16,
    /// The port there.
    pub remote: u16,
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

/// Arguments of `sandbox start`.
#[derive(Debug, Args)]
pub struct StartArgs {
    /// Sandboxes.
    #[arg(required = true, value_name = "NAME")]
    pub names: Vec<Name>,
    /// Start those whose machine is lost on this one: with their policies and settings, without the files that they have there. In a Swarm
    /// that is the way to start one that has ended, too.
    #[arg(long, value_name = "RUNTIME", conflicts_with = "elsewhere")]
    pub runtime: Option<Name>,
    /// The same, on whichever machine fits.
    #[arg(long)]
    pub elsewhere: bool,
}

/// Sandboxes by name.
#[derive(Debug, Args)]
pub struct NamesArg {
    /// Sandboxes.
    #[arg(required = true, value_name = "NAME")]
    pub names: Vec<Name>,
}
