//! `openshell proposal …`.

use clap::{Args, Subcommand};
use openshell_api::Name;

/// Commands about what agents ask for.
#[derive(Debug, Subcommand)]
pub enum ProposalCommand {
    /// List what agents in sandboxes ask to be allowed.
    #[command(
        visible_alias = "ls",
        after_help = "Examples:\n  openshell proposal list\n  openshell proposal list --sandbox demo --all"
    )]
    List(ListArgs),
    /// Show what a proposal would change: the rules before and after, and what is dangerous about it.
    #[command(after_help = "Examples:\n  openshell proposal show 01KBXJ3M5YV2N7E4Q0R8S6T1WZ")]
    Show(IdArg),
    /// Let the sandbox's rules have it; answers when they are enforced.
    #[command(after_help = APPROVE_EXAMPLES)]
    Approve(ApproveArgs),
    /// Refuse it. The agent that waits reads why.
    #[command(after_help = "Examples:\n  openshell proposal reject 01KBXJ3M5YV2N7E4Q0R8S6T1WZ --reason use-the-mirror")]
    Reject(RejectArgs),
}

const APPROVE_EXAMPLES: &str = "\
Examples:
  openshell proposal approve 01KBXJ3M5YV2N7E4Q0R8S6T1WZ                    # shows the change, and asks
  openshell proposal approve 01KBXJ3M5YV2N7E4Q0R8S6T1WZ --generation 4     # as `proposal show` showed it";

/// Arguments of `proposal list`.
#[derive(Debug, Args)]
pub struct ListArgs {
    /// Only this sandbox's.
    #[arg(short, long, value_name = "NAME")]
    pub sandbox: Option<Name>,
    /// Those that were decided as well.
    #[arg(short, long)]
    pub all: bool,
}

/// A proposal that must be named.
#[derive(Debug, Args)]
pub struct IdArg {
    /// Its id, as `proposal list` shows it.
    #[arg(value_name = "PROPOSAL")]
    pub id: String,
}

/// Arguments of `proposal approve`.
#[derive(Debug, Args)]
pub struct ApproveArgs {
    /// Its id, as `proposal list` shows it.
    #[arg(value_name = "PROPOSAL")]
    pub id: String,
    /// Do not ask: it was shown for this generation, and is refused if the policy changed since.
    #[arg(long, value_name = "GENERATION")]
    pub generation: Option<u64>,
    /// Do not ask, and approve whatever it changes now.
    #[arg(short, long, conflicts_with = "generation")]
    pub yes: bool,
    /// Approve although it is dangerous, as shown.
    #[arg(long)]
    pub accept_dangers: bool,
}

/// Arguments of `proposal reject`.
#[derive(Debug, Args)]
pub struct RejectArgs {
    /// Its id, as `proposal list` shows it.
    #[arg(value_name = "PROPOSAL")]
    pub id: String,
    /// Why: the agent reads it.
    #[arg(short, long, value_name = "TEXT")]
    pub reason: Option<String>,
}
