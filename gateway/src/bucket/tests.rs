//! What a server won't show at will: answers of all kinds, and objects that change.

use std::sync::Arc;

use bytes::Bytes;
use object_store::ObjectStoreExt as _;
use object_store::memory::InMemory;
use openshell_policy_host::digest;

use super::error::{Doing, failed};
use super::*;

#[test]
fn a_place_is_a_bucket_and_a_prefix() {
    let check = |given: &str, expected: &str| {
        let shown = match given.parse::<Place>() {
            Ok(place) => format!("{place} {}", place.object("sha256/ab.wasm")),
            Err(error) => error.to_string(),
        };
        assert!(shown.starts_with(expected), "{given}: {shown}");
    };
    check("s3://modules", "s3://modules sha256/ab.wasm");
    check("s3://modules/", "s3://modules sha256/ab.wasm");
    check("s3://modules.acme/openshell/prod/", "s3://modules.acme/openshell/prod openshell/prod/sha256/ab.wasm");
    for wrong in [
        "modules",
        "https://modules/x",
        "s3://",
        "s3://ab",
        "s3:///x",
        "s3://modules//x",
        "s3://modules/../x",
        "s3://key:secret@modules/x",
        "s3://modules/x?y=z",
        "s3://modules/a b",
    ] {
        check(wrong, &format!("{wrong:?} names no bucket"));
    }
}

#[test]
fn a_server_is_spoken_to_in_the_clear_on_this_machine_alone() {
    let check = |endpoint: &str, expected: &str| {
        let place = "s3://modules".parse().unwrap();
        let options = BucketOptions { place, endpoint: Some(endpoint.to_owned()), region: None, keys: None };
        let found = match options.endpoint() {
            Ok(url) => url.unwrap_or_default(),
            Err(error) => error.to_string(),
        };
        assert!(found.contains(expected) && !found.contains("hidden"), "{endpoint}: {found}");
    };
    check("https://minio.acme.test:9000/", "https://minio.acme.test:9000");
    check("http://127.0.0.1:9000", "http://127.0.0.1:9000");
    check("http://minio.acme.test:9000", "minio.acme.test would be spoken to in the clear");
    check("http://169.254.169.254", "in the clear");
    check("https://key:hidden@minio.acme.test", "can't be used");
    check("https://minio.acme.test/?hidden", "can't be used");
    check("minio", "can't be used");
}

#[test]
fn what_a_server_says_tells_a_refusal_from_an_outage() {
    use object_store::Error as E;
    let status = |status: u16, body: &str| -> Box<dyn std::error::Error + Send + Sync> {
        format!("Server returned non-2xx status code: {status} Something: {body}").into()
    };
    let xml = |code: &str| format!("<Error><Code>{code}</Code><Message>It is\nso.</Message></Error>");
    let check = |error: E, doing: Doing, expected: &str| {
        let failed = failed("s3://modules".to_owned(), &Object::from("a"), doing, &error);
        assert_eq!(failed.to_string(), expected, "{error}");
    };
    let generic = |source| E::Generic { store: "S3", source };
    let (path, refuses) = ("a".to_owned(), "the bucket s3://modules refuses the gateway:");
    let denied = E::PermissionDenied { path: path.clone(), source: status(403, &xml("SignatureDoesNotMatch")) };
    check(denied, Doing::Writing, &format!("{refuses} It is so. (SignatureDoesNotMatch)"));
    let missing = |code| E::NotFound { path: path.clone(), source: status(404, &xml(code)) };
    check(missing("NoSuchKey"), Doing::Reading, "the object a is not in the bucket s3://modules any more");
    check(missing("NoSuchKey"), Doing::Removing, "the object a is not in the bucket s3://modules any more");
    check(missing("NoSuchBucket"), Doing::Removing, &format!("{refuses} It is so. (NoSuchBucket)"));
    check(missing("NoSuchBucket"), Doing::Reading, &format!("{refuses} It is so. (NoSuchBucket)"));
    check(missing("NoSuchBucket"), Doing::Writing, &format!("{refuses} It is so. (NoSuchBucket)"));
    let region = generic(status(400, &xml("AuthorizationHeaderMalformed")));
    check(region, Doing::Writing, &format!("{refuses} It is so. (AuthorizationHeaderMalformed)"));
    let away = "the bucket s3://modules does not answer:";
    check(generic(status(503, &xml("SlowDown"))), Doing::Reading, &format!("{away} It is so. (SlowDown)"));
    let cut = std::io::Error::from(std::io::ErrorKind::ConnectionReset);
    let unanswered = object_store::client::HttpError::new(object_store::client::HttpErrorKind::Connect, cut);
    check(generic(Box::new(unanswered)), Doing::Reading, &format!("{away} connection reset"));
}

#[tokio::test]
async fn what_is_read_is_what_was_put_or_nothing() {
    let memory = Arc::new(InMemory::new());
    let bucket = Bucket::over("s3://modules/prod".parse().unwrap(), memory.clone());
    bucket.check().await.unwrap();
    let bytes = Bytes::from_static(b"\0asm module");
    let (name, has, size) = ("sha256/ab/one.wasm", digest(&bytes), bytes.len() as u64);
    bucket.put(name, bytes.clone()).await.unwrap();
    bucket.put(name, bytes.clone()).await.unwrap();
    assert_eq!(bucket.get(name, &has, size).await.unwrap(), bytes);

    let object = Object::from(format!("prod/{name}"));
    let changed = async |content: &'static [u8]| {
        memory.put(&object, content.into()).await.unwrap();
        bucket.get(name, &has, size).await.unwrap_err()
    };
    let other = changed(b"\0asm Module").await;
    assert!(
        matches!(&other, BucketError::Damaged { expected, found, .. } if *expected == has && *found != has),
        "{other}"
    );
    let longer = changed(b"\0asm module and more").await;
    assert!(matches!(longer, BucketError::Length { expected: 11, found: 20, .. }), "{longer}");
    for _ in 0..2 {
        bucket.remove(name).await.unwrap();
    }
    assert!(matches!(bucket.get(name, &has, size).await, Err(BucketError::Missing { .. })));
    // The bucket itself is well.
    assert_eq!(bucket.trouble(), None);
}
