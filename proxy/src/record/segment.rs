//! Segment files: `<sequence number of the first line>.jsonl`, one JSON document a line.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

/// What is known of one segment file. Counts only what has reached the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Segment {
    /// Sequence number of its first line.
    pub first: u64,
    /// Whole lines in it.
    pub count: u64,
    /// Length of those lines, in bytes.
    pub bytes: u64,
    /// Found on disk at start, so that its lines are parsed again before they are believed.
    pub recovered: bool,
}

impl Segment {
    /// The sequence number after its last line.
    pub fn next(&self) -> u64 {
        self.first + self.count
    }

    /// Where it lies.
    pub fn path(&self, dir: &Path) -> PathBuf {
        path(dir, self.first)
    }
}

/// Where the segment that starts at `first` lies.
pub(super) fn path(dir: &Path, first: u64) -> PathBuf {
    dir.join(format!("{first:020}.jsonl"))
}

/// Creates the segment that starts at `first` and makes its name durable.
pub(super) fn create(dir: &Path, first: u64) -> io::Result<File> {
    let file = OpenOptions::new().create(true).append(true).open(path(dir, first))?;
    File::open(dir)?.sync_all()?;
    Ok(file)
}

/// Finds the segments an earlier run left, in order, and cuts a torn last line off each.
pub(super) fn recover(dir: &Path) -> io::Result<Vec<Segment>> {
    let mut segments = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let is_segment = path.extension().is_some_and(|extension| extension == "jsonl");
        let Some(first) = path.file_stem().and_then(|stem| stem.to_str()?.parse().ok()).filter(|_| is_segment) else {
            continue;
        };
        let (count, bytes) = whole_lines(&path)?;
        if bytes < fs::metadata(&path)?.len() {
            OpenOptions::new().write(true).open(&path)?.set_len(bytes)?;
        }
        segments.push(Segment { first, count, bytes, recovered: true });
    }
    segments.sort_by_key(|segment| segment.first);
    Ok(segments)
}

fn whole_lines(path: &Path) -> io::Result<(u64, u64)> {
    let mut reader = BufReader::with_capacity(256 * 1024, File::open(path)?);
    let (mut count, mut whole, mut read) = (0, 0, 0);
    loop {
        let chunk = reader.fill_buf()?;
        if chunk.is_empty() {
            return Ok((count, whole));
        }
        for (at, _) in chunk.iter().enumerate().filter(|(_, byte)| **byte == b'\n') {
            count += 1;
            whole = read + at as u64 + 1;
        }
        let length = chunk.len();
        read += length as u64;
        reader.consume(length);
    }
}
