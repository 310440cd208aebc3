//! Writing into `~/.ssh`: our own file of blocks, and one line in the user's that includes it. Each file is replaced
//! whole or not at all, and nothing is written before everything was understood.

use std::fs::{DirBuilder, Metadata};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use super::SshError;
use super::config::{PREFIX, quoted};
use crate::error::Error;

const HEADER: &str = "# Written by `openshell sandbox ssh-config --install`; each sandbox has a block of its own.\n";
const OURS: &str = "openshell_config";

/// Puts a sandbox's block where OpenSSH looks. Answers the files that changed.
pub fn install(ssh: &Path, host: &str, block: &str) -> Result<Vec<PathBuf>, Error> {
    match std::fs::symlink_metadata(ssh) {
        Err(error) if error.kind() == ErrorKind::NotFound => DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(ssh)
            .map_err(Error::io(format!("make {}", ssh.display())))?,
        _ => {
            let metadata = ssh.metadata().map_err(Error::io(format!("read {}", ssh.display())))?;
            guarded(ssh, &metadata)?;
        }
    }
    // A link to a file kept elsewhere stays a link.
    let users = ssh.join("config");
    let users = users.canonicalize().unwrap_or(users);
    let ours = ssh.join(OURS);
    let included = included(&users, &read(&users)?, &ours)?;
    let blocks = with_block(&ours, &read(&ours)?, host, block)?;
    let mut changed = Vec::new();
    // In this order: an included file that does not exist yet says nothing, so either write alone does no harm.
    for (path, text) in [(ours, Some(blocks)), (users, included)] {
        if let Some(text) = text
            && replace(&path, &text)?
        {
            changed.push(path);
        }
    }
    Ok(changed)
}

/// A file's text; none where there is no file. Refuses one that others may write, as OpenSSH does.
fn read(path: &Path) -> Result<String, Error> {
    let reading = || format!("read {}", path.display());
    let metadata = match path.metadata() {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(String::new()),
        metadata => metadata.map_err(Error::io(reading()))?,
    };
    guarded(path, &metadata)?;
    let bytes = std::fs::read(path).map_err(Error::io(reading()))?;
    let text = String::from_utf8(bytes).ok().filter(|text| !text.contains('\0'));
    text.ok_or_else(|| SshError::Config { path: path.to_owned(), line: 1, reason: "the file is not text" }.into())
}

fn guarded(path: &Path, metadata: &Metadata) -> Result<(), Error> {
    let mine = [0, nix::unistd::geteuid().as_raw()].contains(&metadata.uid());
    if mine && metadata.mode() & 0o022 == 0 {
        return Ok(());
    }
    Err(SshError::Mode { path: path.to_owned(), may: "write", mode: metadata.mode() & 0o7777 }.into())
}

/// Gives a file this content, unless it has it. A new file is for its owner alone; another keeps its mode. Answers
/// whether anything changed.
pub fn replace(path: &Path, text: &str) -> Result<bool, Error> {
    let writing = || format!("write {}", path.display());
    if std::fs::read(path).is_ok_and(|found| found == text.as_bytes()) {
        return Ok(false);
    }
    let mut file =
        tempfile::NamedTempFile::new_in(path.parent().unwrap_or(Path::new("."))).map_err(Error::io(writing()))?;
    if let Ok(metadata) = path.metadata() {
        let permissions = std::fs::Permissions::from_mode(metadata.mode() & 0o7777);
        file.as_file().set_permissions(permissions).map_err(Error::io(writing()))?;
    }
    file.write_all(text.as_bytes()).and_then(|()| file.as_file().sync_all()).map_err(Error::io(writing()))?;
    file.persist(path).map_err(|refused| Error::io(writing())(refused.error))?;
    Ok(true)
}

/// The user's configuration with our file included before everything else; nothing where it is already.
fn included(path: &Path, text: &str, ours: &Path) -> Result<Option<String>, Error> {
    let mut always = true;
    let mut found = false;
    for (number, line) in text.lines().enumerate() {
        let words =
            words(line).map_err(|reason| SshError::Config { path: path.to_owned(), line: number + 1, reason })?;
        let Some((keyword, arguments)) = words.split_first() else { continue };
        match keyword.to_ascii_lowercase().as_str() {
            "host" | "match" => always = false,
            // Inside a block it would hold for some hosts alone.
            "include" if always => found |= arguments.iter().any(|argument| names(argument, ours)),
            _ => {}
        }
    }
    Ok(if found { None } else { Some(format!("Include {}\n{text}", quoted(ours)?)) })
}

/// Whether an argument of `Include` is our file.
fn names(argument: &str, ours: &Path) -> bool {
    Path::new(argument) == ours || [OURS, &format!("~/.ssh/{OURS}")].contains(&argument)
}

/// The words of a line, as `ssh_config(5)` says: separated by space or one `=`, quoted with `"`.
fn words(line: &str) -> Result<Vec<String>, &'static str> {
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return Ok(Vec::new());
    }
    let end = line.find(|c: char| c.is_whitespace() || c == '=').ok_or("a keyword without a value")?;
    let (keyword, rest) = line.split_at(end);
    if !keyword.chars().all(|c| c.is_ascii_alphanumeric()) {
        return Err("this is no keyword");
    }
    let rest = rest.trim_start();
    let rest = rest.strip_prefix('=').unwrap_or(rest).trim_start();
    let mut words = vec![keyword.to_owned()];
    // What these say is for a shell, and may hold any quotes.
    if ["proxycommand", "localcommand", "remotecommand", "knownhostscommand", "match"]
        .contains(&keyword.to_ascii_lowercase().as_str())
    {
        words.push(rest.to_owned());
        return Ok(words);
    }
    let (mut word, mut quoted, mut any) = (String::new(), false, false);
    for c in rest.chars() {
        match c {
            '"' => (quoted, any) = (!quoted, true),
            c if c.is_whitespace() && !quoted => {
                if any {
                    words.push(std::mem::take(&mut word));
                }
                any = false;
            }
            '#' if !quoted && !any => return Ok(words),
            c => {
                word.push(c);
                any = true;
            }
        }
    }
    if quoted {
        return Err("a quote is not closed");
    }
    if any {
        words.push(word);
    }
    Ok(words)
}

/// Our file with a sandbox's block in the place of its former one, or at the end.
fn with_block(path: &Path, text: &str, host: &str, block: &str) -> Result<String, Error> {
    let foreign = |line: usize, reason| SshError::Config { path: path.to_owned(), line: line + 1, reason };
    let mut blocks: Vec<(String, String)> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let words = words(line).map_err(|reason| foreign(number, reason))?;
        match words.split_first() {
            Some((keyword, hosts)) if keyword.eq_ignore_ascii_case("host") => match hosts {
                [host] if host.starts_with(PREFIX) => blocks.push((host.clone(), String::new())),
                _ => return Err(foreign(number, "this file holds sandboxes alone").into()),
            },
            Some(_) if blocks.is_empty() => return Err(foreign(number, "this file holds sandboxes alone").into()),
            Some(_) | None => {}
        }
        if let Some((_, lines)) = blocks.last_mut()
            && !line.trim().is_empty()
        {
            *lines += line;
            *lines += "\n";
        }
    }
    match blocks.iter_mut().find(|(name, _)| name == host) {
        Some((_, lines)) => *lines = block.to_owned(),
        None => blocks.push((host.to_owned(), block.to_owned())),
    }
    Ok(blocks.iter().fold(HEADER.to_owned(), |text, (_, lines)| text + "\n" + lines))
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
