//! Files over SFTP, version 3, as OpenSSH's `sftp` and `scp` speak it: the server's end.
//!
//! [`serve()`] does what the process that calls it may do, no more and no less: it confines nothing by itself. One request
//! is done after the other, no memory grows with the size of a file, and a client's open files are limited.

mod files;
#[cfg(test)]
mod tests;
mod wire;

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _, symlink};
use std::path::{Path, PathBuf};

use files::{Target, attributes, long_name, real_path, set};
use wire::{Answer, Fields, MAX_DATA, MAX_PACKET, Truncated, read_packet};

/// The version of the protocol.
const VERSION: u32 = 3;
/// Most files and directories that are open at once.
const MAX_HANDLES: usize = 256;
/// Names of a directory are answered in packets of about so many bytes.
const NAMES: usize = 32 * 1024;

const STATUS: u8 = 101;
const HANDLE: u8 = 102;
const DATA: u8 = 103;
const NAME: u8 = 104;
const ATTRS: u8 = 105;
const EXTENDED_REPLY: u8 = 201;

const APPEND: u32 = 4;
const READ: u32 = 1;
const WRITE: u32 = 2;
const CREATE: u32 = 8;
const TRUNCATE: u32 = 16;
const EXCLUSIVE: u32 = 32;

/// What OpenSSH's clients ask for beyond the draft.
const EXTENSIONS: [&str; 5] = [
    "posix-rename@openssh.com",
    "hardlink@openssh.com",
    "fsync@openssh.com",
    "limits@openssh.com",
    "expand-path@openssh.com",
];

/// Why a request was not done.
enum Refusal {
    End,
    NoHandle,
    BadMessage,
    Unsupported,
    TooMany,
    Exists,
    Io(io::Error),
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<Truncated> for Refusal {
    fn from(_: Truncated) -> Self {
        Self::BadMessage
    }
}

impl Refusal {
    /// The protocol's code, and words.
    fn status(&self) -> (u32, String) {
        match self {
            Self::End => (1, "end of file".into()),
            Self::NoHandle => (4, "no such handle".into()),
            Self::BadMessage => (5, "bad message".into()),
            Self::Unsupported => (8, "operation unsupported".into()),
            Self::TooMany => (4, "too many open files".into()),
            Self::Exists => (4, "it exists already".into()),
            Self::Io(error) => {
                let code = match error.kind() {
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => 2,
                    io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => 3,
                    _ => 4,
                };
                (code, error.to_string())
            }
        }
    }
}

/// Something that is open.
enum Open {
    File(File),
    Directory { path: PathBuf, entries: fs::ReadDir },
}

/// Answers requests until the end of input. Fails when a stream breaks, or when what arrives is no SFTP.
pub fn serve(mut input: impl Read, mut output: impl Write) -> io::Result<()> {
    let mut server = Server { base: std::env::current_dir()?, open: HashMap::new(), next: 0 };
    while let Some(packet) = read_packet(&mut input)? {
        output.write_all(&server.answer(&packet))?;
        output.flush()?;
    }
    Ok(())
}

struct Server {
    /// Where relative paths, and `~`, start.
    base: PathBuf,
    open: HashMap<u32, Open>,
    next: u32,
}

impl Server {
    fn answer(&mut self, packet: &[u8]) -> Vec<u8> {
        const INIT: u8 = 1;
        let mut fields = Fields::new(packet);
        let Ok(kind) = fields.u8() else { return Vec::new() };
        if kind == INIT {
            let answer = EXTENSIONS
                .iter()
                .fold(Answer::bare(2).u32(VERSION), |answer, name| answer.bytes(name.as_bytes()).bytes(b"1"));
            return answer.finish();
        }
        let id = fields.u32().unwrap_or_default();
        let done = self.perform(kind, id, &mut fields);
        done.unwrap_or_else(|refusal| {
            let (code, words) = refusal.status();
            status(id, code, &words)
        })
        .finish()
    }

    fn perform(&mut self, kind: u8, id: u32, fields: &mut Fields<'_>) -> Result<Answer, Refusal> {
        match kind {
            3 => return self.open_file(id, fields),
            4 => drop(self.open.remove(&handle(fields)?).ok_or(Refusal::NoHandle)?),
            5 => {
                let (file, offset, length) = (self.file(fields)?, fields.u64()?, fields.u32()?);
                let mut data = vec![0; length.min(MAX_DATA) as usize];
                let count = file.read_at(&mut data, offset)?;
                if count == 0 && length > 0 {
                    return Err(Refusal::End);
                }
                return Ok(Answer::new(DATA, id).bytes(&data[..count]));
            }
            6 => {
                let (file, offset) = (self.file(fields)?, fields.u64()?);
                file.write_all_at(fields.bytes()?, offset)?;
            }
            7 => return Ok(Answer::new(ATTRS, id).attributes(&attributes(&fs::symlink_metadata(fields.path()?)?))),
            8 => return Ok(Answer::new(ATTRS, id).attributes(&attributes(&self.file(fields)?.metadata()?))),
            9 => {
                let path = fields.path()?;
                set(&Target::Path(path), &fields.attributes()?)?;
            }
            10 => {
                let file = self.file(fields)?;
                set(&Target::File(file), &fields.attributes()?)?;
            }
            11 => {
                let path = fields.path()?;
                let entries = fs::read_dir(path)?;
                return self.keep(id, Open::Directory { path: path.to_owned(), entries });
            }
            12 => return self.read_directory(id, fields),
            13 => fs::remove_file(fields.path()?)?,
            14 => {
                let path = fields.path()?;
                let mode = fields.attributes()?.mode.unwrap_or(0o777) & 0o7777;
                fs::DirBuilder::new().mode(mode).create(path)?;
            }
            15 => fs::remove_dir(fields.path()?)?,
            16 => return Ok(name(id, &real_path(fields.path()?)?)),
            17 => return Ok(Answer::new(ATTRS, id).attributes(&attributes(&fs::metadata(fields.path()?)?))),
            18 => {
                let (from, to) = (fields.path()?, fields.path()?);
                // Version 3 replaces nothing. The check and the renaming are two steps, as in OpenSSH where links fail.
                if fs::symlink_metadata(to).is_ok() {
                    return Err(Refusal::Exists);
                }
                fs::rename(from, to)?;
            }
            19 => return Ok(name(id, &fs::read_link(fields.path()?)?)),
            // OpenSSH's order, which everybody follows: what it points to, then the link.
            20 => symlink(fields.path()?, fields.path()?)?,
            200 => return self.extended(id, fields),
            _ => return Err(Refusal::Unsupported),
        }
        Ok(status(id, 0, "done"))
    }

    fn extended(&mut self, id: u32, fields: &mut Fields<'_>) -> Result<Answer, Refusal> {
        match fields.bytes()? {
            b"posix-rename@openssh.com" => fs::rename(fields.path()?, fields.path()?)?,
            b"hardlink@openssh.com" => fs::hard_link(fields.path()?, fields.path()?)?,
            b"fsync@openssh.com" => self.file(fields)?.sync_all()?,
            b"limits@openssh.com" => {
                let answer = Answer::new(EXTENDED_REPLY, id).u64(MAX_PACKET as u64);
                return Ok(answer.u64(MAX_DATA.into()).u64(MAX_DATA.into()).u64(MAX_HANDLES as u64));
            }
            b"expand-path@openssh.com" => {
                let path = fields.path()?;
                let path = path.strip_prefix("~").map_or_else(|_| path.to_owned(), |rest| self.base.join(rest));
                return Ok(name(id, &real_path(&path)?));
            }
            _ => return Err(Refusal::Unsupported),
        }
        Ok(status(id, 0, "done"))
    }

    fn open_file(&mut self, id: u32, fields: &mut Fields<'_>) -> Result<Answer, Refusal> {
        let (path, flags, attributes) = (fields.path()?, fields.u32()?, fields.attributes()?);
        let mut options = OpenOptions::new();
        options.read(flags & READ != 0).append(flags & APPEND != 0).write(flags & WRITE != 0);
        if flags & WRITE != 0 && flags & CREATE != 0 {
            options.create(true).create_new(flags & EXCLUSIVE != 0);
        }
        options.truncate(flags & (WRITE | TRUNCATE) == WRITE | TRUNCATE && flags & (APPEND | EXCLUSIVE) == 0);
        let file = options.mode(attributes.mode.unwrap_or(0o666) & 0o7777).open(path)?;
        self.keep(id, Open::File(file))
    }

    fn keep(&mut self, id: u32, open: Open) -> Result<Answer, Refusal> {
        if self.open.len() >= MAX_HANDLES {
            return Err(Refusal::TooMany);
        }
        while self.open.contains_key(&self.next) {
            self.next = self.next.wrapping_add(1);
        }
        let handle = self.next;
        self.next = self.next.wrapping_add(1);
        self.open.insert(handle, open);
        Ok(Answer::new(HANDLE, id).bytes(&handle.to_be_bytes()))
    }

    fn file(&self, fields: &mut Fields<'_>) -> Result<&File, Refusal> {
        match self.open.get(&handle(fields)?) {
            Some(Open::File(file)) => Ok(file),
            Some(Open::Directory { .. }) | None => Err(Refusal::NoHandle),
        }
    }

    fn read_directory(&mut self, id: u32, fields: &mut Fields<'_>) -> Result<Answer, Refusal> {
        let Some(Open::Directory { path, entries }) = self.open.get_mut(&handle(fields)?) else {
            return Err(Refusal::NoHandle);
        };
        let (mut names, mut size) = (Vec::new(), 0);
        while size < NAMES {
            let Some(entry) = entries.next() else { break };
            let entry = entry?;
            // One that went meanwhile is left out; one that may not be looked at has a name alone.
            let found = match fs::symlink_metadata(path.join(entry.file_name())) {
                Ok(metadata) => Some(metadata),
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(_) => None,
            };
            let long = long_name(&entry.file_name(), found.as_ref());
            size += 2 * entry.file_name().len() + 100;
            names.push((entry.file_name(), long, found.as_ref().map(attributes).unwrap_or_default()));
        }
        if names.is_empty() {
            return Err(Refusal::End);
        }
        let answer = Answer::new(NAME, id).u32(u32::try_from(names.len()).unwrap_or(u32::MAX));
        Ok(names.iter().fold(answer, |answer, (name, long, attributes)| {
            answer.bytes(name.as_bytes()).bytes(long).attributes(attributes)
        }))
    }
}

fn handle(fields: &mut Fields<'_>) -> Result<u32, Refusal> {
    fields.bytes()?.try_into().map(u32::from_be_bytes).map_err(|_| Refusal::NoHandle)
}

fn status(id: u32, code: u32, words: &str) -> Answer {
    Answer::new(STATUS, id).u32(code).bytes(words.as_bytes()).bytes(b"en")
}

fn name(id: u32, path: &Path) -> Answer {
    let bytes = path.as_os_str().as_bytes();
    Answer::new(NAME, id).u32(1).bytes(bytes).bytes(bytes).attributes(&wire::Attributes::default())
}
