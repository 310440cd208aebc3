//! `binaries`: which programs a network policy is for.

use openshell_policy_sdk::{Process, view};

use crate::fault::Fault;
use crate::glob::Glob;
use crate::reader::{At, Fields, text};
use crate::yaml::Node;

/// Programs, told by everything that is written about them.
#[derive(Debug, Clone)]
pub(crate) struct Binary {
    path: Glob,
    /// SHA-256 of the executable, lowercase hex.
    digest: Option<String>,
    /// The script that an interpreter runs.
    script: Option<Glob>,
    /// One that it descends from.
    ancestor: Option<Glob>,
}

impl Binary {
    pub(crate) fn parse(node: &Node) -> Result<Self, Fault> {
        let fields = Fields::of(node, "a binary", &["path", "sha256", "script", "ancestor"])?;
        let file = |key| fields.filled(key)?.map(|found| file(&found)).transpose();
        let digest = |found: At<String>| match found.value.to_ascii_lowercase() {
            hex if hex.len() == 64 && hex.bytes().all(|byte| byte.is_ascii_hexdigit()) => Ok(hex),
            _ => Err(found
                .fault("a SHA-256 digest is 64 hexadecimal digits, so this can never match")
                .hint("`sha256sum FILE` prints it; records show it as the process's digest")),
        };
        Ok(Self {
            path: self::file(&text(fields.require("path")?, "path")?)?,
            digest: fields.filled("sha256")?.map(digest).transpose()?,
            script: file("script")?,
            ancestor: file("ancestor")?,
        })
    }

    /// Whether it lies where this says.
    pub(crate) fn lies(&self, process: &Process) -> bool {
        self.path.matches(&process.executable)
    }

    pub(crate) fn is(&self, process: &Process) -> bool {
        let descends = |from: &Glob| view::ancestors().iter().any(|ancestor| from.matches(ancestor));
        self.lies(process)
            && self.digest.as_ref().is_none_or(|digest| *digest == process.digest)
            && self
                .script
                .as_ref()
                .is_none_or(|glob| process.script.as_ref().is_some_and(|script| glob.matches(script)))
            && self.ancestor.as_ref().is_none_or(descends)
    }
}

/// A file by its path.
fn file(path: &At<String>) -> Result<Glob, Fault> {
    if !path.value.starts_with('/') && path.value != "**" {
        let fault = path.fault("executables have absolute paths, so this can never match");
        return Err(fault.hint(format!("write `/usr/bin/{0}`, or `/**/{0}` for any directory", path.value)));
    }
    Glob::parse(path)
}
