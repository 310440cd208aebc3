//! What OpenSSH is told of a sandbox: a block of `ssh_config(5)`.

use std::path::{Path, PathBuf};

use openshell_api::Name;

use super::{SshError, key};
use crate::client::Place;
use crate::error::Error;

/// What an `ssh_config` calls sandboxes.
pub const PREFIX: &str = "openshell-";

/// All that a block says.
pub struct Block<'a> {
    /// Sandbox.
    pub name: &'a Name,
    /// This program.
    pub program: &'a Path,
    /// Its gateway, unless it is the default.
    pub gateway: Option<&'a str>,
    /// The host key, and the file that tells of it.
    pub host_key: &'a Path,
    /// See `host_key`.
    pub known_hosts: &'a Path,
}

impl Block<'_> {
    /// The block's text.
    pub fn text(&self) -> Result<String, Error> {
        let Self { name, program, gateway, host_key, known_hosts } = self;
        let mut command = vec![word(utf8(program)?)];
        if let Some(gateway) = gateway {
            command.extend(["--gateway".into(), word(gateway)]);
        }
        command.extend(["ssh-proxy".into(), "--host-key".into(), word(utf8(host_key)?), name.to_string()]);
        let command = command.join(" ");
        if command.contains(['\n', '\r', '\0']) {
            return Err(SshError::Path { path: program.to_path_buf() }.into());
        }
        // What a sandbox must not be given, and what would outlive or mix up sandboxes, is off whatever comes later.
        Ok(format!(
            "Host {PREFIX}{name}\n    ProxyCommand {}\n    User sandbox\n    HostKeyAlias {}\n    \
             UserKnownHostsFile {}\n    GlobalKnownHostsFile none\n    StrictHostKeyChecking yes\n    \
             UpdateHostKeys no\n    CheckHostIP no\n    ForwardAgent no\n    ForwardX11 no\n    ControlMaster no\n    \
             ControlPath none\n",
            command.replace('%', "%%"),
            key::ALIAS,
            quoted(known_hosts)?,
        ))
    }
}

/// What `--gateway` must say, wherever and with whatever environment the SSH client runs; nothing for the default.
pub fn gateway(place: &Place) -> Option<String> {
    match place {
        Place::Url(url) => Some(url.clone()),
        Place::Local(directory) => {
            let default = std::env::home_dir().map(|home| home.join(".local/state/openshell/gateway"));
            (default.as_ref() != Some(directory)).then(|| directory.to_string_lossy().into_owned())
        }
    }
}

fn utf8(path: &Path) -> Result<&str, Error> {
    path.to_str().ok_or_else(|| SshError::Path { path: path.to_owned() }.into())
}

/// A word of a shell's.
fn word(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:@,=".contains(c);
    match !text.is_empty() && text.chars().all(plain) {
        true => text.to_owned(),
        false => format!("'{}'", text.replace('\'', r"'\''")),
    }
}

/// A file as an argument of `ssh_config`, in which `%` and `${` have a meaning.
pub fn quoted(path: &Path) -> Result<String, Error> {
    let text = utf8(path)?;
    if text.contains(['"', '\\', '\n', '\r', '\0']) || text.contains("${") {
        return Err(SshError::Path { path: PathBuf::from(path) }.into());
    }
    let text = text.replace('%', "%%");
    Ok(if text.contains([' ', '\t', '#', '\'']) { format!("\"{text}\"") } else { text })
}
