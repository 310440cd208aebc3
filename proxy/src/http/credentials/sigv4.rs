//! AWS Signature Version 4: the workload signs with a placeholder, and the proxy signs anew.
//!
//! Source: AWS General Reference, "Create a signed AWS API request".

use hmac::{Hmac, KeyInit as _, Mac as _};
use http::header::{AUTHORIZATION, HeaderName, HeaderValue};
use http::{HeaderMap, Method, Uri};
use sha2::{Digest as _, Sha256};

use super::{CredentialError, query};

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
static DATE: HeaderName = HeaderName::from_static("x-amz-date");
static CONTENT: HeaderName = HeaderName::from_static("x-amz-content-sha256");
static TOKEN: HeaderName = HeaderName::from_static("x-amz-security-token");
const UNSIGNED: &str = "UNSIGNED-PAYLOAD";

/// Signs one request.
pub(in super::super) struct Signer {
    credential: String,
    access_key_id: String,
    secret: String,
    region: String,
    service: String,
    signed: Vec<HeaderName>,
    /// The payload's hash, where the workload's client said it.
    payload: Option<String>,
}

/// Whether a request is signed in the name of this access key.
pub(super) fn names(headers: &HeaderMap, access_key_id: &str) -> bool {
    authorization(headers).is_some_and(|(key, ..)| key == access_key_id)
}

/// Access key id, region, service and signed headers of a signature.
fn authorization(headers: &HeaderMap) -> Option<(&str, &str, &str, &str)> {
    let text = headers.get(AUTHORIZATION)?.to_str().ok()?.strip_prefix(ALGORITHM)?;
    let part = |name: &str| text.split(',').find_map(|part| part.trim().strip_prefix(name)?.strip_prefix('='));
    let mut scope = part("Credential")?.split('/');
    let (key, _date, region, service) = (scope.next()?, scope.next()?, scope.next()?, scope.next()?);
    (scope.next() == Some("aws4_request")).then_some((key, region, service, part("SignedHeaders")?))
}

impl Signer {
    /// Takes region, service and signed headers from the workload's own signature, which is thrown away. Refuses one that is none,
    /// and payloads that are signed in chunks.
    pub(super) fn new(
        name: &str,
        access_key_id: &str,
        secret: &str,
        headers: &mut HeaderMap,
    ) -> Result<Self, CredentialError> {
        let refuse = |reason| CredentialError::Unsignable { name: name.to_owned(), reason };
        let (_, region, service, signed) = authorization(headers)
            .ok_or_else(|| refuse("it bears no signature (version 4) that says region and service; let the client sign with the placeholder"))?;
        let scope =
            |text: &str| text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
        if !scope(region) || !scope(service) {
            return Err(refuse("its signature names no region and service"));
        }
        let payload = headers.get(&CONTENT).and_then(|value| value.to_str().ok()).map(str::to_owned);
        if payload.as_deref().is_some_and(|hash| hash.starts_with("STREAMING-")) {
            return Err(refuse("its payload is signed in chunks; let the client send it unsigned or whole"));
        }
        let signed: Vec<HeaderName> = signed
            .split(';')
            .filter_map(|name| name.parse::<HeaderName>().ok())
            .filter(|name| *name != TOKEN && *name != DATE && *name != CONTENT && *name != AUTHORIZATION)
            .collect();
        let (region, service) = (region.to_owned(), service.to_owned());
        headers.remove(AUTHORIZATION);
        headers.remove(&TOKEN);
        Ok(Self {
            credential: name.to_owned(),
            access_key_id: access_key_id.to_owned(),
            secret: secret.to_owned(),
            region,
            service,
            signed,
            payload,
        })
    }

    /// Whether the body must be at hand: nobody has said its hash.
    pub(in super::super) fn wants_body(&self) -> bool {
        self.payload.is_none()
    }

    /// The body is longer than what is kept in memory.
    pub(in super::super) fn too_long(&self) -> CredentialError {
        let reason = "its body is too long to be hashed here; let the client send x-amz-content-sha256";
        CredentialError::Unsignable { name: self.credential.clone(), reason }
    }

    /// Signs, at this time.
    pub(in super::super) fn sign(
        &self,
        method: &Method,
        target: &Uri,
        headers: &mut HeaderMap,
        body: &[u8],
        now: jiff::Timestamp,
    ) -> Result<(), CredentialError> {
        let unwritable = || CredentialError::Unwritable { name: self.credential.clone() };
        let at = now.strftime("%Y%m%dT%H%M%SZ").to_string();
        headers.insert(&DATE, HeaderValue::try_from(&at).map_err(|_| unwritable())?);
        let hash = match &self.payload {
            Some(hash) if hash == UNSIGNED || hash.len() == 64 => hash.clone(),
            _ => hex::encode(Sha256::digest(body)),
        };
        let mut names: Vec<&HeaderName> = self.signed.iter().filter(|name| headers.contains_key(*name)).collect();
        names.push(&DATE);
        if headers.contains_key(&CONTENT) {
            names.push(&CONTENT);
        }
        names.sort_by_key(|name| name.as_str());
        names.dedup();
        let mut canonical = format!("{method}\n{}\n{}\n", self.path(target), canonical_query(target));
        for name in &names {
            let values: Vec<String> =
                headers.get_all(*name).iter().map(squeezed).collect::<Option<_>>().ok_or_else(unwritable)?;
            canonical.push_str(&format!("{name}:{}\n", values.join(",")));
        }
        let signed = names.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(";");
        canonical.push_str(&format!("\n{signed}\n{hash}"));

        let day = at.get(..8).unwrap_or_default();
        let scope = format!("{day}/{}/{}/aws4_request", self.region, self.service);
        let text = format!("{ALGORITHM}\n{at}\n{scope}\n{}", hex::encode(Sha256::digest(canonical.as_bytes())));
        let key = [day, self.region.as_str(), self.service.as_str(), "aws4_request"]
            .iter()
            .fold(format!("AWS4{}", self.secret).into_bytes(), |key, part| mac(&key, part));
        let signature = hex::encode(mac(&key, &text));
        let access = &self.access_key_id;
        let value = format!("{ALGORITHM} Credential={access}/{scope}, SignedHeaders={signed}, Signature={signature}");
        let mut value = HeaderValue::try_from(value).map_err(|_| unwritable())?;
        value.set_sensitive(true);
        headers.insert(AUTHORIZATION, value);
        Ok(())
    }

    /// The path as it is signed: once more encoded, except for S3.
    fn path(&self, target: &Uri) -> String {
        let path = if target.path().is_empty() { "/" } else { target.path() };
        match self.service.as_str() {
            "s3" => path.to_owned(),
            _ => encode(path, true),
        }
    }
}

fn canonical_query(target: &Uri) -> String {
    let mut pairs: Vec<(String, String)> =
        query(target).filter(|(key, _)| !key.is_empty()).map(|(key, value)| (again(key), again(value))).collect();
    pairs.sort();
    pairs.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join("&")
}

/// Decoded, and encoded as AWS does.
fn again(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let decoded = (*first == b'%').then(|| after.get(..2).and_then(|hex| hex::decode(hex).ok())).flatten();
        match decoded {
            Some(decoded) => {
                bytes.extend(decoded);
                rest = &after[2..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    encode_bytes(&bytes, false)
}

/// Percent-encoded but for what RFC 3986 calls unreserved, and slashes where those are kept.
pub(super) fn encode(text: &str, keep_slashes: bool) -> String {
    encode_bytes(text.as_bytes(), keep_slashes)
}

fn encode_bytes(bytes: &[u8], keep_slashes: bool) -> String {
    let mut encoded = String::with_capacity(bytes.len());
    for byte in bytes {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => encoded.push(char::from(*byte)),
            b'/' if keep_slashes => encoded.push('/'),
            other => encoded.push_str(&format!("%{other:02X}")),
        }
    }
    encoded
}

/// A value without spaces around it, and with one in the place of several.
fn squeezed(value: &HeaderValue) -> Option<String> {
    Some(value.to_str().ok()?.split(' ').filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" "))
}

fn mac(key: &[u8], text: &str) -> Vec<u8> {
    // A key of any length will do.
    let mut mac = match Hmac::<Sha256>::new_from_slice(key) {
        Ok(mac) => mac,
        Err(_) => return Vec::new(),
    };
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}
