//! From a host to its endpoints, by hash: a decision costs the same with ten endpoints as with a thousand.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use crate::network::{Host, Network};

/// Where an endpoint stands: its network policy, and its place in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Position {
    pub(crate) network: u32,
    pub(crate) endpoint: u32,
}

type Table = HashMap<String, Vec<Position>, BuildHasherDefault<Fnv>>;

#[derive(Debug, Clone, Default)]
pub(crate) struct Index {
    exact: Table,
    /// By the suffix of `*.suffix`.
    one_label: Table,
    /// By the suffix of `**.suffix`.
    labels: Table,
}

impl Index {
    pub(crate) fn new(networks: &[Network]) -> Self {
        let mut index = Self::default();
        for (network, policy) in (0..).zip(networks) {
            for (endpoint, listed) in (0..).zip(&policy.endpoints) {
                let (table, key) = match &listed.host {
                    Host::Exact(name) => (&mut index.exact, name),
                    Host::OneLabel(suffix) => (&mut index.one_label, suffix),
                    Host::Labels(suffix) => (&mut index.labels, suffix),
                };
                table.entry(key.clone()).or_default().push(Position { network, endpoint });
            }
        }
        index
    }

    /// Endpoints whose host matches, in the document's order.
    pub(crate) fn of_host(&self, host: &str) -> Vec<Position> {
        let mut found = self.exact.get(host).cloned().unwrap_or_default();
        let mut add = |positions: Option<&Vec<Position>>| found.extend(positions.into_iter().flatten());
        // An address has no labels.
        if host.parse::<std::net::IpAddr>().is_err() {
            let mut rest = host.split_once('.').map(|(_, rest)| rest);
            if let Some(suffix) = rest {
                add(self.one_label.get(suffix));
            }
            while let Some(suffix) = rest {
                add(self.labels.get(suffix));
                rest = suffix.split_once('.').map(|(_, rest)| rest);
            }
        }
        found.sort_by_key(|position| (position.network, position.endpoint));
        found
    }
}

/// FNV-1a. The keys are the policy's own, so nobody chooses them to collide; and it is the same in every instance.
#[derive(Debug, Clone)]
pub(crate) struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Hasher for Fnv {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}
