//! Lets some programs read one host.

use openshell_policy_sdk::prelude::*;

/// The settings are the policy.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GetOnly {
    host: String,
    binaries: Vec<String>,
}

impl Policy for GetOnly {
    const SCHEMA: &str = r#"{
        "type": "object",
        "properties": {
            "host": { "type": "string" },
            "binaries": { "type": "array", "items": { "type": "string" }, "minItems": 1 }
        },
        "required": ["host", "binaries"]
    }"#;

    fn examples(&self) -> Vec<Example> {
        let Self { host, binaries } = self;
        vec![
            Example::allow(format!("GET https://{host}/ by {}", binaries[0])),
            Example::deny(format!("POST https://{host}/ by {}", binaries[0])),
            Example::abstain(format!("connect elsewhere.invalid:443 by {}", binaries[0])),
        ]
    }
}

impl Connect for GetOnly {
    fn connect(&self, connection: &Connection) -> Verdict {
        let caller = &connection.process.executable;
        match (connection.host == self.host, self.binaries.contains(caller)) {
            (false, _) => Verdict::abstain(),
            (true, true) => Verdict::allow("get-only").inspect(),
            (true, false) => Verdict::deny("get-only", format!("{caller} may not reach {}", self.host))
                .hint(format!("use {}", self.binaries.join(" or "))),
        }
    }
}

impl Request for GetOnly {
    fn request(&self, connection: &Connection, request: &HttpRequest) -> Verdict {
        match self.connect(connection) {
            Verdict::Allow(_) if !request.is_read() => {
                Verdict::deny("get-only", format!("{} would write to {}", request.method, self.host)).hint("use GET")
            }
            verdict => verdict,
        }
    }
}

export!(GetOnly: connect, request);

#[cfg(test)]
mod tests {
    use super::*;
    use openshell_policy_sdk::testing::{ask, configure, run_examples};

    #[test]
    fn requests() {
        let policy: GetOnly = configure(r#"{ "host": "api.test", "binaries": ["/usr/bin/curl"] }"#).unwrap();
        let check = |line: &str, verdict: &str| assert_eq!(ask(line).request(&policy).to_string(), verdict, "{line}");
        check("GET https://api.test/items by /usr/bin/curl", "allow get-only");
        check("HEAD https://api.test/items by /usr/bin/curl", "allow get-only");
        check("POST https://api.test/items by /usr/bin/curl", "deny get-only");
        check("GET https://api.test/items by /usr/bin/wget", "deny get-only");
        check("GET https://other.test/ by /usr/bin/curl", "abstain");
        run_examples(&policy, |policy, ask| match ask.is_request() {
            true => ask.request(policy),
            false => ask.connect(policy),
        });
    }
}
