//! TCP connections of this machine, carried to a port in a sandbox.

use bytes::Bytes;
use openshell_api::Name;
use openshell_api::stream::{StreamEvent, StreamRequest};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::Access;
use super::stream::{self, CHUNK, Incoming, Receiver, STDOUT, Sender};
use crate::error::Error;

/// Carries one connection until both directions, or the sandbox's side, have ended.
pub async fn carry(
    access: &Access,
    sandbox: &Name,
    request: &StreamRequest,
    read: impl AsyncRead + Send + Unpin + 'static,
    write: impl AsyncWrite + Unpin,
) -> Result<(), Error> {
    let (sender, receiver) = stream::open(access, sandbox, request).await?;
    relay(sender, receiver, read, write).await
}

/// Carries an open stream's bytes to and fro.
pub async fn relay(
    sender: Sender,
    receiver: Receiver,
    read: impl AsyncRead + Send + Unpin + 'static,
    write: impl AsyncWrite + Unpin,
) -> Result<(), Error> {
    let input = tokio::spawn(send(sender, read));
    let output = receive(receiver, write).await;
    input.abort();
    output
}

async fn send(mut sender: Sender, mut read: impl AsyncRead + Unpin) {
    let mut buffer = vec![0; CHUNK];
    loop {
        let count = read.read(&mut buffer).await.unwrap_or(0);
        if sender.bytes(Bytes::copy_from_slice(&buffer[..count])).await.is_err() {
            return;
        }
        if count == 0 {
            // The other direction may go on; dropping the sender would not end the stream anyway.
            return std::future::pending().await;
        }
    }
}

async fn receive(mut receiver: Receiver, mut write: impl AsyncWrite + Unpin) -> Result<(), Error> {
    loop {
        match receiver.next().await? {
            Incoming::Output(STDOUT, data) => {
                write.write_all(&data).await.map_err(Error::io("pass on what the sandbox sent"))?;
                write.flush().await.map_err(Error::io("pass on what the sandbox sent"))?;
            }
            Incoming::Event(StreamEvent::Exited { .. }) => {
                let _ = write.shutdown().await;
                return Ok(());
            }
            Incoming::Event(StreamEvent::Failed { reason }) => return Err(Error::Forward { reason }),
            Incoming::Output(..) | Incoming::Event(_) => {}
        }
    }
}
