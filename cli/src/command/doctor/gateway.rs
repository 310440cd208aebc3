//! Whether the gateway is there, is ours, and keeps its secrets; and whether ssh leads to it, where that is the way.

use std::path::Path;
use std::time::Duration;

use super::super::Context;
use super::Check;
use crate::client::Client;
use crate::error::{Error, GatewayError};
use crate::gateways::remote::{self, Manners};
use crate::gateways::{Entry, Place, endpoint, local};

const PATIENCE: Duration = Duration::from_secs(5);
const NAME: &str = "gateway";

/// All checks of the gateway that is meant; those that make no sense where none runs are left out.
pub async fn checks(cx: &Context) -> Vec<Check> {
    let place = match cx.place() {
        Ok(place) => place,
        Err(error) => return vec![failed(NAME, &error)],
    };
    let mut checks = Vec::new();
    if let Place::Known(name) = &place
        && let Ok(Entry::Ssh(there)) = cx.book.entry(name)
    {
        checks.push(ssh(&there.destination).await);
    }
    let access = match place.access(&cx.book, Manners::Quiet).await {
        Ok(access) => access,
        Err(error @ Error::NoGateway { .. }) => {
            checks.push(Check::warn(NAME, error.to_string(), "`openshell sandbox create` starts one"));
            return checks;
        }
        Err(error @ Error::Gateway(GatewayError::LoggedOut { .. })) => {
            checks.push(Check::warn(NAME, error.to_string(), error.hint().unwrap_or_default()));
            return checks;
        }
        Err(error) => {
            checks.push(failed(NAME, &error));
            return checks;
        }
    };
    let answer = match Client::new(access).await {
        Ok(client) => client.status_within(PATIENCE).await.map(|status| (client.access().url.clone(), status)),
        Err(error) => Err(error),
    };
    match answer {
        Ok((url, status)) => {
            checks.push(Check::ok(NAME, format!("{url} answers")));
            checks.push(Check::ok("certificate", "issued by an authority that it may have one from, and valid"));
            checks.push(version(&status.version));
        }
        Err(error) => {
            let name = if matches!(error, Error::Untrusted { .. }) { "certificate" } else { NAME };
            checks.push(failed(name, &error));
        }
    }
    if let Place::Local(directory) = &place {
        checks.extend(endpoint::read(directory).ok().map(|endpoint| private(Path::new(&endpoint.token_file))));
        checks.extend(reboot(directory).await);
    }
    checks
}

fn failed(name: &'static str, error: &Error) -> Check {
    Check::fail(name, error.to_string(), error.hint().unwrap_or_default())
}

/// Whether ssh is here, and leads there without asking.
async fn ssh(destination: &str) -> Check {
    const NAME: &str = "ssh";
    if !remote::has_ssh() {
        return Check::fail(NAME, "the program ssh is not there", "install OpenSSH's client");
    }
    let tunnel = match remote::Tunnel::to(destination, Manners::Quiet) {
        Ok(tunnel) => tunnel,
        Err(error) => return failed(NAME, &error),
    };
    match tunnel.ssh().open("uname -sm; id -un").await {
        Ok(said) => Check::ok(NAME, format!("{destination} is {}", said.lines().collect::<Vec<_>>().join(", as "))),
        Err(error) => failed(NAME, &error),
    }
}

/// Whether a gateway that is a service starts with the machine.
async fn reboot(state_dir: &Path) -> Option<Check> {
    const NAME: &str = "reboot";
    use crate::gateways::entry::Form;
    let form = local::Plan::kept(state_dir).ok().flatten()?.form;
    Some(match form {
        Form::Service if local::lingers().await => {
            Check::ok(NAME, "the gateway is a service and starts with the machine")
        }
        Form::Service => {
            Check::warn(NAME, "the gateway is a service that starts when you log in", "loginctl enable-linger")
        }
        Form::Docker => Check::ok(NAME, "the gateway is a container and starts with its engine"),
        Form::Process => return None,
    })
}

fn version(gateway: &str) -> Check {
    const NAME: &str = "version";
    let ours = env!("CARGO_PKG_VERSION");
    if gateway == ours {
        Check::ok(NAME, format!("gateway and command line are {ours}"))
    } else {
        let hint = "bring it to this version: `openshell gateway upgrade`";
        Check::warn(NAME, format!("the gateway is {gateway}, this command line {ours}"), hint)
    }
}

fn private(token: &Path) -> Check {
    use std::os::unix::fs::PermissionsExt as _;
    const NAME: &str = "token file";
    match token.metadata().map(|metadata| metadata.permissions().mode() & 0o777) {
        Ok(mode) if mode & 0o077 == 0 => Check::ok(NAME, format!("{} (mode {mode:04o})", token.display())),
        Ok(mode) => {
            let hint = format!("chmod 600 {}", token.display());
            Check::fail(NAME, format!("{} has mode {mode:04o}: others can read it", token.display()), hint)
        }
        Err(error) => Check::fail(NAME, format!("{}: {error}", token.display()), "restart the gateway"),
    }
}
