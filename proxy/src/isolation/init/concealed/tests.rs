//! Names by which a view would show what it must not: each row is an entry of the view, and what is hidden for it.

use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;

use super::*;

/// `real/u/state/ws`, and two links: `link` to `real`, `state` to the state.
fn host() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir_all(root.path().join("real/u/state/ws/sub")).unwrap();
    fs::create_dir_all(root.path().join("real/u/state/keys")).unwrap();
    symlink("real", root.path().join("link")).unwrap();
    symlink("real/u/state", root.path().join("state")).unwrap();
    root
}

/// As the plan does: the target is the path as it is listed, the source its real path.
fn shown(root: &Path, listed: &str) -> Shown {
    let target = root.join(listed);
    Shown::new(&target, &fs::canonicalize(&target).unwrap())
}

fn relative(root: &Path, paths: BTreeSet<PathBuf>) -> Vec<String> {
    paths.iter().map(|path| path.strip_prefix(root).unwrap().display().to_string()).collect()
}

#[test]
fn directories() {
    let host = host();
    // The directory for temporary files may itself be a link.
    let root = fs::canonicalize(host.path()).unwrap();
    let check = |listed: &str, given: &str, expected: &[&str]| {
        let found = hidden(&[shown(&root, listed)], &root.join("real/u/state/ws"), &[root.join(given)]);
        assert_eq!(relative(&root, found), expected, "{listed}, hiding {given}");
    };
    let real = "real/u/state";
    check("real", real, &[real]);
    check("real", "link/u/state", &[real]);
    check("link", real, &["link/u/state", real]);
    check("link/u", real, &["link/u/state", real]);
    check("link/u/state", real, &["link/u/state", real]);
    check("state", real, &[real, "state"]);
    check("link/u/state/keys", real, &["link/u/state/keys", real]);
    check("real/u/state/keys", real, &[real, "real/u/state/keys"]);
    // The workspace is shown, and what lies in it.
    check("real/u/state/ws", real, &[real]);
    check("link/u/state/ws/sub", real, &[real]);
    // Unless that is hidden itself.
    check("link/u/state/ws", "real/u/state/ws/sub", &["link/u/state/ws/sub", "real/u/state/ws/sub"]);
    check("real", "nowhere", &[]);
}

#[test]
fn masked_sockets() {
    let host = host();
    let root = fs::canonicalize(host.path()).unwrap();
    let socket = root.join("real/u/daemon.sock");
    let _listener = UnixListener::bind(&socket).unwrap();
    assert!(bound_sockets().unwrap().contains(&socket));
    let check = |listed: &[&str], expected: &[&str]| {
        let shown: Vec<Shown> = listed.iter().map(|listed| shown(&root, listed)).collect();
        let found = sockets(&shown, [socket.clone()].into());
        assert_eq!(relative(&root, found), expected, "{listed:?}");
    };
    check(&["real"], &["real/u/daemon.sock"]);
    check(&["link", "real/u"], &["link/u/daemon.sock", "real/u/daemon.sock"]);
    check(&["real/u/state"], &[]);
    check(&["real/u/daemon.sock"], &[]);
    check(&["real", "link/u/daemon.sock"], &[]);
}

#[test]
fn names_of_sockets() {
    let check = |line: &str, expected: Option<&str>| {
        assert_eq!(absolute_name(line.as_bytes()), expected.map(Path::new), "{line}");
    };
    check("Num       RefCount Protocol Flags    Type St Inode Path", None);
    check("00000000d1a83629: 00000003 00000000 00000000 0005 03 103473", None);
    check("00000000d1a83629: 00000003 00000000 00000000 0001 03   473 @abstract", None);
    check("00000000d1a83629: 00000003 00000000 00000000 0001 03   473 relative", None);
    check("00000000d1a83629: 00000002 00000000 00010000 0001 01   473 /run/a b.sock", Some("/run/a b.sock"));
    check("0000000000000000: 00000002 00000000 00010000 0001 01 12345 /x ", Some("/x "));
    check("", None);
}
