//! What is judged is what is sent, and nobody's request goes where only somebody else may be.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::Request;
use http_body_util::{BodyExt as _, StreamBody};
use openshell_policy_host::Inspection;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use super::super::body::buffer;
use super::again::counting;
use super::world::{HOST, Rules, World, allow, deny, full, send_h1};
use crate::inference::{Body, BoxError};

/// An origin that keeps every head, and what of a body came with it, by the number of its connection.
async fn listening() -> (u16, Heard) {
    let heard = Heard::default();
    let keep = Arc::clone(&heard);
    let hear = move |stream, connections: Arc<AtomicUsize>| {
        hear(stream, connections.fetch_add(1, Ordering::SeqCst), Arc::clone(&keep))
    };
    (counting(hear).await.0, heard)
}

type Heard = Arc<Mutex<Vec<(usize, String)>>>;

async fn hear(mut stream: TcpStream, number: usize, heard: Heard) -> std::io::Result<()> {
    let mut text = String::new();
    let mut buffer = [0; 4096];
    while let count @ 1.. = stream.read(&mut buffer).await? {
        text.push_str(&String::from_utf8_lossy(&buffer[..count]));
        let end = if text.contains("transfer-encoding: chunked") { "0\r\n\r\n" } else { "\r\n\r\n" };
        if text.ends_with(end) {
            heard.lock().unwrap().push((number, std::mem::take(&mut text)));
            stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await?;
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn policies_see_no_header_that_is_not_sent() {
    let request = |_: &_, _: &_, view: &dyn openshell_policy_host::View| {
        let unsent = ["x-dry-run", "connection", "keep-alive", "expect", "x-openshell-role"];
        match unsent.into_iter().find(|name| view.header(name).is_some()) {
            Some(name) => deny(name),
            None => allow(Inspection::Automatic),
        }
    };
    let world = World::new(Rules { request, ..Rules::default() }).await;
    let (port, heard) = listening().await;
    let request = Request::get("/")
        .header("host", format!("{HOST}:{port}"))
        .header("connection", "x-dry-run, keep-alive")
        .header("x-dry-run", "true")
        .header("keep-alive", "timeout=5")
        .header("x-openshell-role", "admin")
        .header("x-kept", "yes");
    let tunnel = world.tunnel(HOST, port).await.unwrap();
    let answer = send_h1(Box::new(tunnel), request.body(full("")).unwrap()).await;
    assert_eq!(answer.status, 204, "{}", answer.body);
    let heard = heard.lock().unwrap()[0].1.to_ascii_lowercase();
    assert!(heard.contains("x-kept: yes"), "{heard}");
    for gone in ["x-dry-run", "x-openshell", "keep-alive"] {
        assert!(!heard.contains(gone), "{heard}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_of_unknown_length_goes_with_every_method() {
    let world = World::new(Rules::default()).await;
    for method in ["GET", "HEAD", "DELETE", "POST"] {
        let (port, heard) = listening().await;
        let mut tunnel = world.tunnel(HOST, port).await.unwrap();
        let head = format!("{method} /_search HTTP/1.1\r\nHost: {HOST}:{port}\r\nTransfer-Encoding: chunked\r\n\r\n");
        tunnel.write_all(head.as_bytes()).await.unwrap();
        tunnel.write_all(b"7\r\n{\"a\":1}\r\n0\r\n\r\n").await.unwrap();
        assert_eq!(tunnel.read_u8().await.unwrap(), b'H');
        let heard = heard.lock().unwrap()[0].1.clone();
        assert!(heard.contains("\r\n\r\n7\r\n{\"a\":1}\r\n0\r\n"), "{heard}");
    }
}

/// RFC 4559 §6: it is the connection that is logged in.
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_was_logged_in_is_nobody_elses() {
    let world = World::new(Rules::default()).await;
    let (port, heard) = listening().await;
    let request = |authorization: &str| {
        format!("GET / HTTP/1.1\r\nHost: {HOST}:{port}\r\nAuthorization: {authorization}\r\n\r\n")
    };
    let ask = async |tunnel: &mut TcpStream, authorization: &str| {
        tunnel.write_all(request(authorization).as_bytes()).await.unwrap();
        let mut answer = [0; 27];
        tokio::time::timeout(Duration::from_secs(10), tunnel.read_exact(&mut answer)).await.unwrap().unwrap();
        heard.lock().unwrap().last().unwrap().0
    };
    let (mut first, mut second) = (world.tunnel(HOST, port).await.unwrap(), world.tunnel(HOST, port).await.unwrap());
    let shared = ask(&mut first, "Bearer a").await;
    assert_eq!(ask(&mut second, "Bearer b").await, shared, "it is kept, and used again");
    let own = ask(&mut first, "NTLM abc").await;
    assert_ne!(own, shared);
    // The rest of the login, and what follows it, goes the same way; another client's requests do not.
    assert_eq!(ask(&mut first, "ntlm def").await, own);
    assert_eq!(ask(&mut first, "Basic x").await, own);
    assert_eq!(ask(&mut second, "Bearer b").await, shared);
    let other = ask(&mut second, "Negotiate abc").await;
    assert!(other != own && other != shared);
}

#[tokio::test]
async fn bodies_are_held_only_as_far_as_there_is_room() {
    let body = |text: &'static str| -> Body {
        let frames = text.as_bytes().chunks(4).map(|piece| Ok::<_, BoxError>(http_body::Frame::data(piece.into())));
        Body::new(StreamBody::new(futures_util::stream::iter(frames.collect::<Vec<_>>())))
    };
    let room = Arc::new(Semaphore::new(20));
    let (seen, first) = buffer(body("twelve bytes"), 100, &room).await.unwrap();
    assert_eq!(seen.as_deref(), Some(&b"twelve bytes"[..]));
    // No more than twenty at once; and all of it still passes.
    let (unseen, second) = buffer(body("another twelve"), 100, &room).await.unwrap();
    assert_eq!(unseen, None);
    assert_eq!(second.collect().await.unwrap().to_bytes(), "another twelve");
    drop(first);
    assert_eq!(room.available_permits(), 8, "a policy may still look");
    drop(seen);
    assert_eq!(room.available_permits(), 20);
    let (seen, _rest) = buffer(body("another twelve"), 100, &room).await.unwrap();
    assert_eq!(seen.as_deref(), Some(&b"another twelve"[..]));
}
