//! Where the gateway is and what it takes to talk to it.

use std::path::{Path, PathBuf};

use openshell_api::status::Endpoint;

use super::paths;
use crate::error::Error;

const FILE: &str = "endpoint.json";

/// Where a gateway is looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// On this machine, with its state in this directory.
    Local(PathBuf),
    /// At this URL.
    Url(String),
}

/// All it takes to talk to a gateway.
#[derive(Clone)]
pub struct Access {
    /// `https://host:port`, without a slash at its end.
    pub url: String,
    /// PEM of the only CA to trust.
    pub ca: Vec<u8>,
    /// Bearer token.
    pub token: String,
}

impl std::fmt::Debug for Access {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Access").field("url", &self.url).finish_non_exhaustive()
    }
}

impl Place {
    /// What `--gateway` says; the state directory of this user's own gateway if it says nothing.
    pub fn parse(given: Option<&str>) -> Result<Self, Error> {
        match given {
            None | Some("") => Ok(Self::Local(paths::state()?.join("gateway"))),
            Some(url) if url.starts_with("https://") => Ok(Self::Url(url.trim_end_matches('/').to_owned())),
            Some(directory) => {
                let directory = std::path::absolute(directory).map_err(Error::io(format!("resolve {directory}")))?;
                Ok(Self::Local(directory))
            }
        }
    }

    /// Reads what it takes to talk to this gateway. Says nothing about whether it answers.
    pub fn access(&self) -> Result<Access, Error> {
        match self {
            Self::Local(directory) => {
                let endpoint = read(directory)?;
                let ca = std::fs::read(&endpoint.ca).map_err(Error::io(format!("read {}", endpoint.ca)))?;
                let token = token(Path::new(&endpoint.token_file))?;
                Ok(Access { url: endpoint.url.trim_end_matches('/').to_owned(), ca, token })
            }
            Self::Url(url) => {
                let variable = |name: &'static str| {
                    std::env::var(name).ok().filter(|v| !v.is_empty()).ok_or(Error::RemoteIncomplete { missing: name })
                };
                let token = variable("OPENSHELL_TOKEN")?;
                let ca_file = variable("OPENSHELL_CA_FILE")?;
                let ca = std::fs::read(&ca_file).map_err(Error::io(format!("read {ca_file}")))?;
                Ok(Access { url: url.clone(), ca, token })
            }
        }
    }
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

fn token(file: &Path) -> Result<String, Error> {
    let text = std::fs::read_to_string(file).map_err(Error::io(format!("read {}", file.display())))?;
    Ok(text.trim().to_owned())
}
