//! `openshell provider …`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use openshell_api::Name;

/// Commands about providers.
#[derive(Debug, Subcommand)]
pub enum ProviderCommand {
    /// Store a credential. Its value is read from a variable, a file, standard input or a prompt, never from arguments.
    #[command(after_help = CREATE_EXAMPLES)]
    Create(Box<CreateArgs>),
    /// List providers; secrets are never shown.
    #[command(visible_alias = "ls", after_help = "Examples:\n  openshell provider list")]
    List,
    /// Show a provider; its secret is never shown.
    #[command(after_help = "Examples:\n  openshell provider get github")]
    Get(GetArgs),
    /// Replace a secret, or what it is bound to; live sandboxes have that at once.
    #[command(after_help = UPDATE_EXAMPLES)]
    Update(UpdateArgs),
    /// Types of providers: those that are built in, and your own.
    #[command(subcommand)]
    Type(TypeCommand),
    /// Delete providers.
    #[command(visible_alias = "rm", after_help = "Examples:\n  openshell provider delete github")]
    Delete(DeleteArgs),
}

const CREATE_EXAMPLES: &str = "\
Examples:
  openshell provider create github --type github --from-env GITHUB_TOKEN
  openshell provider create openai --type openai                      # asks for the key
  pass show forge | openshell provider create forge --type generic \\
      --host git.example.com --header X-Token
  openshell provider create bucket --type aws --access-key AKIAEXAMPLE --host s3.eu-central-1.amazonaws.com \\
      --binary /usr/bin/aws --from-env AWS_SECRET_ACCESS_KEY";

const UPDATE_EXAMPLES: &str = "\
Examples:
  openshell provider update github --from-env GITHUB_TOKEN     # a new secret
  openshell provider update openai --path /v1/chat --binary /usr/bin/python3.11";

/// Commands about types of providers.
#[derive(Debug, Subcommand)]
pub enum TypeCommand {
    /// What is usual for the credentials of each type.
    #[command(visible_alias = "ls", after_help = "Examples:\n  openshell provider type list")]
    List,
    /// Add a type, or replace one of your own; providers that there are stay as they are.
    #[command(after_help = TYPE_EXAMPLES)]
    Set(SetTypeArgs),
    /// Delete types of your own.
    #[command(visible_alias = "rm", after_help = "Examples:\n  openshell provider type delete forge")]
    Delete(DeleteTypeArgs),
}

const TYPE_EXAMPLES: &str = "\
Examples:
  openshell provider type set forge --header X-Forge-Token --host forge.example.com --env FORGE_TOKEN --prefix fg_
  openshell provider create mine --type forge --from-env FORGE_TOKEN";

/// Arguments of `provider type set`.
#[derive(Debug, Args)]
pub struct SetTypeArgs {
    /// What providers name it by.
    pub name: Name,
    /// Host that credentials are bound to; none: each provider says its own.
    #[arg(long = "host", value_name = "HOST")]
    pub hosts: Vec<String>,
    /// Path that they are bound to, with all below it; none: every path.
    #[arg(long = "path", value_name = "PATH")]
    pub paths: Vec<String>,
    /// Variable in which workloads find a placeholder.
    #[arg(long, value_name = "VARIABLE")]
    pub env: Option<String>,
    /// How secrets begin: some programs look at that, so placeholders do, too.
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub prefix: String,
    #[command(flatten)]
    pub attach: AttachArgs,
}

/// Arguments of `provider type delete`.
#[derive(Debug, Args)]
pub struct DeleteTypeArgs {
    /// Types.
    #[arg(required = true, value_name = "NAME")]
    pub names: Vec<Name>,
}

/// Where a secret is read from, if not from standard input or a prompt.
#[derive(Debug, Args)]
pub struct SecretArgs {
    /// Read the secret from this environment variable.
    #[arg(long, value_name = "VARIABLE", conflicts_with = "from_file")]
    pub from_env: Option<String>,
    /// Read the secret from this file; a line end at its end is dropped.
    #[arg(long, value_name = "FILE")]
    pub from_file: Option<PathBuf>,
    /// Ask for the secret on the terminal, or read it from standard input.
    #[arg(long, conflicts_with_all = ["from_env", "from_file"])]
    pub prompt: bool,
}

/// Arguments of `provider create`.
#[derive(Debug, Args)]
pub struct CreateArgs {
    /// Name that policies use.
    pub name: Name,
    /// `openai`, `anthropic`, `github`, `gitlab`, `pypi`, `npm`, `aws`, `generic` or one of your own: decides hosts, attachment and
    /// variable where they are absent.
    #[arg(long = "type", value_name = "TYPE")]
    pub kind: String,
    /// Where the secret comes from.
    #[command(flatten)]
    pub source: SecretArgs,
    /// Host it is bound to: a name, or *.example.com for one label. Anywhere else it is never sent.
    #[arg(long = "host", value_name = "HOST")]
    pub hosts: Vec<String>,
    /// Path it is bound to, with all below it; none: every path.
    #[arg(long = "path", value_name = "PATH")]
    pub paths: Vec<String>,
    /// Program it is bound to, by absolute path; none: every program.
    #[arg(long = "binary", value_name = "PATH")]
    pub binaries: Vec<String>,
    /// Variable in which workloads find a placeholder of it [default: the usual one of its type].
    #[arg(long, value_name = "VARIABLE")]
    pub env: Option<String>,
    /// How it is attached.
    #[command(flatten)]
    pub attach: AttachArgs,
    /// Let every operator's sandboxes use it, not only one's own.
    #[arg(long)]
    pub shared: bool,
    /// The secret is a refresh token: the credential is the access token that this token endpoint gives for it.
    #[arg(long, value_name = "URL", requires = "client_id")]
    pub token_url: Option<String>,
    /// The client to the token endpoint.
    #[arg(long, value_name = "ID", requires = "token_url")]
    pub client_id: Option<String>,
    /// File with the client's secret, if it has one.
    #[arg(long, value_name = "FILE", requires = "token_url")]
    pub client_secret_file: Option<PathBuf>,
}

/// How a credential is attached.
#[derive(Debug, Args)]
pub struct AttachArgs {
    /// Attach it as this header.
    #[arg(long, value_name = "NAME", group = "attach")]
    pub header: Option<String>,
    /// Attach it as `Authorization: Bearer`.
    #[arg(long, group = "attach")]
    pub bearer: bool,
    /// Attach it as the password of `Authorization: Basic` with this user name.
    #[arg(long, value_name = "USER", group = "attach")]
    pub basic: Option<String>,
    /// Attach it as this parameter of the query.
    #[arg(long, value_name = "NAME", group = "attach")]
    pub query: Option<String>,
    /// Sign with it as AWS does (version 4), with this access key id.
    #[arg(long, value_name = "ID", group = "attach")]
    pub access_key: Option<String>,
}

/// A provider that must be named.
#[derive(Debug, Args)]
pub struct GetArgs {
    /// The provider.
    pub name: Name,
}

/// Arguments of `provider update`.
#[derive(Debug, Args)]
pub struct UpdateArgs {
    /// The provider.
    pub name: Name,
    /// Where a new secret comes from.
    #[command(flatten)]
    pub source: SecretArgs,
    /// Host it is bound to from now on, in the place of those before.
    #[arg(long = "host", value_name = "HOST")]
    pub hosts: Vec<String>,
    /// Path it is bound to from now on.
    #[arg(long = "path", value_name = "PATH", conflicts_with = "any_path")]
    pub paths: Vec<String>,
    /// Bind it to no path.
    #[arg(long)]
    pub any_path: bool,
    /// Program it is bound to from now on.
    #[arg(long = "binary", value_name = "PATH", conflicts_with = "any_binary")]
    pub binaries: Vec<String>,
    /// Bind it to no program.
    #[arg(long)]
    pub any_binary: bool,
    /// Whether every operator's sandboxes may use it.
    #[arg(long, value_name = "BOOL")]
    pub shared: Option<bool>,
}

/// Arguments of `provider delete`.
#[derive(Debug, Args)]
pub struct DeleteArgs {
    /// Providers.
    #[arg(required = true, value_name = "NAME")]
    pub names: Vec<Name>,
}
