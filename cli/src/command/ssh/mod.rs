//! The OpenSSH door: `openshell ssh-proxy`, which OpenSSH runs as its `ProxyCommand`, and `openshell sandbox ssh-config`,
//! which tells it to.
//!
//! The proxy is an SSH server on standard input and output. Nothing listens anywhere; who runs it holds the gateway's
//! token, so SSH itself asks for nothing more. Each channel is a stream of the gateway's.

mod backlog;
mod channel;
mod config;
mod error;
mod install;
mod key;
mod server;

use std::io::IsTerminal as _;
use std::sync::Arc;
use std::time::Duration;

use openshell_api::Name;
use openshell_api::sandbox::Sandbox;
use russh::server::Config;

pub use error::SshError;

use super::{Context, DONE};
use crate::args::ssh::{SshConfigArgs, SshProxyArgs};
use crate::client::Client;
use crate::error::Error;
use crate::output::word;
use crate::sys;

/// Input that a client may send ahead, in bytes per channel.
const WINDOW: u32 = 1 << 20;

/// `ssh-proxy`. Ends with the client.
pub async fn proxy(cx: &Context, args: SshProxyArgs) -> Result<u8, Error> {
    if std::io::stdin().is_terminal() {
        return Err(SshError::ByHand { name: args.name.to_string() }.into());
    }
    let client = cx.client().await?;
    // Refuse early, and in words, what would fail with each channel.
    running(&client, &args.name).await?;
    let path = args.host_key.map_or_else(|| key::path(&cx.place()?), Ok)?;
    let config = Config {
        keys: vec![key::load_or_make(&path)?],
        // A shell may idle for as long as it likes.
        inactivity_timeout: None,
        auth_rejection_time: Duration::ZERO,
        window_size: WINDOW,
        ..Config::default()
    };
    let door = server::Door::new(client.access().clone(), args.name);
    let session = russh::server::run_stream(Arc::new(config), sys::standard_streams(), door).await;
    let ended = match session {
        Ok(session) => session.await,
        Err(error) => Err(error),
    };
    match ended {
        Ok(()) | Err(russh::Error::Disconnect | russh::Error::HUP) => Ok(DONE),
        // The client may go without a word.
        Err(russh::Error::IO(error)) if gone(&error) => Ok(DONE),
        Err(error) => Err(SshError::Protocol(error).into()),
    }
}

fn gone(error: &std::io::Error) -> bool {
    use std::io::ErrorKind;
    matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::BrokenPipe | ErrorKind::ConnectionReset)
}

async fn running(client: &Client, name: &Name) -> Result<Sandbox, Error> {
    let sandbox = client.sandbox(name).await?;
    if sandbox.connected {
        return Ok(sandbox);
    }
    Err(SshError::Away { name: name.to_string(), phase: word(&sandbox.phase) }.into())
}

/// `sandbox ssh-config`.
pub async fn configure(cx: &Context, args: SshConfigArgs) -> Result<u8, Error> {
    cx.client().await?.sandbox(&args.name).await?;
    let place = cx.place()?;
    let host_key = key::path(&place)?;
    let known_hosts = key::announce(&host_key, &key::load_or_make(&host_key)?)?;
    let program = std::env::current_exe().map_err(Error::io("find this program"))?;
    let block = config::Block {
        name: &args.name,
        program: &program,
        gateway: &place,
        host_key: &host_key,
        known_hosts: &known_hosts,
    };
    let (host, text) = (format!("{}{}", config::PREFIX, args.name), block.text()?);
    if !args.install {
        cx.out.data(&serde_json::json!({ "host": host, "config": text }), || text.clone())?;
        return Ok(DONE);
    }
    let home = std::env::home_dir().filter(|home| home.is_absolute());
    let home = home.ok_or_else(|| Error::NoHome { variable: "HOME".into() })?;
    let changed = install::install(&home.join(".ssh"), &host, &text)?;
    for path in &changed {
        cx.out.note(format!("wrote {}", path.display()));
    }
    let news = if changed.is_empty() { "nothing to change" } else { "done" };
    cx.out.note(format!("{news}: `ssh {host}` leads into the sandbox"));
    Ok(DONE)
}
