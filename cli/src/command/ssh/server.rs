//! An SSH client's requests, and what becomes of them.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use openshell_api::Name;
use openshell_api::sandbox::{ExecRequest, WindowSize};
use openshell_api::stream::{StreamControl, StreamRequest};
use russh::server::{Auth, ChannelOpenHandle, Handler, Msg, Session};
use russh::{ChannelId, ChannelOpenFailure, ChannelWriteHalf, Pty, Sig};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use super::backlog::{Backlog, next_grant};
use super::channel::{Channel, Input, Kind, signal_number};
use crate::client::Access;

/// The best login shell there is.
const SHELL: &str = "command -v bash >/dev/null 2>&1 && exec bash -l; exec sh -l";
/// The best shell for the command `$1`.
const COMMAND: &str = r#"command -v bash >/dev/null 2>&1 && exec bash -c "$1"; exec sh -c "$1""#;
/// Variables that a client may set, beside `LC_*`: language, colours, and the version of Git's protocol.
const VARIABLES: [&str; 5] = ["LANG", "LANGUAGE", "TERM", "COLORTERM", "GIT_PROTOCOL"];
/// Longest value of one, in bytes.
const MAX_VALUE: usize = 256;

/// The server that one client speaks to.
pub struct Door {
    access: Access,
    sandbox: Name,
    channels: HashMap<ChannelId, Open>,
    /// The channel that was last granted more input.
    granted: Option<ChannelId>,
}

/// A channel, from its opening to its end.
struct Open {
    client: Arc<ChannelWriteHalf<Msg>>,
    env: BTreeMap<String, String>,
    terminal: Option<WindowSize>,
    /// Where input goes, once it runs.
    input: Option<mpsc::UnboundedSender<Input>>,
    backlog: Arc<Backlog>,
    running: Option<AbortHandle>,
}

impl Drop for Open {
    fn drop(&mut self) {
        if let Some(running) = &self.running {
            running.abort();
        }
    }
}

impl Door {
    /// A way into a sandbox.
    pub fn new(access: Access, sandbox: Name) -> Self {
        Self { access, sandbox, channels: HashMap::new(), granted: None }
    }

    fn open(&mut self, channel: russh::Channel<Msg>) -> ChannelId {
        // Input comes through the handler's methods.
        let (_, client) = channel.split();
        let id = client.id();
        let open = Open {
            client: Arc::new(client),
            env: BTreeMap::new(),
            terminal: None,
            input: None,
            backlog: Arc::default(),
            running: None,
        };
        self.channels.insert(id, open);
        id
    }

    /// Begins what a channel is for. `false`: it is not open, or runs already.
    fn start(&mut self, id: ChannelId, kind: Option<Kind>, request: StreamRequest, session: &Session) -> bool {
        let Some(open) = self.channels.get_mut(&id).filter(|open| open.input.is_none()) else { return false };
        let (sender, input) = mpsc::unbounded_channel();
        let channel = Channel {
            access: self.access.clone(),
            sandbox: self.sandbox.clone(),
            kind: kind.unwrap_or(Kind::Session { terminal: open.terminal.is_some() }),
            client: open.client.clone(),
            session: session.handle(),
            input,
            backlog: open.backlog.clone(),
        };
        open.input = Some(sender);
        open.running = Some(tokio::spawn(channel.run(request)).abort_handle());
        true
    }

    fn execute(&mut self, id: ChannelId, command: &[&str], session: &Session) -> bool {
        let Some(open) = self.channels.get(&id) else { return false };
        let exec = ExecRequest {
            command: command.iter().map(|&word| word.to_owned()).collect(),
            env: open.env.clone(),
            workdir: None,
            tty: open.terminal,
        };
        self.start(id, None, StreamRequest::Exec { exec, resumable: false }, session)
    }

    /// Passes something on to what runs. `false`: nothing does any more, and it is lost.
    fn pass(&self, id: ChannelId, input: Input) -> bool {
        self.channels.get(&id).and_then(|open| open.input.as_ref()).is_some_and(|sender| sender.send(input).is_ok())
    }
}

fn reply(session: &mut Session, id: ChannelId, done: bool) -> Result<(), russh::Error> {
    if done { session.channel_success(id) } else { session.channel_failure(id) }
}

/// A terminal's size, within what a terminal can have.
fn size(cols: u32, rows: u32) -> WindowSize {
    let within = |given: u32, absent: u16| if given == 0 { absent } else { u16::try_from(given).unwrap_or(u16::MAX) };
    WindowSize { rows: within(rows, 24), cols: within(cols, 80) }
}

/// Whether a client may set a variable. What it could do harm with is not on the list.
fn harmless(name: &str, value: &str) -> bool {
    let name = VARIABLES.contains(&name)
        || name
            .strip_prefix("LC_")
            .is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_uppercase()));
    name && value.len() <= MAX_VALUE && value.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Whether a host is the sandbox itself.
fn is_loopback(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback())
}

impl Handler for Door {
    type Error = russh::Error;

    /// Whoever speaks to this process runs it, and holds the gateway's token.
    async fn auth_none(&mut self, _user: &str) -> Result<Auth, Self::Error> {
        Ok(Auth::Accept)
    }

    async fn channel_open_session(
        &mut self,
        channel: russh::Channel<Msg>,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        self.open(channel);
        reply.accept().await;
        Ok(())
    }

    /// Leads to the sandbox's own loopback and nowhere else: the way out is decided by policies.
    async fn channel_open_direct_tcpip(
        &mut self,
        channel: russh::Channel<Msg>,
        host: &str,
        port: u32,
        _originator: &str,
        _originator_port: u32,
        reply: ChannelOpenHandle,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        match u16::try_from(port) {
            Ok(port) if port > 0 && is_loopback(host) => {
                let id = self.open(channel);
                reply.accept().await;
                self.start(id, Some(Kind::Port(port)), StreamRequest::Forward { port }, session);
            }
            _ => reply.reject(ChannelOpenFailure::AdministrativelyProhibited).await,
        }
        Ok(())
    }

    async fn pty_request(
        &mut self,
        id: ChannelId,
        term: &str,
        cols: u32,
        rows: u32,
        _width: u32,
        _height: u32,
        _modes: &[(Pty, u32)],
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        let open = self.channels.get_mut(&id).filter(|open| open.input.is_none());
        let done = open.is_some();
        if let Some(open) = open {
            open.terminal = Some(size(cols, rows));
            if harmless("TERM", term) {
                open.env.insert("TERM".into(), term.into());
            }
        }
        reply(session, id, done)
    }

    async fn env_request(
        &mut self,
        id: ChannelId,
        name: &str,
        value: &str,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        let open = self.channels.get_mut(&id).filter(|_| harmless(name, value));
        let done = open.is_some_and(|open| {
            open.env.insert(name.to_owned(), value.to_owned());
            true
        });
        reply(session, id, done)
    }

    async fn shell_request(&mut self, id: ChannelId, session: &mut Session) -> Result<(), Self::Error> {
        let done = self.execute(id, &["sh", "-c", SHELL], session);
        reply(session, id, done)
    }

    async fn exec_request(&mut self, id: ChannelId, command: &[u8], session: &mut Session) -> Result<(), Self::Error> {
        let done = match std::str::from_utf8(command) {
            Ok(command) => self.execute(id, &["sh", "-c", COMMAND, "sh", command], session),
            Err(_) => false,
        };
        reply(session, id, done)
    }

    async fn subsystem_request(&mut self, id: ChannelId, name: &str, session: &mut Session) -> Result<(), Self::Error> {
        let done = name == "sftp" && self.start(id, None, StreamRequest::Sftp, session);
        reply(session, id, done)
    }

    async fn x11_request(
        &mut self,
        id: ChannelId,
        _single: bool,
        _protocol: &str,
        _cookie: &str,
        _screen: u32,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        reply(session, id, false)
    }

    async fn window_change_request(
        &mut self,
        id: ChannelId,
        cols: u32,
        rows: u32,
        _width: u32,
        _height: u32,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        self.pass(id, Input::Control(StreamControl::Resize(size(cols, rows))));
        reply(session, id, true)
    }

    async fn signal(&mut self, id: ChannelId, signal: Sig, _session: &mut Session) -> Result<(), Self::Error> {
        if let Some(signal) = signal_number(&signal) {
            self.pass(id, Input::Control(StreamControl::Signal { signal }));
        }
        Ok(())
    }

    async fn data(&mut self, id: ChannelId, data: &[u8], _session: &mut Session) -> Result<(), Self::Error> {
        // Empty input would be its end.
        if data.is_empty() {
            return Ok(());
        }
        let Some(open) = self.channels.get(&id).filter(|open| open.input.is_some()) else { return Ok(()) };
        open.backlog.add(data.len());
        if self.pass(id, Input::Bytes(Bytes::copy_from_slice(data))) {
            open.backlog.pause().await;
        } else {
            open.backlog.remove(data.len());
        }
        Ok(())
    }

    async fn channel_eof(&mut self, id: ChannelId, _session: &mut Session) -> Result<(), Self::Error> {
        self.pass(id, Input::Bytes(Bytes::new()));
        Ok(())
    }

    async fn channel_close(&mut self, id: ChannelId, _session: &mut Session) -> Result<(), Self::Error> {
        self.channels.remove(&id);
        Ok(())
    }

    fn adjust_window(&mut self, id: ChannelId, _current: u32) -> u32 {
        let long = |id: &ChannelId| self.channels.get(id).is_some_and(|open| open.backlog.is_long());
        let any = self.channels.values().any(|open| open.backlog.is_long());
        let alternates = self.granted.is_some_and(|before| before != id && !long(&before));
        let next = next_grant(long(&id), any, alternates);
        self.granted = Some(id);
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_sets_what_does_no_harm() {
        for (name, value, expected) in [
            ("LANG", "de_DE.UTF-8", true),
            ("LC_ALL", "C", true),
            ("GIT_PROTOCOL", "version=2", true),
            ("TERM", "xterm-256color", true),
            ("LC_", "C", false),
            ("LC_all", "C", false),
            ("PATH", "/tmp", false),
            ("LD_PRELOAD", "/tmp/x.so", false),
            ("HTTPS_PROXY", "http://127.0.0.1:1", false),
            ("LANG", "a b", false),
            ("LANG", "a\nb", false),
            ("LANG", "\u{1b}[31m", false),
        ] {
            assert_eq!(harmless(name, value), expected, "{name}={value:?}");
        }
        assert!(!harmless("LANG", &"a".repeat(MAX_VALUE + 1)));
    }

    #[test]
    fn ports_of_the_sandbox_alone_are_reached() {
        for (host, expected) in [
            ("localhost", true),
            ("127.0.0.1", true),
            ("127.9.9.9", true),
            ("::1", true),
            ("[::1]", true),
            ("::ffff:127.0.0.1", true),
            ("0.0.0.0", false),
            ("10.0.0.1", false),
            ("169.254.169.254", false),
            ("example.com", false),
            ("localhost.example.com", false),
            ("", false),
        ] {
            assert_eq!(is_loopback(host), expected, "{host}");
        }
    }

    #[test]
    fn terminals_have_a_size() {
        for ((cols, rows), expected) in [((100, 40), (100, 40)), ((0, 0), (80, 24)), ((70_000, 1), (65_535, 1))] {
            let size = size(cols, rows);
            assert_eq!((size.cols, size.rows), expected);
        }
    }
}
