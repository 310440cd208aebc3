//! Headers on their way through: what ends here, and what a grant may change.

use http::header::{
    AUTHORIZATION, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, EXPECT, HOST, HeaderName, HeaderValue, PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, Method, Request, Version};
use openshell_policy_host::HeaderEdit;

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");
const RESERVED_PREFIX: &str = "x-openshell-";

/// A header edit that the host does not make.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a policy may not edit the header {name:?}")]
pub struct ForbiddenEdit {
    /// The header.
    pub name: String,
}

/// Removes what concerns one hop only, and what the proxy alone may say (RFC 9110 §7.6.1). `te: trailers` stays.
pub(super) fn strip_hop_by_hop(headers: &mut HeaderMap) {
    if headers.contains_key(CONNECTION) {
        let named: Vec<HeaderName> = headers
            .get_all(CONNECTION)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .filter_map(|token| token.trim().parse().ok())
            .filter(|name| *name != TE && !is_framing(name))
            .collect();
        for name in named {
            headers.remove(name);
        }
        headers.remove(CONNECTION);
    }
    let keeps_trailers = headers.get(TE).is_some_and(|te| {
        te.to_str().is_ok_and(|te| te.split(',').any(|part| part.trim().eq_ignore_ascii_case("trailers")))
    });
    for name in [
        KEEP_ALIVE,
        PROXY_CONNECTION,
        PROXY_AUTHORIZATION,
        PROXY_AUTHENTICATE,
        HTTP2_SETTINGS,
        TE,
        TRANSFER_ENCODING,
        UPGRADE,
    ] {
        headers.remove(name);
    }
    if keeps_trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
}

/// [`strip_hop_by_hop`], and what a workload may not say to an origin in the proxy's name. `Expect` ends here: the
/// proxy answers it itself by reading the body.
pub(super) fn clean_request(headers: &mut HeaderMap) {
    strip_hop_by_hop(headers);
    headers.remove(EXPECT);
    remove_reserved(headers);
}

/// [`strip_hop_by_hop`], and what only the proxy may say to a workload.
pub(super) fn clean_response(headers: &mut HeaderMap) {
    strip_hop_by_hop(headers);
    remove_reserved(headers);
}

/// Event streams and gRPC outlive the verdict that let them in.
pub(super) fn lives_long(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).is_some_and(|kind| {
        let kind = kind.as_bytes();
        kind.starts_with(b"text/event-stream") || kind.starts_with(b"application/grpc")
    })
}

/// Whether it logs in for all requests of its connection (RFC 4559 §6): nobody else's may follow there.
pub(super) fn logs_connection_in(headers: &HeaderMap) -> bool {
    headers.get_all(AUTHORIZATION).iter().any(|value| {
        let scheme = value.as_bytes().split(|b| *b == b' ').next().unwrap_or_default();
        scheme.eq_ignore_ascii_case(b"ntlm") || scheme.eq_ignore_ascii_case(b"negotiate")
    })
}

fn remove_reserved(headers: &mut HeaderMap) {
    if headers.keys().any(|name| name.as_str().starts_with(RESERVED_PREFIX)) {
        let reserved: Vec<HeaderName> =
            headers.keys().filter(|name| name.as_str().starts_with(RESERVED_PREFIX)).cloned().collect();
        for name in reserved {
            headers.remove(name);
        }
    }
}

/// Whether this is a WebSocket's upgrade (RFC 6455 §4.1).
pub(super) fn is_websocket<B>(request: &Request<B>) -> bool {
    let has = |name: HeaderName, token: &str| {
        request
            .headers()
            .get_all(name)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .any(|value| value.split(',').any(|part| part.trim().eq_ignore_ascii_case(token)))
    };
    request.version() == Version::HTTP_11
        && *request.method() == Method::GET
        && has(UPGRADE, "websocket")
        && has(CONNECTION, "upgrade")
}

/// Makes a grant's edits. Refuses, and then makes none, where one concerns framing, one hop, the authority or
/// `x-openshell-*`, or is no header.
pub(super) fn edit(headers: &mut HeaderMap, edits: &[HeaderEdit]) -> Result<(), ForbiddenEdit> {
    let parsed = edits
        .iter()
        .map(|edit| {
            let (name, value) = match edit {
                HeaderEdit::Set(name, value) => (name, Some(value)),
                HeaderEdit::Remove(name) => (name, None),
            };
            let forbidden = || ForbiddenEdit { name: name.clone() };
            let parsed: HeaderName = name.parse().map_err(|_| forbidden())?;
            if !may_edit(&parsed) {
                return Err(forbidden());
            }
            let value = value.map(HeaderValue::try_from).transpose().map_err(|_| forbidden())?;
            Ok((parsed, value))
        })
        .collect::<Result<Vec<_>, _>>()?;
    for (name, value) in parsed {
        match value {
            Some(value) => drop(headers.insert(name, value)),
            None => drop(headers.remove(name)),
        }
    }
    Ok(())
}

pub(super) fn may_edit(name: &HeaderName) -> bool {
    const HOP: [HeaderName; 10] = [
        CONNECTION,
        KEEP_ALIVE,
        PROXY_CONNECTION,
        PROXY_AUTHORIZATION,
        PROXY_AUTHENTICATE,
        TE,
        UPGRADE,
        EXPECT,
        HOST,
        HTTP2_SETTINGS,
    ];
    !is_framing(name) && !HOP.contains(name) && !name.as_str().starts_with(RESERVED_PREFIX)
}

fn is_framing(name: &HeaderName) -> bool {
    *name == CONTENT_LENGTH || *name == TRANSFER_ENCODING || *name == TRAILER || *name == HOST
}
