use std::io::{Read as _, Write as _};
use std::path::Path;

use super::format::{Reader, Writer};
use super::*;
use crate::secrets::Passphrase;
use crate::state_dir::StateDir;

fn passphrase(text: &str) -> Passphrase {
    Passphrase::new(text)
}

/// A backup of these bytes.
fn written(content: &[u8], with: Option<&Passphrase>) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new(), with).unwrap();
    writer.write_all(content).unwrap();
    writer.finish().unwrap()
}

fn read(backup: &[u8], with: Option<&Passphrase>) -> Result<Vec<u8>, BackupError> {
    let (_, mut reader) = Reader::new(backup, with)?;
    let mut content = Vec::new();
    match reader.read_to_end(&mut content) {
        Ok(_) => Ok(content),
        Err(_) => Err(reader.fault.take().unwrap()),
    }
}

#[test]
fn what_was_written_is_read() {
    let secret = passphrase("correct horse");
    for with in [None, Some(&secret)] {
        for length in [0, 1, 64 * 1024 - 1, 64 * 1024, 64 * 1024 + 1, 200_000] {
            let content: Vec<u8> = (0..length).map(|n| (n % 251) as u8).collect();
            assert_eq!(read(&written(&content, with), with).unwrap(), content, "{length}");
        }
    }
    let sealed = written(&[b'x'; 1000], Some(&secret));
    assert!(!sealed.windows(20).any(|part| part == [b'x'; 20]), "it shows");
}

#[test]
fn whatever_is_done_to_a_backup_is_found() {
    let secret = passphrase("correct horse");
    let content = vec![7; 70_000];
    for with in [None, Some(&secret)] {
        let whole = written(&content, with);
        let frames = whole.iter().enumerate().filter(|(_, byte)| **byte == b'\n').nth(1).unwrap().0 + 1;
        for at in [frames + 4, frames + 1000, whole.len() - 20, whole.len() - 1] {
            let mut changed = whole.clone();
            changed[at] ^= 1;
            assert!(read(&changed, with).is_err(), "byte {at} was changed");
        }
        for length in [whole.len() - 1, whole.len() - 40, frames + 10, frames, frames - 1, 5, 0] {
            assert!(read(&whole[..length], with).is_err(), "cut off after {length}");
        }
        let mut longer = whole.clone();
        longer.push(0);
        assert!(matches!(read(&longer, with), Err(BackupError::Damaged(_))));
        // Its last frame taken away, or the first one twice.
        let first = frames..frames + 4 + u32::from_be_bytes(whole[frames..frames + 4].try_into().unwrap()) as usize;
        let twice = [&whole[..first.end], &whole[first.clone()], &whole[first.end..]].concat();
        assert!(read(&twice, with).is_err(), "a frame twice");
        assert!(read(&[&whole[..frames], &whole[first.end..]].concat(), with).is_err(), "a frame less");
    }
}

#[test]
fn a_backup_opens_for_its_passphrase_and_version() {
    let (right, wrong) = (passphrase("correct horse"), passphrase("battery staple"));
    let sealed = written(b"content", Some(&right));
    assert!(matches!(read(&sealed, Some(&wrong)), Err(BackupError::WrongPassphrase)));
    assert!(matches!(read(&sealed, None), Err(BackupError::Encrypted)));
    assert!(matches!(read(b"#!/bin/sh\n", None), Err(BackupError::Damaged(_))));
    let newer = b"openshell backup\n{\"version\":2,\"gateway\":\"9.0.0\",\"other\":true}\n";
    assert!(matches!(read(newer, None), Err(BackupError::Newer { found }) if found == "9.0.0"));
    // Its head says so, and is authenticated.
    let text = String::from_utf8_lossy(&sealed[..40]).into_owned();
    assert!(text.starts_with("openshell backup\n{\"version\":1,"), "{text}");
    let mut changed = sealed;
    let at = changed.windows(4).position(|part| part == b"0.1.").unwrap();
    changed[at] = b'9';
    assert!(matches!(read(&changed, Some(&right)), Err(BackupError::WrongPassphrase)));
}

/// A directory with these files.
fn filled(directory: &Path, mark: &str) {
    std::fs::create_dir_all(directory).unwrap();
    for name in REQUIRED.into_iter().chain(OPTIONAL).chain(["gateway.db-wal"]) {
        std::fs::write(directory.join(name), format!("{mark} {name}")).unwrap();
    }
}

#[test]
fn a_swap_that_is_interrupted_anywhere_is_ended_by_the_next_start() {
    let names: Vec<&str> = REQUIRED.into_iter().chain(OPTIONAL).collect();
    // After so many of its moves it was interrupted.
    for moved in 0..=names.len() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        filled(root, "old");
        filled(&root.join("restore.ready"), "new");
        std::fs::remove_file(root.join("restore.ready/gateway.db-wal")).unwrap();
        std::fs::create_dir(root.join("before-restore")).unwrap();
        for (at, name) in names.iter().enumerate().take(moved) {
            if at == 0 {
                std::fs::rename(root.join("gateway.db-wal"), root.join("before-restore/gateway.db-wal")).unwrap();
            }
            std::fs::rename(root.join(name), root.join("before-restore").join(name)).unwrap();
            if at + 1 < moved {
                std::fs::rename(root.join("restore.ready").join(name), root.join(name)).unwrap();
            }
        }
        assert!(swap::is_pending(root));
        drop(StateDir::open(root).unwrap());
        for name in &names {
            let text = |path: std::path::PathBuf| std::fs::read_to_string(path).unwrap();
            assert_eq!(text(root.join(name)), format!("new {name}"), "after {moved}");
            assert_eq!(text(root.join("before-restore").join(name)), format!("old {name}"), "after {moved}");
        }
        assert!(!root.join("gateway.db-wal").exists() && !root.join("restore.ready").exists());
    }
}
