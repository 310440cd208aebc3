//! What the view must not show or lead to, by whatever name it would.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

#[cfg(test)]
mod tests;

/// Device and inode number: a directory has the same under every name, bind mounts included.
type Id = (u64, u64);

fn id(path: &Path) -> Option<Id> {
    fs::metadata(path).ok().map(|metadata| (metadata.dev(), metadata.ino()))
}

/// Something of the host's that the view shows.
pub(super) struct Shown {
    target: PathBuf,
    source: PathBuf,
    id: Option<Id>,
}

impl Shown {
    /// `target` is its path in the view, `source` its real path on the host: one without symbolic links.
    pub fn new(target: &Path, source: &Path) -> Self {
        Self { target: target.to_owned(), source: source.to_owned(), id: id(source) }
    }
}

/// Something of the host's that must not be seen.
struct Secret {
    real: PathBuf,
    /// It and every directory above it.
    chain: Vec<(PathBuf, Option<Id>)>,
}

impl Secret {
    /// Takes a real path.
    fn new(real: PathBuf) -> Self {
        let chain = real.ancestors().map(|above| (above.to_owned(), id(above))).collect();
        Self { real, chain }
    }

    /// Where in the view it would be seen, whole.
    fn seen_at(&self, shown: &Shown) -> Option<PathBuf> {
        let same = |entry: &&(PathBuf, Option<Id>)| {
            let (above, its) = *entry;
            *above == shown.source || (its.is_some() && *its == shown.id)
        };
        let (above, _) = self.chain.iter().find(same)?;
        let rest = self.real.strip_prefix(above).ok()?;
        // To join nothing would add a slash.
        Some(if rest.as_os_str().is_empty() { shown.target.clone() } else { shown.target.join(rest) })
    }

    /// Whether a path lies in it, or is it.
    fn holds(&self, path: &Path) -> bool {
        let own = self.chain.first().and_then(|(_, its)| *its);
        path.ancestors().any(|above| above == self.real || (own.is_some() && id(above) == own))
    }
}

/// Every path at which `shown` would show one of the `hidden` directories or something in them. The workspace (a real
/// path) is shown even where it lies in one of them, and so is what lies in the workspace. What does not exist is skipped.
pub(super) fn hidden(shown: &[Shown], workspace: &Path, hidden: &[PathBuf]) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    for secret in hidden.iter().filter_map(|path| fs::canonicalize(path).ok()).map(Secret::new) {
        let around_workspace = secret.holds(workspace);
        let lent = |shown: &Shown| around_workspace && shown.source.starts_with(workspace);
        for shown in shown {
            if let Some(path) = secret.seen_at(shown) {
                found.insert(path);
            } else if secret.holds(&shown.source) && !lent(shown) {
                found.insert(shown.target.clone());
            }
        }
        found.insert(secret.real);
    }
    found
}

/// Every path at which `shown` would show one of these sockets, which connect(2) reaches through read-only mounts and out
/// of network namespaces. A socket that is shown by itself is meant to be reached.
pub(super) fn sockets(shown: &[Shown], sockets: BTreeSet<PathBuf>) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    for socket in sockets {
        if !shown.iter().any(|shown| shown.source == socket) {
            let secret = Secret::new(socket);
            found.extend(shown.iter().filter_map(|shown| secret.seen_at(shown)));
        }
    }
    found
}

/// Real paths of the sockets that processes of this network namespace have bound by absolute path, where they are still
/// there. A process that has bound one by a relative path is not found, nor one of another network namespace.
pub(super) fn bound_sockets() -> io::Result<BTreeSet<PathBuf>> {
    const TABLE: &str = "/proc/net/unix";
    let table = fs::read(TABLE).map_err(|error| io::Error::new(error.kind(), format!("{TABLE}: {error}")))?;
    let real = |path: &Path| {
        let real = fs::canonicalize(path).ok()?;
        let kind = fs::symlink_metadata(&real).ok()?.file_type();
        kind.is_socket().then_some(real)
    };
    Ok(table.split(|byte| *byte == b'\n').filter_map(absolute_name).filter_map(real).collect())
}

/// The path in a line of `/proc/net/unix` (proc_pid_net(5)): seven columns, a blank, and whatever was given to bind(2).
fn absolute_name(line: &[u8]) -> Option<&Path> {
    let mut rest = line;
    for _ in 0..7 {
        rest = rest.trim_ascii_start();
        let end = rest.iter().position(|byte| *byte == b' ')?;
        rest = rest.get(end..)?;
    }
    let name = rest.strip_prefix(b" ")?;
    name.starts_with(b"/").then(|| Path::new(OsStr::from_bytes(name)))
}
