//! The smallest rules file that covers what was seen.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use super::seen::{Seen, Use};

/// Ports whose protocol is not HTTP, where nothing else is known.
const NOT_HTTP: [u16; 12] = [21, 22, 25, 110, 143, 465, 587, 993, 995, 3306, 5432, 6379];
/// Paths shown in a comment.
const SHOWN: usize = 5;
/// Most exact rules of one endpoint: beyond, it gets a preset.
const MAX_RULES: usize = 20;

/// How a file is written.
#[derive(Debug, Clone, Copy, Default)]
pub struct Style {
    /// Methods and paths as seen, rather than presets of methods.
    pub exact: bool,
    /// Grant the private addresses that were seen.
    pub allow_private: bool,
}

/// What is allowed at an endpoint, from nothing but bytes to everything.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Access {
    Tcp,
    Preset(&'static str),
    /// Method and path.
    Exact(BTreeSet<(String, String)>),
}

/// An endpoint and access that some programs share.
type Unit = (String, u16, Access);

/// Writes the file. `None`: nothing was seen that could be allowed.
pub fn write(sandbox: &str, seen: &Seen, style: Style) -> Option<String> {
    if seen.uses.is_empty() {
        return None;
    }
    let mut programs: BTreeMap<Unit, BTreeSet<&str>> = BTreeMap::new();
    for ((host, port, program), uses) in &seen.uses {
        let unit = (host.clone(), *port, access(*port, uses, style));
        programs.entry(unit).or_default().insert(program);
    }
    let mut networks: BTreeMap<BTreeSet<&str>, Vec<Unit>> = BTreeMap::new();
    for (unit, programs) in programs {
        networks.entry(programs).or_default().push(unit);
    }
    let mut text = head(sandbox, seen);
    text.push_str("version: 1\nnetwork_policies:\n");
    let mut names = BTreeSet::new();
    for (programs, units) in &networks {
        let name = name(programs, units, &mut names);
        let _ = writeln!(text, "  {name}:\n    endpoints:");
        for unit in units {
            endpoint(&mut text, unit, programs, seen, style);
        }
        text.push_str("    binaries:\n");
        for program in programs {
            let _ = writeln!(text, "      - {{path: {}}}", quoted(program));
        }
    }
    Some(text)
}

fn access(port: u16, uses: &Use, style: Style) -> Access {
    if uses.methods.is_empty() {
        let never_let_through = uses.connected == 0;
        return if never_let_through && !NOT_HTTP.contains(&port) { Access::Preset("read-only") } else { Access::Tcp };
    }
    if style.exact && !uses.more_paths {
        let mut rules: BTreeSet<(String, String)> = uses.paths.keys().cloned().collect();
        // A rule that allows GET allows HEAD.
        let gets: Vec<String> = rules.iter().filter(|(m, _)| m == "GET").map(|(_, path)| path.clone()).collect();
        rules.retain(|(method, path)| method != "HEAD" || !gets.contains(path));
        if rules.len() <= MAX_RULES {
            return Access::Exact(rules);
        }
    }
    let only = |allowed: &[&str]| uses.methods.keys().all(|method| allowed.contains(&method.as_str()));
    Access::Preset(if only(&["GET", "HEAD", "OPTIONS"]) {
        "read-only"
    } else if only(&["GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH"]) {
        "read-write"
    } else {
        "full"
    })
}

fn head(sandbox: &str, seen: &Seen) -> String {
    let mut text = format!("# What sandbox {sandbox} did, as rules: {}", counted(seen.decisions, "decision"));
    if let Some((first, last)) = seen.span {
        let _ = write!(text, ", {} to {}", first.strftime("%F %T"), last.strftime("%F %T UTC"));
    }
    let _ = writeln!(text, ".\n# Read it, narrow it, then: openshell policy set {sandbox} --policy FILE");
    for ((destination, rule), count) in &seen.refused {
        let _ = writeln!(text, "# left out: {destination}, refused {} by {}", counted(*count, "time"), plain(rule));
    }
    for address in &seen.metadata {
        let _ = writeln!(text, "# left out: {address} is a cloud's metadata service");
    }
    if seen.unknown_programs > 0 {
        let _ = writeln!(
            text,
            "# left out: {} of programs that could not be named",
            counted(seen.unknown_programs, "decision")
        );
    }
    text
}

fn endpoint(text: &mut String, unit: &Unit, programs: &BTreeSet<&str>, seen: &Seen, style: Style) {
    let (host, port, access) = unit;
    let uses = programs.iter().filter_map(|program| seen.uses.get(&(host.clone(), *port, (*program).to_owned())));
    comment(text, access, &uses.collect::<Vec<_>>());
    let private = seen.private.get(&(host.clone(), *port));
    let addresses = |addresses: &BTreeSet<std::net::IpAddr>| {
        addresses.iter().map(|address| quoted(&address.to_string())).collect::<Vec<_>>().join(", ")
    };
    let mut grant = String::new();
    if let Some(private) = private {
        if style.allow_private {
            grant = format!(", allowed_ips: [{}]", addresses(private));
        } else {
            let list = addresses(private);
            let _ = writeln!(text, "      # not public, and refused so far; to allow it: allowed_ips: [{list}]");
        }
    }
    let host = quoted(host);
    match access {
        Access::Tcp => {
            let _ = writeln!(text, "      - {{host: {host}, port: {port}, protocol: tcp{grant}}}");
        }
        Access::Preset(preset) => {
            let _ = writeln!(text, "      - {{host: {host}, port: {port}, protocol: rest, access: {preset}{grant}}}");
        }
        Access::Exact(rules) => {
            let _ = writeln!(text, "      - host: {host}\n        port: {port}\n        protocol: rest");
            if style.allow_private
                && let Some(private) = private
            {
                let _ = writeln!(text, "        allowed_ips: [{}]", addresses(private));
            }
            text.push_str("        rules:\n");
            for (method, path) in rules {
                let _ = writeln!(text, "          - allow: {{method: {method}, path: {}}}", quoted(path));
            }
        }
    }
}

fn comment(text: &mut String, access: &Access, uses: &[&Use]) {
    let requests: u64 = uses.iter().map(|uses| uses.requests()).sum();
    let connections: u64 = uses.iter().map(|uses| uses.connections).sum();
    if requests == 0 {
        let note = match access {
            Access::Tcp => "no HTTP was seen in it",
            _ => "refused before any request was seen: this lets it read",
        };
        let _ = writeln!(text, "      # {}; {note}", counted(connections, "connection"));
        return;
    }
    let mut paths: BTreeMap<&(String, String), u64> = BTreeMap::new();
    for (path, count) in uses.iter().flat_map(|uses| &uses.paths) {
        *paths.entry(path).or_default() += count;
    }
    let mut most: Vec<_> = paths.into_iter().collect();
    most.sort_by(|one, other| (other.1, one.0).cmp(&(one.1, other.0)));
    let shown: Vec<String> =
        most.iter().take(SHOWN).map(|((method, path), count)| format!("{method} {} ({count})", plain(path))).collect();
    let more = if most.len() > SHOWN { format!(", and {} more", most.len() - SHOWN) } else { String::new() };
    let _ = writeln!(text, "      # {}: {}{more}", counted(requests, "request"), shown.join(", "));
}

fn counted(count: u64, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

/// A key of `network_policies`, used once.
fn name(programs: &BTreeSet<&str>, units: &[Unit], taken: &mut BTreeSet<String>) -> String {
    let file = |path: &str| path.rsplit('/').next().unwrap_or(path).to_owned();
    let hosts: BTreeSet<&str> = units.iter().map(|(host, ..)| host.as_str()).collect();
    let base = match (hosts.len(), programs.len()) {
        (1, _) => (*hosts.first().unwrap_or(&"network")).to_owned(),
        (_, 1) => programs.first().map_or_else(|| "network".to_owned(), |program| file(program)),
        _ => programs.iter().take(3).map(|program| file(program)).collect::<Vec<_>>().join("-"),
    };
    let base: String =
        base.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' }).collect();
    let base = format!("seen-{}", base.trim_matches('-'));
    let mut name = base.clone();
    let mut number = 2;
    while !taken.insert(name.clone()) {
        name = format!("{base}-{number}");
        number += 1;
    }
    name
}

/// A YAML scalar: bare where that is safe, else a JSON string, which YAML reads the same.
fn quoted(text: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '.' | '_' | '-');
    let begins = text.chars().next().is_some_and(|c| c.is_ascii_alphabetic() || c == '/');
    if begins && text.chars().all(bare) { text.to_owned() } else { serde_json::Value::from(text).to_string() }
}

/// Text that can stand in a comment.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(120).collect()
}
