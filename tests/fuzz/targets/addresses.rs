//! Socket addresses out of a caller's memory.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../../proxy/src/intercept/addresses.rs"]
#[allow(dead_code)]
mod addresses;

use addresses::Destination;

fuzz_target!(|bytes: &[u8]| {
    match Destination::parse(bytes) {
        Destination::Inet(address) => assert_eq!(address.port(), u16::from_be_bytes([bytes[2], bytes[3]])),
        Destination::Local => assert!(![libc::AF_INET, libc::AF_INET6].contains(&family(bytes))),
        Destination::Malformed => {}
    }
});

fn family(bytes: &[u8]) -> i32 {
    i32::from(u16::from_ne_bytes([bytes[0], bytes[1]]))
}
