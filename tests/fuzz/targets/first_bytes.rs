//! What a connection speaks, told by its first bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../../proxy/src/http/peek.rs"]
#[allow(dead_code)]
mod peek;

fuzz_target!(|bytes: &[u8]| {
    // However the bytes arrive: what is decided first is what the whole is.
    let first = (0..=bytes.len()).find_map(|length| peek::classify(&bytes[..length]));
    if let Some(first) = first {
        assert_eq!(peek::classify(bytes), Some(first));
    }
});
