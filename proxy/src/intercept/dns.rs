//! The sandbox's resolver: every name exists, at an address that means it. No query ever leaves.
//!
//! Whether a name may be reached is asked when it is connected to; whether it exists, when the proxy dials it.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use hickory_proto::op::{Message, MessageType, Metadata, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA};
use hickory_proto::rr::{DNSClass, RData, Record, RecordType};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Semaphore;

use super::Names;
use crate::http::canonical_host;

/// Seconds an answer may be kept.
const TTL: u32 = 60;
/// Longest datagram read; queries are far shorter.
const DATAGRAM: usize = 4096;
/// Most TCP connections served at once.
const STREAMS: usize = 64;
/// A TCP connection that says nothing, or reads nothing, for longer is closed.
const IDLE: Duration = Duration::from_secs(10);

/// Answers one DNS message; `None` for what deserves no answer (not a query, or no header).
///
/// `A` gets the name's synthetic address, `AAAA` and every other type an empty answer, malformed messages `FORMERR`.
pub fn answer(message: &[u8], names: &Names) -> Option<Vec<u8>> {
    let id = u16::from_be_bytes(*message.first_chunk::<2>()?);
    // The bit that tells responses from queries.
    if message.len() < 12 || message[2] & 0x80 != 0 {
        return None;
    }
    let response = match Message::from_vec(message) {
        Ok(query) => respond(&query, names),
        Err(_malformed) => Message::error_msg(id, OpCode::Query, ResponseCode::FormErr),
    };
    response.to_vec().ok()
}

fn respond(query: &Message, names: &Names) -> Message {
    let mut response = Message::new(query.metadata.id, MessageType::Response, query.metadata.op_code);
    response.metadata = Metadata::response_from_request(&query.metadata);
    response.metadata.recursion_available = true;
    if query.metadata.op_code != OpCode::Query {
        response.metadata.response_code = ResponseCode::NotImp;
        return response;
    }
    let [question] = query.queries.as_slice() else {
        response.metadata.response_code = ResponseCode::FormErr;
        return response;
    };
    response.add_query(question.clone());
    match host_name(question) {
        Some(name) => {
            if let Some(data) = data(question.query_type(), &name, names) {
                response.add_answer(Record::from_rdata(question.name().clone(), TTL, data));
            }
        }
        None => response.metadata.response_code = ResponseCode::NXDomain,
    }
    response
}

fn data(kind: RecordType, name: &str, names: &Names) -> Option<RData> {
    let local = name == "localhost" || name.ends_with(".localhost");
    match kind {
        RecordType::A if local => Some(RData::A(A(Ipv4Addr::LOCALHOST))),
        RecordType::AAAA if local => Some(RData::AAAA(AAAA(Ipv6Addr::LOCALHOST))),
        RecordType::A => Some(RData::A(A(names.address_of(name)))),
        _ => None,
    }
}

/// The name in lower case without the trailing dot; `None` for names that no host has.
fn host_name(question: &Query) -> Option<String> {
    let label = |label| str::from_utf8(label).ok().filter(|label| !label.contains(['.', ':']));
    let labels = question.name().iter().map(label).collect::<Option<Vec<_>>>()?;
    let known_class = matches!(question.query_class(), DNSClass::IN | DNSClass::ANY);
    // What the proxy would not take for a name does not exist.
    known_class.then(|| canonical_host(&labels.join("."))).flatten()
}

/// Answers over UDP until the socket breaks.
pub async fn serve_udp(socket: UdpSocket, names: Arc<Names>) -> io::Result<()> {
    let mut buffer = [0; DATAGRAM];
    loop {
        let (length, peer) = match socket.recv_from(&mut buffer).await {
            Ok(received) => received,
            // What a closed client port sends back.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => continue,
            Err(error) => return Err(error),
        };
        if let Some(response) = answer(&buffer[..length], &names) {
            // A client that can't be reached any more asks again.
            let _ = socket.send_to(&response, peer).await;
        }
    }
}

/// Answers over TCP until the listener breaks.
pub async fn serve_tcp(listener: TcpListener, names: Arc<Names>) -> io::Result<()> {
    let room = Arc::new(Semaphore::new(STREAMS));
    loop {
        let Ok(permit) = room.clone().acquire_owned().await else { return Ok(()) };
        let (stream, _) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => continue,
            Err(error) => {
                tracing::warn!(%error, "the sandbox's resolver can't accept");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let names = names.clone();
        tokio::spawn(async move {
            let _permit = permit;
            // A client that goes away mid-message has had its answer.
            let _ = converse(stream, &names).await;
        });
    }
}

async fn converse(mut stream: TcpStream, names: &Names) -> io::Result<()> {
    let mut message = Vec::new();
    loop {
        let length = tokio::time::timeout(IDLE, stream.read_u16()).await??;
        message.resize(length.into(), 0);
        tokio::time::timeout(IDLE, stream.read_exact(&mut message)).await??;
        let Some(response) = answer(&message, names) else { return Ok(()) };
        let length = u16::try_from(response.len()).map_err(io::Error::other)?;
        let response = [&length.to_be_bytes(), response.as_slice()].concat();
        tokio::time::timeout(IDLE, stream.write_all(&response)).await??;
    }
}
