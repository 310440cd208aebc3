//! Gateways on machines that have OpenSSH's server and little else. The command line is copied there with the other
//! programs and does there what it does here: one way to bring a gateway up, not two.

mod ssh;
mod there;
mod tunnel;

use openshell_api::Name;

use super::book::{Book, Secrets};
use super::entry::{Entry, Form, Remote};
use crate::args::gateway::StartArgs;
use crate::error::{Error, GatewayError};
use crate::output::Progress;

pub use ssh::{Manners, quoted};
pub use tunnel::{Tunnel, access, has_ssh};

/// Puts a gateway on another machine, or takes the one that runs there, and adds it to the book. Answers also whether a service
/// there starts with the machine, if it is one.
pub async fn provision(
    book: &Book,
    name: &Name,
    destination: &str,
    form: Option<Form>,
    arguments: &StartArgs,
    progress: &Progress,
) -> Result<(Remote, Option<bool>), Error> {
    let tunnel = Tunnel::to(destination, Manners::Asking)?;
    there::side_load(tunnel.ssh(), progress).await?;
    progress.teller()("starting the gateway there");
    let mut words = vec!["gateway".to_owned(), "start".into(), "-q".into(), "-o".into(), "json".into()];
    if let Some(runtime) = arguments.runtime {
        words.extend(["--runtime".into(), crate::output::word(&runtime)]);
    }
    if let Some(image) = &arguments.default_image {
        words.extend(["--default-image".into(), image.clone()]);
    }
    if let Some(form) = form {
        words.extend(["--form".into(), form.word().into()]);
    }
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let started = there::openshell(tunnel.ssh(), &words).await?;
    let started: serde_json::Value =
        serde_json::from_str(&started).map_err(|e| GatewayError::Revealed { reason: e.to_string() })?;
    let form = serde_json::from_value(started["form"].clone()).unwrap_or(Form::Process);
    // A tunnel to a former gateway there may still be up: it leads to that one's port.
    tunnel.close().await;
    let (_, known) = tunnel.open().await?;
    let known = known.ok_or_else(|| GatewayError::Revealed { reason: "somebody else opened its tunnel".into() })?;
    let remote = Remote { destination: destination.to_owned(), form, url: known.url, ca: known.ca };
    book.add(name, &Entry::Ssh(remote.clone()), Secrets { token: Some(&known.token), ..Secrets::default() })?;
    Ok((remote, started["lingers"].as_bool()))
}

/// Starts the gateway there again, as it was started last.
pub async fn start(remote: &Remote) -> Result<(), Error> {
    let tunnel = Tunnel::to(&remote.destination, Manners::Asking)?;
    there::openshell(tunnel.ssh(), &["gateway", "upgrade", "-q"]).await.map(drop)
}

/// Whether that is why a gateway can't be reached: its machine answers, and it does not run there.
pub fn is_stopped(error: &Error) -> bool {
    matches!(error, Error::Gateway(GatewayError::Ssh { own: false, reason, .. }) if reason.contains("no gateway is running"))
}

/// Puts this version's programs there and has them take the place of what runs. Sandboxes go on meanwhile.
pub async fn upgrade(remote: &Remote, progress: &Progress) -> Result<(), Error> {
    let tunnel = Tunnel::to(&remote.destination, Manners::Asking)?;
    there::side_load(tunnel.ssh(), progress).await?;
    progress.teller()("replacing the gateway there");
    there::openshell(tunnel.ssh(), &["gateway", "upgrade", "-q"]).await.map(drop)
}

/// Removes the gateway, its sandboxes and its programs from the other machine.
pub async fn purge(remote: &Remote, progress: &Progress) -> Result<(), Error> {
    let tunnel = Tunnel::to(&remote.destination, Manners::Asking)?;
    // The program that purges must be there, and new enough to know how.
    there::side_load(tunnel.ssh(), progress).await?;
    progress.teller()("removing the gateway there");
    match there::openshell(tunnel.ssh(), &["gateway", "remove", "local", "--purge", "--yes", "-q"]).await {
        // Half of it may be gone already.
        Err(error) if is_stopped(&error) => {}
        other => drop(other?),
    }
    there::clear(tunnel.ssh()).await?;
    tunnel.close().await;
    Ok(())
}
