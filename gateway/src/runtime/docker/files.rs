//! What a container holds beside its image, as the tar archive that the engine unpacks into it.

use std::io;
use std::path::Path;

use tar::{Builder, EntryType, Header};

/// Directory of the supervisor; the workload never sees it.
pub(super) const HOME: &str = "/.openshell";
/// Its executable.
pub(super) const SUPERVISOR: &str = "/.openshell/supervisor";
/// Its start file.
pub(super) const LAUNCH: &str = "/.openshell/launch.json";
/// Roots that it trusts upstream: those of the gateway's machine, since an image may hold none.
pub(super) const ROOTS: &str = "/.openshell/roots.pem";
/// Where the directory with the gateway's socket is mounted.
pub(super) const LINK: &str = "/.openshell/link";
/// The workload's home and default working directory.
pub(super) const WORKSPACE: &str = "/sandbox";

/// A user and group of the container, by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Owner {
    pub uid: u32,
    pub gid: u32,
}

/// Collects files in memory.
pub(super) struct Archive(Builder<Vec<u8>>);

impl Archive {
    pub fn new() -> Self {
        Self(Builder::new(Vec::new()))
    }

    /// A directory; one that exists is given to the owner.
    pub fn directory(&mut self, path: &str, owner: Owner, mode: u32) -> io::Result<()> {
        self.entry(EntryType::Directory, path, owner, mode, &[])
    }

    /// A file.
    pub fn file(&mut self, path: &str, owner: Owner, mode: u32, content: &[u8]) -> io::Result<()> {
        self.entry(EntryType::Regular, path, owner, mode, content)
    }

    fn entry(&mut self, kind: EntryType, path: &str, owner: Owner, mode: u32, content: &[u8]) -> io::Result<()> {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_uid(owner.uid.into());
        header.set_gid(owner.gid.into());
        header.set_mode(mode);
        header.set_size(content.len() as u64);
        self.0.append_data(&mut header, Path::new(path.trim_start_matches('/')), content)
    }

    /// The archive.
    pub fn finish(self) -> io::Result<Vec<u8>> {
        self.0.into_inner()
    }
}

/// The only file of an archive that the engine packed.
pub(super) fn only_file(archive: &[u8]) -> io::Result<Vec<u8>> {
    let mut archive = tar::Archive::new(archive);
    let mut entry = archive.entries()?.next().ok_or(io::ErrorKind::UnexpectedEof)??;
    let mut content = Vec::new();
    io::Read::read_to_end(&mut entry, &mut content)?;
    Ok(content)
}

/// The certificates that this machine trusts, PEM.
pub(super) async fn host_roots() -> String {
    let load = || {
        use base64::Engine as _;
        let mut text = String::new();
        for root in rustls_native_certs::load_native_certs().certs {
            let encoded = base64::engine::general_purpose::STANDARD.encode(&root);
            text.push_str("-----BEGIN CERTIFICATE-----\n");
            for line in encoded.as_bytes().chunks(64) {
                text.push_str(&String::from_utf8_lossy(line));
                text.push('\n');
            }
            text.push_str("-----END CERTIFICATE-----\n");
        }
        text
    };
    tokio::task::spawn_blocking(load).await.unwrap_or_default()
}
