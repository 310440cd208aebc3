//! Keeps a loop of refused calls from flooding the records.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use super::{Reason, Refusal};
use crate::seldom::Seldom;

/// Kinds of refusals that are told apart at a time. What exceeds them is alike if its reason is.
const KINDS: usize = 256;

/// The same program, refused the same thing.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Kind {
    executable: String,
    host: String,
    port: u16,
    reason: Reason,
}

/// What was told lately.
#[derive(Default)]
pub(super) struct Throttle(Mutex<HashMap<Kind, Seldom>>);

impl Throttle {
    /// Whether to tell of a refusal now; then, how many like it were passed over since the last one.
    pub fn admit(&self, refusal: &Refusal, now: Instant) -> Option<u64> {
        let mut kind = Kind {
            executable: refusal.caller.as_ref().map(|caller| caller.process.executable.clone()).unwrap_or_default(),
            host: refusal.destination.host.clone(),
            port: refusal.destination.port,
            reason: refusal.reason,
        };
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if told.len() >= KINDS && !told.contains_key(&kind) {
            // What was alike in its reason alone is kept: there are few reasons, and it counts much.
            let rest = |kind: &Kind| kind.executable.is_empty() && kind.host.is_empty();
            told.retain(|kind, last| rest(kind) || last.is_recent(now));
            if told.len() >= KINDS {
                kind = Kind { executable: String::new(), host: String::new(), port: 0, ..kind };
            }
        }
        told.entry(kind).or_default().happened(now)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::caller::Intended;

    #[test]
    fn what_is_alike_is_told_once_and_counted() {
        let (throttle, start) = (Throttle::default(), Instant::now());
        let admit = |host: &str, port: usize, second| {
            let destination = Intended { host: host.to_owned(), port: u16::try_from(port).unwrap() };
            let refusal = Refusal { caller: None, destination, reason: Reason::Datagram, repeated: 0 };
            throttle.admit(&refusal, start + Duration::from_secs(second))
        };
        assert_eq!([admit("a", 1, 0), admit("a", 1, 1), admit("a", 1, 9)], [Some(0), None, None]);
        assert_eq!([admit("a", 1, 10), admit("a", 1, 20)], [Some(2), Some(0)]);
        // A scan: as many as are told apart, then one for all others, then how many there were.
        let told = (0..1000).filter(|port| admit("scan", *port, 21).is_some()).count();
        assert_eq!(told, KINDS);
        assert_eq!([admit("b", 1, 22), admit("c", 1, 31)], [None, Some(0)]);
        let counted: u64 = (0..1000).filter_map(|port| admit("scan", port, 32)).sum();
        assert_eq!(counted, 1000 - (KINDS as u64 - 1) - 1 + 1);
    }
}
