//! Records that the nodes of one world have opened, kept once: ten thousand nodes hold one copy of each, and one of them checked its
//! signature. A node sees no difference: what it is given stands for exactly the bytes it asked for.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aop_proto::record::{Hash, SignedRef};
use aop_proto::trust::Opened;

use crate::trace::hash_bytes;

/// Kept below this many without asking who still holds them.
const KEPT_MIN: usize = 4096;
/// Other checks remembered.
const SEALS_MAX: usize = 1 << 20;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Shared(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    /// By a hash of the envelope; of two with the same hash the later one is kept.
    by_hash: HashMap<u64, SignedRef, BuildHasherDefault<Identity>>,
    sweep_at: usize,
    /// What else was checked; forgotten all at once when it is too much.
    seals: HashSet<Hash, BuildHasherDefault<Identity>>,
}

impl Shared {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        // A world lives on one thread; a check that failed there leaves the map as it was.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Opened for Shared {
    fn find(&self, bytes: &[u8]) -> Option<SignedRef> {
        let kept = self.kept();
        kept.by_hash.get(&hash_bytes(bytes)).filter(|signed| signed.is_envelope(bytes)).cloned()
    }

    fn keep(&self, signed: &SignedRef) {
        let mut kept = self.kept();
        if kept.by_hash.len() >= kept.sweep_at.max(KEPT_MIN) {
            kept.by_hash.retain(|_, signed| Arc::strong_count(signed) > 1);
            kept.sweep_at = 2 * kept.by_hash.len();
        }
        kept.by_hash.insert(hash_bytes(&signed.envelope()), Arc::clone(signed));
    }

    fn knows(&self, seal: &Hash) -> bool {
        self.kept().seals.contains(seal)
    }

    fn remember(&self, seal: Hash) {
        let mut kept = self.kept();
        if kept.seals.len() >= SEALS_MAX {
            kept.seals.clear();
        }
        kept.seals.insert(seal);
    }
}

/// For keys that are as good as random already: hashes, and the keys of nodes.
#[derive(Debug, Default)]
pub(super) struct Identity(u64);

impl Hasher for Identity {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        if let Some((first, _)) = bytes.split_first_chunk() {
            self.0 = u64::from_le_bytes(*first);
        }
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = number;
    }

    /// Lengths say nothing.
    fn write_usize(&mut self, _: usize) {}
}
