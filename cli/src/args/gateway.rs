//! `openshell gateway …`.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use openshell_api::Name;
use openshell_api::sandbox::RuntimeKind;

use super::parse;

/// Commands about the gateway on this machine.
#[derive(Debug, Subcommand)]
pub enum GatewayCommand {
    /// Start the gateway in the background and wait until it answers.
    #[command(after_help = "Examples:\n  openshell gateway start\n  \
                            openshell gateway start --upstream-ca ./company-ca.pem --listen 127.0.0.1:7443")]
    Start(StartArgs),
    /// Stop the gateway; its sandboxes keep enforcing what they last acknowledged.
    #[command(after_help = "Examples:\n  openshell gateway stop")]
    Stop,
    /// Show whether the gateway answers, and where.
    #[command(after_help = "Examples:\n  openshell gateway status\n  openshell gateway status -o json")]
    Status,
    /// Turn the key that protects stored credentials; the old one opens nothing any more.
    #[command(after_help = "Examples:\n  openshell gateway rotate-keys")]
    RotateKeys,
    /// Say whose policies this gateway takes: with one publisher or more, only what they signed.
    #[command(subcommand)]
    Trust(TrustCommand),
}

/// Commands about publishers.
#[derive(Debug, Subcommand)]
pub enum TrustCommand {
    /// Trust a publisher. From the first one on, policies that none of them signed are refused.
    #[command(after_help = "Examples:\n  openshell gateway trust add acme --key publisher.pem.pub")]
    Add(TrustAddArgs),
    /// List trusted publishers.
    #[command(visible_alias = "ls", after_help = "Examples:\n  openshell gateway trust list")]
    List,
    /// Trust a publisher no longer. What is enforced stays so until it is replaced.
    #[command(visible_alias = "rm", after_help = "Examples:\n  openshell gateway trust remove acme")]
    Remove(TrustRemoveArgs),
}

/// Arguments of `gateway trust add`.
#[derive(Debug, Args)]
pub struct TrustAddArgs {
    /// What to call the publisher.
    pub name: Name,
    /// Its public key: a PEM file, or ed25519:HEX.
    #[arg(short, long, value_name = "FILE|KEY")]
    pub key: String,
}

/// Arguments of `gateway trust remove`.
#[derive(Debug, Args)]
pub struct TrustRemoveArgs {
    /// The publisher.
    pub name: Name,
    /// Take policies that nobody signed again, if this was the last publisher.
    #[arg(long)]
    pub allow_unsigned: bool,
}

/// Arguments of `gateway start`.
#[derive(Debug, Default, PartialEq, Args)]
pub struct StartArgs {
    /// PEM file of further CAs that sandboxes trust upstream, beside the system's.
    #[arg(long, value_name = "FILE")]
    pub upstream_ca: Option<PathBuf>,
    /// Where sandboxes go that name no runtime: `docker` or `process`; absent: docker where an engine answers.
    #[arg(long, value_name = "RUNTIME", value_parser = parse::runtime)]
    pub runtime: Option<RuntimeKind>,
    /// Image of sandboxes in Docker that name none.
    #[arg(long, value_name = "IMAGE")]
    pub default_image: Option<String>,
    /// Address to listen on; port 0 picks a free one.
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub listen: Option<SocketAddr>,
}
