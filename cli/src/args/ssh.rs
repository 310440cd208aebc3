//! `openshell ssh-proxy` and `openshell sandbox ssh-config`.

use std::path::PathBuf;

use clap::Args;
use openshell_api::Name;

/// Arguments of `ssh-proxy`.
#[derive(Debug, Args)]
pub struct SshProxyArgs {
    /// Sandbox.
    pub name: Name,
    /// Private key that the SSH client knows this end by; made where there is none. Absent: one kept per gateway.
    #[arg(long, value_name = "FILE")]
    pub host_key: Option<PathBuf>,
}

/// Arguments of `sandbox ssh-config`.
#[derive(Debug, Args)]
pub struct SshConfigArgs {
    /// Sandbox.
    pub name: Name,
    /// Write it to ~/.ssh/openshell_config, and include that in ~/.ssh/config.
    #[arg(long)]
    pub install: bool,
}
