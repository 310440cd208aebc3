//! Operations in request bodies: what GraphQL, JSON-RPC and MCP clients ask for behind one path.
//!
//! A request is read once, in one way. What two readers could understand differently (duplicate keys, a query both in
//! the URL and in the body, a choice of operation left to the server, a compressed body) is not read, and what is not
//! read is denied.

mod graphql;
mod json;
mod matcher;
mod rpc;

use openshell_policy_sdk::{HttpRequest, view};

pub(crate) use matcher::{OPERATION_KEYS, OperationMatcher};

use crate::rule::decode;
use json::Json;

/// Longest body that is read, in bytes.
pub(crate) const BODY_CAP: u32 = 1 << 20;
/// Messages of one batch.
const MAX_BATCH: usize = 200;

/// What is spoken at an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Language {
    GraphQl,
    JsonRpc,
    Mcp,
}

/// Types of GraphQL operations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Query,
    Mutation,
    Subscription,
}

impl Kind {
    pub(crate) const WORDS: [(&'static str, Self); 3] =
        [("query", Self::Query), ("mutation", Self::Mutation), ("subscription", Self::Subscription)];

    fn word(self) -> &'static str {
        match self {
            Self::Query => "query",
            Self::Mutation => "mutation",
            Self::Subscription => "subscription",
        }
    }
}

/// One thing that is asked for.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Operation {
    GraphQl {
        kind: Kind,
        name: Option<String>,
        /// Names of the fields at its root.
        fields: Vec<String>,
    },
    Call {
        method: String,
        /// Of MCP's `tools/call`; its arguments are then `params`.
        tool: Option<String>,
        params: Json,
    },
    /// MCP: the answer to a question of the server's.
    Reply,
    /// MCP: opening or ending a session's stream of events.
    Session,
}

impl Operation {
    /// Needed by every client of the language, and asking for nothing.
    pub(crate) fn is_housekeeping(&self, language: Language) -> bool {
        match self {
            Self::Reply | Self::Session => true,
            Self::Call { method, .. } => language == Language::Mcp && rpc::is_housekeeping(method),
            Self::GraphQl { .. } => false,
        }
    }

    /// For people.
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::GraphQl { kind, name, fields } => {
                let name = name.as_deref().map(|name| format!(" {name}")).unwrap_or_default();
                format!("GraphQL {}{name} of {}", kind.word(), fields.join(", "))
            }
            Self::Call { tool: Some(tool), .. } => format!("tool {tool}"),
            Self::Call { method, .. } => format!("method {method}"),
            Self::Reply => "an answer to the server".to_owned(),
            Self::Session => "a session's events".to_owned(),
        }
    }

    /// The rule that would allow it.
    pub(crate) fn rule(&self) -> Option<String> {
        let quoted = |text: &str| format!("{text:?}");
        match self {
            Self::GraphQl { kind, fields, .. } => {
                Some(format!("- allow: {{ operation_type: {}, fields: [{}] }}", kind.word(), fields.join(", ")))
            }
            Self::Call { tool: Some(tool), .. } => Some(format!("- allow: {{ tool: {} }}", quoted(tool))),
            Self::Call { method, .. } => Some(format!("- allow: {{ method: {} }}", quoted(method))),
            Self::Reply | Self::Session => None,
        }
    }
}

/// Everything a request asks for; never an empty list. Refuses, in words, what can't be read in one way only.
pub(crate) fn read(language: Language, request: &HttpRequest) -> Result<Vec<Operation>, String> {
    match (language, request.method.as_str()) {
        (Language::GraphQl, "GET" | "HEAD") => Ok(vec![graphql_in_url(request)?]),
        (Language::Mcp, "GET" | "HEAD" | "DELETE") => Ok(vec![Operation::Session]),
        (_, "POST") => {
            if language == Language::GraphQl && graphql_parameters(request).next().is_some() {
                return Err("it carries GraphQL both in its URL and in its body".to_owned());
            }
            let document = Json::parse(&body()?).map_err(|error| format!("its body is not plain JSON: {error}"))?;
            let one = |message: &Json| match language {
                Language::GraphQl => graphql::of_body(message),
                Language::JsonRpc => rpc::of_message(message, false),
                Language::Mcp => rpc::of_message(message, true),
            };
            match &document {
                Json::List(batch) if batch.is_empty() => Err("it asks for nothing".to_owned()),
                Json::List(batch) if batch.len() > MAX_BATCH => {
                    Err(format!("it asks for more than {MAX_BATCH} things at once"))
                }
                Json::List(batch) => batch.iter().map(one).collect(),
                message => Ok(vec![one(message)?]),
            }
        }
        (_, method) => Err(format!("nothing is asked for with {method} here")),
    }
}

fn body() -> Result<Vec<u8>, String> {
    let headers = view::headers();
    let mut types = headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case("content-type"));
    let (Some((_, kind)), None) = (types.next(), types.next()) else {
        return Err("it does not have one content type".to_owned());
    };
    let (essence, parameters) = kind.split_once(';').unwrap_or((kind, ""));
    let essence = essence.trim().to_ascii_lowercase();
    if essence != "application/json" && !(essence.starts_with("application/") && essence.ends_with("+json")) {
        return Err(format!("its content type is {essence}, not JSON"));
    }
    let charset = parameters
        .split(';')
        .filter_map(|p| p.split_once('='))
        .find(|(name, _)| name.trim().eq_ignore_ascii_case("charset"));
    if charset.is_some_and(|(_, set)| !set.trim().trim_matches('"').eq_ignore_ascii_case("utf-8")) {
        return Err("its text is not declared as UTF-8".to_owned());
    }
    let encoded = |(name, value): &(String, String)| {
        name.eq_ignore_ascii_case("content-encoding") && !value.trim().eq_ignore_ascii_case("identity")
    };
    if headers.iter().any(encoded) {
        return Err("its body is compressed".to_owned());
    }
    view::body().ok_or_else(|| format!("its body is longer than {} KiB", BODY_CAP >> 10))
}

/// Parameters of GraphQL over HTTP in a URL.
fn graphql_parameters(request: &HttpRequest) -> impl Iterator<Item = (String, String)> + '_ {
    const NAMES: [&str; 4] = ["query", "operationName", "variables", "extensions"];
    let pairs = request.query_pairs().map(|(name, value)| (decode(name), decode(value)));
    pairs.filter(|(name, _)| NAMES.iter().any(|known| known.eq_ignore_ascii_case(name)))
}

fn graphql_in_url(request: &HttpRequest) -> Result<Operation, String> {
    let one = |wanted: &str| {
        let mut values = graphql_parameters(request).filter(|(name, _)| name.eq_ignore_ascii_case(wanted));
        let first = values.next().map(|(_, value)| value);
        if values.next().is_some() { Err(format!("its URL has `{wanted}` twice")) } else { Ok(first) }
    };
    let query = one("query")?.ok_or("its URL has no `query`")?;
    let name = one("operationName")?.filter(|name| !name.is_empty());
    graphql::of_document(&query, name.as_deref())
}
