//! Requests from end to end.

use std::sync::atomic::Ordering;

use http::{Request, StatusCode};
use openshell_api::decision::{Stage, Verdict};
use openshell_policy_host::{Capture, HeaderEdit, HttpResponse, Inspection, Outcome, View};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::world::{Answer, HOST, Io, Rules, SECRET, World, allow, deny, full, get, grant, hinting, next, send_h1};
use crate::caller::Intended;

fn json(body: &str) -> serde_json::Value {
    serde_json::from_str(body).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_allowed_request_passes_and_is_recorded() {
    let world = World::new(Rules::default()).await;
    let answer = world.h1(get(&world, "/a?b=c")).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert!(answer.body.starts_with("h1 GET /a?b=c auth=-"), "{}", answer.body);
    assert!(!answer.headers.contains_key("x-openshell-policy"), "an origin may not forge it");
    world.until(|records| records.len() == 2).await;
    let records = world.records();
    let summary: Vec<_> = records.iter().map(|r| (r.stage, r.verdict, r.path.as_deref(), r.status)).collect();
    assert_eq!(
        summary,
        [(Stage::Connect, Verdict::Allow, None, None), (Stage::Request, Verdict::Allow, Some("/a"), Some(200)),]
    );
    assert_eq!(records[1].policy.as_deref(), Some("test@1.0.0"));
    assert_eq!(records[1].process.executable, "/usr/bin/curl");
}

#[tokio::test(flavor = "multi_thread")]
async fn http2_passes_on_both_sides_with_trailers() {
    let world = World::new(Rules::default()).await;
    let answer = world.h2(Request::get(world.url("/x")).body(full("")).unwrap()).await;
    assert!(answer.body.starts_with("h2 GET /x"), "{}", answer.body);
    let body = http_body_util::StreamBody::new(futures_util::stream::iter([
        Ok::<_, crate::inference::BoxError>(hyper::body::Frame::data("abc".into())),
        Ok(hyper::body::Frame::trailers([("x-sum".parse().unwrap(), "6".parse().unwrap())].into_iter().collect())),
    ]));
    let echo = Request::post(world.url("/echo")).body(crate::inference::Body::new(body)).unwrap();
    let answer = world.h2(echo).await;
    assert_eq!((answer.body.as_str(), &answer.trailers.unwrap()["x-sum"]), ("abc", &"6".parse().unwrap()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_denied_request_gets_its_reason() {
    let rules = Rules {
        request: |_, request, _| match request.method.as_str() {
            "GET" => allow(Inspection::Automatic),
            _ => deny("only GET"),
        },
        ..Rules::default()
    };
    let world = World::new(rules).await;
    let mut request = get(&world, "/a");
    *request.method_mut() = http::Method::POST;
    let answer = world.h1(request).await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
    assert_eq!(answer.headers["x-openshell-policy"], "test@1.0.0");
    let body = json(&answer.body);
    world.until(|records| records.len() == 2).await;
    let record = &world.records()[1];
    assert_eq!(
        body,
        serde_json::json!({
            "error": "policy_denied", "detail": "only GET", "layer": "request", "policy": "test@1.0.0",
            "digest": "sha256:00", "generation": 1, "rule": "no", "hint": "ask", "decision": record.id,
            "ask": "http://policy.local/v1/proposals",
        })
    );
    assert_eq!(
        (record.verdict, record.status, record.error.as_deref()),
        (Verdict::Deny, Some(403), Some("policy_denied"))
    );

    let mut request = Request::post(world.url("/svc/Method")).body(full("")).unwrap();
    request.headers_mut().insert("content-type", "application/grpc".parse().unwrap());
    let answer = world.h2(request).await;
    assert_eq!((answer.status, &answer.headers["grpc-status"]), (StatusCode::OK, &"7".parse().unwrap()));
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_at_connect() {
    async fn check(connect: fn(&openshell_policy_host::Connection) -> Outcome, error: &str, detail: &str) {
        let world = World::new(Rules { connect, ..Rules::default() }).await;
        let text = world.tunnel("nowhere.invalid", 443).await.unwrap_err();
        assert!(text.starts_with("HTTP/1.1 403"), "{text}");
        let body = json(text.split_once("\r\n\r\n").unwrap().1);
        assert_eq!(body["error"], error);
        assert!(body["detail"].as_str().unwrap().contains(detail), "{body}");
    }
    check(|_| Outcome::Unanswered, "policy_denied", "no policy allows /usr/bin/curl to reach nowhere.invalid:443")
        .await;
    check(|_| deny("not today"), "policy_denied", "not today").await;
    check(|_| Outcome::Conflict("two credentials".to_owned()), "policy_failed", "two credentials").await;
    check(
        |_| {
            Outcome::Allow(openshell_policy_host::Grant {
                private_ranges: vec!["10/8".to_owned()],
                ..grant(Inspection::Opaque)
            })
        },
        "policy_failed",
        "10/8",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_caller_is_refused() {
    let world = World::new(Rules::default()).await;
    world.known.unknown.store(true, Ordering::Relaxed);
    let text = world.tunnel(HOST, world.tls_port).await.unwrap_err();
    assert!(text.contains("caller_unknown"), "{text}");
    let text = world.tunnel("inference.local", 443).await.unwrap_err();
    assert!(text.contains("caller_unknown"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn absolute_form_is_judged_per_request() {
    let rules = Rules {
        connect: |connection| {
            assert_eq!(connection.capture, Capture::Forward);
            if connection.host == HOST { allow(Inspection::Automatic) } else { deny("elsewhere") }
        },
        ..Rules::default()
    };
    let world = World::new(rules).await;
    let stream = world.raw().await;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(hyper_util::rt::TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    for (host, expected) in [(HOST, 200), ("other.test", 403), (HOST, 200)] {
        let authority = format!("{host}:{}", world.plain_port);
        let request = Request::get(format!("http://{authority}/f")).header("host", &authority);
        let answer = next(&mut sender, request.body(full("")).unwrap()).await;
        assert_eq!(answer.status, expected, "{host}: {}", answer.body);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn transparent_connections_are_terminated_and_refused_inside() {
    let world = World::new(Rules::default()).await;
    *world.known.intended.lock().unwrap() = Some(Intended { host: HOST.to_owned(), port: world.tls_port });
    let io = world.tls(world.raw().await, HOST, &["http/1.1"]).await.unwrap();
    assert_eq!(send_h1(io, get(&world, "/t")).await.status, StatusCode::OK);

    world.enforce(Rules { generation: 2, connect: |_| Outcome::Unanswered, ..Rules::default() });
    let io = world.tls(world.raw().await, HOST, &["http/1.1"]).await.unwrap();
    let answer = send_h1(io, get(&world, "/t")).await;
    assert_eq!((answer.status, json(&answer.body)["layer"].as_str()), (StatusCode::FORBIDDEN, Some("connect")));

    *world.known.intended.lock().unwrap() = Some(Intended { host: HOST.to_owned(), port: world.plain_port });
    let request = Request::get("/").header("host", format!("{HOST}:{}", world.plain_port)).body(full("")).unwrap();
    let io: Io = Box::new(world.raw().await);
    assert_eq!(send_h1(io, request).await.status, StatusCode::FORBIDDEN);
}

#[tokio::test(flavor = "multi_thread")]
async fn names_must_agree() {
    let world = World::new(Rules::default()).await;
    let tunnel = world.tunnel(HOST, world.tls_port).await.unwrap();
    let io = world.tls(tunnel, "other.test", &["http/1.1"]).await.unwrap();
    let answer = send_h1(io, get(&world, "/")).await;
    assert_eq!(
        (answer.status, json(&answer.body)["error"].as_str()),
        (StatusCode::FORBIDDEN, Some("request_authority_mismatch"))
    );

    for (host, expected) in [
        (HOST.to_owned(), 200),
        (format!("{}.", HOST.to_uppercase()), 200),
        ("other.test".to_owned(), 403),
        (format!("{HOST}:1"), 403),
        (format!("user@{HOST}"), 400),
    ] {
        let request = Request::get("/").header("host", &host).body(full("")).unwrap();
        assert_eq!(world.h1(request).await.status, expected, "{host}");
    }
    let request = Request::get("https://other.test/").body(full("")).unwrap();
    assert_eq!(world.h2(request).await.status, StatusCode::FORBIDDEN);
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_and_edits_are_the_hosts_to_make() {
    fn with(credential: &str) -> Outcome {
        let headers = vec![HeaderEdit::Set("x-added".to_owned(), "yes".to_owned())];
        Outcome::Allow(openshell_policy_host::Grant {
            credential: Some(credential.to_owned()),
            headers,
            ..grant(Inspection::Automatic)
        })
    }
    let rules = Rules { request: |_, request, _| with(&request.path[1..]), ..Rules::default() };
    let world = World::new(rules).await;
    let ask = async |name: &str| -> Answer {
        let mut request = get(&world, &format!("/{name}"));
        request.headers_mut().insert("authorization", "Bearer workload".parse().unwrap());
        request.headers_mut().insert("x-openshell-spoof", "1".parse().unwrap());
        world.h1(request).await
    };
    let answer = ask("key").await;
    assert!(answer.body.contains(&format!("auth=Bearer {SECRET} added=yes spoofed=-")), "{}", answer.body);
    for name in ["unknown", "elsewhere", "absent"] {
        let answer = ask(name).await;
        assert_eq!(json(&answer.body)["error"], "credential_refused", "{name}: {}", answer.body);
    }
    let records = serde_json::to_string(&world.records()).unwrap();
    assert!(!records.contains(SECRET) && records.contains(r#""credential":"key""#));
}

#[tokio::test(flavor = "multi_thread")]
async fn policies_see_bodies_up_to_the_cap() {
    let rules = Rules {
        request: |_, _, view| match view.body() {
            Some(body) if body.starts_with(b"good") => allow(Inspection::Automatic),
            Some(_) => deny("bad body"),
            None => deny("unseen body"),
        },
        body_cap: 8,
        ..Rules::default()
    };
    let world = World::new(rules).await;
    for (body, expected) in [("good", "good"), ("evil", "bad body"), ("good but long", "unseen body")] {
        let mut request = get(&world, "/echo");
        *request.method_mut() = http::Method::POST;
        *request.body_mut() = full(body);
        let answer = world.h1(request).await;
        assert!(answer.body.contains(expected), "{body}: {}", answer.body);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_nobody_asks_for_is_not_waited_for() {
    let rules = Rules {
        request: |_, _, view| match view.body() {
            None => allow(Inspection::Automatic),
            Some(_) => deny("seen"),
        },
        body_cap: 8,
        body_wanted: |request| request.path != "/echo",
        ..Rules::default()
    };
    let world = World::new(rules).await;
    let mut request = get(&world, "/echo");
    *request.method_mut() = http::Method::POST;
    *request.body_mut() = full("short");
    assert_eq!(world.h1(request).await.body, "short", "short enough to be seen, and not looked at");
    let mut request = get(&world, "/other");
    *request.method_mut() = http::Method::POST;
    *request.body_mut() = full("short");
    assert_eq!(json(&world.h1(request).await.body)["detail"], "seen");
}

#[tokio::test(flavor = "multi_thread")]
async fn responses_are_judged() {
    let rules = Rules {
        response: Some(|response, view| match view.header("content-type") {
            Some(kind) if kind == "text/event-stream" => deny("no streams"),
            _ => {
                assert_eq!(response.status, 200);
                let headers = vec![HeaderEdit::Set("x-seen".to_owned(), "1".to_owned())];
                Outcome::Allow(openshell_policy_host::Grant { headers, ..grant(Inspection::Automatic) })
            }
        }),
        ..Rules::default()
    };
    let world = World::new(rules).await;
    assert_eq!(world.h1(get(&world, "/")).await.headers["x-seen"], "1");
    let answer = world.h1(get(&world, "/events")).await;
    assert_eq!((answer.status, json(&answer.body)["layer"].as_str()), (StatusCode::FORBIDDEN, Some("response")));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_host_refuses_to_dial() {
    let rules = Rules {
        connect: |_| {
            Outcome::Allow(openshell_policy_host::Grant { private_ranges: Vec::new(), ..grant(Inspection::Automatic) })
        },
        ..Rules::default()
    };
    let world = World::new(rules).await;
    let answer = world.h1(get(&world, "/")).await;
    assert_eq!((answer.status, json(&answer.body)["error"].as_str()), (StatusCode::FORBIDDEN, Some("ssrf_denied")));
    world.until(|records| records.iter().any(|r| r.stage == Stage::Dial && r.verdict == Verdict::Deny)).await;

    let world = World::new(Rules::default()).await;
    let forward = async |authority: String| {
        let io: Io = Box::new(world.raw().await);
        let request = Request::get(format!("http://{authority}/")).header("host", authority).body(full("")).unwrap();
        send_h1(io, request).await
    };
    let answer = forward("metadata.test".to_owned()).await;
    assert_eq!(json(&answer.body)["error"], "ssrf_denied", "{}", answer.body);
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let answer = forward(format!("{HOST}:{closed}")).await;
    assert_eq!(
        (answer.status, json(&answer.body)["error"].as_str()),
        (StatusCode::BAD_GATEWAY, Some("upstream_unreachable"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_certificate_must_verify() {
    let world = World::new(Rules::default()).await;
    let tunnel = world.tunnel("other.test", world.tls_port).await.unwrap();
    let io = world.tls(tunnel, "other.test", &["http/1.1"]).await.unwrap();
    let request = Request::get("/").header("host", "other.test").body(full("")).unwrap();
    let answer = send_h1(io, request).await;
    assert_eq!((answer.status, json(&answer.body)["error"].as_str()), (StatusCode::BAD_GATEWAY, Some("upstream_tls")));
}

#[tokio::test(flavor = "multi_thread")]
async fn inference_is_served_before_any_policy() {
    let world = World::new(Rules { connect: |_| deny("nothing"), ..Rules::default() }).await;
    let tunnel = world.tunnel("inference.local", 443).await.unwrap();
    let io = world.tls(tunnel, "inference.local", &["http/1.1"]).await.unwrap();
    let request = Request::get("/v1/models").header("host", "inference.local").body(full("")).unwrap();
    let answer = send_h1(io, request).await;
    assert_eq!(answer.body, "inference /v1/models for /usr/bin/curl");
    let io: Io = Box::new(world.raw().await);
    let request = Request::get("http://inference.local/v1/models").header("host", "inference.local");
    assert_eq!(send_h1(io, request.body(full("")).unwrap()).await.status, StatusCode::OK);

    let world = World::with(Rules::default(), |config| super::super::ProxyConfig { inference: None, ..config }).await;
    let io: Io = Box::new(world.raw().await);
    let request = Request::get("http://inference.local/v1/models").header("host", "inference.local");
    let answer = send_h1(io, request.body(full("")).unwrap()).await;
    assert_eq!(json(&answer.body)["error"], "inference_unavailable");
}

#[tokio::test(flavor = "multi_thread")]
async fn policy_local_is_answered_here_on_every_port_and_never_dialled() {
    // Policies that allow everything, and a real server behind the name: it must never be reached.
    let local = std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
    let hosts = std::collections::BTreeMap::from([("policy.local".to_owned(), local)]);
    let upstreams = crate::http::Upstreams::new(hosts, None).unwrap();
    let allowing = Rules { connect: |_| allow(Inspection::Opaque), ..Rules::default() };
    let world = World::with(allowing, |config| super::super::ProxyConfig { upstreams, ..config }).await;
    for port in [80, 443, world.plain_port] {
        let authority = if port == 80 { "policy.local".to_owned() } else { format!("policy.local:{port}") };
        let io: Io = Box::new(world.raw().await);
        let request = Request::get(format!("http://{authority}/v1/denials")).header("host", &authority);
        let answer = send_h1(io, request.body(full("")).unwrap()).await;
        assert_eq!(answer.body, "policy /v1/denials for /usr/bin/curl", "{port}");

        *world.known.intended.lock().unwrap() = Some(Intended { host: "Policy.Local.".to_owned(), port });
        let request = Request::get("/v1/denials").header("host", &authority).body(full("")).unwrap();
        let answer = send_h1(Box::new(world.raw().await), request).await;
        assert_eq!(answer.body, "policy /v1/denials for /usr/bin/curl", "{port}");
        *world.known.intended.lock().unwrap() = None;
    }
    let tunnel = world.tunnel("policy.local", 443).await.unwrap();
    let io = world.tls(tunnel, "policy.local", &["http/1.1"]).await.unwrap();
    let request = Request::get("/x").header("host", "policy.local").body(full("")).unwrap();
    assert_eq!(send_h1(io, request).await.body, "policy /x for /usr/bin/curl");

    // Another name inside, and a program that nobody knows.
    let tunnel = world.tunnel("policy.local", world.plain_port).await.unwrap();
    let request = Request::get("/").header("host", HOST).body(full("")).unwrap();
    assert_eq!(json(&send_h1(Box::new(tunnel), request).await.body)["error"], "request_authority_mismatch");
    world.known.unknown.store(true, Ordering::Relaxed);
    let request = Request::get("http://policy.local/v1/denials").header("host", "policy.local").body(full("")).unwrap();
    assert_eq!(json(&send_h1(Box::new(world.raw().await), request).await.body)["error"], "caller_unknown");
}

#[tokio::test(flavor = "multi_thread")]
async fn upstream_connections_are_reused_and_replaced() {
    let world = World::new(Rules::default()).await;
    let io = world.inspected(&["http/1.1"]).await;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(hyper_util::rt::TokioIo::new(io)).await.unwrap();
    tokio::spawn(connection);
    let mut peers = Vec::new();
    for path in ["/", "/big", "/", "/echo", "/"] {
        let answer = next(&mut sender, get(&world, path)).await;
        assert_eq!(answer.status, StatusCode::OK);
        peers.extend(answer.body.split_once("peer=").map(|(_, peer)| peer.to_owned()));
    }
    assert_eq!(peers.len(), 3);
    assert!(peers.iter().all(|peer| *peer == peers[0]), "{peers:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn opaque_grants_relay_bytes_and_half_closes() {
    let world = World::new(Rules { connect: |_| allow(Inspection::Opaque), ..Rules::default() }).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut all = Vec::new();
        stream.read_to_end(&mut all).await.unwrap();
        all.reverse();
        stream.write_all(&all).await.unwrap();
    });
    let mut tunnel = world.tunnel(HOST, port).await.unwrap();
    tunnel.write_all(b"GET / abc").await.unwrap();
    tunnel.shutdown().await.unwrap();
    let mut all = Vec::new();
    tunnel.read_to_end(&mut all).await.unwrap();
    assert_eq!(all, b"cba / TEG");
}

#[tokio::test(flavor = "multi_thread")]
async fn pipelined_requests_are_answered_in_order_and_half_closed_clients_get_their_answer() {
    let world = World::new(Rules::default()).await;
    let mut io = world.inspected(&["http/1.1"]).await;
    let request =
        |path: &str, rest: &str| format!("GET {path} HTTP/1.1\r\nHost: {HOST}:{}\r\n{rest}\r\n", world.tls_port);
    let pipelined = ["/1", "/2", "/3"].map(|path| request(path, "")).concat() + &request("/4", "Connection: close\r\n");
    io.write_all(pipelined.as_bytes()).await.unwrap();
    let mut text = String::new();
    io.read_to_string(&mut text).await.unwrap();
    let answered: Vec<_> = text.match_indices("h1 GET /").map(|(at, _)| &text[at + 7..at + 9]).collect();
    assert_eq!(answered, ["/1", "/2", "/3", "/4"], "{text}");

    // In the clear: a client that has said all it will say, and closes its side at once.
    let mut stream = world.raw().await;
    let head = format!("GET http://{HOST}:{}/half HTTP/1.1\r\nHost: {HOST}:{0}\r\n\r\n", world.plain_port);
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    assert!(text.contains("h1 GET /half"), "{text:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn early_hints_come_before_the_answer_unless_a_policy_judges_answers() {
    for (watched, expected) in [(false, "103 Early Hints"), (true, "200 OK")] {
        let response =
            watched.then_some((|_, _| allow(Inspection::Automatic)) as fn(&HttpResponse, &dyn View) -> Outcome);
        let world = World::new(Rules { response, ..Rules::default() }).await;
        let (port, answer) = hinting(None).await;
        let mut io = world.tunnel(HOST, port).await.unwrap();
        let head = format!("GET /hinted HTTP/1.1\r\nHost: {HOST}:{port}\r\n\r\n");
        io.write_all(head.as_bytes()).await.unwrap();
        let mut text = String::new();
        if !watched {
            // The hint is here although the answer is not.
            while !text.ends_with("\r\n\r\n") {
                text.push(io.read_u8().await.unwrap().into());
            }
            assert_eq!(text, "HTTP/1.1 103 Early Hints\r\nlink: </a.css>; rel=preload\r\n\r\n");
        }
        answer.send(()).unwrap();
        while !text.ends_with("ok") {
            text.push(io.read_u8().await.unwrap().into());
        }
        assert!(text.starts_with(&format!("HTTP/1.1 {expected}\r\n")), "{text}");
        assert_eq!(text.matches("HTTP/1.1 200 OK").count(), 1, "{text}");
    }
}
