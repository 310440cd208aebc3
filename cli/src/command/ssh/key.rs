//! The host key that an SSH client knows a gateway's sandboxes by. It never leaves this machine, and needs no prompt: the
//! client is told of it by a file beside it.

use std::fs::DirBuilder;
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use russh::keys::PrivateKey;
use russh::keys::ssh_key::LineEnding;
use russh::keys::ssh_key::private::Ed25519Keypair;
use sha2::{Digest as _, Sha256};

use super::SshError;
use crate::error::Error;
use crate::gateways::Place;
use crate::paths;

/// The name that clients know the key by, whatever the sandbox's.
pub const ALIAS: &str = "openshell";

/// Where a gateway's host key is kept.
pub fn path(place: &Place) -> Result<PathBuf, Error> {
    let name = hex::encode(&Sha256::digest(place.spelled())[..8]);
    Ok(paths::state()?.join("ssh").join(name).join("host_key"))
}

/// Reads a host key; makes it where there is none. Refuses one that others may read.
pub fn load_or_make(path: &Path) -> Result<PrivateKey, Error> {
    match load(path) {
        Err(Error::Io { source, .. }) if source.kind() == ErrorKind::NotFound => {
            make(path)?;
            load(path)
        }
        loaded => loaded,
    }
}

fn load(path: &Path) -> Result<PrivateKey, Error> {
    let reading = || format!("read {}", path.display());
    let mut file = std::fs::File::open(path).map_err(Error::io(reading()))?;
    let metadata = file.metadata().map_err(Error::io(reading()))?;
    if metadata.uid() != nix::unistd::geteuid().as_raw() || metadata.mode() & 0o077 != 0 {
        return Err(SshError::Mode { path: path.to_owned(), may: "read", mode: metadata.mode() & 0o7777 }.into());
    }
    let mut text = String::new();
    file.read_to_string(&mut text).map_err(Error::io(reading()))?;
    PrivateKey::from_openssh(text)
        .map_err(|reason| SshError::Key { path: path.to_owned(), reason: reason.to_string() }.into())
}

/// Whole or not at all, and never over another's: of two that begin at once, one wins.
fn make(path: &Path) -> Result<(), Error> {
    let directory = path.parent().unwrap_or(Path::new("."));
    let making = || format!("write {}", path.display());
    DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(Error::io(making()))?;
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(SshError::Random)?;
    let key = PrivateKey::from(Ed25519Keypair::from_seed(&seed));
    let text = key
        .to_openssh(LineEnding::LF)
        .map_err(|reason| SshError::Key { path: path.to_owned(), reason: reason.to_string() })?;
    // For its owner alone from its first moment.
    let mut file = tempfile::NamedTempFile::new_in(directory).map_err(Error::io(making()))?;
    file.write_all(text.as_bytes()).and_then(|()| file.as_file().sync_all()).map_err(Error::io(making()))?;
    match file.persist_noclobber(path) {
        Ok(_) => Ok(()),
        Err(refused) if refused.error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(refused) => Err(Error::io(making())(refused.error)),
    }
}

/// Writes the file that tells clients of the key; answers where it is.
pub fn announce(path: &Path, key: &PrivateKey) -> Result<PathBuf, Error> {
    let known_hosts = path.with_file_name("known_hosts");
    let public = key
        .public_key()
        .to_openssh()
        .map_err(|reason| SshError::Key { path: path.to_owned(), reason: reason.to_string() })?;
    super::install::replace(&known_hosts, &format!("{ALIAS} {public}\n"))?;
    Ok(known_hosts)
}
