//! `openshell proposal …`: what agents ask for, what it would change, and the answer.

use std::io::{IsTerminal as _, Write as _};

use openshell_api::proposal::{Approve, Effect, Proposal, ProposalState, Propose, ProposedProtocol, Reject};

use super::policy::show_report;
use super::{Context, DONE};
use crate::args::proposal::{ApproveArgs, ListArgs, ProposalCommand, RejectArgs};
use crate::client::Client;
use crate::error::{Error, TrustError};
use crate::output::{Table, age, facts, list, printable, word};

/// Does one of the commands.
pub async fn run(cx: &Context, command: ProposalCommand) -> Result<u8, Error> {
    match command {
        ProposalCommand::List(args) => listed(cx, args).await,
        ProposalCommand::Show(args) => {
            let proposal = cx.client().await?.proposal(&args.id).await?;
            cx.out.data(&proposal, || text(&proposal))?;
            Ok(DONE)
        }
        ProposalCommand::Approve(args) => approve(cx, args).await,
        ProposalCommand::Reject(args) => reject(cx, args).await,
    }
}

async fn listed(cx: &Context, args: ListArgs) -> Result<u8, Error> {
    let mut query = Vec::new();
    query.extend(args.sandbox.map(|name| ("sandbox", name.to_string())));
    if !args.all {
        query.push(("state", word(&ProposalState::Pending)));
    }
    let proposals = cx.client().await?.proposals(&query).await?;
    cx.out.data(&proposals, || table(&proposals).render_or("nobody asks for anything"))?;
    Ok(DONE)
}

async fn approve(cx: &Context, args: ApproveArgs) -> Result<u8, Error> {
    let client = cx.client().await?;
    let generation = match args.generation {
        Some(generation) => generation,
        None => seen(cx, &client, &args).await?,
    };
    let progress = cx.out.progress("compiling, staging and activating");
    let body = Approve { generation, accept_dangers: args.accept_dangers };
    let report = client.approve_proposal(&args.id, &body).await?;
    drop(progress);
    show_report(cx, &report)
}

/// Shows what it would change and asks; answers the generation that it was shown for.
async fn seen(cx: &Context, client: &Client, args: &ApproveArgs) -> Result<u64, Error> {
    let proposal = client.proposal(&args.id).await?;
    let effect = proposal
        .effect
        .as_ref()
        .ok_or_else(|| Error::Trust(TrustError::Decided { id: proposal.id.clone(), state: word(&proposal.state) }))?;
    if let Some(refusal) = &effect.refusal {
        return Err(Error::Refused(refusal.clone()));
    }
    cx.out.note(text(&proposal));
    if args.yes {
        return Ok(effect.generation);
    }
    if !std::io::stdin().is_terminal() {
        return Err(Error::Trust(TrustError::Unconfirmed { id: proposal.id.clone(), generation: effect.generation }));
    }
    let read = Error::io("read the answer");
    let _ = write!(std::io::stderr(), "Approve this? [y/N] ");
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer).map_err(read)?;
    match answer.trim() {
        "y" | "Y" | "yes" => Ok(effect.generation),
        _ => Err(Error::Trust(TrustError::Declined)),
    }
}

async fn reject(cx: &Context, args: RejectArgs) -> Result<u8, Error> {
    let proposal = cx.client().await?.reject_proposal(&args.id, &Reject { reason: args.reason }).await?;
    cx.out.data(&proposal, || table(std::slice::from_ref(&proposal)).render())?;
    Ok(DONE)
}

fn table(proposals: &[Proposal]) -> Table {
    let now = jiff::Timestamp::now();
    let mut table = Table::new(["PROPOSAL", "SANDBOX", "STATE", "AGE", "ASKED BY", "FOR", "REASON"]);
    for proposal in proposals {
        table.row([
            proposal.id.clone(),
            proposal.sandbox.to_string(),
            word(&proposal.state),
            age(proposal.created_at, now),
            proposal.asked_by.executable.clone(),
            list(&asked_for(&proposal.asked)),
            proposal.asked.reason.clone(),
        ]);
    }
    table
}

fn asked_for(asked: &Propose) -> Vec<String> {
    let endpoint = |endpoint: &openshell_api::proposal::ProposedEndpoint| {
        let what = match (endpoint.protocol, endpoint.access) {
            (ProposedProtocol::Tcp, _) => "tcp".to_owned(),
            (_, Some(access)) => access.word().to_owned(),
            (_, None) if endpoint.allow.is_empty() => "read-only".to_owned(),
            (_, None) => format!("{} requests", endpoint.allow.len()),
        };
        format!("{}:{} {what}", endpoint.host, endpoint.port)
    };
    asked.endpoints.iter().map(endpoint).collect()
}

fn text(proposal: &Proposal) -> String {
    let by = &proposal.asked_by;
    let script = by.script.as_ref().map(|script| format!(" {script}")).unwrap_or_default();
    let mut pairs = vec![
        ("proposal", proposal.id.clone()),
        ("sandbox", proposal.sandbox.to_string()),
        ("state", word(&proposal.state)),
        ("asked by", format!("{}{script} (pid {})", by.executable, by.pid)),
        ("its reason", format!("\"{}\"", proposal.asked.reason)),
        ("asks for", list(&asked_for(&proposal.asked))),
    ];
    pairs.extend(proposal.reason.clone().map(|reason| ("rejected", reason)));
    pairs.extend(proposal.generation.map(|generation| ("generation", generation.to_string())));
    let mut text = facts(&pairs);
    if let Some(effect) = &proposal.effect {
        text.push_str(&effect_text(proposal, effect));
    }
    text
}

fn effect_text(proposal: &Proposal, effect: &Effect) -> String {
    let (sandbox, generation) = (&proposal.sandbox, effect.generation);
    let mut text = String::new();
    if let Some(refusal) = &effect.refusal {
        text.push_str(&format!("\nit can't be approved: {}\n", refusal.detail));
        if let Some(hint) = &refusal.hint {
            text.push_str(&format!("hint: {hint}\n"));
        }
    } else {
        text.push_str(&format!("\n--- rules of {sandbox}, generation {generation}\n+++ with this proposal\n"));
        for line in effect.diff.lines() {
            text.push_str(&printable(line));
            text.push('\n');
        }
    }
    for (title, lines) in [("dangerous", &effect.dangers), ("to know", &effect.notes)] {
        if !lines.is_empty() {
            text.push_str(&format!("\n{title}:\n"));
            text.extend(lines.iter().map(|line| format!("  - {}\n", printable(line))));
        }
    }
    if effect.refusal.is_none() {
        let accept = if effect.dangers.is_empty() { "" } else { " --accept-dangers" };
        let command = format!("openshell proposal approve {} --generation {generation}{accept}", proposal.id);
        text.push_str(&format!("\nto approve: {command}\n"));
    }
    text
}
