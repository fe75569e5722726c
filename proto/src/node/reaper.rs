//! The end of logs whose nodes do not come back. One node of the zone decides, by what all can see, and says so in a record: a deletion
//! that every replica made by its own timer would bring ghosts back from whoever was away.

use std::collections::BTreeMap;
use std::time::Duration;

use super::writes::Draft;
use crate::codec::Wire;
use crate::membership::Liveness;
use crate::node::Node;
use crate::params::{LIVES_AHEAD_MAX, LOG_BYTES_RESERVED, NODE_LEASE, ORIGINS_MAX, REAP_INTERVAL};
use crate::record::{Kind, NodeId, Origin, ReapBody, SignedRef};
use crate::registry::{Change, Evidence};

/// The last life of each node that stands ended, by who says so: a function of what is held, whatever came when.
#[derive(Debug, Default)]
pub(super) struct Reaps(BTreeMap<NodeId, BTreeMap<NodeId, u64>>);

impl Reaps {
    /// Follows one change.
    pub(super) fn note(&mut self, change: &Change) {
        let (signed, said) = match change {
            Change::Put(signed) => (signed, reap_in(signed)),
            Change::Gone(signed) => (signed, None),
        };
        let Some(ended) = ended_by(signed) else { return };
        let by = self.0.entry(ended).or_default();
        match said {
            Some(reap) => drop(by.insert(signed.record.node(), reap.incarnation)),
            None => drop(by.remove(&signed.record.node())),
        }
        if by.is_empty() {
            self.0.remove(&ended);
        }
    }

    pub(super) fn last_of(&self, node: NodeId) -> Option<u64> {
        self.0.get(&node)?.values().max().copied()
    }
}

impl Node {
    /// Looks now and then for logs to end: their node is away and its record's lease is over. The least of those who are there does
    /// it; while they do not agree who that is, two records say the same, which does no harm.
    pub(super) fn reap(&mut self) {
        if self.now.mono < self.reap_at {
            return;
        }
        self.reap_at = self.now.mono + self.chance.jitter(REAP_INTERVAL);
        if !self.is_admitted() || !self.is_least() {
            return;
        }
        self.keep_revocations();
        let held =
            self.registry.vector().into_iter().map(|(origin, _)| origin).filter(|origin| self.has_lapsed(*origin));
        let forked = self.registry.forks().filter(|evidence| self.has_lapsed_forked(evidence)).map(Evidence::origin);
        let may_end = |origin: &Origin| is_plausible(origin.incarnation, self.now.wall_ms);
        let drafts = held.chain(forked).filter(may_end).map(reap_of).collect();
        self.say_reaps(drafts);
    }

    fn say_reaps(&mut self, drafts: Vec<Draft>) {
        if self.check_room(&drafts, LOG_BYTES_RESERVED).is_ok() {
            self.say(drafts);
        }
    }

    /// Whether this node is the least of those who are there.
    fn is_least(&self) -> bool {
        !self.membership.all().any(|(node, liveness)| node < self.id && !liveness.is_away())
    }

    fn has_lapsed(&self, origin: Origin) -> bool {
        let record = self.registry.latest(origin, Kind::Node, &origin.node.to_string());
        self.is_missed(origin.node) && record.is_none_or(|signed| signed.record.is_expired(self.now.wall_ms))
    }

    /// Of a quarantined log no node record is left: it is kept for as long as one would have stood, so that its node hears why.
    fn has_lapsed_forked(&self, evidence: &Evidence) -> bool {
        let (one, other) = evidence.records();
        let issued_ms = one.record.issued_ms().max(other.record.issued_ms());
        let ends_ms = issued_ms.saturating_add(NODE_LEASE.as_millis() as u64);
        self.is_missed(evidence.origin().node) && ends_ms <= self.now.wall_ms
    }

    fn is_missed(&self, node: NodeId) -> bool {
        node != self.id && self.membership.liveness(node).is_none_or(Liveness::is_away)
    }

    /// A node that may speak for the zone says that lives of a node are over for good, or takes that back.
    pub(super) fn on_reaped(&mut self, change: &Change) {
        let (Change::Put(signed) | Change::Gone(signed)) = change;
        let Some(node) = ended_by(signed) else { return };
        let said = self.ended(node);
        if node == self.id {
            self.on_own_end(said);
            return;
        }
        if self.registry.reaped(node) > said {
            self.registry.lift(node);
        }
        if let Some(incarnation) = said {
            // What a revoked node said of others is worth nothing.
            if incarnation != u64::MAX {
                self.inherit_reaps(node, incarnation);
            }
            let applied = self.registry.reap(node, incarnation);
            self.take(&applied);
        }
    }

    /// What a node ended stays so when its own life ends, at `last` or before: its words go with its log, so they become ours. All that
    /// we say of this kind is bounded, as whoever ends may have said anything.
    fn inherit_reaps(&mut self, node: NodeId, last: u64) {
        let ends = self.registry.incarnation_of(node).filter(|held| *held <= last);
        let Some(incarnation) = ends.filter(|_| self.is_least()) else { return };
        let of = |node, incarnation| self.registry.records_of(Origin { node, incarnation }).filter_map(reap_in);
        let ours: BTreeMap<NodeId, u64> =
            of(self.id, self.origin().incarnation).map(|reap| (reap.node, reap.incarnation)).collect();
        let theirs = of(node, incarnation).filter(|reap| reap.node != self.id);
        let news = theirs.filter(|reap| ours.get(&reap.node) < Some(&reap.incarnation));
        let room = ORIGINS_MAX.saturating_sub(ours.len());
        let origins = news.map(|reap| Origin { node: reap.node, incarnation: reap.incarnation });
        let drafts = origins.take(room).map(reap_of).collect();
        self.say_reaps(drafts);
    }

    /// When logs are looked through next.
    pub(super) const fn next_reap(&self) -> Duration {
        self.reap_at
    }
}

/// Whose end a record is about: by its name and not by its body, as what stands there now may say nothing, and have replaced what did.
fn ended_by(signed: &SignedRef) -> Option<NodeId> {
    let is_reap = signed.record.kind() == Kind::Reap;
    is_reap.then(|| NodeId::parse(&signed.record.name().to_ascii_lowercase())).flatten()
}

/// What a record says of the end of a node, if that is believed; a function of the record alone, since marks are hashed.
fn reap_in(signed: &SignedRef) -> Option<ReapBody> {
    let body = signed.record.body().filter(|_| signed.record.kind() == Kind::Reap)?;
    let reap = ReapBody::decode(body).ok().filter(|reap| reap.node.is_name(signed.record.name()))?;
    is_plausible(reap.incarnation, signed.record.hlc >> 16).then_some(reap)
}

/// Whether a clock could have led to that life by then. A mark above it would shut out a node whose own clock is right.
const fn is_plausible(incarnation: u64, wall_ms: u64) -> bool {
    incarnation <= wall_ms / 1000 + LIVES_AHEAD_MAX
}

pub(super) fn reap_of(origin: Origin) -> Draft {
    let Origin { node, incarnation } = origin;
    let body = ReapBody { node, incarnation }.encode();
    Draft { kind: Kind::Reap, name: node.to_string(), def_hash: None, body: Some(body), leased: false }
}
