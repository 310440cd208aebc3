//! Rows of requests, and what a server that stands in a directory of its own answers.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::files::{date, letters};
use super::wire::{Answer, Attributes, Fields};
use super::*;

fn request(kind: u8) -> Answer {
    Answer::new(kind, 7)
}

fn path(packet: Answer, path: &Path) -> Answer {
    packet.bytes(path.as_os_str().as_bytes())
}

fn server(base: &Path) -> Server {
    Server { base: base.to_owned(), open: HashMap::new(), next: 0 }
}

/// Asks, and says the answer in words: its type, then what is in it.
fn ask(server: &mut Server, packet: Answer) -> String {
    let answer = server.answer(&packet.finish()[4..]);
    let mut fields = Fields::new(&answer[4..]);
    let kind = fields.u8().expect("a type");
    assert_eq!(fields.u32().expect("an id"), 7);
    let text = |fields: &mut Fields<'_>| String::from_utf8_lossy(fields.bytes().expect("bytes")).into_owned();
    match kind {
        STATUS => format!("status {} {}", fields.u32().expect("a code"), text(&mut fields)),
        HANDLE => format!("handle {}", handle(&mut fields).ok().expect("a handle")),
        DATA => format!("data {}", text(&mut fields)),
        NAME => {
            let count = fields.u32().expect("a count");
            let mut names: Vec<String> = (0..count)
                .map(|_| {
                    let name = text(&mut fields);
                    let _long = text(&mut fields);
                    fields.attributes().expect("attributes");
                    name
                })
                .collect();
            names.sort();
            format!("names {}", names.join(" "))
        }
        ATTRS => {
            let found = fields.attributes().expect("attributes");
            format!("attributes {} {:o}", found.size.expect("a size"), found.mode.expect("a mode"))
        }
        other => format!("type {other}"),
    }
}

fn of(handle: u32, kind: u8) -> Answer {
    request(kind).bytes(&handle.to_be_bytes())
}

#[test]
fn a_file_from_its_first_byte_to_its_end() {
    let directory = tempfile::tempdir().expect("a directory");
    let (at, mut server) = (|name: &str| directory.path().join(name), server(directory.path()));
    let none = Attributes::default();
    let mode = Attributes { mode: Some(0o600), ..none };
    for (packet, expected) in [
        (path(request(3), &at("file")).u32(WRITE | CREATE | EXCLUSIVE).attributes(&mode), "handle 0"),
        (of(0, 6).u64(0).bytes(b"hello"), "status 0 done"),
        (of(0, 6).u64(5).bytes(b" you"), "status 0 done"),
        (of(0, 8), "attributes 9 100600"),
        (of(0, 5).u64(0).u32(4), "status 4 Bad file descriptor (os error 9)"),
        (of(0, 10).attributes(&Attributes { size: Some(5), mode: Some(0o640), ..none }), "status 0 done"),
        (of(0, 4), "status 0 done"),
        (of(0, 4), "status 4 no such handle"),
        (path(request(17), &at("file")), "attributes 5 100640"),
        (path(request(3), &at("file")).u32(READ).attributes(&none), "handle 1"),
        (of(1, 5).u64(1).u32(100), "data ello"),
        (of(1, 5).u64(5).u32(100), "status 1 end of file"),
        (of(1, 12), "status 4 no such handle"),
        (path(request(3), &at("file")).u32(WRITE | CREATE | EXCLUSIVE).attributes(&none), "status 4 File exists"),
        (path(request(3), &at("none")).u32(READ).attributes(&none), "status 2 No such file"),
        (path(request(3), &at("file")).u32(WRITE | APPEND).attributes(&none), "handle 2"),
        (of(2, 6).u64(0).bytes(b"!"), "status 0 done"),
        (path(request(17), &at("file")), "attributes 6 100640"),
        (path(request(13), &at("file")), "status 0 done"),
        (path(request(13), &at("file")), "status 2 No such file"),
    ] {
        let answer = ask(&mut server, packet);
        assert!(answer.starts_with(expected), "{answer}, not {expected}");
    }
}

#[test]
fn directories_links_and_names() {
    let directory = tempfile::tempdir().expect("a directory");
    let base = directory.path().canonicalize().expect("it exists");
    let (at, mut server) = (|name: &str| base.join(name), server(&base));
    let real = |name: &str| format!("names {}", base.join(name).display());
    std::fs::write(at("a"), "a").expect("written");
    std::fs::write(at("b"), "b").expect("written");
    let none = Attributes::default();
    for (packet, expected) in [
        (path(request(14), &at("folder")).attributes(&none), "status 0 done".to_owned()),
        (path(request(14), &at("folder")).attributes(&none), "status 4 File exists".to_owned()),
        (path(path(request(20), Path::new("a")), &at("link")), "status 0 done".to_owned()),
        (path(request(19), &at("link")), "names a".to_owned()),
        (path(request(7), &at("link")), "attributes 1 120777".to_owned()),
        (path(request(16), &at("link")), real("a")),
        (path(request(16), &at("new")), real("new")),
        (path(request(16), &at("no/new")), "status 2 No such file".to_owned()),
        (path(request(11), &base), "handle 0".to_owned()),
        (of(0, 12), "names a b folder link".to_owned()),
        (of(0, 12), "status 1 end of file".to_owned()),
        (path(path(request(18), &at("a")), &at("b")), "status 4 it exists already".to_owned()),
        (path(path(request(18), &at("a")), &at("c")), "status 0 done".to_owned()),
        (path(path(request(200).bytes(b"posix-rename@openssh.com"), &at("c")), &at("b")), "status 0 done".to_owned()),
        (path(path(request(200).bytes(b"hardlink@openssh.com"), &at("b")), &at("h")), "status 0 done".to_owned()),
        (path(request(200).bytes(b"expand-path@openssh.com"), Path::new("~/new")), real("new")),
        (request(200).bytes(b"unheard-of"), "status 8 operation unsupported".to_owned()),
        (request(200).bytes(b"limits@openssh.com"), "type 201".to_owned()),
        (path(request(15), &at("folder")), "status 0 done".to_owned()),
        (path(request(11), &at("h")), "status 2 Not a directory".to_owned()),
        (request(99), "status 8 operation unsupported".to_owned()),
        (request(13), "status 5 bad message".to_owned()),
    ] {
        let answer = ask(&mut server, packet);
        assert!(answer.starts_with(&expected), "{answer}, not {expected}");
    }
    let mode = std::fs::metadata(at("h")).expect("it exists").permissions().mode();
    assert_eq!((std::fs::read(at("b")).expect("it exists"), mode & 0o170_000), (b"a".to_vec(), 0o100_000));
}

#[test]
fn names_need_not_be_text() {
    let directory = tempfile::tempdir().expect("a directory");
    let strange = directory.path().join(std::ffi::OsStr::from_bytes(b"\xff\xfe"));
    std::fs::write(&strange, "kept").expect("written");
    let mut server = server(directory.path());
    assert_eq!(ask(&mut server, path(request(17), &strange)), "attributes 4 100644");
    assert_eq!(ask(&mut server, path(request(11), directory.path())), "handle 0");
    let answer = server.answer(&of(0, 12).finish()[4..]);
    assert!(answer.windows(2).any(|bytes| bytes == b"\xff\xfe"), "{answer:?}");
}

#[test]
fn what_is_open_is_limited() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut server = server(directory.path());
    for n in 0..MAX_HANDLES {
        assert_eq!(ask(&mut server, path(request(11), directory.path())), format!("handle {n}"));
    }
    assert_eq!(ask(&mut server, path(request(11), directory.path())), "status 4 too many open files");
    assert_eq!(ask(&mut server, of(3, 4)), "status 0 done");
    assert_eq!(ask(&mut server, path(request(11), directory.path())), "handle 256");
}

#[test]
fn a_stream_that_is_no_sftp_ends_it() {
    for (input, expected) in [
        (&b""[..], "ok"),
        (b"\0\0\0\x05\x01\0\0\0\x03", "ok"),
        (b"\0\0\0\0", "a packet of 0 bytes"),
        (b"\xff\xff\xff\xff\x01", "a packet of 4294967295 bytes"),
        (b"\0\0\0\x05\x01", "failed to fill whole buffer"),
        (b"\0\0", "failed to fill whole buffer"),
    ] {
        let mut output = Vec::new();
        let served = serve(input, &mut output).map_or_else(|error| error.to_string(), |()| "ok".to_owned());
        assert_eq!(served, expected, "{input:?}");
        assert_eq!(!output.is_empty(), input.len() == 9, "{output:?}");
    }
}

#[test]
fn what_people_read() {
    for (mode, expected) in [
        (0o100_644, "-rw-r--r--"),
        (0o040_755, "drwxr-xr-x"),
        (0o120_777, "lrwxrwxrwx"),
        (0o104_711, "-rws--x--x"),
        (0o102_640, "-rw-r-S---"),
        (0o041_777, "drwxrwxrwt"),
    ] {
        assert_eq!(letters(mode), expected);
    }
    for (seconds, expected) in [
        (0, "1970-01-01 00:00"),
        (951_782_399, "2000-02-28 23:59"),
        (951_782_400, "2000-02-29 00:00"),
        (1_767_225_599, "2025-12-31 23:59"),
        (-1, "1969-12-31 23:59"),
        (4_107_542_400, "2100-03-01 00:00"),
    ] {
        assert_eq!(date(seconds), expected);
    }
}
