//! What waits to be sent on one link: bounded, and with a way past for what is urgent.

use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::SplitSink;
use futures_util::{SinkExt, StreamExt};
use openshell_api::link::FromSupervisor;
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite;
use tokio_tungstenite::tungstenite::Message;

use super::dialer::Socket;

/// A gateway that takes nothing for so long is gone.
const SEND_TIMEOUT: Duration = Duration::from_secs(30);

/// The link has ended; what was to be sent is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the link to the gateway has ended")]
pub(super) struct LinkEnded;

/// Sends on one link. Waits while the link is busy. Cheap to clone.
#[derive(Clone)]
pub(super) struct Outbox {
    urgent: mpsc::Sender<Message>,
    bulk: mpsc::Sender<Message>,
}

/// The other side of an [`Outbox`].
pub(super) struct Queue {
    urgent: mpsc::Receiver<Message>,
    bulk: mpsc::Receiver<Message>,
    /// Bulk that was taken, and is to be sent once nothing urgent is left that was there before it.
    held: Option<Message>,
}

impl Queue {
    /// The next message; `None`: every [`Outbox`] is gone.
    async fn next(&mut self) -> Option<Message> {
        if self.held.is_none() {
            tokio::select! {
                biased;
                Some(message) = self.urgent.recv() => return Some(message),
                message = self.bulk.recv() => self.held = message,
            }
        }
        // Between a look at one queue and a look at the other both may have been filled. `try_recv` waits for what is half there.
        match self.urgent.try_recv() {
            Ok(message) => Some(message),
            Err(_) => self.held.take(),
        }
    }
}

pub(super) fn outbox() -> (Outbox, Queue) {
    let (urgent, urgent_queue) = mpsc::channel(256);
    let (bulk, bulk_queue) = mpsc::channel(8);
    (Outbox { urgent, bulk }, Queue { urgent: urgent_queue, bulk: bulk_queue, held: None })
}

impl Outbox {
    /// Sends a message past everything that is bulk.
    pub async fn send(&self, message: &FromSupervisor) -> Result<(), LinkEnded> {
        self.urgent.send(text(message)?).await.map_err(|_| LinkEnded)
    }

    /// Sends a message after the bulk queued before it, such as the end of an exec after its output.
    pub async fn send_in_order(&self, message: &FromSupervisor) -> Result<(), LinkEnded> {
        self.bulk.send(text(message)?).await.map_err(|_| LinkEnded)
    }

    /// Sends JSON text that is a [`FromSupervisor`] already.
    pub async fn send_text(&self, text: String) -> Result<(), LinkEnded> {
        self.bulk.send(Message::text(text)).await.map_err(|_| LinkEnded)
    }

    /// Sends bytes.
    pub async fn send_bytes(&self, bytes: Bytes) -> Result<(), LinkEnded> {
        self.bulk.send(Message::Binary(bytes)).await.map_err(|_| LinkEnded)
    }

    /// Asks the gateway for a sign of life.
    pub async fn ping(&self) -> Result<(), LinkEnded> {
        self.urgent.send(Message::Ping(Bytes::new())).await.map_err(|_| LinkEnded)
    }
}

fn text(message: &FromSupervisor) -> Result<Message, LinkEnded> {
    serde_json::to_string(message).map(Message::text).map_err(|error| {
        tracing::error!(%error, "a message to the gateway can't be serialized");
        LinkEnded
    })
}

/// Sends until every [`Outbox`] is gone or the link fails.
pub(super) async fn write(mut sink: SplitSink<Socket, Message>, mut queue: Queue) -> Result<(), tungstenite::Error> {
    while let Some(next) = queue.next().await {
        let sent = tokio::time::timeout(SEND_TIMEOUT, sink.send(next)).await;
        sent.map_err(|_| tungstenite::Error::Io(std::io::ErrorKind::TimedOut.into()))??;
    }
    sink.close().await
}

/// Splits a link's stream.
pub(super) fn split(socket: Socket) -> (SplitSink<Socket, Message>, futures_util::stream::SplitStream<Socket>) {
    socket.split()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_urgent_goes_before_bulk_that_was_taken_and_nothing_is_lost() {
        let (sender, mut queue) = outbox();
        queue.held = Some(Message::text("held"));
        sender.bulk.send(Message::text("bulk")).await.unwrap();
        for urgent in ["first", "second"] {
            sender.urgent.send(Message::text(urgent)).await.unwrap();
        }
        drop(sender);
        let mut order = Vec::new();
        while let Some(message) = queue.next().await {
            order.push(message.to_text().unwrap().to_owned());
        }
        assert_eq!(order, ["first", "second", "held", "bulk"]);
    }
}
