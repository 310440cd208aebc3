//! `/proc/<pid>/status`, as far as it matters here.

use std::io;

/// Parts of a process's status.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Status {
    /// Its parent, as numbered on the host.
    pub parent: i32,
    /// Its process id in the innermost namespace.
    pub inner_pid: u32,
}

impl Status {
    /// Refuses a status that lacks one of the fields.
    pub fn parse(text: &str) -> io::Result<Self> {
        let field = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            line.map(|values| values.split_whitespace().collect::<Vec<_>>())
        };
        let missing = || io::Error::new(io::ErrorKind::InvalidData, "unreadable process status");
        let number = |word: Option<&&str>| word.and_then(|word| word.parse::<u32>().ok()).ok_or_else(missing);
        Ok(Self {
            parent: number(field("PPid").ok_or_else(missing)?.first())? as i32,
            inner_pid: number(field("NStgid").ok_or_else(missing)?.last())?,
        })
    }
}
