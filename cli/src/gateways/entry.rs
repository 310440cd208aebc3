//! What is kept of a gateway.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// How a gateway is reached. Holds no secret: tokens and sessions lie in files of their own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Entry {
    /// On the network, most likely behind a reverse proxy.
    Url {
        /// `https://host[:port][/prefix]`.
        url: String,
        /// PEM of the only authority to trust; absent: this machine's.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ca: Option<String>,
    },
    /// On this machine, with its state in this directory.
    Directory {
        /// The directory.
        directory: PathBuf,
    },
    /// On a machine that OpenSSH reaches.
    Ssh(Remote),
}

/// A gateway on another machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remote {
    /// What `ssh` is given: `user@host`, or a `Host` of its configuration.
    pub destination: String,
    /// As what the gateway runs there.
    pub form: Form,
    /// Where it answers, seen from there: `https://127.0.0.1:PORT`.
    pub url: String,
    /// PEM of its own authority.
    pub ca: String,
}

/// As what a gateway runs on its machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Form {
    /// A service of the user's systemd: comes back after a failure and a reboot.
    Service,
    /// A container of a Docker engine: comes back after a failure and a reboot.
    Docker,
    /// A process in the background, gone after a reboot.
    Process,
}

impl Form {
    /// As options spell it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Service => "service",
            Self::Docker => "docker",
            Self::Process => "process",
        }
    }
}

impl Entry {
    /// The word for its kind.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Url { .. } => "url",
            Self::Directory { .. } => "local",
            Self::Ssh(_) => "ssh",
        }
    }

    /// Where it is, for people.
    pub fn address(&self) -> String {
        match self {
            Self::Url { url, .. } => url.clone(),
            Self::Directory { directory } => directory.display().to_string(),
            Self::Ssh(remote) => format!("ssh://{}", remote.destination),
        }
    }
}
