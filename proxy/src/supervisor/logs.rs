//! What the workload, its policies and the supervisor say, on its way to the gateway.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};

use jiff::Timestamp;
use nix::fcntl::{FcntlArg, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout};
use openshell_api::sandbox::LogLine;
use openshell_policy_host::{LogLevel, LogSink};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::unix::pipe;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::record::Spool;

/// A longer line is cut into several, in bytes.
const MAX_LINE: usize = 16 * 1024;

/// The sandbox's log. Cheap to clone.
#[derive(Clone)]
pub struct Logs(pub Spool<LogLine>);

impl Logs {
    /// One line of the supervisor's own. Never blocks.
    pub fn say(&self, line: impl Into<String>) {
        self.0.push(&line_of("supervisor", line.into()));
    }

    /// The line that ends a run of the workload. It is on disk, with all before it, when this returns.
    pub async fn end(&self, code: i32) {
        let line = line_of("supervisor", format!("the workload exited with code {code}"));
        self.0.push_patiently(&LogLine { exit_code: Some(code), ..line }).await;
        self.0.flush().await;
    }

    /// A pipe whose other end becomes lines of `stream`. Its writer waits while the log's disk is slower. The task ends
    /// when the last writer has closed it.
    pub fn pipe(&self, stream: &'static str, exited: CancellationToken) -> io::Result<(OwnedFd, Drained)> {
        let (read, write) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC)?;
        let read = pipe::Receiver::from_owned_fd(read)?;
        let (drained, waiting) = oneshot::channel();
        let mut copy = Copy { logs: self.clone(), stream, line: Vec::new() };
        tokio::spawn(async move {
            if let Err(error) = copy.run(read, exited, drained).await {
                tracing::warn!(stream, %error, "the workload's output can't be read");
            }
        });
        Ok((write, Drained(waiting)))
    }
}

/// To wait for what the workload wrote.
pub struct Drained(oneshot::Receiver<()>);

impl Drained {
    /// Waits until everything that was in the pipe when the workload ended is in the log. What outlives the workload
    /// and holds the pipe open is not waited for.
    pub async fn wait(self) {
        // An error means that the copying ended: nothing more will come.
        let _ = self.0.await;
    }
}

/// Copies one pipe into the log.
struct Copy {
    logs: Logs,
    stream: &'static str,
    line: Vec<u8>,
}

impl Copy {
    async fn run(
        &mut self,
        read: pipe::Receiver,
        exited: CancellationToken,
        drained: oneshot::Sender<()>,
    ) -> io::Result<()> {
        let capacity = usize::try_from(fcntl(read.as_fd(), FcntlArg::F_GETPIPE_SZ)?).unwrap_or(0) + MAX_LINE;
        let mut read = BufReader::with_capacity(MAX_LINE, read);
        let (mut drained, mut since_exit) = (Some(drained), 0);
        loop {
            let over = exited.is_cancelled();
            let empty = || Ok::<_, io::Error>(read.buffer().is_empty() && !holds_bytes(read.get_ref())?);
            // Whatever else still writes can't keep more than a pipe's worth before us.
            if over && drained.is_some() && (since_exit > capacity || empty()?) {
                self.finish_line().await;
                drained = None;
            }
            let chunk = tokio::select! {
                chunk = read.fill_buf() => chunk?,
                () = exited.cancelled(), if !over => continue,
            };
            if chunk.is_empty() {
                break;
            }
            let end = chunk.iter().position(|byte| *byte == b'\n');
            let used = end.unwrap_or(chunk.len()).min(MAX_LINE - self.line.len());
            self.line.extend_from_slice(&chunk[..used]);
            let complete = end == Some(used);
            let consumed = used + usize::from(complete);
            read.consume(consumed);
            since_exit += if over { consumed } else { 0 };
            if complete || self.line.len() >= MAX_LINE {
                self.log_line().await;
            }
        }
        self.finish_line().await;
        Ok(())
    }

    async fn finish_line(&mut self) {
        if !self.line.is_empty() {
            self.log_line().await;
        }
    }

    async fn log_line(&mut self) {
        let line = line_of(self.stream, text(&std::mem::take(&mut self.line)));
        self.logs.0.push_patiently(&line).await;
    }
}

/// Whether a pipe holds bytes now, as the kernel says; the runtime may not have heard of them yet.
fn holds_bytes(pipe: &pipe::Receiver) -> io::Result<bool> {
    let mut ready = [PollFd::new(pipe.as_fd(), PollFlags::POLLIN)];
    nix::poll::poll(&mut ready, PollTimeout::ZERO)?;
    Ok(ready[0].revents().is_some_and(|events| events.contains(PollFlags::POLLIN)))
}

impl LogSink for Logs {
    fn emit(&self, policy: &str, level: LogLevel, message: &str) {
        let level = match level {
            LogLevel::Debug => "debug",
            LogLevel::Info => "info",
            LogLevel::Warn => "warn",
            LogLevel::Error => "error",
        };
        self.say(format!("policy {policy}: {level}: {message}"));
    }
}

fn line_of(stream: &str, line: String) -> LogLine {
    LogLine { at: Timestamp::now(), stream: stream.to_owned(), line, exit_code: None, lost: None }
}

fn text(line: &[u8]) -> String {
    String::from_utf8_lossy(line.strip_suffix(b"\r").unwrap_or(line)).into_owned()
}
