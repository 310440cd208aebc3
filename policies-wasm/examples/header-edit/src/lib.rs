//! Tells an API which sandbox calls, and strips what the program says about itself.

use openshell_policy_sdk::prelude::*;

/// The settings.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeaderEdit {
    host: String,
    header: String,
}

impl Policy for HeaderEdit {
    const SCHEMA: &str = r#"{
        "type": "object",
        "properties": { "host": { "type": "string" }, "header": { "type": "string" } },
        "required": ["host", "header"]
    }"#;

    fn prepare(&mut self) -> Result<(), String> {
        match self.header.starts_with("x-") {
            true => Ok(()),
            false => Err(format!("header `{}` must begin with `x-`", self.header)),
        }
    }
}

impl Request for HeaderEdit {
    fn request(&self, connection: &Connection, _: &HttpRequest) -> Verdict {
        if connection.host != self.host {
            return Verdict::abstain();
        }
        let caller = view::label("team").unwrap_or_else(|| connection.sandbox.clone());
        Verdict::allow("named-caller").set_header(self.header.as_str(), caller).remove_header("user-agent")
    }
}

export!(HeaderEdit: request);

#[cfg(test)]
mod tests {
    use super::*;
    use openshell_policy_sdk::HeaderEdit::{Remove, Set};
    use openshell_policy_sdk::testing::{ask, configure};

    #[test]
    fn edits() {
        let policy: HeaderEdit = configure(r#"{ "host": "api.test", "header": "x-caller" }"#).unwrap();
        let Verdict::Allow(grant) = ask("GET https://api.test/").label("team", "tools").request(&policy) else {
            panic!("not allowed");
        };
        assert_eq!(grant.headers, [Set(("x-caller".into(), "tools".into())), Remove("user-agent".into())]);
        assert_eq!(ask("GET https://other.test/").request(&policy).to_string(), "abstain");
        assert!(configure::<HeaderEdit>(r#"{ "host": "api.test", "header": "host" }"#).is_err());
    }
}
