//! Lets curl, git and Python read one API.
use openshell_policy_sdk::prelude::*;

#[derive(Deserialize)]
struct ApiReader {}

impl Policy for ApiReader {}

impl Connect for ApiReader {
    fn connect(&self, connection: &Connection) -> Verdict {
        let program = connection.process.executable.rsplit('/').next().unwrap_or_default();
        match (connection.host.as_str(), program) {
            ("api.demo.test", "curl" | "git-remote-https" | "git-remote-http") => Verdict::allow("api").private_range("127.0.0.0/8"),
            ("api.demo.test", name) if name.starts_with("python3") => Verdict::allow("api").private_range("127.0.0.0/8"),
            ("api.demo.test", name) => Verdict::deny("api", format!("{name} has no business here")).hint("use curl"),
            _ => Verdict::abstain(),
        }
    }
}

impl Request for ApiReader {
    fn request(&self, connection: &Connection, request: &HttpRequest) -> Verdict {
        match (self.connect(connection), request.method.as_str()) {
            (Verdict::Allow(grant), "GET" | "HEAD") => Verdict::Allow(grant),
            (Verdict::Allow(_), method) => Verdict::deny("read-only", format!("{method} would write")).hint("use GET"),
            (other, _) => other,
        }
    }
}

export!(ApiReader: connect, request);
