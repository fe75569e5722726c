//! A hash over everything that happened, in order: two runs with the same hash are the same run.

use std::time::Duration;

/// The running hash. Not cryptographic: nobody lies to a simulator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trace {
    hash: u64,
    events: u64,
}

const SEED: u64 = 0xcbf2_9ce4_8422_2325;

impl Default for Trace {
    fn default() -> Self {
        Self { hash: SEED, events: 0 }
    }
}

impl Trace {
    /// Takes one event.
    pub(crate) fn event(&mut self, at: Duration, kind: u8, host: usize, bytes: &[u8]) {
        self.events += 1;
        let at = at.as_secs() << 30 | u64::from(at.subsec_nanos());
        self.hash = mix(mix(self.hash, at), (host as u64) << 8 | u64::from(kind));
        if !bytes.is_empty() {
            self.hash = mix(self.hash, hash_bytes(bytes));
        }
    }

    /// The hash so far.
    pub const fn hash(&self) -> u64 {
        self.hash
    }

    /// Events so far.
    pub const fn events(&self) -> u64 {
        self.events
    }
}

const fn mix(hash: u64, word: u64) -> u64 {
    (hash ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29)
}

/// A fast hash of some bytes and their number.
pub(crate) fn hash_bytes(bytes: &[u8]) -> u64 {
    let (chunks, rest) = bytes.as_chunks();
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    let body = chunks.iter().fold(mix(SEED, bytes.len() as u64), |hash, chunk| mix(hash, u64::from_le_bytes(*chunk)));
    // The last round's low bits have seen little of the last word.
    let hash = mix(body, u64::from_le_bytes(last));
    hash ^ hash >> 32
}
