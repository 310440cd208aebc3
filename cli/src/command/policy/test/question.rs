//! Questions written as one line, as in the SDK's examples: `GET https://api.test/x by /usr/bin/curl`,
//! `connect api.test:443`.

use openshell_policy_host::{Capture, Connection, HttpRequest, Process, Scheme};

/// What a policy is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// Who, and where to.
    pub connection: Connection,
    /// Absent: the question is about the connection.
    pub request: Option<HttpRequest>,
}

impl Question {
    /// Reads a line. Refuses what is neither form, in words that show both.
    pub fn parse(line: &str) -> Result<Self, String> {
        parse(line).ok_or_else(|| {
            format!(
                "{line:?} is neither `METHOD http(s)://host[:port]/path [by /executable]` nor `connect host:port [by /executable]`"
            )
        })
    }
}

fn parse(line: &str) -> Option<Question> {
    let (question, executable) = line.split_once(" by ").unwrap_or((line, ""));
    let (verb, target) = question.trim().split_once(' ')?;
    if verb == "connect" {
        let (host, port) = target.rsplit_once(':')?;
        return Some(Question { connection: connection(host, port.parse().ok()?, executable)?, request: None });
    }
    if verb.is_empty() || !verb.bytes().all(|b| b.is_ascii_alphabetic() || b == b'-') {
        return None;
    }
    let (scheme, default_port, rest) = match target.split_once("://")? {
        ("https", rest) => (Scheme::Https, 443, rest),
        ("http", rest) => (Scheme::Http, 80, rest),
        _ => return None,
    };
    let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port.parse().ok()?),
        _ => (authority, default_port),
    };
    let (path, query) = match path.split_once('?') {
        Some((path, query)) => (path, Some(query.to_owned())),
        None => (path, None),
    };
    let path = if path.is_empty() { "/" } else { path };
    let request = HttpRequest { method: verb.to_ascii_uppercase(), scheme, path: path.to_owned(), query };
    Some(Question { connection: connection(host, port, executable)?, request: Some(request) })
}

fn connection(host: &str, port: u16, executable: &str) -> Option<Connection> {
    let host = host.trim_matches(['[', ']']).to_ascii_lowercase();
    if host.is_empty() || host.contains(char::is_whitespace) {
        return None;
    }
    Some(Connection {
        sandbox: "example".to_owned(),
        process: Process { executable: executable.trim().to_owned(), digest: String::new(), script: None },
        host,
        port,
        capture: Capture::Transparent,
    })
}
