//! `openshell runtime …`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use openshell_api::Name;
use openshell_api::sandbox::RuntimeKind;

use super::parse;

/// Commands about where sandboxes run.
#[derive(Debug, Subcommand)]
pub enum RuntimeCommand {
    /// Give the gateway a Docker engine of another machine, or a Docker Swarm, over TLS or ssh. It must answer.
    #[command(after_help = ADD_EXAMPLES)]
    Add(AddArgs),
    /// Where sandboxes can run: whether it answers, its labels, how much of it is free.
    #[command(
        visible_alias = "ls",
        after_help = "Examples:\n  openshell runtime list\n  openshell runtime list -o json"
    )]
    List,
    /// Show one runtime.
    #[command(after_help = "Examples:\n  openshell runtime get big")]
    Get(NameArg),
    /// Change an engine's labels, or how it and the gateway reach each other. Its sandboxes go on.
    #[command(after_help = UPDATE_EXAMPLES)]
    Update(UpdateArgs),
    /// Take engines away from the gateway. Refused while a sandbox is there.
    #[command(visible_alias = "rm", after_help = "Examples:\n  openshell runtime remove big")]
    Remove(RemoveArgs),
}

const ADD_EXAMPLES: &str = "\
Examples:
  openshell runtime add big docker ssh://me@big.example --label zone=east
  openshell runtime add gpu docker tcp://10.0.0.7:2376 --tls-ca ca.pem --tls-cert cert.pem --tls-key key.pem \\
    --gateway-url https://10.0.0.5:7443
  openshell runtime add farm swarm ssh://me@manager.example --registry hub.example:5000/sandbox";

/// Arguments of `runtime add`.
#[derive(Debug, Args)]
pub struct AddArgs {
    /// What it is to be called.
    pub name: Name,
    /// What it is: `docker`, or `swarm` where that engine is a manager of one.
    #[arg(value_parser = parse::engine)]
    pub kind: RuntimeKind,
    /// Where it is: tcp://HOST:PORT, with the TLS files, or ssh://USER@HOST, by the gateway's own ssh: its user's configuration,
    /// keys and known hosts, and a `docker` command there.
    pub url: String,
    /// Label to place sandboxes by; see `sandbox create --on`.
    #[arg(short, long, value_name = "KEY=VALUE", value_parser = parse::key_value)]
    pub label: Vec<(String, String)>,
    /// Where its containers reach the gateway: https://HOST:PORT; absent: the gateway's --internal-url, or the address that it
    /// listens on.
    #[arg(long, value_name = "URL")]
    pub gateway_url: Option<String>,
    /// Of a swarm: repository of a registry, from which its nodes take images with the supervisor in them.
    #[arg(long, value_name = "HOST:PORT/NAME")]
    pub registry: Option<String>,
    /// How its engines log in there.
    #[command(flatten)]
    pub login: LoginArgs,
    /// How the two know each other.
    #[command(flatten)]
    pub tls: TlsArgs,
}

const UPDATE_EXAMPLES: &str = "\
Examples:
  openshell runtime update big --label zone=east --label gpu=yes
  openshell runtime update gpu --tls-ca ca.pem --tls-cert renewed.pem --tls-key renewed.key";

/// Arguments of `runtime update`.
#[derive(Debug, Args)]
pub struct UpdateArgs {
    /// Runtime.
    pub name: Name,
    /// Label that it has from now on, instead of those that it had.
    #[arg(short, long, value_name = "KEY=VALUE", value_parser = parse::key_value, conflicts_with = "no_labels")]
    pub label: Vec<(String, String)>,
    /// It has no labels from now on.
    #[arg(long)]
    pub no_labels: bool,
    /// Where containers that are started from now on reach the gateway.
    #[arg(long, value_name = "URL")]
    pub gateway_url: Option<String>,
    /// Of a swarm: where images are put from now on.
    #[arg(long, value_name = "HOST:PORT/NAME")]
    pub registry: Option<String>,
    /// How its engines log in there.
    #[command(flatten)]
    pub login: LoginArgs,
    /// How the two know each other.
    #[command(flatten)]
    pub tls: TlsArgs,
}

/// How the engines of a Swarm log in at a registry.
#[derive(Debug, Args)]
pub struct LoginArgs {
    /// Of a swarm: as whom its engines log in at the registry.
    #[arg(long, value_name = "USER", requires = "registry_password_file")]
    pub registry_user: Option<String>,
    /// File with that user's password. The gateway keeps it encrypted and never shows it.
    #[arg(long, value_name = "FILE", requires = "registry_user")]
    pub registry_password_file: Option<PathBuf>,
}

/// How a gateway and an engine know each other.
#[derive(Debug, Args)]
pub struct TlsArgs {
    /// PEM file of the only authority whose certificates to take for the engine's.
    #[arg(long, value_name = "FILE", requires_all = ["tls_cert", "tls_key"])]
    pub tls_ca: Option<PathBuf>,
    /// PEM file of the gateway's certificate there.
    #[arg(long, value_name = "FILE", requires_all = ["tls_ca", "tls_key"])]
    pub tls_cert: Option<PathBuf>,
    /// PEM file of that certificate's key. The gateway keeps it encrypted and never shows it.
    #[arg(long, value_name = "FILE", requires_all = ["tls_ca", "tls_cert"])]
    pub tls_key: Option<PathBuf>,
}

/// One runtime by name.
#[derive(Debug, Args)]
pub struct NameArg {
    /// Runtime.
    pub name: Name,
}

/// Arguments of `runtime remove`.
#[derive(Debug, Args)]
pub struct RemoveArgs {
    /// Runtimes.
    #[arg(required = true, value_name = "NAME")]
    pub names: Vec<Name>,
}
