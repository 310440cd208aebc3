use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use tar::{Builder, EntryType, Header};

use crate::{Destination, Summary, TransferError, pack, unpack};

/// Every path below `root`: directories end in `/`, links show their target, files their mode and content.
fn listing(root: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut pending = vec![root.to_owned()];
    while let Some(directory) = pending.pop() {
        for entry in fs::read_dir(&directory).unwrap().flatten() {
            let path = entry.path();
            let name = path.strip_prefix(root).unwrap().display().to_string();
            let metadata = fs::symlink_metadata(&path).unwrap();
            let mode = metadata.permissions().mode() & 0o7777;
            if metadata.is_dir() {
                found.push(format!("{name}/ {mode:o}"));
                pending.push(path);
            } else if metadata.is_symlink() {
                found.push(format!("{name} -> {}", fs::read_link(&path).unwrap().display()));
            } else {
                found.push(format!("{name} {mode:o} {}", fs::read_to_string(&path).unwrap()));
            }
        }
    }
    found.sort();
    found
}

fn tree(root: &Path) {
    fs::create_dir_all(root.join("project/empty")).unwrap();
    fs::create_dir_all(root.join("project/locked")).unwrap();
    fs::write(root.join("project/run.sh"), "go").unwrap();
    fs::set_permissions(root.join("project/run.sh"), fs::Permissions::from_mode(0o4755)).unwrap();
    fs::write(root.join("project/locked/read"), "only").unwrap();
    fs::set_permissions(root.join("project/locked/read"), fs::Permissions::from_mode(0o440)).unwrap();
    fs::set_permissions(root.join("project/locked"), fs::Permissions::from_mode(0o555)).unwrap();
    symlink("run.sh", root.join("project/inside")).unwrap();
    symlink("/etc/passwd", root.join("project/outside")).unwrap();
    symlink("nowhere", root.join("project/dangling")).unwrap();
    let deep = root.join("project").join(["d"; 40].join("/"));
    fs::create_dir_all(&deep).unwrap();
    fs::write(deep.join("n".repeat(200)), "deep").unwrap();
}

#[test]
fn a_tree_arrives_as_it_was_without_set_id_bits() {
    let dir = tempfile::tempdir().unwrap();
    let (from, to) = (dir.path().join("from"), dir.path().join("to"));
    tree(&from);
    let mut stream = Vec::new();
    let sent = pack(&from.join("project"), &mut stream).unwrap();
    let received = unpack(&stream[..], &Destination::choose(&dir.path().join("to/"))).unwrap();
    assert_eq!(sent, received);
    assert_eq!((received.files, received.links, received.skipped), (3, 3, 0));
    let expected: Vec<String> = listing(&from).iter().map(|line| line.replace("4755", "755")).collect();
    assert_eq!(listing(&to), expected);
    // Again, over what is there; the locked directory is opened for it, as root or as its owner.
    unpack(&stream[..], &Destination::choose(&to)).unwrap();
    assert_eq!(listing(&to), expected);
}

#[test]
fn a_destination_is_read_as_cp_reads_it() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("file"), "content").unwrap();
    fs::create_dir(dir.path().join("exists")).unwrap();
    let mut stream = Vec::new();
    pack(&dir.path().join("file"), &mut stream).unwrap();
    for (destination, expected) in
        [("exists", "exists/file"), ("new/", "new/file"), ("renamed", "renamed"), ("exists/renamed", "exists/renamed")]
    {
        unpack(&stream[..], &Destination::choose(&dir.path().join(destination))).unwrap();
        assert_eq!(fs::read_to_string(dir.path().join(expected)).unwrap(), "content", "{destination}");
    }
    assert!(matches!(pack(Path::new("/"), io::sink()), Err(TransferError::Nameless { .. })));
    assert!(matches!(pack(Path::new("/no/such"), io::sink()), Err(TransferError::Read { .. })));
}

/// A stream with one entry of any name and kind, as no honest sender makes it.
fn crafted(entries: &[(&str, EntryType, &str)]) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    for (name, kind, content) in entries {
        let mut header = Header::new_gnu();
        let link = matches!(kind, EntryType::Symlink | EntryType::Link);
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_entry_type(*kind);
        header.set_mode(0o6777);
        header.set_size(if link { 0 } else { content.len() as u64 });
        if link {
            header.as_old_mut().linkname[..content.len()].copy_from_slice(content.as_bytes());
        }
        header.set_cksum();
        builder.append(&header, if link { &b""[..] } else { content.as_bytes() }).unwrap();
    }
    builder.into_inner().unwrap()
}

#[test]
fn nothing_is_written_outside_the_destination() {
    use EntryType as E;
    type Row<'a> = (&'a str, &'a [(&'a str, E, &'a str)]);
    let rows: [Row<'_>; 9] = [
        ("outside", &[("../escaped", E::Regular, "x")]),
        ("outside", &[("a/../../escaped", E::Regular, "x")]),
        ("outside", &[("/escaped", E::Regular, "x")]),
        ("outside", &[(".", E::Directory, "")]),
        ("can't write", &[("a", E::Symlink, "../escape"), ("a/escaped", E::Regular, "x")]),
        ("can't write", &[("a", E::Symlink, "/"), ("a/escaped", E::Directory, "")]),
        ("neither file", &[("a", E::Link, "../escape/victim")]),
        ("neither file", &[("a", E::Char, "")]),
        ("neither file", &[("a", E::Fifo, "")]),
    ];
    for (expected, entries) in rows {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("to")).unwrap();
        fs::create_dir_all(dir.path().join("escape")).unwrap();
        fs::write(dir.path().join("escape/victim"), "unharmed").unwrap();
        let refused = unpack(&crafted(entries)[..], &Destination::choose(&dir.path().join("to"))).unwrap_err();
        assert!(refused.to_string().contains(expected), "{entries:?}: {refused}");
        let outside: Vec<String> = listing(dir.path()).into_iter().filter(|line| !line.starts_with("to/")).collect();
        let untouched = outside.len() == 2 && outside[1].ends_with("unharmed");
        assert!(untouched, "{entries:?}: {outside:?}");
        assert!(!Path::new("/escaped").exists());
    }
}

#[test]
fn a_link_that_lies_in_the_way_is_replaced_and_not_followed() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("to")).unwrap();
    fs::write(dir.path().join("victim"), "unharmed").unwrap();
    symlink("../victim", dir.path().join("to/file")).unwrap();
    let stream = crafted(&[("file", EntryType::Regular, "mine")]);
    unpack(&stream[..], &Destination::choose(&dir.path().join("to"))).unwrap();
    assert_eq!(listing(dir.path()), ["to/ 755", "to/file 777 mine", "victim 644 unharmed"]);
}

#[test]
fn a_stream_that_is_cut_off_is_an_error_and_leaves_no_half_file() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("big"), vec![b'x'; 100_000]).unwrap();
    let mut stream = Vec::new();
    pack(&dir.path().join("big"), &mut stream).unwrap();
    for cut in [100, 512, 60_000, stream.len() - 1024] {
        let to = dir.path().join("to");
        unpack(&stream[..cut], &Destination::choose(&to.join("big"))).unwrap_err();
        let whole: Vec<String> = listing(&to).into_iter().filter(|line| !line.ends_with(&"x".repeat(1000))).collect();
        assert_eq!(whole, Vec::<String>::new(), "cut at {cut}");
    }
    let summary = unpack(&stream[..], &Destination::choose(&dir.path().join("again"))).unwrap();
    assert_eq!(summary, Summary { files: 1, bytes: 100_000, ..Summary::default() });
}

/// Endless input through a fixed buffer: what is not read again is not kept.
#[test]
fn size_costs_no_memory() {
    let dir = tempfile::tempdir().unwrap();
    let file = fs::File::create(dir.path().join("sparse")).unwrap();
    file.set_len(300 << 20).unwrap();
    struct Counter(u64);
    impl io::Write for Counter {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 += bytes.len() as u64;
            assert!(bytes.len() <= 1 << 20);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut counter = Counter(0);
    pack(&dir.path().join("sparse"), &mut counter).unwrap();
    assert!(counter.0 > 300 << 20);
}
