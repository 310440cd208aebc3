//! What a chain's `launch` hooks come to: the narrowest of what they say.
//!
//! A policy that lists no path says nothing about files. Of several that do, the workload sees what all of them show and
//! writes what all of them let it. One user at most; strict if anyone is. A policy that refuses, or fails to answer,
//! refuses the start.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::artifact::Hook;
use crate::chain::Chains;
use crate::failure::Failure;
use crate::types::{Constraints, Workload};

#[cfg(test)]
mod tests;

/// The terms on which a workload starts. Paths are absolute and without `..`; each stands for all below it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Launch {
    /// What it may see; absent: no policy said anything about files.
    pub files: Option<Files>,
    /// As whom it runs: `name`, `uid` or `user:group`.
    pub user: Option<String>,
    /// Refuse to start where the kernel can't enforce all of it.
    pub strict: bool,
}

/// What a workload may see and write.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Files {
    /// Readable.
    pub read_only: BTreeSet<String>,
    /// Readable and writable.
    pub read_write: BTreeSet<String>,
}

/// Why a workload may not start.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LaunchRefusal {
    /// A policy said no.
    #[error("policy {binding} refuses to start it: {reason}")]
    Refused {
        /// The policy's binding.
        binding: String,
        /// In its words.
        reason: String,
    },
    /// A policy gave no answer.
    #[error("policy {binding}: {failure}")]
    Failed {
        /// The policy's binding.
        binding: String,
        /// Why not.
        failure: Failure,
    },
    /// A path that no file system has.
    #[error("policy {binding}: {path:?} is not an absolute path without `..`")]
    BadPath {
        /// The policy's binding.
        binding: String,
        /// What it wrote.
        path: String,
    },
    /// Two policies want different users.
    #[error("policies want it to run as {one} and as {other}")]
    Users {
        /// One of them.
        one: String,
        /// The other.
        other: String,
    },
}

impl Chains {
    /// Asks every policy that has the hook. `workdir` is what a policy's `.` stands for: the directory the workload
    /// starts in.
    pub fn launch(&self, workload: &Workload, workdir: &str) -> Result<Launch, LaunchRefusal> {
        let mut launch = Launch::default();
        for policy in self.ceiling.iter().chain(&self.own).filter(|policy| policy.has(Hook::Launch)) {
            let binding = || policy.binding().to_owned();
            let said = match policy.launch(workload).result {
                Ok(Ok(constraints)) => Launch::of(constraints, workdir)
                    .map_err(|path| LaunchRefusal::BadPath { binding: binding(), path })?,
                Ok(Err(reason)) => return Err(LaunchRefusal::Refused { binding: binding(), reason }),
                Err(failure) => return Err(LaunchRefusal::Failed { binding: binding(), failure }),
            };
            launch = launch.narrow(said)?;
        }
        Ok(launch)
    }
}

impl Launch {
    /// What one policy said; an error is the path that is none.
    fn of(constraints: Constraints, workdir: &str) -> Result<Self, String> {
        let Constraints { read_only, read_write, user, strict } = constraints;
        let paths = |paths: Vec<String>| {
            let absolute = |path: String| normal(if path == "." { workdir } else { &path }).ok_or(path);
            paths.into_iter().map(absolute).collect::<Result<BTreeSet<_>, _>>()
        };
        let files = match read_only.is_empty() && read_write.is_empty() {
            true => None,
            false => Some(Files { read_only: paths(read_only)?, read_write: paths(read_write)? }.tidy()),
        };
        Ok(Self { files, user: user.filter(|user| !user.is_empty()), strict })
    }

    fn narrow(self, other: Self) -> Result<Self, LaunchRefusal> {
        let user = match (self.user, other.user) {
            (Some(one), Some(other)) if one != other => return Err(LaunchRefusal::Users { one, other }),
            (one, other) => one.or(other),
        };
        let files = match (self.files, other.files) {
            (Some(one), Some(other)) => Some(one.narrow(&other)),
            (one, other) => one.or(other),
        };
        Ok(Self { files, user, strict: self.strict || other.strict })
    }

    /// What is different in another one, in words; empty: nothing.
    pub fn differences(&self, other: &Self) -> Vec<String> {
        let list = |pick: fn(&Files) -> &BTreeSet<String>, launch: &Self| match &launch.files {
            Some(files) => format!("[{}]", pick(files).iter().map(String::as_str).collect::<Vec<_>>().join(", ")),
            None => "unsaid".to_owned(),
        };
        let user = |launch: &Self| launch.user.clone().unwrap_or_else(|| "unsaid".to_owned());
        let rows = [
            ("read_only", list(|files| &files.read_only, self), list(|files| &files.read_only, other)),
            ("read_write", list(|files| &files.read_write, self), list(|files| &files.read_write, other)),
            ("the user", user(self), user(other)),
            ("strictness", self.strict.to_string(), other.strict.to_string()),
        ];
        let changed = rows.into_iter().filter(|(_, one, other)| one != other);
        changed.map(|(what, one, other)| format!("{what} from {one} to {other}")).collect()
    }
}

impl Files {
    fn narrow(&self, other: &Self) -> Self {
        let read = |files: &Self| files.read_only.union(&files.read_write).cloned().collect::<BTreeSet<_>>();
        let read_write = intersect(&self.read_write, &other.read_write);
        Self { read_only: intersect(&read(self), &read(other)), read_write }.tidy()
    }

    /// Without what lies below something else that grants as much.
    fn tidy(self) -> Self {
        let Self { read_only, read_write } = self;
        let covered = |path: &str, by: &BTreeSet<String>| by.iter().any(|other| other != path && lies_in(path, other));
        let read_write: BTreeSet<_> = read_write.iter().filter(|path| !covered(path, &read_write)).cloned().collect();
        let read_only = read_only
            .iter()
            .filter(|path| !covered(path, &read_only) && !read_write.iter().any(|other| lies_in(path, other)))
            .cloned()
            .collect();
        Self { read_only, read_write }
    }
}

/// What lies in both: of each pair the deeper path, if one lies in the other.
fn intersect(one: &BTreeSet<String>, two: &BTreeSet<String>) -> BTreeSet<String> {
    let deeper = |a: &String, b: &String| match (lies_in(a, b), lies_in(b, a)) {
        (true, _) => Some(a.clone()),
        (_, true) => Some(b.clone()),
        _ => None,
    };
    one.iter().flat_map(|a| two.iter().filter_map(move |b| deeper(a, b))).collect()
}

/// Whether `path` is `directory` or below it. Both are normal.
fn lies_in(path: &str, directory: &str) -> bool {
    directory == "/" || path.strip_prefix(directory).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// An absolute path without empty, `.` or `..` segments.
fn normal(path: &str) -> Option<String> {
    let rest = path.strip_prefix('/')?;
    let segments: Vec<&str> = rest.split('/').filter(|segment| !matches!(*segment, "" | ".")).collect();
    let bad = |segment: &&str| *segment == ".." || segment.contains('\0');
    (!segments.iter().any(bad)).then(|| format!("/{}", segments.join("/")))
}
