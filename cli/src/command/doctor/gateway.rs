//! Whether the gateway is there, is ours, and keeps its secrets.

use std::path::Path;
use std::time::Duration;

use super::Check;
use crate::client::{Client, Place, endpoint};
use crate::error::Error;

const PATIENCE: Duration = Duration::from_secs(5);

/// All checks of the gateway; those that make no sense where none runs are left out.
pub async fn checks(place: &Place) -> Vec<Check> {
    const NAME: &str = "gateway";
    let access = match place.access() {
        Ok(access) => access,
        Err(error @ Error::NoGateway { .. }) => {
            return vec![Check::warn(NAME, error.to_string(), "`openshell sandbox create` starts one")];
        }
        Err(error) => return vec![Check::fail(NAME, error.to_string(), error.hint().unwrap_or_default())],
    };
    let answer = match Client::new(access) {
        Ok(client) => client.status_within(PATIENCE).await.map(|status| (client.access().url.clone(), status)),
        Err(error) => Err(error),
    };
    let mut checks = match answer {
        Ok((url, status)) => {
            vec![
                Check::ok(NAME, format!("{url} answers")),
                Check::ok("certificate", "issued by the gateway's own CA, and valid"),
                version(&status.version),
            ]
        }
        Err(error) => {
            let name = if matches!(error, Error::Untrusted { .. }) { "certificate" } else { NAME };
            vec![Check::fail(name, error.to_string(), error.hint().unwrap_or_default())]
        }
    };
    if let Place::Local(directory) = place {
        checks.extend(endpoint::read(directory).ok().map(|endpoint| private(Path::new(&endpoint.token_file))));
    }
    checks
}

fn version(gateway: &str) -> Check {
    const NAME: &str = "version";
    let ours = env!("CARGO_PKG_VERSION");
    if gateway == ours {
        Check::ok(NAME, format!("gateway and command line are {ours}"))
    } else {
        let hint = "restart the gateway: `openshell gateway stop`, then `openshell gateway start`";
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
