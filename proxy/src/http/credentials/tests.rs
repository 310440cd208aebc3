use std::collections::BTreeMap;

use http::{HeaderMap, Method, Uri};
use openshell_api::provider::{Attach, CredentialRule, PLACEHOLDER_MARK};

use super::{Aim, Purse, sigv4};

const CURL: &str = "/usr/bin/curl";

fn placeholder() -> String {
    format!("sk-{PLACEHOLDER_MARK}0123456789abcdef")
}

fn rule(attach: Attach) -> CredentialRule {
    CredentialRule { hosts: vec!["a.test".to_owned()], placeholder: Some(placeholder()), ..CredentialRule::new(attach) }
}

fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
    fields.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
}

/// What becomes of a request: its headers (but for what the proxy adds everywhere) and target, or why it is refused.
fn dressed(
    rule: CredentialRule,
    granted: bool,
    fields: &[(&'static str, &str)],
    target: &str,
    (host, executable, over_tls): (&str, &str, bool),
) -> Result<(HeaderMap, String), String> {
    let (rules, secrets) =
        (BTreeMap::from([("key".to_owned(), rule)]), BTreeMap::from([("key".to_owned(), "s".to_owned())]));
    let purse = Purse { rules: &rules, secrets: &secrets };
    let (mut headers, mut uri) = (headers(fields), target.parse::<Uri>().unwrap());
    let path = uri.path().to_owned();
    let aim = Aim { host, path: &path, executable, over_tls };
    let granted = granted.then_some("key");
    purse.dress(granted, &mut headers, &mut uri, aim).map_err(|error| error.to_string())?;
    Ok((headers, uri.to_string()))
}

#[test]
fn a_granted_credential_takes_the_place_of_what_was_sent() {
    let check = |rule: CredentialRule, to: (&str, &str, bool), expected: Result<(&str, &str), &str>| {
        let found =
            dressed(rule, true, &[("authorization", "Bearer workload"), ("x-api-key", "workload")], "/v1/x", to);
        match expected {
            Ok((name, value)) => {
                let (headers, _) = found.unwrap();
                assert_eq!(headers.get_all(name).iter().collect::<Vec<_>>(), [value]);
                assert!(headers[name].is_sensitive());
            }
            Err(part) => assert!(found.as_ref().is_err_and(|error| error.contains(part)), "{part}: {found:?}"),
        }
    };
    let basic = Attach::Basic { username: "u".to_owned() };
    let header = |name: &str| Attach::Header { name: name.to_owned() };
    let host = |host: &str| CredentialRule { hosts: vec![host.to_owned()], ..rule(Attach::Bearer) };
    let there = ("a.test", CURL, true);
    check(rule(Attach::Bearer), there, Ok(("authorization", "Bearer s")));
    check(rule(basic), there, Ok(("authorization", "Basic dTpz")));
    check(rule(header("x-api-key")), there, Ok(("x-api-key", "s")));
    check(rule(header("host")), there, Err("header"));
    check(host("*.a.test"), ("b.a.test", CURL, true), Ok(("authorization", "Bearer s")));
    check(host("*.a.test"), ("a.test", CURL, true), Err("not bound"));
    check(host("*.a.test"), ("c.b.a.test", CURL, true), Err("not bound"));
    check(host("a.test"), ("a.test.evil", CURL, true), Err("not bound to a.test.evil"));
    check(rule(Attach::Bearer), ("a.test", CURL, false), Err("TLS"));
    let paths = |paths: &[&str]| CredentialRule {
        paths: paths.iter().map(|path| (*path).to_owned()).collect(),
        ..rule(Attach::Bearer)
    };
    for (bound, fine) in
        [("/v1", true), ("/v1/", true), ("/v1/x", true), ("/", true), ("/v", false), ("/v1/x/y", false), ("/v2", false)]
    {
        check(
            paths(&[bound]),
            there,
            if fine { Ok(("authorization", "Bearer s")) } else { Err("not bound to the path \"/v1/x\"") },
        );
    }
    let program = CredentialRule { binaries: vec![CURL.to_owned()], ..rule(Attach::Bearer) };
    check(program.clone(), there, Ok(("authorization", "Bearer s")));
    check(program, ("a.test", "/usr/bin/python3.11", true), Err("not bound to /usr/bin/python3.11"));
}

#[test]
fn placeholders_become_secrets_where_they_are_bound_and_are_refused_elsewhere() {
    let text = placeholder();
    let bearer = format!("Bearer {text}");
    let basic = format!("Basic {}", base64(&format!("u:{text}")));
    let there = ("a.test", CURL, true);
    let check = |attach: Attach, fields: &[(&'static str, &str)], target: &str, to, expected: &str| {
        let shown = match dressed(rule(attach), false, fields, target, to) {
            Ok((headers, target)) => {
                let fields = headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()));
                fields.chain([target]).collect::<Vec<_>>().join(", ")
            }
            Err(error) => error,
        };
        assert_eq!(shown, expected, "{fields:?} {target}");
        assert!(!shown.contains(PLACEHOLDER_MARK));
    };
    let header = || Attach::Header { name: "x-api-key".to_owned() };
    let parameter = || Attach::Query { name: "key".to_owned() };
    check(Attach::Bearer, &[("authorization", &bearer)], "/", there, "authorization: Bearer s, /");
    check(Attach::Bearer, &[("authorization", "Bearer other")], "/", there, "authorization: Bearer other, /");
    check(Attach::Bearer, &[], "/", there, "/");
    check(header(), &[("x-api-key", &text)], "/", there, "x-api-key: s, /");
    check(
        Attach::Basic { username: "u".into() },
        &[("authorization", &basic)],
        "/",
        there,
        "authorization: Basic dTpz, /",
    );
    check(parameter(), &[], &format!("/x?a=1&key={text}&b=2"), there, "/x?a=1&b=2&key=s");
    // Bound elsewhere, or in the clear.
    check(
        Attach::Bearer,
        &[("authorization", &bearer)],
        "/",
        ("b.test", CURL, true),
        "the credential \"key\" is not bound to b.test",
    );
    check(
        Attach::Bearer,
        &[("authorization", &bearer)],
        "/",
        ("a.test", CURL, false),
        "the credential \"key\" is attached over TLS only",
    );
    // At other places, and those of other sandboxes.
    check(
        Attach::Bearer,
        &[("x-other", &text)],
        "/",
        there,
        "a placeholder stands in the header x-other, where no credential is attached",
    );
    check(
        header(),
        &[("authorization", &basic)],
        "/",
        there,
        "a placeholder stands in the header authorization, where no credential is attached",
    );
    check(
        Attach::Bearer,
        &[],
        &format!("/?q={text}"),
        there,
        "a placeholder stands in the request's target, where no credential is attached",
    );
    check(
        Attach::Bearer,
        &[],
        &format!("/{text}"),
        there,
        "a placeholder stands in the request's target, where no credential is attached",
    );
    let stranger = format!("Bearer {PLACEHOLDER_MARK}ffff");
    check(
        Attach::Bearer,
        &[("authorization", &stranger)],
        "/",
        there,
        "a placeholder stands in the header authorization, where no credential is attached",
    );
}

#[test]
fn a_query_credential_replaces_what_was_sent_under_its_name() {
    let check = |target: &str, expected: &str| {
        let attach = Attach::Query { name: "key".to_owned() };
        assert_eq!(dressed(rule(attach), true, &[], target, ("a.test", CURL, true)).unwrap().1, expected);
    };
    check("/x", "/x?key=s");
    check("/x?key=a&key=b&other=1", "/x?other=1&key=s");
    assert_eq!(sigv4::encode("a b/c&d=é", false), "a%20b%2Fc%26d%3D%C3%A9");
}

#[test]
fn requests_are_signed_as_aws_says() {
    // Of the test suite that AWS published for version 4: get-vanilla, get-vanilla-query-order-key-case, post-vanilla.
    let (key, secret) = ("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY");
    let at = "2015-08-30T12:36:00Z".parse().unwrap();
    let by = |access: &str| {
        format!(
            "AWS4-HMAC-SHA256 Credential={access}/20150830/us-east-1/service/aws4_request, SignedHeaders=host;x-amz-date, Signature=0"
        )
    };
    for (method, target, signature) in [
        (Method::GET, "/", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
        (
            Method::GET,
            "/?Param2=value2&Param1=value1",
            "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
        ),
        (Method::POST, "/", "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"),
    ] {
        let rules = BTreeMap::from([(
            "aws".to_owned(),
            CredentialRule {
                hosts: vec!["example.amazonaws.com".to_owned()],
                ..CredentialRule::new(Attach::Sigv4 { access_key_id: key.to_owned() })
            },
        )]);
        let secrets = BTreeMap::from([("aws".to_owned(), secret.to_owned())]);
        let purse = Purse { rules: &rules, secrets: &secrets };
        let aim = Aim { host: "example.amazonaws.com", path: "/", executable: CURL, over_tls: true };
        let mut uri: Uri = target.parse().unwrap();
        let signed = by(key);
        let mut map =
            headers(&[("host", "example.amazonaws.com"), ("authorization", &signed), ("x-amz-security-token", "old")]);
        let signer = purse.dress(None, &mut map, &mut uri, aim).unwrap().expect("it is signed in the key's name");
        assert!(signer.wants_body());
        signer.sign(&method, &uri, &mut map, b"", at).unwrap();
        let expected = format!(
            "AWS4-HMAC-SHA256 Credential={key}/20150830/us-east-1/service/aws4_request, SignedHeaders=host;x-amz-date, Signature={signature}"
        );
        assert_eq!(map["authorization"], expected.as_str(), "{method} {target}");
        assert!(map.get("x-amz-security-token").is_none());

        // Somebody else's key id is left alone; a request without a signature, and one signed in chunks, are refused.
        let foreign = by("OTHER");
        let mut map = headers(&[("authorization", &foreign)]);
        assert!(purse.dress(None, &mut map, &mut uri, aim).unwrap().is_none());
        assert!(purse.dress(Some("aws"), &mut headers(&[]), &mut uri, aim).is_err());
        let mut chunked =
            headers(&[("authorization", &signed), ("x-amz-content-sha256", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD")]);
        assert!(
            purse.dress(None, &mut chunked, &mut uri, aim).is_err_and(|error| error.to_string().contains("chunks"))
        );
    }
}

fn base64(text: &str) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(text)
}
