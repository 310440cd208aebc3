//! Streams into the sandbox for someone at the gateway: commands, files, ports.
//!
//! Both directions are granted in windows, so that neither side that does not read holds up the link or fills memory. A
//! stream ends with the link it was opened on, unless it is resumable: then it waits for a new one, with what its client
//! has not confirmed.

mod intake;
mod replay;
mod run;
mod service;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use openshell_api::link::FromSupervisor;
use openshell_api::sandbox::WindowSize;
use openshell_api::stream::{GRACE_S, StreamEvent, StreamRequest};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::outbox::Outbox;
use super::workload::Workload;
use intake::Intake;
use replay::{Next, Replay};
use run::Control;

/// Resumable streams that may live at once.
const MAX_RESUMABLE: usize = 128;

/// The resumable streams of a sandbox, which outlive links.
#[derive(Default)]
pub struct Streams(Mutex<HashMap<String, Arc<Stream>>>);

impl Streams {
    fn table(&self) -> MutexGuard<'_, HashMap<String, Arc<Stream>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens a stream, or takes one up again, and lets it speak on `channel`. Refuses with a reason in words.
    pub(super) async fn open(
        self: &Arc<Self>,
        channel: u64,
        request: StreamRequest,
        workload: &Arc<Workload>,
        outbox: &Outbox,
    ) -> Result<Arc<Stream>, String> {
        match request {
            StreamRequest::Resume { session, received } => self.resume(channel, &session, received, outbox).await,
            request => {
                let resumable = matches!(request, StreamRequest::Exec { resumable: true, .. });
                let session = if resumable { Some(self.name()?) } else { None };
                let stream = Stream::start(request, workload.clone(), session.clone());
                if let Some(session) = session {
                    self.table().insert(session.clone(), stream.clone());
                    let event = StreamEvent::Started { session };
                    let _ = outbox.send_in_order(&FromSupervisor::Stream { channel, event }).await;
                }
                // A stream that begins has nothing that it could not go on with.
                if let Some((sender, _)) = stream.attach(channel, 0) {
                    stream.intake.tell(outbox);
                    tokio::spawn(send(channel, sender, stream.replay.clone(), outbox.clone()));
                }
                Ok(stream)
            }
        }
    }

    /// A name that can't be guessed.
    fn name(&self) -> Result<String, String> {
        if self.table().len() >= MAX_RESUMABLE {
            return Err("too many resumable streams are open in this sandbox".to_owned());
        }
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes).map_err(|error| format!("no random numbers: {error}"))?;
        Ok(hex::encode(bytes))
    }

    async fn resume(&self, channel: u64, session: &str, received: u64, outbox: &Outbox) -> Result<Arc<Stream>, String> {
        let stream = self.table().get(session).cloned();
        let stream = stream.ok_or("the session is over: it was given up while nobody was connected to it")?;
        let attached = stream.attach(channel, received);
        let (sender, (input, ended)) = attached.ok_or("the session can't go on from there")?;
        let event = StreamEvent::Resumed { input, ended };
        let _ = outbox.send_in_order(&FromSupervisor::Stream { channel, event }).await;
        let _ = outbox.send_in_order(&stream.intake.tell(outbox)).await;
        tokio::spawn(send(channel, sender, stream.replay.clone(), outbox.clone()));
        Ok(stream)
    }

    /// A stream's client is gone. Keeps a resumable one for a while, unless its client has heard the end.
    pub(super) fn detach(self: &Arc<Self>, stream: Arc<Stream>, channel: u64, done: bool) {
        let Some(session) = stream.session.clone() else { return };
        if done {
            self.table().remove(&session);
            return;
        }
        let attachments = stream.attachments.load(Ordering::Acquire);
        if stream.intake.channel() != channel {
            // Somebody else has it already.
            return;
        }
        let streams = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_secs(GRACE_S)).await;
            if stream.attachments.load(Ordering::Acquire) == attachments {
                streams.table().remove(&session);
                // The last handle hangs it up.
                drop(stream);
            }
        });
    }
}

/// A running stream. Dropping the last handle hangs it up.
pub(super) struct Stream {
    session: Option<String>,
    control: mpsc::UnboundedSender<Control>,
    replay: Arc<Replay>,
    intake: Arc<Intake>,
    /// How often it was attached.
    attachments: AtomicU64,
    _hang_up: tokio_util::sync::DropGuard,
}

impl Stream {
    fn start(request: StreamRequest, workload: Arc<Workload>, session: Option<String>) -> Arc<Self> {
        let (control, commands) = mpsc::unbounded_channel();
        let replay = Arc::new(Replay::new(session.is_some()));
        let intake = Arc::new(Intake::new(control.clone()));
        let hang_up = CancellationToken::new();
        let run = run::Run { replay: replay.clone(), intake: intake.clone(), hang_up: hang_up.clone() };
        tokio::spawn(run.run(request, workload, commands));
        Arc::new(Self {
            session,
            control,
            replay,
            intake,
            attachments: AtomicU64::new(0),
            _hang_up: hang_up.drop_guard(),
        })
    }

    /// Lets it speak on a channel, after `received` bytes of output: answers the number of its sender, and how much input had
    /// arrived. None: that output is not kept any more.
    fn attach(&self, channel: u64, received: u64) -> Option<(u64, (u64, bool))> {
        let sender = self.replay.attach(received)?;
        self.attachments.fetch_add(1, Ordering::AcqRel);
        Some((sender, self.intake.switch(channel)))
    }

    /// Whether nobody will ask anything of it any more: all of its output and its end were sent. Of a resumable one its client says
    /// so itself.
    pub fn is_done(&self) -> bool {
        self.session.is_none() && self.replay.told()
    }

    /// A channel brings it input; none: the end of input. Never blocks.
    pub fn input(&self, channel: u64, data: Bytes) {
        self.intake.put(channel, data);
    }

    /// Its terminal changed size.
    pub fn resize(&self, size: WindowSize) {
        let _ = self.control.send(Control::Resize(size));
    }

    /// Signals its command.
    pub fn signal(&self, signal: i32) {
        let _ = self.control.send(Control::Signal(signal));
    }

    /// It may send more output on this channel.
    pub fn credit(&self, channel: u64, bytes: u64) {
        if self.intake.channel() == channel {
            self.replay.credit(bytes);
        }
    }

    /// Its client has so much of the output.
    pub fn received(&self, bytes: u64) {
        self.replay.received(bytes);
    }
}

/// Sends output on one channel until its end, until the link's, or until another channel has it.
async fn send(channel: u64, sender: u64, replay: Arc<Replay>, outbox: Outbox) {
    loop {
        let sent = match replay.next(sender).await {
            Next::Bytes(stream, data) => {
                let mut frame = BytesMut::with_capacity(9 + data.len());
                frame.put_u64(channel);
                frame.put_u8(stream as u8);
                frame.put_slice(&data);
                outbox.send_bytes(frame.freeze()).await
            }
            Next::End(event) => {
                let last = match event {
                    StreamEvent::Exited { code, signal } => FromSupervisor::ExecExited { channel, code, signal },
                    StreamEvent::Failed { reason } => FromSupervisor::ExecFailed { channel, reason },
                    event => FromSupervisor::Stream { channel, event },
                };
                let _ = outbox.send_in_order(&last).await;
                return;
            }
            Next::Superseded => {
                let reason = "another client has taken the session up".to_owned();
                let _ = outbox.send_in_order(&FromSupervisor::ExecFailed { channel, reason }).await;
                return;
            }
        };
        if sent.is_err() {
            return;
        }
    }
}
