//! Gateways that come up, are replaced, and go.

use std::io::{BufRead as _, IsTerminal as _};
use std::path::{Path, PathBuf};

use openshell_api::Name;
use openshell_api::status::Status;
use serde_json::json;

use super::{Context, DONE, PATIENCE, advise, called, named, show};
use crate::args::gateway::{RemoveArgs, StartArgs, StartCommand};
use crate::client::Client;
use crate::error::{Error, GatewayError};
use crate::gateways::entry::{Entry, Remote};
use crate::gateways::local::{self, Plan};
use crate::gateways::remote::{self, Manners};
use crate::gateways::{LOCAL, Place, endpoint};

/// The gateway that is meant; where it is this machine's and none runs, a new one.
pub async fn ensure(cx: &Context) -> Result<Client, Error> {
    let place = cx.place()?;
    let Place::Local(state_dir) = &place else {
        if let Place::Known(name) = &place
            && let Entry::Ssh(there) = cx.book.entry(name)?
        {
            return ensure_there(cx, name, &there).await;
        }
        return cx.client().await;
    };
    let progress = cx.out.progress("starting the gateway");
    let mut begun = None;
    let client = local::ensure(state_dir, |plan| {
        cx.out.note("no gateway is running: starting one");
        begun = Some(plan.form);
    })
    .await?;
    drop(progress);
    if let Some(form) = begun {
        advise(cx, form).await;
    }
    Ok(client)
}

/// The same of a gateway on another machine.
async fn ensure_there(cx: &Context, name: &Name, there: &Remote) -> Result<Client, Error> {
    let answering = async || {
        let client = cx.client().await?;
        client.status_within(PATIENCE).await.map(|_| client)
    };
    let first = match answering().await {
        // The tunnel may lead to where the gateway was before.
        Err(Error::Unreachable { .. }) => {
            remote::Tunnel::to(&there.destination, Manners::Asking)?.close().await;
            answering().await
        }
        first => first,
    };
    match first {
        Err(error) if remote::is_stopped(&error) => {
            cx.out.note(format!("the gateway {name} does not run: starting it"));
            let _progress = cx.out.progress("starting the gateway there");
            remote::start(there).await?;
            cx.client().await
        }
        first => first,
    }
}

/// `gateway start`.
pub async fn start(cx: &Context, command: StartCommand) -> Result<u8, Error> {
    let place = cx.place()?;
    let state_dir = here(&place)?;
    let args = absolute(command.args)?;
    if let Some((client, status)) = answering(cx, &place, state_dir).await? {
        cx.out.note("the gateway is running already");
        if args != StartArgs::default() || command.form.is_some_and(|form| Some(form) != kept_form(state_dir)) {
            cx.out.note("note: its arguments take effect when it starts: stop it first");
        }
        return show(cx, &place, &client, status).await;
    }
    let form = match command.form.or_else(|| kept_form(state_dir)) {
        Some(form) => form,
        None => local::preferred(state_dir, args.runtime).await,
    };
    let progress = cx.out.progress("starting the gateway");
    let (client, status) = local::start(state_dir, &Plan::new(form, args)).await?;
    drop(progress);
    advise(cx, form).await;
    show(cx, &place, &client, status).await
}

fn kept_form(state_dir: &Path) -> Option<crate::gateways::entry::Form> {
    Plan::kept(state_dir).ok().flatten().map(|plan| plan.form)
}

/// The gateway runs in another directory, and starts again when this one may be gone.
fn absolute(mut args: StartArgs) -> Result<StartArgs, Error> {
    for file in [&mut args.upstream_ca, &mut args.modules_keys].into_iter().flatten() {
        *file = file.canonicalize().map_err(Error::io(format!("read {}", file.display())))?;
    }
    if let Some(socket) = &mut args.proxy_socket {
        let directory = socket.parent().filter(|parent| !parent.as_os_str().is_empty());
        let directory = directory.map_or_else(|| PathBuf::from("."), Path::to_owned);
        let directory = directory.canonicalize().map_err(Error::io(format!("read {}", directory.display())))?;
        *socket = directory.join(socket.file_name().unwrap_or_default());
    }
    Ok(args)
}

/// The gateway that runs already. One that is just ending may still be there without answering.
async fn answering(cx: &Context, place: &Place, state_dir: &Path) -> Result<Option<(Client, Status)>, Error> {
    let mut last = None;
    for _ in 0..40 {
        if !local::is_running(state_dir).await {
            return Ok(None);
        }
        let client = Client::new(place.access(&cx.book, Manners::Asking).await?).await?;
        match client.status().await {
            Ok(status) => return Ok(Some((client, status))),
            Err(error) => last = Some(error),
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    last.map_or(Ok(None), Err)
}

/// `gateway stop`.
pub async fn stop(cx: &Context) -> Result<u8, Error> {
    let place = cx.place()?;
    let progress = cx.out.progress("stopping the gateway");
    let what = local::stop(here(&place)?).await?;
    drop(progress);
    cx.out.note(format!("stopped the gateway ({what})"));
    Ok(DONE)
}

/// `gateway upgrade`.
pub async fn upgrade(cx: &Context, name: Option<&Name>) -> Result<u8, Error> {
    let place = named(cx, name)?;
    let progress = cx.out.progress("upgrading the gateway");
    match &place {
        Place::Local(state_dir) => {
            let (client, status) = local::upgrade(state_dir).await?;
            drop(progress);
            show(cx, &place, &client, status).await
        }
        Place::Known(known) => match cx.book.entry(known)? {
            Entry::Ssh(there) => {
                remote::upgrade(&there, &progress).await?;
                drop(progress);
                let client = Client::new(place.access(&cx.book, Manners::Asking).await?).await?;
                let status = client.status().await?;
                show(cx, &place, &client, status).await
            }
            Entry::Url { .. } | Entry::Directory { .. } => Err(elsewhere(&place)),
        },
        Place::Url(_) => Err(elsewhere(&place)),
    }
}

fn elsewhere(place: &Place) -> Error {
    GatewayError::Kind { name: called(place), why: "only whoever runs it can upgrade or purge it" }.into()
}

/// `gateway remove`.
pub async fn remove(cx: &Context, args: &RemoveArgs) -> Result<u8, Error> {
    let name = &args.name;
    if name.as_str() == LOCAL && !args.purge {
        return Err(GatewayError::Kind { name: name.to_string(), why: "it was never added; --purge removes it" }.into());
    }
    let place = Place::named(name, &cx.book)?;
    let entry = if name.as_str() == LOCAL { None } else { Some(cx.book.entry(name)?) };
    if args.purge {
        if matches!(entry, Some(Entry::Url { .. })) {
            return Err(elsewhere(&place));
        }
        confirm(name, args.yes)?;
        let progress = cx.out.progress(format!("removing everything of gateway {name}"));
        match (&entry, &place) {
            (Some(Entry::Ssh(there)), _) => remote::purge(there, &progress).await?,
            (_, Place::Local(state_dir)) => {
                let left = local::purge(state_dir).await?;
                if !left.is_empty() {
                    return Err(GatewayError::Left { left }.into());
                }
            }
            _ => return Err(elsewhere(&place)),
        }
    } else if let Some(Entry::Ssh(there)) = &entry {
        remote::Tunnel::to(&there.destination, Manners::Quiet)?.close().await;
    }
    if entry.is_some() {
        cx.book.remove(name)?;
    }
    cx.out.note(match args.purge {
        true => format!("removed gateway {name} and everything of it"),
        false => format!("removed gateway {name} from the list; it runs on"),
    });
    Ok(DONE)
}

fn confirm(name: &Name, yes: bool) -> Result<(), Error> {
    if yes {
        return Ok(());
    }
    if !std::io::stdin().is_terminal() {
        return Err(GatewayError::Unconfirmed { name: name.to_string() }.into());
    }
    eprint!("Remove gateway {name} with all its sandboxes and records? Type its name: ");
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line).map_err(Error::io("read the answer"))?;
    if line.trim() == name.as_str() { Ok(()) } else { Err(GatewayError::Declined.into()) }
}

/// `gateway reveal`.
pub async fn reveal(cx: &Context) -> Result<u8, Error> {
    let place = cx.place()?;
    let state_dir = here(&place)?;
    let endpoint = endpoint::read(state_dir)?;
    // One that was killed leaves its endpoint file behind.
    if !local::is_running(state_dir).await {
        return Err(Error::NoGateway { endpoint: state_dir.join("endpoint.json") });
    }
    let read = |file: &str| std::fs::read_to_string(file).map_err(Error::io(format!("read {file}")));
    let token = read(&endpoint.token_file)?;
    let known = json!({ "url": endpoint.url, "ca": read(&endpoint.ca)?, "token": token.trim() });
    cx.out.text(&known.to_string())?;
    Ok(DONE)
}

/// The state directory of a gateway on this machine.
pub(super) fn here(place: &Place) -> Result<&Path, Error> {
    match place {
        Place::Local(directory) => Ok(directory),
        Place::Url(_) | Place::Known(_) => Err(Error::NotLocal { url: place.spelled() }),
    }
}
