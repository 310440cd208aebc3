//! What is put on the other machine, and what is asked of it. All of it lies in the user's own directories there; the
//! programs are ours, static, and copied over the connection.

use serde::Deserialize;

use super::ssh::{Ssh, quoted};
use crate::error::{Error, GatewayError};
use crate::output::Progress;
use crate::paths;

/// The programs, in the order in which they are put there: the one that uses the others comes last.
const PROGRAMS: [&str; 3] = ["openshell-supervisor", "openshell-gateway", "openshell"];

/// Where they lie.
const BIN: &str = "${XDG_DATA_HOME:-$HOME/.local/share}/openshell/bin";

/// What a machine says of itself: its kind, and the digests of our programs.
fn look() -> String {
    format!(
        r#"uname -sm
bin="{BIN}"
for program in {}; do
  if [ -x "$bin/$program" ] && command -v sha256sum >/dev/null 2>&1; then
    sha256sum <"$bin/$program" | cut -d' ' -f1
  else
    echo -
  fi
done"#,
        PROGRAMS.join(" ")
    )
}

/// What `gateway reveal` prints.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Known {
    /// Where the gateway answers, seen from its machine.
    pub url: String,
    /// PEM of its authority.
    pub ca: String,
    /// The administrator's token.
    pub token: String,
}

impl Known {
    /// The port on the machine's loopback.
    pub fn port(&self) -> Result<u16, Error> {
        let url = url::Url::parse(&self.url).ok();
        let port = url.and_then(|url| url.port_or_known_default());
        port.ok_or_else(|| GatewayError::Revealed { reason: format!("{:?} names no port", self.url) }.into())
    }
}

/// Copies the programs that are not there yet, each whole or not at all, over what runs.
pub(super) async fn side_load(ssh: &Ssh, progress: &Progress) -> Result<(), Error> {
    use sha2::{Digest as _, Sha256};
    let said = ssh.open(&look()).await?;
    let mut lines = said.lines();
    let machine = lines.next().unwrap_or_default().to_owned();
    let ours = nix::sys::utsname::uname().map_err(|e| Error::io("ask for this machine's kind")(e.into()))?;
    let ours = format!("{} {}", ours.sysname().to_string_lossy(), ours.machine().to_string_lossy());
    if machine != ours {
        return Err(GatewayError::OtherMachine { found: machine, ours }.into());
    }
    let tell = progress.teller();
    for (program, there) in PROGRAMS.iter().zip(lines) {
        let path = paths::program(program).ok_or_else(|| GatewayError::NoProgram { program: (*program).to_owned() })?;
        let bytes = std::fs::read(&path).map_err(Error::io(format!("read {}", path.display())))?;
        if there == hex::encode(Sha256::digest(&bytes)) {
            continue;
        }
        tell(&format!("copying {program}"));
        // A running program can't be written over: the new one is put beside it, then renamed.
        let script = format!(
            "umask 077 && bin=\"{BIN}\" && mkdir -p \"$bin\" && cat >\"$bin/.{program}.$$\" && \
             chmod 755 \"$bin/.{program}.$$\" && mv -f \"$bin/.{program}.$$\" \"$bin/{program}\""
        );
        ssh.feed(&script, &bytes).await?;
    }
    Ok(())
}

/// Runs the command line there.
pub(super) async fn openshell(ssh: &Ssh, arguments: &[&str]) -> Result<String, Error> {
    ssh.script(&line(arguments)).await
}

/// Asks the gateway's own machine where it answers; opens the connection if it is not up.
pub(super) async fn reveal(ssh: &Ssh) -> Result<Known, Error> {
    let text = ssh.open(&line(&["gateway", "reveal"])).await?;
    serde_json::from_str(&text).map_err(|e| GatewayError::Revealed { reason: e.to_string() }.into())
}

fn line(arguments: &[&str]) -> String {
    let words: Vec<String> = arguments.iter().map(|word| quoted(word)).collect();
    format!("exec \"{BIN}/openshell\" --gateway local {}", words.join(" "))
}

/// Removes the programs.
pub(super) async fn clear(ssh: &Ssh) -> Result<(), Error> {
    let script = format!(
        "bin=\"{BIN}\" && for program in {}; do rm -f \"$bin/$program\" \"$bin/.$program.\"*; done && \
         rmdir \"$bin\" \"${{bin%/bin}}\" 2>/dev/null; \
         rmdir \"${{XDG_STATE_HOME:-$HOME/.local/state}}/openshell\" 2>/dev/null; true",
        PROGRAMS.join(" ")
    );
    ssh.script(&script).await.map(drop)
}
