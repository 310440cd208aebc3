//! Why a sandbox was not sealed, or a process not started.

use std::io;
use std::path::PathBuf;

use super::Wall;

/// Why a sandbox could not be sealed. Nothing of it is left running.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// Init could not be started at all.
    #[error("can't start the sandbox's init: {0}")]
    Start(#[source] io::Error),
    /// Init refused or failed at one step.
    #[error("sealing the sandbox failed at {step}: {detail}")]
    Step {
        /// What it was doing.
        step: String,
        /// What the kernel said.
        detail: String,
    },
    /// A wall is missing on this kernel, and the configuration does not accept that.
    #[error("this kernel can't raise the wall {wall:?}: {detail}")]
    Degraded {
        /// Which one.
        wall: Wall,
        /// What the kernel said.
        detail: String,
    },
    /// Init ended without a word.
    #[error("the sandbox's init ended before the sandbox was sealed")]
    Ended,
    /// Init's message is not one of ours.
    #[error("the sandbox's init sent something unreadable: {0}")]
    Protocol(String),
    /// What init handed over could not be put to use.
    #[error("can't use the sandbox's sockets: {0}")]
    Sockets(#[source] io::Error),
}

/// Why nothing is proven about a sandbox.
#[derive(Debug, thiserror::Error)]
pub enum ProveError {
    /// The probe could not be started.
    #[error("the probe of the sandbox's walls did not start: {0}")]
    Start(#[source] SpawnError),
    /// What it aims at could not be set up.
    #[error("the probe of the sandbox's walls could not be prepared: {0}")]
    Prepare(#[source] io::Error),
    /// It did not come to an end.
    #[error("the probe of the sandbox's walls did not end within {} s", .0.as_secs())]
    TooSlow(std::time::Duration),
    /// It ended without its findings.
    #[error("the probe of the sandbox's walls ended without findings ({0})")]
    NoFindings(String),
    /// Its findings are not about the checks that a probe makes.
    #[error("the probe of the sandbox's walls answers {found:?} where {due:?} is due")]
    Unexpected {
        /// The check whose turn it was, or `nothing`.
        due: &'static str,
        /// What came instead, or `nothing`.
        found: String,
    },
}

/// Why a process was not started in a sandbox, or is not known any more.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    /// No program was named.
    #[error("no command was given")]
    NoCommand,
    /// The program could not be executed.
    #[error("can't run {program}: {source}")]
    Exec {
        /// Its argv\[0\].
        program: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// The working directory could not be entered.
    #[error("can't use {} as the working directory: {source}", directory.display())]
    Directory {
        /// Its path in the sandbox.
        directory: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The sandbox is gone.
    #[error("the sandbox has ended")]
    Gone,
    /// The walls are not up, or not proven.
    #[error("the sandbox is not sealed")]
    NotSealed,
    /// The request could not be handed to init.
    #[error("can't reach the sandbox's init: {0}")]
    Control(#[source] io::Error),
}
