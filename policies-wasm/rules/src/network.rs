//! `network_policies`: who may reach which endpoints, and what may be asked there.

use openshell_policy_sdk::{HttpRequest, Process};

use crate::fault::Fault;
use crate::glob::Glob;
use crate::reader::{At, Fields, entries, port, text};
use crate::rule::{Matcher, Repeated, parse_path};
use crate::yaml::Node;

/// One entry of `network_policies`: each of its binaries may reach each of its endpoints.
#[derive(Debug, Clone)]
pub(crate) struct Network {
    pub(crate) key: String,
    pub(crate) endpoints: Vec<Endpoint>,
    binaries: Vec<Glob>,
}

#[derive(Debug, Clone)]
pub(crate) struct Endpoint {
    pub(crate) host: Host,
    pub(crate) ports: Vec<u16>,
    /// Absent: any path.
    path: Option<Glob>,
    pub(crate) level: Level,
    pub(crate) audit: bool,
    pub(crate) access: Option<Access>,
    rules: Vec<Matcher>,
    deny_rules: Vec<Matcher>,
    pub(crate) private_ranges: Vec<String>,
    pub(crate) credential: Option<String>,
}

/// A host as written: exact, `*.suffix` (one label) or `**.suffix` (one or more).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Host {
    Exact(String),
    OneLabel(String),
    Labels(String),
}

/// What is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Level {
    /// The connection; its bytes pass opaque.
    Opaque,
    /// The connection; HTTP within it passes, inspected where it can be.
    Connection,
    /// Each HTTP request.
    Request,
}

/// Presets of methods.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    ReadOnly,
    ReadWrite,
    Full,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Protocol {
    Rest,
    Tcp,
    /// Rules of it speak of operations in bodies, which this version does not read.
    Body,
}

const ENDPOINT_KEYS: &[&str] = &[
    "host",
    "port",
    "ports",
    "path",
    "protocol",
    "tls",
    "enforcement",
    "access",
    "rules",
    "deny_rules",
    "allowed_ips",
    "credential",
];

pub(crate) fn parse(node: &Node) -> Result<Vec<Network>, Fault> {
    let networks = entries(node, "`network_policies`")?;
    networks.iter().map(|(key, value)| Network::parse(text(key, "network_policies")?.value, value)).collect()
}

impl Network {
    fn parse(key: String, node: &Node) -> Result<Self, Fault> {
        let fields = Fields::of(node, "a network policy", &["name", "endpoints", "binaries"])?;
        fields.string("name")?;
        let endpoints = fields.list("endpoints")?;
        if endpoints.is_empty() {
            return Err(Fault::at(fields.place, format!("`{key}` lists no endpoints, so it can never match")));
        }
        let mut binaries = Vec::new();
        for binary in fields.list("binaries")? {
            let path = Fields::of(binary, "a binary", &["path"])?;
            let path = text(path.require("path")?, "path")?;
            if !path.value.starts_with('/') && path.value != "**" {
                let fault = path.fault("executables have absolute paths, so this can never match");
                return Err(fault.hint(format!("write `/usr/bin/{0}`, or `/**/{0}` for any directory", path.value)));
            }
            binaries.push(Glob::parse(&path)?);
        }
        if binaries.is_empty() {
            let fault = Fault::at(fields.place, format!("`{key}` lists no binaries, so it can never match"));
            return Err(fault.hint("for every program write `binaries: [{ path: \"/**\" }]`"));
        }
        Ok(Self { key, endpoints: endpoints.iter().map(Endpoint::parse).collect::<Result<_, _>>()?, binaries })
    }

    pub(crate) fn lists(&self, process: &Process) -> bool {
        self.binaries.iter().any(|glob| glob.matches(&process.executable))
    }
}

impl Endpoint {
    fn parse(node: &Node) -> Result<Self, Fault> {
        let fields = Fields::of(node, "an endpoint", ENDPOINT_KEYS)?;
        let host = Host::parse(&text(fields.require("host")?, "host")?)?;
        let mut ports = fields.get("port").map(port).transpose()?.into_iter().collect::<Vec<_>>();
        for item in fields.list("ports")? {
            ports.push(port(item)?);
        }
        if ports.is_empty() {
            return Err(
                Fault::at(fields.place, "the endpoint names no port, so it can never match").hint("add `port: 443`")
            );
        }
        let protocol = protocol(&fields)?;
        let skip = fields.choice("tls", &[("skip", ())])?;
        let skips = skip.is_some();
        let level = match protocol {
            Some(Protocol::Rest) if skips => {
                let place = skip.map_or(fields.place, |skip| skip.place);
                let fault = Fault::at(place, "requests can't be judged where TLS is skipped");
                return Err(fault.hint("leave out `tls: skip`, or leave out `protocol` and its rules"));
            }
            Some(Protocol::Rest) => Level::Request,
            Some(Protocol::Tcp) => Level::Opaque,
            Some(Protocol::Body) | None if skips => Level::Opaque,
            Some(Protocol::Body) | None => Level::Connection,
        };
        if level != Level::Request {
            refuse_request_keys(&fields)?;
        }
        let endpoint = Self {
            host,
            ports,
            path: fields.string("path")?.map(|path| parse_path(&path)).transpose()?,
            level,
            audit: fields.choice("enforcement", &[("enforce", false), ("audit", true)])?.is_some_and(|at| at.value),
            access: fields.choice("access", &Access::WORDS)?.map(|access| access.value),
            rules: rules(&fields)?,
            deny_rules: matchers(&fields, "deny_rules", "a deny rule")?,
            private_ranges: ranges(&fields)?,
            credential: credential(&fields)?,
        };
        if level == Level::Request && endpoint.access.is_none() && endpoint.rules.is_empty() {
            let fault = Fault::at(fields.place, "the endpoint allows no request: it has neither `access` nor `rules`");
            return Err(fault.hint("add `access: read-only`, or `rules`"));
        }
        if let (Some(_), Some(place)) = (endpoint.access, fields.get("rules").and(fields.key_place("rules")))
            && endpoint.access == Some(Access::Full)
        {
            let fault = Fault::at(place, "with `access: full` these rules change nothing");
            return Err(fault.hint("leave out `access`, or leave out `rules`"));
        }
        Ok(endpoint)
    }

    /// Whether this endpoint has a say on the path.
    pub(crate) fn covers(&self, path: &str) -> bool {
        self.path.as_ref().is_none_or(|glob| glob.matches(path))
    }

    /// The index of the deny rule that speaks of the request.
    pub(crate) fn denying(&self, request: &HttpRequest) -> Option<usize> {
        self.deny_rules.iter().position(|rule| rule.matches(request, Repeated::One))
    }

    pub(crate) fn allows(&self, request: &HttpRequest) -> bool {
        self.level != Level::Request
            || self.access.is_some_and(|access| access.allows(&request.method))
            || self.rules.iter().any(|rule| rule.matches(request, Repeated::Each))
    }
}

impl Access {
    const WORDS: [(&'static str, Self); 3] =
        [("read-only", Self::ReadOnly), ("read-write", Self::ReadWrite), ("full", Self::Full)];

    pub(crate) fn allows(self, method: &str) -> bool {
        match self {
            Self::ReadOnly => matches!(method, "GET" | "HEAD" | "OPTIONS"),
            Self::ReadWrite => matches!(method, "GET" | "HEAD" | "OPTIONS" | "POST" | "PUT" | "PATCH"),
            Self::Full => true,
        }
    }
}

impl Host {
    fn parse(host: &At<String>) -> Result<Self, Fault> {
        let lower = host.value.to_ascii_lowercase();
        if lower.contains("://") || lower.contains('/') {
            return Err(host
                .fault("a host is a name, not a URL")
                .hint("write only the name; `path` has a key of its own"));
        }
        if matches!(lower.as_str(), "inference.local" | "policy.local") {
            let fault = host.fault(format!("`{lower}` is answered by the sandbox itself, so this can never match"));
            return Err(fault.hint("leave it out: it needs no network policy"));
        }
        let bare = lower.trim_start_matches('[').trim_end_matches(']');
        if bare.parse::<std::net::IpAddr>().is_ok() {
            return Ok(Self::Exact(bare.to_owned()));
        }
        if lower.contains(':') {
            return Err(host.fault("a host has no port").hint("write the port as `port`"));
        }
        let (wrap, name): (fn(String) -> Self, &str) = match (lower.strip_prefix("**."), lower.strip_prefix("*.")) {
            (Some(suffix), _) => (Self::Labels, suffix),
            (None, Some(suffix)) => (Self::OneLabel, suffix),
            (None, None) => (Self::Exact, lower.as_str()),
        };
        if name.contains('*') || name.is_empty() {
            let fault = host.fault(format!("`{}` is no host pattern", host.value));
            return Err(fault.hint("hosts are exact, `*.x` (one label) or `**.x` (one or more)"));
        }
        let label = |label: &str| {
            let known = label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
            known && !label.is_empty() && label.len() <= 63
        };
        if !name.split('.').all(label) {
            let fault = host.fault(format!("`{}` is no host name, so this can never match", host.value));
            return Err(fault.hint("names outside ASCII are written in their `xn--` form; none ends in a dot"));
        }
        Ok(wrap(name.to_owned()))
    }
}

fn protocol(fields: &Fields<'_>) -> Result<Option<Protocol>, Fault> {
    let words = [
        ("rest", Protocol::Rest),
        ("websocket", Protocol::Rest),
        ("tcp", Protocol::Tcp),
        ("graphql", Protocol::Body),
        ("json-rpc", Protocol::Body),
        ("mcp", Protocol::Body),
    ];
    match fields.choice("protocol", &words)? {
        Some(At { value: Protocol::Body, place }) => {
            let name = fields.string("protocol")?.map(|name| name.value).unwrap_or_default();
            let fault =
                Fault::at(place, format!("protocol `{name}` can't be enforced: this version does not read its bodies"));
            Err(fault.hint("use `protocol: rest` with a rule for its method and path"))
        }
        other => Ok(other.map(|at| at.value)),
    }
}

/// Keys that speak of requests need a protocol that has them judged.
fn refuse_request_keys(fields: &Fields<'_>) -> Result<(), Fault> {
    for key in ["access", "rules", "deny_rules", "path", "credential"] {
        if let (Some(_), Some(place)) = (fields.get(key), fields.key_place(key)) {
            let fault = Fault::at(place, format!("`{key}` can't be enforced: only the connection is judged here"));
            return Err(fault.hint("add `protocol: rest`"));
        }
    }
    if let Some(At { value: true, place }) = fields.choice("enforcement", &[("enforce", false), ("audit", true)])? {
        return Err(Fault::at(place, "there is nothing to audit: only the connection is judged here")
            .hint("add `protocol: rest`"));
    }
    Ok(())
}

/// `rules: [{ allow: { … } }]`.
fn rules(fields: &Fields<'_>) -> Result<Vec<Matcher>, Fault> {
    let rule = |node| Matcher::parse(Fields::of(node, "a rule", &["allow"])?.require("allow")?, "`allow`");
    non_empty(fields, "rules")?.iter().map(rule).collect()
}

/// `deny_rules: [{ … }]`.
fn matchers(fields: &Fields<'_>, key: &str, what: &'static str) -> Result<Vec<Matcher>, Fault> {
    non_empty(fields, key)?.iter().map(|node| Matcher::parse(node, what)).collect()
}

fn non_empty<'a>(fields: &Fields<'a>, key: &str) -> Result<&'a [Node], Fault> {
    let items = fields.list(key)?;
    match fields.key_place(key) {
        Some(place) if items.is_empty() => Err(Fault::at(place, format!("`{key}` is empty")).hint("leave it out")),
        _ => Ok(items),
    }
}

fn ranges(fields: &Fields<'_>) -> Result<Vec<String>, Fault> {
    let mut ranges = Vec::new();
    for range in fields.strings("allowed_ips")? {
        ranges.push(cidr(&range.value).ok_or_else(|| {
            range
                .fault(format!("`{}` is no address or CIDR range", range.value))
                .hint("write `10.1.0.0/16`, or `10.1.2.3`")
        })?);
    }
    Ok(ranges)
}

/// With a prefix length, whether or not it was written with one.
fn cidr(text: &str) -> Option<String> {
    let (address, prefix) = match text.split_once('/') {
        Some((address, prefix)) => (address, Some(prefix)),
        None => (text, None),
    };
    let address: std::net::IpAddr = address.parse().ok()?;
    let longest = if address.is_ipv4() { 32 } else { 128 };
    let prefix: u8 = prefix.map_or(Some(longest), |prefix| prefix.parse().ok())?;
    (prefix <= longest).then(|| format!("{address}/{prefix}"))
}

fn credential(fields: &Fields<'_>) -> Result<Option<String>, Fault> {
    let Some(name) = fields.string("credential")? else { return Ok(None) };
    let known = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if name.value.is_empty() || !name.value.chars().all(known) {
        return Err(name.fault("a credential is named, never written down").hint("see `openshell provider list`"));
    }
    Ok(Some(name.value))
}

/// For people: `1.2.3.4`, `*.x`, `**.x`.
impl std::fmt::Display for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exact(name) => f.write_str(name),
            Self::OneLabel(suffix) => write!(f, "*.{suffix}"),
            Self::Labels(suffix) => write!(f, "**.{suffix}"),
        }
    }
}
