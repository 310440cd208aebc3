//! What the workload, its policies and the supervisor say, on its way to the gateway.

use std::io;
use std::os::fd::OwnedFd;

use jiff::Timestamp;
use openshell_api::sandbox::LogLine;
use openshell_policy_host::{LogLevel, LogSink};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::unix::pipe;

use crate::record::Spool;

/// A longer line is cut into several, in bytes.
const MAX_LINE: usize = 16 * 1024;

/// The sandbox's log. Cheap to clone.
#[derive(Clone)]
pub struct Logs(pub Spool<LogLine>);

impl Logs {
    /// One line of the supervisor's own. Never blocks.
    pub fn say(&self, line: impl Into<String>) {
        self.0.push(line_of("supervisor", line.into()));
    }

    /// A pipe whose other end becomes lines of `stream`. Its writer waits while the log's disk is slower. The task ends
    /// when the last writer has closed it.
    pub fn pipe(&self, stream: &'static str) -> io::Result<OwnedFd> {
        let (read, write) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC)?;
        let read = BufReader::with_capacity(MAX_LINE, pipe::Receiver::from_owned_fd(read)?);
        let logs = self.clone();
        tokio::spawn(async move {
            if let Err(error) = logs.copy(stream, read).await {
                tracing::warn!(stream, %error, "the workload's output can't be read");
            }
        });
        Ok(write)
    }

    async fn copy(&self, stream: &'static str, mut read: BufReader<pipe::Receiver>) -> io::Result<()> {
        let mut line = Vec::new();
        loop {
            let chunk = read.fill_buf().await?;
            if chunk.is_empty() {
                break;
            }
            let end = chunk.iter().position(|byte| *byte == b'\n');
            let used = end.unwrap_or(chunk.len()).min(MAX_LINE - line.len());
            line.extend_from_slice(&chunk[..used]);
            let complete = end == Some(used);
            read.consume(used + usize::from(complete));
            if complete || line.len() >= MAX_LINE {
                self.0.push_patiently(line_of(stream, text(&line))).await;
                line.clear();
            }
        }
        if !line.is_empty() {
            self.0.push_patiently(line_of(stream, text(&line))).await;
        }
        Ok(())
    }
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
    LogLine { at: Timestamp::now(), stream: stream.to_owned(), line }
}

fn text(line: &[u8]) -> String {
    String::from_utf8_lossy(line.strip_suffix(b"\r").unwrap_or(line)).into_owned()
}
