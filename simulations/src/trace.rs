//! A hash over everything that happened, in order: two runs with the same hash are the same run.

use std::time::Duration;

/// The running hash. Not cryptographic: nobody lies to a simulator.
#[derive(Debug, Clone, Copy)]
pub struct Trace {
    hash: u64,
    events: u64,
}

impl Default for Trace {
    fn default() -> Self {
        Self { hash: 0xcbf2_9ce4_8422_2325, events: 0 }
    }
}

impl Trace {
    /// Takes one event.
    pub(crate) fn event(&mut self, at: Duration, kind: u8, host: usize, bytes: &[u8]) {
        self.events += 1;
        self.mix(u64::try_from(at.as_nanos()).unwrap_or(u64::MAX));
        self.mix((host as u64) << 8 | u64::from(kind));
        self.mix(bytes.len() as u64);
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.mix(u64::from_le_bytes(word));
        }
    }

    const fn mix(&mut self, word: u64) {
        self.hash = (self.hash ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
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
