//! The sending end.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use tar::{Builder, EntryType, Header};

use crate::{Summary, TransferError, read_error};

/// Opening blocks on nothing and follows nothing: a pipe or a link may have taken a file's place (open(2), Linux).
const NONBLOCK_NOFOLLOW: i32 = 0o4000 | 0o400_000;

/// Writes the tree at `source` as a tar stream. The source itself may be reached through a link; links below it are sent
/// as links. Refuses `/`, and whatever can't be read.
pub fn pack(source: &Path, out: impl Write) -> Result<Summary, TransferError> {
    let name = match source.file_name() {
        Some(name) => PathBuf::from(name),
        // `.`, `..` and what ends in them: by the name that the directory really has.
        None => {
            let real = fs::canonicalize(source).map_err(read_error(source))?;
            PathBuf::from(real.file_name().ok_or_else(|| TransferError::Nameless { path: source.to_owned() })?)
        }
    };
    let root = fs::canonicalize(source).map_err(read_error(source))?;
    let mut packer = Packer { builder: Builder::new(out), summary: Summary::default() };
    // Depth first, parents before children; an explicit stack bears any depth.
    let mut pending = vec![(root, name)];
    while let Some((path, name)) = pending.pop() {
        if packer.add(&path, &name)? {
            let mut children: Vec<_> = fs::read_dir(&path)
                .and_then(|entries| entries.map(|entry| Ok(entry?.file_name())).collect::<io::Result<_>>())
                .map_err(read_error(&path))?;
            children.sort_unstable_by(|a, b| b.cmp(a));
            pending.extend(children.into_iter().map(|child| (path.join(&child), name.join(&child))));
        }
    }
    let mut out = packer.builder.into_inner().map_err(TransferError::Stream)?;
    out.flush().map_err(TransferError::Stream)?;
    Ok(packer.summary)
}

struct Packer<W: Write> {
    builder: Builder<W>,
    summary: Summary,
}

impl<W: Write> Packer<W> {
    /// Adds one entry. `true`: it is a directory, whose children follow.
    fn add(&mut self, path: &Path, name: &Path) -> Result<bool, TransferError> {
        let metadata = fs::symlink_metadata(path).map_err(read_error(path))?;
        if metadata.is_dir() {
            self.summary.directories += 1;
            let mut header = header(&metadata, EntryType::Directory, 0);
            self.builder.append_data(&mut header, name, io::empty()).map_err(TransferError::Stream)?;
            return Ok(true);
        }
        if metadata.is_symlink() {
            let target = fs::read_link(path).map_err(read_error(path))?;
            self.summary.links += 1;
            let mut header = header(&metadata, EntryType::Symlink, 0);
            self.builder.append_link(&mut header, name, target).map_err(TransferError::Stream)?;
        } else if metadata.is_file() {
            self.add_file(path, name)?;
        } else {
            self.summary.skipped += 1;
        }
        Ok(false)
    }

    fn add_file(&mut self, path: &Path, name: &Path) -> Result<(), TransferError> {
        let file = OpenOptions::new().read(true).custom_flags(NONBLOCK_NOFOLLOW).open(path);
        let file = file.map_err(read_error(path))?;
        let metadata = file.metadata().map_err(read_error(path))?;
        if !metadata.is_file() {
            return Err(TransferError::Changed { path: path.to_owned() });
        }
        let mut header = header(&metadata, EntryType::Regular, metadata.len());
        let mut content = Exactly { file, left: metadata.len(), failed: None };
        let sent = self.builder.append_data(&mut header, name, &mut content);
        match content.failed {
            Some(Some(source)) => return Err(TransferError::Read { path: path.to_owned(), source }),
            Some(None) => return Err(TransferError::Changed { path: path.to_owned() }),
            None => sent.map_err(TransferError::Stream)?,
        }
        self.summary.files += 1;
        self.summary.bytes += metadata.len();
        Ok(())
    }
}

fn header(metadata: &Metadata, kind: EntryType, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_size(size);
    header.set_mode(metadata.mode() & 0o777);
    header.set_mtime(u64::try_from(metadata.mtime()).unwrap_or(0));
    header
}

/// A file of exactly the length that was announced, whoever writes to it meanwhile.
struct Exactly {
    file: File,
    left: u64,
    /// Why it could not be kept: what the system said, or that it became shorter.
    failed: Option<Option<io::Error>>,
}

impl Read for Exactly {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = buffer.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        if most == 0 {
            return Ok(0);
        }
        match self.file.read(&mut buffer[..most]) {
            Ok(0) => {
                self.failed = Some(None);
                Err(io::ErrorKind::UnexpectedEof.into())
            }
            Ok(length) => {
                self.left -= length as u64;
                Ok(length)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Err(error),
            Err(error) => {
                let kind = error.kind();
                self.failed = Some(Some(error));
                Err(kind.into())
            }
        }
    }
}
