//! Origins of HTTP/1.1 that end a connection just as a request leaves: as those do that close what has been idle for long.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::{Method, Request, StatusCode};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::again::counting;
use super::world::{HOST, Rules, World, full, send_h1};

/// How the origin ends a connection, once it has read a request.
#[derive(Debug, Clone, Copy)]
enum End {
    Close,
    Reset,
    /// After these bytes.
    Says(&'static str),
}

/// Answers requests without bodies, but for the one of this number, counted over all connections.
async fn serve(mut stream: TcpStream, requests: Arc<AtomicUsize>, unanswered: usize, end: End) -> std::io::Result<()> {
    loop {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await?);
        }
        if requests.fetch_add(1, Ordering::SeqCst) + 1 == unanswered {
            match end {
                End::Close => {}
                // What of its body was not read would reset it, too.
                End::Reset => stream.set_zero_linger()?,
                End::Says(text) => stream.write_all(text.as_bytes()).await?,
            }
            return Ok(());
        }
        stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await?;
    }
}

/// Sends a GET and then the request to an origin that leaves one of all unanswered: how the request was answered, and how many
/// the origin saw.
async fn ask(method: &Method, body: &'static str, unanswered: usize, end: End) -> (StatusCode, usize) {
    let world = World::new(Rules::default()).await;
    let (port, seen) = counting(move |stream, requests| serve(stream, requests, unanswered, end)).await;
    let mut status = StatusCode::OK;
    for (method, body) in [(&Method::GET, ""), (method, body)] {
        let request = Request::builder().method(method).uri("/").header("host", format!("{HOST}:{port}"));
        let tunnel = world.tunnel(HOST, port).await.unwrap();
        let answer = send_h1(Box::new(tunnel), request.body(full(body)).unwrap());
        status = tokio::time::timeout(Duration::from_secs(30), answer).await.unwrap().status;
    }
    (status, seen.load(Ordering::SeqCst))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_asks_for_nothing_to_be_done_is_sent_again_where_a_kept_connection_ended() {
    for method in [Method::GET, Method::HEAD, Method::OPTIONS, Method::TRACE] {
        for end in [End::Close, End::Reset, End::Says("HTTP/1.1 20")] {
            assert_eq!(ask(&method, "", 2, end).await, (StatusCode::NO_CONTENT, 3), "{method} {end:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_else_is() {
    let check = async |method: Method, body, unanswered, end| {
        // The first request stays unanswered, or the second; whatever is sent again would be answered.
        assert_eq!(ask(&method, body, unanswered, end).await, (StatusCode::BAD_GATEWAY, 2), "{method} {body} {end:?}");
    };
    for method in [Method::POST, Method::PUT, Method::DELETE, Method::PATCH] {
        check(method.clone(), "", 2, End::Close).await;
        check(method, "", 2, End::Reset).await;
    }
    check(Method::GET, "body", 2, End::Close).await;
    check(Method::GET, "", 2, End::Says("nonsense\r\n\r\n")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nor_what_a_new_connection_did_not_answer() {
    let (status, requests) = ask(&Method::POST, "", 1, End::Close).await;
    // The GET before it was refused at once, and the POST came on a connection of its own.
    assert_eq!((status, requests), (StatusCode::NO_CONTENT, 2));
}
