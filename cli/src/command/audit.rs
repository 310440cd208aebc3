//! `openshell audit …`.

use openshell_api::audit::{AuditEntry, AuditHead, AuditLink, Outcome, Verifier};
use serde::Serialize;
use serde_json::Value;

use super::{Context, DONE, decisions};
use crate::args::audit::{AuditCommand, ListArgs, VerifyArgs};
use crate::client::Client;
use crate::error::{Error, TrustError};
use crate::output::{Table, facts};

/// What a trail that holds shows.
#[derive(Serialize)]
struct Verified {
    entries: u64,
    head: AuditHead,
}

/// Does one of the commands.
pub async fn run(cx: &Context, command: AuditCommand) -> Result<u8, Error> {
    match command {
        AuditCommand::List(args) => list(cx, args).await,
        AuditCommand::Verify(args) => verify(cx, args).await,
        AuditCommand::Export => export(cx).await,
    }
}

async fn list(cx: &Context, args: ListArgs) -> Result<u8, Error> {
    let mut query = Vec::new();
    query.extend(args.user.map(|user| ("user", user)));
    query.extend(args.action.map(|action| ("action", action)));
    query.extend(args.object.map(|object| ("object", object)));
    query.extend(args.since.map(|span| ("since", decisions::since(span).to_string())));
    let links = cx.client().await?.audit(&query, args.limit as usize).await?;
    let entries = links.iter().map(entry).collect::<Result<Vec<AuditEntry>, _>>()?;
    cx.out.data(&entries, || table(&entries).render_or("nothing of that kind"))?;
    Ok(DONE)
}

fn entry(link: &AuditLink) -> Result<AuditEntry, Error> {
    crate::client::rest::parse(link.entry.get().as_bytes(), "GET /v1/audit")
}

fn table(entries: &[AuditEntry]) -> Table {
    let mut table = Table::new(["SEQ", "TIME", "USER", "FROM", "ACTION", "OBJECT", "OUTCOME"]);
    for entry in entries {
        let who = match (&entry.user, &entry.source) {
            (Some(user), _) => user.clone(),
            (None, Some(_)) => "nobody known".to_owned(),
            (None, None) => "the gateway".to_owned(),
        };
        table.row([
            entry.seq.to_string(),
            entry.at.strftime("%Y-%m-%d %H:%M:%S").to_string(),
            who,
            entry.source.clone().unwrap_or_default(),
            entry.action.clone(),
            entry.object.clone(),
            outcome(entry),
        ]);
    }
    table
}

/// What became of it, and the shortest thing that says why or to what effect.
fn outcome(entry: &AuditEntry) -> String {
    let text = |value: &Value| match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    match entry.outcome {
        Outcome::Refused => format!("refused ({})", text(&entry.detail["code"])),
        Outcome::Noticed => text(&entry.detail["reason"]),
        Outcome::Done => "done".to_owned(),
    }
}

/// Checks every link here: the gateway's word is not taken for it.
async fn verify(cx: &Context, args: VerifyArgs) -> Result<u8, Error> {
    let broken = |broken| Error::Trust(TrustError::Audit(broken));
    let (head, count, notices) = match &args.file {
        None => {
            let progress = cx.out.progress("checking the audit trail");
            let client = cx.client().await?;
            // The head first: what is added meanwhile follows it.
            let head = client.audit_head().await?;
            let mut verifier = Verifier::new(head.clone(), args.key.as_deref()).map_err(broken)?;
            each(&client, |link| verifier.take(link).map_err(broken)).await?;
            drop(progress);
            let (count, notices) = verifier.finish().map_err(broken)?;
            (head, count, notices)
        }
        Some(file) => {
            let text = std::fs::read_to_string(file).map_err(Error::io(format!("read {}", file.display())))?;
            let what = file.display().to_string();
            let (links, last) = text.trim_end().rsplit_once('\n').unwrap_or(("", text.trim_end()));
            let head: AuditHead = crate::client::rest::parse(last.as_bytes(), &what)?;
            let mut verifier = Verifier::new(head.clone(), args.key.as_deref()).map_err(broken)?;
            for line in links.lines() {
                let link: AuditLink = crate::client::rest::parse(line.as_bytes(), &what)?;
                verifier.take(&link).map_err(broken)?;
            }
            let (count, notices) = verifier.finish().map_err(broken)?;
            (head, count, notices)
        }
    };
    if let Some(first) = notices.first() {
        let reason = first.detail["reason"].as_str().unwrap_or("no reason is given").to_owned();
        return Err(Error::Trust(TrustError::AuditNoticed { seq: first.seq, at: first.at, reason }));
    }
    let verified = Verified { entries: count, head };
    cx.out.data(&verified, || {
        facts(&[
            ("entries", format!("{count}, each following from the one before it")),
            ("head", format!("{} {}", verified.head.seq, verified.head.hash)),
            ("signed by", verified.head.key.clone()),
        ])
    })?;
    Ok(DONE)
}

async fn export(cx: &Context) -> Result<u8, Error> {
    let client = cx.client().await?;
    let head = client.audit_head().await?;
    each(&client, |link| cx.out.text(&json_line(link)?)).await?;
    cx.out.text(&json_line(&head)?)?;
    Ok(DONE)
}

fn json_line(value: &impl Serialize) -> Result<String, Error> {
    serde_json::to_string(value).map_err(|e| Error::Io { doing: "write JSON".into(), source: e.into() })
}

/// Does something with each link, from the first to the last.
async fn each(client: &Client, mut with: impl FnMut(&AuditLink) -> Result<(), Error>) -> Result<(), Error> {
    let mut cursor = None;
    loop {
        let page = client.audit_page(cursor).await?;
        for link in &page.items {
            with(link)?;
        }
        cursor = page.next;
        if cursor.is_none() {
            return Ok(());
        }
    }
}
