//! TCP connections of this machine, carried to a port in a sandbox. Either side may end its direction and still listen.

use bytes::Bytes;
use openshell_api::Name;
use openshell_api::stream::{StreamControl, StreamEvent, StreamRequest};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::Access;
use super::stream::{self, CHUNK, Incoming, Receiver, STDOUT, Sender};
use crate::error::Error;

/// What a client of a port says that can tell the end of output from the end.
pub const KNOWS_HALF_CLOSED: StreamControl = StreamControl::Received { bytes: 0 };

/// Carries one connection until both directions have ended, or the sandbox takes no more.
pub async fn carry(
    access: &Access,
    sandbox: &Name,
    request: &StreamRequest,
    read: impl AsyncRead + Send + Unpin + 'static,
    write: impl AsyncWrite + Unpin,
) -> Result<(), Error> {
    let (mut sender, receiver) = stream::open(access, sandbox, request).await?;
    sender.control(&KNOWS_HALF_CLOSED).await?;
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
            Incoming::Output(STDOUT, data) if data.is_empty() => {
                write.shutdown().await.map_err(Error::io("pass on that the sandbox sent everything"))?;
            }
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
