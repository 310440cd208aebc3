//! Commands that run in a sandbox over its link.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use openshell_api::link::{EXEC_WINDOW, ExecStream, MAX_CHUNK, ToSupervisor};
use openshell_api::sandbox::{ExecControl, ExecEnd, ExecRequest};
use tokio::sync::{Notify, Semaphore};

use super::{Link, LinkClosed};

/// A supervisor that heeds its window never fills this.
const OUTBOX_BYTES: usize = 2 * EXEC_WINDOW as usize;
/// How long one that does not may hold up its link before the command is ended.
const STALL: Duration = Duration::from_secs(10);
const SIGKILL: i32 = 9;

/// A command's place on its link: its output on the way to a client, and how much input it takes. Adjacent pieces merge, so what it holds is bounded by bytes.
#[derive(Default)]
pub(super) struct Outbox {
    state: Mutex<State>,
    readable: Notify,
    writable: Notify,
    input: Window,
}

/// Input, in bytes, that the supervisor is ready to take.
struct Window(Semaphore);

impl Default for Window {
    fn default() -> Self {
        Self(Semaphore::new(EXEC_WINDOW as usize))
    }
}

#[derive(Default)]
struct State {
    chunks: VecDeque<(u8, BytesMut)>,
    bytes: usize,
    end: Option<ExecEnd>,
}

/// The next thing a client is told.
pub enum Output {
    /// A binary frame: the stream's number, then bytes.
    Frame(Bytes),
    /// The end.
    End(ExecEnd),
}

impl Outbox {
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
        match state.chunks.back_mut() {
            Some((last, chunk)) if *last == stream && chunk.len() + data.len() <= MAX_CHUNK => chunk.put_slice(data),
            _ => state.chunks.push_back((stream, BytesMut::from(data))),
        }
        drop(state);
        self.readable.notify_one();
        true
    }

    /// The supervisor takes so many further bytes of input.
    pub(super) fn grant_input(&self, bytes: u64) {
        let room = Semaphore::MAX_PERMITS.saturating_sub(self.input.0.available_permits());
        self.input.0.add_permits(usize::try_from(bytes).unwrap_or(usize::MAX).min(room));
    }

    /// Says how it ended; the first word counts.
    pub(super) fn end(&self, end: ExecEnd) {
        self.state().end.get_or_insert(end);
        self.readable.notify_one();
    }

    pub(super) fn fail(&self, reason: &str) {
        self.end(ExecEnd::Failed { reason: reason.to_owned() });
    }

    async fn next(&self) -> Output {
        loop {
            {
                let mut state = self.state();
                if let Some((stream, chunk)) = state.chunks.pop_front() {
                    state.bytes -= chunk.len();
                    self.writable.notify_one();
                    return Output::Frame([&[stream], chunk.as_ref()].concat().into());
                }
                if let Some(end) = state.end.clone() {
                    return Output::End(end);
                }
            }
            self.readable.notified().await;
        }
    }
}

/// A command that runs. Dropped before its end, it is killed.
pub struct Exec {
    link: Arc<Link>,
    channel: u64,
    outbox: Arc<Outbox>,
    ended: bool,
}

/// The way into a running command.
#[derive(Clone)]
pub struct ExecInput {
    link: Arc<Link>,
    channel: u64,
    outbox: Arc<Outbox>,
}

impl Exec {
    /// Starts a command.
    pub async fn start(link: Arc<Link>, request: ExecRequest) -> Result<Self, LinkClosed> {
        let channel = link.channel();
        let outbox = Arc::new(Outbox::default());
        link.execs().insert(channel, outbox.clone());
        let exec = Self { link, channel, outbox, ended: false };
        exec.link.send(ToSupervisor::Exec { channel, request }).await?;
        Ok(exec)
    }

    /// Its input.
    pub fn input(&self) -> ExecInput {
        ExecInput { link: self.link.clone(), channel: self.channel, outbox: self.outbox.clone() }
    }

    /// The next output, or the end. Grants the supervisor as many bytes as were taken.
    pub async fn next(&mut self) -> Output {
        let output = tokio::select! {
            output = self.outbox.next() => output,
            // Registered after the link had been torn down: nobody else will say so.
            () = self.link.closed.cancelled() => {
                self.outbox.fail("the sandbox's connection to the gateway ended");
                self.outbox.next().await
            }
        };
        match &output {
            Output::Frame(frame) => {
                let bytes = frame.len().saturating_sub(1) as u64;
                let _ = self.link.send(ToSupervisor::ExecCredit { channel: self.channel, bytes }).await;
            }
            Output::End(_) => self.ended = true,
        }
        output
    }
}

impl Drop for Exec {
    fn drop(&mut self) {
        self.link.execs().remove(&self.channel);
        if !self.ended && !self.link.is_closed() {
            let (link, channel) = (self.link.clone(), self.channel);
            tokio::spawn(async move { link.send(ToSupervisor::ExecSignal { channel, signal: SIGKILL }).await });
        }
    }
}

impl ExecInput {
    /// Passes standard input on; no bytes: its end. Waits while the command takes none or the link is busy.
    pub async fn stdin(&self, data: &[u8]) -> Result<(), LinkClosed> {
        let frame = |chunk: &[u8]| [&self.channel.to_be_bytes()[..], &[ExecStream::Stdin as u8], chunk].concat().into();
        if data.is_empty() {
            return self.link.send_frame(frame(&[])).await;
        }
        for chunk in data.chunks(MAX_CHUNK - 1) {
            let granted = tokio::select! {
                granted = self.outbox.input.0.acquire_many(u32::try_from(chunk.len()).unwrap_or(u32::MAX)) => granted,
                () = self.link.closed.cancelled() => return Err(LinkClosed),
            };
            granted.map_err(|_| LinkClosed)?.forget();
            self.link.send_frame(frame(chunk)).await?;
        }
        Ok(())
    }

    /// Passes a change of size or a signal on.
    pub async fn control(&self, control: ExecControl) -> Result<(), LinkClosed> {
        let channel = self.channel;
        self.link
            .send(match control {
                ExecControl::Resize(size) => ToSupervisor::ExecResize { channel, size },
                ExecControl::Signal { signal } => ToSupervisor::ExecSignal { channel, signal },
            })
            .await
    }
}
