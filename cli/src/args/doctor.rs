//! `openshell doctor`.

use std::time::Duration;

use clap::{Args, Subcommand};
use openshell_api::Name;

use super::parse;

/// Arguments of `doctor`.
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// Look at one thing instead.
    #[command(subcommand)]
    pub about: Option<About>,
}

/// What else can be looked at.
#[derive(Debug, Subcommand)]
pub enum About {
    /// Explain which programs in sandboxes refuse the certificates they are shown, and what to do about each.
    #[command(after_help = "Examples:\n  openshell doctor tls\n  openshell doctor tls --sandbox demo --since 1h")]
    Tls(TlsArgs),
}

/// Arguments of `doctor tls`.
#[derive(Debug, Args)]
pub struct TlsArgs {
    /// Only this sandbox's programs.
    #[arg(short, long, value_name = "NAME")]
    pub sandbox: Option<Name>,
    /// Only from this long ago on: 90s, 15m, 24h, 7d.
    #[arg(long, value_name = "SPAN", value_parser = parse::span, default_value = "24h")]
    pub since: Duration,
}
