//! The policy SDK's sources, carried in this program: `policy new` needs no download of them.

use std::path::{Path, PathBuf};

use include_dir::{Dir, DirEntry, include_dir};

use crate::error::Error;
use crate::paths;

static GUEST: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../policy-sdk/guest");
static WIT: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../policy-sdk/wit");

/// Versions of the SDK's dependencies that this SDK was tested with.
pub const LOCK: &str = include_str!("../../../../Cargo.lock");

/// Puts the sources at `$XDG_DATA_HOME/openshell/sdk/<version>/` unless these very ones are there, and answers the
/// crate's directory. Replaces others as a whole: a build never sees half of each.
pub fn install() -> Result<PathBuf, Error> {
    let parent = paths::data()?.join("sdk");
    let home = parent.join(env!("CARGO_PKG_VERSION"));
    if !(is_there(&GUEST, &home.join("guest")) && is_there(&WIT, &home.join("wit"))) {
        std::fs::create_dir_all(&parent).map_err(Error::io(format!("create {}", parent.display())))?;
        replace(&parent, &home).map_err(Error::io(format!("write {}", home.display())))?;
    }
    Ok(home.join("guest"))
}

fn replace(parent: &Path, home: &Path) -> std::io::Result<()> {
    let fresh = tempfile::Builder::new().prefix(".sdk-").tempdir_in(parent)?;
    for (name, sources) in [("guest", &GUEST), ("wit", &WIT)] {
        let directory = fresh.path().join(name);
        std::fs::create_dir(&directory)?;
        sources.extract(&directory)?;
    }
    if home.exists() {
        // The old one goes the way of the temporary directory.
        std::fs::rename(home, fresh.path().join("old"))?;
    }
    let next = parent.join(format!(".sdk-{}", std::process::id()));
    std::fs::create_dir(&next)?;
    for name in ["guest", "wit"] {
        std::fs::rename(fresh.path().join(name), next.join(name))?;
    }
    std::fs::rename(&next, home)
}

/// Whether every file lies there with these contents.
fn is_there(sources: &Dir<'_>, directory: &Path) -> bool {
    sources.entries().iter().all(|entry| match entry {
        DirEntry::Dir(dir) => is_there(dir, directory),
        DirEntry::File(file) => std::fs::read(directory.join(file.path())).is_ok_and(|found| found == file.contents()),
    })
}
