//! How much a node holds, and how much it may: for whoever checks that memory is bounded (I12), and for metrics.
//!
//! Everything that grows with what others say has a line here. Reading them costs the same whatever is held.

use crate::node::Node;
use crate::params::{
    CACHE_ENTRIES_MAX, CALLS_REMEMBERED_MAX, CONTACTS_MAX, DEFERRED_BYTES_MAX, HEALTH_MAX, OFFENDERS_MAX, ORIGINS_MAX,
    QUERIES_MAX, STAGED_BYTES_MAX, WANTS_MAX,
};
use crate::trust::SEALS_MAX;

/// One thing that is held, counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Gauge {
    /// What.
    pub name: &'static str,
    /// How many now.
    pub held: usize,
    /// How many at most.
    pub cap: usize,
}

impl Node {
    /// Everything this node holds because of others, with its cap.
    pub fn gauges(&self) -> Vec<Gauge> {
        let gauge = |name, held, cap| Gauge { name, held, cap };
        let [l2, l3] = self.resolver.kept();
        vec![
            gauge("logs", self.registry.origins(), ORIGINS_MAX),
            gauge("chains", self.chains.len(), ORIGINS_MAX),
            gauge("members", self.membership.count(), ORIGINS_MAX),
            gauge("membership health", self.membership.health() as usize, HEALTH_MAX as usize),
            gauge("contacts", self.links.contacts(), CONTACTS_MAX),
            gauge("wants", self.gossip.wants(), WANTS_MAX),
            gauge("bytes of logs in parts", self.registry.pending_bytes().0, STAGED_BYTES_MAX),
            gauge("bytes held back for the clock", self.registry.pending_bytes().1, DEFERRED_BYTES_MAX),
            gauge("verified roots", self.verifier.remembered(), SEALS_MAX),
            gauge("tags", self.tags.len(), CACHE_ENTRIES_MAX),
            gauge("questions", self.resolver.in_flight(), QUERIES_MAX),
            gauge("answers in L2", l2, CACHE_ENTRIES_MAX),
            gauge("answers in L3", l3, CACHE_ENTRIES_MAX),
            gauge("offenders", self.offences.len(), OFFENDERS_MAX),
            gauge("signed calls", self.remembered_calls(), CALLS_REMEMBERED_MAX),
        ]
    }
}
