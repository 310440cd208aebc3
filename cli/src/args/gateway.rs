//! `openshell gateway …`.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Subcommand};
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
