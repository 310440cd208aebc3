//! `gateway backup` and `gateway restore`: of the gateway on this machine, by its own program.

use std::io::{IsTerminal as _, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::{Deserialize, Serialize};

use super::lifecycle::here;
use super::{Context, DONE};
use crate::args::gateway::{BackupArgs, RestoreArgs};
use crate::error::{Error, GatewayError};
use crate::output::hidden;
use crate::paths;

const PROGRAM: &str = "openshell-gateway";
/// Shortest passphrase, as the gateway takes it.
const LEAST: usize = 8;
/// The first bytes of a backup, in which it says whether it is encrypted.
const HEAD: u64 = 1024;

/// What a backup is.
#[derive(Serialize)]
struct Made<'a> {
    file: &'a Path,
    bytes: u64,
    encrypted: bool,
}

/// What the gateway's program says of a restore.
#[derive(Serialize, Deserialize)]
struct Restored {
    made_at: jiff::Timestamp,
    by_version: String,
    aside: Option<PathBuf>,
    removed_at_start: Vec<String>,
    elsewhere: Vec<Elsewhere>,
}

/// Modules that are not in a backup.
#[derive(Serialize, Deserialize)]
struct Elsewhere {
    place: String,
    modules: u64,
}

/// `gateway backup`.
pub async fn backup(cx: &Context, args: BackupArgs) -> Result<u8, Error> {
    let place = cx.place()?;
    let state_dir = here(&place)?;
    let passphrase = match (&args.passphrase_file, args.unencrypted) {
        (Some(file), _) => Some(Passphrase::File(absolute(file)?)),
        (None, true) => None,
        (None, false) => Some(Passphrase::Typed(asked(true)?)),
    };
    let mut words = vec!["backup".into(), "--state-dir".into(), state_dir.as_os_str().to_owned()];
    if passphrase.is_none() {
        words.push("--unencrypted".into());
    }
    let to_stdout = args.file.as_os_str() == "-";
    let target = if to_stdout {
        args.file.clone()
    } else {
        std::path::absolute(&args.file).map_err(Error::io("find the file"))?
    };
    let progress = (!to_stdout).then(|| cx.out.progress("backing the gateway up"));
    let said = run(words, passphrase, &target, to_stdout).await?;
    drop(progress);
    for note in said.notes {
        cx.out.note(format!("note: {note}"));
    }
    if to_stdout {
        return Ok(DONE);
    }
    let bytes = std::fs::metadata(&target).map_err(Error::io(format!("read {}", target.display())))?.len();
    let made = Made { file: &args.file, bytes, encrypted: !args.unencrypted };
    cx.out.data(&made, || format!("{} ({bytes} bytes)\n", args.file.display()))?;
    cx.out.note(match args.unencrypted {
        true => "note: it is not encrypted: whoever reads it has all of the gateway's credentials",
        false => "keep its passphrase elsewhere: nothing opens it without",
    });
    Ok(DONE)
}

/// `gateway restore`.
pub async fn restore(cx: &Context, args: RestoreArgs) -> Result<u8, Error> {
    let place = cx.place()?;
    let state_dir = here(&place)?;
    let passphrase = match &args.passphrase_file {
        Some(file) => Some(Passphrase::File(absolute(file)?)),
        None if is_encrypted(&args.file)? => Some(Passphrase::Typed(asked(false)?)),
        None => None,
    };
    let mut words = vec!["restore".into(), "--state-dir".into(), state_dir.as_os_str().to_owned()];
    if args.force {
        words.push("--force".into());
    }
    let file = std::path::absolute(&args.file).map_err(Error::io("find the file"))?;
    let progress = cx.out.progress("restoring the gateway");
    let said = run(words, passphrase, &file, false).await?;
    drop(progress);
    let restored: Restored = crate::client::rest::parse(said.printed.as_bytes(), "openshell-gateway restore")?;
    cx.out.data(&restored, || {
        format!("restored what the gateway was at {} (version {})\n", restored.made_at, restored.by_version)
    })?;
    if let Some(aside) = &restored.aside {
        cx.out.note(format!("what was there before is in {}; remove it once all is well", aside.display()));
    }
    for name in &restored.removed_at_start {
        cx.out.note(format!("note: sandbox {name} was made after the backup: the gateway removes it when it starts"));
    }
    for Elsewhere { place, modules } in &restored.elsewhere {
        cx.out.note(format!(
            "note: {modules} of its modules are in {place}, not in the backup: start it with --modules {place}"
        ));
    }
    cx.out.note("start it with `openshell gateway start`");
    Ok(DONE)
}

enum Passphrase {
    File(PathBuf),
    Typed(String),
}

/// What the gateway's program said.
struct Said {
    /// On standard output.
    printed: String,
    /// What its user should know.
    notes: Vec<String>,
}

/// Runs the gateway's program. What is typed goes through a pipe: no list of processes shows it.
async fn run(
    mut words: Vec<std::ffi::OsString>,
    passphrase: Option<Passphrase>,
    file: &Path,
    to_stdout: bool,
) -> Result<Said, Error> {
    let program = paths::program(PROGRAM).ok_or(Error::NoGatewayProgram)?;
    let mut typed = None;
    if let Some(passphrase) = passphrase {
        words.push("--passphrase-file".into());
        match passphrase {
            Passphrase::File(file) => words.push(file.into()),
            Passphrase::Typed(line) => {
                words.push("-".into());
                typed = Some(line);
            }
        }
    }
    words.push(file.as_os_str().to_owned());
    let mut command = Command::new(&program);
    command.args(words).stdin(Stdio::piped()).stderr(Stdio::piped());
    command.stdout(if to_stdout { Stdio::inherit() } else { Stdio::piped() });
    let mut child = command.spawn().map_err(Error::io(format!("start {}", program.display())))?;
    if let (Some(mut input), Some(line)) = (child.stdin.take(), typed) {
        // It may have refused already, and says why.
        let _ = writeln!(input, "{line}");
    }
    let output = tokio::task::spawn_blocking(move || child.wait_with_output()).await;
    let output = output.map_err(std::io::Error::other).and_then(|output| output);
    let output = output.map_err(Error::io(format!("wait for {PROGRAM}")))?;
    let said = String::from_utf8_lossy(&output.stderr);
    if output.status.success() {
        let notes = said.lines().filter_map(|line| line.strip_prefix("note: ")).map(str::to_owned).collect();
        return Ok(Said { printed: String::from_utf8_lossy(&output.stdout).into_owned(), notes });
    }
    let last = |mark: &str| said.lines().rev().find_map(|line| line.strip_prefix(mark)).map(str::to_owned);
    let reason = last("error: ").unwrap_or_else(|| format!("{PROGRAM} ended with {}", output.status));
    Err(GatewayError::Copy { reason, hint: last("hint: ") }.into())
}

/// The program runs in this directory too, but a word that begins with a dash must not be taken for an option.
fn absolute(file: &Path) -> Result<PathBuf, Error> {
    file.canonicalize().map_err(Error::io(format!("read {}", file.display())))
}

/// Asks for a passphrase; for a new one twice, and for one that is long enough.
fn asked(new: bool) -> Result<String, Error> {
    if !std::io::stdin().is_terminal() {
        return Err(GatewayError::NoPassphrase { new }.into());
    }
    let line = |prompt: &str| hidden(prompt).map(|line| line.trim_end_matches(['\r', '\n']).to_owned());
    let first = line("Passphrase of the backup")?;
    if new && first.chars().count() < LEAST {
        return Err(GatewayError::ShortPassphrase.into());
    }
    if new && line("The same again")? != first {
        return Err(GatewayError::OtherPassphrase.into());
    }
    Ok(first)
}

fn is_encrypted(file: &Path) -> Result<bool, Error> {
    let mut head = Vec::new();
    let read = std::fs::File::open(file).and_then(|file| file.take(HEAD).read_to_end(&mut head));
    read.map_err(Error::io(format!("read {}", file.display())))?;
    let line = head.split(|byte| *byte == b'\n').nth(1).unwrap_or_default();
    Ok(serde_json::from_slice::<serde_json::Value>(line).is_ok_and(|head| head["encryption"].is_object()))
}
