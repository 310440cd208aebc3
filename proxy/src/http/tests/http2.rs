//! Streams of HTTP/2 between a client and an origin that both speak the frames of the protocol themselves.

use std::future::poll_fn;
use std::sync::Arc;

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::{Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use openshell_policy_host::{HttpResponse, Inspection, Outcome, View};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use super::world::{HOST, Rules, World, allow, deny, full, hinting, read};

type Asked = (Request<RecvStream>, SendResponse<Bytes>);

/// A world with an origin whose streams the test answers, and a connection to it through the proxy.
struct Wire {
    _world: World,
    port: u16,
    client: SendRequest<Bytes>,
    origin: mpsc::UnboundedReceiver<Asked>,
}

impl Wire {
    async fn new(rules: Rules) -> Self {
        let world = World::new(rules).await;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (asked, origin) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let asked = asked.clone();
                tokio::spawn(async move {
                    let mut connection = h2::server::handshake(stream).await.unwrap();
                    while let Some(Ok(stream)) = connection.accept().await {
                        let last = stream.0.uri().path() == "/last";
                        asked.send(stream).unwrap();
                        if last {
                            connection.graceful_shutdown();
                        }
                    }
                });
            }
        });
        let client = connect(&world, port).await;
        Self { _world: world, port, client, origin }
    }

    fn request(&self, method: &str, path: &str) -> http::request::Builder {
        Request::builder().method(method).uri(format!("http://{HOST}:{}{path}", self.port))
    }

    fn send(&mut self, request: Request<()>, ends: bool) -> (ResponseFuture, SendStream<Bytes>) {
        self.client.send_request(request, ends).unwrap()
    }

    async fn asked(&mut self) -> Asked {
        self.origin.recv().await.unwrap()
    }
}

pub(super) async fn connect(world: &World, port: u16) -> SendRequest<Bytes> {
    let tunnel = world.tunnel(HOST, port).await.unwrap();
    let (client, connection) = h2::client::handshake(tunnel).await.unwrap();
    tokio::spawn(connection);
    client.ready().await.unwrap()
}

async fn interim(response: &mut ResponseFuture) -> Option<Response<()>> {
    poll_fn(|cx| response.poll_informational(cx)).await.map(Result::unwrap)
}

pub(super) async fn text(mut body: RecvStream) -> Result<String, h2::Error> {
    let mut all = Vec::new();
    while let Some(data) = body.data().await {
        let data = data?;
        body.flow_control().release_capacity(data.len())?;
        all.extend_from_slice(&data);
    }
    Ok(String::from_utf8(all).unwrap())
}

fn status(status: StatusCode) -> Response<()> {
    Response::builder().status(status).body(()).unwrap()
}

fn ok() -> Response<()> {
    status(StatusCode::OK)
}

fn answer(mut reply: SendResponse<Bytes>, body: &'static str) {
    reply.send_response(ok(), false).unwrap().send_data(body.into(), true).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn early_hints_come_before_the_answer_unless_a_policy_judges_answers() {
    for watched in [false, true] {
        let response =
            watched.then_some((|_, _| allow(Inspection::Automatic)) as fn(&HttpResponse, &dyn View) -> Outcome);
        let mut wire = Wire::new(Rules { response, ..Rules::default() }).await;
        let (mut response, _) = wire.send(wire.request("GET", "/").body(()).unwrap(), true);
        let (_, mut reply) = wire.asked().await;
        for link in ["</a.css>; rel=preload", "</b.css>; rel=preload"] {
            let hint = Response::builder().status(103).header("link", link).header("x-openshell-forged", "1");
            reply.send_informational(hint.body(()).unwrap()).unwrap();
            if !watched {
                // It is here although the answer is not.
                let hint = interim(&mut response).await.unwrap();
                assert_eq!((hint.status().as_u16(), &hint.headers()["link"]), (103, &link.parse().unwrap()));
                assert_eq!(hint.headers().len(), 1, "{hint:?}");
            }
        }
        answer(reply, "ok");
        assert!(interim(&mut response).await.is_none());
        let response = response.await.unwrap();
        assert_eq!((response.status(), text(response.into_body()).await.unwrap().as_str()), (StatusCode::OK, "ok"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_origin_that_hints_without_end_is_not_kept_in_memory() {
    let mut wire = Wire::new(Rules::default()).await;
    let (mut response, _) = wire.send(wire.request("GET", "/").body(()).unwrap(), true);
    let (_, mut reply) = wire.asked().await;
    for _ in 0..1000 {
        let hint = Response::builder().status(103).header("link", "x".repeat(1000));
        reply.send_informational(hint.body(()).unwrap()).unwrap();
        tokio::task::yield_now().await;
    }
    answer(reply, "ok");
    let mut hints = 0;
    while interim(&mut response).await.is_some() {
        hints += 1;
    }
    assert!(hints <= 16, "{hints}");
    assert_eq!(text(response.await.unwrap().into_body()).await.unwrap(), "ok");
}

#[tokio::test(flavor = "multi_thread")]
async fn early_hints_of_an_http1_origin_reach_a_stream() {
    let world = World::new(Rules::default()).await;
    let mut tls = rustls::ServerConfig::clone(&world.origin_tls);
    tls.alpn_protocols = vec![b"http/1.1".to_vec()];
    let (port, answer) = hinting(Some(Arc::new(tls).into())).await;
    let tunnel = world.tunnel(HOST, port).await.unwrap();
    let io = world.tls(tunnel, HOST, &["h2"]).await.unwrap();
    let (mut client, connection) = h2::client::handshake(io).await.unwrap();
    tokio::spawn(connection);
    let request = Request::get(format!("https://{HOST}:{port}/hinted")).body(()).unwrap();
    let (mut response, _) = client.send_request(request, true).unwrap();
    assert_eq!(interim(&mut response).await.unwrap().status().as_u16(), 103);
    answer.send(()).unwrap();
    assert_eq!(text(response.await.unwrap().into_body()).await.unwrap(), "ok");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_holds_a_body_back_is_asked_for_it() {
    let mut wire = Wire::new(Rules::default()).await;
    let request = wire.request("POST", "/").header("expect", "100-continue").header("content-length", "4");
    let (mut response, mut upload) = wire.send(request.body(()).unwrap(), false);
    assert_eq!(interim(&mut response).await.unwrap().status().as_u16(), 100);
    upload.send_data("body".into(), true).unwrap();
    let (request, reply) = wire.asked().await;
    assert!(!request.headers().contains_key("expect"));
    assert_eq!(text(request.into_body()).await.unwrap(), "body");
    answer(reply, "ok");
    assert_eq!(response.await.unwrap().status(), StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_breaks_off_is_no_end_and_says_why_on_the_other_side() {
    // A client that takes its upload back: the origin must not take half for the whole.
    let mut wire = Wire::new(Rules::default()).await;
    let (response, mut upload) = wire.send(wire.request("POST", "/").body(()).unwrap(), false);
    upload.send_data("half".into(), false).unwrap();
    let (request, mut reply) = wire.asked().await;
    let mut body = request.into_body();
    assert_eq!(body.data().await.unwrap().unwrap(), "half");
    upload.send_reset(Reason::CANCEL);
    drop(response);
    let ended = body.data().await.unwrap().unwrap_err();
    assert_eq!(ended.reason(), Some(Reason::CANCEL), "{ended}");
    assert_eq!(poll_fn(|cx| reply.poll_reset(cx)).await.unwrap(), Reason::CANCEL);

    // One that does not wait for its answer.
    let (response, _) = wire.send(wire.request("GET", "/").body(()).unwrap(), true);
    let (_, mut reply) = wire.asked().await;
    drop(response);
    poll_fn(|cx| reply.poll_reset(cx)).await.unwrap();

    // An origin that breaks off, before and within its answer.
    for begun in [false, true] {
        let (response, _) = wire.send(wire.request("GET", "/").body(()).unwrap(), true);
        let (_, mut reply) = wire.asked().await;
        if begun {
            let mut stream = reply.send_response(ok(), false).unwrap();
            stream.send_data("half".into(), false).unwrap();
            let mut body = response.await.unwrap().into_body();
            assert_eq!(body.data().await.unwrap().unwrap(), "half");
            stream.send_reset(Reason::ENHANCE_YOUR_CALM);
            let ended = body.data().await.unwrap().unwrap_err();
            assert_eq!(ended.reason(), Some(Reason::ENHANCE_YOUR_CALM), "{ended}");
        } else {
            reply.send_reset(Reason::ENHANCE_YOUR_CALM);
            assert_eq!(response.await.unwrap().status(), StatusCode::BAD_GATEWAY);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn both_ways_at_once_and_an_answer_before_the_request_has_ended() {
    const CHUNK: usize = 64 * 1024;
    let mut wire = Wire::new(Rules::default()).await;
    let (response, mut upload) = wire.send(wire.request("POST", "/").body(()).unwrap(), false);
    upload.send_data("first".into(), false).unwrap();
    let (request, mut reply) = wire.asked().await;
    let mut down = reply.send_response(ok(), false).unwrap();
    let mut body = request.into_body();
    assert_eq!(body.data().await.unwrap().unwrap(), "first");
    body.flow_control().release_capacity(5).unwrap();
    let mut received = response.await.unwrap().into_body();
    // More than all windows together hold, in both directions.
    let total = 160 * CHUNK;
    let pour = async |stream: &mut SendStream<Bytes>| {
        let mut left = total;
        while left > 0 {
            stream.reserve_capacity(left.min(CHUNK));
            let room = poll_fn(|cx| stream.poll_capacity(cx)).await.unwrap().unwrap();
            left -= room;
            stream.send_data(vec![7; room].into(), left == 0).unwrap();
        }
    };
    let drain = async |stream: &mut RecvStream| {
        let mut count = 0;
        while let Some(data) = stream.data().await {
            count += data.as_ref().unwrap().len();
            stream.flow_control().release_capacity(data.unwrap().len()).unwrap();
        }
        count
    };
    let ((), (), up, down) = tokio::join!(pour(&mut upload), pour(&mut down), drain(&mut body), drain(&mut received));
    assert_eq!((up, down), (total, total));

    // The answer ends first: the client is told that nobody wants the rest.
    let (response, mut upload) = wire.send(wire.request("POST", "/").body(()).unwrap(), false);
    let (request, reply) = wire.asked().await;
    answer(reply, "enough");
    drop(request);
    assert_eq!(text(response.await.unwrap().into_body()).await.unwrap(), "enough");
    assert_eq!(poll_fn(|cx| upload.poll_reset(cx)).await.unwrap(), Reason::NO_ERROR);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_has_no_body_even_where_it_is_refused() {
    let mut wire = Wire::new(Rules { request: |_, _, _| deny("no"), ..Rules::default() }).await;
    let (response, _) = wire.send(wire.request("HEAD", "/").body(()).unwrap(), true);
    let response = response.await.unwrap();
    assert_eq!(response.status(), StatusCode::FORBIDDEN);
    assert!(response.headers()["content-length"].to_str().unwrap().parse::<u64>().unwrap() > 0);
    assert_eq!(text(response.into_body()).await.unwrap(), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn after_an_origins_goodbye_a_new_connection_is_made() {
    let mut wire = Wire::new(Rules::default()).await;
    for path in ["/first", "/last", "/next"] {
        let (response, _) = wire.send(wire.request("GET", path).body(()).unwrap(), true);
        let (request, reply) = wire.asked().await;
        assert_eq!(request.uri().path(), path);
        answer(reply, "ok");
        assert_eq!(text(response.await.unwrap().into_body()).await.unwrap(), "ok");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn in_the_clear_it_needs_no_upgrade() {
    let world = World::new(Rules::default()).await;
    let tunnel = world.tunnel(HOST, world.plain_port).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(tunnel)).await.unwrap();
    tokio::spawn(connection);
    let url = format!("http://{HOST}:{}/clear", world.plain_port);
    let answer = read(sender.send_request(Request::get(url).body(full("")).unwrap()).await.unwrap()).await;
    assert!(answer.body.starts_with("h2 GET /clear"), "{}", answer.body);
}
