//! Four rules over host, method and path: what a typical hand-written policy does. It imports nothing.

use openshell_policy_sdk::prelude::*;

/// The policy; it has no settings.
#[derive(Deserialize)]
pub struct FourRules {}

impl Policy for FourRules {
    fn examples(&self) -> Vec<Example> {
        vec![
            Example::allow("GET https://api.github.com/repos/a/b"),
            Example::deny("DELETE https://api.github.com/repos/a/b"),
        ]
    }
}

impl Connect for FourRules {
    fn connect(&self, connection: &Connection) -> Verdict {
        match connection.host.as_str() {
            "api.github.com" | "github.com" | "pypi.org" => Verdict::allow("known-hosts"),
            host if host.ends_with(".internal") => Verdict::deny("internal", "internal names stay internal"),
            _ => Verdict::abstain(),
        }
    }
}

impl Request for FourRules {
    fn request(&self, connection: &Connection, request: &HttpRequest) -> Verdict {
        match (connection.host.as_str(), request.method.as_str()) {
            ("api.github.com", "GET" | "HEAD") if request.path.starts_with("/repos/") => Verdict::allow("read-repos"),
            ("api.github.com", "POST") if request.path.ends_with("/comments") => Verdict::allow("comments"),
            ("pypi.org" | "github.com", "GET" | "HEAD") => Verdict::allow("downloads"),
            ("api.github.com", method) => Verdict::deny("writes", format!("{method} {} would write", request.path)),
            _ => Verdict::abstain(),
        }
    }
}

export!(FourRules: connect, request);
