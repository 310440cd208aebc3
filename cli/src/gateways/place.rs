//! Which gateway a command means.

use std::path::PathBuf;

use openshell_api::Name;

use super::book::Book;
use super::entry::Entry;
use super::{endpoint, login, remote};
use crate::client::Access;
use crate::client::access::Trust;
use crate::error::{Error, GatewayError};
use crate::paths;

/// The name of this user's own gateway on this machine. Nothing else can be called so.
pub const LOCAL: &str = "local";

/// Where a gateway is looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// On this machine, with its state in this directory.
    Local(PathBuf),
    /// At this URL, with what the environment says.
    Url(String),
    /// Where the book says.
    Known(Name),
}

impl Place {
    /// What `--gateway` says; the selected gateway if it says nothing, and this user's own if none is selected. What has
    /// a slash is a directory or a URL, anything else a name: a directory that happens to lie here is never meant.
    pub fn parse(given: Option<&str>, book: &Book) -> Result<Self, Error> {
        match given.filter(|given| !given.is_empty()) {
            None => match book.selected()? {
                Some(name) => Self::named(&name, book),
                None => Self::local(),
            },
            Some(LOCAL) => Self::local(),
            Some(url) if url.contains("://") => {
                let url = checked(url)?;
                let known = book
                    .names()?
                    .into_iter()
                    .find(|name| matches!(book.entry(name), Ok(Entry::Url { url: known, .. }) if known == url));
                Ok(known.map_or(Self::Url(url), Self::Known))
            }
            Some(directory) if directory.contains('/') || [".", ".."].contains(&directory) => {
                let directory = std::path::absolute(directory).map_err(Error::io(format!("resolve {directory}")))?;
                Ok(Self::Local(directory))
            }
            Some(name) => match Name::parse(name) {
                Ok(name) => Self::named(&name, book),
                Err(_) => Err(book.unknown(name)),
            },
        }
    }

    /// This user's own gateway on this machine.
    pub fn local() -> Result<Self, Error> {
        Ok(Self::Local(paths::state()?.join("gateway")))
    }

    /// A gateway of the book. Refuses a name that was never added.
    pub fn named(name: &Name, book: &Book) -> Result<Self, Error> {
        if name.as_str() == LOCAL {
            return Self::local();
        }
        match book.entry(name)? {
            Entry::Directory { directory } => Ok(Self::Local(directory)),
            Entry::Url { .. } | Entry::Ssh(_) => Ok(Self::Known(name.clone())),
        }
    }

    /// As `--gateway` takes it.
    pub fn spelled(&self) -> String {
        match self {
            Self::Local(directory) => directory.to_string_lossy().into_owned(),
            Self::Url(url) => url.clone(),
            Self::Known(name) => name.to_string(),
        }
    }

    /// What it takes to talk to this gateway. Opens a tunnel if it takes one. Says nothing about whether it answers.
    pub async fn access(&self, book: &Book, manners: remote::Manners) -> Result<Access, Error> {
        match self {
            Self::Local(directory) => endpoint::access(directory),
            Self::Url(url) => from_environment(url),
            Self::Known(name) => match book.entry(name)? {
                Entry::Directory { directory } => endpoint::access(&directory),
                Entry::Url { url, ca } => {
                    let trust = ca.map_or(Trust::System, |ca| Trust::Only(ca.into_bytes()));
                    let service_token = book.service_token(name)?;
                    Ok(Access { url, trust, service_token, keeper: login::keeper(book, name)? })
                }
                Entry::Ssh(remote) => remote::access(book, name, remote, manners).await,
            },
        }
    }
}

/// A gateway's URL in the form in which it is kept. Refuses what is not `https`, and what is no place alone.
pub fn checked(given: &str) -> Result<String, Error> {
    let refuse = |reason: &'static str| GatewayError::Address { given: given.to_owned(), reason };
    let url = url::Url::parse(given).map_err(|_| refuse("it is no URL"))?;
    if url.scheme() != "https" {
        return Err(refuse("a token goes over https:// alone").into());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(refuse("it holds a user or a password").into());
    }
    if url.query().is_some() || url.fragment().is_some() || url.host_str().is_none() {
        return Err(refuse("it is more than a host, a port and a path").into());
    }
    Ok(url.as_str().trim_end_matches('/').to_owned())
}

fn from_environment(url: &str) -> Result<Access, Error> {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let token = variable("OPENSHELL_TOKEN").ok_or_else(|| GatewayError::NoToken { url: url.to_owned() })?;
    let trust = match variable("OPENSHELL_CA_FILE") {
        Some(file) => Trust::Only(std::fs::read(&file).map_err(Error::io(format!("read {file}")))?),
        None => Trust::System,
    };
    Ok(Access::with_token(url.to_owned(), trust, token))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_places_and_nothing_else() {
        let check = |given: &str, expected: &str| {
            let found = checked(given).unwrap_or_else(|error| error.to_string());
            assert!(found == expected || found.ends_with(expected), "{given}: {found}");
        };
        check("https://gateway.example", "https://gateway.example");
        check("https://Gateway.Example:8443/team/openshell/", "https://gateway.example:8443/team/openshell");
        check("https://[::1]:7443", "https://[::1]:7443");
        check("http://gateway.example", "a token goes over https:// alone");
        check("ftp://gateway.example", "a token goes over https:// alone");
        check("https://me:secret@gateway.example", "it holds a user or a password");
        check("https://gateway.example/?a=b", "it is more than a host, a port and a path");
        check("https://gateway.example/#a", "it is more than a host, a port and a path");
        check("https://", "it is no URL");
    }
}
