//! Pure parts, as rows.

use http::HeaderMap;
use openshell_policy_host::{HeaderEdit, Scheme};

use crate::http::address::{self, Forbidden};
use crate::http::destination::Destination;
use crate::http::permit::Permit;
use crate::http::{CertificateAuthority, headers, path, peek};

#[test]
fn addresses() {
    let check = |address: &str, granted: &[&str], expected: Result<(), Forbidden>| {
        let granted: Vec<_> = granted.iter().map(|range| range.parse().unwrap()).collect();
        assert_eq!(address::check(address.parse().unwrap(), &granted), expected, "{address} with {granted:?}");
    };
    let refused = Err(Forbidden::NotPublic);
    for public in ["1.1.1.1", "172.15.0.1", "172.32.0.1", "100.128.0.1", "2606:4700::1111", "64:ff9b::1.1.1.1"] {
        check(public, &[], Ok(()));
    }
    for private in [
        "127.0.0.1",
        "127.9.9.9",
        "10.1.2.3",
        "172.16.0.1",
        "172.31.255.255",
        "192.168.1.1",
        "169.254.1.1",
        "100.64.0.1",
        "100.127.255.255",
        "0.0.0.0",
        "0.1.2.3",
        "224.0.0.1",
        "239.1.1.1",
        "240.0.0.1",
        "255.255.255.255",
        "198.18.0.1",
        "192.0.0.8",
        "192.0.2.1",
        "::",
        "::1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "::127.0.0.1",
        "fe80::1",
        "fc00::1",
        "fd12::1",
        "ff02::1",
        "64:ff9b::10.0.0.1",
        "64:ff9b::7f00:1",
        "64:ff9b:1::1",
        "2002:7f00:1::",
        "2002:a00:1::1",
        "2001:db8::1",
        "fec0::1",
        "2001::1",
        "::ffff:0:10.0.0.1",
    ] {
        check(private, &[], refused);
    }
    check("10.1.2.3", &["10.0.0.0/8"], Ok(()));
    check("10.1.2.3", &["10.2.0.0/16"], refused);
    check("::ffff:10.1.2.3", &["10.0.0.0/8"], Ok(()));
    check("::1", &["::1/128"], Ok(()));
    check("::1", &["127.0.0.0/8"], refused);
    for metadata in [
        "169.254.169.254",
        "::ffff:169.254.169.254",
        "64:ff9b::169.254.169.254",
        "169.254.170.2",
        "169.254.170.23",
        "fd00:ec2::254",
        "fd00:ec2::23",
        "fd20:ce::254",
    ] {
        check(metadata, &[], Err(Forbidden::Metadata));
        check(metadata, &["0.0.0.0/0", "::/0", "169.254.0.0/16", "fd00::/8"], Err(Forbidden::Metadata));
    }
    check("169.254.169.254", &["169.254.169.254/32"], Ok(()));
}

#[test]
fn destinations() {
    let check = |given: &str, expected: Option<(&str, Option<u16>)>| {
        let parsed = Destination::parse(given).ok();
        let parsed = parsed.as_ref().map(|destination| (destination.host.as_str(), destination.port));
        assert_eq!(parsed, expected, "{given:?}");
    };
    check("Example.COM:443", Some(("example.com", Some(443))));
    check("example.com.", Some(("example.com", None)));
    check("[::1]:80", Some(("::1", Some(80))));
    check("[2001:DB8::1]", Some(("2001:db8::1", None)));
    check("[::ffff:192.0.2.1]:1", Some(("192.0.2.1", Some(1))));
    check("[::FFFF:c000:201]", Some(("192.0.2.1", None)));
    check("192.0.2.1:1", Some(("192.0.2.1", Some(1))));
    check("_dmarc.example.com", Some(("_dmarc.example.com", None)));
    for refused in [
        "",
        ":80",
        "a:",
        "a:0",
        "a:65536",
        "a:+80",
        "user@a:80",
        "a b:80",
        "a/b",
        "a..b",
        "[::1",
        "[::1]x",
        "[a]:80",
        "::1:80:",
        "127.1:80",
        "2130706433:80",
        "0x7f.0.0.1:80",
        "0x7f000001",
        "a.0x1",
        "exämple.com",
        "a,b",
    ] {
        check(refused, None);
    }
}

#[test]
fn paths() {
    let check = |given: &str, expected: Option<&str>| {
        assert_eq!(path::normalise(given).as_deref(), expected, "{given:?}");
    };
    check("/", Some("/"));
    check("/a/b.c", Some("/a/b.c"));
    check("/a/../b", Some("/b"));
    check("/a/./b/.", Some("/a/b/"));
    check("/../../etc", Some("/etc"));
    check("/a/%2e%2E/b", Some("/b"));
    check("/%61dmin", Some("/admin"));
    check("/a%2fb", Some("/a%2Fb"));
    check("/a%252e", Some("/a%252e"));
    check("/.well-known/x", Some("/.well-known/x"));
    check("/...", Some("/..."));
    check("//a", Some("//a"));
    check("/group%2fproject/x", Some("/group%2Fproject/x"));
    check("/a;v=1/b", Some("/a;v=1/b"));
    check("/..a/%2F.b/c..", Some("/..a/%2F.b/c.."));
    for refused in [
        "",
        "a",
        "*",
        "/%",
        "/%2",
        "/%zz",
        "/a\\b",
        "/a\tb",
        "/a%00",
        "/public/..%2fadmin",
        "/public/%2e%2e%2Fadmin",
        "/public/x%2f..",
        "/public/..%5cadmin",
        "/public/..;/admin",
        "/public/..;x=1%2Fadmin",
        "/a%2F.%2Fb",
    ] {
        check(refused, None);
    }
}

#[test]
fn protocols() {
    use peek::Protocol::{Http1, Http2, Other, Tls};
    let check = |bytes: &[u8], expected: Option<peek::Protocol>| {
        assert_eq!(peek::classify(bytes), expected, "{:?}", String::from_utf8_lossy(bytes));
        // In however many pieces they come: what is decided first is what the whole is. Of many bytes not in every way.
        let lengths = (0..=bytes.len()).filter(|length| bytes.len() < 5000 || length % 100 == 0);
        let first = lengths.chain([bytes.len()]).find_map(|length| peek::classify(&bytes[..length]));
        assert_eq!(first, expected, "in pieces: {:?}", String::from_utf8_lossy(bytes));
    };
    check(b"", None);
    check(b"\x16", None);
    check(b"\x16\x03\x01", Some(Tls));
    check(b"\x16\x01", Some(Other));
    check(b"G", None);
    check(b"GET", None);
    check(b"GET ", None);
    check(b"GET /", Some(Http1));
    check(b"get  /", Some(Http1));
    check(b"\r\n\r\n GET /", Some(Http1));
    check(b"WEIRD-METHOD\t/x", Some(Http1));
    check(b"GET ht", None);
    check(b"GET HTTP://a/", Some(Http1));
    check(b"CONNECT a:1", Some(Http1));
    check(b"PRI * HT", None);
    check(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Some(Http2));
    check(b"PRI * HTTP/1.1\r\n", Some(Http1));
    check(b"*1\r\n$4\r\nPING\r\n", Some(Other));
    check(b"SSH-2.0-x\r\n", Some(Other));
    check(b"PING\r\n", Some(Other));
    check(b"SET key value\r\n", Some(Other));
    check(b"SET key http://a/\r\n", Some(Other));
    check(b"NICK a\r\nUSER b http/ c\r\n", Some(Other));
    check(b"POST x://a/ HTTP/1.1\r\n", Some(Http1));
    check(b"GET coap+tcp://a/\n", Some(Http1));
    check(b"GET x:/", None);
    check(b"GET x:/a b", Some(Other));
    check(b"GET a", None);
    check(b"GET a ht", None);
    check(b"GET a HTTP/1.0\r\n", Some(Http1));
    check(b"BREW a:b\x00/../c\t\thttp/9", Some(Http1));
    check(b"GET a HTTPS", Some(Other));
    check(b"GET a\r\n", Some(Other));
    check(b"GET a b", Some(Other));
    // Syslog that counts its octets (RFC 6587 §3.4.1) says nothing more.
    check(b"83 <34>1 2003-10-11T22:14:15.003Z a su - ID47", Some(Other));
    for blank in [b'\r', 0x0b, 0x0c, 0x1c, 0x85, 0xa0] {
        check(&[b"GET".as_slice(), &[blank], b"/ HTTP/1.1\r\n"].concat(), Some(Http1));
        check(&[&[blank], b"GET / HTTP/1.1\r\n".as_slice()].concat(), Some(Http1));
        check(&[b"PING".as_slice(), &[blank], b"\n"].concat(), Some(Other));
    }
    check(&[b'a'; 65], None);
    check(format!("{} / HTTP/1.1\r\n", "A".repeat(65)).as_bytes(), Some(Http1));
    check(format!("{}\r\n", "A".repeat(65)).as_bytes(), Some(Other));
    check(&[b'a'; 20_000], Some(Http1));
    check(format!("GET {}", "a".repeat(20_000)).as_bytes(), Some(Http1));
    let padded = |before: &str, blanks: &str, after: &str| [before, &blanks.repeat(2000), after].concat().into_bytes();
    check(&padded("", "\n", ""), Some(Http1));
    check(&padded("", "\r\n", "GET / HTTP/1.1\r\n"), Some(Http1));
    check(&padded("", " ", "\x16\x03"), Some(Http1));
    check(&padded("GET", " ", ""), Some(Http1));
    check(&padded("GET", "\t", "/ HTTP/1.1\r\n"), Some(Http1));
    check(&padded("GET", " ", "key"), Some(Http1));
    check(&padded("GET key", " ", "value"), Some(Http1));
    check(b"\x00\x00\x00\x08\x04\xd2\x16\x2f", Some(Other));
}

#[test]
fn greetings() {
    let check = |bytes: &[u8], expected: Option<bool>| {
        let first = (0..=bytes.len()).find_map(|length| peek::greets(&bytes[..length]));
        assert_eq!((peek::greets(bytes), first), (expected, expected), "{bytes:?}");
    };
    check(b"", None);
    check(b"\0\0", None);
    check(b"\0\0\x12\x04\0\0\0\0\0\0\x03", Some(true));
    check(b"\0\0\0\x04\0\0\0\0", None);
    check(b"\0\0\0\x04\x01\0\0\0\0", Some(false));
    check(b"\0\0\x12\x06\0\0\0\0\0", Some(false));
    check(b"HTTP", None);
    check(b"HTTP/1.1 408 Request Timeout\r\n", Some(true));
    check(b"220 mail\r\n", Some(false));
    check(b"\x4a\0\0\0\x0a8.4.0", Some(false));
    check(b"HELO", Some(false));
}

#[test]
fn edits() {
    let check = |edit: HeaderEdit, accepted: bool| {
        let mut map = HeaderMap::new();
        assert_eq!(headers::edit(&mut map, std::slice::from_ref(&edit)).is_ok(), accepted, "{edit:?}");
    };
    let set = |name: &str, value: &str| HeaderEdit::Set(name.to_owned(), value.to_owned());
    check(set("x-team", "a"), true);
    check(HeaderEdit::Remove("cookie".to_owned()), true);
    for name in [
        "host",
        "content-length",
        "Transfer-Encoding",
        "connection",
        "upgrade",
        "te",
        "trailer",
        "x-openshell-policy",
        "proxy-authorization",
        "expect",
        "keep-alive",
        "bad name",
    ] {
        check(set(name, "a"), false);
    }
    check(set("x-team", "a\r\nb: c"), false);
}

#[test]
fn hop_by_hop() {
    let mut map = HeaderMap::new();
    for (name, value) in [
        ("connection", "close, X-Secret, content-length, host"),
        ("x-secret", "1"),
        ("content-length", "3"),
        ("host", "a"),
        ("keep-alive", "5"),
        ("proxy-authorization", "Basic x"),
        ("te", "trailers, deflate"),
        ("upgrade", "h2c"),
        ("expect", "100-continue"),
        ("x-openshell-anything", "1"),
        ("accept", "*/*"),
    ] {
        map.append(name, value.parse().unwrap());
    }
    headers::clean_request(&mut map);
    let mut left: Vec<_> = map.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
    left.sort();
    assert_eq!(left, ["accept: */*", "content-length: 3", "host: a", "te: trailers"]);
}

#[test]
fn operators_permits() {
    let check = |url: &str, expected: Option<(&str, u16, Scheme)>| {
        let permit = Permit::operator(url).ok();
        let found = permit.as_ref().map(|(permit, scheme)| (permit.host(), permit.port(), *scheme));
        assert_eq!(found, expected, "{url}");
    };
    check("https://api.example.com/v1", Some(("api.example.com", 443, Scheme::Https)));
    check("http://127.0.0.1:8080/v1", Some(("127.0.0.1", 8080, Scheme::Http)));
    check("http://[::1]:8080/v1", Some(("::1", 8080, Scheme::Http)));
    check("ftp://a/", None);
    check("/v1", None);
}

#[tokio::test]
async fn suites_that_processors_compute_come_first_and_others_are_taken() {
    use rustls::CipherSuite as Suite;
    let authority = CertificateAuthority::generate("box").unwrap();
    let server = tokio_rustls::TlsAcceptor::from(authority.server_config("a.test").unwrap());
    let mut roots = rustls::RootCertStore::empty();
    roots.add(authority.der().to_vec().into()).unwrap();
    let check = async |offers: fn(Suite) -> bool, version, expected| {
        let mut provider = rustls::crypto::aws_lc_rs::default_provider();
        provider.cipher_suites.retain(|suite| offers(suite.suite()));
        let config = rustls::ClientConfig::builder_with_provider(provider.into())
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(roots.clone())
            .with_no_client_auth();
        let (near, far) = tokio::io::duplex(1 << 14);
        let client = tokio_rustls::TlsConnector::from(std::sync::Arc::new(config));
        let (client, server) = tokio::join!(client.connect("a.test".try_into().unwrap(), near), server.accept(far));
        server.unwrap();
        assert_eq!(client.unwrap().get_ref().1.negotiated_cipher_suite().unwrap().suite(), expected);
    };
    use rustls::version::{TLS12, TLS13};
    check(|_| true, &TLS13, Suite::TLS13_AES_128_GCM_SHA256).await;
    check(|_| true, &TLS12, Suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256).await;
    let other = |suite| suite == Suite::TLS13_CHACHA20_POLY1305_SHA256;
    check(other, &TLS13, Suite::TLS13_CHACHA20_POLY1305_SHA256).await;
}
