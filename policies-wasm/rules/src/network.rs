//! `network_policies`: who may reach which endpoints, and what may be asked there.

use openshell_policy_sdk::{HttpRequest, Process};

use crate::binary::Binary;
use crate::fault::Fault;
use crate::glob::Glob;
use crate::operation::{Kind, Language, Operation, OperationMatcher};
use crate::reader::{At, Fields, entries, port, text};
use crate::rule::{Matcher, Repeated, parse_path};
use crate::yaml::Node;

/// One entry of `network_policies`: each of its binaries may reach each of its endpoints.
#[derive(Debug, Clone)]
pub(crate) struct Network {
    pub(crate) key: String,
    pub(crate) endpoints: Vec<Endpoint>,
    binaries: Vec<Binary>,
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
    rules: Rules,
    deny_rules: Rules,
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
    /// Each operation in each HTTP request.
    Operation(Language),
}

/// What an endpoint's rules speak of.
#[derive(Debug, Clone)]
enum Rules {
    Requests(Vec<Matcher>),
    Operations(Vec<OperationMatcher>),
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
    Operations(Language),
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
        let binaries: Vec<_> = fields.list("binaries")?.iter().map(Binary::parse).collect::<Result<_, _>>()?;
        if binaries.is_empty() {
            let fault = Fault::at(fields.place, format!("`{key}` lists no binaries, so it can never match"));
            return Err(fault.hint("for every program write `binaries: [{ path: \"/**\" }]`"));
        }
        Ok(Self { key, endpoints: endpoints.iter().map(Endpoint::parse).collect::<Result<_, _>>()?, binaries })
    }

    pub(crate) fn lists(&self, process: &Process) -> bool {
        self.binaries.iter().any(|binary| binary.is(process))
    }

    /// Whether it lists a program that lies where this one does.
    pub(crate) fn lists_place(&self, process: &Process) -> bool {
        self.binaries.iter().any(|binary| binary.lies(process))
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
            Some(Protocol::Rest | Protocol::Operations(_)) if skips => {
                let place = skip.map_or(fields.place, |skip| skip.place);
                let fault = Fault::at(place, "requests can't be judged where TLS is skipped");
                return Err(fault.hint("leave out `tls: skip`, or leave out `protocol` and its rules"));
            }
            Some(Protocol::Rest) => Level::Request,
            Some(Protocol::Operations(language)) => Level::Operation(language),
            Some(Protocol::Tcp) => Level::Opaque,
            None if skips => Level::Opaque,
            None => Level::Connection,
        };
        if !level.judges_requests() {
            refuse_request_keys(&fields)?;
        }
        let endpoint = Self {
            host,
            ports,
            path: fields.string("path")?.map(|path| parse_path(&path)).transpose()?,
            level,
            audit: fields.choice("enforcement", &[("enforce", false), ("audit", true)])?.is_some_and(|at| at.value),
            access: access(&fields, level)?,
            rules: Rules::allowing(&fields, level)?,
            deny_rules: Rules::denying(&fields, level)?,
            private_ranges: ranges(&fields)?,
            credential: credential(&fields)?,
        };
        if level.judges_requests() && endpoint.access.is_none() && endpoint.rules.is_empty() {
            let fault = Fault::at(fields.place, "the endpoint allows no request: it has neither `access` nor `rules`");
            let preset =
                if matches!(level, Level::Operation(Language::JsonRpc | Language::Mcp)) { "full" } else { "read-only" };
            return Err(fault.hint(format!("add `access: {preset}`, or `rules`")));
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

    /// The index of the deny rule that speaks of the request, or of one of its operations.
    pub(crate) fn denying(&self, request: &HttpRequest, operations: &[Operation]) -> Option<usize> {
        match &self.deny_rules {
            Rules::Requests(rules) => rules.iter().position(|rule| rule.matches(request, Repeated::One)),
            Rules::Operations(rules) => {
                rules.iter().position(|rule| operations.iter().any(|asked| rule.matches(asked, Repeated::One)))
            }
        }
    }

    pub(crate) fn has_deny_rules(&self) -> bool {
        !self.deny_rules.is_empty()
    }

    /// Whether it allows the request: all its operations, where the endpoint judges those.
    pub(crate) fn allows(&self, request: &HttpRequest, operations: &[Operation]) -> bool {
        match self.level {
            Level::Opaque | Level::Connection => true,
            Level::Operation(language) => {
                !operations.is_empty() && operations.iter().all(|asked| self.allows_operation(language, asked))
            }
            Level::Request => {
                self.access.is_some_and(|access| access.allows(&request.method))
                    || matches!(&self.rules, Rules::Requests(rules)
                        if rules.iter().any(|rule| rule.matches(request, Repeated::Each)))
            }
        }
    }

    pub(crate) fn allows_operation(&self, language: Language, asked: &Operation) -> bool {
        asked.is_housekeeping(language)
            || self.access.is_some_and(|access| access.allows_operation(asked))
            || matches!(&self.rules, Rules::Operations(rules)
                if rules.iter().any(|rule| rule.matches(asked, Repeated::Each)))
    }
}

impl Level {
    pub(crate) fn judges_requests(self) -> bool {
        matches!(self, Self::Request | Self::Operation(_))
    }
}

impl Rules {
    /// `rules: [{ allow: { … } }]`.
    fn allowing(fields: &Fields<'_>, level: Level) -> Result<Self, Fault> {
        let allow = |node| Fields::of(node, "a rule", &["allow"])?.require("allow");
        let nodes = non_empty(fields, "rules")?.iter().map(allow).collect::<Result<Vec<_>, _>>()?;
        Self::parse(nodes.into_iter(), level, "`allow`")
    }

    /// `deny_rules: [{ … }]`.
    fn denying(fields: &Fields<'_>, level: Level) -> Result<Self, Fault> {
        Self::parse(non_empty(fields, "deny_rules")?.iter(), level, "a deny rule")
    }

    fn parse<'a>(nodes: impl Iterator<Item = &'a Node>, level: Level, what: &'static str) -> Result<Self, Fault> {
        Ok(match level {
            Level::Operation(language) => {
                let rules = nodes.map(|node| OperationMatcher::parse(language, node, what));
                Self::Operations(rules.collect::<Result<_, _>>()?)
            }
            _ => Self::Requests(nodes.map(|node| Matcher::parse(node, what)).collect::<Result<_, _>>()?),
        })
    }

    fn is_empty(&self) -> bool {
        match self {
            Self::Requests(rules) => rules.is_empty(),
            Self::Operations(rules) => rules.is_empty(),
        }
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

    fn allows_operation(self, asked: &Operation) -> bool {
        match (self, asked) {
            (Self::ReadOnly, Operation::GraphQl { kind, .. }) => *kind != Kind::Mutation,
            _ => true,
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
        ("graphql", Protocol::Operations(Language::GraphQl)),
        ("json-rpc", Protocol::Operations(Language::JsonRpc)),
        ("mcp", Protocol::Operations(Language::Mcp)),
    ];
    Ok(fields.choice("protocol", &words)?.map(|at| at.value))
}

/// The preset, where the level knows reading from writing.
fn access(fields: &Fields<'_>, level: Level) -> Result<Option<Access>, Fault> {
    let Some(access) = fields.choice("access", &Access::WORDS)? else { return Ok(None) };
    if matches!(level, Level::Operation(Language::JsonRpc | Language::Mcp)) && access.value != Access::Full {
        let fault = access.fault("this can't be enforced: no method of this protocol says whether it writes");
        return Err(fault.hint("name the methods or tools in `rules`, or write `access: full`"));
    }
    Ok(Some(access.value))
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
