//! A link that other gateways use: what they say goes to the supervisor, and what it answers them goes back.
//!
//! Each relay has a number, and the channels it opens bear it in their upper bits. Attempts and questions have names that nobody else
//! uses. What a relay leaves unfinished when it ends is taken back: an attempt is aborted, a stream is without a client.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::extract::ws::{Message, WebSocket};
use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use openshell_api::link::{FromSupervisor, ToSupervisor};
use tokio::sync::mpsc;

use super::session::{self, Fault};
use super::{Link, LinkClosed};
use crate::gateway::Gateway;
use crate::signing::Signing;

/// Where a gateway asks for a relay; the sandbox's id follows.
pub(crate) const PATH: &str = "/internal/v1/links/";
/// Bits of a channel's number that are the relay's own.
pub(super) const CHANNEL_BITS: u32 = 40;
/// Between two signs of life of either end of a relay.
pub(crate) const PING_EVERY: Duration = Duration::from_secs(4);
/// An end that says nothing for so long is gone.
pub(crate) const SILENCE: Duration = Duration::from_secs(12);
/// How long one that does not read may hold up the link.
const STALL: Duration = Duration::from_secs(5);

/// The relays of a link, by number.
#[derive(Default)]
pub(super) struct Relays {
    next: AtomicU64,
    open: std::sync::Mutex<HashMap<u64, Relay>>,
}

struct Relay {
    out: mpsc::Sender<Message>,
    /// Attempts that have begun, and whether something was staged for them.
    pushes: HashSet<String>,
    questions: HashSet<String>,
    streams: HashSet<u64>,
}

impl Relays {
    fn table(&self) -> std::sync::MutexGuard<'_, HashMap<u64, Relay>> {
        self.open.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Ends all of them.
    pub(super) fn clear(&self) {
        self.table().clear();
    }

    /// Whose a supervisor's message is; `None`: of none of them.
    fn addressee(&self, message: &FromSupervisor) -> Option<mpsc::Sender<Message>> {
        let mut table = self.table();
        let of_channel = |channel: &u64| *channel >> CHANNEL_BITS;
        let relay = match message {
            FromSupervisor::Need { push, .. } | FromSupervisor::Staged { push } => {
                table.values_mut().find(|relay| relay.pushes.contains(push))?
            }
            // The last words about an attempt.
            FromSupervisor::Refused { push, .. } | FromSupervisor::Enforcing { push, .. } => {
                table.values_mut().find_map(|relay| relay.pushes.remove(push).then_some(relay))?
            }
            FromSupervisor::Verified { id, .. }
            | FromSupervisor::GivenBack { id, .. }
            | FromSupervisor::SessionsReset { id } => {
                table.values_mut().find_map(|relay| relay.questions.remove(id).then_some(relay))?
            }
            FromSupervisor::ExecCredit { channel, .. } => table.get_mut(&of_channel(channel))?,
            FromSupervisor::Stream { channel, event } => {
                let relay = table.get_mut(&of_channel(channel))?;
                if event.is_last() {
                    relay.streams.remove(channel);
                }
                relay
            }
            FromSupervisor::ExecExited { channel, .. } | FromSupervisor::ExecFailed { channel, .. } => {
                let relay = table.get_mut(&of_channel(channel))?;
                relay.streams.remove(channel);
                relay
            }
            _ => return None,
        };
        Some(relay.out.clone())
    }

    fn end(&self, number: u64) -> Option<Relay> {
        self.table().remove(&number)
    }

    /// Passes a supervisor's message on to the gateway that waits for it; gives it back if that is this one.
    pub(super) async fn pass(&self, message: FromSupervisor) -> Result<Option<FromSupervisor>, serde_json::Error> {
        let Some(out) = self.addressee(&message) else { return Ok(Some(message)) };
        self.deliver(&out, Message::text(serde_json::to_string(&message)?)).await;
        Ok(None)
    }

    /// The same for bytes; `false`: they are for this gateway.
    pub(super) async fn pass_bytes(&self, channel: u64, frame: &[u8]) -> bool {
        let number = channel >> CHANNEL_BITS;
        if number == 0 {
            return false;
        }
        let out = self.table().get(&number).map(|relay| relay.out.clone());
        if let Some(out) = out {
            self.deliver(&out, Message::Binary(Bytes::copy_from_slice(frame))).await;
        }
        true
    }

    async fn deliver(&self, out: &mpsc::Sender<Message>, message: Message) {
        if out.send_timeout(message, STALL).await.is_err() {
            self.table().retain(|_, relay| !relay.out.same_channel(out));
        }
    }
}

/// What a gateway may say through a relay.
#[derive(Debug, thiserror::Error)]
enum Misuse {
    #[error("a message does not parse: {0}")]
    Malformed(#[from] serde_json::Error),
    #[error("it is not for a relay to say")]
    NotIts,
    #[error(transparent)]
    Closed(#[from] LinkClosed),
}

/// Serves another gateway's use of a link until either ends.
pub(crate) async fn serve(link: Arc<Link>, signing: Arc<Signing>, socket: WebSocket) {
    let number = link.relays.next.fetch_add(1, Ordering::Relaxed) + 1;
    let (out, mut queue) = mpsc::channel(64);
    let relay = Relay { out, pushes: HashSet::new(), questions: HashSet::new(), streams: HashSet::new() };
    link.relays.table().insert(number, relay);
    let (mut sink, mut stream) = socket.split();
    let writing = async {
        let mut ping = tokio::time::interval(PING_EVERY);
        if sink.send(Message::text(number.to_string())).await.is_err() {
            return;
        }
        loop {
            let message = tokio::select! {
                message = queue.recv() => match message {
                    Some(message) => message,
                    None => return,
                },
                _ = ping.tick() => Message::Ping(Bytes::new()),
            };
            if sink.send(message).await.is_err() {
                return;
            }
        }
    };
    let reading = async {
        while let Ok(Some(Ok(message))) = tokio::time::timeout(SILENCE, stream.next()).await {
            let said = match message {
                Message::Text(text) => say(&link, &signing, number, &text).await,
                Message::Binary(frame) => say_bytes(&link, number, frame).await,
                Message::Close(_) => return,
                Message::Ping(_) | Message::Pong(_) => Ok(()),
            };
            match said {
                Ok(()) => {}
                Err(Misuse::Closed(_)) => return,
                Err(misuse) => return tracing::warn!(sandbox = link.sandbox_id(), %misuse, "a relay was ended"),
            }
        }
    };
    tokio::select! {
        () = link.ended() => {}
        () = writing => {}
        () = reading => {}
    }
    let Some(left) = link.relays.end(number) else { return };
    for channel in left.streams {
        let _ = link.send(ToSupervisor::Detach { channel, done: false }).await;
    }
    if !left.pushes.is_empty() {
        // It may have been committed. What the sandbox says when it links again tells whether it has it, and brings it if not.
        tracing::warn!(
            sandbox = link.sandbox_id(),
            "a gateway went away in the middle of a push; the link begins anew"
        );
        link.close();
    }
}

async fn say(link: &Link, signing: &Signing, number: u64, text: &str) -> Result<(), Misuse> {
    let message: ToSupervisor = serde_json::from_str(text)?;
    let own = |channel: u64| match channel >> CHANNEL_BITS == number {
        true => Ok(()),
        false => Err(Misuse::NotIts),
    };
    let with = |change: &mut dyn FnMut(&mut Relay) -> bool| {
        link.relays.table().get_mut(&number).map(change).map(|_| ()).ok_or(Misuse::Closed(LinkClosed))
    };
    match &message {
        ToSupervisor::Stage { push, generation } => {
            // As on a link of this gateway's own: not before its supervisor trusts the key. One that nobody here knows the supervisor judges.
            if let Some(signer) = signing.signer(generation)
                && let Err(error) = link.until_trusted(&signer).await
            {
                let refused = FromSupervisor::Refused { push: push.clone(), reason: error.to_string() };
                let out = link.relays.table().get(&number).map(|relay| relay.out.clone());
                let out = out.ok_or(Misuse::Closed(LinkClosed))?;
                link.relays.deliver(&out, Message::text(serde_json::to_string(&refused)?)).await;
                return Ok(());
            }
            with(&mut |relay| relay.pushes.insert(push.clone()))?;
        }
        ToSupervisor::Abort { push } => with(&mut |relay| relay.pushes.remove(push))?,
        ToSupervisor::Verify { id } | ToSupervisor::GiveBack { id, .. } | ToSupervisor::ResetSessions { id, .. } => {
            with(&mut |relay| relay.questions.insert(id.clone()))?
        }
        ToSupervisor::Open { channel, .. } => {
            own(*channel)?;
            with(&mut |relay| relay.streams.insert(*channel))?;
        }
        ToSupervisor::Detach { channel, .. } => {
            own(*channel)?;
            with(&mut |relay| relay.streams.remove(channel))?;
        }
        ToSupervisor::Artifact { channel, .. }
        | ToSupervisor::Received { channel, .. }
        | ToSupervisor::ExecResize { channel, .. }
        | ToSupervisor::ExecSignal { channel, .. }
        | ToSupervisor::ExecCredit { channel, .. } => own(*channel)?,
        ToSupervisor::Activate { .. }
        | ToSupervisor::Secrets { .. }
        | ToSupervisor::ProposalDecided { .. }
        | ToSupervisor::Shutdown => {}
        // The gateway that holds the link says these, and nobody else.
        ToSupervisor::Sessions { .. }
        | ToSupervisor::Spent { .. }
        | ToSupervisor::Share { .. }
        | ToSupervisor::Proposal { .. }
        | ToSupervisor::RecordsStored { .. }
        | ToSupervisor::LogsStored { .. }
        | ToSupervisor::Rekey { .. }
        | ToSupervisor::Trust { .. }
        | ToSupervisor::SigningKeys { .. }
        | ToSupervisor::Gateways { .. } => return Err(Misuse::NotIts),
    }
    Ok(link.send(message).await?)
}

async fn say_bytes(link: &Link, number: u64, frame: Bytes) -> Result<(), Misuse> {
    let channel = frame.first_chunk::<8>().map(|channel| u64::from_be_bytes(*channel));
    match channel.is_some_and(|channel| channel >> CHANNEL_BITS == number) {
        true => Ok(link.send_frame(frame).await?),
        false => Err(Misuse::NotIts),
    }
}

/// Takes what a supervisor said through another gateway.
pub(crate) async fn take(gateway: &Arc<Gateway>, link: &Arc<Link>, text: &str) -> Result<(), Fault> {
    session::answered(gateway, link, serde_json::from_str(text)?);
    Ok(())
}

/// The same for bytes.
pub(crate) async fn take_bytes(link: &Link, frame: &[u8]) -> Result<(), Fault> {
    session::output(link, frame).await
}
