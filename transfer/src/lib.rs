//! Files and folders as tar streams, and over SFTP ([`sftp`]).
//!
//! [`pack()`] and [`unpack()`] are the two ends of an upload or a download. The stream holds one tree, whose root is named
//! as the source was; the receiver decides where it goes ([`Destination`]). Symbolic links travel as links and are never
//! followed below the root. Nothing is ever written outside the destination: not by a name, not through a link that the
//! stream or somebody else has put there. Memory does not grow with the size of a file.
//!
//! Owners, set-id bits, device nodes, sockets and pipes don't travel.

#![forbid(unsafe_code)]

mod pack;
pub mod sftp;
#[cfg(test)]
mod tests;
mod unpack;

use std::io;
use std::path::{Path, PathBuf};

pub use pack::pack;
pub use unpack::{Destination, unpack};

/// What went over.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Summary {
    /// Regular files.
    pub files: u64,
    /// Directories.
    pub directories: u64,
    /// Symbolic links.
    pub links: u64,
    /// Content of the files, in bytes.
    pub bytes: u64,
    /// Sockets, pipes and devices that were left out.
    pub skipped: u64,
}

/// Why a tree did not go over, or not whole. What was written before stays.
#[derive(Debug, thiserror::Error)]
pub enum TransferError {
    /// The source, or something in it, can't be read.
    #[error("can't read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file became shorter while it was read.
    #[error("{} changed while it was read", path.display())]
    Changed {
        /// The file.
        path: PathBuf,
    },
    /// The source has no name to travel under.
    #[error("{} has no name of its own; name a file or a folder", path.display())]
    Nameless {
        /// What was asked for.
        path: PathBuf,
    },
    /// Something can't be written.
    #[error("can't write {}: {source}", path.display())]
    Write {
        /// The file, below the destination.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A name in the stream leads out of the destination.
    #[error("the stream holds {name:?}, which would lie outside the destination; it was refused")]
    Outside {
        /// The name.
        name: String,
    },
    /// The stream holds something that is neither file, directory nor symbolic link.
    #[error("the stream holds {name:?}, which is neither file, folder nor symbolic link; it was refused")]
    Kind {
        /// Its name.
        name: String,
    },
    /// The stream ended early, is no tar, or could not be sent on.
    #[error("the stream broke: {0}")]
    Stream(io::Error),
    /// The stream ended before its own end.
    #[error("the stream ended early")]
    Short,
}

fn read_error(path: &Path) -> impl FnOnce(io::Error) -> TransferError {
    let path = path.to_owned();
    move |source| TransferError::Read { path, source }
}

fn write_error(path: &Path) -> impl FnOnce(io::Error) -> TransferError {
    let path = path.to_owned();
    move |source| TransferError::Write { path, source }
}
