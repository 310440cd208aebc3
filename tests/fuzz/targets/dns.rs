//! The sandbox's resolver.
#![no_main]

use std::sync::LazyLock;

use hickory_proto::op::{Message, MessageType};
use libfuzzer_sys::fuzz_target;

#[path = "../../../proxy/src/http/destination.rs"]
#[allow(dead_code)]
mod destination;
#[path = "../../../proxy/src/intercept/dns.rs"]
#[allow(dead_code)]
mod dns;
#[path = "../../../proxy/src/intercept/names.rs"]
#[allow(dead_code)]
mod names;

use names::Names;

/// Where the resolver looks for it.
mod http {
    pub use crate::destination::canonical_host;
}

static NAMES: LazyLock<Names> = LazyLock::new(|| Names::with_capacity(16));

fuzz_target!(|query: &[u8]| {
    let Some(answer) = dns::answer(query, &NAMES) else { return };
    let answer = Message::from_vec(&answer).expect("an answer is a message");
    assert_eq!(answer.metadata.id.to_be_bytes(), query[..2]);
    assert_eq!(answer.metadata.message_type, MessageType::Response);
});
