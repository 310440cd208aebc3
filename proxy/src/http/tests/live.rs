//! Swaps under live connections: what is denied is cut, what is not goes on.

use futures_util::{SinkExt as _, StreamExt as _};
use http_body_util::BodyExt as _;
use hyper_util::rt::{TokioExecutor, TokioIo};
use openshell_api::decision::{Stage, Verdict};
use openshell_policy_host::{HeaderEdit, Inspection, Outcome};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use super::world::{HOST, Rules, World, allow, deny, eventually, full, get, grant, next};

async fn echo_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let (mut read, mut write) = stream.split();
                let _ = tokio::io::copy(&mut read, &mut write).await;
            });
        }
    });
    port
}

#[tokio::test(flavor = "multi_thread")]
async fn tunnels_are_cut_only_where_denied() {
    let world = World::new(Rules { connect: |_| allow(Inspection::Opaque), ..Rules::default() }).await;
    let port = echo_port().await;
    let mut kept = world.tunnel(HOST, port).await.unwrap();
    let mut cut = world.tunnel("other.test", port).await.unwrap();
    for tunnel in [&mut kept, &mut cut] {
        tunnel.write_all(b"a").await.unwrap();
        assert_eq!(tunnel.read_u8().await.unwrap(), b'a');
    }
    assert_eq!(world.proxy.live_streams(), 2);
    let connections_cut = world.enforce(Rules {
        generation: 2,
        connect: |c| if c.host == HOST { allow(Inspection::Opaque) } else { deny("no more") },
        ..Rules::default()
    });
    assert_eq!(connections_cut, 1);
    let error = cut.read_u8().await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    kept.write_all(b"b").await.unwrap();
    assert_eq!(kept.read_u8().await.unwrap(), b'b');
    let records = world.records();
    let reevaluated: Vec<_> = records.iter().filter(|r| r.stage == Stage::Reevaluate).collect();
    assert_eq!(reevaluated.len(), 1);
    assert_eq!((reevaluated[0].verdict, reevaluated[0].generation), (Verdict::Deny, 2));
    eventually(|| world.proxy.live_streams() == 1).await;
    drop(kept);
    eventually(|| world.proxy.live_streams() == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn websockets_pass_and_close_with_1008() {
    let world = World::new(Rules::default()).await;
    let io = world.inspected(&["http/1.1"]).await;
    let url = format!("ws://{HOST}:{}/ws", world.tls_port);
    let (mut socket, response) = tokio_tungstenite::client_async(url, io).await.unwrap();
    assert_eq!(response.status(), 101);
    for size in [3, 300, 100_000] {
        socket.send(Message::binary(vec![7; size])).await.unwrap();
        assert_eq!(socket.next().await.unwrap().unwrap().into_data().len(), size);
    }
    assert_eq!(world.enforce(Rules { generation: 2, ..Rules::default() }), 0);
    socket.send(Message::text("still here")).await.unwrap();
    assert_eq!(socket.next().await.unwrap().unwrap().to_text().unwrap(), "still here");
    assert_eq!(world.enforce(Rules { generation: 3, request: |_, _, _| deny("no sockets"), ..Rules::default() }), 1);
    match socket.next().await.unwrap().unwrap() {
        Message::Close(Some(frame)) => assert_eq!(frame.code, CloseCode::Policy),
        other => panic!("{other:?}"),
    }
    world.until(|records| records.iter().any(|r| r.path.as_deref() == Some("/ws") && r.status == Some(101))).await;
}

/// Asks for a WebSocket as a stream of an HTTP/2 connection (RFC 8441).
async fn extended_connect(world: &World, path: &str) -> http::Response<hyper::body::Incoming> {
    let io = world.inspected(&["h2"]).await;
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(io)).await.unwrap();
    tokio::spawn(connection);
    let mut request = http::Request::connect(world.url(path)).body(full("")).unwrap();
    request.extensions_mut().insert(hyper::ext::Protocol::from_static("websocket"));
    request.headers_mut().insert("sec-websocket-version", "13".parse().unwrap());
    sender.send_request(request).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn websockets_over_http2_pass_and_close_with_1008() {
    let world = World::new(Rules::default()).await;
    let mut response = extended_connect(&world, "/ws").await;
    assert_eq!(response.status(), 200);
    assert!(!response.headers().contains_key("sec-websocket-accept"));
    let io = TokioIo::new(hyper::upgrade::on(&mut response).await.unwrap());
    let mut socket = tokio_tungstenite::WebSocketStream::from_raw_socket(io, Role::Client, None).await;
    for size in [3, 300, 100_000] {
        socket.send(Message::binary(vec![7; size])).await.unwrap();
        assert_eq!(socket.next().await.unwrap().unwrap().into_data().len(), size);
    }
    assert_eq!(world.enforce(Rules { generation: 2, request: |_, _, _| deny("no sockets"), ..Rules::default() }), 1);
    match socket.next().await.unwrap().unwrap() {
        Message::Close(Some(frame)) => assert_eq!(frame.code, CloseCode::Policy),
        other => panic!("{other:?}"),
    }
    world.until(|records| records.iter().any(|r| r.path.as_deref() == Some("/ws") && r.status == Some(101))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_extended_connect_succeeds_only_where_the_upstream_switches() {
    let world = World::new(Rules::default()).await;
    // This path answers 200 to whatever it is asked: no WebSocket.
    assert_eq!(extended_connect(&world, "/plain").await.status(), 502);
    let world = World::new(Rules { request: |_, _, _| deny("no sockets"), ..Rules::default() }).await;
    assert_eq!(extended_connect(&world, "/ws").await.status(), 403);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_denied_websocket_is_a_plain_403() {
    let world = World::new(Rules { request: |_, _, _| deny("no sockets"), ..Rules::default() }).await;
    let io = world.inspected(&["http/1.1"]).await;
    let url = format!("ws://{HOST}:{}/ws", world.tls_port);
    match tokio_tungstenite::client_async(url, io).await.err() {
        Some(tokio_tungstenite::tungstenite::Error::Http(response)) => {
            assert_eq!(response.status(), 403);
            assert_eq!(response.headers()["x-openshell-policy"], "test@1.0.0");
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn event_streams_flow_and_are_cut() {
    let world = World::new(Rules::default()).await;
    let io = world.inspected(&["http/1.1"]).await;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(io)).await.unwrap();
    tokio::spawn(connection);
    let mut body = sender.send_request(get(&world, "/events")).await.unwrap().into_body();
    for _ in 0..3 {
        assert!(body.frame().await.unwrap().unwrap().into_data().unwrap().starts_with(b"data: "));
    }
    assert_eq!(world.enforce(Rules { generation: 2, ..Rules::default() }), 0);
    assert!(body.frame().await.unwrap().is_ok());
    assert_eq!(world.enforce(Rules { generation: 3, connect: |_| Outcome::Unanswered, ..Rules::default() }), 1);
    let ended = async { while let Some(Ok(_)) = body.frame().await {} };
    ended.await;
    eventually(|| world.proxy.live_streams() == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keep_alive_requests_meet_the_live_generation() {
    let world = World::new(Rules::default()).await;
    let io = world.inspected(&["http/1.1"]).await;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(io)).await.unwrap();
    tokio::spawn(connection);
    let generations: [(fn() -> Rules, u16); 4] = [
        (Rules::default, 200),
        (|| Rules { generation: 2, request: |_, _, _| deny("no"), ..Rules::default() }, 403),
        (|| Rules { generation: 3, ..Rules::default() }, 200),
        (|| Rules { generation: 4, connect: |_| deny("no"), ..Rules::default() }, 403),
    ];
    for (rules, expected) in generations {
        world.enforce(rules());
        for _ in 0..2 {
            let answer = next(&mut sender, get(&world, "/")).await;
            assert_eq!(answer.status, expected);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_request_fails_while_generations_are_swapped() {
    fn marked(generation: u64) -> Rules {
        let even: fn(&_, &_, &dyn openshell_policy_host::View) -> Outcome = |_, _, _| {
            let headers = vec![HeaderEdit::Set("x-added".to_owned(), "even".to_owned())];
            Outcome::Allow(openshell_policy_host::Grant { headers, ..grant(Inspection::Automatic) })
        };
        match generation % 2 {
            0 => Rules { generation, request: even, ..Rules::default() },
            _ => Rules { generation, ..Rules::default() },
        }
    }
    let world = World::new(marked(1)).await;
    let clients = (0..4).map(|_| async {
        let io = world.inspected(&["http/1.1"]).await;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(io)).await.unwrap();
        tokio::spawn(connection);
        for _ in 0..100 {
            let answer = next(&mut sender, get(&world, "/")).await;
            assert_eq!(answer.status, 200);
            tokio::task::yield_now().await;
        }
    });
    let swaps = async {
        for generation in 2..200 {
            world.enforce(marked(generation));
            tokio::task::yield_now().await;
        }
    };
    tokio::join!(futures_util::future::join_all(clients), swaps);
}

/// A connection lives on only as far as it could have begun under the new generation.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_new_grant_would_judge_or_not_dial_is_cut() {
    use Inspection::{Automatic, Opaque, Required};
    fn elsewhere(inspection: Inspection) -> Outcome {
        Outcome::Allow(openshell_policy_host::Grant {
            private_ranges: vec!["10.0.0.0/8".to_owned()],
            ..grant(inspection)
        })
    }
    type OnConnect = fn(&openshell_policy_host::Connection) -> Outcome;
    let rows: [(OnConnect, OnConnect, Option<&str>); 7] = [
        (|_| allow(Opaque), |_| allow(Opaque), None),
        (|_| allow(Automatic), |_| allow(Automatic), None),
        (|_| allow(Automatic), |_| allow(Opaque), None),
        (|_| allow(Opaque), |_| allow(Automatic), Some("inspection_required")),
        (|_| allow(Opaque), |_| allow(Required), Some("inspection_required")),
        (|_| allow(Automatic), |_| allow(Required), Some("inspection_required")),
        (|_| allow(Opaque), |_| elsewhere(Opaque), Some("ssrf_denied")),
    ];
    for (number, (before, after, expected)) in rows.into_iter().enumerate() {
        let world = World::new(Rules { connect: before, ..Rules::default() }).await;
        let mut tunnel = world.tunnel(HOST, echo_port().await).await.unwrap();
        tunnel.write_all(b"\0").await.unwrap();
        assert_eq!(tunnel.read_u8().await.unwrap(), 0, "row {number}");
        let cut = world.enforce(Rules { generation: 2, connect: after, ..Rules::default() });
        assert_eq!(cut, u32::from(expected.is_some()), "row {number}");
        match expected {
            None => tunnel.write_all(b"b").await.unwrap(),
            Some(_) => assert!(tunnel.read_u8().await.is_err(), "row {number}"),
        }
        let records = world.records();
        let denied = records.iter().find(|r| r.stage == Stage::Reevaluate);
        assert_eq!(denied.and_then(|r| r.error.as_deref()), expected, "row {number}");
    }

    // What was judged goes on being so, and is only cut where its address is not granted any more.
    let world = World::new(Rules { connect: |_| allow(Required), ..Rules::default() }).await;
    let url = format!("ws://{HOST}:{}/ws", world.tls_port);
    let (mut socket, _) = tokio_tungstenite::client_async(url, world.inspected(&["http/1.1"]).await).await.unwrap();
    assert_eq!(world.enforce(Rules { generation: 2, connect: |_| allow(Required), ..Rules::default() }), 0);
    assert_eq!(world.enforce(Rules { generation: 3, connect: |_| elsewhere(Required), ..Rules::default() }), 1);
    assert!(matches!(socket.next().await.unwrap().unwrap(), Message::Close(Some(_))));
}
