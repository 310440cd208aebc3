//! Files and folders into a sandbox and out of it, as tar streams.

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use bytes::{Buf as _, Bytes};
use openshell_api::Name;
use openshell_api::stream::{StreamEvent, StreamRequest};
use openshell_transfer::{Destination, Summary, TransferError, pack, unpack};
use tokio::sync::mpsc;

use super::Access;
use super::signals::Signals;
use super::stream::{self, Incoming, Receiver, STDERR, STDOUT};
use crate::error::Error;

/// Longest frame, in bytes.
const CHUNK: usize = 128 * 1024;
/// Frames that may wait between disk and network.
const WAITING: usize = 8;
/// Longest message of a sandbox that is shown, in bytes.
const MAX_MESSAGE: usize = 4096;

/// Sends the tree at `source` to `path` in the sandbox.
pub async fn upload(access: &Access, sandbox: &Name, source: &Path, path: &str) -> Result<Summary, Error> {
    let request = StreamRequest::Upload { path: path.to_owned() };
    let (mut sender, receiver) = stream::open(access, sandbox, &request).await?;
    let (pieces, mut queue) = mpsc::channel::<Bytes>(WAITING);
    let source: PathBuf = source.to_owned();
    let packing =
        tokio::task::spawn_blocking(move || pack(&source, io::BufWriter::with_capacity(CHUNK, Pieces(pieces))));
    let end = tokio::spawn(finish(receiver, None));
    while let Some(piece) = queue.recv().await {
        // The sandbox's own word about it is better than that of the connection.
        if sender.bytes(piece).await.is_err() {
            break;
        }
    }
    drop(queue);
    let packed = packing.await.map_err(|e| Error::ExecBroken { reason: e.to_string() })?;
    match packed {
        Ok(summary) => {
            let _ = sender.bytes(Bytes::new()).await;
            joined(end.await)?;
            Ok(summary)
        }
        // The sandbox ended it first, and says why.
        Err(TransferError::Stream(_)) => {
            joined(end.await)?;
            Err(Error::ExecBroken { reason: "the sandbox took no more of it".into() })
        }
        Err(error) => Err(error.into()),
    }
}

/// Receives the tree at `path` in the sandbox.
pub async fn download(access: &Access, sandbox: &Name, path: &str, destination: &Path) -> Result<Summary, Error> {
    let request = StreamRequest::Download { path: path.to_owned() };
    let (_sender, receiver) = stream::open(access, sandbox, &request).await?;
    // Not before: until then nothing would answer to them.
    let mut signals = Signals::listen();
    let (pieces, queue) = mpsc::channel::<Bytes>(WAITING);
    let destination = Destination::choose(destination);
    let mut unpacking = tokio::task::spawn_blocking(move || {
        let input = Queue { queue, piece: Bytes::new() };
        unpack(input, &destination)
    });
    let mut end = Box::pin(finish(receiver, Some(pieces)));
    let broken = |e: tokio::task::JoinError| Error::ExecBroken { reason: e.to_string() };
    let (unpacked, end) = tokio::select! {
        end = &mut end => (unpacking.await.map_err(broken)?, end),
        unpacked = &mut unpacking => match unpacked.map_err(broken)? {
            Ok(summary) => (Ok(summary), end.await),
            // The rest is not asked for: it can't be kept.
            Err(error) => return Err(error.into()),
        },
        _ = signals.next(false) => {
            // What comes no more is the end of it; a file that was begun is removed.
            drop(end);
            let _ = unpacking.await;
            return Err(Error::Interrupted { done: "files that were whole are there, others are not" });
        }
    };
    match (unpacked, end) {
        // What arrived can't be kept: that explains why the rest was not taken.
        (
            Err(error @ (TransferError::Write { .. } | TransferError::Outside { .. } | TransferError::Kind { .. })),
            _,
        ) => Err(error.into()),
        (_, Err(error)) => Err(error),
        (Err(error), Ok(())) => Err(error.into()),
        (Ok(summary), Ok(())) => Ok(summary),
    }
}

fn joined(end: Result<Result<(), Error>, tokio::task::JoinError>) -> Result<(), Error> {
    end.map_err(|e| Error::ExecBroken { reason: e.to_string() })?
}

/// Waits for the end; passes results on as they come. What the sandbox says for people is the error, if there is one.
async fn finish(mut receiver: Receiver, mut pieces: Option<mpsc::Sender<Bytes>>) -> Result<(), Error> {
    let mut message = Vec::new();
    loop {
        match receiver.next().await? {
            Incoming::Output(STDOUT, data) => {
                if let Some(sender) = &pieces
                    && sender.send(data).await.is_err()
                {
                    pieces = None;
                }
            }
            Incoming::Output(STDERR, data) => {
                let room = MAX_MESSAGE.saturating_sub(message.len());
                message.extend_from_slice(&data[..data.len().min(room)]);
            }
            Incoming::Event(StreamEvent::Exited { code: 0, .. }) => return Ok(()),
            Incoming::Event(StreamEvent::Exited { code, .. }) => {
                let text = String::from_utf8_lossy(&message).trim().to_owned();
                let reason = if text.is_empty() { format!("it ended with code {code}") } else { text };
                return Err(Error::Transfer { reason });
            }
            Incoming::Event(StreamEvent::Failed { reason }) => return Err(Error::Transfer { reason }),
            Incoming::Output(..) | Incoming::Event(_) => {}
        }
    }
}

/// Writes into a channel; waits while it is full. Only for threads that may block.
struct Pieces(mpsc::Sender<Bytes>);

impl Write for Pieces {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let piece = Bytes::copy_from_slice(&data[..data.len().min(CHUNK)]);
        let length = piece.len();
        self.0.blocking_send(piece).map_err(|_| io::ErrorKind::BrokenPipe)?;
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Reads from a channel. Only for threads that may block.
struct Queue {
    queue: mpsc::Receiver<Bytes>,
    piece: Bytes,
}

impl Read for Queue {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            match self.queue.blocking_recv() {
                Some(piece) => self.piece = piece,
                None => return Ok(0),
            }
        }
        let length = buffer.len().min(self.piece.len());
        self.piece.copy_to_slice(&mut buffer[..length]);
        Ok(length)
    }
}
