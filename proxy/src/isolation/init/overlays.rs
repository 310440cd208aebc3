//! Files that exist only inside: the resolver's address, the workload's user, and what the supervisor adds.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::mounts::{bind, c_path, mount_point};
use super::user::{self, USER_NAME, User};
use crate::isolation::sys;
use crate::isolation::wire::Setup;

/// Where the contents lie; readable inside, like the files themselves.
const STORE: &str = "/dev/.files";

/// Places all of them. Ours are skipped where the image has no such file; the configured ones must succeed.
pub(super) fn raise(setup: &Setup, user: &User) -> io::Result<()> {
    fs::create_dir(STORE)?;
    let mut store = Store { next: 0 };
    for (path, content) in builtin(setup, user)? {
        if fs::symlink_metadata(path).is_ok() {
            store.place(Path::new(path), &content)?;
        }
    }
    for overlay in &setup.overlays {
        store.place(&overlay.path, &overlay.content)?;
    }
    Ok(())
}

fn builtin(setup: &Setup, user: &User) -> io::Result<Vec<(&'static str, Vec<u8>)>> {
    let host = &setup.hostname;
    let mut files = vec![
        ("/etc/resolv.conf", b"nameserver 127.0.0.1\noptions timeout:5 attempts:2\n".to_vec()),
        ("/etc/hosts", format!("127.0.0.1 localhost {host}\n::1 localhost ip6-localhost {host}\n").into_bytes()),
        ("/etc/hostname", format!("{host}\n").into_bytes()),
    ];
    let (uid, gid) = (user.uid, user.gid);
    if user::passwd(Path::new("/etc/passwd"))?.iter().all(|entry| entry.uid != uid) {
        let home = setup.workspace.display();
        let append = |path: &str, line: String| -> Vec<u8> {
            let mut text = fs::read(path).unwrap_or_default();
            if text.last().is_some_and(|last| *last != b'\n') {
                text.push(b'\n');
            }
            text.extend_from_slice(line.as_bytes());
            text
        };
        let passwd = format!("{USER_NAME}:x:{uid}:{gid}::{home}:/bin/sh\n");
        files.push(("/etc/passwd", append("/etc/passwd", passwd)));
        files.push(("/etc/group", append("/etc/group", format!("{USER_NAME}:x:{gid}:\n"))));
    }
    Ok(files)
}

struct Store {
    next: u32,
}

impl Store {
    fn place(&mut self, path: &Path, content: &[u8]) -> io::Result<()> {
        let place = || {
            let source = PathBuf::from(format!("{STORE}/{}", self.next));
            fs::write(&source, content)?;
            let target = resolve(path)?;
            mount_point(&target, false)?;
            bind(&source, &target)?;
            sys::restrict_mount(&c_path(&target)?, true)
        };
        place().map_err(|error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))?;
        self.next += 1;
        Ok(())
    }
}

/// Follows symbolic links, dangling ones too: `/etc/resolv.conf` often points into a `/run` that is empty here.
fn resolve(path: &Path) -> io::Result<PathBuf> {
    let mut path = path.to_path_buf();
    for _ in 0..16 {
        match fs::read_link(&path) {
            Ok(to) => path = path.parent().unwrap_or(Path::new("/")).join(to),
            Err(_not_a_link) => return Ok(path),
        }
    }
    Err(io::Error::from_raw_os_error(libc::ELOOP))
}
