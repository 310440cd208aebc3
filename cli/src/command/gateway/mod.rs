//! `openshell gateway …`.

mod add;
mod authority;
mod copies;
mod lifecycle;
mod list;
mod login;
mod signing;
mod trust;

use std::time::Duration;

use openshell_api::Name;
use openshell_api::status::Status;
use openshell_api::user::WhoAmI;
use serde::Serialize;

use super::{Context, DONE};
use crate::args::gateway::GatewayCommand;
use crate::client::Client;
use crate::error::{Error, GatewayError};
use crate::gateways::entry::Form;
use crate::gateways::local::{self, Plan};
use crate::gateways::remote::Manners;
use crate::gateways::{LOCAL, Place, endpoint};
use crate::output::{facts, word};

pub use lifecycle::ensure;
pub use list::{Asked, ask_all, table};

/// Longest wait for one gateway where several are asked; that of another machine needs a connection first.
const PATIENCE: Duration = Duration::from_secs(4);
const SSH_PATIENCE: Duration = Duration::from_secs(12);

/// What `gateway start` and `gateway status` show.
#[derive(Debug, Serialize)]
struct GatewayView {
    /// Absent: it was never added.
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    url: String,
    /// Absent: not this machine's, or in a container.
    #[serde(skip_serializing_if = "Option::is_none")]
    pid: Option<u32>,
    /// Absent: not this machine's.
    #[serde(skip_serializing_if = "Option::is_none")]
    form: Option<Form>,
    /// Whether a service starts with the machine; absent: it is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    lingers: Option<bool>,
    /// Absent: it knows no users.
    #[serde(skip_serializing_if = "Option::is_none")]
    whoami: Option<WhoAmI>,
    #[serde(flatten)]
    status: Status,
}

/// Does one of the commands.
pub async fn run(cx: &Context, command: GatewayCommand) -> Result<u8, Error> {
    match command {
        GatewayCommand::Add(args) => add::run(cx, args).await,
        GatewayCommand::List => list::run(cx).await,
        GatewayCommand::Select(args) => select(cx, &args.name),
        GatewayCommand::Status(args) => {
            let place = named(cx, args.name.as_ref())?;
            let client = Client::new(place.access(&cx.book, Manners::Asking).await?).await?;
            let status = client.status().await?;
            show(cx, &place, &client, status).await
        }
        GatewayCommand::Login(args) => login::run(cx, args).await,
        GatewayCommand::Logout(args) => login::out(cx, args.name.as_ref()).await,
        GatewayCommand::Remove(args) => lifecycle::remove(cx, &args).await,
        GatewayCommand::Upgrade(args) => lifecycle::upgrade(cx, args.name.as_ref()).await,
        GatewayCommand::Start(args) => lifecycle::start(cx, args).await,
        GatewayCommand::Stop => lifecycle::stop(cx).await,
        GatewayCommand::Backup(args) => copies::backup(cx, args).await,
        GatewayCommand::Restore(args) => copies::restore(cx, args).await,
        GatewayCommand::RotateKeys => {
            let turned = cx.client().await?.rotate_keys().await?;
            cx.out.data(&turned, || format!("a new key protects {} stored secrets", turned.secrets))?;
            Ok(DONE)
        }
        GatewayCommand::RotateCa(args) => authority::rotate(cx, args).await,
        GatewayCommand::RotateSigningKey(args) => signing::rotate(cx, args).await,
        GatewayCommand::Trust(command) => trust::run(cx, command).await,
        GatewayCommand::Reveal => lifecycle::reveal(cx).await,
    }
}

/// The gateway that a command names, else the one that `--gateway` or the selection means.
fn named(cx: &Context, name: Option<&Name>) -> Result<Place, Error> {
    match name {
        Some(name) => Place::named(name, &cx.book),
        None => cx.place(),
    }
}

/// The same, which must be in the book by a name.
fn known(cx: &Context, name: Option<&Name>, why: &'static str) -> Result<Name, Error> {
    match named(cx, name)? {
        Place::Known(name) => Ok(name),
        place => Err(GatewayError::Kind { name: called(&place), why }.into()),
    }
}

/// What to call a gateway in a message.
fn called(place: &Place) -> String {
    if Place::local().is_ok_and(|local| local == *place) { LOCAL.to_owned() } else { place.spelled() }
}

fn select(cx: &Context, name: &Name) -> Result<u8, Error> {
    cx.book.select((name.as_str() != LOCAL).then_some(name))?;
    cx.out.note(format!("commands mean the gateway {name} now"));
    if cx.gateway.is_some() {
        cx.out.note("note: OPENSHELL_GATEWAY or --gateway says otherwise where it is set");
    }
    Ok(DONE)
}

async fn show(cx: &Context, place: &Place, client: &Client, status: Status) -> Result<u8, Error> {
    let (mut pid, mut form) = (None, None);
    if let Place::Local(directory) = place {
        let plan = Plan::of(directory)?;
        form = Some(plan.form);
        pid = (plan.form != Form::Docker).then(|| endpoint::read(directory).map(|e| e.pid)).transpose()?;
    }
    let name = match place {
        Place::Known(name) => Some(name.to_string()),
        Place::Local(_) if Place::local()? == *place => Some(LOCAL.to_owned()),
        Place::Local(_) | Place::Url(_) => None,
    };
    let lingers = if form == Some(Form::Service) { Some(local::lingers().await) } else { None };
    let whoami = client.whoami_if_known().await?;
    let view = GatewayView { name, url: client.access().url.clone(), pid, form, lingers, whoami, status };
    cx.out.data(&view, || {
        let mut rows = vec![("gateway", view.name.clone().unwrap_or_else(|| view.url.clone()))];
        if view.name.is_some() {
            rows.push(("answers at", view.url.clone()));
        }
        rows.push(("version", view.status.version.clone()));
        rows.extend(view.form.map(|form| ("runs as", form.word().to_owned())));
        rows.extend(view.pid.map(|pid| ("pid", pid.to_string())));
        rows.extend(view.whoami.as_ref().map(|who| ("you are", you_are(who))));
        rows.push(("up for", format!("{} s", view.status.uptime_s)));
        rows.push(("sandboxes", format!("{} ({} connected)", view.status.sandboxes, view.status.connected)));
        rows.extend(view.status.bucket.is_some().then(|| ("modules", modules(&view.status))));
        facts(&rows)
    })?;
    Ok(DONE)
}

/// What is said of gateways that do not have keys that turned yet.
fn lagging(urls: &[String], finish: &str) -> String {
    format!(
        "gateways that do not have it yet, or do not answer: {}; once they do, or are stopped, {finish} lets the one before go",
        urls.join(", ")
    )
}

/// How many modules there are, and where.
pub fn modules(status: &Status) -> String {
    let Some(bucket) = &status.bucket else { return status.modules.to_string() };
    let problem = bucket.problem.as_ref().map(|problem| format!(" (of no use now: {problem})"));
    format!("{}, new ones in {}{}", status.modules, bucket.place, problem.unwrap_or_default())
}

/// Whom a gateway takes us for, and by what.
fn you_are(who: &WhoAmI) -> String {
    format!("{} ({}, by {})", who.user, who.role, word(&who.via))
}

/// Says what a service lacks to survive a reboot.
async fn advise(cx: &Context, form: Form) {
    if form == Form::Service && !local::lingers().await {
        cx.out.note("note: it starts when you log in; to have it start with the machine: loginctl enable-linger");
    }
}
