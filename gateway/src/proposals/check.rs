//! What an agent asks for, taken for what it is: a claim. What is malformed is refused; what is dangerous is named.

use std::net::IpAddr;

use ipnet::IpNet;
use openshell_api::proposal::{
    MAX_ENDPOINTS, MAX_PROPOSAL, MAX_REASON, Propose, ProposedAccess, ProposedEndpoint, ProposedProtocol,
};

use crate::error::{ApiResult, refuse};

/// Most programs in one proposal.
const MAX_BINARIES: usize = 10;
/// Most single requests, and most private ranges, of one endpoint.
const MAX_RULES: usize = 20;
/// Longest path, of a program or of a request, in bytes.
const MAX_PATH: usize = 512;

/// Suffixes under which anybody may have a name.
const SHARED: &[&str] = &[
    "amazonaws.com",
    "appspot.com",
    "azurewebsites.net",
    "blob.core.windows.net",
    "blogspot.com",
    "cloudfront.net",
    "co.jp",
    "co.uk",
    "com.au",
    "com.br",
    "fly.dev",
    "github.io",
    "githubusercontent.com",
    "gitlab.io",
    "herokuapp.com",
    "netlify.app",
    "ngrok.io",
    "ngrok-free.app",
    "onrender.com",
    "org.uk",
    "pages.dev",
    "r2.dev",
    "run.app",
    "trycloudflare.com",
    "vercel.app",
    "web.app",
    "workers.dev",
];
/// Names of the services that hand out a machine's own credentials.
const METADATA: &[&str] =
    &["metadata", "metadata.google.internal", "metadata.goog", "instance-data", "instance-data.ec2.internal"];
/// Ends of names that no public server has.
const PRIVATE: &[&str] = &["localhost", "local", "internal", "intranet", "lan", "home", "corp", "home.arpa", "private"];

/// Refuses what no rules could say, and what is more than a person would read.
pub(super) fn shape(asked: &Propose) -> ApiResult<()> {
    let bad = |detail: String| refuse(422, "bad_proposal", detail);
    if serde_json::to_vec(asked)?.len() > MAX_PROPOSAL {
        return Err(bad(format!("the proposal has more than {MAX_PROPOSAL} bytes")));
    }
    let reason = asked.reason.trim();
    if reason.is_empty() || reason.chars().count() > MAX_REASON || reason.chars().any(is_unfit) {
        return Err(bad(format!("`reason` has 1 to {MAX_REASON} characters, on one line")));
    }
    if !(1..=MAX_ENDPOINTS).contains(&asked.endpoints.len()) {
        return Err(bad(format!("a proposal has 1 to {MAX_ENDPOINTS} endpoints")));
    }
    if asked.binaries.len() > MAX_BINARIES {
        return Err(bad(format!("a proposal names at most {MAX_BINARIES} programs")));
    }
    let path = |text: &str| text.starts_with('/') && text.len() <= MAX_PATH && !text.chars().any(is_unfit);
    if let Some(binary) = asked.binaries.iter().find(|binary| !path(binary)) {
        return Err(bad(format!("{binary:?} is no absolute path of a program")));
    }
    for endpoint in &asked.endpoints {
        host(&endpoint.host).map_err(&bad)?;
        if endpoint.port == 0 {
            return Err(bad("a port is a number from 1 to 65535".to_owned()));
        }
        if endpoint.protocol == ProposedProtocol::Tcp && (endpoint.access.is_some() || !endpoint.allow.is_empty()) {
            return Err(bad(format!("{}: with `tcp` no request is judged, so none can be allowed", endpoint.host)));
        }
        if endpoint.allow.len() > MAX_RULES || endpoint.allowed_ips.len() > MAX_RULES {
            return Err(bad(format!("{}: at most {MAX_RULES} requests and ranges", endpoint.host)));
        }
        if endpoint.access == Some(ProposedAccess::Full) && !endpoint.allow.is_empty() {
            return Err(bad(format!("{}: with `full` access `allow` changes nothing", endpoint.host)));
        }
        for rule in &endpoint.allow {
            let token = !rule.method.is_empty() && rule.method.len() <= 32;
            if !token || !rule.method.bytes().all(|b| b.is_ascii_uppercase() || b == b'-') || !path(&rule.path) {
                return Err(bad(format!("{} {}: a method in capitals and a path are wanted", rule.method, rule.path)));
            }
        }
        for range in &endpoint.allowed_ips {
            if range.parse::<IpNet>().is_err() && range.parse::<IpAddr>().is_err() {
                return Err(bad(format!("{range:?} is no range of addresses")));
            }
        }
    }
    Ok(())
}

/// What may move a cursor, or turn the order of what is read.
fn is_unfit(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

fn host(text: &str) -> Result<(), String> {
    let bare = text.trim_start_matches('[').trim_end_matches(']');
    if bare.parse::<IpAddr>().is_ok() {
        return Ok(());
    }
    if matches!(text.to_ascii_lowercase().as_str(), "policy.local" | "inference.local") {
        return Err(format!("{text} is answered by the sandbox itself: it needs no rule"));
    }
    let name = text.strip_prefix("**.").or_else(|| text.strip_prefix("*.")).unwrap_or(text);
    let label = |label: &str| {
        let known = label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        known && !label.is_empty() && label.len() <= 63
    };
    match name.len() <= 253 && name.split('.').all(label) {
        true => Ok(()),
        false => Err(format!("{text:?} is no host: a name, an address, `*.name` or `**.name`")),
    }
}

/// Everything about a proposal that a user must not overlook.
pub(super) fn dangers(asked: &Propose, binaries: &[String]) -> Vec<String> {
    let mut found = Vec::new();
    for endpoint in &asked.endpoints {
        of_host(endpoint, &mut found);
        if endpoint.protocol == ProposedProtocol::Tcp {
            found.push(format!("{}:{}: bytes would pass unjudged", endpoint.host, endpoint.port));
        }
        for range in &endpoint.allowed_ips {
            found.push(format!("{}: private addresses in {range} would be reachable", endpoint.host));
            if covers_metadata(range) {
                found.push(format!("{}: {range} holds a metadata service's address", endpoint.host));
            }
        }
        if endpoint.access == Some(ProposedAccess::Full) {
            found.push(format!("{}: every method, DELETE included", endpoint.host));
        }
    }
    for binary in binaries.iter().filter(|binary| binary.contains('*')) {
        found.push(format!("programs: {binary} stands for many, also for such as the workload writes itself"));
    }
    found
}

fn of_host(endpoint: &ProposedEndpoint, found: &mut Vec<String>) {
    let host = endpoint.host.to_ascii_lowercase();
    let mut tell = |what: &str| found.push(format!("{host}: {what}"));
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    if let Ok(address) = bare.parse::<IpAddr>() {
        if covers_metadata(bare) {
            tell("the address of a metadata service, which hands out credentials");
        } else if is_private(address) {
            tell("a private address");
        } else {
            tell("an address without a name: nobody knows whose it will be");
        }
        return;
    }
    let (wild, name) = match (host.strip_prefix("**."), host.strip_prefix("*.")) {
        (Some(name), _) | (None, Some(name)) => (true, name),
        (None, None) => (false, host.as_str()),
    };
    if METADATA.contains(&name) {
        tell("a metadata service, which hands out credentials");
    } else if !name.contains('.') && !wild || PRIVATE.iter().any(|end| is_under(name, end)) {
        tell("a private name");
    }
    if name.split('.').any(|label| label.starts_with("xn--")) {
        tell("an internationalised name, which may look like another one");
    }
    if !wild {
        return;
    }
    if !name.contains('.') {
        tell("a whole top-level domain");
    } else if SHARED.iter().any(|suffix| is_under(suffix, name)) || is_under(name, "amazonaws.com") {
        tell("a wildcard under which anybody may have a name");
    } else if host.starts_with("**.") {
        tell("a wildcard of any depth");
    }
}

/// Whether a name is the suffix, or lies under it.
fn is_under(name: &str, suffix: &str) -> bool {
    name == suffix || name.strip_suffix(suffix).is_some_and(|rest| rest.ends_with('.'))
}

fn covers_metadata(range: &str) -> bool {
    let range = range.parse::<IpNet>().ok().or_else(|| range.parse::<IpAddr>().ok().map(IpNet::from));
    let services = ["169.254.169.254", "169.254.170.2", "100.100.100.200", "fd00:ec2::254"];
    let mut addresses = services.iter().filter_map(|text| text.parse::<IpAddr>().ok());
    range.is_some_and(|range| addresses.any(|address| range.contains(&address)))
}

fn is_private(address: IpAddr) -> bool {
    let address = address.to_canonical();
    match address {
        IpAddr::V4(v4) => {
            let [a, b, ..] = v4.octets();
            v4.is_private()
                || v4.is_loopback()
                || v4.is_link_local()
                || v4.is_unspecified()
                || v4.is_broadcast()
                || v4.is_multicast()
                || (a == 100 && (64..128).contains(&b))
                || a == 0
                || a >= 240
                || (a == 198 && (18..20).contains(&b))
        }
        IpAddr::V6(v6) => {
            let first = v6.segments()[0];
            v6.is_loopback()
                || v6.is_unspecified()
                || v6.is_multicast()
                || first & 0xfe00 == 0xfc00
                || first & 0xffc0 == 0xfe80
                || v6.segments()[..2] == [0x64, 0xff9b]
        }
    }
}
