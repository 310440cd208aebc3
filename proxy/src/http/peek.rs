//! Tells protocols apart by their first bytes. Lenient on purpose: what resembles HTTP is parsed, strictly, as HTTP, so
//! that a sloppy request can't pass as opaque bytes to an origin that would understand it.

/// What a client's first bytes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    /// A TLS handshake record.
    Tls,
    /// HTTP/1.x, well-formed or not.
    Http1,
    /// HTTP/2's preface, in the clear.
    Http2,
    /// Anything else.
    Other,
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Most blanks before a request or within its line.
const MOST_BLANK: usize = 1024;
/// From so many bytes on that may still become a request line, they are one: as long as servers read.
const LONGEST_LINE: usize = 16 * 1024;

/// `None`: more bytes are needed. What is said of some bytes is said of all that begin with them: in how many pieces they
/// come changes nothing.
pub(super) fn classify(bytes: &[u8]) -> Option<Protocol> {
    let blank = bytes.iter().take_while(|b| **b == b'\n' || is_blank(**b)).count();
    if blank > MOST_BLANK {
        // A request may still follow, and the origin may have skipped the blanks.
        return Some(Protocol::Http1);
    }
    let bytes = &bytes[blank..];
    match bytes {
        [] | [0x16] => return None,
        [0x16, 0x03, ..] => return Some(Protocol::Tls),
        _ if bytes.starts_with(PREFACE) => return Some(Protocol::Http2),
        _ if PREFACE.starts_with(bytes) => return None,
        _ => {}
    }
    let method = bytes.iter().take_while(|b| is_token(**b)).count();
    if method > LONGEST_LINE {
        return Some(Protocol::Http1);
    }
    match bytes.get(method) {
        None => return None,
        Some(b) if method > 0 && is_blank(*b) => {}
        Some(_) => return Some(Protocol::Other),
    }
    if bytes[..method].eq_ignore_ascii_case(b"connect") || bytes[..method].eq_ignore_ascii_case(b"options") {
        return Some(Protocol::Http1);
    }
    let target = &bytes[method..];
    let spaces = target.iter().take_while(|b| is_blank(**b)).count();
    if spaces > MOST_BLANK {
        return Some(Protocol::Http1);
    }
    has_target(&target[spaces..])
}

/// Whether what follows a method is what a request is for: a path, a URI of any scheme, which servers take for `http`, or
/// any word that HTTP's version follows.
fn has_target(rest: &[u8]) -> Option<Protocol> {
    const HIERARCHY: &[u8] = b"://";
    if matches!(rest, [b'/' | b'*' | b'?' | b'%', ..]) {
        return Some(Protocol::Http1);
    }
    // RFC 3986 §3.1.
    let scheme = rest.iter().take_while(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.')).count();
    if rest[scheme..].starts_with(HIERARCHY) {
        return Some(Protocol::Http1);
    }
    let word = rest.iter().take_while(|b| **b != b'\n' && !is_blank(**b)).count();
    if word > LONGEST_LINE {
        return Some(Protocol::Http1);
    }
    let rest = &rest[word..];
    let blank = rest.iter().take_while(|b| is_blank(**b)).count();
    if blank > MOST_BLANK {
        return Some(Protocol::Http1);
    }
    // A word alone is a command of other protocols; of HTTP/0.9 it is a request only where it begins with a slash.
    begins(&rest[blank..], b"HTTP/").map(|http| if http { Protocol::Http1 } else { Protocol::Other })
}

/// Whether bytes begin with these letters, in either case. `None`: more are needed.
fn begins(bytes: &[u8], letters: &[u8]) -> Option<bool> {
    let same = bytes.iter().zip(letters).all(|(byte, letter)| byte.eq_ignore_ascii_case(letter));
    if same && bytes.len() < letters.len() { None } else { Some(same) }
}

/// What some server takes for white space: Python's splits a request line at all of these, read as Latin-1.
fn is_blank(b: u8) -> bool {
    matches!(b, b' ' | b'\t' | b'\r' | 0x0b | 0x0c | 0x1c..=0x1f | 0x85 | 0xa0)
}

/// Whether a server that speaks first speaks HTTP: HTTP/2 begins with SETTINGS on either side (RFC 9113 §3.4), and a server of
/// HTTP/1.1 may answer before it is asked, that it has waited too long. `None`: more bytes are needed.
pub(super) fn greets(bytes: &[u8]) -> Option<bool> {
    /// Length, of which settings take one octet; type; flags; stream (RFC 9113 §4.1).
    const SETTINGS: [Option<u8>; 9] = [Some(0), Some(0), None, Some(4), Some(0), Some(0), Some(0), Some(0), Some(0)];
    const STATUS: &[u8] = b"HTTP/";
    let settings = bytes.iter().zip(SETTINGS).all(|(byte, wanted)| wanted.is_none_or(|wanted| wanted == *byte));
    let status = bytes.iter().zip(STATUS).all(|(byte, wanted)| byte == wanted);
    let enough = bytes.len() >= if settings { SETTINGS.len() } else { STATUS.len() };
    if settings || status { enough.then_some(true) } else { Some(false) }
}

/// RFC 9110 §5.6.2.
fn is_token(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b)
}
