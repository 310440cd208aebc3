//! How often something may be tried. Counts in memory, a bounded number of keys, by a clock that nobody sets.
//!
//! A lockout changes the answer to attempts that fail, and to nothing else: what is shown is always checked first, for that costs
//! less than the TLS handshake it came over. So nobody who holds a valid token is shut out by the failures of others at the same
//! address.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use moka::sync::Cache;

/// Whose attempts are counted.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Key {
    /// A source: an IPv4 address, or the /64 of an IPv6 one.
    Source(IpAddr),
    /// A user.
    User(String),
}

impl Key {
    /// Of an address.
    pub fn source(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V6(v6) => Self::Source(IpAddr::V6((v6.to_bits() & !u128::from(u64::MAX)).into())),
            v4 => Self::Source(v4),
        }
    }
}

/// So many at once, and then one per `every`.
#[derive(Debug, Clone, Copy)]
pub struct Rate {
    /// At once.
    pub burst: u32,
    /// Time until there is room for another one.
    pub every: Duration,
}

#[derive(Debug)]
struct Bucket {
    /// Attempts there is room for.
    room: f64,
    at: Instant,
    refused: u64,
}

/// Buckets by key. A key that is not seen for a while, or is one of too many, is forgotten.
pub struct Limiter {
    rate: Rate,
    buckets: Cache<Key, Arc<Mutex<Bucket>>>,
}

/// Keys that are kept.
const MOST_KEYS: u64 = 10_000;

impl Limiter {
    /// Allows everybody so much.
    pub fn new(rate: Rate) -> Self {
        let full = rate.every.saturating_mul(rate.burst).max(Duration::from_secs(1));
        Self { rate, buckets: Cache::builder().max_capacity(MOST_KEYS).time_to_idle(full).build() }
    }

    /// Counts an attempt. `Ok`: there was room; says how many were refused since there last was. `Err`: there is none; when there
    /// will be.
    pub fn take(&self, key: &Key, now: Instant) -> Result<u64, Duration> {
        let burst = f64::from(self.rate.burst);
        let new = || Arc::new(Mutex::new(Bucket { room: burst, at: now, refused: 0 }));
        let bucket = self.buckets.get_with_by_ref(key, new);
        let mut bucket = bucket.lock().unwrap_or_else(PoisonError::into_inner);
        let grown = now.saturating_duration_since(bucket.at).as_secs_f64() / self.rate.every.as_secs_f64();
        bucket.room = (bucket.room + grown).min(burst);
        bucket.at = bucket.at.max(now);
        if bucket.room < 1.0 {
            bucket.refused += 1;
            return Err(self.rate.every.mul_f64(1.0 - bucket.room));
        }
        bucket.room -= 1.0;
        Ok(std::mem::take(&mut bucket.refused))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_its_burst_and_then_its_rate() {
        let limiter = Limiter::new(Rate { burst: 3, every: Duration::from_secs(6) });
        let (one, other) = (Key::User("a".into()), Key::User("b".into()));
        let start = Instant::now();
        let take = |key: &Key, after_s: u64| limiter.take(key, start + Duration::from_secs(after_s));
        assert_eq!([take(&one, 0), take(&one, 0), take(&one, 0)], [Ok(0), Ok(0), Ok(0)]);
        assert_eq!(take(&one, 0), Err(Duration::from_secs(6)));
        assert_eq!(take(&one, 2), Err(Duration::from_secs(4)), "what is refused does not put the end off");
        assert_eq!(take(&other, 2), Ok(0));
        assert_eq!(take(&one, 6), Ok(2), "and is told of by the next that is not");
        assert_eq!(take(&one, 6), Err(Duration::from_secs(6)));
        assert_eq!([take(&one, 600), take(&one, 600), take(&one, 600)], [Ok(1), Ok(0), Ok(0)]);
    }

    #[test]
    fn memory_is_bounded_whoever_tries() {
        let limiter = Limiter::new(Rate { burst: 1, every: Duration::from_secs(60) });
        for n in 0..50_000_u32 {
            let _ = limiter.take(&Key::source(IpAddr::V4(n.into())), Instant::now());
        }
        limiter.buckets.run_pending_tasks();
        assert!(limiter.buckets.entry_count() <= MOST_KEYS, "{}", limiter.buckets.entry_count());
    }

    #[test]
    fn neighbours_in_a_64_count_as_one() {
        let key = |text: &str| Key::source(text.parse().unwrap());
        assert_eq!(key("2001:db8::1"), key("2001:db8::ffff:1"));
        assert_ne!(key("2001:db8::1"), key("2001:db8:0:1::1"));
        assert_eq!(key("::ffff:192.0.2.1"), key("192.0.2.1"));
        assert_ne!(key("192.0.2.1"), key("192.0.2.2"));
    }
}
