//! Hosts and ports, as CONNECT, `Host` and `:authority` name them.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../../proxy/src/http/destination.rs"]
#[allow(dead_code)]
mod destination;

use destination::{Destination, HostPort, canonical_host};

fuzz_target!(|given: &str| {
    let Ok(parsed) = Destination::parse(given) else { return };
    assert_eq!(canonical_host(&parsed.host).as_deref(), Some(&*parsed.host), "one form only");
    if let Some(port) = parsed.port {
        assert_eq!(Destination::parse(&HostPort(&parsed.host, port).to_string()), Ok(parsed));
    }
});
