//! What can go wrong between an SSH client and a sandbox, as a fact and a hint.

use std::path::PathBuf;

/// Why OpenSSH has no way into a sandbox.
#[derive(Debug, thiserror::Error)]
pub enum SshError {
    /// The sandbox does not run.
    #[error("sandbox {name} is {phase}, and not connected to the gateway")]
    Away {
        /// Sandbox.
        name: String,
        /// What it does.
        phase: String,
    },
    /// Typed by a person.
    #[error("standard input is a terminal, not an SSH client")]
    ByHand {
        /// Sandbox.
        name: String,
    },
    /// The client's own protocol failed.
    #[error("the SSH client was lost: {0}")]
    Protocol(#[from] russh::Error),
    /// No random numbers.
    #[error("no random numbers for a host key: {0}")]
    Random(getrandom::Error),
    /// What should be a host key is none.
    #[error("{} is no host key: {reason}", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// Others may change or read a file.
    #[error("{} belongs to somebody else, or others may {may} it (mode {mode:o})", path.display())]
    Mode {
        /// The file or directory.
        path: PathBuf,
        /// `read`, or `write`.
        may: &'static str,
        /// Its mode.
        mode: u32,
    },
    /// A path that can't be written in the form of `ssh_config(5)`.
    #[error("the path {path:?} can't be written into an SSH configuration")]
    Path {
        /// The path.
        path: PathBuf,
    },
    /// A configuration that is not understood.
    #[error("{}, line {line}: {reason}", path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong there.
        reason: &'static str,
    },
}

impl SshError {
    /// What to do about it.
    pub fn hint(&self) -> String {
        match self {
            Self::Away { name, .. } => {
                format!("start it with `openshell sandbox start {name}`, or see `openshell sandbox logs {name}`")
            }
            Self::ByHand { name } => {
                format!("`openshell sandbox ssh-config {name} --install`, then `ssh openshell-{name}` runs this")
            }
            Self::Protocol(_) => {
                "this command speaks to an SSH client: see `openshell sandbox ssh-config --help`".into()
            }
            Self::Random(_) => "see `openshell doctor`".into(),
            Self::Key { .. } => "remove it: another is made, and `openshell sandbox ssh-config` tells clients".into(),
            Self::Mode { path, may, .. } => {
                format!("`chmod {} {}`", if *may == "read" { "600" } else { "go-w" }, path.display())
            }
            Self::Path { .. } => "use a path without quotes, line ends and `${`".into(),
            Self::Config { .. } => "nothing was changed; mend the line, or use `ssh -F` with the output instead".into(),
        }
    }
}
