//! What was really written: every record that its origin made durable, by origin, and every hash seen of every dot. All hosts are
//! held against it.
//!
//! Invariant 2 is checked where records come in; of an origin whose two contents are the world's doing (an old disk, a cloned key)
//! and of hostile nodes, two contents are remembered and nothing is asserted before the calm.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{DefaultHasher, Hash as _, Hasher};

use aop_proto::codec::Wire;
use aop_proto::record::{Hash, Kind, NodeId, Origin, ReapBody, Revocation, Signed, SignedRef};
use aop_proto::registry::root::root_of;
use aop_proto::wire::message::Message;

use super::{Verdict, Violation, ensure};

/// The log of one origin as it wrote it: nothing is ever taken out.
#[derive(Debug, Default)]
pub(super) struct Log {
    pub(super) records: BTreeMap<u64, SignedRef>,
    /// Numbers under each key, ascending.
    pub(super) by_key: BTreeMap<(Kind, String), Vec<u64>>,
    /// The highest floor any head named.
    pub(super) floor: u64,
}

impl Log {
    fn add(&mut self, signed: &SignedRef) {
        self.records.insert(signed.record.seq, signed.clone());
        self.by_key.entry(signed.record.key()).or_default().push(signed.record.seq);
        self.floor = self.floor.max(signed.head().floor);
    }

    /// The floor in force at that number.
    pub(super) fn floor_at(&self, seq: u64) -> u64 {
        self.records.get(&seq).map_or(0, |signed| signed.head().floor)
    }

    /// The least tombstone of a key after that number.
    pub(super) fn deleted_after(&self, key: &(Kind, String), seq: u64) -> Option<u64> {
        let numbers = self.by_key.get(key)?;
        numbers.iter().copied().find(|later| *later > seq && self.records[later].record.is_tombstone())
    }

    /// What a replica at `through` holds: the latest of each key up to it, without tombstones up to `floor`.
    pub(super) fn live(&self, through: u64, floor: u64) -> impl Iterator<Item = &SignedRef> {
        self.by_key.values().filter_map(move |numbers| {
            let latest = numbers[..numbers.partition_point(|seq| *seq <= through)].last()?;
            let signed = &self.records[latest];
            (signed.record.body().is_some() || *latest > floor).then_some(signed)
        })
    }
}

/// Everything that was written.
#[derive(Debug, Default)]
pub(crate) struct Truth {
    logs: BTreeMap<Origin, Log>,
    /// Of honest and hostile origins alike.
    hashes: HashMap<(Origin, u64), Hash>,
    /// Envelopes that were found to be what somebody wrote, by a hash of their bytes.
    relayed: BTreeSet<u64>,
    distrusted: BTreeSet<NodeId>,
    excused: BTreeSet<NodeId>,
    /// Nodes that may not know their former lives: until others tell them, they may begin an earlier one.
    forgetful: BTreeSet<NodeId>,
    forked: BTreeSet<Origin>,
    reaped: BTreeMap<NodeId, u64>,
    /// Who has ever certified a node, or those who did.
    elders: BTreeMap<NodeId, BTreeSet<NodeId>>,
}

impl Truth {
    pub(super) fn distrust(&mut self, node: NodeId) {
        self.distrusted.insert(node);
    }

    pub(super) fn excuse(&mut self, node: NodeId) {
        self.excused.insert(node);
    }

    pub(super) fn forgets(&mut self, node: NodeId) {
        self.forgetful.insert(node);
    }

    /// Whether this node's records are held against what it wrote.
    pub(super) fn is_honest(&self, node: NodeId) -> bool {
        !self.distrusted.contains(&node)
    }

    /// Whether there are hostile nodes at all: what a peer leaves out of a part of a log is found only at the log's end.
    pub(super) fn has_hostile(&self) -> bool {
        !self.distrusted.is_empty()
    }

    pub(super) fn log(&self, origin: Origin) -> Option<&Log> {
        self.logs.get(&origin).filter(|_| self.is_honest(origin.node))
    }

    pub(super) fn is_forked(&self, origin: Origin) -> bool {
        self.forked.contains(&origin)
    }

    pub(super) const fn forked(&self) -> &BTreeSet<Origin> {
        &self.forked
    }

    /// Whether somebody who may has ended that life of its log.
    pub(super) fn is_reaped(&self, origin: Origin) -> bool {
        self.reaped.get(&origin.node).is_some_and(|last| origin.incarnation <= *last)
    }

    /// An origin made one of its own records durable (or had it on its disk when it started).
    pub(super) fn write(&mut self, signed: &SignedRef) -> Verdict {
        let origin = signed.record.origin();
        if !self.dot(signed)? || self.is_forked(origin) {
            return Ok(());
        }
        self.follows(signed)?;
        self.note_reap(signed);
        self.logs.entry(origin).or_default().add(signed);
        self.head(signed)
    }

    /// A host is about to keep a record of another origin.
    pub(super) fn hold(&mut self, number: usize, signed: &SignedRef) -> Verdict {
        let origin = signed.record.origin();
        let news = self.dot(signed)?;
        if self.is_honest(origin.node) && !self.is_forked(origin) {
            ensure(!news, 3, || format!("host {number} keeps {signed:?}, which its origin never made durable"))?;
        }
        self.note_reap(signed);
        Ok(())
    }

    /// An honest host sends a frame: whatever records are in it were written, or it made them up.
    pub(super) fn relayed(&mut self, from: &str, bytes: &[u8]) -> Verdict {
        const RANGES: u8 = 19;
        if bytes.get(3) != Some(&RANGES) {
            return Ok(());
        }
        let Ok(Message::Ranges(ranges)) = Message::decode(bytes) else { return Ok(()) };
        for envelope in ranges.ranges.iter().flat_map(|range| &range.records) {
            let mut hasher = DefaultHasher::new();
            envelope.hash(&mut hasher);
            if !self.relayed.insert(hasher.finish()) {
                continue;
            }
            let signed = Signed::read(envelope).map_err(|error| Violation {
                number: 3,
                what: format!("{from} sends a record that is none: {error}"),
            })?;
            let origin = signed.record.origin();
            let known = self.hashes.get(&(origin, signed.record.seq));
            if !self.is_honest(origin.node) || self.is_forked(origin) {
                continue;
            }
            ensure(known.is_some(), 3, || format!("{from} sends {signed:?}, which its origin never made durable"))?;
            ensure(known == Some(&signed.hash) || self.excused.contains(&origin.node), 2, || {
                format!("{from} sends another content for {signed:?} than its origin wrote")
            })?;
        }
        Ok(())
    }

    /// Takes what stands under a dot; whether it is news.
    fn dot(&mut self, signed: &SignedRef) -> Result<bool, Violation> {
        let origin = signed.record.origin();
        let Some(known) = self.hashes.get(&(origin, signed.record.seq)) else {
            self.hashes.insert((origin, signed.record.seq), signed.hash);
            return Ok(true);
        };
        if *known == signed.hash {
            return Ok(false);
        }
        let excused = self.excused.contains(&origin.node) || !self.is_honest(origin.node);
        ensure(excused, 2, || format!("{signed:?} names two contents"))?;
        self.forked.insert(origin);
        Ok(false)
    }

    /// A writer goes forward only: its number, its clock, its floor, its lives.
    fn follows(&self, signed: &SignedRef) -> Verdict {
        let origin = signed.record.origin();
        let lives = Origin { node: origin.node, incarnation: 0 }..=Origin { node: origin.node, incarnation: u64::MAX };
        let last_life = self.logs.range(lives).next_back().map_or(0, |(origin, _)| origin.incarnation);
        let excused = self.excused.contains(&origin.node) || self.forgetful.contains(&origin.node);
        ensure(last_life <= origin.incarnation || excused, 1, || {
            format!("{signed:?} is written after life {last_life} of its node began")
        })?;
        let Some((_, last)) = self.logs.get(&origin).and_then(|log| log.records.last_key_value()) else {
            return Ok(());
        };
        let forward = last.record.seq < signed.record.seq
            && last.record.hlc < signed.record.hlc
            && last.head().floor <= signed.head().floor;
        ensure(forward, 1, || format!("{signed:?} is written after {last:?}: number, clock or floor went back"))
    }

    /// The head that a flush ends with says what its writer holds.
    fn head(&self, signed: &SignedRef) -> Verdict {
        let (head, log) = (*signed.head(), &self.logs[&signed.record.origin()]);
        if head.seq != signed.record.seq {
            return Ok(());
        }
        let mut live: Vec<(u64, Hash)> = log.live(head.seq, head.floor).map(|s| (s.record.seq, s.hash)).collect();
        live.sort_unstable();
        let (count, root) = (live.len() as u64, root_of(live.into_iter()));
        ensure(count == head.count && root == head.root, 3, || {
            format!("the head of {signed:?} says {} records, its log has {count}", head.count)
        })
    }

    fn note_reap(&mut self, signed: &SignedRef) {
        self.note_revocation(signed);
        if signed.record.kind() == Kind::Reap
            && let Some(body) = signed.record.body().and_then(|body| ReapBody::decode(body).ok())
        {
            let last = self.reaped.entry(body.node).or_default();
            *last = body.incarnation.max(*last);
        }
    }

    /// A revoked node's log ends with all its lives, and those it certified may lose theirs for a while.
    fn note_revocation(&mut self, signed: &SignedRef) {
        if let Some(body) = signed.node_body() {
            let elders = self.elders.entry(signed.record.node()).or_default();
            elders.extend(body.chain.iter().map(|certificate| certificate.node));
        }
        let body = signed.record.body().filter(|_| signed.record.kind() == Kind::Revocation);
        let Some(node) = body.and_then(|body| Revocation::decode(body).ok()?.node) else { return };
        let certified = self.elders.iter().filter(|(_, elders)| elders.contains(&node)).map(|(node, _)| *node);
        for ended in certified.chain([node]).collect::<Vec<_>>() {
            self.reaped.insert(ended, u64::MAX);
        }
    }
}
