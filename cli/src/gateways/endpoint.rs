//! Where the gateway of a state directory answers, as it says itself.

use std::path::Path;

use openshell_api::status::Endpoint;

use crate::client::Access;
use crate::client::access::Trust;
use crate::error::Error;

const FILE: &str = "endpoint.json";

/// What it takes to talk to a gateway of this machine.
pub fn access(directory: &Path) -> Result<Access, Error> {
    let endpoint = read(directory)?;
    let token =
        std::fs::read_to_string(&endpoint.token_file).map_err(Error::io(format!("read {}", endpoint.token_file)))?;
    let url = endpoint.url.trim_end_matches('/').to_owned();
    Ok(Access::with_token(url, Trust::File(endpoint.ca.into()), token.trim().to_owned()))
}

/// Reads a local gateway's endpoint file. Refuses with [`Error::NoGateway`] where there is none.
pub fn read(directory: &Path) -> Result<Endpoint, Error> {
    let path = directory.join(FILE);
    let text = match std::fs::read(&path) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Err(Error::NoGateway { endpoint: path }),
        Err(source) => return Err(Error::Io { doing: format!("read {}", path.display()), source }),
    };
    serde_json::from_slice(&text).map_err(|e| Error::Endpoint { path, reason: e.to_string() })
}
