//! Questions close to another: one thing changed at a time.

use openshell_policy_host::{HttpRequest, Scheme};

use crate::command::policy::test::question::Question;

const METHODS: [&str; 6] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"];
const PROGRAMS: [&str; 3] = ["/usr/bin/curl", "/usr/bin/git", "/usr/local/bin/unheard-of"];

/// Each question that differs from this one in its host, port, program, method, scheme, path or query.
pub fn of(question: &Question) -> Vec<Question> {
    let mut near = Vec::new();
    let mut with = |change: &dyn Fn(&mut Question)| {
        let mut changed = question.clone();
        change(&mut changed);
        if changed != *question {
            near.push(changed);
        }
    };
    for host in hosts(&question.connection.host) {
        with(&|q| q.connection.host.clone_from(&host));
    }
    for port in [80, 443, question.connection.port.saturating_add(1)] {
        with(&|q| q.connection.port = port);
    }
    for program in PROGRAMS {
        with(&|q| q.connection.process.executable = program.to_owned());
    }
    let Some(request) = &question.request else {
        let request = HttpRequest { method: "GET".into(), scheme: Scheme::Https, path: "/".into(), query: None };
        with(&|q| q.request = Some(request.clone()));
        return near;
    };
    with(&|q| q.request = None);
    let mut with_request = |change: &dyn Fn(&mut HttpRequest)| {
        with(&|q| q.request.iter_mut().for_each(change));
    };
    for method in METHODS {
        with_request(&|r| r.method = method.to_owned());
    }
    for path in paths(&request.path) {
        with_request(&|r| r.path.clone_from(&path));
    }
    with_request(&|r| r.scheme = if r.scheme == Scheme::Https { Scheme::Http } else { Scheme::Https });
    with_request(&|r| r.query = if r.query.is_none() { Some("a=1".into()) } else { None });
    near
}

/// A name below it, beside it, above it, and one that only ends like it.
fn hosts(host: &str) -> Vec<String> {
    if host.parse::<std::net::IpAddr>().is_ok() {
        return Vec::new();
    }
    let mut hosts = vec![format!("x.{host}"), format!("x.y.{host}"), format!("x{host}")];
    if let Some((_, above)) = host.split_once('.') {
        hosts.push(format!("x.{above}"));
        if above.contains('.') {
            hosts.push(above.to_owned());
        }
    }
    hosts
}

/// A path below it, beside it, above it, and longer by a letter.
fn paths(path: &str) -> Vec<String> {
    let stem = path.trim_end_matches('/');
    let mut paths =
        vec!["/".to_owned(), format!("{stem}/x"), format!("{stem}/x/y"), format!("{stem}x"), format!("{stem}/")];
    if let Some((above, _)) = stem.rsplit_once('/') {
        paths.extend([format!("{above}/"), format!("{above}/x")]);
        paths.extend((!above.is_empty()).then(|| above.to_owned()));
    }
    paths
}
