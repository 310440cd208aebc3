//! Clients that misbehave: bounded, refused clearly, and no harm to others.

use std::time::{Duration, Instant};

use http::StatusCode;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::world::{HOST, Rules, World, get};

/// Resident memory of this process, in KiB.
fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn half_open_handshakes_leave_room_for_others() {
    let world = World::new(Rules::default()).await;
    let before = resident_kib();
    let mut waiting = Vec::new();
    for n in 0..600 {
        let mut stream = match n % 3 {
            // A ClientHello that never ends, a head that never ends, and nothing at all.
            0 => world.tunnel(HOST, world.tls_port).await.unwrap(),
            _ => world.raw().await,
        };
        let part: &[u8] = [&b"\x16\x03\x01\x02\x00\x01"[..], b"GET http://api.test/ HT", b""][n % 3];
        stream.write_all(part).await.unwrap();
        waiting.push(stream);
    }
    let began = Instant::now();
    let answer = world.h1(get(&world, "/among")).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert!(began.elapsed() < Duration::from_secs(20), "it took {:?}", began.elapsed());
    let grown = resident_kib().saturating_sub(before);
    assert!(grown < 64 << 10, "{grown} KiB for 600 half-open connections, both of their ends included");
}

#[tokio::test(flavor = "multi_thread")]
async fn endless_heads_are_refused_and_not_kept() {
    let world = World::new(Rules::default()).await;
    let endless: [(&str, &[u8]); 3] = [
        ("a header", b"GET / HTTP/1.1\r\nHost: api.test\r\nX-Long: "),
        ("a request line", b"GET /"),
        ("many headers", b"GET / HTTP/1.1\r\n"),
    ];
    for (what, start) in endless {
        let mut io = world.inspected(&["http/1.1"]).await;
        let before = resident_kib();
        io.write_all(start).await.unwrap();
        let filler = if what == "many headers" { b"A: b\r\n".repeat(4096) } else { vec![b'a'; 24 << 10] };
        let mut sent = 0;
        // A gigabyte if it is let.
        while sent < 1 << 30 {
            match io.write_all(&filler).await {
                Ok(()) => sent += filler.len(),
                Err(_) => break,
            }
        }
        assert!(sent < 16 << 20, "{what}: {sent} bytes were taken");
        let mut text = Vec::new();
        // The connection is reset behind the answer, so it may be lost on the way.
        let _ = io.read_to_end(&mut text).await;
        let text = String::from_utf8_lossy(&text);
        assert!(text.is_empty() || text.starts_with("HTTP/1.1 4"), "{what}: {text}");
        assert!(resident_kib().saturating_sub(before) < 16 << 10, "{what} was kept");
    }
    assert_eq!(world.h1(get(&world, "/after")).await.status, StatusCode::OK);
}
