//! What OpenSSH is told of a sandbox: a block of `ssh_config(5)`.

use std::path::{Path, PathBuf};

use openshell_api::Name;

use super::{SshError, key};
use crate::error::Error;
use crate::gateways::{Place, remote};

/// What an `ssh_config` calls sandboxes.
pub const PREFIX: &str = "openshell-";

/// All that a block says.
pub struct Block<'a> {
    /// Sandbox.
    pub name: &'a Name,
    /// This program.
    pub program: &'a Path,
    /// Its gateway. Said even where it is the default: `OPENSHELL_GATEWAY` may say otherwise where the client runs.
    pub gateway: &'a Place,
    /// The host key, and the file that tells of it.
    pub host_key: &'a Path,
    /// See `host_key`.
    pub known_hosts: &'a Path,
}

impl Block<'_> {
    /// The block's text.
    pub fn text(&self) -> Result<String, Error> {
        let Self { name, program, gateway, host_key, known_hosts } = self;
        let (program, host_key) = (utf8(program)?, utf8(host_key)?);
        let gateway = match gateway {
            Place::Local(directory) => utf8(directory)?.to_owned(),
            Place::Url(_) | Place::Known(_) => gateway.spelled(),
        };
        let gateway = gateway.as_str();
        let [program, gateway, host_key] = [program, gateway, host_key].map(word);
        let command = format!("{program} --gateway {gateway} ssh-proxy --host-key {host_key} {name}");
        if command.contains(['\n', '\r', '\0']) {
            return Err(SshError::Path { path: command.into() }.into());
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

fn utf8(path: &Path) -> Result<&str, Error> {
    path.to_str().ok_or_else(|| SshError::Path { path: path.to_owned() }.into())
}

/// A word of a shell's.
fn word(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:@,=".contains(c);
    match !text.is_empty() && text.chars().all(plain) {
        true => text.to_owned(),
        false => remote::quoted(text),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_survive_shell_and_configuration() {
        let name: Name = "demo".parse().expect("a name");
        let block = |program: &str, gateway: &str, file: &str| {
            let (program, file) = (Path::new(program), Path::new(file));
            let gateway = Place::Local(gateway.into());
            let block = Block { name: &name, program, gateway: &gateway, host_key: file, known_hosts: file };
            block.text().map_err(|error| error.to_string())
        };
        let plain = block("/usr/bin/openshell", "/state", "/keys/x").expect("a block");
        for line in [
            "Host openshell-demo\n",
            "    ProxyCommand /usr/bin/openshell --gateway /state ssh-proxy --host-key /keys/x demo\n",
            "    UserKnownHostsFile /keys/x\n",
            "    StrictHostKeyChecking yes\n",
        ] {
            assert!(plain.contains(line), "no {line:?} in\n{plain}");
        }
        let strange = block("/a b/it's", "/100%", "/c d/100%").expect("a block");
        for line in [
            r"ProxyCommand '/a b/it'\''s' --gateway '/100%%' ssh-proxy --host-key '/c d/100%%' demo",
            "UserKnownHostsFile \"/c d/100%%\"",
        ] {
            assert!(strange.contains(line), "no {line:?} in\n{strange}");
        }
        for wrong in ["/a\nProxyCommand x", "/a\"b", "/${HOME}", "/a\\b"] {
            let refused = block("/usr/bin/openshell", "/state", wrong).expect_err(wrong);
            assert!(refused.contains("can't be written into an SSH configuration"), "{refused}");
        }
        assert!(block("/a\nb", "/state", "/keys/x").is_err() && block("/a", "/b\nc", "/keys/x").is_err());
    }
}
