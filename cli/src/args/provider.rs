//! `openshell provider …`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use openshell_api::Name;

/// Commands about providers.
#[derive(Debug, Subcommand)]
pub enum ProviderCommand {
    /// Store a credential. Its value is read from a variable, a file, standard input or a prompt, never from arguments.
    #[command(after_help = CREATE_EXAMPLES)]
    Create(CreateArgs),
    /// List providers; secrets are never shown.
    #[command(visible_alias = "ls", after_help = "Examples:\n  openshell provider list")]
    List,
    /// Delete providers.
    #[command(visible_alias = "rm", after_help = "Examples:\n  openshell provider delete github")]
    Delete(DeleteArgs),
}

const CREATE_EXAMPLES: &str = "\
Examples:
  openshell provider create github --type github --from-env GITHUB_TOKEN
  openshell provider create openai --type openai                      # asks for the key
  pass show forge | openshell provider create forge --type generic \\
      --host git.example.com --header X-Token";

/// Arguments of `provider create`.
#[derive(Debug, Args)]
pub struct CreateArgs {
    /// Name that policies use.
    pub name: Name,
    /// `openai`, `anthropic`, `github` or `generic`: decides hosts and attachment where they are absent.
    #[arg(long = "type", value_name = "TYPE")]
    pub kind: String,
    /// Read the secret from this environment variable.
    #[arg(long, value_name = "VARIABLE", conflicts_with = "from_file")]
    pub from_env: Option<String>,
    /// Read the secret from this file; a line end at its end is dropped.
    #[arg(long, value_name = "FILE")]
    pub from_file: Option<PathBuf>,
    /// Host it is bound to: a name, or *.example.com for one label. Anywhere else it is never sent.
    #[arg(long = "host", value_name = "HOST")]
    pub hosts: Vec<String>,
    /// Attach it as this header.
    #[arg(long, value_name = "NAME", conflicts_with_all = ["bearer", "basic"])]
    pub header: Option<String>,
    /// Attach it as `Authorization: Bearer`.
    #[arg(long, conflicts_with = "basic")]
    pub bearer: bool,
    /// Attach it as the password of `Authorization: Basic` with this user name.
    #[arg(long, value_name = "USER")]
    pub basic: Option<String>,
    /// Let every operator's sandboxes use it, not only one's own.
    #[arg(long)]
    pub shared: bool,
}

/// Arguments of `provider delete`.
#[derive(Debug, Args)]
pub struct DeleteArgs {
    /// Providers.
    #[arg(required = true, value_name = "NAME")]
    pub names: Vec<Name>,
}
