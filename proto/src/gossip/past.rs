//! What the logs hashed to before their latest changes. A fellow with one of these hashes lacks exactly what came since, and is told
//! that instead of comparing parts: while news travel, most digests differ for this reason.

use std::collections::VecDeque;

use crate::params::PAST_MAX;
use crate::record::Origin;

/// The latest changes, oldest first.
#[derive(Debug, Default)]
pub(super) struct Past {
    changes: VecDeque<([u8; 16], Origin)>,
    now: [u8; 16],
}

impl Past {
    /// These logs changed; all of them hash to `hash` now.
    pub(super) fn on_change(&mut self, origins: impl Iterator<Item = Origin>, hash: [u8; 16]) {
        for origin in origins {
            self.changes.push_back((self.now, origin));
        }
        while self.changes.len() > PAST_MAX {
            // What changed together is forgotten together: a hash is of use only with everything that came after it.
            let Some((oldest, _)) = self.changes.pop_front() else { break };
            while self.changes.front().is_some_and(|(hash, _)| *hash == oldest) {
                self.changes.pop_front();
            }
        }
        self.now = hash;
    }

    /// The logs hash to this, whatever changed them.
    pub(super) fn set(&mut self, hash: [u8; 16]) {
        self.now = hash;
    }

    /// The logs that changed since they hashed to `hash`, sorted, when that is remembered.
    pub(super) fn since(&self, hash: &[u8; 16]) -> Option<Vec<Origin>> {
        let first = self.changes.iter().position(|(before, _)| before == hash)?;
        let mut origins: Vec<Origin> = self.changes.iter().skip(first).map(|(_, origin)| *origin).collect();
        origins.sort_unstable();
        origins.dedup();
        Some(origins)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::NodeId;

    fn origin(number: u8) -> Origin {
        Origin { node: NodeId([number; 32]), incarnation: 1 }
    }

    #[test]
    fn a_former_hash_tells_what_came_since_and_an_unknown_one_nothing() {
        let mut past = Past::default();
        past.set([9; 16]);
        past.on_change([origin(1)].into_iter(), [1; 16]);
        past.on_change([origin(3), origin(2)].into_iter(), [2; 16]);
        past.on_change([origin(1)].into_iter(), [3; 16]);
        assert_eq!(past.since(&[9; 16]), Some(vec![origin(1), origin(2), origin(3)]));
        assert_eq!(past.since(&[2; 16]), Some(vec![origin(1)]));
        assert_eq!(past.since(&[3; 16]), None, "equal now");
        assert_eq!(past.since(&[7; 16]), None);
    }

    #[test]
    fn only_a_few_changes_are_remembered_and_a_large_one_is_not() {
        let mut past = Past::default();
        past.on_change((0..=PAST_MAX as u8).map(origin), [1; 16]);
        assert_eq!(past.since(&[0; 16]), None);
        for number in 2..=PAST_MAX as u8 + 2 {
            past.on_change([origin(number)].into_iter(), [number; 16]);
        }
        assert_eq!(past.since(&[1; 16]), None);
        assert_eq!(past.since(&[2; 16]).map(|origins| origins.len()), Some(PAST_MAX));
    }
}
