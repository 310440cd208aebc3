//! Origins of HTTP/2 that did nothing of a request, and say so: as those do that end a connection after so many requests.

use std::collections::HashMap;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http::{Request, StatusCode};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::http2::{connect, text};
use super::world::{HOST, Rules, World};

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
/// `:status: 200`, as HPACK has it in its static table.
const OK: [u8; 1] = [0x88];
const NO_ERROR: u32 = 0;
const REFUSED_STREAM: u32 = 7;
const ENHANCE_YOUR_CALM: u32 = 11;

/// How the second request of all is not taken, once so many bytes of its body have come.
#[derive(Clone, Copy)]
struct Refusal {
    kind: u8,
    code: u32,
    after: usize,
    /// The last stream that a GOAWAY says was taken.
    last: u32,
}

async fn write(stream: &mut TcpStream, kind: u8, flags: u8, id: u32, payload: &[u8]) -> std::io::Result<()> {
    let mut frame = u32::try_from(payload.len()).unwrap().to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(id.to_be_bytes());
    frame.extend(payload);
    stream.write_all(&frame).await
}

/// Answers with the body that it gets, whole requests only.
async fn serve(mut stream: TcpStream, requests: Arc<AtomicUsize>, refusal: Refusal) -> std::io::Result<()> {
    stream.read_exact(&mut [0; 24]).await?;
    write(&mut stream, SETTINGS, 0, 0, &[]).await?;
    let mut bodies: HashMap<u32, Vec<u8>> = HashMap::new();
    let mut unwanted = None;
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let (kind, flags) = (head[3], head[4]);
        let id = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        let mut payload = vec![0; length as usize];
        stream.read_exact(&mut payload).await?;
        match kind {
            HEADERS => {
                bodies.insert(id, Vec::new());
                if requests.fetch_add(1, Ordering::SeqCst) == 1 {
                    unwanted = Some(id);
                }
            }
            DATA => {
                bodies.entry(id).or_default().extend(&payload);
                for id in [0, id] {
                    write(&mut stream, WINDOW_UPDATE, 0, id, &length.max(1).to_be_bytes()).await?;
                }
            }
            SETTINGS if flags == 0 => write(&mut stream, SETTINGS, 1, 0, &[]).await?,
            _ => continue,
        }
        if unwanted == Some(id) {
            if bodies[&id].len() >= refusal.after {
                let code = refusal.code.to_be_bytes();
                match refusal.kind {
                    GOAWAY => write(&mut stream, GOAWAY, 0, 0, &[refusal.last.to_be_bytes(), code].concat()).await?,
                    _ => write(&mut stream, RST_STREAM, 0, id, &code).await?,
                }
                unwanted = Some(0);
            }
        } else if flags & END_STREAM != 0 && matches!(kind, HEADERS | DATA) && bodies.contains_key(&id) {
            write(&mut stream, HEADERS, END_HEADERS, id, &OK).await?;
            write(&mut stream, DATA, END_STREAM, id, &bodies[&id]).await?;
        }
    }
}

/// An origin that serves each connection so, and the number of requests, which what serves them counts.
pub(super) async fn counting<F>(
    serve: impl Fn(TcpStream, Arc<AtomicUsize>) -> F + Send + 'static,
) -> (u16, Arc<AtomicUsize>)
where
    F: Future<Output = std::io::Result<()>> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let seen = Arc::new(AtomicUsize::new(0));
    let requests = Arc::clone(&seen);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, Arc::clone(&requests)));
        }
    });
    (port, seen)
}

/// Sends `first` and `second` as a second request's body; what comes back, and how many requests the origin saw.
async fn ask(refusal: Refusal, first: &'static [u8], second: &'static [u8]) -> (StatusCode, String, usize) {
    let world = World::new(Rules::default()).await;
    let (port, seen) = counting(move |stream, requests| serve(stream, requests, refusal)).await;
    let mut client = connect(&world, port).await;
    let url = format!("http://{HOST}:{port}/");
    let (response, _) = client.send_request(Request::get(&url).body(()).unwrap(), true).unwrap();
    assert_eq!(text(response.await.unwrap().into_body()).await.unwrap(), "");
    let mut client = client.ready().await.unwrap();
    if first.is_empty() {
        let (response, _) = client.send_request(Request::get(&url).body(()).unwrap(), true).unwrap();
        let response = response.await.unwrap();
        let status = response.status();
        return (status, text(response.into_body()).await.unwrap(), seen.load(Ordering::SeqCst));
    }
    let (response, mut upload) = client.send_request(Request::post(&url).body(()).unwrap(), false).unwrap();
    let pour = async {
        let mut left = Bytes::from_static(first);
        while !left.is_empty() {
            upload.reserve_capacity(left.len());
            let Some(Ok(room)) = poll_fn(|cx| upload.poll_capacity(cx)).await else { return };
            upload.send_data(left.split_to(room.min(left.len())), false).unwrap();
        }
        // Until it was refused, and is asked for anew.
        while seen.load(Ordering::SeqCst) < 3 {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
        upload.send_data(second.into(), true).unwrap();
    };
    let response = tokio::select! {
        response = response => response.unwrap(),
        response = async { pour.await; std::future::pending().await } => response,
    };
    let status = response.status();
    (status, text(response.into_body()).await.unwrap(), seen.load(Ordering::SeqCst))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_origin_did_nothing_of_is_sent_again() {
    let goodbye = Refusal { kind: GOAWAY, code: NO_ERROR, after: 0, last: 1 };
    let angry = Refusal { code: ENHANCE_YOUR_CALM, ..goodbye };
    let refused = Refusal { kind: RST_STREAM, code: REFUSED_STREAM, ..goodbye };
    for refusal in [goodbye, angry, refused] {
        assert_eq!(ask(refusal, b"", b"").await, (StatusCode::OK, String::new(), 3));
        for after in [0, 5] {
            let answer = ask(Refusal { after, ..refusal }, b"first", b" second").await;
            assert_eq!(answer, (StatusCode::OK, "first second".to_owned(), 3));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_it_may_have_done_something_of_is_not() {
    let cut = Refusal { kind: RST_STREAM, code: ENHANCE_YOUR_CALM, after: 0, last: 1 };
    let (status, _, requests) = ask(cut, b"", b"").await;
    assert_eq!((status, requests), (StatusCode::BAD_GATEWAY, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_long_to_be_kept_is_not() {
    const LONG: &[u8] = &[b'x'; (1 << 20) + 1];
    let refused = Refusal { kind: RST_STREAM, code: REFUSED_STREAM, after: LONG.len(), last: 1 };
    let (status, _, requests) = ask(refused, LONG, b"").await;
    assert_eq!((status, requests), (StatusCode::BAD_GATEWAY, 2));
}
