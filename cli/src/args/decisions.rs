//! `openshell decisions`.

use std::time::Duration;

use clap::Args;
use openshell_api::Name;

use super::parse;

/// Arguments of `decisions`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  openshell decisions --sandbox demo\n  \
                        openshell decisions --sandbox demo --since 15m --follow\n  \
                        openshell decisions -o json --limit 1000")]
pub struct DecisionsArgs {
    /// Only this sandbox's.
    #[arg(short, long, value_name = "NAME")]
    pub sandbox: Option<Name>,
    /// At most this many, the newest ones.
    #[arg(short, long, value_name = "N", default_value_t = 50)]
    pub limit: u32,
    /// Only from this long ago on: 90s, 15m, 24h, 7d.
    #[arg(long, value_name = "SPAN", value_parser = parse::span)]
    pub since: Option<Duration>,
    /// Go on as decisions come.
    #[arg(short, long)]
    pub follow: bool,
    /// Show each decision's reason and hint on lines of their own (tables only).
    #[arg(long)]
    pub reasons: bool,
}
