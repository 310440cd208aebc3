//! What supervisor and init say to each other: one JSON document per packet, descriptors beside it.
//!
//! Only these two hold the socket; the workload never sees it. Long texts (argv, environment) travel in a memfd.

use std::collections::BTreeMap;
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::PathBuf;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{Overlay, Wall, Walls, sys};

/// Longest packet; whatever may be longer goes through a memfd.
const PACKET: usize = 64 * 1024;
/// Longest document in a memfd: more than the kernel's own limit on argv and environment with room for JSON's escapes, and than
/// all overlays of a sandbox.
const DOCUMENT: u64 = 32 * 1024 * 1024;
/// Most descriptors in one packet.
const DESCRIPTORS: usize = 8;

/// First message to init, in the memfd beside an empty packet.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Setup {
    pub workspace: PathBuf,
    pub workspace_writable: bool,
    pub hidden: Vec<PathBuf>,
    pub walls: Walls,
    pub hostname: String,
    pub proxy_port: u16,
    pub overlays: Vec<Overlay>,
    pub allow_degraded: Vec<Wall>,
}

/// From supervisor to a sealed init.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Command {
    /// Descriptors: the [`Program`]'s memfd, then stdin, stdout, stderr unless it asks for a terminal.
    Spawn { id: u64 },
    /// Descriptors: the targets' document, a socket for leave to begin (one byte) and for what was found, and, where every
    /// wall stands, a foreign directory.
    Probe { id: u64 },
    /// To the process group that `id` leads.
    Signal { id: u64, signal: i32 },
}

/// A program to start.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Program {
    pub argv: Vec<String>,
    pub env: BTreeMap<String, String>,
    pub cwd: PathBuf,
    /// Columns and rows of the terminal to give it.
    pub terminal: Option<(u16, u16)>,
    /// Instead of executing a program, `init`'s child does this.
    #[serde(default)]
    pub task: Option<Task>,
}

/// Work of ours that is done inside, by a process that is confined as the workload is. Needs no program in the sandbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Task {
    /// Write the tree at `path` to standard output, as a tar stream.
    Pack {
        /// Relative to the working directory.
        path: PathBuf,
    },
    /// Write the tar stream at standard input to `path`.
    Unpack {
        /// Relative to the working directory.
        path: PathBuf,
    },
    /// Connect to a port on loopback and hand the socket over on standard input, a socket itself.
    Dial {
        /// The port.
        port: u16,
    },
    /// Speak SFTP on standard input and output; relative paths start at the working directory.
    Sftp,
}

/// From init to the supervisor.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Report {
    /// Init exists; its process id as the supervisor's kernel numbers it.
    Forked { pid: i32 },
    /// A step failed; init ends.
    Failed { step: String, detail: String },
    /// A wall is missing and that is not accepted; init ends.
    Degraded { wall: Wall, detail: String },
    /// Sealed. Descriptors: notify, DNS over UDP, DNS over TCP, then the proxy's listeners.
    Sealed { uid: u32, gid: u32, degraded: Vec<Wall> },
    /// Started. Descriptor: the terminal's master, if one was asked for.
    Spawned { id: u64, pid: i32 },
    /// Not started; for want of its working directory, or else of the program.
    Refused { id: u64, errno: i32, directory: bool },
    /// Ended; a raw `wait` status.
    Exited { id: u64, status: i32 },
}

/// Bytes in JSON as base64: a list of numbers would be three times as long.
pub(super) mod in_base64 {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use serde::{Deserialize as _, Deserializer, Serializer, de};

    pub fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(bytes))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        STANDARD.decode(String::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

/// Sends one message.
pub(super) fn send<T: Serialize>(socket: BorrowedFd<'_>, message: &T, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    let bytes = serde_json::to_vec(message)?;
    if bytes.len() > PACKET || fds.len() > DESCRIPTORS {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "message too long for the control socket"));
    }
    sys::send_packet(socket, &bytes, fds)
}

/// Receives one message; `None` at the end of the connection. A truncated packet is an error.
pub(super) fn receive<T: DeserializeOwned>(socket: BorrowedFd<'_>) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
    let mut buffer = vec![0; PACKET];
    let (length, fds) = sys::receive_packet(socket, &mut buffer, DESCRIPTORS)?;
    if length == 0 {
        return Ok(None);
    }
    Ok(Some((serde_json::from_slice(&buffer[..length])?, fds)))
}

/// Writes a document into a fresh memfd.
pub(super) fn document<T: Serialize>(value: &T) -> io::Result<OwnedFd> {
    let mut file = sys::memfd(c"openshell")?;
    file.write_all(&serde_json::to_vec(value)?)?;
    Ok(file.into())
}

/// Reads a document from a memfd.
pub(super) fn read_document<T: DeserializeOwned>(fd: OwnedFd) -> io::Result<T> {
    let mut file = std::fs::File::from(fd);
    file.rewind()?;
    let mut text = Vec::new();
    file.take(DOCUMENT).read_to_end(&mut text)?;
    Ok(serde_json::from_slice(&text)?)
}
