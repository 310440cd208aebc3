//! `openshell-gateway backup` and `restore`.

use std::fs::File;
use std::io::{BufReader, BufWriter, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::{Context as _, anyhow, bail};
use openshell_gateway::backup::{self, BackupError, Elsewhere};
use openshell_gateway::secrets::Passphrase;
use serde_json::json;

use crate::{Backup, Restore};

pub fn backup(args: Backup) -> anyhow::Result<()> {
    let passphrase = passphrase(args.passphrase_file.as_deref())?;
    let root = args.state_dir.as_path();
    let make = async |out: &mut dyn std::io::Write| {
        let created = backup::create(root, passphrase.as_ref(), out).await.map_err(told)?;
        for Elsewhere { place, modules } in created.elsewhere {
            eprintln!(
                "note: {modules} modules are in {place} and not in this backup: keep that bucket as long as the backup"
            );
        }
        anyhow::Ok(())
    };
    if args.file.as_os_str() == "-" {
        return runtime()?.block_on(async {
            let mut out = BufWriter::new(std::io::stdout().lock());
            make(&mut out).await?;
            out.flush().context("writing to standard output")
        });
    }
    let file = args.file.as_path();
    if file.exists() {
        bail!("{} is there already\nhint: choose another name, or remove it", file.display());
    }
    let name = file.file_name().with_context(|| format!("{} names no file", file.display()))?;
    let directory = file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // Whole under its name, or not there: half a backup is not to be mistaken for one.
    let partial = directory.join(format!(".{}.{}.partial", name.to_string_lossy(), std::process::id()));
    let writing = || format!("writing {}", file.display());
    let written = runtime()?.block_on(async {
        let made = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&partial);
        let mut out = BufWriter::new(made.with_context(writing)?);
        make(&mut out).await?;
        let made = out.into_inner().map_err(|error| error.into_error()).with_context(writing)?;
        made.sync_all().with_context(writing)?;
        put_in_place(&partial, file).with_context(writing)?;
        File::open(directory).and_then(|directory| directory.sync_all()).with_context(writing)
    });
    let _ = std::fs::remove_file(&partial);
    written
}

/// Gives a file its name, unless another one has it by now.
fn put_in_place(partial: &Path, file: &Path) -> std::io::Result<()> {
    match std::fs::hard_link(partial, file) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => std::fs::rename(partial, file),
        linked => linked,
    }
}

pub fn restore(args: Restore) -> anyhow::Result<()> {
    let passphrase = passphrase(args.passphrase_file.as_deref())?;
    let file = File::open(&args.file).with_context(|| format!("reading {}", args.file.display()))?;
    let restore = backup::Restore { input: BufReader::new(file), passphrase: passphrase.as_ref(), force: args.force };
    let restored = runtime()?.block_on(backup::restore(&args.state_dir, restore)).map_err(told)?;
    let report = json!({
        "made_at": restored.made_at,
        "by_version": restored.gateway,
        "aside": restored.aside,
        "removed_at_start": restored.unknown,
        "elsewhere": restored.elsewhere,
    });
    writeln!(std::io::stdout().lock(), "{report}").context("writing to standard output")
}

fn passphrase(file: Option<&Path>) -> anyhow::Result<Option<Passphrase>> {
    let read = |path: &Path| Passphrase::read(path).with_context(|| format!("reading {}", path.display()));
    file.map(read).transpose()
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

/// The fact, then the hint.
fn told(error: BackupError) -> anyhow::Error {
    match error.hint() {
        Some(hint) => anyhow!("{error}\nhint: {hint}"),
        None => anyhow!(error),
    }
}
