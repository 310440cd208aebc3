//! Request paths: what is judged is what is sent.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../../proxy/src/http/path.rs"]
mod path;

fuzz_target!(|given: &str| {
    let Some(once) = path::normalise(given) else { return };
    assert!(once.starts_with('/'));
    assert!(once.split('/').all(|segment| segment != "." && segment != ".."), "{given:?} became {once:?}");
    assert_eq!(path::normalise(&once).as_deref(), Some(&*once), "one form only");
});
