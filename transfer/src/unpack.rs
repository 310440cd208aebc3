//! The receiving end.

use std::ffi::OsString;
use std::io::{self, Read};
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, SystemTime};

use cap_std::ambient_authority;
use cap_std::fs::{Dir, OpenOptions, OpenOptionsExt as _, Permissions, PermissionsExt as _};
use tar::{Archive, Entry, EntryType};

use crate::{Summary, TransferError, write_error};

/// Where a tree goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destination {
    /// The directory that nothing leaves; made if absent.
    directory: PathBuf,
    /// What the root is called there; absent: as in the stream.
    name: Option<OsString>,
}

impl Destination {
    /// As `cp -r` reads it: into a directory that exists or whose path ends in `/`, else under that very name.
    pub fn choose(path: &Path) -> Self {
        let named = path.file_name().filter(|_| !path.as_os_str().as_encoded_bytes().ends_with(b"/"));
        match named {
            Some(name) if !path.is_dir() => {
                let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
                Self { directory: parent.to_owned(), name: Some(name.to_owned()) }
            }
            _ => Self { directory: path.to_owned(), name: None },
        }
    }
}

/// Reads a tar stream to its end and writes its tree. A file appears under its name only when it is whole; existing
/// files and links are replaced, directories filled up. Refuses names that lead out, and anything but files,
/// directories and symbolic links.
pub fn unpack(input: impl Read, destination: &Destination) -> Result<Summary, TransferError> {
    std::fs::create_dir_all(&destination.directory).map_err(write_error(&destination.directory))?;
    let root = Dir::open_ambient_dir(&destination.directory, ambient_authority());
    let root = root.map_err(write_error(&destination.directory))?;
    let mut archive = Archive::new(Ending { input, ended: false, tail: 0 });
    let mut writer = Writer { root, summary: Summary::default(), modes: Vec::new(), temporary: 0 };
    for entry in archive.entries().map_err(TransferError::Stream)? {
        let mut entry = entry.map_err(TransferError::Stream)?;
        let path = place(&entry.path_bytes(), destination.name.as_ref())?;
        writer.add(&mut entry, &path)?;
    }
    writer.finish()?;
    let mut rest = archive.into_inner();
    // To the end, so that the sender is not cut off.
    io::copy(&mut rest, &mut io::sink()).map_err(TransferError::Stream)?;
    match rest.tail >= END {
        true => Ok(writer.summary),
        false => Err(TransferError::Short),
    }
}

/// A tar stream ends with two blocks of zeros.
const END: u64 = 1024;

/// Counts the zeros at a stream's end: without them it was cut off between two entries.
struct Ending<R> {
    input: R,
    ended: bool,
    tail: u64,
}

impl<R: Read> Read for Ending<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.ended {
            return Ok(0);
        }
        let length = self.input.read(buffer)?;
        self.ended = length == 0;
        let zeros = buffer[..length].iter().rev().take_while(|byte| **byte == 0).count();
        self.tail = if zeros == length { self.tail + length as u64 } else { zeros as u64 };
        Ok(length)
    }
}

/// Where an entry goes, below the destination. Refuses what is not plainly a path below the root.
fn place(name: &[u8], root: Option<&OsString>) -> Result<PathBuf, TransferError> {
    let outside = || TransferError::Outside { name: String::from_utf8_lossy(name).into_owned() };
    let path = PathBuf::from(OsString::from_vec(name.to_vec()));
    let mut parts = Vec::new();
    for part in path.components() {
        match part {
            Component::Normal(part) => parts.push(part.to_owned()),
            Component::CurDir => {}
            Component::RootDir | Component::ParentDir | Component::Prefix(_) => return Err(outside()),
        }
    }
    if let (Some(root), Some(first)) = (root, parts.first_mut()) {
        first.clone_from(root);
    }
    match parts.is_empty() {
        true => Err(outside()),
        false => Ok(parts.iter().collect()),
    }
}

struct Writer {
    root: Dir,
    summary: Summary,
    /// Directories get their modes last: one may forbid writing.
    modes: Vec<(PathBuf, u32)>,
    temporary: u64,
}

impl Writer {
    fn add<R: Read>(&mut self, entry: &mut Entry<'_, R>, path: &Path) -> Result<(), TransferError> {
        let mode = entry.header().mode().unwrap_or(0o644) & 0o777;
        let kind = entry.header().entry_type();
        let failed = || write_error(path);
        if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            self.root.create_dir_all(parent).map_err(failed())?;
        }
        match kind {
            EntryType::Directory => {
                self.root.create_dir_all(path).map_err(failed())?;
                // Ours to fill, whatever it will be in the end.
                self.root.set_permissions(path, Permissions::from_mode(mode | 0o700)).map_err(failed())?;
                self.modes.push((path.to_owned(), mode));
                self.summary.directories += 1;
            }
            EntryType::Symlink => {
                let target = entry.link_name().map_err(TransferError::Stream)?;
                let target = target.ok_or_else(|| TransferError::Stream(io::ErrorKind::InvalidData.into()))?;
                let aside = self.aside(path);
                self.root.symlink_contents(&*target, &aside).map_err(failed())?;
                self.settle(&aside, path)?;
                self.summary.links += 1;
            }
            EntryType::Regular | EntryType::Continuous => {
                let aside = self.aside(path);
                let written = self.write_file(entry, &aside, mode, path);
                if written.is_err() {
                    let _ = self.root.remove_file(&aside);
                }
                self.summary.bytes += written?;
                self.settle(&aside, path)?;
                self.summary.files += 1;
            }
            _ => return Err(TransferError::Kind { name: path.to_string_lossy().into_owned() }),
        }
        Ok(())
    }

    fn write_file<R: Read>(
        &self,
        entry: &mut Entry<'_, R>,
        aside: &Path,
        mode: u32,
        path: &Path,
    ) -> Result<u64, TransferError> {
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(0o600);
        let file = self.root.open_with(aside, &options).map_err(write_error(path))?;
        let mut file = file.into_std();
        let mut bytes = 0;
        let mut buffer = vec![0; 128 * 1024];
        loop {
            let length = match entry.read(&mut buffer) {
                Ok(0) => break,
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(TransferError::Stream(error)),
            };
            io::Write::write_all(&mut file, &buffer[..length]).map_err(write_error(path))?;
            bytes += length as u64;
        }
        if bytes != entry.header().entry_size().map_err(TransferError::Stream)? {
            return Err(TransferError::Short);
        }
        if let Ok(seconds) = entry.header().mtime() {
            // A time that the file system can't hold is no reason to refuse the file.
            let _ = file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
        }
        let permissions = std::os::unix::fs::PermissionsExt::from_mode(mode);
        file.set_permissions(permissions).map_err(write_error(path))?;
        Ok(bytes)
    }

    /// A name beside the final one that nobody else uses.
    fn aside(&mut self, path: &Path) -> PathBuf {
        loop {
            self.temporary += 1;
            let aside = path.with_file_name(format!(".openshell-{}-{}", std::process::id(), self.temporary));
            if self.root.symlink_metadata(&aside).is_err() {
                return aside;
            }
        }
    }

    /// Gives what was written aside its name.
    fn settle(&self, aside: &Path, path: &Path) -> Result<(), TransferError> {
        let renamed = self.root.rename(aside, &self.root, path);
        if renamed.is_err() {
            let _ = self.root.remove_file(aside);
        }
        renamed.map_err(write_error(path))
    }

    fn finish(&mut self) -> Result<(), TransferError> {
        for (path, mode) in self.modes.drain(..).rev() {
            self.root.set_permissions(&path, Permissions::from_mode(mode)).map_err(write_error(&path))?;
        }
        Ok(())
    }
}
