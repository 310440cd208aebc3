//! Attempts to get past judgement: ambiguous requests, silence, protocols in disguise.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use openshell_api::decision::Verdict;
use openshell_policy_host::Inspection;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::world::{HOST, Rules, World, allow, deny};

/// Keeps every byte that any connection brings, and answers nothing, or a greeting first.
async fn sink(greeting: &'static [u8]) -> (u16, Arc<Mutex<Vec<u8>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let keep = Arc::clone(&seen);
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let keep = Arc::clone(&keep);
            tokio::spawn(async move {
                stream.write_all(greeting).await.unwrap();
                let mut buffer = [0; 4096];
                while let Ok(count @ 1..) = stream.read(&mut buffer).await {
                    keep.lock().unwrap().extend_from_slice(&buffer[..count]);
                    if buffer[..count].windows(4).any(|w| w == b"\r\n\r\n") {
                        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
                    }
                }
            });
        }
    });
    (port, seen)
}

/// All that comes back until the proxy closes, or is silent for a while.
async fn drain(stream: &mut tokio::net::TcpStream) -> String {
    let mut all = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(Ok(count @ 1..)) = tokio::time::timeout(Duration::from_millis(700), stream.read(&mut buffer)).await {
        all.extend_from_slice(&buffer[..count]);
    }
    String::from_utf8_lossy(&all).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn ambiguous_requests_never_reach_the_origin() {
    let world = World::new(Rules::default()).await;
    let (port, seen) = sink(b"").await;
    let host = format!("{HOST}:{port}");
    for request in [
        format!("POST / HTTP/1.1\r\nHost: {host}\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd"),
        format!("POST / HTTP/1.1\r\nHost: {host}\r\nContent-Length: +3\r\n\r\nabc"),
        format!("POST / HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: identity\r\n\r\n"),
        format!("POST / HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n"),
        format!("POST / HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n"),
        format!("GET / HTTP/1.1\r\nHost: {host}\r\nX: a\r\n folded\r\n\r\n"),
        format!("GET / HTTP/1.1\r\nHost: {host}\r\nHost: {host}\r\n\r\n"),
        format!("GET / HTTP/1.1\r\nHost: {host}\r\nHost: evil.test\r\n\r\n"),
        format!("GET http://evil.test/ HTTP/1.1\r\nHost: {host}\r\n\r\n"),
        format!("GET x://evil.test/ HTTP/1.1\r\nHost: {host}\r\n\r\n"),
        format!("GET x://{host}/ HTTP/1.1\r\nHost: {host}\r\n\r\n"),
        format!("GET\x0b/ HTTP/1.1\r\nHost: {host}\r\n\r\n"),
        "GET / HTTP/1.1\r\n\r\n".to_owned(),
        format!("GET / HTTP/1.1\r\nHost: {host}\r\nBad Header: a\r\n\r\n"),
        format!("GET / HTTP/1.1\r\nHost: {host}\r\nX: a\rb\r\n\r\n"),
        format!("GET /a b HTTP/1.1\r\nHost: {host}\r\n\r\n"),
        format!("GET  / HTTP/1.1\r\nHost: {host}\r\n\r\n"),
        format!("GET / HTTP/1.1\r\nHost: {host}\r\nX: {}\r\n\r\n", "a".repeat(100_000)),
        format!("GET /{} HTTP/1.1\r\nHost: {host}\r\n\r\n", "a".repeat(100_000)),
        format!("GET / HTTP/1.1\r\nHost: {host}\r\n{}\r\n", "X: a\r\n".repeat(200)),
        format!("CONNECT evil.test:443 HTTP/1.1\r\nHost: {host}\r\n\r\n"),
        format!("GET /%zz HTTP/1.1\r\nHost: {host}\r\n\r\n"),
    ] {
        let mut tunnel = world.tunnel(HOST, port).await.unwrap();
        let _ = tunnel.write_all(request.as_bytes()).await;
        let answer = drain(&mut tunnel).await;
        let shown: String = request.chars().take(120).collect();
        assert!(!answer.starts_with("HTTP/1.1 2"), "{shown:?}: {answer}");
        let seen = seen.lock().unwrap();
        assert!(seen.is_empty(), "{shown:?} reached the origin as {:?}", String::from_utf8_lossy(&seen));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_sent_is_what_was_parsed() {
    let world = World::new(Rules::default()).await;
    for (request, expected) in [
        // Transfer-Encoding wins over Content-Length, and only one framing leaves the proxy (RFC 9112 §6.1).
        (
            "POST /a/../b HTTP/1.1\r\nHost: HOST\r\nContent-Length: 50\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
            "POST /b HTTP/1.1\r\n",
        ),
        // A bare LF ends a line for a lenient parser; it leaves as CR LF, or not at all.
        ("GET /c HTTP/1.1\nHost: HOST\nX-A: 1\n\n", "GET /c HTTP/1.1\r\n"),
    ] {
        let (port, seen) = sink(b"").await;
        let mut tunnel = world.tunnel(HOST, port).await.unwrap();
        tunnel.write_all(request.replace("HOST", &format!("{HOST}:{port}")).as_bytes()).await.unwrap();
        drain(&mut tunnel).await;
        let seen = String::from_utf8(seen.lock().unwrap().clone()).unwrap();
        if seen.is_empty() {
            continue;
        }
        assert!(seen.starts_with(expected), "{seen:?}");
        assert!(!seen.replace("\r\n", "").contains(['\n', '\r']), "{seen:?}");
        let lower = seen.to_ascii_lowercase();
        assert!(!(lower.contains("content-length") && lower.contains("transfer-encoding")), "{seen:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn silence_does_not_escape_judgement() {
    let world = World::new(Rules { request: |_, _, _| deny("no requests"), ..Rules::default() }).await;
    // Nor where a server of HTTP speaks first: SETTINGS, none of them; and what one says that has waited too long.
    for greeting in [&b""[..], b"\0\0\0\x04\0\0\0\0\0", b"HTTP/1.1 408 Request Timeout\r\n\r\n"] {
        let (port, seen) = sink(greeting).await;
        let mut tunnel = world.tunnel(HOST, port).await.unwrap();
        tokio::time::sleep(Duration::from_millis(500)).await;
        tunnel.write_all(format!("GET / HTTP/1.1\r\nHost: {HOST}:{port}\r\n\r\n").as_bytes()).await.unwrap();
        let answer = drain(&mut tunnel).await;
        assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
        assert!(seen.lock().unwrap().is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nor_do_long_methods_and_blanks() {
    let world = World::new(Rules { request: |_, _, _| deny("no requests"), ..Rules::default() }).await;
    for request in [
        format!("{} / HTTP/1.1\r\nHost: HOST\r\n\r\n", "A".repeat(65)),
        format!("{}GET / HTTP/1.1\r\nHost: HOST\r\n\r\n", "\r\n".repeat(600)),
        format!("GET{}/ HTTP/1.1\r\nHost: HOST\r\n\r\n", " ".repeat(1100)),
        // Python's server takes any word for a path.
        "GET secret HTTP/1.1\r\nHost: HOST\r\n\r\n".to_owned(),
        "GET x\0/../secret http/1.0\r\n\r\n".to_owned(),
    ] {
        for pieces in [1, 2] {
            let (port, seen) = sink(b"").await;
            let mut tunnel = world.tunnel(HOST, port).await.unwrap();
            let request = request.replace("HOST", &format!("{HOST}:{port}")).into_bytes();
            for piece in request.chunks(request.len().div_ceil(pieces)) {
                let _ = tunnel.write_all(piece).await;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            let answer = drain(&mut tunnel).await;
            assert!(answer.starts_with("HTTP/1.1 4") || answer.is_empty(), "{answer}");
            assert!(seen.lock().unwrap().is_empty(), "{request:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_may_speak_first() {
    let world = World::new(Rules::default()).await;
    let (port, seen) = sink(b"220 hello\r\n").await;
    let mut tunnel = world.tunnel(HOST, port).await.unwrap();
    let mut greeting = [0; 11];
    tunnel.read_exact(&mut greeting).await.unwrap();
    assert_eq!(&greeting, b"220 hello\r\n");
    tunnel.write_all(b"EHLO me\r\n").await.unwrap();
    super::world::eventually(|| seen.lock().unwrap().ends_with(b"EHLO me\r\n")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn required_inspection_refuses_what_it_cannot_judge() {
    let world = World::new(Rules { connect: |_| allow(Inspection::Required), ..Rules::default() }).await;
    let (port, seen) = sink(b"").await;
    let mut tunnel = world.tunnel(HOST, port).await.unwrap();
    tunnel.write_all(b"*1\r\n$4\r\nPING\r\n").await.unwrap();
    assert_eq!(drain(&mut tunnel).await, "");
    assert!(seen.lock().unwrap().is_empty());
    world
        .until(|records| {
            records.iter().any(|r| r.verdict == Verdict::Deny && r.error.as_deref() == Some("inspection_required"))
        })
        .await;
}

/// As slow as it is: nobody says more for thirty seconds.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_stops_in_its_first_word_is_closed_and_recorded() {
    let check = async |connect: fn(&openshell_policy_host::Connection) -> openshell_policy_host::Outcome| {
        let world = World::new(Rules { connect, ..Rules::default() }).await;
        let (port, seen) = sink(b"").await;
        let mut tunnel = world.tunnel(HOST, port).await.unwrap();
        tunnel.write_all(b"GET sec").await.unwrap();
        let mut rest = Vec::new();
        let closed = tokio::time::timeout(Duration::from_secs(60), tunnel.read_to_end(&mut rest)).await;
        assert!(closed.is_ok() && rest.is_empty() && seen.lock().unwrap().is_empty());
        let records = world.records();
        let undecided = records.iter().find(|r| r.error.as_deref() == Some("inspection_required")).unwrap();
        assert!(undecided.reason.as_deref().unwrap().contains("no more came in 30 s"), "{undecided:?}");
    };
    tokio::join!(check(|_| allow(Inspection::Required)), check(|_| allow(Inspection::Automatic)));
}
