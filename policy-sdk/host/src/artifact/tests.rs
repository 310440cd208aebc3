use proptest::prelude::*;

use super::*;

fn key() -> SigningKey {
    SigningKey::from_bytes(&[7; 32])
}

fn manifest() -> Manifest {
    Manifest {
        name: "demo".to_owned(),
        version: "1.0.0".to_owned(),
        module: digest(b"component"),
        contract: CONTRACT.to_owned(),
        hooks: BTreeSet::from([Hook::Connect]),
        imports: vec!["log".to_owned()],
        pure_verdicts: true,
        body_cap: 0,
        settings_digest: digest(b"{}"),
        examples: Vec::new(),
        compatibility: "any".to_owned(),
    }
}

fn sealed() -> Vec<u8> {
    seal(&manifest(), b"some code", &key()).unwrap()
}

/// Opens bytes under their own digest, so that what follows the digest check is what is tested.
fn open(bytes: &[u8]) -> Result<Artifact, ArtifactError> {
    Artifact::open(bytes, &digest(bytes), &key().verifying_key())
}

#[test]
fn what_was_sealed_opens() {
    let bytes = sealed();
    let artifact = open(&bytes).unwrap();
    assert_eq!(artifact.manifest(), &manifest());
    assert_eq!(artifact.code(), b"some code");
    assert_eq!(artifact.digest(), digest(&bytes));
}

#[test]
fn another_digest_is_refused() {
    let bytes = sealed();
    let error = Artifact::open(&bytes, &digest(b"other"), &key().verifying_key()).unwrap_err();
    assert_eq!(error, ArtifactError::DigestMismatch { expected: digest(b"other"), found: digest(&bytes) });
}

#[test]
fn another_key_is_refused() {
    let bytes = sealed();
    let other = SigningKey::from_bytes(&[8; 32]).verifying_key();
    assert_eq!(Artifact::open(&bytes, &digest(&bytes), &other).unwrap_err(), ArtifactError::Signature);
}

#[test]
fn an_artifact_is_signed_anew_by_whoever_holds_the_next_key_and_knows_the_last() {
    let (bytes, next) = (sealed(), SigningKey::from_bytes(&[8; 32]));
    let (last, other) = (key().verifying_key(), SigningKey::from_bytes(&[9; 32]).verifying_key());
    let (said, anew) = Artifact::sign_anew(&bytes, &digest(&bytes), &last, &next).unwrap();
    assert_eq!(said, manifest());
    let opened = Artifact::open(&anew, &digest(&anew), &next.verifying_key()).unwrap();
    assert_eq!((opened.manifest(), opened.code()), (&manifest(), b"some code".as_slice()));
    assert_eq!(open(&anew).unwrap_err(), ArtifactError::Signature, "the last key says nothing of it any more");
    let refused = |bytes: &[u8], from| Artifact::sign_anew(bytes, &digest(bytes), from, &next).unwrap_err();
    assert_eq!(refused(&bytes, &other), ArtifactError::Signature);
    let mut changed = bytes.clone();
    changed[20] ^= 1;
    assert_eq!(refused(&changed, &last), ArtifactError::Signature);
    assert!(matches!(
        Artifact::sign_anew(&bytes, &digest(b"other"), &last, &next),
        Err(ArtifactError::DigestMismatch { .. })
    ));
}

#[test]
fn a_cut_artifact_is_refused() {
    let bytes = sealed();
    for length in 0..bytes.len() {
        let expected =
            if length < SIGNATURE { ArtifactError::Truncated { found: length } } else { ArtifactError::Signature };
        assert_eq!(open(&bytes[..length]).unwrap_err(), expected, "first {length} bytes");
    }
}

/// Signs whatever bytes, as only a mistake of the key's holder could.
fn signed(body: &[u8]) -> Vec<u8> {
    use ed25519_dalek::Signer;
    [body, key().sign(&message(body)).to_bytes().as_slice()].concat()
}

#[test]
fn signed_nonsense_is_refused() {
    assert_eq!(open(&signed(b"short")).unwrap_err(), ArtifactError::Truncated { found: 5 });
    assert_eq!(
        open(&signed(b"oshellP\x02 and more")).unwrap_err(),
        ArtifactError::Format { found: hex::encode(b"oshellP\x02") }
    );
    for (body, detail) in [
        (&b"oshellP\x01"[..], "no manifest"),
        (b"oshellP\x01\xff\xff\xff\xff{}", "manifest is cut short"),
        (b"oshellP\x01\x02\0\0\0{}", "no code"),
        (b"oshellP\x01\x02\0\0\0{}\x01\0\0\0\0\0\0\0", "code has another length than stated"),
        (b"oshellP\x01\x02\0\0\0{}\x01\0\0\0\0\0\0\0cc", "code has another length than stated"),
    ] {
        assert_eq!(open(&signed(body)).unwrap_err(), ArtifactError::Malformed { detail: detail.to_owned() });
    }
}

proptest! {
    #[test]
    fn a_flipped_bit_is_refused(at: prop::sample::Index, bit in 0_u8..8) {
        let original = sealed();
        let mut bytes = original.clone();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        prop_assert_eq!(open(&bytes).unwrap_err(), ArtifactError::Signature);
        let under_old_digest = Artifact::open(&bytes, &digest(&original), &key().verifying_key());
        prop_assert!(matches!(under_old_digest, Err(ArtifactError::DigestMismatch { .. })), "digest must not match");
    }
}
