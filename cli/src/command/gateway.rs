//! `openshell gateway …`.

use std::path::Path;

use openshell_api::signature::{AddPublisher, Publisher};
use openshell_api::status::Status;
use serde::Serialize;

use super::{Context, DONE};
use crate::args::gateway::{GatewayCommand, StartArgs, TrustCommand};
use crate::client::{Client, Place, daemon, endpoint};
use crate::error::Error;
use crate::output::{Table, age, facts};

/// What `gateway start` and `gateway status` show.
#[derive(Debug, Serialize)]
struct GatewayView {
    url: String,
    /// Absent: not this machine's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pid: Option<u32>,
    #[serde(flatten)]
    status: Status,
}

/// Does one of the commands.
pub async fn run(cx: &Context, command: GatewayCommand) -> Result<u8, Error> {
    match command {
        GatewayCommand::Start(args) => start(cx, &args).await,
        GatewayCommand::Stop => stop(cx).await,
        GatewayCommand::Status => {
            let client = cx.client()?;
            let status = client.status().await?;
            show(cx, &client, status)
        }
        GatewayCommand::RotateKeys => {
            let turned = cx.client()?.rotate_keys().await?;
            cx.out.data(&turned, || format!("a new key protects {} stored secrets", turned.secrets))?;
            Ok(DONE)
        }
        GatewayCommand::Trust(command) => trust(cx, command).await,
    }
}

async fn trust(cx: &Context, command: TrustCommand) -> Result<u8, Error> {
    let client = cx.client()?;
    match command {
        TrustCommand::Add(args) => {
            let key = super::policy::read_public_key(&args.key)?;
            let added = client.add_publisher(&AddPublisher { name: args.name, key }).await?;
            for binding in &added.unsigned_in_force {
                cx.out.note(format!(
                    "note: no trusted publisher signed {binding}; it stays in force until it is replaced"
                ));
            }
            cx.out.data(&added, || publishers(std::slice::from_ref(&added.publisher)))?;
        }
        TrustCommand::List => {
            let known = client.publishers().await?;
            cx.out.data(&known, || publishers(&known))?;
        }
        TrustCommand::Remove(args) => {
            client.remove_publisher(&args.name, args.allow_unsigned).await?;
            cx.out.note(format!("publisher {} is trusted no longer", args.name));
        }
    }
    Ok(DONE)
}

fn publishers(publishers: &[Publisher]) -> String {
    let mut table = Table::new(["PUBLISHER", "AGE", "KEY"]);
    for publisher in publishers {
        let age = age(publisher.added_at, jiff::Timestamp::now());
        table.row([publisher.name.to_string(), age, publisher.key.to_string()]);
    }
    table.render_or("no publishers: policies need no signature")
}

async fn start(cx: &Context, args: &StartArgs) -> Result<u8, Error> {
    let state_dir = local(&cx.place)?;
    if let Some((client, status)) = answering(cx, state_dir).await? {
        cx.out.note("the gateway is running already");
        if args != &StartArgs::default() {
            cx.out.note("note: its arguments take effect when it starts: stop it first");
        }
        return show(cx, &client, status);
    }
    let progress = cx.out.progress("starting the gateway");
    let (client, status) = daemon::start(state_dir, args).await?;
    drop(progress);
    show(cx, &client, status)
}

/// The gateway that runs already. One that is just ending may still be there without answering.
async fn answering(cx: &Context, state_dir: &Path) -> Result<Option<(Client, Status)>, Error> {
    let mut last = None;
    for _ in 0..40 {
        if !daemon::is_running(state_dir) {
            return Ok(None);
        }
        let client = cx.client()?;
        match client.status().await {
            Ok(status) => return Ok(Some((client, status))),
            Err(error) => last = Some(error),
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    last.map_or(Ok(None), Err)
}

async fn stop(cx: &Context) -> Result<u8, Error> {
    let progress = cx.out.progress("stopping the gateway");
    let pid = daemon::stop(local(&cx.place)?).await?;
    drop(progress);
    cx.out.note(format!("stopped the gateway (pid {pid})"));
    Ok(DONE)
}

fn local(place: &Place) -> Result<&Path, Error> {
    match place {
        Place::Local(directory) => Ok(directory),
        Place::Url(url) => Err(Error::NotLocal { url: url.clone() }),
    }
}

fn show(cx: &Context, client: &Client, status: Status) -> Result<u8, Error> {
    let pid = match &cx.place {
        Place::Local(directory) => Some(endpoint::read(directory)?.pid),
        Place::Url(_) => None,
    };
    let view = GatewayView { url: client.access().url.clone(), pid, status };
    cx.out.data(&view, || {
        facts(&[
            ("gateway", view.url.clone()),
            ("version", view.status.version.clone()),
            ("pid", view.pid.map(|pid| pid.to_string()).unwrap_or_default()),
            ("up for", format!("{} s", view.status.uptime_s)),
            ("sandboxes", format!("{} ({} connected)", view.status.sandboxes, view.status.connected)),
        ])
    })?;
    Ok(DONE)
}
