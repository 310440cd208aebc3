//! Tokens of a provider that is played here, with keys of its own.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::extract::State;
use axum::routing::get;
use jsonwebtoken::jwk::{Jwk, PublicKeyUse};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use openshell_api::user::{Role, Via};
use rcgen::{KeyPair, PKCS_RSA_SHA256, RsaKeySize};
use serde_json::{Value, json};

use super::keys::{KeyRing, Wanted};
use super::{JwtError, KeyFault, KeySource, Trust, Verifier};

/// A key pair and how it signs.
#[derive(Clone)]
struct Key {
    kid: String,
    algorithm: Algorithm,
    pem: String,
}

impl Key {
    fn rsa(kid: &str) -> Self {
        let pair = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap();
        Self { kid: kid.to_owned(), algorithm: Algorithm::RS256, pem: pair.serialize_pem() }
    }

    fn ec(kid: &str) -> Self {
        Self { kid: kid.to_owned(), algorithm: Algorithm::ES256, pem: KeyPair::generate().unwrap().serialize_pem() }
    }

    fn signing(&self) -> EncodingKey {
        match self.algorithm {
            Algorithm::ES256 => EncodingKey::from_ec_pem(self.pem.as_bytes()).unwrap(),
            _ => EncodingKey::from_rsa_pem(self.pem.as_bytes()).unwrap(),
        }
    }

    fn public(&self) -> Value {
        let mut jwk = Jwk::from_encoding_key(&self.signing(), self.algorithm).unwrap();
        jwk.common.key_id = Some(self.kid.clone());
        jwk.common.public_key_use = Some(PublicKeyUse::Signature);
        serde_json::to_value(jwk).unwrap()
    }

    fn sign(&self, claims: &Value) -> String {
        let header = Header { kid: Some(self.kid.clone()), ..Header::new(self.algorithm) };
        encode(&header, claims, &self.signing()).unwrap()
    }
}

/// A provider: its key set as it is now, and how often it was asked.
#[derive(Clone)]
struct Provider {
    issuer: String,
    keys: Arc<Mutex<Option<Value>>>,
    asked: Arc<AtomicUsize>,
}

impl Provider {
    async fn start(keys: &[&Key]) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address: SocketAddr = listener.local_addr().unwrap();
        let provider = Self { issuer: format!("http://{address}"), keys: Arc::default(), asked: Arc::default() };
        provider.publish(keys);
        async fn configuration(State(provider): State<Provider>) -> axum::Json<Value> {
            axum::Json(json!({ "issuer": provider.issuer, "jwks_uri": format!("{}/keys", provider.issuer) }))
        }
        async fn keys_now(State(provider): State<Provider>) -> Result<axum::Json<Value>, axum::http::StatusCode> {
            provider.asked.fetch_add(1, Ordering::Relaxed);
            let keys = provider.keys.lock().unwrap().clone();
            keys.map(axum::Json).ok_or(axum::http::StatusCode::SERVICE_UNAVAILABLE)
        }
        let routes = axum::Router::new()
            .route("/.well-known/openid-configuration", get(configuration))
            .route("/keys", get(keys_now))
            .with_state(provider.clone());
        tokio::spawn(async move { axum::serve(listener, routes).await });
        provider
    }

    fn publish(&self, keys: &[&Key]) {
        self.publish_raw(keys.iter().map(|key| key.public()).collect());
    }

    fn publish_raw(&self, keys: Vec<Value>) {
        *self.keys.lock().unwrap() = Some(json!({ "keys": keys }));
    }

    fn goes_down(&self) {
        *self.keys.lock().unwrap() = None;
    }

    fn trust(&self) -> Trust {
        Trust {
            issuer: self.issuer.clone(),
            audience: "openshell".into(),
            client_id: Some("openshell".into()),
            keys: KeySource::Discovery,
            user_claim: "sub".into(),
            role_claim: Some("realm.roles".into()),
            roles: vec![(Role::Viewer, "readers".into()), (Role::Admin, "platform".into())],
            default_role: None,
        }
    }

    fn verifier(&self) -> Verifier {
        Verifier::new(self.trust(), Via::Oidc, client()).unwrap()
    }

    /// Claims that are good at `now`.
    fn claims(&self) -> Value {
        json!({ "iss": self.issuer, "aud": "openshell", "sub": "alice", "exp": NOW + 600, "iat": NOW, "nbf": NOW,
            "realm": { "roles": ["readers", "other"] } })
    }
}

const NOW: i64 = 1_800_000_000;

fn now() -> jiff::Timestamp {
    jiff::Timestamp::from_second(NOW).unwrap()
}

fn client() -> reqwest::Client {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    crate::upstream::client(None).unwrap()
}

fn with(mut claims: Value, changes: Value) -> Value {
    for (name, value) in changes.as_object().unwrap() {
        match value {
            Value::Null => drop(claims.as_object_mut().unwrap().remove(name)),
            value => claims[name] = value.clone(),
        }
    }
    claims
}

/// The user and its role, or the name of the error.
async fn outcome(verifier: &Verifier, token: &str, now: jiff::Timestamp) -> String {
    match verifier.verify(token, now).await {
        Ok(vouched) => format!("{} {}", vouched.user, vouched.role),
        Err(error) => {
            let name = format!("{error:?}");
            name.split([' ', '(', '{']).next().unwrap().to_owned()
        }
    }
}

fn base64(text: &str) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(text)
}

#[tokio::test]
async fn claims_are_held_against_what_is_expected() {
    let key = Key::ec("k");
    let provider = Provider::start(&[&key]).await;
    let verifier = provider.verifier();
    let check = async |changes: Value, expected: &str| {
        let token = key.sign(&with(provider.claims(), changes.clone()));
        assert_eq!(outcome(&verifier, &token, now()).await, expected, "{changes}");
    };
    check(json!({}), "oidc:alice viewer").await;
    check(json!({ "realm": { "roles": ["readers", "platform"] } }), "oidc:alice admin").await;
    check(json!({ "realm": { "roles": "platform" } }), "oidc:alice admin").await;
    check(json!({ "realm.roles": ["platform"] }), "oidc:alice admin").await;
    check(json!({ "realm": { "roles": ["platform-x"] } }), "NoRole").await;
    check(json!({ "realm": null }), "NoRole").await;
    // Time: to the second, with 30 of them for clocks that differ.
    check(json!({ "exp": NOW - 29 }), "oidc:alice viewer").await;
    check(json!({ "exp": NOW - 30 }), "Expired").await;
    check(json!({ "exp": 1 }), "Expired").await;
    check(json!({ "exp": null }), "Claim").await;
    check(json!({ "exp": "soon" }), "Claim").await;
    check(json!({ "exp": 1e300 }), "Claim").await;
    check(json!({ "exp": (NOW + 10) as f64 + 0.5 }), "oidc:alice viewer").await;
    check(json!({ "nbf": NOW + 30 }), "oidc:alice viewer").await;
    check(json!({ "nbf": NOW + 31 }), "NotYet").await;
    check(json!({ "iat": NOW + 31 }), "NotYet").await;
    check(json!({ "nbf": null, "iat": null }), "oidc:alice viewer").await;
    // Who made it, and for whom.
    check(json!({ "iss": "http://127.0.0.1" }), "Issuer").await;
    check(json!({ "iss": format!("{}/", provider.issuer) }), "Issuer").await;
    check(json!({ "iss": [provider.issuer] }), "Claim").await;
    check(json!({ "iss": null }), "Claim").await;
    check(json!({ "aud": "openshell2" }), "Audience").await;
    check(json!({ "aud": "OpenShell" }), "Audience").await;
    check(json!({ "aud": null }), "Audience").await;
    check(json!({ "aud": [] }), "Audience").await;
    check(json!({ "aud": ["openshell", 5] }), "Audience").await;
    check(json!({ "aud": ["other", "openshell"], "azp": "openshell" }), "oidc:alice viewer").await;
    check(json!({ "aud": ["other", "openshell"] }), "Claim").await;
    check(json!({ "azp": "another-client" }), "Audience").await;
    check(json!({ "sub": null }), "Claim").await;
    check(json!({ "sub": "" }), "Claim").await;
    check(json!({ "sub": "a\u{7}b" }), "Claim").await;
    check(json!({ "sub": "x".repeat(300) }), "Claim").await;
}

#[tokio::test]
async fn signatures_count_and_nothing_else_does() {
    let (rsa, ec, other) = (Key::rsa("rsa"), Key::ec("ec"), Key::rsa("rsa"));
    let provider = Provider::start(&[&rsa, &ec]).await;
    let verifier = provider.verifier();
    let claims = provider.claims();
    let check = async |what: &str, token: String, expected: &str| {
        assert_eq!(outcome(&verifier, &token, now()).await, expected, "{what}");
    };
    let signed = rsa.sign(&claims);
    check("RS256", signed.clone(), "oidc:alice viewer").await;
    check("ES256", ec.sign(&claims), "oidc:alice viewer").await;
    check("PS256 by the same key", Key { algorithm: Algorithm::PS256, ..rsa.clone() }.sign(&claims), "UnknownKey")
        .await;
    check("another key under that name", other.sign(&claims), "Signature").await;
    check("a key that nobody has", Key { kid: "none".into(), ..other.clone() }.sign(&claims), "UnknownKey").await;

    // Forged: another payload under a good signature, and signatures that are cut.
    let parts: Vec<&str> = signed.split('.').collect();
    let payload = base64(&with(claims.clone(), json!({ "sub": "mallory" })).to_string());
    check("another payload", format!("{}.{payload}.{}", parts[0], parts[2]), "Signature").await;
    check("no signature", format!("{}.{}.", parts[0], parts[1]), "Signature").await;
    check("half a signature", format!("{}.{}.{}", parts[0], parts[1], &parts[2][..40]), "Signature").await;

    // No algorithm, and a shared secret that is the public key.
    let header = |text: &str| base64(text);
    for none in ["none", "None", "NONE", "nOnE"] {
        let head = header(&json!({ "alg": none, "typ": "JWT", "kid": "rsa" }).to_string());
        check(none, format!("{head}.{payload}."), "Algorithm").await;
        check(none, format!("{head}.{payload}.{}", parts[2]), "Algorithm").await;
    }
    let public = serde_json::to_vec(&rsa.public()).unwrap();
    let pem = KeyPair::from_pem(&rsa.pem).unwrap().public_key_pem();
    for secret in [pem.as_bytes(), public.as_slice()] {
        let head = Header { kid: Some("rsa".into()), ..Header::new(Algorithm::HS256) };
        check(
            "HS256 with the public key",
            encode(&head, &claims, &EncodingKey::from_secret(secret)).unwrap(),
            "Algorithm",
        )
        .await;
    }
    // An algorithm of another kind of key.
    let confused = header(&json!({ "alg": "ES256", "kid": "rsa" }).to_string());
    check("ES256 with an RSA key", format!("{confused}.{}.{}", parts[1], parts[2]), "UnknownKey").await;

    // Keys that the token brings along are not looked at; neither is a header that wants more than is known.
    let brought = Header {
        jwk: Some(serde_json::from_value(other.public()).unwrap()),
        kid: Some("rsa".into()),
        ..Header::new(Algorithm::RS256)
    };
    check("a key in the header", encode(&brought, &claims, &other.signing()).unwrap(), "Signature").await;
    let critical = Header { crit: Some(vec!["exp".into()]), kid: Some("rsa".into()), ..Header::new(Algorithm::RS256) };
    check("crit", encode(&critical, &claims, &rsa.signing()).unwrap(), "Header").await;
    let logout = Header { typ: Some("logout+jwt".into()), kid: Some("rsa".into()), ..Header::new(Algorithm::RS256) };
    check("a logout token", encode(&logout, &claims, &rsa.signing()).unwrap(), "Header").await;
    let access = Header { typ: Some("at+JWT".into()), kid: Some("rsa".into()), ..Header::new(Algorithm::RS256) };
    check("an access token", encode(&access, &claims, &rsa.signing()).unwrap(), "oidc:alice viewer").await;
    for malformed in ["", "a", "a.b", "a.b.c", "ey.e30.x", "e30.e30.e30"] {
        check(malformed, malformed.to_owned(), "Malformed").await;
    }
    // One that names no key, where more than one would do, and where one would.
    let nameless = Header { kid: None, ..Header::new(Algorithm::RS256) };
    check("no name, one RSA key", encode(&nameless, &claims, &rsa.signing()).unwrap(), "oidc:alice viewer").await;
}

#[tokio::test]
async fn keys_that_can_not_verify_are_no_keys() {
    let key = Key::rsa("k");
    let provider = Provider::start(&[]).await;
    let weak = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap();
    let token = key.sign(&provider.claims());
    for (what, jwk, expected) in [
        ("as it is", key.public(), "oidc:alice viewer"),
        ("for encryption", with(key.public(), json!({ "use": "enc" })), "UnknownKey"),
        ("for another algorithm", with(key.public(), json!({ "alg": "RS512" })), "UnknownKey"),
        ("a shared secret", json!({ "kty": "oct", "kid": "k", "k": base64(&weak.serialize_pem()) }), "UnknownKey"),
        ("too short", with(key.public(), json!({ "n": base64(&"x".repeat(128)) })), "UnknownKey"),
        ("of no known kind", json!({ "kty": "what", "kid": "k" }), "UnknownKey"),
        ("no key", json!("k"), "UnknownKey"),
    ] {
        provider.publish_raw(vec![jwk]);
        assert_eq!(outcome(&provider.verifier(), &token, now()).await, expected, "{what}");
    }
    let insecure = Trust { issuer: "http://id.example.test".into(), ..provider.trust() };
    assert!(matches!(Verifier::new(insecure, Via::Oidc, client()), Err(KeyFault::Insecure(_))));
    // The configuration of another provider, though it is served here.
    let stranger = Trust { issuer: provider.issuer.replace("127.0.0.1", "localhost"), ..provider.trust() };
    let verifier = Verifier::new(stranger, Via::Oidc, client()).unwrap();
    match verifier.verify(&token, now()).await {
        Err(JwtError::NoKeys { fault: KeyFault::OtherIssuer { .. } | KeyFault::Unreachable { .. }, .. }) => {}
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn keys_turn_and_the_provider_is_not_asked_at_every_token() {
    let (old, new) = (Key::ec("old"), Key::ec("new"));
    let provider = Provider::start(&[&old]).await;
    let ring = Arc::new(KeyRing::new(&provider.issuer, KeySource::Discovery, client()).unwrap());
    let begin = Instant::now();
    let count = async |kid: &str, after_s: u64| {
        let wanted = Wanted { kid: Some(kid.into()), algorithm: Algorithm::ES256 };
        let found = ring.find(&wanted, begin + Duration::from_secs(after_s)).await;
        (found.map(|keys| keys.len()), provider.asked.load(Ordering::Relaxed))
    };
    assert_eq!(count("old", 0).await, (Ok(1), 1));
    assert_eq!(count("old", 599).await, (Ok(1), 1), "they are kept");
    assert_eq!(count("new", 599).await, (Ok(0), 2), "an unknown one makes it ask");
    provider.publish(&[&new]);
    assert_eq!(count("new", 600).await, (Ok(0), 2), "but not again within seconds");
    assert_eq!(count("forged", 608).await, (Ok(0), 2));
    assert_eq!(count("new", 610).await, (Ok(1), 3), "a turned key is taken");
    assert_eq!(count("old", 611).await, (Ok(0), 3), "and the one that was withdrawn is not");

    // The provider goes away: known keys count for a day, and no longer.
    provider.goes_down();
    assert_eq!(count("new", 1300).await, (Ok(1), 4));
    assert_eq!(count("new", 1310).await, (Ok(1), 4), "it is not asked all the time");
    assert_eq!(count("new", 1400).await, (Ok(1), 5));
    let (found, _) = count("new", 610 + 24 * 3600).await;
    assert!(matches!(found, Err(KeyFault::Unreachable { .. })), "{found:?}");
    provider.publish(&[&new]);
    assert_eq!(count("new", 700 + 24 * 3600).await.0, Ok(1), "it is back");
}

#[tokio::test]
async fn keys_turn_for_tokens_that_name_none() {
    let (old, new) = (Key::rsa("old"), Key::rsa("new"));
    let provider = Provider::start(&[&old]).await;
    let ring = Arc::new(KeyRing::new(&provider.issuer, KeySource::Discovery, client()).unwrap());
    let (begin, wanted) = (Instant::now(), Wanted { kid: None, algorithm: Algorithm::RS256 });
    assert_eq!(ring.find(&wanted, begin).await.unwrap().len(), 1);
    provider.publish(&[&new]);
    let anew = async |after_s: u64| {
        let keys = ring.anew(&wanted, begin + Duration::from_secs(after_s)).await.len();
        (keys, provider.asked.load(Ordering::Relaxed))
    };
    assert_eq!(anew(5).await, (0, 1), "not within seconds");
    assert_eq!(anew(11).await, (1, 2));
    assert_eq!(anew(12).await, (0, 2));
    // Two that fit: a token that names none is verified with neither.
    provider.publish(&[&old, &new]);
    assert_eq!(anew(30).await, (0, 3));
}

#[tokio::test]
async fn many_at_once_ask_once() {
    let key = Key::ec("k");
    let provider = Provider::start(&[&key]).await;
    let verifier = Arc::new(provider.verifier());
    let token = key.sign(&provider.claims());
    let all = (0..50).map(|_| {
        let (verifier, token) = (verifier.clone(), token.clone());
        tokio::spawn(async move { outcome(&verifier, &token, now()).await })
    });
    for one in all.collect::<Vec<_>>() {
        assert_eq!(one.await.unwrap(), "oidc:alice viewer");
    }
    assert_eq!(provider.asked.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_clock_that_jumps_changes_what_tokens_count_and_never_which_keys() {
    let key = Key::ec("k");
    let provider = Provider::start(&[&key]).await;
    let verifier = provider.verifier();
    let token = key.sign(&provider.claims());
    let at = |shift: i64| jiff::Timestamp::from_second(NOW + shift).unwrap();
    assert_eq!(outcome(&verifier, &token, at(0)).await, "oidc:alice viewer");
    provider.goes_down();
    assert_eq!(outcome(&verifier, &token, at(10 * 365 * 86_400)).await, "Expired", "years forward");
    assert_eq!(outcome(&verifier, &token, at(-86_400)).await, "NotYet", "a day back");
    assert_eq!(
        outcome(&verifier, &token, at(0)).await,
        "oidc:alice viewer",
        "and right again: the keys are there still"
    );
    assert_eq!(provider.asked.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_gateway_takes_no_tokens_made_for_another() {
    let key = Key::ec("k");
    let provider = Provider::start(&[&key]).await;
    let another = Trust { audience: "openshell-staging".into(), client_id: None, ..provider.trust() };
    let another = Verifier::new(another, Via::Oidc, client()).unwrap();
    let token = key.sign(&provider.claims());
    assert_eq!(outcome(&another, &token, now()).await, "Audience");
    // The same names from another provider, with keys of the same names.
    let elsewhere = Provider::start(&[&Key::ec("k")]).await;
    assert_eq!(outcome(&elsewhere.verifier(), &token, now()).await, "Signature");
}

#[tokio::test]
async fn addresses_name_users_only_where_they_were_verified() {
    let key = Key::ec("k");
    let provider = Provider::start(&[&key]).await;
    let by_email = Trust { user_claim: "email".into(), ..provider.trust() };
    let access = Trust {
        keys: KeySource::Certificates(format!("{}/keys", provider.issuer)),
        default_role: Some(Role::Operator),
        ..by_email.clone()
    };
    let oidc = Verifier::new(by_email, Via::Oidc, client()).unwrap();
    let access = Verifier::new(access, Via::Access, client()).unwrap();
    for (verifier, changes, expected) in [
        (&oidc, json!({ "email": "a@b.test" }), "Unverified"),
        (&oidc, json!({ "email": "a@b.test", "email_verified": false }), "Unverified"),
        (&oidc, json!({ "email": "a@b.test", "email_verified": true }), "oidc:a@b.test viewer"),
        (&access, json!({ "email": "a@b.test", "realm": null }), "access:a@b.test operator"),
        (&access, json!({ "email": "a@b.test", "email_verified": false }), "Unverified"),
        // What Access says of a service token names nobody.
        (&access, json!({ "sub": "", "common_name": "ci.access", "realm": null }), "access-service:ci.access operator"),
        (&access, json!({ "sub": "", "common_name": "" }), "Claim"),
        (&access, json!({ "common_name": "ci.access" }), "Claim"),
        (&access, json!({ "email": "a@b.test", "sub": "", "common_name": "ci.access" }), "access:a@b.test viewer"),
        (&oidc, json!({ "sub": "", "common_name": "ci.access" }), "Claim"),
    ] {
        let token = key.sign(&with(provider.claims(), changes.clone()));
        assert_eq!(outcome(verifier, &token, now()).await, expected, "{changes}");
    }
}
