//! Repairs under way: which parts of the vector are fetched from whom. One at a time from each fellow, and each part from one
//! fellow at a time, so that what is missing comes once.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::record::NodeId;

#[derive(Debug)]
struct Pull {
    buckets: u64,
    /// Given up then; a fellow that was busy is compared with again then.
    until: Duration,
    waits: bool,
    /// Something of it was new.
    fresh: bool,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Pulls {
    by_peer: BTreeMap<NodeId, Pull>,
}

impl Pulls {
    /// Whether any is under way.
    pub(super) fn any(&self) -> bool {
        !self.by_peer.is_empty()
    }

    /// Begins one; returns the parts to ask for, those that nobody else is fetching, when there are any.
    pub(super) fn begin(&mut self, peer: NodeId, buckets: u64, until: Duration) -> Option<u64> {
        if self.by_peer.contains_key(&peer) {
            return None;
        }
        let taken = self.by_peer.values().filter(|pull| !pull.waits).fold(0, |taken, pull| taken | pull.buckets);
        let free = buckets & !taken;
        let pull = Pull { buckets: free, until, waits: false, fresh: false };
        (free != 0).then(|| {
            self.by_peer.insert(peer, pull);
            free
        })
    }

    /// Part of the answer came.
    pub(super) fn on_part(&mut self, peer: NodeId, fresh: bool, until: Duration) {
        if let Some(pull) = self.by_peer.get_mut(&peer) {
            pull.fresh |= fresh;
            pull.until = until;
        }
    }

    /// The answer ended and there is more: returns the parts to ask for again.
    pub(super) fn go_on(&mut self, peer: NodeId, until: Duration) -> Option<u64> {
        let pull = self.by_peer.get_mut(&peer)?;
        pull.until = until;
        Some(pull.buckets)
    }

    /// The answer ended. Returns whether it brought something new.
    pub(super) fn end(&mut self, peer: NodeId) -> bool {
        self.by_peer.remove(&peer).is_some_and(|pull| pull.fresh)
    }

    /// The fellow asks for a pause: others may fetch those parts.
    pub(super) fn pause(&mut self, peer: NodeId, until: Duration) {
        if let Some(pull) = self.by_peer.get_mut(&peer) {
            pull.waits = true;
            pull.until = until;
        }
    }

    /// Forgets what brought nothing. Returns those who had asked for a pause that is over.
    pub(super) fn expire(&mut self, now: Duration) -> Vec<NodeId> {
        let over = |pull: &Pull| pull.until <= now;
        let paused = self.by_peer.iter().filter(|(_, pull)| pull.waits && over(pull)).map(|(peer, _)| *peer).collect();
        self.by_peer.retain(|_, pull| !over(pull));
        paused
    }

    pub(super) fn next_deadline(&self) -> Option<Duration> {
        self.by_peer.values().map(|pull| pull.until).min()
    }
}
