//! Why a sandbox was not sealed, or a process not started.

use std::io;

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
    /// The sandbox is gone.
    #[error("the sandbox has ended")]
    Gone,
    /// The request could not be handed to init.
    #[error("can't reach the sandbox's init: {0}")]
    Control(#[source] io::Error),
}
