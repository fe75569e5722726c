//! The audit of a node that keeps nothing on disk: the last events only.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::chain::{Head, Verified, Walk};
use super::entry::Entry;

/// Events kept.
pub(super) const RING_MAX: usize = 1024;

#[derive(Default)]
pub(super) struct Ring(Mutex<Lines>);

#[derive(Default)]
struct Lines {
    head: Head,
    lines: VecDeque<Vec<u8>>,
}

impl Ring {
    pub(super) fn push(&self, at_ms: u64, entry: &Entry) {
        let mut ring = self.lock();
        let Lines { head, lines } = &mut *ring;
        // The oldest line's room serves the newest.
        let mut line = if lines.len() < RING_MAX { Vec::new() } else { lines.pop_front().unwrap_or_default() };
        line.clear();
        head.write(at_ms, entry, &mut line);
        line.pop();
        lines.push_back(line);
    }

    pub(super) fn newest_first(&self) -> Vec<Vec<u8>> {
        self.lock().lines.iter().rev().cloned().collect()
    }

    pub(super) fn verify(&self) -> Verified {
        let ring = self.lock();
        let mut walk = Walk::to(ring.head);
        let _ = ring.lines.iter().all(|line| walk.line("memory", line));
        walk.end("memory")
    }

    fn lock(&self) -> MutexGuard<'_, Lines> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
