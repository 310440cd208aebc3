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
const LONGEST_METHOD: usize = 64;
const MOST_BLANK: usize = 1024;

/// `None`: more bytes are needed. What is said of some bytes is said of all that begin with them: in how many pieces they
/// come changes nothing.
pub(super) fn classify(bytes: &[u8]) -> Option<Protocol> {
    let blank = bytes.iter().take_while(|b| matches!(b, b'\r' | b'\n' | b' ' | b'\t')).count();
    if blank > MOST_BLANK {
        // A request may still follow, and the origin may have skipped the blanks.
        return Some(Protocol::Http1);
    }
    let bytes = &bytes[blank..];
    match bytes {
        [] => return None,
        [0x16] => return None,
        [0x16, 0x03, ..] => return Some(Protocol::Tls),
        _ if bytes.starts_with(PREFACE) => return Some(Protocol::Http2),
        _ if PREFACE.starts_with(bytes) => return None,
        _ => {}
    }
    let method = bytes.iter().take_while(|b| is_token(**b)).count();
    if method == 0 || method > LONGEST_METHOD {
        return Some(Protocol::Other);
    }
    match bytes.get(method) {
        None => return None,
        Some(b' ' | b'\t') => {}
        Some(_) => return Some(Protocol::Other),
    }
    if bytes[..method].eq_ignore_ascii_case(b"connect") || bytes[..method].eq_ignore_ascii_case(b"options") {
        return Some(Protocol::Http1);
    }
    let target = &bytes[method..];
    let spaces = target.iter().take_while(|b| matches!(b, b' ' | b'\t')).count();
    if spaces > MOST_BLANK {
        return Some(Protocol::Http1);
    }
    match &target[spaces..] {
        [] => None,
        [b'/' | b'*' | b'?' | b'%', ..] => Some(Protocol::Http1),
        rest => {
            let scheme = &rest[..rest.len().min(4)];
            if scheme.eq_ignore_ascii_case(b"http") {
                Some(Protocol::Http1)
            } else if b"http"[..scheme.len()].eq_ignore_ascii_case(scheme) {
                None
            } else {
                Some(Protocol::Other)
            }
        }
    }
}

/// RFC 9110 §5.6.2.
fn is_token(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b)
}
