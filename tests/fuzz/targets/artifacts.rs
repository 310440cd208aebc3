//! Artifacts: whatever the bytes, they are refused or hold exactly what was signed. Bodies are signed here, so that what
//! stands behind the signature is read as well, and then cut and bent.
#![no_main]

use ed25519_dalek::{Signer as _, SigningKey};
use libfuzzer_sys::fuzz_target;
use sha2::{Digest as _, Sha256};

#[path = "../../../policy-sdk/host/src/artifact.rs"]
#[allow(dead_code)]
mod artifact;
/// What the artifact's manifest is made of.
#[path = "../../../policy-sdk/host/src/types.rs"]
#[allow(dead_code)]
mod types;

use artifact::{Artifact, digest};

fuzz_target!(|data: &[u8]| {
    let key = SigningKey::from_bytes(&[7; 32]);
    let open = |bytes: &[u8]| Artifact::open(bytes, &digest(bytes), &key.verifying_key());
    assert!(open(data).is_err(), "nobody signed this");
    let signature = key.sign(&[b"openshell policy artifact v1\0".as_slice(), &Sha256::digest(data)].concat());
    let mut signed = [data, &signature.to_bytes()].concat();
    if let Ok(opened) = open(&signed) {
        assert!(signed.windows(opened.code().len()).any(|window| window == opened.code()));
    }
    if let Some(byte) = signed.first_mut() {
        *byte ^= 1;
        assert!(open(&signed).is_err(), "and nobody signed that");
    }
});
