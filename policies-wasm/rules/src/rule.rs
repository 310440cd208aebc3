//! Which HTTP requests a rule speaks of.

use openshell_policy_sdk::HttpRequest;

use crate::fault::Fault;
use crate::glob::Glob;
use crate::operation::OPERATION_KEYS;
use crate::reader::{At, Fields, entries, text};
use crate::yaml::{Node, Value};

/// Methods in use, by RFC 9110 and the IANA registry. `CONNECT` opens tunnels and is never a request to judge.
const METHODS: &[&str] = &[
    "*",
    "GET",
    "HEAD",
    "POST",
    "PUT",
    "PATCH",
    "DELETE",
    "OPTIONS",
    "TRACE",
    "ACL",
    "BASELINE-CONTROL",
    "BIND",
    "CHECKIN",
    "CHECKOUT",
    "COPY",
    "LABEL",
    "LINK",
    "LOCK",
    "MERGE",
    "MKACTIVITY",
    "MKCALENDAR",
    "MKCOL",
    "MKREDIRECTREF",
    "MKWORKSPACE",
    "MOVE",
    "ORDERPATCH",
    "PROPFIND",
    "PROPPATCH",
    "PURGE",
    "QUERY",
    "REBIND",
    "REPORT",
    "SEARCH",
    "UNBIND",
    "UNCHECKOUT",
    "UNLINK",
    "UNLOCK",
    "UPDATE",
    "UPDATEREDIRECTREF",
    "VERSION-CONTROL",
];

/// A method, a path and query parameters; what is absent is any.
#[derive(Debug, Clone)]
pub(crate) struct Matcher {
    /// `None`: any.
    method: Option<String>,
    path: Glob,
    query: Vec<Parameter>,
}

/// A named parameter and the values it may have.
#[derive(Debug, Clone)]
pub(crate) struct Parameter {
    name: String,
    values: Vec<Glob>,
}

/// Which requests a set of parameters speaks of, when one is given twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Repeated {
    /// Each must match: nothing may slip into an allow behind a value that matches.
    Each,
    /// One is enough: nothing may slip past a deny behind a value that doesn't match.
    One,
}

impl Matcher {
    pub(crate) fn parse(node: &Node, what: &'static str) -> Result<Self, Fault> {
        if let Value::Map(entries) = &node.value {
            for (key, _) in entries {
                if let Value::Scalar { text, .. } = &key.value
                    && OPERATION_KEYS.contains(&text.as_str())
                {
                    let message =
                        format!("`{text}` can't be enforced: protocol `rest` does not read operations in bodies");
                    let fault = Fault::at(key.place, message);
                    return Err(fault.hint("use `protocol: graphql`, `json-rpc` or `mcp`, which do"));
                }
            }
        }
        let fields = Fields::of(node, what, &["method", "path", "query"])?;
        let method = fields.string("method")?.map(|method| parse_method(&method)).transpose()?.flatten();
        let path = fields.string("path")?.map_or(Ok(Glob::Any), |path| parse_path(&path))?;
        let query = fields.get("query").map_or(Ok(Vec::new()), parse_parameters)?;
        if fields.get("method").is_none() && fields.get("path").is_none() && query.is_empty() {
            let fault = Fault::at(fields.place, format!("{what} says nothing: it would match every request"));
            return Err(fault.hint("if that is meant, write `method: \"*\"`"));
        }
        Ok(Self { method, path, query })
    }

    /// `GET` speaks of `HEAD` too, which is a GET without its body.
    pub(crate) fn matches(&self, request: &HttpRequest, repeated: Repeated) -> bool {
        let method = match self.method.as_deref() {
            None => true,
            Some("GET") => matches!(request.method.as_str(), "GET" | "HEAD"),
            Some(method) => method == request.method,
        };
        method && self.path.matches(&request.path) && self.query.iter().all(|p| p.matches(request, repeated))
    }
}

impl Parameter {
    fn matches(&self, request: &HttpRequest, repeated: Repeated) -> bool {
        let values = request.query_pairs().filter(|(name, _)| decode(name) == self.name);
        self.accepts(values.map(|(_, value)| decode(value)), repeated)
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Whether the values it was given are those it may have. A parameter that was not given has none of them.
    pub(crate) fn accepts(&self, given: impl Iterator<Item = impl AsRef<str>>, repeated: Repeated) -> bool {
        let mut given = given.peekable();
        let accepted = |value: &str| self.values.iter().any(|glob| glob.matches(value));
        match repeated {
            Repeated::Each => given.peek().is_some() && given.all(|value| accepted(value.as_ref())),
            Repeated::One => given.any(|value| accepted(value.as_ref())),
        }
    }
}

/// `None`: any method.
fn parse_method(method: &At<String>) -> Result<Option<String>, Fault> {
    let upper = method.value.to_ascii_uppercase();
    if upper == "CONNECT" {
        let fault = method.fault("a rule for CONNECT can never match: a tunnel is a connection, not a request");
        return Err(fault.hint("an endpoint without `protocol` allows the connection"));
    }
    if !METHODS.contains(&upper.as_str()) {
        let fault = method.fault(format!("`{}` is not an HTTP method, so this can never match", method.value));
        return Err(fault.did_you_mean(&upper, &METHODS[..9]));
    }
    Ok((upper != "*").then_some(upper))
}

pub(crate) fn parse_path(path: &At<String>) -> Result<Glob, Fault> {
    let text = path.value.as_str();
    if text.contains('?') {
        let fault = path.fault("a path ends before its `?`, so this can never match");
        return Err(fault.hint("match query parameters with `query: { name: value }`"));
    }
    let glob = Glob::parse(path)?;
    let never = |why: &str, hint: &str| path.fault(format!("{why}, so this can never match")).hint(hint);
    if !text.starts_with('/') && !text.starts_with("**") {
        return Err(never("a path begins with `/`", &format!("write `/{text}`")));
    }
    if text.contains('#') {
        return Err(never("a fragment is never sent", "end the path before `#`"));
    }
    if text.split('/').any(|segment| segment == "." || segment == "..") || text.contains("//") {
        let why = "paths are judged without dot segments, and without empty ones too";
        return Err(never(why, "leave out `.`, `..` and empty segments"));
    }
    if let Some(plain) = encoded_unreserved(text) {
        return Err(never("paths are percent-decoded before they are judged", &format!("write `{plain}` as it is")));
    }
    Ok(glob)
}

/// A letter, digit, `-`, `.`, `_` or `~` that is written percent-encoded (RFC 3986, section 2.3).
fn encoded_unreserved(text: &str) -> Option<char> {
    text.split('%').skip(1).find_map(|rest| {
        let byte = u8::from_str_radix(rest.get(..2)?, 16).ok()?;
        (byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)).then_some(char::from(byte))
    })
}

/// `name: value`, `name: { glob: value }` or `name: { any: [value, …] }`.
pub(crate) fn parse_parameters(node: &Node) -> Result<Vec<Parameter>, Fault> {
    let mut parameters = Vec::new();
    for (key, value) in entries(node, "a set of parameters")? {
        let name = text(key, "a parameter")?.value;
        let globs = if let Value::Map(_) = value.value {
            let fields = Fields::of(value, "a parameter", &["glob", "any"])?;
            let mut globs = fields.strings("any")?;
            globs.extend(fields.string("glob")?);
            globs
        } else {
            vec![text(value, &name)?]
        };
        if globs.is_empty() {
            return Err(Fault::at(value.place, format!("`{name}` lists no value, so this can never match")));
        }
        parameters.push(Parameter { name, values: globs.iter().map(Glob::parse).collect::<Result<_, _>>()? });
    }
    Ok(parameters)
}

/// Percent-decoding as in forms. What is not UTF-8 becomes replacement characters.
pub(crate) fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = |at: usize| bytes.get(at).and_then(|byte| char::from(*byte).to_digit(16));
        match (bytes[at], hex(at + 1), hex(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                decoded.push((high * 16 + low) as u8);
                at += 2;
            }
            (b'+', ..) => decoded.push(b' '),
            (byte, ..) => decoded.push(byte),
        }
        at += 1;
    }
    String::from_utf8_lossy(&decoded).into_owned()
}
