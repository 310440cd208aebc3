//! Making a backup, while the gateway goes on.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom, Write};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::format::Writer;
use super::{BackupError, Elsewhere, OPTIONAL, REQUIRED, swap};
use crate::secrets::Passphrase;
use crate::store::{self, DATABASE_FILE, HEAD_FILE, SERVER_FILE};

/// How often a snapshot is taken again because keys changed meanwhile.
const TRIES: u32 = 10;

/// Removes a file however this ends.
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// A backup that was written.
#[derive(Debug)]
pub struct Created<W> {
    /// What it was written to.
    pub out: W,
    /// Modules that are not in it.
    pub elsewhere: Vec<Elsewhere>,
}

/// Writes a backup of what is in a state directory, whether a gateway runs on it or not. Needs room for a copy of the database in it.
pub async fn create<W: Write>(root: &Path, passphrase: Option<&Passphrase>, out: W) -> Result<Created<W>, BackupError> {
    if swap::is_pending(root) {
        return Err(BackupError::Unfinished { path: root.to_owned() });
    }
    // A file of before may be there still, and be out of date.
    if let Ok(database) = std::fs::read_to_string(root.join(SERVER_FILE)) {
        return Err(BackupError::InServer { database });
    }
    for name in REQUIRED {
        let path = root.join(name);
        if !path.is_file() {
            return Err(BackupError::NoState { path });
        }
    }
    let copy = Temporary(root.join(format!(".backup.{}.db", std::process::id())));
    let keys = snapshot(root, &copy.0).await?;
    let elsewhere = store::module_places(&copy.0).await?.into_iter().map(Elsewhere::from).collect();
    let mut archive = tar::Builder::new(Writer::new(out, passphrase)?);
    let path = |name: &str| root.join(name);
    let mut database = File::open(&copy.0).map_err(BackupError::io(&copy.0))?;
    let length = database.seek(SeekFrom::End(0)).and_then(|length| database.rewind().map(|()| length));
    let length = length.map_err(BackupError::io(&copy.0))?;
    let written = archive.append_data(&mut header(length), DATABASE_FILE, &mut database);
    written.map_err(BackupError::io("the backup"))?;
    for (name, bytes) in &keys {
        let written = archive.append_data(&mut header(bytes.len() as u64), name, bytes.as_slice());
        written.map_err(BackupError::io(path(name)))?;
    }
    let finished = archive.into_inner().and_then(Writer::finish);
    let out = finished.map_err(BackupError::io("the backup"))?;
    Ok(Created { out, elsewhere })
}

type Keys = Vec<(&'static str, Zeroizing<Vec<u8>>)>;

/// Copies the database, and answers the other files as they go with it: a key that was turned meanwhile opens nothing in the copy.
async fn snapshot(root: &Path, copy: &Path) -> Result<Keys, BackupError> {
    let mut keys = read_keys(root)?;
    for _ in 0..TRIES {
        let _ = std::fs::remove_file(copy);
        store::snapshot(&root.join(DATABASE_FILE), copy).await?;
        let after = read_keys(root)?;
        let moved = |name: &str| name == HEAD_FILE;
        let same = |one: &Keys, other: &Keys| {
            let fixed = |keys: &Keys| keys.iter().filter(|(name, _)| !moved(name)).cloned().collect::<Keys>();
            fixed(one) == fixed(other)
        };
        if same(&keys, &after) {
            // The head of the trail as it was before the copy: the copy has that link, and maybe more.
            return Ok(keys);
        }
        keys = after;
    }
    Err(BackupError::Restless)
}

fn read_keys(root: &Path) -> Result<Keys, BackupError> {
    let mut keys = Keys::new();
    for name in REQUIRED.into_iter().chain(OPTIONAL).filter(|name| *name != DATABASE_FILE) {
        let path = root.join(name);
        let mut bytes = Zeroizing::new(Vec::new());
        match File::open(&path).and_then(|mut file| file.read_to_end(&mut bytes)) {
            Ok(_) => keys.push((name, bytes)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && OPTIONAL.contains(&name) => {}
            Err(source) => return Err(BackupError::Io { path, source }),
        }
    }
    Ok(keys)
}

fn header(length: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_size(length);
    header.set_mode(0o600);
    header.set_cksum();
    header
}
