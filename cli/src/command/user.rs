//! `openshell user …` and `openshell token …`.

use openshell_api::Name;
use openshell_api::inference::{Budget, BudgetUse};
use openshell_api::user::{CreateToken, CreateUser, SetUser, Token, User};
use openshell_inference_format::price;

use super::{Context, DONE};
use crate::args::user::{BudgetArgs, TokenCommand, UserCommand};
use crate::client::Client;
use crate::error::Error;
use crate::output::{Table, age, facts, word};

/// Does one of the commands about users.
pub async fn run(cx: &Context, command: UserCommand) -> Result<u8, Error> {
    let client = cx.client().await?;
    match command {
        UserCommand::Create(args) => {
            let user = client.create_user(&CreateUser { name: args.name, role: args.role }).await?;
            cx.out.data(&user, || users(std::slice::from_ref(&user)).render())?;
            cx.out.note(format!("give it a token: openshell token create NAME --user {}", user.name));
        }
        UserCommand::List => {
            let known = client.users().await?;
            cx.out.data(&known, || users(&known).render_or("no users"))?;
        }
        UserCommand::Update(args) => {
            let user = client.set_user(&args.name, &SetUser { role: args.role }).await?;
            cx.out.data(&user, || users(std::slice::from_ref(&user)).render())?;
        }
        UserCommand::Budget(args) => budget(cx, &client, args).await?,
        UserCommand::Delete(args) => {
            for name in &args.names {
                client.delete_user(name).await?;
                cx.out.note(format!("deleted user {name}"));
            }
        }
        UserCommand::Whoami => {
            let me = client.whoami().await?;
            cx.out.data(&me, || {
                facts(&[
                    ("user", me.user.clone()),
                    ("role", me.role.to_string()),
                    ("via", word(&me.via)),
                    ("expires", me.expires.map_or_else(|| "never".to_owned(), |at| at.to_string())),
                ])
            })?;
        }
    }
    Ok(DONE)
}

/// A budget takes the place of the limit for the same period, backend and unit.
async fn budget(cx: &Context, client: &Client, args: BudgetArgs) -> Result<(), Error> {
    let mut standing = client.budgets(&args.name).await?;
    if args.clear || !(args.budgets.is_empty() && args.tokens.is_empty()) {
        let mut budgets: Vec<Budget> = match args.clear {
            true => Vec::new(),
            false => standing.into_iter().map(|standing| standing.budget).collect(),
        };
        for limit in args.budgets.into_iter().chain(args.tokens) {
            match budgets.iter_mut().find(|known| known.period == limit.period && known.backend == limit.backend) {
                Some(known) => {
                    known.cost = limit.cost.or(known.cost);
                    known.tokens = limit.tokens.or(known.tokens);
                }
                None => budgets.push(limit),
            }
        }
        standing = client.set_budgets(&args.name, &budgets).await?;
    }
    cx.out.data(&standing, || {
        let mut table = Table::new(["PERIOD", "BACKEND", "SPENT", "TOKENS"]);
        for BudgetUse { budget, cost, tokens } in &standing {
            let of =
                |used: String, limit: Option<String>| limit.map_or(used.clone(), |limit| format!("{used} of {limit}"));
            let dollars = |cost: u128| format!("${}", price::dollars(cost));
            table.row([
                word(&budget.period),
                budget.backend.as_ref().map_or_else(|| "all".to_owned(), ToString::to_string),
                of(dollars(u128::from(*cost)), budget.fine_cost().map(dollars)),
                of(tokens.to_string(), budget.tokens.map(|limit| limit.to_string())),
            ]);
        }
        table.render_or("no budgets")
    })
}

/// Does one of the commands about tokens.
pub async fn tokens(cx: &Context, command: TokenCommand) -> Result<u8, Error> {
    let client = cx.client().await?;
    match command {
        TokenCommand::Create(args) => {
            let user = whose(&client, args.user).await?;
            let token = CreateToken { name: args.name, expires_in_s: args.expires.map(|span| span.as_secs()) };
            let created = client.create_token(&user, &token).await?;
            cx.out.note(format!("token {} of {user}; it is shown this once", created.token.id));
            cx.out.data(&created, || created.secret.clone())?;
        }
        TokenCommand::List(args) => {
            let known = client.tokens(&whose(&client, args.user).await?).await?;
            cx.out.data(&known, || listed(&known).render_or("no tokens"))?;
        }
        TokenCommand::Revoke(args) => {
            for id in &args.ids {
                client.revoke_token(id).await?;
                cx.out.note(format!("revoked token {id}"));
            }
        }
    }
    Ok(DONE)
}

/// The user that is named, else oneself.
async fn whose(client: &Client, named: Option<Name>) -> Result<String, Error> {
    match named {
        Some(name) => Ok(name.to_string()),
        None => Ok(client.whoami().await?.user),
    }
}

fn users(users: &[User]) -> Table {
    let now = jiff::Timestamp::now();
    let mut table = Table::new(["NAME", "ROLE", "TOKENS", "AGE"]);
    for user in users {
        table.row([user.name.to_string(), user.role.to_string(), user.tokens.to_string(), age(user.created_at, now)]);
    }
    table
}

fn listed(tokens: &[Token]) -> Table {
    let now = jiff::Timestamp::now();
    let mut table = Table::new(["ID", "NAME", "AGE", "USED", "EXPIRES"]);
    for token in tokens {
        let used = token.used_at.map_or_else(|| "never".to_owned(), |at| format!("{} ago", age(at, now)));
        let expires = match token.expires_at {
            None => "never".to_owned(),
            Some(at) if at <= now => "expired".to_owned(),
            // How long from now, as ages are shown.
            Some(at) => format!("in {}", age(now, at)),
        };
        table.row([token.id.clone(), token.name.to_string(), age(token.created_at, now), used, expires]);
    }
    table
}
