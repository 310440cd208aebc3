//! Streams into a sandbox: the WebSocket `GET /v1/sandboxes/{name}/streams`.
//!
//! The client's first text frame is a [`StreamRequest`]. Afterwards binary frames carry input (client → gateway; an
//! empty one ends it) and output (gateway → client; first byte 1 = stdout, 2 = stderr); text frames carry
//! [`StreamControl`] (client → gateway) and [`StreamEvent`] (gateway → client), the last of which tells the end.
//!
//! A stream whose client goes away ends, unless it is resumable: then its sandbox keeps it for [`GRACE_S`] seconds, with
//! whatever output the client has not confirmed, and another WebSocket can take it up again. The gateway keeps nothing
//! of it, so a gateway that restarts in between changes nothing. A client that closes its WebSocket with code 1000 leaves for
//! good: nothing is kept.

use serde::{Deserialize, Serialize};

use crate::sandbox::{ExecRequest, WindowSize};

/// How long a resumable stream outlives its connection, in seconds.
pub const GRACE_S: u64 = 120;

/// What a stream is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum StreamRequest {
    /// Run a command; input and output are its standard streams.
    Exec {
        /// What to run.
        exec: ExecRequest,
        /// Keep it when the connection is lost. Answered by [`StreamEvent::Started`]; the client then confirms output
        /// with [`StreamControl::Received`], and is told with [`StreamEvent::Taken`] which input need not be kept.
        #[serde(default)]
        resumable: bool,
    },
    /// Take a resumable stream up again. Answered by [`StreamEvent::Resumed`], then by the output after `received`.
    Resume {
        /// As [`StreamEvent::Started`] named it.
        session: String,
        /// Output that the client has, in bytes since the stream began.
        received: u64,
    },
    /// Write a tree into the sandbox: input is a tar stream, its root named as the source is.
    Upload {
        /// Where to; a relative path starts at the working directory. A directory that exists, or a path that ends in
        /// `/`, receives the root under its name; otherwise the root gets this name.
        path: String,
    },
    /// Read a tree out of the sandbox: output is a tar stream.
    Download {
        /// The file or directory; a relative path starts at the working directory.
        path: String,
    },
    /// Connect to a TCP port on the sandbox's own loopback.
    Forward {
        /// The port.
        port: u16,
    },
    /// Serve the sandbox's files: input and output speak SFTP, version 3 (draft-ietf-secsh-filexfer-02).
    Sftp,
}

/// What a client says while a stream lasts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum StreamControl {
    /// The client's terminal changed size.
    Resize(WindowSize),
    /// Send a signal to the command.
    Signal {
        /// As in `signal(7)`.
        signal: i32,
    },
    /// The client has so much output, in bytes since the stream began: of resumable streams. The client of a port that says so
    /// knows half-closed connections: an empty frame of output is the port's end of output, and the stream goes on until the
    /// client ends its input, or the port takes no more of it.
    Received {
        /// Bytes.
        bytes: u64,
    },
}

/// What a client is told beside output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum StreamEvent {
    /// A resumable stream has begun.
    Started {
        /// Names it for [`StreamRequest::Resume`]; not to be guessed.
        session: String,
    },
    /// A stream goes on.
    Resumed {
        /// Input that arrived, in bytes since the stream began; what came after it is to be sent again.
        input: u64,
        /// Whether the end of input arrived.
        ended: bool,
    },
    /// The command took further input: what comes before `input` need not be kept. Only of resumable streams.
    Taken {
        /// Further bytes, of what was sent on this connection.
        bytes: u64,
        /// All that it took, in bytes since the stream began. Absent from older sandboxes.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        input: Option<u64>,
    },
    /// It ended; 128 + n if signal n ended the command.
    Exited {
        /// Exit code.
        code: i32,
        /// The signal that ended the command, as in `signal(7)`; absent where it ended by itself.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        signal: Option<i32>,
    },
    /// It could not begin, or broke off.
    Failed {
        /// Why, in words.
        reason: String,
    },
}

impl StreamEvent {
    /// Whether nothing follows it.
    pub fn is_last(&self) -> bool {
        matches!(self, Self::Exited { .. } | Self::Failed { .. })
    }
}
