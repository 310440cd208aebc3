//! A proposal as a change of a rules file: lines are added, and what the user wrote stays as it is.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use openshell_api::proposal::{Propose, ProposedProtocol};
use serde_json::{Value, json};

/// Lines of the file that are shown around what is new.
const CONTEXT: usize = 3;
const KEY: &str = "network_policies";

/// Rules with a proposal in them.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Edited {
    /// The whole file.
    pub text: String,
    /// What changed, as a unified diff.
    pub diff: String,
}

/// The rules are written in a form that lines can't be added to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the rules are written in a form that lines can't be added to")]
pub(super) struct NotEditable {
    /// The lines.
    pub block: String,
}

/// Adds what is asked for to rules, as a network policy of its own; `None`: there are no rules yet. The result says what
/// the rules said, and the proposal, and nothing else: it is read again to make sure.
pub(super) fn add(rules: Option<&str>, key: &str, asked: &Propose, binaries: &[String]) -> Result<Edited, NotEditable> {
    let Some(rules) = rules else {
        let text = format!("version: 1\n{KEY}:\n{}", block(key, asked, binaries, 2));
        return Ok(Edited { diff: diff(&[], &text.lines().collect::<Vec<_>>()), text });
    };
    let not_editable = || NotEditable { block: block(key, asked, binaries, 2) };
    let before: Value = serde_saphyr::from_str(rules).map_err(|_| not_editable())?;
    let lines: Vec<&str> = rules.lines().collect();
    let place = place(&lines).ok_or_else(not_editable)?;
    let added = block(key, asked, binaries, place.indent);
    let heading = format!("{KEY}:");
    let mut after: Vec<&str> = lines[..place.line].to_vec();
    if place.heading {
        after.push(&heading);
    }
    after.extend(added.lines());
    after.extend(&lines[place.line + usize::from(place.replaces)..]);
    let mut text = after.join("\n");
    text.push('\n');
    let read: Value = serde_saphyr::from_str(&text).map_err(|_| not_editable())?;
    if wanted(before, key, asked, binaries) != Some(read) {
        return Err(not_editable());
    }
    Ok(Edited { diff: diff(&lines, &after), text })
}

/// What the rules must say afterwards.
fn wanted(mut before: Value, key: &str, asked: &Propose, binaries: &[String]) -> Option<Value> {
    let root = before.as_object_mut()?;
    let policies = root.entry(KEY).or_insert(Value::Null);
    if policies.is_null() {
        *policies = json!({});
    }
    let taken = policies.as_object_mut()?.insert(key.to_owned(), policy(asked, binaries));
    taken.is_none().then_some(before)
}

/// The new network policy, as a value.
fn policy(asked: &Propose, binaries: &[String]) -> Value {
    let endpoints = asked.endpoints.iter().map(|endpoint| {
        let mut value = json!({ "host": endpoint.host, "port": endpoint.port });
        match endpoint.protocol {
            ProposedProtocol::Tcp => value["protocol"] = json!("tcp"),
            ProposedProtocol::Rest => {
                value["protocol"] = json!("rest");
                if endpoint.allow.is_empty() || endpoint.access.is_some() {
                    value["access"] = json!(endpoint.access.map_or("read-only", |access| access.word()));
                }
            }
        }
        if !endpoint.allow.is_empty() {
            let rules = endpoint.allow.iter();
            let rules = rules.map(|rule| json!({ "allow": { "method": rule.method, "path": rule.path } }));
            value["rules"] = rules.collect();
        }
        if !endpoint.allowed_ips.is_empty() {
            value["allowed_ips"] = json!(endpoint.allowed_ips);
        }
        value
    });
    let binaries: Vec<Value> = binaries.iter().map(|path| json!({ "path": path })).collect();
    json!({ "endpoints": endpoints.collect::<Vec<_>>(), "binaries": binaries })
}

/// The same as lines of YAML. Every text that came from the agent is quoted as JSON, which YAML contains.
fn block(key: &str, asked: &Propose, binaries: &[String], indent: usize) -> String {
    let policy = policy(asked, binaries);
    let pad = " ".repeat(indent);
    let mut text = format!("{pad}{key}:\n{pad}  endpoints:\n");
    for endpoint in policy["endpoints"].as_array().into_iter().flatten() {
        let mut lead = format!("{pad}    - ");
        for field in ["host", "port", "protocol", "access", "allowed_ips"] {
            if let Some(value) = endpoint.get(field) {
                let plain = matches!(field, "protocol" | "access");
                let value = if plain { value.as_str().unwrap_or_default().to_owned() } else { value.to_string() };
                // Writing to a string does not fail.
                let _ = writeln!(text, "{lead}{field}: {value}");
                lead = format!("{pad}      ");
            }
        }
        if let Some(rules) = endpoint.get("rules").and_then(Value::as_array) {
            let _ = writeln!(text, "{lead}rules:");
            for rule in rules {
                let (method, path) = (&rule["allow"]["method"], &rule["allow"]["path"]);
                let _ = writeln!(text, "{pad}        - allow: {{method: {method}, path: {path}}}");
            }
        }
    }
    let _ = writeln!(text, "{pad}  binaries:");
    for binary in binaries {
        let _ = writeln!(text, "{pad}    - path: {}", json!(binary));
    }
    text
}

/// Where lines go.
struct Place {
    /// Before this line.
    line: usize,
    /// That line goes away: `network_policies: {}`.
    replaces: bool,
    /// The key has to be written first.
    heading: bool,
    /// Spaces before a network policy's name.
    indent: usize,
}

fn place(lines: &[&str]) -> Option<Place> {
    let ends = |line: &str| line == "..." || line.starts_with("... ");
    let Some(heading) = lines.iter().position(|line| line.starts_with("network_policies:")) else {
        let end = lines.iter().position(|line| ends(line)).unwrap_or(lines.len());
        // A document in braces has no lines at its top level.
        let top = lines.iter().any(|line| line.starts_with("version:"));
        return top.then_some(Place { line: end, replaces: false, heading: true, indent: 2 });
    };
    let rest = without_comment(&lines[heading]["network_policies:".len()..]);
    if rest == "{}" || rest == "~" || rest == "null" {
        return Some(Place { line: heading, replaces: true, heading: true, indent: 2 });
    }
    if !rest.is_empty() {
        return None;
    }
    let inside = &lines[heading + 1..];
    let says = |line: &str| !without_comment(line.trim_start()).is_empty();
    let length = inside.iter().position(|line| says(line) && !line.starts_with(' ')).unwrap_or(inside.len());
    // Comments after the last policy may belong to what follows.
    let last = inside[..length].iter().rposition(|line| says(line)).map_or(0, |last| last + 1);
    let first = inside[..length].iter().find(|line| says(line));
    let indent = first.map_or(2, |line| line.len() - line.trim_start().len());
    Some(Place { line: heading + 1 + last, replaces: false, heading: false, indent })
}

fn without_comment(text: &str) -> &str {
    let text = text.trim();
    if text.starts_with('#') { "" } else { text.split(" #").next().unwrap_or_default().trim_end() }
}

/// What was added (and the one line that may have gone) with a few lines around it.
fn diff(before: &[&str], after: &[&str]) -> String {
    let same = before.iter().zip(after).take_while(|(one, other)| one == other).count();
    let tail = before.len().min(after.len()) - same;
    let end = before.iter().rev().zip(after.iter().rev()).take(tail).take_while(|(one, other)| one == other).count();
    let from = same.saturating_sub(CONTEXT);
    let shown = end.min(CONTEXT);
    let (gone, new) = (&before[same..before.len() - end], &after[same..after.len() - end]);
    let (old, fresh) = (same - from + gone.len() + shown, same - from + new.len() + shown);
    let start = |count: usize| if count == 0 { 0 } else { from + 1 };
    let mut text = format!("@@ -{},{old} +{},{fresh} @@\n", start(old), start(fresh));
    let mut put = |mark: char, lines: &[&str]| {
        for line in lines {
            let _ = writeln!(text, "{mark}{line}");
        }
    };
    put(' ', &before[from..same]);
    put('-', gone);
    put('+', new);
    put(' ', &before[before.len() - end..before.len() - end + shown]);
    text
}

/// Hosts and ports that rules list already, with the name of the policy that does and whether its bytes pass unjudged.
pub(super) fn listed(rules: &str) -> BTreeSet<(String, u64, String, bool)> {
    let document: Value = serde_saphyr::from_str(rules).unwrap_or_default();
    let mut found = BTreeSet::new();
    for (name, policy) in document[KEY].as_object().into_iter().flatten() {
        for endpoint in policy["endpoints"].as_array().into_iter().flatten() {
            let host = endpoint["host"].as_str().unwrap_or_default().to_ascii_lowercase();
            let opaque = endpoint["protocol"] == "tcp" || endpoint["tls"] == "skip";
            let ports = endpoint["ports"].as_array().into_iter().flatten().chain([&endpoint["port"]]);
            found.extend(ports.filter_map(Value::as_u64).map(|port| (host.clone(), port, name.clone(), opaque)));
        }
    }
    found
}
