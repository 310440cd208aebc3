use openshell_policy_sdk::testing::{ask, configure, run_examples};
use openshell_policy_sdk::{Inspection, Launch, Verdict, Workload};

use crate::document::Document;
use crate::glob::Glob;
use crate::reader::At;
use crate::{Fault, Rules};

const DOCUMENT: &str = r#"
version: 1
network_policies:
  github:
    name: GitHub
    endpoints:
      - host: api.github.com
        port: 443
        protocol: rest
        credential: github-token
        rules:
          - allow: { method: GET, path: /repos/** }
          - allow: { method: POST, path: /repos/*/issues }
          - allow: { method: GET, path: /search, query: { q: "rust*", sort: { any: [stars, forks] } } }
        deny_rules:
          - { method: GET, path: /repos/secret/** }
          - { method: "*", path: "/**", query: { token: "**" } }
    binaries:
      - path: /usr/bin/curl
      - path: /usr/lib/git-core/*
  packages:
    endpoints:
      - { host: "*.pypi.test", ports: [443, 8443], protocol: rest, access: read-only }
      - { host: "**.mirror.test", port: 443 }
      - { host: raw.test, port: 22, protocol: tcp }
      - { host: pinned.test, port: 443, tls: skip }
    binaries: [{ path: "/**/python3*" }]
  internal:
    endpoints:
      - { host: wiki.corp.test, port: 443, protocol: rest, access: read-write, allowed_ips: [10.1.0.0/16, 10.2.0.1], path: /pages/** }
      - { host: trial.test, port: 443, protocol: rest, access: read-only, enforcement: audit }
    binaries: [{ path: "/**" }]
"#;

fn rules(yaml: &str) -> Result<Rules, String> {
    configure(&serde_json_text(yaml, None))
}

fn serde_json_text(yaml: &str, unlisted: Option<&str>) -> String {
    let mut settings = openshell_policy_sdk::serde_json::json!({ "yaml": yaml });
    if let Some(unlisted) = unlisted {
        settings["unlisted"] = unlisted.into();
    }
    settings.to_string()
}

#[test]
fn verdicts() {
    let policy = rules(DOCUMENT).unwrap();
    let check = |line: &str, expected: &str| {
        let question = ask(line);
        let verdict = if question.is_request() { question.request(&policy) } else { question.connect(&policy) };
        assert_eq!(verdict.to_string(), expected, "{line}");
    };
    // Hosts, ports, binaries.
    check("connect api.github.com:443 by /usr/bin/curl", "allow github");
    check("connect api.github.com:443 by /usr/lib/git-core/git-remote-https", "allow github");
    check("connect api.github.com:443 by /usr/lib/git-core/deep/er", "deny binary-not-listed");
    check("connect api.github.com:443 by /usr/bin/wget", "deny binary-not-listed");
    check("connect api.github.com:443", "deny binary-not-listed");
    check("connect api.github.com:80 by /usr/bin/curl", "deny port-not-listed");
    check("connect github.com:443 by /usr/bin/curl", "deny host-not-listed");
    check("connect evil.api.github.com:443 by /usr/bin/curl", "deny host-not-listed");
    // One label, and any number of them.
    check("connect files.pypi.test:8443 by /usr/bin/python3.11", "allow packages");
    check("connect pypi.test:443 by /usr/bin/python3.11", "deny host-not-listed");
    check("connect a.b.pypi.test:443 by /usr/bin/python3.11", "deny host-not-listed");
    check("connect a.mirror.test:443 by /python3", "allow packages");
    check("connect a.b.c.mirror.test:443 by /opt/x/bin/python3", "allow packages");
    check("connect mirror.test:443 by /usr/bin/python3", "deny host-not-listed");
    // Methods, paths, queries.
    check("GET https://api.github.com/repos/a/b by /usr/bin/curl", "allow github");
    check("HEAD https://api.github.com/repos/a by /usr/bin/curl", "allow github");
    check("GET https://api.github.com/repos by /usr/bin/curl", "deny github");
    check("POST https://api.github.com/repos/a/issues by /usr/bin/curl", "allow github");
    check("POST https://api.github.com/repos/a/b/issues by /usr/bin/curl", "deny github");
    check("DELETE https://api.github.com/repos/a by /usr/bin/curl", "deny github");
    check("GET https://api.github.com/search?q=rust+lang&sort=stars by /usr/bin/curl", "allow github");
    check("GET https://api.github.com/search?q=r%75st&sort=forks by /usr/bin/curl", "allow github");
    check("GET https://api.github.com/search?q=rust&sort=age by /usr/bin/curl", "deny github");
    check("GET https://api.github.com/search?q=rust by /usr/bin/curl", "deny github");
    check("GET https://api.github.com/search?q=rust&q=other&sort=stars by /usr/bin/curl", "deny github");
    // A deny rule wins, for HEAD too, and on any of several values.
    check("GET https://api.github.com/repos/secret/x by /usr/bin/curl", "deny github.deny_rules[0]");
    check("HEAD https://api.github.com/repos/secret/x/y by /usr/bin/curl", "deny github.deny_rules[0]");
    // Servers that take empty segments out are none the easier to reach.
    check("GET https://api.github.com/repos//secret/x by /usr/bin/curl", "deny github.deny_rules[0]");
    check("GET https://api.github.com/repos/secret///x by /usr/bin/curl", "deny github.deny_rules[0]");
    check("GET https://api.github.com//repos/a by /usr/bin/curl", "deny github");
    check("GET https://api.github.com/repos/a//b by /usr/bin/curl", "allow github");
    check("GET https://api.github.com/repos/a?token=1 by /usr/bin/curl", "deny github.deny_rules[1]");
    // Presets.
    check("OPTIONS https://files.pypi.test/ by /usr/bin/python3", "allow packages");
    check("POST https://files.pypi.test/ by /usr/bin/python3", "deny packages");
    check("PATCH https://wiki.corp.test/pages/1 by /bin/x", "allow internal");
    check("DELETE https://wiki.corp.test/pages/1 by /bin/x", "deny internal");
    check("GET https://wiki.corp.test/admin by /bin/x", "deny internal");
    // Without a protocol every request passes; in audit mode what would be denied passes too.
    check("DELETE https://a.mirror.test/x by /usr/bin/python3", "allow packages");
    check("DELETE https://trial.test/x by /bin/x", "allow internal");
    run_examples(&policy, |policy, ask| ask.connect(policy));
}

#[test]
fn programs_are_told_by_all_that_is_written_of_them() {
    let digest = "ab".repeat(32);
    let verdict = |binary: &str, script: Option<&str>, ancestors: &[&str]| {
        let yaml = format!(
            "version: 1\nnetwork_policies:\n  x:\n    binaries: [{{path: /bin/py*, {binary}}}]\n    endpoints: [{{host: a.test, port: 1}}]\n"
        );
        let policy = rules(&yaml).unwrap();
        let question = ask("connect a.test:1 by /bin/python3").ancestors(ancestors.iter().copied());
        let mut connection = question.connection();
        connection.process.digest.clone_from(&digest);
        connection.process.script = script.map(str::to_owned);
        question.during(|| openshell_policy_sdk::Connect::connect(&policy, &connection)).to_string()
    };
    let (allow, deny) = ("allow x", "deny binary-not-listed");
    for (binary, script, ancestors, expected) in [
        ("", None, &[][..], allow),
        (&format!("sha256: {digest}"), None, &[], allow),
        (&format!("sha256: {}", digest.to_uppercase()), None, &[], allow),
        (&format!("sha256: {}", "cd".repeat(32)), None, &[], deny),
        ("script: /work/*.py", Some("/work/a.py"), &[], allow),
        ("script: /work/*.py", Some("/tmp/a.py"), &[], deny),
        ("script: \"**\"", None, &[], deny),
        ("ancestor: /usr/bin/claude", None, &["/bin/sh", "/usr/bin/claude"], allow),
        ("ancestor: /usr/bin/claude", None, &["/bin/sh"], deny),
        ("ancestor: \"**\"", None, &[], deny),
        ("script: /a, ancestor: /bin/sh", Some("/a"), &["/bin/sh"], allow),
        ("script: /a, ancestor: /bin/sh", Some("/a"), &["/bin/zsh"], deny),
    ] {
        assert_eq!(verdict(binary, script, ancestors), expected, "{binary} {script:?} {ancestors:?}");
    }
}

#[test]
fn terms_of_an_allow() {
    let policy = rules(DOCUMENT).unwrap();
    let grant = |verdict: Verdict| match verdict {
        Verdict::Allow(grant) => grant,
        other => panic!("{other}"),
    };
    let connect = |line: &str| grant(ask(line).connect(&policy));
    assert_eq!(connect("connect api.github.com:443 by /usr/bin/curl").inspection, Inspection::Required);
    assert_eq!(connect("connect a.mirror.test:443 by /usr/bin/python3").inspection, Inspection::Automatic);
    assert_eq!(connect("connect raw.test:22 by /usr/bin/python3").inspection, Inspection::Opaque);
    assert_eq!(connect("connect pinned.test:443 by /usr/bin/python3").inspection, Inspection::Opaque);
    assert_eq!(connect("connect wiki.corp.test:443 by /bin/x").private_ranges, ["10.1.0.0/16", "10.2.0.1/32"]);

    let request = |line: &str| grant(ask(line).request(&policy));
    let github = request("GET https://api.github.com/repos/a by /usr/bin/curl");
    assert_eq!(github.credential.as_deref(), Some("github-token"));
    let audited = request("DELETE https://trial.test/x by /bin/x").audit.unwrap();
    assert_eq!(audited.rule, "internal");
    assert!(request("GET https://trial.test/x by /bin/x").audit.is_none());
}

#[test]
fn hints() {
    let policy = rules(DOCUMENT).unwrap();
    let check = |line: &str, expected: &str| {
        let question = ask(line);
        let verdict = if question.is_request() { question.request(&policy) } else { question.connect(&policy) };
        let Verdict::Deny(denial) = verdict else { panic!("{line}: {verdict}") };
        let hint = denial.hint.unwrap_or_default();
        assert!(hint.contains(expected), "{line}: {hint}");
    };
    check("DELETE https://api.github.com/repos/a by /usr/bin/curl", "add DELETE /repos/a to network_policies.github");
    check("POST https://files.pypi.test/ by /usr/bin/python3", "set `access: read-write`");
    check("DELETE https://files.pypi.test/ by /usr/bin/python3", "set `access: full`");
    check(
        "connect api.github.com:443 by /usr/bin/wget",
        "add `- path: /usr/bin/wget` to the binaries of network_policies.github",
    );
    check("connect api.github.com:8080 by /usr/bin/curl", "add port 8080 to the endpoint api.github.com");
    check("connect other.test:443 by /usr/bin/curl", "add `- { host: other.test, port: 443 }`");
}

#[test]
fn unlisted_may_be_left_to_others() {
    let policy: Rules = configure(&serde_json_text(DOCUMENT, Some("abstain"))).unwrap();
    let check = |line: &str, expected: &str| assert_eq!(ask(line).request(&policy).to_string(), expected, "{line}");
    check("GET https://other.test/ by /usr/bin/curl", "abstain");
    check("GET https://api.github.com/ by /usr/bin/wget", "abstain");
    check("DELETE https://api.github.com/repos/a by /usr/bin/curl", "deny github");
    run_examples(&policy, |policy, ask| ask.connect(policy));
}

#[test]
fn globs() {
    let check = |pattern: &str, text: &str, expected: bool| {
        let glob = Glob::parse(&At { value: pattern.to_owned(), place: crate::fault::Place::default() }).unwrap();
        assert_eq!(glob.matches(text), expected, "{pattern} on {text}");
    };
    check("/a", "/a", true);
    check("/a", "/a/", false);
    check("/*", "/a", true);
    check("/*", "/", true);
    check("/*", "/a/b", false);
    check("/a/**", "/a/", true);
    check("/a/**", "/a/b/c", true);
    check("/a/**", "/a", false);
    check("/a/**/z", "/a/z", true);
    check("/a/**/z", "/a/b/z", true);
    check("/a/**/z", "/a/b/c/z", true);
    check("/a/**/z", "/abz", false);
    check("/a/**/z", "/a/bz", false);
    check("/**/z", "/z", true);
    check("/**/z", "/a/b/z", true);
    check("/**/z", "/az", false);
    check("/a*z", "/abcz", true);
    check("/a*z", "/ab/z", false);
    check("/a**z", "/ab/z", true);
    check("/*/b/*", "/a/b/c", true);
    check("/*/b/*", "/a/c/b/c", false);
    check("**", "", true);
    check("**.json", "/a/b.json", true);
    check("*.json", "a/b.json", false);
    // A pattern made to be slow takes parts × length.
    check(&"/**/a*".repeat(8), &"/a".repeat(300), true);
}

#[test]
fn what_rules_at_launch() {
    let policy = rules(
        "version: 1\nfilesystem_policy: { include_workdir: true, read_only: [/usr, /etc], read_write: [/tmp] }\n\
         landlock: { compatibility: hard_requirement }\nprocess: { run_as_user: agent, run_as_group: agents }\n",
    )
    .unwrap();
    let workload = Workload { sandbox: "s".into(), image: None, command: vec![] };
    let constraints = policy.launch(&workload).unwrap();
    assert_eq!(constraints.read_only, ["/usr", "/etc"]);
    assert_eq!(constraints.read_write, ["/tmp", "."]);
    assert_eq!(constraints.user.as_deref(), Some("agent:agents"));
    assert!(constraints.strict);
}

/// A document around one endpoint.
fn endpoint(yaml: &str) -> String {
    format!("version: 1\nnetwork_policies:\n  x:\n    binaries: [{{path: /bin/x}}]\n    endpoints:\n    - {yaml}\n")
}

#[test]
fn refusals() {
    let check = |yaml: &str, position: &str, words: &str| match Document::parse(yaml) {
        Ok(_) => panic!("accepted: {yaml}"),
        Err(fault) => {
            let Fault { line, column, .. } = &fault;
            assert_eq!(format!("{line}:{column}"), position, "{yaml}\n{fault}");
            assert!(fault.to_string().contains(words), "{yaml}\n{fault}");
        }
    };
    check("", "1:1", "the document is empty");
    check("version: 2\n", "1:10", "schema version 2");
    check("network_policies: {}\n", "1:1", "needs `version`");
    check("version: 1\nnetwork_polices: {}\n", "2:1", "did you mean `network_policies`?");
    check("version: 1\nversion: 1\n", "2:1", "a second time");
    check("version: 1\n---\nversion: 1\n", "2:1", "second document");
    check("version: [1\n", "2:1", "");
    check("version: 1\nnetwork_policies:\n  x:\n    endpoints: [{host: a.test, port: 1}]\n", "4:5", "no binaries");
    check("version: 1\nnetwork_policies:\n  x:\n    binaries: [{path: /bin/x}]\n", "4:5", "no endpoints");
    let binary = |with: &str| {
        format!(
            "version: 1\nnetwork_policies:\n  x:\n    binaries: [{{path: /a, {with}}}]\n    endpoints: [{{host: a.test, port: 1}}]\n"
        )
    };
    check(&binary("sha256: abc"), "4:35", "64 hexadecimal digits");
    for empty in ["sha256: ", "script: ~", "ancestor: null"] {
        check(&binary(empty), "4:27", "is empty");
    }
    check(&binary("script: a.py"), "4:35", "absolute paths");
    check(&binary("ancestor: sh"), "4:37", "absolute paths");
    check(&binary("digest: a"), "4:27", "no key `digest`");
    check("version: 1\nfilesystem_policy: {read_write: [/]}\n", "2:34", "can't be writable");
    check("version: 1\nfilesystem_policy: {read_only: [../x]}\n", "2:33", "absolute");
    check("version: 1\nfilesystem_policy: {read_only: [/x/../y]}\n", "2:33", "no `..`");
    check("version: 1\nlandlock: {compatibility: none}\n", "2:27", "`best_effort`, `hard_requirement`");

    // The endpoint begins on line 6, column 7.
    let check = |yaml: &str, column: usize, words: &str| check(&endpoint(yaml), &format!("6:{column}"), words);
    check("{hots: a.test, port: 443}", 8, "did you mean `host`?");
    check("{port: 443}", 7, "needs `host`");
    check("{host: a.test}", 7, "add `port: 443`");
    check("{host: a.test, port: 70000}", 28, "1 to 65535");
    check("{host: 'https://a.test', port: 443}", 14, "not a URL");
    check("{host: 'a.test:443', port: 443}", 14, "has no port");
    check("{host: 'a.*.test', port: 443}", 14, "`*.x` (one label)");
    check("{host: '**', port: 443}", 14, "`*.x` (one label)");
    check("{host: a..test, port: 443}", 14, "no host name");
    check("{host: inference.local, port: 443}", 14, "answered by the sandbox itself");
    check("{host: a.test, port: 443, protocol: http}", 43, "is not one of");
    check("{host: a.test, port: 443, protocol: mcp, access: read-only}", 56, "says whether it writes");
    check("{host: a.test, port: 443, protocol: mcp}", 7, "add `access: full`");
    check("{host: a.test, port: 443, protocol: mcp, access: full, tls: skip}", 67, "where TLS is skipped");
    check("{host: a.test, port: 443, protocol: rest}", 7, "neither `access` nor `rules`");
    check("{host: a.test, port: 443, access: full}", 33, "add `protocol: rest`");
    check("{host: a.test, port: 443, path: /x}", 33, "can't be enforced");
    check("{host: a.test, port: 443, enforcement: audit}", 46, "nothing to audit");
    check("{host: a.test, port: 443, protocol: rest, access: full, tls: skip}", 68, "where TLS is skipped");
    check("{host: a.test, port: 443, protocol: rest, access: readonly}", 57, "did you mean `read-only`?");
    check("{host: a.test, port: 443, protocol: rest, rules: []}", 49, "`rules` is empty");
    check("{host: a.test, port: 443, allowed_ips: [10.0.0.0/33]}", 47, "no address or CIDR range");

    let rule = |rule: &str| format!("{{host: a.test, port: 443, protocol: rest, rules: [{{allow: {rule}}}]}}");
    let in_endpoint = check;
    let check = |yaml: &str, column: usize, words: &str| in_endpoint(&rule(yaml), 65 + column, words);
    check("{}", 0, "says nothing");
    check("{method: GTE}", 9, "did you mean `GET`?");
    check("{method: CONNECT}", 9, "never match");
    check("{path: repos}", 7, "write `/repos`");
    check("{path: '/a?b=1'}", 7, "`query: { name: value }`");
    check("{path: '/a/{id}'}", 7, "`{` has no meaning");
    check("{path: /a/../b}", 7, "without dot segments");
    check("{path: /a%41}", 7, "write `A` as it is");
    check("{method: GET, tool: x}", 14, "use `protocol: graphql`, `json-rpc` or `mcp`");
    check("{method: GET, query: {q: {any: []}}}", 25, "lists no value");

    let rule = |protocol: &str, rule: &str| {
        format!("{{host: a.test, port: 443, protocol: {protocol}, rules: [{{allow: {rule}}}]}}")
    };
    let check = |protocol: &str, yaml: &str, column: usize, words: &str| {
        in_endpoint(&rule(protocol, yaml), 61 + protocol.len() + column, words);
    };
    check("graphql", "{}", 0, "write `operation_type: \"*\"`");
    check("graphql", "{path: /x}", 1, "has no key `path`");
    check("graphql", "{operation_type: querry}", 17, "did you mean `query`?");
    check("graphql", "{fields: []}", 1, "never match");
    check("json-rpc", "{tool: x}", 1, "has no key `tool`");
    check("mcp", "{method: tools/list, tool: x}", 9, "called with `tools/call`");
}

const OPERATIONS: &str = r#"
version: 1
network_policies:
  api:
    endpoints:
      - host: graph.test
        port: 443
        protocol: graphql
        path: /graphql
        rules:
          - allow: { operation_type: query }
          - allow: { operation_type: mutation, operation_name: "Add*", fields: [addComment, addStar] }
        deny_rules:
          - { fields: [secrets] }
      - { host: reads.test, port: 443, protocol: graphql, access: read-only }
      - host: node.test
        port: 443
        protocol: json-rpc
        rules:
          - allow: { method: "eth_*" }
          - allow: { method: log, params: { level: { any: [info, warn] } } }
        deny_rules:
          - { method: eth_send* }
      - host: tools.test
        port: 443
        protocol: mcp
        rules:
          - allow: { tool: "read_*" }
          - allow: { tool: write_file, params: { path: "/tmp/**" } }
          - allow: { method: resources/* }
        deny_rules:
          - { tool: read_secret }
    binaries: [{ path: "/**" }]
"#;

#[test]
fn operations() {
    let policy = rules(OPERATIONS).unwrap();
    let send = |host: &str, kind: &str, body: &str| {
        let question = ask(&format!("POST https://{host}/graphql by /bin/x")).header("content-type", kind).body(body);
        match question.request(&policy) {
            Verdict::Deny(denial) => format!("deny {}: {}", denial.rule, denial.reason),
            other => other.to_string(),
        }
    };
    let check = |host: &str, body: &str, expected: &str| {
        let found = send(host, "application/json", body);
        assert!(found.starts_with(expected), "{host} {body}\nexpected {expected}\nfound    {found}");
    };
    let query = |document: &str| openshell_policy_sdk::serde_json::json!({ "query": document }).to_string();
    let graph = |document: &str, expected: &str| check("graph.test", &query(document), expected);
    graph("{ viewer { login } }", "allow api");
    graph("query Q($n: Int!) { repository(first: $n) { name } }", "allow api");
    graph("mutation AddBoth { addStar(id: 1) { id } x: addComment { id } }", "allow api");
    graph("mutation AddBoth { addStar { id } deleteRepository { id } }", "deny api: GraphQL mutation AddBoth");
    graph("mutation Remove { addStar { id } }", "deny api: GraphQL mutation Remove");
    graph("mutation { addStar { id } }", "deny api:");
    graph("subscription { events { id } }", "deny api:");
    // Aliases and fragments hide nothing.
    graph("{ harmless: secrets { value } }", "deny api.deny_rules[0]");
    graph("{ ...F } fragment F on Query { a ... on Query { secrets } }", "deny api.deny_rules[0]");
    graph("{ ...F } fragment F on Query { ...F }", "deny api: POST /graphql on graph.test can't be judged");
    graph("{ ...Missing }", "deny api: POST /graphql on graph.test can't be judged");
    // What is executed must be plain.
    graph("query A { a } query B { secrets }", "deny api: POST /graphql on graph.test can't be judged");
    graph("{ a ", "deny api: POST /graphql on graph.test can't be judged");
    graph("type T { a: Int }", "deny api: POST /graphql on graph.test can't be judged");
    check("graph.test", r#"{"query": "query A { a } query B { secrets }", "operationName": "A"}"#, "allow api");
    check(
        "graph.test",
        r#"{"query": "query A { a } query B { secrets }", "operationName": "B"}"#,
        "deny api.deny_rules[0]",
    );
    check("graph.test", r#"{"query": "{ a }", "query": "{ secrets }"}"#, "deny api:");
    check("graph.test", r#"{"query": "{ a }", "Query": "{ secrets }"}"#, "deny api:");
    check("graph.test", r#"{"extensions": {"persistedQuery": {"sha256Hash": "x"}}}"#, "deny api:");
    check("graph.test", r#"[{"query": "{ a }"}, {"query": "{ b }"}]"#, "allow api");
    check("graph.test", r#"[{"query": "{ a }"}, {"query": "{ secrets }"}]"#, "deny api.deny_rules[0]");
    check("graph.test", "[]", "deny api:");
    check("reads.test", &query("{ a }"), "allow api");
    check("reads.test", &query("mutation { a }"), "deny api:");
    assert!(send("graph.test", "text/plain", &query("{ a }")).starts_with("deny api:"));
    let check_get = |target: &str, expected: &str| {
        let found = ask(&format!("GET https://graph.test/graphql{target} by /bin/x")).request(&policy).to_string();
        assert_eq!(found, expected, "{target}");
    };
    check_get("?query=%7B%20a%20%7D", "allow api");
    check_get("?query=%7Bsecrets%7D", "deny api.deny_rules[0]");
    check_get("?query=%7Ba%7D&query=%7Bsecrets%7D", "deny api");
    check_get("", "deny api");
    let both =
        ask("POST https://graph.test/graphql?query=%7Bsecrets%7D by /bin/x").header("content-type", "application/json");
    assert_eq!(both.body(query("{ a }")).request(&policy).to_string(), "deny api");

    let rpc = |host: &str, method: &str, params: &str, expected: &str| {
        check(host, &format!(r#"{{"jsonrpc": "2.0", "id": 1, "method": "{method}", "params": {params}}}"#), expected);
    };
    rpc("node.test", "eth_call", "[]", "allow api");
    rpc("node.test", "eth_sendTransaction", "[]", "deny api.deny_rules[0]");
    rpc("node.test", "admin_peers", "[]", "deny api: method admin_peers");
    rpc("node.test", "log", r#"{"level": "info"}"#, "allow api");
    rpc("node.test", "log", r#"{"level": "debug"}"#, "deny api:");
    rpc("node.test", "log", "{}", "deny api:");
    check("node.test", r#"{"method": "eth_call"}"#, "deny api:");
    check(
        "node.test",
        r#"[{"jsonrpc":"2.0","method":"eth_call"},{"jsonrpc":"2.0","method":"eth_sendRaw"}]"#,
        "deny api.deny_rules[0]",
    );

    let tool = |name: &str, arguments: &str, expected: &str| {
        rpc("tools.test", "tools/call", &format!(r#"{{"name": "{name}", "arguments": {arguments}}}"#), expected);
    };
    rpc("tools.test", "initialize", "{}", "allow api");
    rpc("tools.test", "tools/list", "{}", "allow api");
    rpc("tools.test", "notifications/cancelled", "{}", "allow api");
    rpc("tools.test", "resources/read", "{}", "allow api");
    rpc("tools.test", "prompts/get", "{}", "deny api: method prompts/get");
    tool("read_file", "{}", "allow api");
    tool("read_secret", "{}", "deny api.deny_rules[0]");
    tool("write_file", r#"{"path": "/tmp/a/b"}"#, "allow api");
    tool("write_file", r#"{"path": "/etc/passwd"}"#, "deny api: tool write_file");
    tool("write_file", r#"{"path": ["/tmp/a", "/etc/passwd"]}"#, "deny api:");
    tool("run", "{}", "deny api: tool run by POST /graphql on tools.test is not allowed");
    rpc("tools.test", "tools/call", "{}", "deny api:");
    check("tools.test", r#"{"jsonrpc": "2.0", "id": 4, "result": {}}"#, "allow api");
    let session = ask("GET https://tools.test/mcp by /bin/x").request(&policy).to_string();
    assert_eq!(session, "allow api");
}
