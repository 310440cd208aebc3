//! Names and the synthetic addresses they were answered with.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// First address handed out: 198.18.0.0/15 is set aside for benchmarks (RFC 2544) and never routed.
const FIRST: u32 = u32::from_be_bytes([198, 18, 0, 1]);
/// How many names are remembered. Beyond it, the one asked for first is forgotten.
const CAPACITY: u32 = 65_536;

/// A bounded, two-way table. A name keeps its address until it is forgotten.
pub struct Names {
    table: Mutex<Table>,
    capacity: u32,
}

#[derive(Default)]
struct Table {
    by_name: HashMap<Arc<str>, u32>,
    by_slot: HashMap<u32, Arc<str>>,
    next: u32,
}

impl Default for Names {
    fn default() -> Self {
        Self::with_capacity(CAPACITY)
    }
}

impl Names {
    /// Remembers at most this many names (at least one, at most 65,536).
    pub fn with_capacity(capacity: u32) -> Self {
        Self { table: Mutex::default(), capacity: capacity.clamp(1, CAPACITY) }
    }

    /// The address for a lowercase name without trailing dot.
    pub fn address_of(&self, name: &str) -> Ipv4Addr {
        let mut table = self.table();
        if let Some(slot) = table.by_name.get(name) {
            return Ipv4Addr::from(FIRST + slot);
        }
        let slot = table.next;
        table.next = (slot + 1) % self.capacity;
        let name: Arc<str> = name.into();
        if let Some(forgotten) = table.by_slot.insert(slot, name.clone()) {
            table.by_name.remove(&forgotten);
        }
        table.by_name.insert(name, slot);
        Ipv4Addr::from(FIRST + slot)
    }

    /// The name that was answered with this address.
    pub fn name_of(&self, address: IpAddr) -> Option<Arc<str>> {
        let IpAddr::V4(address) = address.to_canonical() else { return None };
        let slot = u32::from(address).checked_sub(FIRST)?;
        self.table().by_slot.get(&slot).cloned()
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
