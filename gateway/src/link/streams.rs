//! Streams into a sandbox over its link: commands, files, ports. Nothing of them is kept here but what is in flight.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use openshell_api::link::{EXEC_WINDOW, ExecStream, MAX_CHUNK, ToSupervisor};
use openshell_api::stream::{StreamControl, StreamEvent, StreamRequest};
use tokio::sync::{Notify, Semaphore};

use super::{Link, LinkClosed};

/// A supervisor that heeds its window never fills this.
const OUTBOX_BYTES: usize = 2 * EXEC_WINDOW as usize;
/// How long one that does not may hold up its link before the stream is ended.
const STALL: Duration = Duration::from_secs(10);
const LINK_ENDED: &str = "the sandbox's connection to the gateway ended";

/// A stream's place on its link: what is on the way to a client, and how much input it takes. Adjacent pieces merge, so
/// what it holds is bounded by bytes.
pub(super) struct Outbox {
    resumable: bool,
    state: Mutex<State>,
    readable: Notify,
    writable: Notify,
    /// Input, in bytes, that the supervisor is ready to take.
    input: Semaphore,
}

#[derive(Default)]
struct State {
    items: VecDeque<Item>,
    bytes: usize,
    end: Option<Output>,
}

enum Item {
    Chunk(u8, BytesMut),
    Event(StreamEvent),
}

/// The next thing a client is told.
#[derive(Clone)]
pub enum Output {
    /// A binary frame: the stream's number, then bytes.
    Frame(Bytes),
    /// An event. After the last one nothing comes.
    Event(StreamEvent),
    /// The link is gone and the stream, which is resumable, may live on without it. Nothing comes after this.
    Lost,
}

impl Outbox {
    fn new(resumable: bool) -> Self {
        Self {
            resumable,
            state: Mutex::default(),
            readable: Notify::new(),
            writable: Notify::new(),
            input: Semaphore::new(EXEC_WINDOW as usize),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds output. `false`: it stayed full for too long.
    pub(super) async fn push(&self, stream: u8, data: &[u8]) -> bool {
        let room = async {
            loop {
                let freed = self.writable.notified();
                if self.state().bytes < OUTBOX_BYTES {
                    break;
                }
                freed.await;
            }
        };
        if tokio::time::timeout(STALL, room).await.is_err() {
            return false;
        }
        let mut state = self.state();
        state.bytes += data.len();
        match state.items.back_mut() {
            // An empty one is an end: it is not lost in another.
            Some(Item::Chunk(last, chunk))
                if *last == stream
                    && !chunk.is_empty()
                    && !data.is_empty()
                    && chunk.len() + data.len() <= MAX_CHUNK =>
            {
                chunk.put_slice(data);
            }
            _ => state.items.push_back(Item::Chunk(stream, BytesMut::from(data))),
        }
        drop(state);
        self.readable.notify_one();
        true
    }

    /// The supervisor takes so many further bytes of input, and took `taken` since the stream began.
    pub(super) fn grant_input(&self, bytes: u64, taken: Option<u64>) {
        let room = Semaphore::MAX_PERMITS.saturating_sub(self.input.available_permits());
        self.input.add_permits(usize::try_from(bytes).unwrap_or(usize::MAX).min(room));
        if self.resumable && (bytes > 0 || taken.is_some()) {
            self.tell(StreamEvent::Taken { bytes, input: taken });
        }
    }

    /// Tells the client something. The first word about the end counts.
    pub(super) fn tell(&self, event: StreamEvent) {
        {
            let mut state = self.state();
            match (event, state.items.back_mut()) {
                (event, _) if event.is_last() => {
                    state.end.get_or_insert(Output::Event(event));
                }
                (
                    StreamEvent::Taken { bytes, input },
                    Some(Item::Event(StreamEvent::Taken { bytes: sum, input: last })),
                ) => {
                    *sum += bytes;
                    *last = input.or(*last);
                }
                (event, _) => state.items.push_back(Item::Event(event)),
            }
        }
        self.readable.notify_one();
    }

    pub(super) fn fail(&self, reason: &str) {
        self.tell(StreamEvent::Failed { reason: reason.to_owned() });
    }

    /// The link is gone.
    pub(super) fn lose(&self) {
        match self.resumable {
            true => {
                self.state().end.get_or_insert(Output::Lost);
                self.readable.notify_one();
            }
            false => self.fail(LINK_ENDED),
        }
    }

    async fn next(&self) -> Output {
        loop {
            {
                let mut state = self.state();
                match state.items.pop_front() {
                    Some(Item::Chunk(stream, chunk)) => {
                        state.bytes -= chunk.len();
                        self.writable.notify_one();
                        return Output::Frame([&[stream], chunk.as_ref()].concat().into());
                    }
                    Some(Item::Event(event)) => return Output::Event(event),
                    None => {}
                }
                if let Some(end) = state.end.clone() {
                    return end;
                }
            }
            self.readable.notified().await;
        }
    }
}

/// A stream with a client. Dropped, it is without one: see [`ToSupervisor::Detach`].
pub struct Stream {
    link: Arc<Link>,
    channel: u64,
    outbox: Arc<Outbox>,
    ended: bool,
    done: bool,
}

/// The way into a stream.
#[derive(Clone)]
pub struct StreamInput {
    link: Arc<Link>,
    channel: u64,
    outbox: Arc<Outbox>,
}

impl Stream {
    /// Opens a stream, or takes one up again.
    pub async fn open(link: Arc<Link>, request: StreamRequest) -> Result<Self, LinkClosed> {
        let channel = link.channel();
        let resumable = matches!(request, StreamRequest::Exec { resumable: true, .. } | StreamRequest::Resume { .. });
        let outbox = Arc::new(Outbox::new(resumable));
        link.streams().insert(channel, outbox.clone());
        let stream = Self { link, channel, outbox, ended: false, done: false };
        stream.link.send(ToSupervisor::Open { channel, request }).await?;
        Ok(stream)
    }

    /// Its input.
    pub fn input(&self) -> StreamInput {
        StreamInput { link: self.link.clone(), channel: self.channel, outbox: self.outbox.clone() }
    }

    /// The next output, or the end. Grants the supervisor as many bytes as were taken.
    pub async fn next(&mut self) -> Output {
        let output = tokio::select! {
            output = self.outbox.next() => output,
            // Registered after the link had been torn down: nobody else will say so.
            () = self.link.closed.cancelled() => {
                self.outbox.lose();
                self.outbox.next().await
            }
        };
        match &output {
            Output::Frame(frame) => {
                let bytes = frame.len().saturating_sub(1) as u64;
                let _ = self.link.send(ToSupervisor::ExecCredit { channel: self.channel, bytes }).await;
            }
            Output::Event(event) => self.ended |= event.is_last(),
            Output::Lost => self.ended = true,
        }
        output
    }

    /// The client has heard the end, or wants no more of it: nothing of the stream need be kept.
    pub fn done(mut self) {
        self.done = true;
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.link.streams().remove(&self.channel);
        let over = self.ended && !self.outbox.resumable;
        if !over && !self.link.is_closed() {
            let (link, channel, done) = (self.link.clone(), self.channel, self.done);
            tokio::spawn(async move { link.send(ToSupervisor::Detach { channel, done }).await });
        }
    }
}

impl StreamInput {
    /// Passes input on; no bytes: its end. Waits while the sandbox takes none or the link is busy.
    pub async fn bytes(&self, data: &[u8]) -> Result<(), LinkClosed> {
        let frame = |chunk: &[u8]| [&self.channel.to_be_bytes()[..], &[ExecStream::Stdin as u8], chunk].concat().into();
        if data.is_empty() {
            return self.link.send_frame(frame(&[])).await;
        }
        for chunk in data.chunks(MAX_CHUNK - 1) {
            let granted = tokio::select! {
                granted = self.outbox.input.acquire_many(u32::try_from(chunk.len()).unwrap_or(u32::MAX)) => granted,
                () = self.link.closed.cancelled() => return Err(LinkClosed),
            };
            granted.map_err(|_| LinkClosed)?.forget();
            self.link.send_frame(frame(chunk)).await?;
        }
        Ok(())
    }

    /// Passes on what the client says beside input.
    pub async fn control(&self, control: StreamControl) -> Result<(), LinkClosed> {
        let channel = self.channel;
        self.link
            .send(match control {
                StreamControl::Resize(size) => ToSupervisor::ExecResize { channel, size },
                StreamControl::Signal { signal } => ToSupervisor::ExecSignal { channel, signal },
                StreamControl::Received { bytes } => ToSupervisor::Received { channel, bytes },
            })
            .await
    }
}
