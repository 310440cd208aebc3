//! `openshell gateway add`.

use openshell_api::Name;
use openshell_api::user::WhoAmI;
use serde::Serialize;

use super::login::{self, Credential};
use super::{Context, DONE, you_are};
use crate::args::gateway::{AddArgs, StartArgs};
use crate::client::Client;
use crate::error::{Error, GatewayError};
use crate::gateways::remote::{self, Manners};
use crate::gateways::{Entry, Place, Secrets, checked};
use crate::output::facts;

/// What `gateway add` shows.
#[derive(Debug, Serialize)]
struct Added {
    name: Name,
    kind: &'static str,
    address: String,
    logged_in: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    whoami: Option<WhoAmI>,
}

/// Adds a gateway and selects it. Nothing is kept of one that can't be reached, or is none.
pub async fn run(cx: &Context, args: AddArgs) -> Result<u8, Error> {
    let added = match &args.remote {
        Some(destination) => over_ssh(cx, &args, destination).await?,
        None => at_place(cx, &args).await?,
    };
    cx.book.select(Some(&added.name))?;
    cx.out.data(&added, || {
        let mut rows =
            vec![("gateway", added.name.to_string()), ("kind", added.kind.into()), ("address", added.address.clone())];
        rows.extend(added.whoami.as_ref().map(|who| ("you are", you_are(who))));
        facts(&rows)
    })?;
    cx.out.note(format!("commands mean the gateway {} now; `openshell gateway select` changes that", added.name));
    if !added.logged_in {
        cx.out.note(format!("note: log in with `openshell gateway login {}`", added.name));
    }
    Ok(DONE)
}

async fn at_place(cx: &Context, args: &AddArgs) -> Result<Added, Error> {
    let (name, place) = match &args.words[..] {
        [place] => (None, place),
        [name, place] => (Some(parse(name)?), place),
        _ => return Err(GatewayError::Nameless { given: "nothing".into() }.into()),
    };
    if place.contains("://") {
        // One that is known already may have a second name, with a token of its own.
        return at_url(cx, args, name, checked(place)?).await;
    }
    match Place::parse(Some(place), &cx.book) {
        Ok(Place::Local(directory)) => {
            let name = name.ok_or_else(|| GatewayError::Nameless { given: place.clone() })?;
            let entry = Entry::Directory { directory: directory.clone() };
            let client = Client::new(Place::Local(directory).access(&cx.book, Manners::Asking).await?).await?;
            client.status().await?;
            cx.book.add(&name, &entry, Secrets::default())?;
            Ok(added(name, &entry, true, client.whoami_if_known().await?))
        }
        _ => {
            let reason = "a URL begins with https://, a directory is written with a slash";
            Err(GatewayError::Address { given: place.clone(), reason }.into())
        }
    }
}

async fn at_url(cx: &Context, args: &AddArgs, name: Option<Name>, url: String) -> Result<Added, Error> {
    let name = match name {
        Some(name) => name,
        None => after_host(&url)?,
    };
    free(cx, &name)?;
    let ca = args
        .ca
        .as_ref()
        .map(|file| std::fs::read_to_string(file).map_err(Error::io(format!("read {}", file.display()))));
    let ca = ca.transpose()?;
    let access = login::openly(&url, ca.as_deref(), login::service_token(&args.way)?);
    let progress = cx.out.progress(format!("asking {url}"));
    let welcome = login::welcome(&access).await?;
    drop(progress);
    let credential = match args.no_login {
        true => Credential::None,
        false => login::ask(&access, ca.clone(), &welcome, name.as_str(), &args.way).await?,
    };
    let whoami = login::check(&access, &credential).await?;
    let entry = Entry::Url { url, ca };
    let token = if let Credential::Token(token) = &credential { Some(token.as_str()) } else { None };
    cx.book.add(&name, &entry, Secrets { token, service_token: access.service_token.as_ref() })?;
    if let Credential::Session(session) = &credential {
        session.keep(&cx.book, &name)?;
    }
    let who = login::as_whom(whoami.as_ref(), &credential);
    if !who.is_empty() {
        cx.out.note(format!("logged in{who}"));
    }
    Ok(added(name, &entry, !matches!(credential, Credential::None), whoami))
}

async fn over_ssh(cx: &Context, args: &AddArgs, destination: &str) -> Result<Added, Error> {
    let name = match &args.words[..] {
        [] => after_host(&format!("ssh://{destination}"))?,
        [name] => parse(name)?,
        [_, more, ..] => {
            let reason = "with --remote, the gateway is where ssh leads";
            return Err(GatewayError::Address { given: more.clone(), reason }.into());
        }
    };
    free(cx, &name)?;
    let start = StartArgs { runtime: args.runtime, default_image: args.default_image.clone(), ..StartArgs::default() };
    let progress = cx.out.progress(format!("looking at {destination}"));
    let (there, lingers) = remote::provision(&cx.book, &name, destination, args.form, &start, &progress).await?;
    drop(progress);
    let entry = Entry::Ssh(there);
    if lingers == Some(false) {
        cx.out.note(format!(
            "note: it runs while you are logged in there; to have it start with the machine: \
             ssh {destination} loginctl enable-linger"
        ));
    }
    let client = Client::new(Place::Known(name.clone()).access(&cx.book, Manners::Asking).await?).await?;
    Ok(added(name, &entry, true, client.whoami_if_known().await?))
}

fn added(name: Name, entry: &Entry, logged_in: bool, whoami: Option<WhoAmI>) -> Added {
    Added { name, kind: entry.kind(), address: entry.address(), logged_in, whoami }
}

/// Refuses a name that is taken before anything is done for it.
fn free(cx: &Context, name: &Name) -> Result<(), Error> {
    if name.as_str() == crate::gateways::LOCAL || cx.book.names()?.contains(name) {
        return Err(GatewayError::Taken { name: name.to_string() }.into());
    }
    Ok(())
}

fn parse(name: &str) -> Result<Name, Error> {
    Name::parse(name).map_err(|_| Error::BadName { given: name.to_owned() })
}

/// A name after a host: its first label; an address names nothing.
fn after_host(place: &str) -> Result<Name, Error> {
    let url = url::Url::parse(place).ok();
    let label = url.as_ref().and_then(url::Url::host_str).filter(|host| !host.starts_with('['));
    let label = label.filter(|host| host.parse::<std::net::IpAddr>().is_err());
    let name = label.and_then(|host| Name::parse(&host.split('.').next()?.to_ascii_lowercase()).ok());
    name.ok_or_else(|| GatewayError::Nameless { given: place.to_owned() }.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_from_hosts() {
        let check = |place: &str, expected: &str| {
            let found = after_host(place).map_or_else(|_| "-".to_owned(), |name| name.to_string());
            assert_eq!(found, expected, "{place}");
        };
        check("https://gateway.example/openshell", "gateway");
        check("https://Team.example:8443", "team");
        check("ssh://me@big.example", "big");
        check("ssh://big", "big");
        check("https://127.0.0.1:7443", "-");
        check("https://[::1]", "-");
        check("https://a_b.example", "-");
    }
}
