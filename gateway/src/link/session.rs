//! One link from its first message to its end.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, WebSocket, close_code};
use bytes::Bytes;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt as _, StreamExt as _};
use openshell_api::link::{FromSupervisor, RecordsText, ToSupervisor};
use openshell_api::proposal::ProposalStatus;
use openshell_api::sandbox::Phase;
use openshell_api::stream::StreamEvent;
use tokio::sync::mpsc;

use super::attempt::{Enforced, Event};
use super::outgoing::{Next, Outgoing};
use super::reports::{self, Report};
use super::{Link, Trusts, keys, reset};
use crate::error::{ApiError, ApiResult};
use crate::gateway::Gateway;
use crate::modules::Transfer;
use crate::signing::rotation;
use crate::store::{StoreError, SupervisorKey};
use crate::{authority, budgets, lifecycle, proposals, push};

const HELLO_TIMEOUT: Duration = Duration::from_secs(10);
const PING_EVERY: Duration = Duration::from_secs(20);
/// A link on which nothing arrives for so long (not even a pong) is given up.
const SILENCE: Duration = Duration::from_secs(45);
const SEND_TIMEOUT: Duration = Duration::from_secs(30);

/// Why a link was ended by the gateway.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    #[error("the first message was not Hello")]
    NoHello,
    #[error("a message does not parse: {0}")]
    Malformed(#[from] serde_json::Error),
    #[error("a binary frame is shorter than its channel number")]
    ShortFrame,
    #[error("nothing arrived for {} s", SILENCE.as_secs())]
    Silent,
    #[error("the gateway could not keep what it was told: {0}")]
    Store(#[from] StoreError),
    #[error(transparent)]
    Api(#[from] ApiError),
}

/// Serves a supervisor's link until it ends.
pub async fn serve(gateway: Arc<Gateway>, key: SupervisorKey, socket: WebSocket) {
    let sandbox_id = key.sandbox_id.clone();
    let (sink, stream) = socket.split();
    let (link, outgoing) = gateway.links.open(&sandbox_id);
    let writer = tokio::spawn(write(link.clone(), outgoing, sink));
    match read(&gateway, &link, key, stream).await {
        Ok(()) => tracing::info!(sandbox = sandbox_id, "a supervisor's link ended"),
        Err(fault) => tracing::warn!(sandbox = sandbox_id, %fault, "a supervisor's link was ended"),
    }
    gateway.links.forget(&link);
    let _ = writer.await;
    if let Some(replicas) = &gateway.replicas
        && let Err(error) = gateway.store.drop_link(&sandbox_id, &replicas.me.id, link.number()).await
    {
        tracing::debug!(sandbox = sandbox_id, %error, "the end of a link was not stored");
    }
    gateway.changed.sandboxes();
}

async fn write(link: Arc<Link>, mut outgoing: Outgoing, mut sink: SplitSink<WebSocket, Message>) {
    let mut ping = tokio::time::interval(PING_EVERY);
    loop {
        let message = tokio::select! {
            biased;
            () = link.closed.cancelled() => break,
            next = outgoing.next() => match next {
                Next::Control(message) => match serde_json::to_string(&message) {
                    Ok(text) => Message::text(text),
                    Err(error) => {
                        tracing::error!(%error, "a message to a supervisor can't be written");
                        break;
                    }
                },
                Next::Data(frame) => Message::Binary(frame),
            },
            _ = ping.tick() => Message::Ping(Bytes::new()),
        };
        match tokio::time::timeout(SEND_TIMEOUT, sink.send(message)).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) | Err(_) => break,
        }
    }
    link.close();
    let close =
        Message::Close(Some(CloseFrame { code: close_code::AWAY, reason: "the gateway ended the link".into() }));
    let _ = tokio::time::timeout(Duration::from_secs(1), sink.send(close)).await;
}

/// The next message; `None`: the link has ended.
async fn next(link: &Link, stream: &mut SplitStream<WebSocket>, within: Duration) -> Result<Option<Message>, Fault> {
    tokio::select! {
        () = link.closed.cancelled() => Ok(None),
        message = tokio::time::timeout(within, stream.next()) => match message {
            Err(_) => Err(Fault::Silent),
            Ok(Some(Ok(Message::Close(_)) | Err(_)) | None) => Ok(None),
            Ok(Some(Ok(message))) => Ok(Some(message)),
        },
    }
}

async fn read(
    gateway: &Arc<Gateway>,
    link: &Arc<Link>,
    key: SupervisorKey,
    mut stream: SplitStream<WebSocket>,
) -> Result<(), Fault> {
    let id = link.sandbox_id();
    let hello = loop {
        match next(link, &mut stream, HELLO_TIMEOUT).await? {
            Some(Message::Text(text)) => break serde_json::from_str(&text)?,
            Some(Message::Binary(_)) => return Err(Fault::NoHello),
            Some(_) => {}
            None => return Ok(()),
        }
    };
    let FromSupervisor::Hello { version, generation, degraded, exit_code, rekeys, trusts, signing_keys } = hello else {
        return Err(Fault::NoHello);
    };
    tracing::info!(sandbox = id, version, generation, "a supervisor connected");
    let _ = link.enforced.set(generation);
    gateway.store.set_degraded(id, &degraded).await?;
    if let Some(replicas) = &gateway.replicas {
        gateway.store.put_link(id, &replicas.me.id, link.number()).await?;
        let _ = link.send(crate::replicas::told(&gateway.links.gateways())).await;
    }
    if let Some(code) = exit_code {
        gateway.store.set_phase(id, Phase::Exited, Some(code), None).await?;
    }
    gateway.changed.sandboxes();
    link.set_trusts(trusts);
    authority::tell(gateway, link).await;
    link.set_signing_keys(signing_keys.map_or(Trusts::Unsaid, Trusts::These));
    rotation::tell(gateway, link).await;
    let (reports, queue) = mpsc::channel(16);
    let keeper = tokio::spawn(reports::keep(gateway.clone(), link.clone(), queue));
    tokio::spawn(push::catch_up(gateway.clone(), link.clone(), generation));
    tokio::spawn(keys::keep_fresh(gateway.clone(), link.clone(), key, rekeys));

    let result = receive(gateway, link, &mut stream, &reports).await;
    drop(reports);
    let _ = keeper.await;
    result
}

async fn receive(
    gateway: &Arc<Gateway>,
    link: &Arc<Link>,
    stream: &mut SplitStream<WebSocket>,
    reports: &mpsc::Sender<Report>,
) -> Result<(), Fault> {
    while let Some(message) = next(link, stream, SILENCE).await? {
        match message {
            Message::Text(text) if RecordsText::is(&text) => drop(reports.send(Report::Records(vec![text])).await),
            Message::Text(text) => handle(gateway, link, serde_json::from_str(&text)?, reports).await?,
            Message::Binary(frame) => {
                let channel = frame.first_chunk::<8>().map_or(0, |channel| u64::from_be_bytes(*channel));
                if !link.relays.pass_bytes(channel, &frame).await {
                    output(link, &frame).await?;
                }
            }
            Message::Ping(_) | Message::Pong(_) | Message::Close(_) => {}
        }
    }
    Ok(())
}

async fn handle(
    gateway: &Arc<Gateway>,
    link: &Arc<Link>,
    message: FromSupervisor,
    reports: &mpsc::Sender<Report>,
) -> Result<(), Fault> {
    let id = link.sandbox_id();
    // The keeper ends only after this task does, so its queue is open.
    let report = async |report| drop(reports.send(report).await);
    match message {
        FromSupervisor::Hello { .. } => tracing::debug!(sandbox = id, "a second Hello says nothing new"),
        FromSupervisor::Enforcement { degraded, enforcement } => {
            gateway.store.set_walls(id, &degraded, &enforcement).await?;
            gateway.changed.sandboxes();
        }
        FromSupervisor::Trusts { epoch } => link.set_trusts(Some(epoch)),
        FromSupervisor::SigningKeys { keys } => link.set_signing_keys(Trusts::These(keys)),
        FromSupervisor::Rekeyed { id } => drop(link.kept.send_replace(id)),
        FromSupervisor::Running => {
            gateway.store.set_phase(id, Phase::Running, None, None).await?;
            gateway.changed.sandboxes();
            lifecycle::watch_running(gateway, id).await?;
        }
        FromSupervisor::Exited { code } => {
            report(Report::Ended { phase: Phase::Exited, exit_code: Some(code), failure: None }).await;
        }
        FromSupervisor::Failed { reason } => {
            report(Report::Ended { phase: Phase::Failed, exit_code: None, failure: Some(reason) }).await;
        }
        records @ FromSupervisor::Records { .. } => {
            report(Report::Records(vec![serde_json::to_string(&records)?.into()])).await;
        }
        FromSupervisor::Logs { first, lines } => report(Report::Logs { first, lines }).await,
        FromSupervisor::Session { session, sensitivity } => report(Report::Session { session, sensitivity }).await,
        FromSupervisor::NeedShare { question, want } => {
            let (gateway, link) = (gateway.clone(), link.clone());
            tokio::spawn(async move {
                let result = budgets::deal(&gateway, link.sandbox_id(), want).await.map_err(|error| error.0);
                // One who went away asks again.
                let _ = link.send(ToSupervisor::Share { question, result }).await;
            });
        }
        FromSupervisor::SessionsReset { id } => report(Report::Reset { id }).await,
        FromSupervisor::Propose { question, process, proposal } => {
            let (gateway, link) = (gateway.clone(), link.clone());
            tokio::spawn(async move {
                let result = proposals::propose(&gateway, link.sandbox_id(), &process, proposal).await;
                answer(&link, question, result).await;
            });
        }
        FromSupervisor::Proposal { question, id } => {
            let (gateway, link) = (gateway.clone(), link.clone());
            tokio::spawn(async move {
                let result = proposals::stands(&gateway, link.sandbox_id(), &id).await;
                answer(&link, question, result).await;
            });
        }
        // Answers: to another gateway that uses this link, or to this one.
        answer => {
            if let Some(ours) = link.relays.pass(answer).await? {
                answered(gateway, link, ours);
            }
        }
    }
    Ok(())
}

/// Delivers what a supervisor answers to whoever waits for it here.
pub(super) fn answered(gateway: &Arc<Gateway>, link: &Arc<Link>, message: FromSupervisor) {
    match message {
        FromSupervisor::Verified { id, result } => link.proofs.answer(&id, result),
        FromSupervisor::GivenBack { id, shares } => link.shares.answer(&id, shares),
        // The gateway that holds the link has kept what was told before.
        FromSupervisor::SessionsReset { id } => {
            let (gateway, link) = (gateway.clone(), link.clone());
            tokio::spawn(async move {
                if let Err(error) = reset::done(&gateway, &link, &id).await {
                    tracing::error!(sandbox = link.sandbox_id(), %error, "sessions could not be forgotten");
                }
            });
        }
        FromSupervisor::Need { push, digests, have, zstd } => need(gateway, link, &push, digests, have, zstd),
        FromSupervisor::Staged { push } => tell(link, &push, Event::Staged),
        FromSupervisor::Refused { push, reason } => tell(link, &push, Event::Refused(reason)),
        FromSupervisor::Enforcing { push, generation, connections_cut, swap_ns } => {
            tracing::debug!(sandbox = link.sandbox_id(), generation, connections_cut, swap_ns, "enforcing");
            tell(link, &push, Event::Enforcing(Enforced { generation, connections_cut, swap_ns }));
        }
        FromSupervisor::ExecCredit { channel, bytes, taken } => {
            if let Some(outbox) = link.streams().get(&channel) {
                outbox.grant_input(bytes, taken);
            }
        }
        FromSupervisor::Stream { channel, event } => about(link, channel, event),
        FromSupervisor::ExecExited { channel, code, signal } => {
            about(link, channel, StreamEvent::Exited { code, signal });
        }
        FromSupervisor::ExecFailed { channel, reason } => about(link, channel, StreamEvent::Failed { reason }),
        other => tracing::debug!(sandbox = link.sandbox_id(), message = ?std::mem::discriminant(&other), "no answer"),
    }
}

/// Answers a question about a proposal. One who went away asks again.
async fn answer(link: &Link, question: String, result: ApiResult<ProposalStatus>) {
    let result = result.map_err(|error| error.0);
    let _ = link.send(ToSupervisor::Proposal { question, result }).await;
}

fn tell(link: &Link, push: &str, event: Event) {
    // An attempt that was given up meanwhile has no slot.
    if let Some(slot) = link.attempts().get(push) {
        let _ = slot.events.send(event);
    }
}

/// Tells a stream's client. One that went away is nobody's fault.
fn about(link: &Link, channel: u64, event: StreamEvent) {
    let outbox = if event.is_last() { link.streams().remove(&channel) } else { link.streams().get(&channel).cloned() };
    if let Some(outbox) = outbox {
        outbox.tell(event);
    }
}

/// Passes output of a command on. A client that went away is nobody's fault.
pub(super) async fn output(link: &Link, frame: &[u8]) -> Result<(), Fault> {
    let (channel, rest) = frame.split_first_chunk::<8>().ok_or(Fault::ShortFrame)?;
    let channel = u64::from_be_bytes(*channel);
    let outbox = link.streams().get(&channel).cloned();
    if let (Some(outbox), Some((stream, data))) = (outbox, rest.split_first())
        && !outbox.push(*stream, data).await
    {
        link.streams().remove(&channel);
        outbox.fail("its output was not read for too long");
        let _ = link.send(ToSupervisor::Detach { channel, done: true }).await;
    }
    Ok(())
}

/// Sends the artifacts that a supervisor lacks, as what differs from one it has where that is little, else compressed if it takes
/// that. One that asks for others than its attempt refers to gets none: the attempt has failed.
fn need(gateway: &Arc<Gateway>, link: &Arc<Link>, push: &str, digests: Vec<String>, have: Vec<String>, zstd: bool) {
    let unknown = {
        let attempts = link.attempts();
        let Some(slot) = attempts.get(push) else { return };
        digests.iter().find(|digest| !slot.artifacts.contains(*digest)).cloned()
    };
    if let Some(digest) = unknown {
        let reason = format!("its supervisor asks for artifact {digest}, which is not part of it");
        return tell(link, push, Event::Unsent(reason));
    }
    let (gateway, link, push) = (gateway.clone(), link.clone(), push.to_owned());
    tokio::spawn(async move {
        for digest in digests {
            let sending = gateway.modules.transfer(&gateway.store, &digest, &have, zstd).await;
            let Transfer { base, zstd, bytes } = match sending {
                Ok(transfer) => transfer,
                Err(error) => {
                    tell(&link, &push, Event::Unsent(format!("the gateway can't send artifact {digest}: {error}")));
                    return;
                }
            };
            let channel = link.channel();
            let size = bytes.len() as u64;
            let sent = async {
                link.send(ToSupervisor::Artifact { digest, channel, size, base, zstd }).await?;
                link.send_bytes(channel, &bytes).await
            };
            if sent.await.is_err() {
                return;
            }
        }
    });
}
