//! What can be typed: clap types, and nothing that acts on them.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

pub mod audit;
pub mod decisions;
pub mod doctor;
pub mod export;
pub mod gateway;
pub mod inference;
pub mod parse;
pub mod policy;
pub mod proposal;
pub mod provider;
pub mod runtime;
pub mod sandbox;
pub mod ssh;
pub mod user;

#[cfg(test)]
mod tests;

/// Run AI agents in sandboxes whose only way out is decided by WebAssembly policies.
#[derive(Debug, Parser)]
#[command(name = "openshell", version, max_term_width = 100, after_help = EXAMPLES)]
pub struct Cli {
    /// Options that every command takes.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

const EXAMPLES: &str = "\
Examples:
  openshell sandbox create --name demo                     # starts a gateway if none is running
  openshell policy new my-policy && openshell policy push ./my-policy --sandbox demo
  openshell sandbox exec demo -- curl https://example.com
  openshell decisions --sandbox demo";

const SSH_EXAMPLES: &str = "\
Examples:
  openshell sandbox ssh-config demo --install    # then: ssh openshell-demo
  openshell ssh-proxy demo                       # what ssh runs by itself then";

const GLOBAL: &str = "Global options";

/// Options that every command takes.
#[derive(Debug, Clone, Args)]
pub struct Global {
    /// Form of the data on standard output: table, json or yaml.
    #[arg(short, long, value_enum, default_value_t = Format::Table, hide_possible_values = true, global = true)]
    #[arg(value_name = "FORMAT", help_heading = GLOBAL)]
    pub output: Format,
    /// No progress and no notes on standard error; errors still appear.
    #[arg(short, long, global = true, help_heading = GLOBAL)]
    pub quiet: bool,
    /// Gateway: the name it was added by, `local`, an https:// URL (OPENSHELL_TOKEN and OPENSHELL_CA_FILE say the rest), or a
    /// state directory, written with a slash. If left out: the selected one.
    #[arg(short, long, env = "OPENSHELL_GATEWAY", global = true, value_name = "NAME|URL|DIR", hide_env_values = true)]
    #[arg(help_heading = GLOBAL)]
    pub gateway: Option<String>,
}

/// Form of the data on standard output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Columns for people.
    Table,
    /// One JSON document; one per line for what streams.
    Json,
    /// YAML; one document per record for what streams.
    Yaml,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Add gateways, choose one, log in; start and stop the one on this machine.
    #[command(subcommand)]
    Gateway(gateway::GatewayCommand),
    /// Create sandboxes, run programs in them, delete them.
    #[command(subcommand, alias = "sb")]
    Sandbox(sandbox::SandboxCommand),
    /// Give the gateway further machines to run sandboxes on.
    #[command(subcommand)]
    Runtime(runtime::RuntimeCommand),
    /// Write, build, inspect and push policies, and take them back.
    #[command(subcommand)]
    Policy(policy::PolicyCommand),
    /// See what agents ask to be allowed, and approve or refuse it.
    #[command(subcommand)]
    Proposal(proposal::ProposalCommand),
    /// Store credentials that the proxy attaches and workloads never see.
    #[command(subcommand)]
    Provider(provider::ProviderCommand),
    /// Say which model backends https://inference.local may use.
    #[command(subcommand)]
    Inference(inference::InferenceCommand),
    /// Say who may use the gateway, and what for.
    #[command(subcommand)]
    User(user::UserCommand),
    /// Make, list and revoke the tokens that users are known by.
    #[command(subcommand)]
    Token(user::TokenCommand),
    /// Show and check who changed what.
    #[command(subcommand)]
    Audit(audit::AuditCommand),
    /// Show who asked for what, and which rule answered how.
    Decisions(decisions::DecisionsArgs),
    /// Send decisions to a SIEM, a log store or an OpenTelemetry collector as they come.
    #[command(subcommand)]
    Export(export::ExportCommand),
    /// Show the gateway and its sandboxes at a glance.
    #[command(after_help = "Examples:\n  openshell status\n  openshell status -o json")]
    Status,
    /// Check what this machine offers and say how to mend what is missing.
    #[command(
        after_help = "Examples:\n  openshell doctor\n  openshell doctor -o json\n  openshell doctor tls --sandbox demo"
    )]
    Doctor(doctor::DoctorArgs),
    /// Let OpenSSH into a sandbox: an SSH server on standard input and output, for its ProxyCommand.
    #[command(after_help = SSH_EXAMPLES)]
    SshProxy(ssh::SshProxyArgs),
    /// Print a completion script for a shell.
    #[command(after_help = "Examples:\n  openshell completions bash > /etc/bash_completion.d/openshell\n  \
                            openshell completions zsh > ~/.zfunc/_openshell")]
    Completions(CompletionsArgs),
}

/// Arguments of `completions`.
#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// The shell.
    #[arg(value_enum)]
    pub shell: clap_complete::Shell,
}

/// A file or directory that must be named.
#[derive(Debug, Args)]
pub struct SourceArg {
    /// A policy crate's directory, a built component (`.wasm`), or one in a registry (`oci://…`).
    #[arg(value_name = "DIR|FILE", default_value = ".")]
    pub source: PathBuf,
}
