use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use hickory_proto::op::{Message, MessageType, OpCode, Query};
use hickory_proto::rr::{Name, RecordType};

use super::addresses::{Destination, is_home, is_proxy};
use super::{Callers, Names, answer, intended};
use crate::caller::{Attribute as _, Attribution};

fn ask(names: &Names, name: &str, kind: RecordType) -> String {
    let mut query = Message::new(7, MessageType::Query, OpCode::Query);
    let labels = name.split_terminator('.').filter(|label| !label.is_empty());
    query.add_query(Query::query(Name::from_labels(labels.map(str::as_bytes)).unwrap(), kind));
    let response = answer(&query.to_vec().unwrap(), names).unwrap();
    let response = Message::from_vec(&response).unwrap();
    assert_eq!(response.metadata.id, 7);
    let answers: Vec<_> = response.answers.iter().map(|record| record.data.to_string()).collect();
    format!("{} {}", response.metadata.response_code, answers.join(" ")).trim().into()
}

#[test]
fn names_resolve_to_addresses_that_mean_them() {
    let names = Names::default();
    let rows = [
        ("Api.Example.com.", RecordType::A, "No Error 198.18.0.1"),
        ("inference.local.", RecordType::A, "No Error 198.18.0.2"),
        ("api.example.com.", RecordType::A, "No Error 198.18.0.1"),
        ("api.example.com.", RecordType::AAAA, "No Error"),
        ("api.example.com.", RecordType::HTTPS, "No Error"),
        ("localhost.", RecordType::A, "No Error 127.0.0.1"),
        ("localhost.", RecordType::AAAA, "No Error ::1"),
        ("_srv.under-score.test.", RecordType::A, "No Error 198.18.0.3"),
        ("sp ace.test.", RecordType::A, "Non-Existent Domain"),
        (".", RecordType::A, "Non-Existent Domain"),
        ("a.123.", RecordType::A, "Non-Existent Domain"),
        ("a.0x1.", RecordType::A, "Non-Existent Domain"),
    ];
    for (name, kind, expected) in rows {
        assert_eq!(ask(&names, name, kind), expected, "{name} {kind}");
    }
    let meant = |address: &str| {
        let intended = intended(&names, address.parse().unwrap());
        format!("{}:{}", intended.host, intended.port)
    };
    assert_eq!(meant("198.18.0.1:443"), "api.example.com:443");
    assert_eq!(meant("[::ffff:198.18.0.2]:80"), "inference.local:80");
    assert_eq!(meant("198.18.0.9:443"), "198.18.0.9:443");
    assert_eq!(meant("93.184.215.14:443"), "93.184.215.14:443");
    assert_eq!(meant("[2001:db8::1]:443"), "2001:db8::1:443");
}

#[test]
fn connections_that_never_arrive_are_bounded() {
    let callers = Callers::new(2);
    let address = |port| SocketAddr::from(([127, 0, 0, 1], port));
    let begin = |port: u16| {
        let connecting = callers.begin(port.into())?;
        let socket = std::os::fd::OwnedFd::from(std::fs::File::open("/dev/null").unwrap()).into();
        connecting.made(address(port), socket, Attribution { caller: Arc::default(), intended: None });
        Ok(())
    };
    assert_eq!([begin(1), begin(2), begin(3)], [Ok(()), Ok(()), Err(libc::EAGAIN)]);
    callers.forget(address(1));
    assert_eq!([begin(4), begin(5)], [Ok(()), Err(libc::EAGAIN)]);
    let held = callers.begin(4).err();
    assert_eq!(held, Some(libc::EAGAIN));
}

#[test]
fn broken_messages() {
    let names = Names::default();
    let mut junk = vec![0, 9, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 63];
    let response = Message::from_vec(&answer(&junk, &names).unwrap()).unwrap();
    assert_eq!(response.metadata.response_code.to_string(), "Form Error");
    assert_eq!(response.metadata.id, 9);
    junk[2] |= 0x80;
    assert!(answer(&junk, &names).is_none(), "a response is never answered");
    assert!(answer(&[0, 9, 1], &names).is_none());
}

#[test]
fn the_oldest_name_is_forgotten() {
    let names = Names::with_capacity(2);
    let first = names.address_of("a");
    assert_eq!(names.address_of("a"), first);
    names.address_of("b");
    assert_eq!(names.address_of("c"), first);
    let meant = |address| names.name_of(IpAddr::V4(address)).map(|name| name.to_string());
    assert_eq!(meant(first), Some("c".into()));
    assert_ne!(names.address_of("a"), first);
}

proptest::proptest! {
    #[test]
    fn any_message_is_answered_or_ignored(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..512)) {
        answer(&bytes, &Names::with_capacity(4));
        Destination::parse(&bytes);
    }
}

fn inet(family: i32, parts: &[&[u8]]) -> Vec<u8> {
    let mut bytes = (family as u16).to_ne_bytes().to_vec();
    parts.iter().for_each(|part| bytes.extend_from_slice(part));
    bytes
}

#[test]
fn addresses() {
    let parse = |bytes: &[u8]| match Destination::parse(bytes) {
        Destination::Inet(address) => address.to_string(),
        other => format!("{other:?}"),
    };
    let v4 = inet(libc::AF_INET, &[&[1, 187], &[192, 0, 2, 1], &[0; 8]]);
    let v6 = inet(libc::AF_INET6, &[&[1, 187], &[0; 4], &[0; 15], &[1], &[0; 4]]);
    assert_eq!(parse(&v4), "192.0.2.1:443");
    assert_eq!(parse(&v4[..15]), "Malformed");
    assert_eq!(parse(&v6), "[::1]:443");
    assert_eq!(parse(&v6[..24]), "[::1]:443");
    assert_eq!(parse(&v6[..23]), "Malformed");
    assert_eq!(parse(&inet(libc::AF_UNIX, &[b"/run/x\0"])), "Local");
    assert_eq!(parse(&inet(libc::AF_UNSPEC, &[])), "Local");
    assert_eq!(parse(&[1]), "Malformed");
}

#[test]
fn home_and_proxy() {
    let rows = [
        ("127.0.0.1:3128", true, true),
        ("0.0.0.0:3128", true, true),
        ("[::1]:3128", true, true),
        ("[::]:3128", true, true),
        ("[::ffff:127.0.0.1]:3128", true, true),
        ("127.0.0.2:3128", true, false),
        ("127.0.0.1:80", true, false),
        ("192.0.0.8:80", true, false),
        ("198.18.0.1:3128", false, false),
        ("169.254.169.254:80", false, false),
        ("[fe80::1]:80", false, false),
    ];
    for (address, home, proxy) in rows {
        let address: SocketAddr = address.parse().unwrap();
        assert_eq!((is_home(address.ip()), is_proxy(address, 3128)), (home, proxy), "{address}");
    }
}
