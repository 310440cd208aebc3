//! Refuses to send what looks like a private key. A body too long to be looked at is refused too.

use openshell_policy_sdk::prelude::*;

const CAP: u32 = 1024 * 1024;
const MARKER: &[u8] = b"PRIVATE KEY-----";

/// It has no settings.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BodyCheck {}

impl Policy for BodyCheck {
    const SCHEMA: &str = r#"{ "type": "object", "additionalProperties": false }"#;

    fn body_cap(&self) -> u32 {
        CAP
    }
}

impl Request for BodyCheck {
    fn request(&self, _: &Connection, request: &HttpRequest) -> Verdict {
        if request.is_read() {
            return Verdict::abstain();
        }
        match view::body() {
            None => {
                Verdict::deny("body-check", format!("the body is longer than {CAP} bytes")).hint("send it in parts")
            }
            Some(body) if body.windows(MARKER.len()).any(|window| window == MARKER) => {
                Verdict::deny("body-check", "the body holds a private key").hint("remove it")
            }
            Some(_) => Verdict::abstain(),
        }
    }
}

export!(BodyCheck: request);

#[cfg(test)]
mod tests {
    use super::*;
    use openshell_policy_sdk::testing::{ask, configure};

    #[test]
    fn bodies() {
        let policy: BodyCheck = configure("").unwrap();
        let post = ask("POST https://paste.test/");
        assert_eq!(post.clone().body("hello").request(&policy).to_string(), "abstain");
        assert_eq!(post.clone().body("-----BEGIN PRIVATE KEY-----").request(&policy).to_string(), "deny body-check");
        assert_eq!(post.request(&policy).to_string(), "deny body-check", "unseen");
        assert_eq!(ask("GET https://paste.test/").request(&policy).to_string(), "abstain");
    }
}
