//! The gateways that were added, in private files of `$XDG_CONFIG_HOME/openshell`.
//!
//! ```text
//! lock                         held by whoever changes something
//! selected                     the name of the gateway that commands mean
//! gateways/NAME/gateway.json   how it is reached
//!               token          what an administrator gave out
//!               service-token  what lets requests pass a Cloudflare Access in front of it
//!               session.json   what a login brought, renewed under session.lock
//! ```
//!
//! Each gateway has files of its own: damage to one hides no other.

use std::io::ErrorKind;
use std::path::PathBuf;

use openshell_api::Name;

use super::entry::Entry;
use super::place::LOCAL;
use super::private::{self, Lock};
use crate::client::ServiceToken;
use crate::error::{Error, GatewayError};
use crate::paths;

const ENTRY: &str = "gateway.json";
const TOKEN: &str = "token";
const SERVICE_TOKEN: &str = "service-token";

/// What is kept of a gateway beside how it is reached.
#[derive(Debug, Clone, Copy, Default)]
pub struct Secrets<'a> {
    /// A token that an administrator gave out.
    pub token: Option<&'a str>,
    /// A service token of the Cloudflare Access in front of it.
    pub service_token: Option<&'a ServiceToken>,
}

/// All gateways that were added.
#[derive(Debug, Clone)]
pub struct Book {
    root: PathBuf,
}

impl Book {
    /// This user's. Makes nothing yet.
    pub fn open() -> Result<Self, Error> {
        Ok(Self { root: paths::config()? })
    }

    /// The names of all gateways, in order.
    pub fn names(&self) -> Result<Vec<Name>, Error> {
        let directory = self.root.join("gateways");
        let listed = match std::fs::read_dir(&directory) {
            Ok(listed) => listed,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(Error::io(format!("read {}", directory.display()))(error)),
        };
        // What is being made or removed begins with a dot, which no name does.
        let mut names: Vec<Name> =
            listed.flatten().filter_map(|entry| Name::parse(entry.file_name().to_str()?).ok()).collect();
        names.sort();
        Ok(names)
    }

    /// One of them. Refuses a name that was never added.
    pub fn entry(&self, name: &Name) -> Result<Entry, Error> {
        let path = self.directory(name).join(ENTRY);
        let bytes = private::read(&path)?.ok_or_else(|| self.unknown(name.as_str()))?;
        serde_json::from_slice(&bytes).map_err(|e| GatewayError::Damaged { path, reason: e.to_string() }.into())
    }

    /// What to say to a name that was never added.
    pub fn unknown(&self, name: &str) -> Error {
        let known = self.names().unwrap_or_default().iter().map(Name::to_string).collect();
        GatewayError::Unknown { name: name.to_owned(), known }.into()
    }

    /// Adds one, with its secrets. Refuses a name that is taken.
    pub fn add(&self, name: &Name, entry: &Entry, secrets: Secrets<'_>) -> Result<(), Error> {
        let _lock = self.lock()?;
        let target = self.directory(name);
        if name.as_str() == LOCAL || target.exists() {
            return Err(GatewayError::Taken { name: name.to_string() }.into());
        }
        let making = || format!("create {}", target.display());
        let beside = tempfile::Builder::new().prefix(".new-").tempdir_in(self.root.join("gateways"));
        let beside = beside.map_err(Error::io(making()))?;
        private::write(&beside.path().join(ENTRY), &text(entry)?)?;
        if let Some(token) = secrets.token {
            private::write(&beside.path().join(TOKEN), token.as_bytes())?;
        }
        if let Some(token) = secrets.service_token {
            private::write(&beside.path().join(SERVICE_TOKEN), token.text().as_bytes())?;
        }
        std::fs::rename(beside.path(), &target).map_err(Error::io(making()))
    }

    /// Writes down what has changed of one.
    pub fn update(&self, name: &Name, entry: &Entry) -> Result<(), Error> {
        let _lock = self.lock()?;
        // It may have been removed meanwhile.
        self.entry(name)?;
        private::write(&self.directory(name).join(ENTRY), &text(entry)?)
    }

    /// Forgets one, and all secrets that belong to it.
    pub fn remove(&self, name: &Name) -> Result<(), Error> {
        let _lock = self.lock()?;
        let directory = self.directory(name);
        if !directory.exists() {
            return Err(self.unknown(name.as_str()));
        }
        let removing = || format!("remove {}", directory.display());
        let aside = tempfile::Builder::new().prefix(".old-").tempdir_in(self.root.join("gateways"));
        let aside = aside.map_err(Error::io(removing()))?;
        std::fs::rename(&directory, aside.path().join("gateway")).map_err(Error::io(removing()))?;
        if self.selected()?.as_ref() == Some(name) {
            private::remove(&self.root.join("selected"))?;
        }
        aside.close().map_err(Error::io(removing()))
    }

    /// The one that commands mean; absent: this machine's own.
    pub fn selected(&self) -> Result<Option<Name>, Error> {
        let path = self.root.join("selected");
        let Some(bytes) = private::read(&path)? else { return Ok(None) };
        let text = String::from_utf8_lossy(&bytes);
        let damaged = |e: openshell_api::InvalidName| GatewayError::Damaged { path, reason: e.to_string() };
        Ok(Some(Name::parse(text.trim()).map_err(damaged)?))
    }

    /// Says which one commands mean; `None`: this machine's own.
    pub fn select(&self, name: Option<&Name>) -> Result<(), Error> {
        let _lock = self.lock()?;
        let path = self.root.join("selected");
        match name {
            None => private::remove(&path),
            Some(name) => {
                self.entry(name)?;
                private::write(&path, format!("{name}\n").as_bytes())
            }
        }
    }

    /// Its token, if it has one.
    pub fn token(&self, name: &Name) -> Result<Option<String>, Error> {
        let path = self.directory(name).join(TOKEN);
        let Some(bytes) = private::read(&path)? else { return Ok(None) };
        Ok(Some(String::from_utf8_lossy(&bytes).trim().to_owned()))
    }

    /// Keeps or forgets its token.
    pub fn set_token(&self, name: &Name, token: Option<&str>) -> Result<(), Error> {
        let _lock = self.lock()?;
        self.entry(name)?;
        let path = self.directory(name).join(TOKEN);
        match token {
            Some(token) => private::write(&path, token.as_bytes()),
            None => private::remove(&path),
        }
    }

    /// Its service token, if it has one.
    pub fn service_token(&self, name: &Name) -> Result<Option<ServiceToken>, Error> {
        let path = self.directory(name).join(SERVICE_TOKEN);
        let Some(bytes) = private::read(&path)? else { return Ok(None) };
        let parsed = ServiceToken::parse(&String::from_utf8_lossy(&bytes));
        Ok(Some(parsed.map_err(|error| GatewayError::Damaged { path, reason: error.to_string() })?))
    }

    /// Keeps or forgets its service token.
    pub fn set_service_token(&self, name: &Name, token: Option<&ServiceToken>) -> Result<(), Error> {
        let _lock = self.lock()?;
        self.entry(name)?;
        let path = self.directory(name).join(SERVICE_TOKEN);
        match token {
            Some(token) => private::write(&path, token.text().as_bytes()),
            None => private::remove(&path),
        }
    }

    /// Where its session is kept.
    pub fn session(&self, name: &Name) -> PathBuf {
        self.directory(name).join("session.json")
    }

    fn directory(&self, name: &Name) -> PathBuf {
        self.root.join("gateways").join(name.as_str())
    }

    fn lock(&self) -> Result<Lock, Error> {
        private::directory(&self.root.join("gateways"))?;
        Lock::take(&self.root.join("lock"))
    }
}

fn text(entry: &Entry) -> Result<Vec<u8>, Error> {
    serde_json::to_vec_pretty(entry).map_err(|e| Error::io("write a gateway's entry")(e.into()))
}
