//! Ranges whose stamps are ahead of the local clock, until it has come that far: of each node one life, the latest that was named.
//!
//! Nothing here is shown, stored, relayed or hashed. It is bounded in bytes, of each node and of all, and all of it may be lost: it is
//! asked for again.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::params::{DEFERRED_BYTES_MAX, DEFERRED_BYTES_NODE_MAX, ORIGINS_MAX};
use crate::record::{NodeId, Origin, SignedRef};
use crate::wire::message::Range;

/// What a record is reckoned to take beside twice its envelope, which is more than it takes.
const RECORD_BYTES_OVERHEAD: usize = 256;

/// A range that waits for the local clock.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) sender: NodeId,
    /// Without its envelopes.
    pub(super) range: Range,
    pub(super) records: Vec<SignedRef>,
    pub(super) due_ms: u64,
}

/// What is held back of one node, of one life, in the order of its arrival.
#[derive(Debug, Default)]
struct Queue {
    ranges: VecDeque<Waiting>,
    bytes: usize,
}

/// Ranges held back. No queue is empty.
#[derive(Debug, Default)]
pub(super) struct Deferred {
    by_node: BTreeMap<NodeId, Queue>,
    /// When the first of each node is due.
    due: BTreeSet<(u64, NodeId)>,
    bytes: usize,
}

impl Deferred {
    /// Where the last range held back of an origin ends.
    pub(super) fn end(&self, origin: Origin) -> Option<u64> {
        let last = &self.by_node.get(&origin.node)?.ranges.back()?.range;
        (last.origin == origin).then_some(last.to_inclusive)
    }

    /// A record that is held back.
    pub(super) fn get(&self, origin: Origin, seq: u64) -> Option<&SignedRef> {
        let queue = self.by_node.get(&origin.node)?;
        let waiting = queue.ranges.iter().find(|waiting| seq <= waiting.range.to_inclusive)?;
        let records = if waiting.range.origin == origin { &waiting.records[..] } else { &[] };
        records.iter().find(|signed| signed.record.seq == seq)
    }

    /// The life of a node that waits.
    pub(super) fn life(&self, node: NodeId) -> Option<Origin> {
        Some(self.by_node.get(&node)?.ranges.front()?.range.origin)
    }

    /// Holds a range back, behind those of its life and in the place of those of an earlier one. When there is no room for its records
    /// they are forgotten, but not that the origin has to wait. False when too many nodes wait, or a later life does.
    pub(super) fn keep(&mut self, mut waiting: Waiting) -> bool {
        let (origin, bytes) = (waiting.range.origin, bytes_of(&waiting.records));
        match self.life(origin.node) {
            Some(life) if life > origin => return false,
            Some(life) if life < origin => self.remove(origin.node),
            None if self.by_node.len() >= ORIGINS_MAX => return false,
            _ => {}
        }
        let (due, of_all) = (waiting.due_ms, self.bytes + bytes);
        let queue = self.by_node.entry(origin.node).or_default();
        let is_first = queue.ranges.is_empty();
        if of_all <= DEFERRED_BYTES_MAX && queue.bytes + bytes <= DEFERRED_BYTES_NODE_MAX {
            (self.bytes, queue.bytes) = (of_all, queue.bytes + bytes);
        } else if is_first {
            waiting.records.clear();
        } else {
            return true;
        }
        queue.ranges.push_back(waiting);
        if is_first {
            self.due.insert((due, origin.node));
        }
        true
    }

    /// When the next range is due, on the wall's clock.
    pub(super) fn next_due(&self) -> Option<u64> {
        self.due.first().map(|(due, _)| *due)
    }

    /// The next range that is due by `wall_ms`.
    pub(super) fn pop_due(&mut self, wall_ms: u64) -> Option<Waiting> {
        let (_, node) = *self.due.first().filter(|(due, _)| *due <= wall_ms)?;
        self.due.pop_first();
        let queue = self.by_node.get_mut(&node)?;
        let waiting = queue.ranges.pop_front()?;
        let bytes = bytes_of(&waiting.records);
        queue.bytes -= bytes;
        self.bytes -= bytes;
        match queue.ranges.front() {
            Some(next) => _ = self.due.insert((next.due_ms, node)),
            None => _ = self.by_node.remove(&node),
        }
        Some(waiting)
    }

    /// Forgets what waits of a life up to `incarnation`.
    pub(super) fn forget(&mut self, node: NodeId, incarnation: u64) {
        if self.life(node).is_some_and(|life| life.incarnation <= incarnation) {
            self.remove(node);
        }
    }

    /// What waits, by node.
    pub(super) fn origins(&self) -> impl Iterator<Item = Origin> {
        self.by_node.keys().filter_map(|node| self.life(*node))
    }

    /// How many nodes are held back.
    pub(super) fn nodes(&self) -> usize {
        self.by_node.len()
    }

    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    fn remove(&mut self, node: NodeId) {
        let queue = self.by_node.remove(&node).unwrap_or_default();
        if let Some(first) = queue.ranges.front() {
            self.due.remove(&(first.due_ms, node));
        }
        self.bytes -= queue.bytes;
    }
}

/// What records are reckoned to take.
pub(super) fn bytes_of(records: &[SignedRef]) -> usize {
    records.iter().map(|signed| 2 * signed.envelope_len() + RECORD_BYTES_OVERHEAD).sum()
}
