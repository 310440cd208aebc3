//! Addresses of mailboxes and machines.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::Hit;
use crate::text::{Cues, before, continues, ends, is_word, near, run, short_run, starts};

/// Last labels that are file names rather than domains: `logo@2x.png`.
const FILE_ENDINGS: &[&str] = &[
    "png", "jpg", "jpeg", "gif", "svg", "webp", "css", "js", "ts", "tsx", "jsx", "json", "html", "rs", "py", "go",
    "md", "local",
];

const VERSIONS: Cues = Cues::new(&["version", "ver", "release", "v", "build", "section", "chapter", "oid"]);

/// The mail address around the `@` at `at`: a local part and a domain with a top-level label of letters.
pub fn email(text: &[u8], at: usize) -> Option<Hit<'static>> {
    let local = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'%' | b'+' | b'-' | b'\'') || b >= 0x80;
    let mut start = at - text[..at].iter().rev().take_while(|&&b| local(b)).count();
    start = run(text, start, |b| matches!(b, b'.' | b'\'' | b'-' | b'%' | b'+'));
    if start >= at || text[at - 1] == b'.' || &text[start..at] == b"git" {
        return None;
    }
    // `scheme://user@host` is a URL, `scheme://user:password@host` a connection string.
    if text[..start].ends_with(b"//") {
        return None;
    }
    if before(text, start) == Some(b':') && text[..start].iter().rev().take(40).any(|&b| b == b'/') {
        return None;
    }
    let domain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-') || b >= 0x80;
    let mut end = run(text, at + 1, domain);
    while end > at + 1 && matches!(text[end - 1], b'.' | b'-') {
        end -= 1;
    }
    let host = &text[at + 1..end];
    let mut labels = host.split(|&b| b == b'.');
    let last = labels.next_back()?;
    let well_formed = host.len() >= 4
        && host.contains(&b'.')
        && host.split(|&b| b == b'.').all(|label| !label.is_empty() && label[0] != b'-')
        && (2..=24).contains(&last.len())
        && last.iter().all(|b| b.is_ascii_alphabetic() || *b >= 0x80)
        && !FILE_ENDINGS.iter().any(|f| last.eq_ignore_ascii_case(f.as_bytes()));
    (well_formed && start < at).then_some(Hit { kind: "email", start, end })
}

/// An IPv4 address at the digit `at` that can name one machine: not a version, mask, loopback or broadcast.
pub fn ipv4(text: &[u8], at: usize) -> Option<Hit<'static>> {
    let first = short_run(text, at, 4, |b| b.is_ascii_digit());
    if text.get(first) != Some(&b'.') || first - at > 3 {
        return None;
    }
    if !starts(text, at)
        || matches!(before(text, at), Some(b'.' | b'-' | b'=' | b'~' | b'^' | b'_')) && !assigned(text, at)
    {
        return None;
    }
    let end = run(text, at, |b| b.is_ascii_digit() || b == b'.');
    let end = if text[end - 1] == b'.' { end - 1 } else { end };
    if end - at < 7 || !ends(text, end) || text.get(end) == Some(&b'-') {
        return None;
    }
    let address: Ipv4Addr = std::str::from_utf8(&text[at..end]).ok()?.parse().ok()?;
    let [a, _, _, d] = address.octets();
    let nobody = a == 0
        || a == 127
        || a >= 224
        || address.is_broadcast()
        || (a == 255)
        || (d == 0 && address.octets()[1..] == [0, 0, 0]);
    let version = near(text, at, 16, &VERSIONS);
    (!nobody && !version).then_some(Hit { kind: "ip_address", start: at, end })
}

/// `ip=10.1.2.3` is an address; `package==1.2.3.4` is a version.
fn assigned(text: &[u8], at: usize) -> bool {
    before(text, at) == Some(b'=') && at >= 2 && text[at - 2] != b'='
}

/// The IPv6 or MAC address whose first group ends at the colon (or hyphen) `at`.
pub fn colons(text: &[u8], at: usize) -> Option<Hit<'static>> {
    let group = text[..at].iter().rev().take(5).take_while(|b| b.is_ascii_hexdigit()).count();
    let start = at - group;
    if group > 4 || before(text, start).is_some_and(|b| is_word(b) || matches!(b, b':' | b'-' | b'.' | b'_')) {
        return None;
    }
    mac(text, start).or_else(|| ipv6(text, start))
}

fn mac(text: &[u8], start: usize) -> Option<Hit<'static>> {
    let part = text.get(start..start + 17)?;
    let separator = part[2];
    let shaped = matches!(separator, b':' | b'-')
        && part.iter().enumerate().all(|(i, b)| if i % 3 == 2 { *b == separator } else { b.is_ascii_hexdigit() });
    let end = start + 17;
    let alone = ends(text, end) && text.get(end) != Some(&separator);
    let one_value = part.iter().filter(|b| b.is_ascii_hexdigit()).all(|b| b.eq_ignore_ascii_case(&part[0]));
    (shaped && alone && !one_value).then_some(Hit { kind: "mac_address", start, end })
}

fn ipv6(text: &[u8], start: usize) -> Option<Hit<'static>> {
    let mut end = run(text, start, |b| b.is_ascii_hexdigit() || b == b':');
    if end > start && text[end - 1] == b':' && !text[..end].ends_with(b"::") {
        end -= 1;
    }
    let part = &text[start..end];
    if part.len() < 7 || !ends(text, end) || part.split(|&b| b == b':').filter(|g| !g.is_empty()).count() < 3 {
        return None;
    }
    let address: Ipv6Addr = std::str::from_utf8(part).ok()?.parse().ok()?;
    (!address.is_loopback() && !address.is_multicast()).then_some(Hit { kind: "ip_address", start, end })
}

/// Credentials in a URL: `scheme://user:password@host`. `at` is the colon of `://`.
pub fn url_credentials(text: &[u8], at: usize) -> Option<Hit<'static>> {
    if !continues(text, at, "://") {
        return None;
    }
    let scheme = text[..at]
        .iter()
        .rev()
        .take(24)
        .take_while(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'))
        .count();
    let authority = at + 3;
    let stop = run(text, authority, |b| {
        !b.is_ascii_whitespace() && !matches!(b, b'/' | b'"' | b'\'' | b'<' | b'>' | b'`' | b'\\' | b'?' | b'#')
    });
    let sign = text[authority..stop].iter().rposition(|&b| b == b'@')? + authority;
    let colon = text[authority..sign].iter().position(|&b| b == b':')? + authority;
    let password = &text[colon + 1..sign];
    let host = run(text, sign + 1, |b| is_word(b) || matches!(b, b'.' | b'-' | b'_'));
    let real = scheme > 0 && !password.is_empty() && host > sign + 1 && !super::assign::is_placeholder(password);
    real.then_some(Hit { kind: "connection_string", start: at - scheme, end: host })
}
