//! How replicas of a zone become equal: news travel at once, and a periodic exchange of hashes repairs whatever that missed (AOP
//! paper §7.6; push alone misses 6 % of the nodes).
//!
//! ```text
//!  news     A ── Ranges, hop 1 ──▶ 3          small, or in its first hops
//!           A ── Announce ──────▶ 6           otherwise; who lacks it asks one at a time of those who announced it
//!           B ── Vector, single logs ──▶ A
//!           A ── Ranges ──▶ B                 and B passes it on
//!
//!  repair   A ── Digest ──▶ B                 equal: silence
//!           A ◀─ Announce ─ B                 A's is a hash that B had a moment ago: what came since
//!           A ◀─ Digest ─── B                 otherwise; A looks the same way
//!           A ── Buckets ─▶ B                 still unknown (in a small zone the Vector at once)
//!           A ◀─ Vector ─── B                 of the parts that differ, reply wanted
//!           A ── Ranges … ▶ B                 what B lacks, closed by an empty frame that says whether there is more
//!           A ── Vector ──▶ B                 if A lacks something; B sends Ranges
//! ```
//!
//! Not here: who the fellows are and how they are reached, what is believed of members, and what makes a record believed. What must
//! hold: an unequal pair that keeps exchanging digests becomes equal, whatever else is lost; and everything that waits is bounded.

mod past;
mod peer;
mod pulls;
mod rumours;
#[cfg(test)]
mod tests;
mod wants;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use self::rumours::told_since;
use crate::params::{
    BUSY_MAX, FANOUT, GOSSIP_INTERVAL, LOOK_AFTER, PULL_PATIENCE, RANGES_BYTES_TARGET, SMALL_ZONE_LOGS,
};
use crate::record::{NodeId, Origin, SignedRef};
use crate::registry::{Evidence, Registry, range_bytes};
use crate::selection::Chance;
use crate::trust::Chains;
use crate::wire::message::{Announced, Buckets, Busy, Digest, Fork, Message, Range, Ranges, Vector};

/// Messages to send, by peer.
pub type Sends = Vec<(NodeId, Message)>;

/// What this replica holds and whom it can tell.
#[derive(Clone, Copy, Debug)]
pub struct Replica<'a> {
    /// Itself: nobody tells it about its own log.
    pub id: NodeId,
    /// Fellows that are connected and spoken with (the active view), without itself.
    pub fellows: &'a [NodeId],
    /// Members of the zone.
    pub count: usize,
    /// Hash of what is believed of them, passed through.
    pub members: u64,
    /// Why origins may speak for the zone.
    pub chains: &'a Chains,
    /// The logs.
    pub registry: &'a Registry,
}

/// A log that went on here: own records that are durable, or records of others that were verified and taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct News {
    /// The log.
    pub origin: Origin,
    /// Where it ended before.
    pub after: u64,
    /// Bytes of the new records.
    pub bytes: usize,
}

impl News {
    /// The news that these records of one log are, `None` when there are none.
    pub fn of(stored: &[SignedRef]) -> Option<Self> {
        let first = stored.iter().min_by_key(|signed| signed.record.seq)?;
        let bytes = stored.iter().map(|signed| signed.envelope_len()).sum();
        Some(Self { origin: first.record.origin(), after: first.record.seq - 1, bytes })
    }
}

/// What happened so far.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    /// Rounds begun.
    pub rounds: u64,
    /// Digests of others that differed.
    pub differing: u64,
    /// Frames of records sent, pushed or asked for.
    pub payloads: u64,
    /// Announcements sent.
    pub announcements: u64,
    /// Requests sent, for single logs and for parts of the vector.
    pub pulls: u64,
    /// Requests of others that were put off.
    pub busy: u64,
    /// News and wants dropped because too much was waiting.
    pub dropped: u64,
}

/// The exchange of one node with its fellow replicas.
#[derive(Debug, Default)]
pub struct Gossip {
    next_round: Duration,
    /// When fellows are asked once more whether they have heard what this node heard, and how often yet.
    look_at: Option<Duration>,
    looks: u8,
    peers: BTreeMap<NodeId, peer::Peer>,
    flushes: BTreeSet<(Duration, NodeId)>,
    wants: wants::Wants,
    pulls: pulls::Pulls,
    past: past::Past,
    counts: Counts,
}

impl Gossip {
    /// When [`Self::on_time`] has something to do.
    pub fn next_deadline(&self) -> Duration {
        let flush = self.flushes.first().map(|(at, _)| *at);
        let others = [flush, self.look_at, self.wants.next_deadline(), self.pulls.next_deadline()];
        others.into_iter().flatten().fold(self.next_round, Duration::min)
    }

    /// Whether a fellow is known to hold more than this node does.
    pub fn is_behind(&self) -> bool {
        self.pulls.any()
    }

    /// Logs that are known to go on elsewhere and are asked for.
    pub fn wants(&self) -> usize {
        self.wants.len()
    }

    /// What happened so far.
    pub const fn counts(&self) -> Counts {
        self.counts
    }

    /// A fellow is connected; the handshake took so long there and back.
    pub fn meet(&mut self, peer: NodeId, rtt: Duration) {
        self.peer(peer).met(rtt);
    }

    /// Does what is due: the round, requests that were not answered, news that waited for company.
    pub fn on_time(&mut self, now: Duration, replica: &Replica<'_>, chance: &mut Chance) -> Sends {
        let mut sends = Sends::new();
        if now >= self.next_round {
            self.next_round = now + chance.jitter(GOSSIP_INTERVAL);
            self.counts.rounds += 1;
            sends.extend(self.compare_with_any(1, now, replica, chance));
        }
        if self.look_at.is_some_and(|at| now >= at) {
            self.looks -= 1;
            self.look_at = (self.looks > 0).then(|| now + chance.jitter(LOOK_AFTER));
            sends.extend(self.compare_with_any(FANOUT, now, replica, chance));
        }
        for peer in self.pulls.expire(now) {
            sends.extend(self.compare(now, peer, replica));
        }
        while let Some(origin) = self.wants.overdue(now) {
            self.ask(origin, now, replica, chance);
        }
        self.flush_due(now, replica, &mut sends);
        sends
    }

    fn compare_with_any(&mut self, count: usize, now: Duration, replica: &Replica<'_>, chance: &mut Chance) -> Sends {
        let peers = pick(replica.fellows, count, |_| true, chance);
        peers.into_iter().flat_map(|peer| self.compare(now, peer, replica)).collect()
    }

    /// Tells a fellow what is held here, to hear whether it differs: the rounds do, and whoever just came.
    pub fn compare(&mut self, now: Duration, peer: NodeId, replica: &Replica<'_>) -> Sends {
        let hash = replica.registry.digest();
        self.past.set(hash);
        self.peer(peer).compared = Some(now);
        vec![(peer, Digest { hash, members: replica.members }.into())]
    }

    /// A fellow's hash. When it differs, the fellow is told what it lacks if that is plain, and else how to find out.
    pub fn on_digest(&mut self, now: Duration, from: NodeId, digest: &Digest, replica: &Replica<'_>) -> Sends {
        if digest.hash == replica.registry.digest() {
            self.pulls.end(from);
            self.peer(from).strange = 0;
            return Sends::new();
        }
        self.counts.differing += 1;
        if let Some(news) = self.past.since(&digest.hash).and_then(|origins| told_since(&origins, replica)) {
            self.counts.announcements += 1;
            vec![(from, news.into())]
        } else if replica.registry.origins() <= SMALL_ZONE_LOGS {
            self.pull(now, from, u64::MAX, true, replica)
        } else if self.peer(from).compared.is_none_or(|at| now >= at + GOSSIP_INTERVAL / 2) {
            // It may be ahead by as little: it sees that in our hash, which is shorter than the hashes of all parts.
            self.compare(now, from, replica)
        } else {
            vec![(from, Buckets { hashes: replica.registry.buckets().to_vec() }.into())]
        }
    }

    /// A fellow's hashes of the parts: those that differ are compared log by log.
    pub fn on_buckets(&mut self, now: Duration, from: NodeId, buckets: &Buckets, replica: &Replica<'_>) -> Sends {
        let ours = replica.registry.buckets();
        if buckets.hashes.len() != ours.len() {
            return Sends::new();
        }
        let differing = (0..ours.len()).filter(|at| ours[*at] != buckets.hashes[*at]);
        let differing = differing.fold(0, |mask, at| mask | 1 << at);
        if differing == 0 {
            // Mostly both became equal meanwhile. But these hashes are short: whoever writes logs can make them agree.
            let strange = self.peer(from).on_strange();
            return if strange { self.pull(now, from, u64::MAX, true, replica) } else { Sends::new() };
        }
        self.pull(now, from, differing, true, replica)
    }

    /// A fellow's vector: it gets what it lacks, as much as it may have now, and is asked for what is lacked here.
    pub fn on_vector(&mut self, now: Duration, from: NodeId, vector: &Vector, replica: &Replica<'_>) -> Sends {
        let mut sends = match self.peer(from).serve(now) {
            Ok(bytes_max) => self.serve(from, vector, bytes_max, replica),
            Err(wait) => {
                self.counts.busy += 1;
                let retry_ms = u32::try_from(wait.as_millis()).unwrap_or(u32::MAX);
                vec![(from, Busy { retry_ms }.into())]
            }
        };
        // A new replica has to hear how far it has to come; in a small zone both say so anyway.
        let aims = vector.buckets == u64::MAX && replica.registry.origins() > SMALL_ZONE_LOGS;
        if vector.reply && (aims || replica.registry.lacks_from(&vector.entries)) {
            sends.extend(self.pull(now, from, vector.buckets, false, replica));
        }
        let found = sends.iter().any(|(_, message)| !is_closing(message));
        if vector.buckets != 0 && vector.reply && !found && self.peer(from).on_strange() {
            sends.insert(0, (from, self.tails(from, vector.buckets, replica).into()));
        }
        sends
    }

    /// The vectors agree and the hashes do not: somewhere one number has two contents, and it is the last of its log. One frame of
    /// last records at a time; the next goes on where it ended.
    fn tails(&mut self, peer: NodeId, buckets: u64, replica: &Replica<'_>) -> Ranges {
        let state = self.peer(peer);
        let tails = replica.registry.tails(buckets, state.tails_told, RANGES_BYTES_TARGET);
        state.tails_told = state.tails_told.wrapping_add(tails.len());
        state.on_served(tails.iter().map(range_bytes).sum());
        with_chains(tails, replica.chains, 0)
    }

    /// Whole parts are closed by an empty frame, so that the asker knows that this was all of it; single logs only when there is more.
    fn serve(&mut self, peer: NodeId, vector: &Vector, bytes_max: usize, replica: &Replica<'_>) -> Sends {
        let (frames, more) = replica.registry.frames_for(vector, bytes_max);
        let bytes = frames.iter().flatten().map(range_bytes).sum();
        self.peer(peer).on_served(bytes);
        self.counts.payloads += frames.len() as u64;
        let frames = frames.into_iter().map(|ranges| (peer, with_chains(ranges, replica.chains, 0)));
        let mut sends: Sends = frames.map(|(peer, frame)| (peer, frame.into())).collect();
        let forks = replica.registry.forks_for(vector).into_iter();
        sends.extend(forks.filter_map(|evidence| Some((peer, fork_of(evidence, replica.chains)?.into()))));
        if more || vector.buckets != 0 {
            sends.push((peer, Ranges { ranges: Vec::new(), chains: Vec::new(), more, hop: 0 }.into()));
        }
        sends
    }

    /// Asks a fellow for parts of the vector, unless that is under way.
    fn pull(&mut self, now: Duration, peer: NodeId, buckets: u64, reply: bool, replica: &Replica<'_>) -> Sends {
        if now < self.peer(peer).busy_until {
            return Sends::new();
        }
        let until = now + self.peer(peer).patience().max(GOSSIP_INTERVAL);
        let Some(buckets) = self.pulls.begin(peer, buckets, until) else { return Sends::new() };
        self.request(now, peer, buckets, reply, replica)
    }

    fn request(&mut self, now: Duration, peer: NodeId, buckets: u64, reply: bool, replica: &Replica<'_>) -> Sends {
        self.counts.pulls += 1;
        self.peer(peer).on_asked(replica.registry.pending_bytes());
        vec![(peer, Vector { buckets, entries: replica.registry.entries(peer, buckets, now), reply }.into())]
    }

    /// Ranges came and were applied; `fresh` is what was new of them. Rumours are passed on, what is still lacked is asked for.
    pub fn on_ranges(
        &mut self,
        now: Duration,
        from: NodeId,
        ranges: &Ranges,
        fresh: &[News],
        replica: &Replica<'_>,
        chance: &mut Chance,
    ) -> Sends {
        let mut sends = Sends::new();
        for range in &ranges.ranges {
            let through = replica.registry.through(range.origin);
            self.peer(from).holds(range.origin, range.to_inclusive, through);
            if through < range.from_exclusive {
                // It begins after what is held: whoever sent it holds what lies between.
                let dot = Announced { origin: range.origin, through: range.to_inclusive };
                self.hear(dot, ranges.hop, from, now, replica, chance);
            }
        }
        self.take_news(now, fresh, ranges.hop, Some(from), replica, chance);
        for range in &ranges.ranges {
            self.settle_want(range, from, fresh, now, replica, chance);
        }
        self.peer(from).moved |= !fresh.is_empty();
        if ranges.ranges.is_empty() || ranges.more {
            sends = self.on_closed(now, from, ranges.more, replica, chance);
        } else {
            self.pulls.on_part(from, !fresh.is_empty(), now + PULL_PATIENCE);
        }
        self.flush_due(now, replica, &mut sends);
        sends
    }

    /// An answer ended: the rest is asked for if something of this was taken, or the pull is over.
    fn on_closed(
        &mut self,
        now: Duration,
        from: NodeId,
        more: bool,
        replica: &Replica<'_>,
        chance: &mut Chance,
    ) -> Sends {
        if more && self.peer(from).has_moved(replica.registry.pending_bytes()) {
            for origin in self.wants.asked_of(from) {
                self.ask_of(from, origin, now);
            }
            let until = now + self.peer(from).patience().max(GOSSIP_INTERVAL);
            if let Some(buckets) = self.pulls.go_on(from, until) {
                return self.request(now, from, buckets, false, replica);
            }
        }
        let mut sends = Sends::new();
        if self.pulls.end(from) {
            // What a repair brought, others may lack as well, a whole half of the zone perhaps: they need not wait for their rounds.
            for peer in pick(replica.fellows, FANOUT, |peer| *peer != from, chance) {
                sends.extend(self.compare(now, peer, replica));
            }
        }
        sends
    }

    /// A fellow asks for a pause: it is not asked before that is over, and others are.
    pub fn on_busy(
        &mut self,
        now: Duration,
        from: NodeId,
        busy: &Busy,
        replica: &Replica<'_>,
        chance: &mut Chance,
    ) -> Sends {
        let until = now + Duration::from_millis(u64::from(busy.retry_ms)).min(BUSY_MAX);
        self.peer(from).busy_until = until;
        self.pulls.pause(from, until);
        for origin in self.wants.asked_of(from) {
            self.ask(origin, now, replica, chance);
        }
        let mut sends = Sends::new();
        self.flush_due(now, replica, &mut sends);
        sends
    }

    /// A fellow is no longer connected: what it was asked for is asked of others.
    pub fn forget(&mut self, peer: NodeId, now: Duration) {
        if let Some(at) = self.peers.remove(&peer).and_then(|peer| peer.flush_at) {
            self.flushes.remove(&(at, peer));
        }
        self.pulls.end(peer);
        self.wants.forget(peer, now);
    }

    fn peer(&mut self, peer: NodeId) -> &mut peer::Peer {
        self.peers.entry(peer).or_default()
    }
}

/// Up to `count` distinct of `from` that fit, by drawing: it touches as many as it takes, not all of them.
fn pick(from: &[NodeId], count: usize, fits: impl Fn(&NodeId) -> bool, chance: &mut Chance) -> Vec<NodeId> {
    if from.len() <= 4 * count {
        let fitting: Vec<NodeId> = from.iter().copied().filter(fits).collect();
        return chance.sample(&fitting, count);
    }
    let mut picked = Vec::with_capacity(count);
    // So many draws leave one short only where nearly nobody fits.
    for _ in 0..8 * count {
        let at = usize::try_from(chance.below(from.len() as u64)).unwrap_or(0);
        if fits(&from[at]) && !picked.contains(&from[at]) {
            picked.push(from[at]);
        }
        if picked.len() == count {
            break;
        }
    }
    picked
}

/// Proof of a fork for whoever does not know of it, with what makes its origin one of the zone's.
pub(crate) fn fork_of(evidence: &Evidence, chains: &Chains) -> Option<Fork> {
    let chain = chains.get(evidence.origin().node)?.into_owned();
    let (one, other) = evidence.records();
    Some(Fork { chain, one: one.envelope(), other: other.envelope() })
}

fn is_closing(message: &Message) -> bool {
    matches!(message, Message::Ranges(Ranges { ranges, more: false, .. }) if ranges.is_empty())
}

/// A frame of ranges, with the certificates of the origins that the receiver may hear of for the first time.
fn with_chains(ranges: Vec<Range>, chains: &Chains, hop: u8) -> Ranges {
    let beginning = ranges.iter().filter(|range| range.from_exclusive == 0);
    let origins: BTreeSet<NodeId> = beginning.map(|range| range.origin.node).collect();
    let chains = origins.iter().filter_map(|node| chains.get(*node)).map(Cow::into_owned).collect();
    Ranges { ranges, chains, more: false, hop }
}
