//! Who is suspected, by whom, and until when it may say that it is alive.
//!
//! The wait shrinks with every fellow that finds the same on its own (Lifeguard, Dadgar et al. 2017, §3.3): one accuser may be the sick
//! one, four are not. A suspicion ends by a higher counter of the suspect, or in Down when its wait is over.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::params::{PROBE_INTERVAL, SUSPICION_CONFIRMATIONS, SUSPICION_LEAST, SUSPICION_MIN};
use crate::record::NodeId;

/// ln(C + 1) / ln(K + 1) in per mille, by confirmations C up to K = 3: the part of the way from the longest wait to the shortest.
const SHRUNK: [u32; SUSPICION_CONFIRMATIONS + 1] = [0, 500, 792, 1000];

#[derive(Clone, Debug)]
struct Suspicion {
    since: Duration,
    longest: Duration,
    /// Who says so, the first first; at most one more than count.
    by: Vec<NodeId>,
    due: Duration,
    /// Others hold it for down already.
    hearsay: bool,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Suspects {
    by_node: BTreeMap<NodeId, Suspicion>,
    due: BTreeSet<(Duration, NodeId)>,
}

/// The longest wait among `members`: max(3 s, 4 · log₁₀ n probe periods), the logarithm rounded up to the next power of two.
fn longest(members: usize) -> Duration {
    let log2 = members.max(1).ilog2() + 1;
    (PROBE_INTERVAL * 4 * log2 * 301 / 1000).max(SUSPICION_LEAST)
}

impl Suspects {
    /// Begins a suspicion; of one that was declared down elsewhere, with the shortest wait.
    pub(super) fn begin(&mut self, node: NodeId, by: NodeId, hearsay: bool, members: usize, now: Duration) {
        self.end(node);
        let longest = if hearsay { SUSPICION_MIN } else { longest(members) };
        let due = now + longest;
        self.by_node.insert(node, Suspicion { since: now, longest, by: vec![by], due, hearsay });
        self.due.insert((due, node));
    }

    /// Somebody suspects it, too. `true` when that shortened the wait.
    pub(super) fn confirm(&mut self, node: NodeId, by: NodeId) -> bool {
        let Some(suspicion) = self.by_node.get_mut(&node) else { return false };
        if suspicion.by.len() > SUSPICION_CONFIRMATIONS || suspicion.by.contains(&by) {
            return false;
        }
        suspicion.by.push(by);
        let shrinks = suspicion.longest.saturating_sub(SUSPICION_MIN) * SHRUNK[suspicion.by.len() - 1] / 1000;
        let due = suspicion.since + suspicion.longest - shrinks;
        self.due.remove(&(suspicion.due, node));
        suspicion.due = due;
        self.due.insert((due, node));
        true
    }

    pub(super) fn end(&mut self, node: NodeId) {
        if let Some(suspicion) = self.by_node.remove(&node) {
            self.due.remove(&(suspicion.due, node));
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_node.is_empty()
    }

    /// Whether it is suspected only because others hold it for down.
    pub(super) fn is_hearsay(&self, node: NodeId) -> bool {
        self.by_node.get(&node).is_some_and(|suspicion| suspicion.hearsay)
    }

    /// Who said so first.
    pub(super) fn first_accuser(&self, node: NodeId) -> Option<NodeId> {
        self.by_node.get(&node).and_then(|suspicion| suspicion.by.first().copied())
    }

    pub(super) fn next_due(&self) -> Option<Duration> {
        self.due.first().map(|(due, _)| *due)
    }

    /// One whose wait is over by `now`, and whether others held it for down before.
    pub(super) fn take_due(&mut self, now: Duration) -> Option<(NodeId, bool)> {
        let (_, node) = self.due.first().copied().filter(|(due, _)| *due <= now)?;
        let hearsay = self.by_node.get(&node).is_some_and(|suspicion| suspicion.hearsay);
        self.end(node);
        Some((node, hearsay))
    }

    /// No wait ends before `until`: this node has not listened for a while.
    pub(super) fn postpone(&mut self, until: Duration) {
        while let Some((due, node)) = self.due.first().copied().filter(|(due, _)| *due < until) {
            self.due.remove(&(due, node));
            if let Some(suspicion) = self.by_node.get_mut(&node) {
                suspicion.since += until - due;
                suspicion.due = until;
                self.due.insert((until, node));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn id(number: u8) -> NodeId {
        NodeId([number; 32])
    }

    #[test]
    fn the_wait_grows_with_the_zone_and_shrinks_with_each_confirmation() {
        assert_eq!(longest(2), Duration::from_secs(3));
        assert_eq!(longest(1000), Duration::from_millis(12_040));
        let mut suspects = Suspects::default();
        let now = Duration::from_secs(10);
        suspects.begin(id(1), id(2), false, 1000, now);
        let mut waits = vec![suspects.next_due().unwrap() - now];
        for by in [3, 3, 4, 5, 6] {
            suspects.confirm(id(1), id(by));
            waits.push(suspects.next_due().unwrap() - now);
        }
        let millis: Vec<u128> = waits.iter().map(Duration::as_millis).collect();
        assert_eq!(millis, [12_040, 6_770, 6_770, 3_692, 1_500, 1_500]);
        assert_eq!(suspects.take_due(now), None);
        assert_eq!(suspects.take_due(now + SUSPICION_MIN), Some((id(1), false)));
        assert_eq!(suspects.next_due(), None);
    }

    #[test]
    fn a_postponed_wait_keeps_its_later_confirmations() {
        let mut suspects = Suspects::default();
        suspects.begin(id(1), id(2), false, 10, Duration::ZERO);
        suspects.postpone(Duration::from_secs(60));
        assert_eq!(suspects.next_due(), Some(Duration::from_secs(60)));
        suspects.end(id(1));
        assert_eq!(suspects.take_due(Duration::from_secs(90)), None);
    }
}
