//! What supervisors receive and verify. Each of a thousand has a machine of its own; here they share one process: what is the same to the
//! last byte for several of them is put together, verified and held once.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use openshell_api::signing::GatewayKey;
use openshell_api::{compress, patch};
use openshell_policy_host::Artifact;

/// So many are remembered: those of the last pushes.
const KEPT: usize = 8;

/// An artifact as it came.
pub struct Received {
    pub digest: String,
    /// What it is a patch of.
    pub base: Option<Arc<Vec<u8>>>,
    /// Whether it is compressed.
    pub zstd: bool,
    pub bytes: Vec<u8>,
    pub signers: Vec<GatewayKey>,
}

impl Received {
    /// The whole of it. Panics where no signer has signed it, or its digest is another one.
    pub fn verified(self) -> Arc<Vec<u8>> {
        static LAST: Mutex<VecDeque<(Received, Arc<Vec<u8>>)>> = Mutex::new(VecDeque::new());
        let mut last = LAST.lock().unwrap();
        if let Some((_, whole)) = last.iter().find(|(other, _)| other.is(&self)) {
            return whole.clone();
        }
        let whole = match &self.base {
            Some(base) => patch::apply(base, &self.bytes, 1 << 28).expect("a patch that fits"),
            None if self.zstd => compress::decompress(&self.bytes, 1 << 28).expect("what was compressed"),
            None => self.bytes.clone(),
        };
        let opens = self.signers.iter().any(|key| Artifact::open(&whole, &self.digest, key.verifying()).is_ok());
        assert!(opens, "a signed artifact");
        let whole = Arc::new(whole);
        last.truncate(KEPT - 1);
        last.push_front((self, whole.clone()));
        whole
    }

    fn is(&self, other: &Self) -> bool {
        let same_base = match (&self.base, &other.base) {
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            (one, other) => one.is_none() && other.is_none(),
        };
        same_base
            && self.zstd == other.zstd
            && self.digest == other.digest
            && self.signers == other.signers
            && self.bytes == other.bytes
    }
}
