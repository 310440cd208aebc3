//! A supervisor's own log. It appends to it through a descriptor that it was given, also while there is no gateway, so the file stays where
//! it is: of one that is too long the end is copied beside it, and it begins anew.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// Most that is copied, and more than that is too long, in bytes.
const MOST: u64 = 8 * 1024 * 1024;
/// The part of its end that is read for its last lines, in bytes.
const TAIL: u64 = 16 * 1024;

/// Opens it for a supervisor that begins.
pub(super) fn open(path: &Path) -> io::Result<File> {
    cut_back(path)?;
    OpenOptions::new().create(true).append(true).mode(0o600).open(path)
}

/// Begins it anew if it is too long. What is written at that very moment may be lost.
pub(super) fn cut_back(path: &Path) -> io::Result<()> {
    cut(path, MOST)
}

/// Its last lines.
pub(super) fn tail(path: &Path, lines: usize) -> String {
    let mut bytes = end(path).unwrap_or_default();
    if (bytes.len() as u64) < TAIL {
        let mut whole = end(&before(path)).unwrap_or_default();
        whole.append(&mut bytes);
        bytes = whole;
    }
    let text = String::from_utf8_lossy(&bytes);
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

/// Where what it had before lies.
fn before(path: &Path) -> PathBuf {
    let mut path = path.as_os_str().to_owned();
    path.push(".1");
    path.into()
}

fn cut(path: &Path, most: u64) -> io::Result<()> {
    let mut log = match OpenOptions::new().read(true).write(true).open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        opened => opened?,
    };
    // Somebody else is about it: it was looked at twice.
    if log.try_lock().is_err() {
        return Ok(());
    }
    let length = log.metadata()?.len();
    if length <= most {
        return Ok(());
    }
    log.seek(SeekFrom::Start(length - most))?;
    let mut copy = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(before(path))?;
    // What comes meanwhile, too; but a supervisor that writes faster than this is not run after.
    io::copy(&mut (&log).take(2 * most), &mut copy)?;
    log.set_len(0)
}

fn end(path: &Path) -> io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL)))?;
    let mut bytes = Vec::new();
    file.take(TAIL).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    /// What a log of so many lines of ten bytes each, and what is beside it, have left when it may have 100 bytes.
    fn check(lines: usize, left: usize, beside: Option<usize>) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("supervisor.log");
        let mut writer = open(&path).unwrap();
        (0..lines).for_each(|number| writeln!(writer, "line {number:04}").unwrap());
        cut(&path, 100).unwrap();
        let length = |path: &Path| std::fs::metadata(path).ok().map(|found| usize::try_from(found.len()).unwrap());
        assert_eq!((length(&path), length(&before(&path))), (Some(left), beside), "{lines} lines");
        // Whoever writes goes on with the same descriptor, and the last lines are as if nothing had been.
        writeln!(writer, "and then").unwrap();
        assert_eq!(length(&path), Some(left + 9));
        let last = lines.checked_sub(1).map_or_else(String::new, |last| format!("line {last:04}\n"));
        assert_eq!(tail(&path, 2), format!("{last}and then"));
    }

    #[test]
    fn a_long_log_begins_anew_and_its_end_is_kept() {
        check(0, 0, None);
        check(10, 100, None);
        check(11, 0, Some(100));
        check(5000, 0, Some(100));
    }

    #[test]
    fn one_that_is_not_there_is_not_long() {
        let dir = tempfile::tempdir().unwrap();
        cut(&dir.path().join("supervisor.log"), 100).unwrap();
        assert_eq!(tail(&dir.path().join("supervisor.log"), 5), "");
    }

    #[test]
    fn it_is_cut_once_by_those_who_look_at_the_same_time() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("supervisor.log");
        std::fs::write(&path, [b'x'; 300]).unwrap();
        let other = File::open(&path).unwrap();
        other.lock().unwrap();
        cut(&path, 100).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().len(), 300);
        drop(other);
        cut(&path, 100).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().len(), 0);
    }
}
