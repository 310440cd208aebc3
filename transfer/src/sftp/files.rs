//! Files and their attributes, as the system has them and as SFTP says them.

use std::ffi::OsStr;
use std::fs::{self, File, FileTimes, Metadata, OpenOptions, Permissions};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, fchown};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use super::wire::Attributes;

/// What attributes are set of.
pub enum Target<'a> {
    Path(&'a Path),
    File(&'a File),
}

/// What is known of a file.
pub fn attributes(metadata: &Metadata) -> Attributes {
    let seconds = |time: i64| u32::try_from(time).unwrap_or(if time < 0 { 0 } else { u32::MAX });
    Attributes {
        size: Some(metadata.size()),
        owner: Some((metadata.uid(), metadata.gid())),
        mode: Some(metadata.mode()),
        times: Some((seconds(metadata.atime()), seconds(metadata.mtime()))),
    }
}

/// Sets what is given; stops at the first that is refused. A link is followed.
pub fn set(target: &Target<'_>, attributes: &Attributes) -> io::Result<()> {
    if let Some(size) = attributes.size {
        match target {
            Target::Path(path) => OpenOptions::new().write(true).open(path)?.set_len(size)?,
            Target::File(file) => file.set_len(size)?,
        }
    }
    if let Some(mode) = attributes.mode {
        let permissions = Permissions::from_mode(mode & 0o7777);
        match target {
            Target::Path(path) => fs::set_permissions(path, permissions)?,
            Target::File(file) => file.set_permissions(permissions)?,
        }
    }
    if let Some((accessed, modified)) = attributes.times {
        let time = |seconds: u32| UNIX_EPOCH + Duration::from_secs(seconds.into());
        let times = FileTimes::new().set_accessed(time(accessed)).set_modified(time(modified));
        match target {
            Target::Path(path) => open_somehow(path)?.set_times(times)?,
            Target::File(file) => file.set_times(times)?,
        }
    }
    if let Some((user, group)) = attributes.owner {
        match target {
            Target::Path(path) => chown(path, Some(user), Some(group))?,
            Target::File(file) => fchown(file, Some(user), Some(group))?,
        }
    }
    Ok(())
}

/// For reading, or where that is not allowed for writing: times are set through a descriptor.
fn open_somehow(path: &Path) -> io::Result<File> {
    File::open(path).or_else(|_| OpenOptions::new().write(true).open(path))
}

/// The absolute path without links; its last part may not exist yet.
pub fn real_path(path: &Path) -> io::Result<PathBuf> {
    match (path.canonicalize(), path.parent(), path.file_name()) {
        (Err(error), Some(parent), Some(name)) if error.kind() == io::ErrorKind::NotFound => {
            let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
            Ok(parent.canonicalize()?.join(name))
        }
        (real, ..) => real,
    }
}

/// A line as of `ls -l`, which clients show as it is. Times are UTC.
pub fn long_name(name: &OsStr, metadata: Option<&Metadata>) -> Vec<u8> {
    let facts = match metadata {
        Some(metadata) => format!(
            "{} {:>4} {:<8} {:<8} {:>12} {} ",
            letters(metadata.mode()),
            metadata.nlink(),
            metadata.uid(),
            metadata.gid(),
            metadata.size(),
            date(metadata.mtime()),
        ),
        None => "?????????? ".to_owned(),
    };
    [facts.as_bytes(), name.as_bytes()].concat()
}

/// Type and mode as ten letters.
pub(super) fn letters(mode: u32) -> String {
    let kind = match mode & 0o170_000 {
        0o140_000 => 's',
        0o120_000 => 'l',
        0o100_000 => '-',
        0o060_000 => 'b',
        0o040_000 => 'd',
        0o020_000 => 'c',
        0o010_000 => 'p',
        _ => '?',
    };
    let special = [(0o4000, 's', 'S'), (0o2000, 's', 'S'), (0o1000, 't', 'T')];
    let mut text = String::from(kind);
    for (class, (bit, with, without)) in special.into_iter().enumerate() {
        let bits = mode >> (6 - 3 * class);
        text.push(if bits & 4 != 0 { 'r' } else { '-' });
        text.push(if bits & 2 != 0 { 'w' } else { '-' });
        text.push(match (mode & bit != 0, bits & 1 != 0) {
            (true, true) => with,
            (true, false) => without,
            (false, true) => 'x',
            (false, false) => '-',
        });
    }
    text
}

/// Year, month, day and time of seconds since 1970. Days are counted in eras of 400 years that begin in March.
pub(super) fn date(seconds: i64) -> String {
    let (days, second) = (seconds.div_euclid(86_400) + 719_468, seconds.rem_euclid(86_400));
    let (era, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let march = (5 * day + 2) / 153;
    let month = if march < 10 { march + 3 } else { march - 9 };
    let (year, day) = (year + era * 400 + i64::from(month <= 2), day - (153 * march + 2) / 5 + 1);
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02}", second / 3600, second % 3600 / 60)
}
