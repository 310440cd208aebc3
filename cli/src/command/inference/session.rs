//! `openshell inference session …`: what conversations have contained.

use openshell_api::inference::Session;

use super::{Context, DONE};
use crate::args::inference::{ResetArgs, SessionCommand, SessionsArgs};
use crate::error::Error;
use crate::output::{Table, word};

/// Does one of the commands.
pub async fn run(cx: &Context, command: SessionCommand) -> Result<u8, Error> {
    match command {
        SessionCommand::List(args) => list(cx, args).await,
        SessionCommand::Reset(args) => reset(cx, args).await,
    }
}

async fn list(cx: &Context, args: SessionsArgs) -> Result<u8, Error> {
    let sessions = cx.client().await?.sessions(&args.sandbox).await?;
    cx.out.data(&sessions, || {
        let mut table = Table::new(["SESSION", "SENSITIVITY"]);
        for Session { session, sensitivity } in &sessions {
            table.row([session.clone(), word(sensitivity)]);
        }
        table.render_or("no session has contained anything but what is public")
    })?;
    Ok(DONE)
}

async fn reset(cx: &Context, ResetArgs { sandbox, which }: ResetArgs) -> Result<u8, Error> {
    let session = which.header.map(|name| Session::of_header(name.as_bytes())).or(which.session);
    cx.client().await?.reset_sessions(&sandbox, session.as_deref()).await?;
    let what = match session {
        Some(session) => format!("session {session} of {sandbox} is forgotten"),
        None => format!("all sessions of {sandbox} are forgotten"),
    };
    cx.out.note(format!("{what}: what comes next is judged by itself alone"));
    Ok(DONE)
}
