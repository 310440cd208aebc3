//! `openshell user …` and `openshell token …`.

use std::time::Duration;

use clap::{Args, Subcommand};
use openshell_api::Name;
use openshell_api::inference::Budget;
use openshell_api::user::Role;

use super::parse;

/// Commands about users.
#[derive(Debug, Subcommand)]
pub enum UserCommand {
    /// Make a user. It has no token yet.
    #[command(after_help = "Examples:\n  openshell user create alice --role operator\n  \
                            openshell token create laptop --user alice --expires 90d")]
    Create(CreateArgs),
    /// List users.
    #[command(visible_alias = "ls", after_help = "Examples:\n  openshell user list")]
    List,
    /// Change what a user may do, from its next request on.
    #[command(after_help = "Examples:\n  openshell user update alice --role viewer")]
    Update(CreateArgs),
    /// What a user's sandboxes may spend on inference together, and what they have spent: show it, or change what is named.
    #[command(after_help = "Examples:\n  openshell user budget alice\n  \
                            openshell user budget alice --budget month=50 --budget day@cloud=5 --tokens day=2000000\n  \
                            openshell user budget alice --clear")]
    Budget(BudgetArgs),
    /// Delete users: their tokens open nothing any more. What they own stays; their names are never given anew.
    #[command(visible_alias = "rm", after_help = "Examples:\n  openshell user delete alice")]
    Delete(DeleteArgs),
    /// Show who one is, and what one may do.
    #[command(after_help = "Examples:\n  openshell user whoami")]
    Whoami,
}

/// A user and its role.
#[derive(Debug, Args)]
pub struct CreateArgs {
    /// The user.
    pub name: Name,
    /// What it may do: viewer looks, operator works with sandboxes of its own, admin does everything.
    #[arg(long, value_name = "ROLE")]
    pub role: Role,
}

/// Arguments of `user budget`.
#[derive(Debug, Args)]
pub struct BudgetArgs {
    /// The user; `oidc:…` or `access:…` for one that an identity provider vouches for.
    pub name: String,
    /// Dollars in a day, a month or in total, on all backends or one: day=5, total@cloud=20.
    #[arg(long = "budget", value_name = "PERIOD[@BACKEND]=DOLLARS", value_parser = parse::budget)]
    pub budgets: Vec<Budget>,
    /// Tokens in a day, a month or in total, on all backends or one.
    #[arg(long = "tokens", value_name = "PERIOD[@BACKEND]=TOKENS", value_parser = parse::token_budget)]
    pub tokens: Vec<Budget>,
    /// Forget what there was before.
    #[arg(long)]
    pub clear: bool,
}

/// Arguments of `user delete`.
#[derive(Debug, Args)]
pub struct DeleteArgs {
    /// Users.
    #[arg(required = true, value_name = "NAME")]
    pub names: Vec<Name>,
}

/// Commands about tokens.
#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// Make a token and print it: this once, for the gateway keeps only a hash.
    #[command(after_help = "Examples:\n  openshell token create laptop --expires 90d\n  \
                            openshell token create ci --user builder > ci.token")]
    Create(TokenCreateArgs),
    /// List one's tokens; their values are never shown.
    #[command(
        visible_alias = "ls",
        after_help = "Examples:\n  openshell token list\n  openshell token list --user alice"
    )]
    List(TokenListArgs),
    /// Revoke tokens: they open nothing from now on.
    #[command(after_help = "Examples:\n  openshell token revoke 01KBXJ3M5YV2N7E4Q0R8S6T1WZ")]
    Revoke(TokenRevokeArgs),
}

/// Arguments of `token create`.
#[derive(Debug, Args)]
pub struct TokenCreateArgs {
    /// What to call it.
    pub name: Name,
    /// Whose it is: oneself, unless an administrator makes it for somebody.
    #[arg(long, value_name = "USER")]
    pub user: Option<Name>,
    /// How long it is good: 90s, 15m, 24h, 90d; absent: until it is revoked.
    #[arg(long, value_name = "SPAN", value_parser = parse::span)]
    pub expires: Option<Duration>,
}

/// Arguments of `token list`.
#[derive(Debug, Args)]
pub struct TokenListArgs {
    /// Whose: oneself's, unless an administrator asks.
    #[arg(long, value_name = "USER")]
    pub user: Option<Name>,
}

/// Arguments of `token revoke`.
#[derive(Debug, Args)]
pub struct TokenRevokeArgs {
    /// Tokens, by their ids.
    #[arg(required = true, value_name = "ID")]
    pub ids: Vec<String>,
}
