//! The system's `ssh`: its configuration, agent and known hosts decide who is reached and who lets us in.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use openshell_api::ssh;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use crate::error::{Error, GatewayError};

/// What `ssh` exits with when it failed itself.
const OWN_FAILURE: i32 = 255;
/// Longest wait for a connection, in seconds.
const CONNECT_S: u32 = 15;
/// Longest time that a command may take which copies nothing.
const PATIENCE: Duration = Duration::from_secs(180);

/// Whether somebody is there to answer `ssh`'s questions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manners {
    /// It may ask for a password, a passphrase, or whether to trust a host.
    Asking,
    /// It must do without.
    Quiet,
}

/// `ssh` to one destination, over one connection that all commands share.
#[derive(Debug, Clone)]
pub struct Ssh {
    destination: String,
    control: std::path::PathBuf,
    manners: Manners,
}

impl Ssh {
    /// To this destination, sharing the connection behind this socket. Refuses what `ssh` would take for an option.
    pub fn to(destination: &str, control: &Path, manners: Manners) -> Result<Self, Error> {
        let refuse = |reason: &'static str| GatewayError::Destination { given: destination.to_owned(), reason };
        if destination.is_empty() || destination.starts_with('-') {
            return Err(refuse("it is no user@host").into());
        }
        if destination.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Err(refuse("it holds a space or a control character").into());
        }
        Ok(Self { destination: destination.to_owned(), control: control.to_owned(), manners })
    }

    /// A command line `ssh …` that reaches the destination, as the user's configuration says, and takes nothing from it
    /// that would reach further than needed.
    fn command(&self, options: &[&str]) -> Command {
        let mut command = self.plain();
        for option in ssh::CONFINED {
            command.args(["-o", option]);
        }
        command.args(["-o", &format!("ConnectTimeout={CONNECT_S}")]);
        if self.manners == Manners::Quiet {
            command.args(["-o", "BatchMode=yes"]);
        }
        command.args(options);
        command
    }

    /// A command line `ssh …` that asks something of the shared connection, once it is up.
    fn asking(&self, what: &str) -> Command {
        let mut command = self.plain();
        // The configuration's forwardings are none of what is asked.
        command.args(["-F", "none", "-O", what]);
        command
    }

    fn plain(&self) -> Command {
        let mut command = Command::new(ssh::program());
        let path = self.control.to_string_lossy().replace('%', "%%");
        command.args(["-o", &format!("ControlPath={path}")]).kill_on_drop(true);
        command
    }

    /// Whether the shared connection is up.
    pub async fn is_up(&self) -> bool {
        let mut command = self.asking("check");
        let asked =
            command.arg(&self.destination).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
        self.control.exists() && asked.await.is_ok_and(|status| status.success())
    }

    /// Opens the shared connection if it is not up, and runs a shell script over it. The connection outlives us, and
    /// ends when nobody has used it for a quarter of an hour, or when the other side has not answered for half a minute.
    pub async fn open(&self, script: &str) -> Result<String, Error> {
        let options = [
            "-o",
            "ControlMaster=auto",
            "-o",
            "ControlPersist=900",
            "-o",
            "ServerAliveInterval=10",
            "-o",
            "ServerAliveCountMax=3",
        ];
        self.run(&options, script, &[]).await
    }

    /// Runs a shell script there; what it prints is the answer.
    pub async fn script(&self, script: &str) -> Result<String, Error> {
        self.run(&[], script, &[]).await
    }

    /// Runs a shell command there that reads these bytes.
    pub async fn feed(&self, command: &str, bytes: &[u8]) -> Result<String, Error> {
        self.run(&[], command, bytes).await
    }

    /// Has connections to a Unix socket here end at a TCP port there, as long as the shared connection lives.
    pub async fn forward(&self, socket: &Path, port: u16) -> Result<(), Error> {
        let way = format!("{}:127.0.0.1:{port}", socket.display());
        let mut command = self.asking("forward");
        command.args(["-L", &way]).arg(&self.destination);
        self.finish(command, &[], "forward a socket").await.map(drop)
    }

    /// Ends the shared connection, if there is one.
    pub async fn close(&self) {
        let mut command = self.asking("exit");
        let _ = command
            .arg(&self.destination)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .await;
    }

    async fn run(&self, options: &[&str], script: &str, input: &[u8]) -> Result<String, Error> {
        let mut command = self.command(options);
        // The user's shell there may be any; the script is for sh.
        command.arg(&self.destination).arg(format!("exec sh -c {}", quoted(script)));
        self.finish(command, input, "run a command").await
    }

    async fn finish(&self, mut command: Command, input: &[u8], doing: &'static str) -> Result<String, Error> {
        let unable = Error::io("run ssh");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(unable)?;
        let mut stdin = child.stdin.take();
        let bytes = input.to_vec();
        let feeding = tokio::spawn(async move {
            if let Some(stdin) = &mut stdin {
                // Whoever does not read to the end says why on its other streams.
                let _ = stdin.write_all(&bytes).await;
            }
        });
        let patience = if input.is_empty() { PATIENCE } else { PATIENCE * 10 };
        let waited = tokio::time::timeout(patience, child.wait_with_output()).await;
        feeding.abort();
        let failed = |code: Option<i32>, reason: String| GatewayError::Ssh {
            destination: self.destination.clone(),
            doing,
            own: code == Some(OWN_FAILURE),
            reason,
        };
        let Ok(ended) = waited else {
            return Err(failed(None, format!("it took more than {} s", patience.as_secs())).into());
        };
        let ended = ended.map_err(Error::io("run ssh"))?;
        if ended.status.success() {
            return Ok(String::from_utf8_lossy(&ended.stdout).into_owned());
        }
        let said = String::from_utf8_lossy(&ended.stderr).trim().to_owned();
        // Our own command line there says a fact and a hint; the hint is for whoever is there.
        let fact =
            said.strip_prefix("error: ").map(|said| said.split("\nhint: ").next().unwrap_or_default().to_owned());
        let said = fact.unwrap_or(said);
        let reason = if said.is_empty() { ended.status.to_string() } else { said };
        Err(failed(ended.status.code(), reason).into())
    }
}

/// A word of a POSIX shell's.
pub fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_destination_is_never_an_option() {
        for wrong in ["", "-oProxyCommand=touch /tmp/x", "a b", "host\n-o"] {
            assert!(Ssh::to(wrong, Path::new("/tmp/x"), Manners::Quiet).is_err(), "{wrong:?}");
        }
        assert!(Ssh::to("me@host", Path::new("/tmp/x"), Manners::Quiet).is_ok());
        assert_eq!(quoted("it's"), r"'it'\''s'");
    }
}
