//! One link's conversation, from hello to its end: `gateway/api/src/link.rs` says what is said.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes};
use futures_util::StreamExt;
use openshell_api::decision::DecisionRecord;
use openshell_api::inference::Session as Conversation;
use openshell_api::link::{ExecStream, FromSupervisor, Sensitive, ToSupervisor};
use serde::de::DeserializeOwned;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_util::sync::CancellationToken;

use super::artifacts::Sent;
use super::credentials::Credentials;
use super::dialer::Socket;
use super::gateways::Gateways;
use super::generations::Generations;
use super::logs::Logs;
use super::outbox::{self, LinkEnded, Outbox};
use super::proposals::Proposals;
use super::pushes::{Pushes, Reevaluate};
use super::shares::Shares;
use super::signers::Signers;
use super::streams::{Stream, Streams};
use super::trust::Trust;
use super::workload::{Phase, Proof, Workload};
use crate::active::Secrets;
use crate::inference::{Ledger, Sessions, Told};
use crate::record::{Reader, Spool};

/// Time between two pings.
const PING: Duration = Duration::from_secs(15);

/// A gateway that is silent for so long is gone.
const SILENCE: Duration = Duration::from_secs(45);

/// Items that may be sent and not yet stored.
const WINDOW: u64 = 8192;

/// Streams that may be open at once on a link.
const MAX_STREAMS: usize = 256;

/// What a link works on. It outlives every link.
pub struct Desk {
    /// Brings generations into force.
    pub generations: Arc<Generations>,
    /// Live connections.
    pub connections: Arc<dyn Reevaluate>,
    /// Values of credentials.
    pub secrets: Secrets,
    /// What conversations have contained.
    pub sessions: Arc<Sessions>,
    /// What inference has cost.
    pub ledger: Arc<Ledger>,
    /// Each rise of it; one link at a time reads them.
    pub risen: tokio::sync::Mutex<mpsc::UnboundedReceiver<Told>>,
    /// Decisions on their way to the gateway.
    pub records: Spool<DecisionRecord>,
    /// Log lines on their way to the gateway.
    pub logs: Logs,
    /// What programs in the sandbox ask of the gateway.
    pub proposals: Arc<Proposals>,
    /// Its shares of budgets that are spent together with others.
    pub shares: Arc<Shares>,
    /// What runs in the sandbox.
    pub workload: Arc<Workload>,
    /// Streams that outlive a link.
    pub streams: Arc<Streams>,
    /// What opens the next link.
    pub credentials: Arc<Credentials>,
    /// Where that may lead.
    pub gateways: Arc<Gateways>,
    /// Whose certificates.
    pub trust: Arc<Trust>,
    /// Whose signatures generations and artifacts bear.
    pub signers: Arc<Signers>,
    /// Cancelled when the sandbox is to end.
    pub shutdown: CancellationToken,
}

/// Why a link ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum SessionEnd {
    #[error("the gateway closed it")]
    Closed,
    #[error("the gateway was silent for {} s", SILENCE.as_secs())]
    Silent,
    #[error(transparent)]
    Socket(#[from] tungstenite::Error),
    #[error("the gateway sent what this supervisor does not understand: {0}")]
    Unreadable(#[from] serde_json::Error),
    #[error("nothing more can be sent")]
    Sending(#[from] LinkEnded),
}

/// Converses until the link ends. What was in flight on it ends with it: pushes, and
/// streams that are not resumable.
pub(super) async fn run(socket: Socket, desk: Arc<Desk>) -> SessionEnd {
    let (sink, stream) = outbox::split(socket);
    let (outbox, queue) = outbox::outbox();
    let writer = tokio::spawn(outbox::write(sink, queue));
    let pushes = Pushes::new(desk.generations.clone(), desk.connections.clone());
    let session = Session { desk, outbox, pushes, streams: HashMap::new() };
    let end = session.converse(stream).await;
    // Whatever the writer says about it, the link has ended.
    writer.abort();
    end
}

struct Session {
    desk: Arc<Desk>,
    outbox: Outbox,
    pushes: Pushes,
    streams: HashMap<u64, Arc<Stream>>,
}

impl Session {
    async fn converse(
        mut self,
        mut stream: impl futures_util::Stream<Item = Result<Message, tungstenite::Error>> + Unpin,
    ) -> SessionEnd {
        match self.listen(&mut stream).await {
            Ok(never) => match never {},
            Err(end) => end,
        }
    }

    async fn listen(
        &mut self,
        stream: &mut (impl futures_util::Stream<Item = Result<Message, tungstenite::Error>> + Unpin),
    ) -> Result<std::convert::Infallible, SessionEnd> {
        let (told, log) = watch::channel(0);
        let mut phases = self.desk.workload.phase();
        let phase = phases.borrow_and_update().clone();
        let mut ran = phase != Phase::Starting;
        let mut proofs = self.desk.workload.proof();
        self.outbox.send(&self.hello(&phase)).await?;
        proofs.mark_changed();
        self.report_walls(&mut proofs).await?;
        self.report(phase, &log).await?;
        // Rises that an earlier link may have failed to tell, and those made while there was none.
        for (session, sensitivity) in self.desk.sessions.all() {
            self.outbox.send(&FromSupervisor::Session { session, sensitivity }).await?;
        }
        self.desk.proposals.linked(self.outbox.clone());
        self.desk.shares.questions.linked(self.outbox.clone());
        let desk = self.desk.clone();
        let mut risen = desk.risen.lock().await;
        let mut delivery = JoinSet::new();
        let records = self.desk.records.reader();
        delivery.spawn(deliver("records", records, "records", self.outbox.clone(), watch::Sender::new(0)));
        delivery.spawn(deliver("logs", self.desk.logs.0.reader(), "lines", self.outbox.clone(), told));
        let mut pings = tokio::time::interval(PING);
        pings.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let silence = tokio::time::sleep(SILENCE);
        tokio::pin!(silence);
        loop {
            tokio::select! {
                message = stream.next() => {
                    silence.as_mut().reset(tokio::time::Instant::now() + SILENCE);
                    self.take(message.ok_or(SessionEnd::Closed)??).await?;
                }
                answers = self.pushes.next() => self.answer(answers).await?,
                Ok(()) = proofs.changed() => {
                    proofs.mark_changed();
                    self.report_walls(&mut proofs).await?;
                }
                Ok(()) = phases.changed() => {
                    // Whether the walls hold is told before anything runs.
                    self.report_walls(&mut proofs).await?;
                    let phase = phases.borrow_and_update().clone();
                    if !ran && matches!(phase, Phase::Exited { .. }) {
                        // Whoever waits for it to run need not wait for its log.
                        self.outbox.send(&FromSupervisor::Running).await?;
                    }
                    ran |= phase != Phase::Starting;
                    self.report(phase, &log).await?;
                }
                Some(told) = risen.recv() => self.outbox.send(&match told {
                    Told::Rise(Conversation { session, sensitivity }) => FromSupervisor::Session { session, sensitivity },
                    Told::Reset(id) => FromSupervisor::SessionsReset { id },
                }).await?,
                Some(_ended) = delivery.join_next() => return Err(LinkEnded.into()),
                _ = pings.tick() => self.outbox.ping().await?,
                () = &mut silence => return Err(SessionEnd::Silent),
            }
        }
    }

    fn hello(&self, phase: &Phase) -> FromSupervisor {
        FromSupervisor::Hello {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            generation: self.desk.generations.current(),
            degraded: self
                .desk
                .workload
                .proof()
                .borrow()
                .as_ref()
                .map(|proof| proof.degraded.clone())
                .unwrap_or_default(),
            exit_code: match phase {
                // Else it follows the log.
                Phase::Exited { code } if self.desk.logs.0.stats().is_delivered() => Some(*code),
                _ => None,
            },
            rekeys: true,
            trusts: Some(self.desk.trust.epoch()),
            signing_keys: Some(self.desk.signers.keys()),
        }
    }

    /// Tells what is known of the walls, unless it was told.
    async fn report_walls(&self, proofs: &mut watch::Receiver<Option<Proof>>) -> Result<(), LinkEnded> {
        if !proofs.has_changed().unwrap_or(false) {
            return Ok(());
        }
        let proof = proofs.borrow_and_update().clone();
        match proof {
            Some(Proof { degraded, enforcement }) => {
                self.outbox.send(&FromSupervisor::Enforcement { degraded, enforcement }).await
            }
            None => Ok(()),
        }
    }

    /// Tells what the workload is doing; its end after all that is in the log by now. `log` says how much of that is on its way.
    async fn report(&self, phase: Phase, log: &watch::Receiver<u64>) -> Result<(), LinkEnded> {
        let end = match phase {
            Phase::Starting => return Ok(()),
            Phase::Running => return self.outbox.send(&FromSupervisor::Running).await,
            Phase::Exited { code } => FromSupervisor::Exited { code },
            Phase::Failed { reason } => FromSupervisor::Failed { reason },
        };
        let (desk, outbox, mut log) = (self.desk.clone(), self.outbox.clone(), log.clone());
        tokio::spawn(async move {
            desk.logs.0.flush().await;
            let last = desk.logs.0.stats().written;
            let follows = log.wait_for(|told| *told >= last).await.is_ok();
            // Otherwise the link has ended, and the next one tells it.
            if follows && outbox.send_in_order(&end).await.is_ok() {
                desk.workload.end_is_told();
            }
        });
        Ok(())
    }

    async fn answer(&self, answers: impl IntoIterator<Item = FromSupervisor>) -> Result<(), LinkEnded> {
        for answer in answers {
            match &answer {
                FromSupervisor::Refused { reason, .. } => self.desk.logs.say(format!("refused a generation: {reason}")),
                FromSupervisor::Enforcing { generation, .. } => {
                    self.desk.logs.say(format!("enforcing generation {generation}"));
                }
                _ => {}
            }
            self.outbox.send(&answer).await?;
        }
        Ok(())
    }

    async fn take(&mut self, message: Message) -> Result<(), SessionEnd> {
        match message {
            Message::Text(text) => self.told(serde_json::from_str(&text)?).await,
            Message::Binary(bytes) => self.given(bytes).await,
            Message::Close(_) => Err(SessionEnd::Closed),
            // Pings are answered by the WebSocket itself.
            Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => Ok(()),
        }
    }

    async fn told(&mut self, message: ToSupervisor) -> Result<(), SessionEnd> {
        match message {
            ToSupervisor::Stage { push, generation } => {
                let answer = self.pushes.stage(push, generation);
                self.answer(answer).await?;
            }
            ToSupervisor::Artifact { digest, channel, size, base, zstd } => {
                let sent = match base {
                    Some(base) => Sent::PatchOf(base),
                    None if zstd => Sent::Compressed,
                    None => Sent::Whole,
                };
                let answers = self.pushes.announce(digest, sent, channel, size);
                self.answer(answers).await?;
            }
            ToSupervisor::Activate { push } => {
                let answer = self.pushes.activate(push);
                self.answer(answer).await?;
            }
            ToSupervisor::Abort { push } => self.pushes.abort(&push),
            ToSupervisor::Secrets { values } => self.desk.secrets.0.store(Arc::new(values)),
            ToSupervisor::Sessions { sensitivity } => self.desk.sessions.merge(sensitivity),
            ToSupervisor::ResetSessions { id, session } => self.desk.sessions.reset(session.as_deref(), id),
            ToSupervisor::Spent { spent } => self.desk.ledger.merge(&spent, jiff::Timestamp::now()),
            ToSupervisor::Share { question, result } => {
                // Even if nobody waits for it any more: the gateway counts it as this sandbox's.
                self.desk.shares.questions.answered(&question, result.map(|share| self.desk.ledger.dealt(share)));
            }
            ToSupervisor::GiveBack { id, shares } => {
                let shares = self.desk.ledger.give_back(shares, jiff::Timestamp::now());
                self.outbox.send(&FromSupervisor::GivenBack { id, shares }).await?;
            }
            ToSupervisor::Open { channel, request } => {
                self.streams.retain(|_, stream| !stream.is_done());
                let opened = match self.streams.len() >= MAX_STREAMS || self.streams.contains_key(&channel) {
                    true => Err("too many streams are open in this sandbox".to_owned()),
                    false => self.desk.streams.open(channel, request, &self.desk.workload, &self.outbox).await,
                };
                match opened {
                    Ok(stream) => drop(self.streams.insert(channel, stream)),
                    Err(reason) => self.outbox.send_in_order(&FromSupervisor::ExecFailed { channel, reason }).await?,
                }
            }
            ToSupervisor::Detach { channel, done } => {
                if let Some(stream) = self.streams.remove(&channel) {
                    self.desk.streams.detach(stream, channel, done);
                }
            }
            ToSupervisor::Received { channel, bytes } => self.stream(channel, |stream| stream.received(bytes)),
            ToSupervisor::ExecResize { channel, size } => self.stream(channel, |stream| stream.resize(size)),
            ToSupervisor::ExecSignal { channel, signal } => self.stream(channel, |stream| stream.signal(signal)),
            ToSupervisor::ExecCredit { channel, bytes } => self.stream(channel, |stream| stream.credit(channel, bytes)),
            ToSupervisor::Verify { id } => {
                let (workload, outbox) = (self.desk.workload.clone(), self.outbox.clone());
                tokio::spawn(async move {
                    let result = workload.verify().await.map_err(|error| error.to_string());
                    // A link that ended meanwhile has nobody left who waits.
                    let _ = outbox.send(&FromSupervisor::Verified { id, result }).await;
                });
            }
            ToSupervisor::Proposal { question, result } => self.desk.proposals.answered(&question, result),
            ToSupervisor::ProposalDecided { .. } => self.desk.proposals.changed(),
            ToSupervisor::RecordsStored { through } => self.desk.records.stored(through),
            ToSupervisor::LogsStored { through } => self.desk.logs.0.stored(through),
            ToSupervisor::Rekey { id, key, refresh, lifetime_s } => self.rekey(id, (key, refresh), lifetime_s).await?,
            ToSupervisor::Trust { epoch, ca } => {
                if let Err(error) = self.desk.trust.learn(epoch, ca) {
                    tracing::warn!(%error, "another authority of the gateway is not trusted");
                }
                let epoch = self.desk.trust.epoch();
                self.outbox.send(&FromSupervisor::Trusts { epoch }).await?;
            }
            ToSupervisor::SigningKeys { keys, vouchers } => {
                if let Err(error) = self.desk.signers.learn(&keys, &vouchers) {
                    tracing::warn!(%error, "other signing keys of the gateway are not trusted");
                }
                let keys = self.desk.signers.keys();
                self.outbox.send(&FromSupervisor::SigningKeys { keys }).await?;
            }
            ToSupervisor::Gateways { urls } => self.desk.gateways.told(&urls),
            ToSupervisor::Shutdown => self.desk.shutdown.cancel(),
        }
        Ok(())
    }

    /// Keeps new credentials, and says so. Where they can't be kept nothing is said: those there are go on to be good.
    async fn rekey(&self, id: u64, (key, refresh): (Sensitive, Sensitive), lifetime_s: u64) -> Result<(), LinkEnded> {
        let credentials = self.desk.credentials.clone();
        let kept = tokio::task::spawn_blocking(move || credentials.keep(key, refresh, lifetime_s)).await;
        match kept.map_err(|error| error.to_string()).and_then(|kept| kept.map_err(|error| error.to_string())) {
            Ok(()) => self.outbox.send(&FromSupervisor::Rekeyed { id }).await,
            Err(error) => {
                tracing::warn!(%error, "new credentials of the link can't be kept");
                Ok(())
            }
        }
    }

    async fn given(&mut self, mut bytes: Bytes) -> Result<(), SessionEnd> {
        let Ok(channel) = bytes.try_get_u64() else {
            tracing::warn!(length = bytes.len(), "a binary frame without a channel is ignored");
            return Ok(());
        };
        if let Some(answers) = self.pushes.bytes(channel, &bytes) {
            self.answer(answers).await?;
        } else if bytes.first() == Some(&(ExecStream::Stdin as u8)) {
            self.stream(channel, |stream| stream.input(channel, bytes.slice(1..)));
        } else {
            tracing::debug!(channel, length = bytes.len(), "bytes for nobody are dropped");
        }
        Ok(())
    }

    /// Acts on a stream. One that has ended meanwhile is no error.
    fn stream(&self, channel: u64, act: impl FnOnce(&Stream)) {
        if let Some(stream) = self.streams.get(&channel) {
            act(stream);
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.desk.proposals.unlinked();
        self.desk.shares.questions.unlinked();
        for (channel, stream) in self.streams.drain() {
            self.desk.streams.detach(stream, channel, false);
        }
    }
}

/// Sends what a spool holds as messages `{"type": kind, "first": …, field: […]}` until the link ends. `told` is the last number that was sent.
async fn deliver<T: DeserializeOwned + 'static>(
    kind: &str,
    mut reader: Reader<T>,
    field: &str,
    outbox: Outbox,
    told: watch::Sender<u64>,
) -> Result<(), LinkEnded> {
    loop {
        told.send_replace(reader.position());
        reader.wait().await;
        reader.wait_for_room(WINDOW).await;
        let batch;
        (reader, batch) = reader.next().await.map_err(|_| LinkEnded)?;
        match batch {
            Ok(Some(batch)) => {
                let (first, json) = (batch.first, batch.json);
                outbox.send_text(format!(r#"{{"type":"{kind}","first":{first},"{field}":[{json}]}}"#)).await?;
            }
            Ok(None) => {}
            Err(error) => {
                tracing::warn!(kind, %error, "the spool can't be read");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }
}
