//! At most so many requests a minute to each host. It only ever narrows: what is within the limit is left to the other
//! policies of the chain.

use openshell_policy_sdk::prelude::*;

/// The settings.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RateLimit {
    per_minute: u64,
}

impl Policy for RateLimit {
    const SCHEMA: &str = r#"{
        "type": "object",
        "properties": { "per_minute": { "type": "integer", "minimum": 1 } },
        "required": ["per_minute"]
    }"#;
}

impl Request for RateLimit {
    fn request(&self, connection: &Connection, _: &HttpRequest) -> Verdict {
        let Connection { host, .. } = connection;
        let count = counters::add(host, 1, 60);
        if count <= self.per_minute {
            return Verdict::abstain();
        }
        Verdict::deny(
            "rate-limit",
            format!("{count} requests to {host} within a minute; {} are allowed", self.per_minute),
        )
        .hint("wait a minute, or ask for less")
    }
}

export!(RateLimit: request);

#[cfg(test)]
mod tests {
    use super::*;
    use openshell_policy_sdk::testing::{ask, configure, set_clock};

    #[test]
    fn window() {
        let policy: RateLimit = configure(r#"{ "per_minute": 2 }"#).unwrap();
        let check = |second: u64, line: &str, verdict: &str| {
            set_clock(second * 1000);
            assert_eq!(ask(line).request(&policy).to_string(), verdict, "second {second}: {line}");
        };
        check(100, "GET https://a.test/", "abstain");
        check(110, "GET https://a.test/", "abstain");
        check(120, "GET https://a.test/", "deny rate-limit");
        check(120, "GET https://b.test/", "abstain");
        check(200, "GET https://a.test/", "abstain");
    }
}
