//! The logs of a zone: one per origin, compacted, complete through a sequence number that only verified, contiguous ranges move.
//!
//! Nothing is merged here and nothing is decided by time: equal vectors are equal logs (I2), because every log has one writer, who
//! signs with every flush what the log holds then (its head). A log is changed only to a state that such a head confirms, so a relay
//! can neither leave a record out nor serve an old one; what is not confirmed yet waits in `stages` or `deferred` and is not shown.
//!
//! ```text
//!  Range ─▶ apply ─┬─ from what is held (I1) ──┐ its last head confirms what would be held: taken, whole
//!                  ├─ from 0, a snapshot ──────┤ cut and not confirmed: staged, until the same sender's next part confirms it
//!                  └─ stamped too far ahead ───┘ deferred, until the local clock has come that far
//! ```
//!
//! What the logs *show* is the business of `zone`; who may write one, and who may end one, of `node` and `trust`.

mod deferred;
mod digest;
mod exchange;
mod log;
pub mod root;
mod stages;
mod taking;

#[cfg(test)]
pub(crate) mod author;
#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use deferred::Deferred;
use digest::{Sums, Term};
pub(crate) use exchange::range_bytes;
pub use exchange::{Missing, Standing, bucket_of};
use log::{Log, Step, head_of_changes};
use root::Changes;
use stages::Stages;

use crate::name::ZoneName;
use crate::params::{BUCKETS, LOG_BYTES_MAX, ORIGINS_MAX};
use crate::record::{ByNode, Head, Kind, NodeId, OfNode, Origin, SignedRef};

/// Why a range was not taken. The registry shows and holds what it did before.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RangeError {
    /// Whoever took it for the registry does not believe it: its records are not signed by one who may write this log here.
    #[error("the range is not believed")]
    Unbelieved,
    /// A record of it is signed by nobody, or is not what it says.
    #[error("the range holds a forgery")]
    Forged,
    /// It begins after what is held: fetch what lies between first.
    #[error("the range begins after a gap")]
    Gap,
    /// Its records are not of its origin, not of this zone, not ascending, or do not reach its end.
    #[error("the range does not hold what it announces")]
    Malformed,
    /// Its origin signed another state than the one it leads to: something was left out or is old. Somebody else may have the rest.
    #[error("the range leads to a state that its origin never signed")]
    Incomplete,
    /// Two contents for one dot. To be given to [`Registry::quarantine`] (I7).
    #[error("the origin has written two records under one number")]
    Fork(Evidence),
    /// The origin is quarantined.
    #[error("the origin is quarantined")]
    Quarantined,
    /// A life of the node that has ended.
    #[error("the origin is a former life of its node")]
    Superseded,
    /// One origin more than a zone may have.
    #[error("the zone has as many origins as it may")]
    TooManyOrigins,
    /// This log or a later life's is lent to another sender, or held back for the clock.
    #[error("the log is on its way from somebody else")]
    Busy,
    /// It leads to a log that is larger than a log may be.
    #[error("the log would be larger than a log may be")]
    TooLarge,
    /// What waits to be taken has as many bytes as it may.
    #[error("no room for what cannot be taken yet")]
    Full,
}

/// Ranges that do not fit a log, after which the log itself is doubted: one may be any sender's lie.
const DOUBTS: u8 = 2;

/// Two records of one dot, both signed by its origin. Equal evidence is equal, whichever was seen first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evidence {
    one: SignedRef,
    other: SignedRef,
}

impl Evidence {
    /// `None` when they prove nothing: another dot, or the same content under the same head.
    pub fn of(a: &SignedRef, b: &SignedRef) -> Option<Self> {
        let same_dot = a.record.origin() == b.record.origin() && a.record.seq == b.record.seq;
        let (one, other) = if a.envelope() <= b.envelope() { (a.clone(), b.clone()) } else { (b.clone(), a.clone()) };
        (same_dot && differ(a, b)).then_some(Self { one, other })
    }

    /// Whose log it is about.
    pub fn origin(&self) -> Origin {
        self.one.record.origin()
    }

    /// Whether both records are of that zone.
    pub fn is_of(&self, zone: &ZoneName) -> bool {
        [&self.one, &self.other].iter().all(|signed| signed.record.zone() == zone.as_str())
    }

    /// The two records.
    pub const fn records(&self) -> (&SignedRef, &SignedRef) {
        (&self.one, &self.other)
    }
}

fn differ(a: &SignedRef, b: &SignedRef) -> bool {
    (a.hash, a.head()) != (b.hash, b.head())
}

/// What a change means for readers: the record that stands now and the one it replaced.
#[derive(Debug, Clone)]
pub enum Change {
    /// A record stands that did not, in the place of any other of its key.
    Put(SignedRef),
    /// A record no longer stands, nor any other of its key.
    Gone(SignedRef),
}

/// What one input changed.
#[derive(Debug, Default)]
pub struct Applied {
    /// For readers.
    pub changes: Vec<Change>,
    /// New records, to be stored.
    pub stored: Vec<SignedRef>,
    /// Records that are no longer held, to be deleted from the store.
    pub dropped: Vec<(Origin, u64)>,
    /// Lives whose quarantine ended, because a later one began or they were reaped: their evidence is no longer held.
    pub absolved: Vec<Origin>,
    /// The range is held back: its origin's clock is so many milliseconds ahead of the local one. 0 when it is not.
    pub ahead_ms: u64,
}

/// What is held of one node: the log of its latest life, or why there is none.
#[derive(Debug)]
enum Slot {
    Held(Log),
    Forked(Box<Evidence>),
}

impl Slot {
    fn origin(&self) -> Origin {
        match self {
            Self::Held(log) => log.origin(),
            Self::Forked(evidence) => evidence.origin(),
        }
    }

    const fn log(&self) -> Option<&Log> {
        match self {
            Self::Held(log) => Some(log),
            Self::Forked(_) => None,
        }
    }
}

impl OfNode for Slot {
    fn node(&self) -> &NodeId {
        match self {
            Self::Held(log) => log.last().node(),
            Self::Forked(evidence) => evidence.one.node(),
        }
    }
}

/// All logs of one zone.
#[derive(Debug)]
pub struct Registry {
    zone: ZoneName,
    slots: ByNode<Slot>,
    /// Those of them that are quarantined: usually none.
    forked: BTreeSet<NodeId>,
    /// Nodes whose logs up to a life were ended for good.
    reaped: BTreeMap<NodeId, u64>,
    /// Logs that came from the store in a state no head confirms. They are shown and not sent, and asked for again.
    unsure: BTreeSet<NodeId>,
    /// Logs that were offered so many ranges, since they last changed, that do not fit what is held: it may be this log that is wrong.
    doubts: BTreeMap<NodeId, u8>,
    stages: Stages,
    deferred: Deferred,
    sums: Sums,
    /// What one log may count.
    pub(crate) log_bytes_max: usize,
}

impl Registry {
    /// An empty registry of `zone`.
    pub fn new(zone: ZoneName) -> Self {
        Self {
            zone,
            slots: ByNode::default(),
            forked: BTreeSet::new(),
            reaped: BTreeMap::new(),
            unsure: BTreeSet::new(),
            doubts: BTreeMap::new(),
            stages: Stages::default(),
            deferred: Deferred::default(),
            sums: Sums::new(),
            log_bytes_max: LOG_BYTES_MAX,
        }
    }

    /// The zone.
    pub const fn zone(&self) -> &ZoneName {
        &self.zone
    }

    /// Hash of the vector and of all contents, forks and reap marks. Equal hashes: equal registries.
    pub fn digest(&self) -> [u8; 16] {
        self.sums.digest()
    }

    /// The same, of the parts of the vector one by one; see [`bucket_of`].
    pub const fn buckets(&self) -> &[u64; BUCKETS] {
        self.sums.buckets()
    }

    /// Complete-through of one origin, 0 when nothing of it is held.
    pub fn through(&self, origin: Origin) -> u64 {
        self.log(origin).map_or(0, Log::through)
    }

    /// The same, with what is only held back for the clock: nothing up to here has to be fetched.
    pub fn holds(&self, origin: Origin) -> u64 {
        self.deferred.end(origin).unwrap_or(0).max(self.through(origin))
    }

    /// Tombstones of one origin are collected up to here.
    pub fn floor(&self, origin: Origin) -> u64 {
        self.log(origin).map_or(0, Log::floor)
    }

    /// The signed head that one origin's log is at.
    pub fn head_of(&self, origin: Origin) -> Option<&Head> {
        self.log(origin).map(|log| log.last().head())
    }

    /// The record that `origin` last wrote under a key, tombstones included; the name in any case.
    pub fn latest(&self, origin: Origin, kind: Kind, name: &str) -> Option<&SignedRef> {
        self.log(origin)?.latest(kind, name)
    }

    /// What one origin's log counts, and what it may.
    pub fn log_bytes(&self, origin: Origin) -> (usize, usize) {
        (self.log(origin).map_or(0, Log::bytes), self.log_bytes_max)
    }

    /// All records of one origin, by sequence number.
    pub fn records_of(&self, origin: Origin) -> impl Iterator<Item = &SignedRef> {
        self.log(origin).into_iter().flat_map(|log| log.after(0))
    }

    /// Numbers of one origin's tombstones, in order.
    pub fn tombstones_of(&self, origin: Origin) -> impl Iterator<Item = u64> {
        self.log(origin).into_iter().flat_map(Log::tombstones)
    }

    /// The life of a node that is held or quarantined, if any.
    pub fn incarnation_of(&self, node: NodeId) -> Option<u64> {
        self.slots.get(node).map(|slot| slot.origin().incarnation)
    }

    /// The version vector: complete-through by origin, sorted.
    pub fn vector(&self) -> Vec<(Origin, u64)> {
        self.logs().map(|log| (log.origin(), log.through())).collect()
    }

    /// Number of nodes of which a log is held or quarantined.
    pub fn origins(&self) -> usize {
        self.slots.len()
    }

    /// Quarantined origins, and why.
    pub fn forks(&self) -> impl Iterator<Item = &Evidence> {
        self.forked.iter().filter_map(|node| match self.slots.get(*node) {
            Some(Slot::Forked(evidence)) => Some(&**evidence),
            _ => None,
        })
    }

    /// Whether two contents for one dot of this life were seen.
    pub fn is_quarantined(&self, origin: Origin) -> bool {
        matches!(self.slots.get(origin.node), Some(Slot::Forked(evidence)) if evidence.origin() == origin)
    }

    /// Logs that are asked for again, from their beginning, by every vector: no head confirms what the store had of them, or it does
    /// not fit what others hold.
    pub fn incomplete(&self) -> impl Iterator<Item = Origin> {
        self.logs().map(Log::origin).filter(|origin| self.wants_whole(origin.node))
    }

    /// Bytes of what waits to be taken: in parts, and for the clock.
    pub const fn pending_bytes(&self) -> (usize, usize) {
        (self.stages.bytes(), self.deferred.bytes())
    }

    /// Takes the next flush of the node's own log, in the order of writing. Nothing is taken of a life that has ended.
    ///
    /// # Panics
    /// When it does not follow what is held, or its head is not what is held then: whoever signed it broke its promise.
    pub fn append(&mut self, flush: &[SignedRef]) -> Applied {
        let Some(first) = flush.first() else { return Applied::default() };
        let origin = first.record.origin();
        if self.is_quarantined(origin) || self.is_over(origin) {
            return Applied::default();
        }
        assert_eq!(first.record.seq, self.through(origin) + 1, "I1: our own log is contiguous");
        let mut applied = match self.log(origin) {
            Some(_) => self.extend(origin.node, flush),
            None => self.begin_log(flush),
        }
        .expect("our own head says what our own log holds");
        let passed =
            flush.iter().filter(|signed| self.log(origin).is_some_and(|log| log.get(signed.record.seq).is_none()));
        applied.dropped.extend(passed.map(|signed| (origin, signed.record.seq)));
        applied
    }

    /// Takes back one origin's records from the store, sorted by number. They are believed, but a log that no head confirms is
    /// [`incomplete`](Registry::incomplete). What stands no more is dropped: the store was about to when it ended, and once what
    /// overwrote it is collected, nothing would tell.
    pub fn restore(&mut self, records: &[SignedRef]) -> Applied {
        let dots = |records: &[SignedRef]| -> Vec<_> {
            records.iter().map(|signed| (signed.record.origin(), signed.record.seq)).collect()
        };
        let Some(mut log) = Log::of(records).filter(|log| self.is_next_life(log.origin())) else {
            return Applied { dropped: dots(records), ..Applied::default() };
        };
        let passed = records.iter().filter(|signed| log.get(signed.record.seq).is_none());
        let passed: Vec<SignedRef> = passed.cloned().collect();
        let (node, confirmed) = (log.origin().node, log.is_confirmed());
        let mut applied = self.swap(Slot::Held(log));
        applied.dropped.extend(dots(&passed));
        if !confirmed {
            self.take_out(node);
            self.unsure.insert(node);
            self.put_in(node);
        }
        applied
    }

    /// Two contents for one dot: the log leaves the view, and nothing more of this life is taken (I7). What is hashed of it from now
    /// on is the same for everybody who knows.
    pub fn quarantine(&mut self, evidence: Evidence) -> Applied {
        let origin = evidence.origin();
        let full = self.slots.len() >= ORIGINS_MAX && !self.slots.contains(origin.node);
        if full || !evidence.is_of(&self.zone) || self.is_quarantined(origin) || self.is_over(origin) {
            return Applied::default();
        }
        self.swap(Slot::Forked(Box::new(evidence)))
    }

    /// Ends the lives of a node up to `incarnation`: their logs are dropped and refused.
    pub fn reap(&mut self, node: NodeId, incarnation: u64) -> Applied {
        // No bound of its own: a mark takes less than the record that says so, and has to follow from records alone.
        if self.reaped.get(&node).is_some_and(|mark| *mark >= incarnation) {
            return Applied::default();
        }
        self.take_out(node);
        self.reaped.insert(node, incarnation);
        let ends = self.incarnation_of(node).is_some_and(|held| held <= incarnation);
        let ended = if ends { self.slots.remove(node) } else { None };
        if ends {
            self.forked.remove(&node);
            self.trust_again(node);
        }
        self.put_in(node);
        self.forget_pending(node, Some(incarnation));
        let mut applied = Applied::default();
        match ended {
            Some(Slot::Held(log)) => log.after(0).for_each(|signed| self.gone(signed, &mut applied)),
            Some(Slot::Forked(evidence)) => applied.absolved.push(evidence.origin()),
            None => {}
        }
        applied
    }

    /// The last life of a node that was ended for good.
    pub fn reaped(&self, node: NodeId) -> Option<u64> {
        self.reaped.get(&node).copied()
    }

    /// Takes a reap mark back, when no record says so any more: marks are hashed, and must follow from what is held.
    pub fn lift(&mut self, node: NodeId) {
        self.take_out(node);
        self.reaped.remove(&node);
        self.put_in(node);
    }

    /// The highest floor that the writer of a log may publish: tombstones up to it are old enough.
    pub fn collectable(&self, origin: Origin, wall_ms: u64) -> u64 {
        self.log(origin).map_or(0, |log| log.collectable(wall_ms))
    }

    /// The head that the writer of a log signs for what follows: what stands once `changes` have come to it.
    pub fn head_after(&self, origin: Origin, changes: &Changes, seq: u64, floor: u64) -> Head {
        let log = self.log(origin);
        log.map_or_else(|| head_of_changes(changes, seq, floor), |log| log.head_after(changes, seq, floor))
    }

    /// Whether a record stands under that number.
    pub fn stands(&self, origin: Origin, seq: u64) -> bool {
        self.log(origin).is_some_and(|log| log.get(seq).is_some())
    }

    fn log(&self, origin: Origin) -> Option<&Log> {
        self.slots.get(origin.node)?.log().filter(|log| log.origin() == origin)
    }

    /// A log that may be sent.
    fn confirmed(&self, origin: Origin) -> Option<&Log> {
        self.log(origin).filter(|_| !self.unsure.contains(&origin.node))
    }

    fn logs(&self) -> impl Iterator<Item = &Log> {
        self.slots.values().filter_map(Slot::log)
    }

    /// Whether a log is asked for again from its beginning: the store had it in a state that no head confirms, or it turned out twice
    /// that others hold another state. Either it is replaced then, or a fork shows itself.
    fn wants_whole(&self, node: NodeId) -> bool {
        self.unsure.contains(&node) || self.doubts.get(&node).is_some_and(|doubts| *doubts >= DOUBTS)
    }

    fn trust_again(&mut self, node: NodeId) {
        self.unsure.remove(&node);
        self.doubts.remove(&node);
    }

    /// A life that has ended: reaped, or followed by another.
    fn is_over(&self, origin: Origin) -> bool {
        self.incarnation_of(origin.node).is_some_and(|held| held > origin.incarnation)
            || self.reaped.get(&origin.node).is_some_and(|mark| *mark >= origin.incarnation)
    }

    /// A life of which nothing is held, and that has not ended.
    fn is_next_life(&self, origin: Origin) -> bool {
        self.incarnation_of(origin.node) != Some(origin.incarnation) && !self.is_over(origin)
    }

    /// Takes all records of a log in the place of whatever is held of its node.
    fn begin_log(&mut self, records: &[SignedRef]) -> Option<Applied> {
        let mut log = Log::of(records)?;
        log.is_confirmed().then(|| self.swap(Slot::Held(log)))
    }

    /// Takes records that follow a log.
    fn extend(&mut self, node: NodeId, fresh: &[SignedRef]) -> Option<Applied> {
        self.take_out(node);
        let step = match self.slots.get_mut(node) {
            Some(Slot::Held(log)) => log.extend(fresh),
            _ => None,
        };
        if step.is_some() {
            self.trust_again(node);
        }
        self.put_in(node);
        let Step { put, gone } = step?;
        let mut applied = Applied::default();
        gone.iter().for_each(|signed| self.gone(signed, &mut applied));
        put.iter().for_each(|signed| applied.put(signed));
        Some(applied)
    }

    /// Puts a log, or a quarantine, in the place of what is held of its node.
    fn swap(&mut self, new: Slot) -> Applied {
        let origin = new.origin();
        let forgotten = match new {
            Slot::Held(_) => origin.incarnation.checked_sub(1),
            Slot::Forked(_) => Some(origin.incarnation),
        };
        self.forget_pending(origin.node, forgotten);
        self.take_out(origin.node);
        self.trust_again(origin.node);
        match new {
            Slot::Held(_) => self.forked.remove(&origin.node),
            Slot::Forked(_) => self.forked.insert(origin.node),
        };
        let old = self.slots.insert(new);
        self.put_in(origin.node);
        let mut applied = Applied::default();
        let old = match old {
            Some(Slot::Held(log)) => Some(log),
            Some(Slot::Forked(evidence)) => {
                applied.absolved.push(evidence.origin());
                None
            }
            None => None,
        };
        for signed in old.iter().flat_map(|log| log.after(0)) {
            if !self.holds_record(signed) {
                self.gone(signed, &mut applied);
            }
        }
        let had = |signed: &SignedRef| old.as_ref().is_some_and(|log| has(log, signed));
        self.records_of(origin).filter(|signed| !had(signed)).for_each(|signed| applied.put(signed));
        applied
    }

    fn holds_record(&self, signed: &SignedRef) -> bool {
        self.log(signed.record.origin()).is_some_and(|log| has(log, signed))
    }

    /// A record is no longer held. Readers are told unless another of its node and key stands instead, of whichever life.
    fn gone(&self, signed: &SignedRef, applied: &mut Applied) {
        let record = &signed.record;
        applied.dropped.push((record.origin(), record.seq));
        let log = self.slots.get(record.node()).and_then(Slot::log);
        let latest = log.and_then(|log| log.latest(record.kind(), record.name()));
        let stands = latest.is_some_and(|latest| !latest.record.is_tombstone());
        if !record.is_tombstone() && !stands {
            applied.changes.push(Change::Gone(signed.clone()));
        }
    }

    fn forget_pending(&mut self, node: NodeId, through_incarnation: Option<u64>) {
        let Some(incarnation) = through_incarnation else { return };
        self.stages.forget(node, incarnation);
        self.deferred.forget(node, incarnation);
    }

    /// Takes what is hashed of one node out of the digests: before every change of it.
    fn take_out(&mut self, node: NodeId) {
        for term in self.terms(node) {
            self.sums.subtract(node, &term);
        }
    }

    /// Takes it in: after every change.
    fn put_in(&mut self, node: NodeId) {
        for term in self.terms(node) {
            self.sums.add(node, &term);
        }
    }

    fn terms(&mut self, node: NodeId) -> impl Iterator<Item = Term> + use<> {
        let mark = self.reaped.get(&node).map(|incarnation| Term::of(2, node, *incarnation, &Head::default()));
        let slot = self.slots.get_mut(node).map(|slot| match slot {
            // A function of the origin alone: all who know agree, whichever of the records they had.
            Slot::Forked(evidence) => Term::of(1, node, evidence.origin().incarnation, &Head::default()),
            Slot::Held(log) => {
                let head = if self.unsure.contains(&node) { log.head() } else { *log.last().head() };
                Term::of(0, node, log.origin().incarnation, &head)
            }
        });
        mark.into_iter().chain(slot)
    }
}

impl Applied {
    fn put(&mut self, signed: &SignedRef) {
        self.stored.push(signed.clone());
        if !signed.record.is_tombstone() {
            self.changes.push(Change::Put(signed.clone()));
        }
    }
}

fn has(log: &Log, signed: &SignedRef) -> bool {
    log.get(signed.record.seq).is_some_and(|held| held.hash == signed.hash && log.origin() == signed.record.origin())
}
