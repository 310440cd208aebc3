//! `openshell audit …`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};

use super::parse;

/// Commands about the audit trail.
#[derive(Debug, Subcommand)]
pub enum AuditCommand {
    /// Show who changed what, from where; the newest last.
    #[command(
        visible_alias = "ls",
        after_help = "Examples:\n  openshell audit list --since 24h\n  \
                            openshell audit list --user alice --action sandbox\n  openshell audit list -o json"
    )]
    List(ListArgs),
    /// Check that nothing in the trail was changed, taken away or put in, here and not by the gateway.
    #[command(
        after_help = "Examples:\n  openshell audit verify\n  openshell audit verify --file trail.jsonl --key ed25519:…"
    )]
    Verify(VerifyArgs),
    /// Write the whole trail to standard output, a line each, and its signed head as the last one.
    #[command(after_help = "Examples:\n  openshell audit export > trail.jsonl")]
    Export,
}

/// Arguments of `audit list`.
#[derive(Debug, Args)]
pub struct ListArgs {
    /// Only what this user did.
    #[arg(long, value_name = "USER")]
    pub user: Option<String>,
    /// Only this action, or all that begin with it: sandbox.create, sandbox.
    #[arg(long, value_name = "ACTION")]
    pub action: Option<String>,
    /// Only what was done to this.
    #[arg(long, value_name = "NAME")]
    pub object: Option<String>,
    /// Only from this long ago on: 90s, 15m, 24h, 7d.
    #[arg(long, value_name = "SPAN", value_parser = parse::span)]
    pub since: Option<Duration>,
    /// At most this many, the newest ones.
    #[arg(short, long, value_name = "N", default_value_t = 50)]
    pub limit: u32,
}

/// Arguments of `audit verify`.
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// Check what `audit export` wrote, instead of asking the gateway.
    #[arg(long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// The key that must have signed the trail's head, as an earlier `audit verify` showed it.
    #[arg(long, value_name = "KEY")]
    pub key: Option<String>,
}
