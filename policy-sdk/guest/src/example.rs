//! Questions written as one line.

use crate::{Capture, Connection, Example, Expectation, HttpRequest, Process, Scheme};

/// Examples are written as one line:
///
/// - `GET https://api.test/items?page=2` asks the `request` hook,
/// - `connect api.test:443` asks the `connect` hook,
/// - either may end in ` by /usr/bin/curl`, the calling executable.
///
/// ```
/// use openshell_policy_sdk::Example;
///
/// let example = Example::deny("POST https://api.test/items by /usr/bin/curl");
/// assert_eq!(example.connection.process.executable, "/usr/bin/curl");
/// ```
///
/// # Panics
///
/// On a line that is none of these; in a policy that refuses the binding, with the line in the message.
impl Example {
    /// A question that this policy alone allows.
    #[must_use]
    pub fn allow(line: impl AsRef<str>) -> Self {
        parse(line.as_ref()).expecting(Expectation::Allow)
    }

    /// A question that this policy denies.
    #[must_use]
    pub fn deny(line: impl AsRef<str>) -> Self {
        parse(line.as_ref()).expecting(Expectation::Deny)
    }

    /// A question this policy has no opinion on.
    #[must_use]
    pub fn abstain(line: impl AsRef<str>) -> Self {
        parse(line.as_ref()).expecting(Expectation::Abstain)
    }
}

/// A parsed line.
#[derive(Debug, Clone)]
pub(crate) struct Question {
    pub(crate) connection: Connection,
    pub(crate) request: Option<HttpRequest>,
}

impl Question {
    fn expecting(self, expect: Expectation) -> Example {
        Example { connection: self.connection, request: self.request, expect }
    }
}

pub(crate) fn parse(line: &str) -> Question {
    try_parse(line).unwrap_or_else(|| {
        panic!("`{line}` is not `METHOD http(s)://host[:port]/path [by /executable]` or `connect host:port [by …]`")
    })
}

fn try_parse(line: &str) -> Option<Question> {
    let (line, executable) = match line.split_once(" by ") {
        Some((line, executable)) => (line, executable),
        None => (line, ""),
    };
    let (verb, target) = line.trim().split_once(' ')?;
    if verb == "connect" {
        let (host, port) = target.rsplit_once(':')?;
        return Some(Question { connection: connection(host, port.parse().ok()?, executable), request: None });
    }
    let (scheme, rest) = match target.split_once("://")? {
        ("https", rest) => (Scheme::Https, rest),
        ("http", rest) => (Scheme::Http, rest),
        _ => return None,
    };
    let split = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(split);
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port.parse().ok()?),
        _ => (authority, if scheme == Scheme::Https { 443 } else { 80 }),
    };
    let (path, query) = match path.split_once('?') {
        Some((path, query)) => (path, Some(query.to_owned())),
        None => (path, None),
    };
    let path = if path.is_empty() { "/" } else { path };
    let request = HttpRequest { method: verb.to_ascii_uppercase(), scheme, path: path.to_owned(), query };
    Some(Question { connection: connection(host, port, executable), request: Some(request) })
}

fn connection(host: &str, port: u16, executable: &str) -> Connection {
    Connection {
        sandbox: "example".to_owned(),
        process: Process { executable: executable.trim().to_owned(), digest: String::new(), script: None },
        host: host.trim_matches(['[', ']']).to_ascii_lowercase(),
        port,
        capture: Capture::Tunnel,
    }
}
