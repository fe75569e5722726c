//! What is said with fellow replicas of the logs: the node lends [`gossip`](crate::gossip) what it holds, believes what comes, or does
//! not, and lets readers and the store follow.
//!
//! Everything of others passes [`Node::take_range`]: what is not signed by an origin that may speak for the zone is not kept, shown or
//! passed on (I8).

use std::collections::BTreeSet;

use crate::gossip::{Gossip, News, Replica, Sends, fork_of};
use crate::node::Output;
use crate::node::{Keep, Node, Refusal};
use crate::params::{BUCKETS, CLOCK_NOTICE, FANOUT, ORIGINS_MAX};
use crate::record::{Certificate, NodeId, SignedRef};
use crate::registry::{Applied, Evidence, RangeError, Standing};
use crate::selection::Chance;
use crate::trust::TrustError;
use crate::wire::message::{Announce, Buckets, Busy, ClockAhead, Digest, Range, Ranges, Vector};

impl Node {
    pub(super) fn gossip_on_time(&mut self) {
        let now = self.now.mono;
        self.with_gossip(|gossip, replica, chance| gossip.on_time(now, replica, chance));
        while let Some(applied) = self.registry.retry(self.now) {
            self.take(&applied);
        }
    }

    /// Tells a fellow what is held here, to hear whether it differs: the next round may be some time away, and go to another.
    pub(super) fn compare_with(&mut self, peer: NodeId) {
        let now = self.now.mono;
        self.with_gossip(|gossip, replica, _| gossip.compare(now, peer, replica));
    }

    pub(super) fn on_digest(&mut self, peer: NodeId, digest: &Digest) {
        let now = self.now.mono;
        let sends = self.membership.on_digest(peer, digest.members, now);
        self.send_all(sends);
        self.with_gossip(|gossip, replica, _| gossip.on_digest(now, peer, digest, replica));
        self.check_goal(digest.hash == self.registry.digest());
    }

    pub(super) fn on_buckets(&mut self, peer: NodeId, buckets: &Buckets) {
        if buckets.hashes.len() != BUCKETS {
            self.counts.bad_frames += 1;
            return;
        }
        let now = self.now.mono;
        self.with_gossip(|gossip, replica, _| gossip.on_buckets(now, peer, buckets, replica));
    }

    pub(super) fn on_vector(&mut self, peer: NodeId, mut vector: Vector) {
        let now = self.now.mono;
        // Nobody adds to our own log: more of it than we wrote is nothing to ask for.
        for (origin, number) in vector.entries.iter_mut().filter(|(origin, _)| origin.node == self.id) {
            if let Standing::Through(through) = Standing::from_number(*number) {
                *number = self.registry.through(*origin).min(through);
            }
        }
        self.with_gossip(|gossip, replica, _| gossip.on_vector(now, peer, &vector, replica));
        if vector.buckets == u64::MAX {
            self.aim_at(&vector.entries);
        }
    }

    pub(super) fn on_announce(&mut self, peer: NodeId, announce: &Announce) {
        let now = self.now.mono;
        self.with_gossip(|gossip, replica, chance| gossip.on_announce(now, peer, announce, replica, chance));
    }

    pub(super) fn on_busy(&mut self, peer: NodeId, busy: &Busy) {
        let now = self.now.mono;
        self.with_gossip(|gossip, replica, chance| gossip.on_busy(now, peer, busy, replica, chance));
    }

    /// Records of other origins, from a fellow replica: checked, stored, shown, passed on.
    pub(super) fn on_ranges(&mut self, peer: NodeId, ranges: &Ranges) {
        let mut met = self.meet_origins(ranges);
        let (mut fresh, mut is_forged) = (Vec::new(), false);
        for range in &ranges.ranges {
            match self.take_range(peer, range) {
                Ok(applied) => {
                    met.remove(&range.origin.node);
                    fresh.extend(News::of(&applied.stored));
                    self.tell_ahead(peer, range.origin.node, applied.ahead_ms);
                    self.take(&applied);
                }
                Err(RangeError::Fork(evidence)) => self.on_forked(evidence, Some(peer)),
                // What the sender could not know, or what comes again.
                Err(RangeError::Gap | RangeError::Busy | RangeError::Superseded | RangeError::Quarantined) => {}
                // Our own words, from somebody who did not know whose they are.
                Err(RangeError::Unbelieved) if self.is_ours(range) => {}
                Err(RangeError::Forged) if !is_forged => {
                    is_forged = true;
                    self.on_forgery(peer);
                }
                Err(_) => self.counts.refused += 1,
            }
        }
        // Nothing of theirs was taken.
        for node in met {
            self.forget_chain(node);
        }
        if !self.is_fellow(peer) {
            return;
        }
        let now = self.now.mono;
        self.with_gossip(|gossip, replica, chance| gossip.on_ranges(now, peer, ranges, &fresh, replica, chance));
        self.check_goal(false);
    }

    /// Lends the conversation what it needs, and sends what comes of it.
    pub(super) fn with_gossip(&mut self, speak: impl FnOnce(&mut Gossip, &Replica<'_>, &mut Chance) -> Sends) {
        let replica = Replica {
            id: self.id,
            fellows: self.links.fellows(),
            count: self.membership.count() + 1,
            members: self.membership.hash(),
            chains: &self.chains,
            registry: &self.registry,
        };
        let sends = speak(&mut self.gossip, &replica, &mut self.chance);
        self.send_all(sends);
    }

    /// Own records are durable: readers see them, and fellows hear of them.
    pub(super) fn publish(&mut self, records: &[SignedRef]) {
        // I1 for our own log: the store acknowledges in order, so these begin where the log ends.
        let applied = self.registry.append(records);
        self.follow(&applied);
        self.mark_own_end();
        let dropped: Vec<Keep> = applied.dropped.iter().map(|(origin, seq)| Keep::Drop(*origin, *seq)).collect();
        if !dropped.is_empty() {
            self.persist(dropped);
        }
        let (now, news) = (self.now.mono, News::of(records));
        self.with_gossip(|gossip, replica, chance| gossip.news(now, news.as_slice(), 0, None, replica, chance));
    }

    /// Row 1 of PROTOCOL §10.3, and the others with it.
    pub(super) fn take_range(&mut self, peer: NodeId, range: &Range) -> Result<Applied, RangeError> {
        // The last place is kept for our own log.
        let held = self.registry.incarnation_of(range.origin.node).is_some();
        let full = self.registry.origins() + 1 >= ORIGINS_MAX && !held;
        if range.origin.node == self.id || full || !self.chains.contains(range.origin.node) {
            return Err(RangeError::Unbelieved);
        }
        let records = self.open_range(range)?;
        self.registry.apply(peer, range, &records, self.now)
    }

    /// The records of a range, each as its node signed it.
    pub(super) fn open_range(&mut self, range: &Range) -> Result<Vec<SignedRef>, RangeError> {
        let mut records = Vec::with_capacity(range.records.len());
        for bytes in &range.records {
            records.push(self.verifier.open(bytes).map_err(|error| match error {
                TrustError::Signature | TrustError::Definition => RangeError::Forged,
                _ => RangeError::Unbelieved,
            })?);
        }
        Ok(records)
    }

    /// Whether this node signed every record of it.
    fn is_ours(&mut self, range: &Range) -> bool {
        let is_own = |signed: SignedRef| signed.record.node() == self.id;
        let own = range.origin.node == self.id && !range.records.is_empty();
        own && range.records.iter().all(|bytes| self.verifier.open(bytes).is_ok_and(is_own))
    }

    /// Learns the chains of a frame that are of use: of those who have ranges in it, and of those who are known. Returns who is new.
    pub(super) fn meet_origins(&mut self, ranges: &Ranges) -> BTreeSet<NodeId> {
        let mut new: BTreeSet<NodeId> = ranges.ranges.iter().map(|range| range.origin.node).collect();
        new.retain(|node| !self.chains.contains(*node));
        for chain in &ranges.chains {
            let Some(node) = chain.last().map(|certificate| certificate.node) else { continue };
            if new.contains(&node) || self.chains.contains(node) {
                self.take_chain(node, chain);
            }
        }
        new
    }

    pub(super) fn learn_chains(&mut self, chains: &[Vec<Certificate>]) {
        for chain in chains {
            let Some(node) = chain.last().map(|certificate| certificate.node) else { continue };
            self.take_chain(node, chain);
        }
    }

    /// Two contents for one dot: the log leaves the view, whoever is connected hears why, and so does its writer.
    pub(super) fn on_forked(&mut self, evidence: Evidence, from: Option<NodeId>) {
        let origin = evidence.origin();
        let is_ours = evidence.is_of(&self.config.zone);
        let Some(fork) = fork_of(&evidence, &self.chains).filter(|_| is_ours) else { return };
        if origin.node == self.id {
            if origin == self.origin() {
                self.begin_life(origin.incarnation);
            }
            return;
        }
        let known = self.registry.is_quarantined(origin);
        let applied = self.registry.quarantine(evidence);
        if known || !self.registry.is_quarantined(origin) {
            return;
        }
        self.counts.forks += 1;
        self.persist(vec![Keep::Fork(origin, fork.clone())]);
        self.take(&applied);
        let mut told = self.chance.sample(self.links.fellows(), FANOUT);
        told.extend(self.is_fellow(origin.node).then_some(origin.node));
        for peer in told.into_iter().filter(|peer| Some(*peer) != from) {
            self.send(peer, fork.clone());
        }
    }

    /// Whose clock is ahead hears it from whoever it tells itself: others would say the same. An operator here hears it too.
    fn tell_ahead(&mut self, peer: NodeId, origin: NodeId, ahead_ms: u64) {
        if ahead_ms == 0 {
            return;
        }
        if peer == origin {
            self.send(peer, ClockAhead { ahead_ms });
        }
        let origin = origin.short();
        self.notice_clock(format!(
            "the clock of {origin} is {ahead_ms} ms ahead of this one: what it writes is held back here; look at NTP on both"
        ));
    }

    /// A fellow holds our records back. An operator hears it now and then, as long as it is so.
    pub(super) fn on_clock_ahead(&mut self, peer: NodeId, ahead: &ClockAhead) {
        self.counts.clock_ahead += 1;
        let (ahead_ms, peer) = (ahead.ahead_ms, peer.short());
        self.notice_clock(format!(
            "this clock is {ahead_ms} ms ahead of that of {peer}, which waits so long with what is written here; look at NTP on both"
        ));
    }

    fn notice_clock(&mut self, reason: String) {
        if self.now.mono < self.clock_notice {
            return;
        }
        self.clock_notice = self.now.mono + CLOCK_NOTICE;
        self.outputs.push_back(Output::Refused(Refusal {
            address: String::new(),
            purpose: "clock",
            reason,
            fits: None,
        }));
    }

    /// Readers and the store follow what came from others; nobody waits for it.
    pub(super) fn take(&mut self, applied: &Applied) {
        self.follow(applied);
        let kept = applied.stored.iter().cloned().map(Keep::Record);
        let dropped = applied.dropped.iter().map(|(origin, seq)| Keep::Drop(*origin, *seq));
        let absolved = applied.absolved.iter().copied().map(Keep::DropFork);
        let keep: Vec<Keep> = kept.chain(dropped).chain(absolved).collect();
        if !keep.is_empty() {
            self.persist(keep);
        }
        let ended: BTreeSet<NodeId> = applied.dropped.iter().map(|(origin, _)| origin.node).collect();
        for node in ended.into_iter().chain(applied.absolved.iter().map(|origin| origin.node)) {
            self.forget_chain(node);
        }
    }

    /// Readers see what changed.
    pub(super) fn follow(&mut self, applied: &Applied) {
        self.counts.applied += applied.stored.len() as u64;
        for signed in &applied.stored {
            self.writes.hear(signed.record.hlc);
        }
        applied.changes.iter().for_each(|change| self.reaps.note(change));
        for change in &applied.changes {
            self.follow_revocation(change);
            if self.overreaches(change) {
                self.counts.refused += 1;
                continue;
            }
            self.zone.apply(change);
            self.follow_keys(change);
            self.meet(change);
            self.on_delegated(change);
            self.on_reaped(change);
        }
        self.view_dirty |= !applied.changes.is_empty();
    }
}
