//! Where a comparison begins: what two policies are known to be about.

use std::path::Path;

use openshell_policy_host::{Manifest, Scheme};
use serde_json::Value;

use crate::command::policy::test::question::Question;
use crate::command::policy::test::{CASES, cases};

/// A policy's own examples.
pub fn of_examples(manifest: &Manifest) -> impl Iterator<Item = Question> {
    manifest
        .examples
        .iter()
        .map(|example| Question { connection: example.connection.clone(), request: example.request.clone() })
}

/// Questions of the crate's `cases.yaml`; none where there is no such file, or it can't be read.
pub fn of_cases(source: &Path) -> Vec<Question> {
    let Ok(text) = std::fs::read_to_string(source.join(CASES)) else { return Vec::new() };
    let parsed = cases::parse(&text).map(|parsed| parsed.cases).unwrap_or_default();
    let asked = parsed.iter().filter_map(|case| case.value.ask.as_ref());
    asked.filter_map(|ask| Question::parse(&ask.value).ok()).collect()
}

/// Endpoints of a rules file, each with each of its methods and paths, by the first program that may use it.
pub fn of_rules(yaml: &str) -> Vec<Question> {
    let Ok(document) = serde_saphyr::from_str::<Value>(yaml) else { return Vec::new() };
    let mut questions = Vec::new();
    let policies = document["network_policies"].as_object().into_iter().flatten();
    for (_, policy) in policies {
        let program = policy["binaries"][0]["path"].as_str().map(concrete).unwrap_or_default();
        for endpoint in policy["endpoints"].as_array().into_iter().flatten() {
            let Some(host) = endpoint["host"].as_str().map(concrete) else { continue };
            let one = endpoint["port"].as_u64().into_iter();
            let ports = one.chain(endpoint["ports"].as_array().into_iter().flatten().filter_map(Value::as_u64));
            for port in ports.filter_map(|port| u16::try_from(port).ok()) {
                let connect = format!("connect {host}:{port} by {program}");
                questions.extend(Question::parse(&connect));
                let rules = ["rules", "deny_rules"].into_iter().flat_map(|list| endpoint[list].as_array());
                let stated = rules.flatten().map(|rule| rule.get("allow").unwrap_or(rule));
                let stated = stated.map(|rule| (rule["method"].as_str(), rule["path"].as_str()));
                for (method, path) in stated.chain([(Some("GET"), endpoint["path"].as_str())]) {
                    let method = method.filter(|method| *method != "*").unwrap_or("GET");
                    let path = path.map_or_else(|| "/".to_owned(), concrete);
                    let line = format!("{method} https://{host}:{port}{path} by {program}");
                    questions.extend(Question::parse(&line));
                }
            }
        }
    }
    questions
}

/// One of the names that a glob stands for.
fn concrete(glob: &str) -> String {
    glob.replace("**", "x").replace('*', "x")
}

/// As a line that `policy test` understands.
pub fn line(question: &Question) -> String {
    let connection = &question.connection;
    let host = if connection.host.contains(':') { format!("[{}]", connection.host) } else { connection.host.clone() };
    let by = match connection.process.executable.as_str() {
        "" => String::new(),
        executable => format!(" by {executable}"),
    };
    let Some(request) = &question.request else { return format!("connect {host}:{}{by}", connection.port) };
    let (scheme, usual) = match request.scheme {
        Scheme::Https => ("https", 443),
        Scheme::Http => ("http", 80),
    };
    let port = if connection.port == usual { String::new() } else { format!(":{}", connection.port) };
    let query = request.query.as_ref().map(|query| format!("?{query}")).unwrap_or_default();
    format!("{} {scheme}://{host}{port}{}{query}{by}", request.method, request.path)
}
