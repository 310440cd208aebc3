//! Restoring: everything is unpacked beside what is there and checked, then it takes its place.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::json;

use super::format::{Head, Reader};
use super::{BackupError, Elsewhere, OPTIONAL, REQUIRED, swap};
use crate::audit::Change;
use crate::secrets::{self, Passphrase, SIGNING_KEY_FILE};
use crate::signing::Signing;
use crate::state_dir::StateDir;
use crate::store::{DATABASE_FILE, Database, Store};
use crate::tls;

/// What to restore, and how.
pub struct Restore<'a, R> {
    /// The backup.
    pub input: R,
    /// What it was encrypted with.
    pub passphrase: Option<&'a Passphrase>,
    /// Put it in the place of a state that is there; that is kept aside.
    pub force: bool,
}

/// What was restored.
#[derive(Debug)]
pub struct Restored {
    /// When the backup was made.
    pub made_at: jiff::Timestamp,
    /// By which version.
    pub gateway: String,
    /// Where what was there before is now.
    pub aside: Option<PathBuf>,
    /// Sandboxes that the backup knows nothing of: the gateway removes them when it starts.
    pub unknown: Vec<String>,
    /// Modules that the backup does not hold: the gateway has to be told where they are.
    pub elsewhere: Vec<Elsewhere>,
}

/// Puts a backup's state into a directory. Nothing is changed there unless all of the backup is good; a restore that is interrupted
/// has either changed nothing or is ended by the next start. Refuses while a gateway runs there.
pub async fn restore<R: Read>(root: &Path, restore: Restore<'_, R>) -> Result<Restored, BackupError> {
    // Keeps every other gateway out until this ends.
    let dir = StateDir::open(root)?;
    let present = swap::present(root);
    if present && !restore.force {
        // What is wrong with the backup is said first: no question of force then.
        let (_, mut reader) = Reader::new(restore.input, restore.passphrase)?;
        read_out(&mut reader)?;
        return Err(BackupError::NotEmpty { path: root.to_owned() });
    }
    let staged = swap::Staging::new(root)?;
    let (head, mut reader) = Reader::new(restore.input, restore.passphrase)?;
    unpack(&mut reader, staged.path())?;
    read_out(&mut reader)?;
    let (unknown, elsewhere) = Box::pin(check(staged.path(), root, &head)).await?;
    let aside = staged.commit()?;
    drop(dir);
    Ok(Restored { made_at: head.made_at, gateway: head.gateway, aside: aside.filter(|_| present), unknown, elsewhere })
}

/// To the end: the last frame says that nothing is missing.
fn read_out<R: Read>(reader: &mut Reader<R>) -> Result<(), BackupError> {
    let read = io::copy(reader, &mut io::sink());
    read.map(drop).map_err(|error| reader.fault.take().unwrap_or_else(|| archive(error)))
}

/// Only files that a backup has, and only by their bare names: nothing in an archive leads elsewhere.
fn unpack<R: Read>(reader: &mut Reader<R>, into: &Path) -> Result<(), BackupError> {
    let unpacked = unpack_archive(&mut *reader, into);
    // An archive wraps what its reader says.
    match reader.fault.take() {
        Some(fault) => Err(fault),
        None => unpacked,
    }
}

fn unpack_archive(reader: impl Read, into: &Path) -> Result<(), BackupError> {
    let mut entries = tar::Archive::new(reader);
    let mut found = Vec::new();
    for entry in entries.entries().map_err(archive)? {
        let mut entry = entry.map_err(archive)?;
        let path = entry.path().map_err(archive)?.into_owned();
        let known = REQUIRED.into_iter().chain(OPTIONAL).find(|name| Path::new(name) == path);
        let name = known.filter(|name| entry.header().entry_type().is_file() && !found.contains(name));
        let name = name.ok_or_else(|| BackupError::Damaged(format!("{} is in it", path.display())))?;
        let target = into.join(name);
        let mut file = crate::state_dir::new_private(&target)?;
        io::copy(&mut entry, &mut file).map_err(BackupError::io(&target))?;
        file.sync_all().map_err(BackupError::io(target))?;
        found.push(name);
    }
    match REQUIRED.into_iter().find(|name| !found.contains(name)) {
        Some(missing) => Err(BackupError::Damaged(format!("{missing} is not in it"))),
        None => Ok(()),
    }
}

/// Opens everything as a gateway would, and makes the database one that goes on from what is there. Answers the names of sandboxes
/// that only what is there knows, and where modules are that the backup does not hold.
async fn check(staged: &Path, root: &Path, head: &Head) -> Result<(Vec<String>, Vec<Elsewhere>), BackupError> {
    let read = |name: &str| std::fs::read(staged.join(name)).map_err(BackupError::io(name));
    let signing = secrets::parse_signing_key(&read(SIGNING_KEY_FILE)?);
    let signing = signing.ok_or_else(|| BackupError::Damaged(format!("{SIGNING_KEY_FILE} is no key")))?;
    tls::check(&read(tls::CA_KEY_FILE)?, &read(tls::CA_FILE)?)
        .map_err(|error| BackupError::Damaged(format!("its certificate authority: {error}")))?;
    let database = staged.join(DATABASE_FILE);
    if let Some(wrong) = crate::store::integrity(&database).await? {
        return Err(BackupError::Damaged(format!("its database: {wrong}")));
    }
    let signing = Signing::of(staged, signing).map_err(|error| BackupError::Damaged(error.to_string()))?;
    let opened =
        Box::pin(async { Store::over(Database::open(staged, None).await?, staged, Arc::new(signing), None).await });
    let store = match opened.await {
        Ok(store) => store,
        Err(error) if error.is_newer() => return Err(BackupError::Newer { found: head.gateway.clone() }),
        Err(error) => return Err(error.into()),
    };
    let done = async {
        // Whoever runs still has newer credentials than the backup knows.
        let unknown = match root.join(DATABASE_FILE) {
            path if path.is_file() => store.go_on_from(&path).await.unwrap_or_else(|error| {
                tracing::warn!(%error, "what is there can't be read: its sandboxes have to be started anew");
                Vec::new()
            }),
            _ => Vec::new(),
        };
        let detail = json!({ "made_at": head.made_at, "by_version": head.gateway });
        store.tell(&Change::new(None, "gateway.restore", String::new()).detail(detail)).await?;
        let elsewhere = store.module_places().await?.into_iter().map(Elsewhere::from).collect();
        Ok::<_, BackupError>((unknown, elsewhere))
    };
    let done = done.await;
    store.close().await;
    done
}

/// What the archive itself says.
fn archive(error: io::Error) -> BackupError {
    BackupError::Damaged(error.to_string())
}
