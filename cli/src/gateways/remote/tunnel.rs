//! The tunnel to a remote gateway: a Unix socket here, whose connections `ssh` carries to the gateway's port there.
//!
//! `ssh` itself keeps the connection in the background (`ControlMaster`, `ControlPersist`): commands after the first need
//! no handshake, nothing of ours runs between them, and it ends by itself. A connection that was cut is noticed by `ssh`
//! within half a minute; whoever then needs the gateway opens another. The socket lies in a directory of this user's, and
//! what goes through it is TLS that ends in the gateway, so that the machine in between learns nothing of it either.

use std::path::{Path, PathBuf};

use openshell_api::Name;
use sha2::{Digest as _, Sha256};

use super::super::book::Book;
use super::super::entry::{Entry, Remote};
use super::super::private::{self, Lock};
use super::ssh::{Manners, Ssh};
use super::there::{self, Known};
use crate::client::Access;
use crate::client::access::{Door, Keeper, Trust};
use crate::error::{Error, GatewayError};
use crate::paths;

/// A Unix socket's address holds 107 bytes; `ssh` adds up to 17 to a name while it makes one.
const LONGEST: usize = 107 - 17;

/// The near end of a way to another machine.
#[derive(Debug, Clone)]
pub struct Tunnel {
    ssh: Ssh,
    socket: PathBuf,
    lock: PathBuf,
}

impl Tunnel {
    /// To a destination; the same one for everyone who uses this configuration. Opens nothing yet.
    pub fn to(destination: &str, manners: Manners) -> Result<Self, Error> {
        let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|path| path.is_dir());
        let directory = match runtime {
            Some(runtime) => runtime.join("openshell"),
            None => paths::state()?.join("tunnels"),
        };
        private::directory(&directory)?;
        let whose = format!("{}\0{destination}", paths::config()?.display());
        let name = hex::encode(&Sha256::digest(whose)[..8]);
        let at = |kind: &str| directory.join(format!("{name}.{kind}"));
        if at("sock").as_os_str().len() > LONGEST {
            return Err(GatewayError::LongPath { path: directory }.into());
        }
        Ok(Self { ssh: Ssh::to(destination, &at("ctl"), manners)?, socket: at("sock"), lock: at("lock") })
    }

    /// `ssh` over the tunnel's connection.
    pub fn ssh(&self) -> &Ssh {
        &self.ssh
    }

    /// The near end, if the tunnel is up. A socket that a killed `ssh` left behind takes no connection.
    async fn up(&self) -> Option<PathBuf> {
        let listens = tokio::net::UnixStream::connect(&self.socket).await.is_ok();
        (listens && self.ssh.is_up().await).then(|| self.socket.clone())
    }

    /// Opens the tunnel if it is not up. Answers its near end, and what was learnt about the gateway if it was opened.
    pub async fn open(&self) -> Result<(PathBuf, Option<Known>), Error> {
        if let Some(socket) = self.up().await {
            return Ok((socket, None));
        }
        let lock = self.lock.clone();
        let lock = tokio::task::spawn_blocking(move || Lock::take(&lock)).await;
        let _lock = lock.map_err(|e| Error::io("lock the tunnel")(e.into()))??;
        // Somebody else may have opened it while the lock was waited for.
        if let Some(socket) = self.up().await {
            return Ok((socket, None));
        }
        let known = there::reveal(&self.ssh).await?;
        private::remove(&self.socket)?;
        self.ssh.forward(&self.socket, known.port()?).await?;
        Ok((self.socket.clone(), Some(known)))
    }

    /// Ends it.
    pub async fn close(&self) {
        self.ssh.close().await;
        for path in [&self.socket, &self.lock] {
            let _ = private::remove(path);
        }
    }
}

/// Keeps a tunnel open.
struct Through {
    tunnel: Tunnel,
    token: String,
}

#[async_trait::async_trait]
impl Keeper for Through {
    async fn door(&self) -> Result<Door, Error> {
        self.tunnel.open().await.map(|(socket, _)| Door::Socket(socket))
    }

    async fn bearer(&self) -> Result<Option<String>, Error> {
        Ok(Some(self.token.clone()))
    }
}

/// The way to a remote gateway of the book. What has changed there (its port, its authority, its token) is written down.
pub async fn access(book: &Book, name: &Name, remote: Remote, manners: Manners) -> Result<Access, Error> {
    let tunnel = Tunnel::to(&remote.destination, manners)?;
    let (_, learnt) = tunnel.open().await?;
    let mut token = book.token(name)?;
    let mut remote = remote;
    if let Some(known) = learnt {
        if (&known.url, &known.ca) != (&remote.url, &remote.ca) {
            remote = Remote { url: known.url, ca: known.ca, ..remote };
            book.update(name, &Entry::Ssh(remote.clone()))?;
        }
        if token.as_ref() != Some(&known.token) {
            book.set_token(name, Some(&known.token))?;
            token = Some(known.token);
        }
    }
    let token = token.ok_or_else(|| GatewayError::LoggedOut { name: name.to_string() })?;
    let trust = Trust::Only(remote.ca.into_bytes());
    let keeper = std::sync::Arc::new(Through { tunnel, token });
    Ok(Access { url: remote.url, trust, service_token: None, keeper })
}

/// Whether this machine has what a tunnel takes.
pub fn has_ssh() -> bool {
    std::env::var_os("OPENSHELL_SSH").is_some_and(|program| Path::new(&program).is_file())
        || paths::in_path("ssh").is_some()
}
