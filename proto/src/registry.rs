//! The logs of a zone: one per origin, compacted, complete through a sequence number that only verified, contiguous ranges move.
//!
//! Nothing is merged here and nothing is decided by time: equal vectors are equal logs (I2), because every log has one writer.
//! What the logs *show* is the business of `zone`.

pub mod root;

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use crate::name::ZoneName;
use crate::params::{ORIGINS_MAX, RANGE_BYTES_OVERHEAD, RANGES_BYTES_TARGET};
use crate::record::{Hash, Kind, NodeId, Origin, SignedRef};
use crate::wire::message::Range;

/// Why a range was not taken. The registry is unchanged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RangeError {
    /// It begins after what is held: fetch what lies between first.
    #[error("the range begins after a gap")]
    Gap,
    /// Its records are not of its origin, not of this zone, not ascending, or do not reach its end.
    #[error("the range does not hold what it announces")]
    Malformed,
    /// Two contents for one dot: the origin is quarantined (I7).
    #[error("the origin has written two records under one number")]
    Fork,
    /// A life of the node that has ended.
    #[error("the origin is a former life of its node")]
    Superseded,
    /// One origin more than a zone may have.
    #[error("the zone has as many origins as it may")]
    TooManyOrigins,
}

/// What a change means for readers: the record that stands now and the one it replaced.
#[derive(Debug, Clone)]
pub enum Change {
    /// A record stands that did not.
    Put(SignedRef),
    /// A record no longer stands: replaced by a tombstone, or its log ended.
    Gone(SignedRef),
}

/// The log of one origin.
#[derive(Debug, Default)]
struct Log {
    /// Everything up to here is held; only ranges that touch it move it (I1).
    through: u64,
    /// The latest record of each key, tombstones included.
    records: BTreeMap<u64, SignedRef>,
    by_key: BTreeMap<(Kind, String), u64>,
    quarantined: bool,
}

/// All logs of one zone.
#[derive(Debug)]
pub struct Registry {
    zone: ZoneName,
    logs: BTreeMap<Origin, Log>,
    /// XOR of the hashes of all records held: with the vector, the digest.
    content: Hash,
}

impl Registry {
    /// An empty registry of `zone`.
    pub const fn new(zone: ZoneName) -> Self {
        Self { zone, logs: BTreeMap::new(), content: [0; 32] }
    }

    /// The zone.
    pub const fn zone(&self) -> &ZoneName {
        &self.zone
    }

    /// Complete-through of one origin, 0 when unknown.
    pub fn through(&self, origin: Origin) -> u64 {
        self.logs.get(&origin).map_or(0, |log| log.through)
    }

    /// The record that `origin` last wrote under `key`, tombstones included.
    pub fn latest(&self, origin: Origin, key: &(Kind, String)) -> Option<&SignedRef> {
        let log = self.logs.get(&origin)?;
        log.records.get(log.by_key.get(key)?)
    }

    /// All records of one origin, by sequence number.
    pub fn records_of(&self, origin: Origin) -> impl Iterator<Item = &SignedRef> {
        self.logs.get(&origin).into_iter().flat_map(|log| log.records.values())
    }

    /// The life of a node that is held, if any.
    pub fn incarnation_of(&self, node: NodeId) -> Option<u64> {
        self.logs
            .range(Origin { node, incarnation: 0 }..=Origin { node, incarnation: u64::MAX })
            .next_back()
            .map(|(origin, _)| origin.incarnation)
    }

    /// The version vector: complete-through by origin, sorted.
    pub fn vector(&self) -> Vec<(Origin, u64)> {
        self.logs.iter().map(|(origin, log)| (*origin, log.through)).collect()
    }

    /// Number of logs held.
    pub fn origins(&self) -> usize {
        self.logs.len()
    }

    /// Hash of the vector and of all contents. Equal hashes: equal registries.
    pub fn digest(&self) -> [u8; 16] {
        let mut hasher = Sha256::new();
        for (origin, log) in &self.logs {
            hasher.update(origin.node.0);
            hasher.update(origin.incarnation.to_le_bytes());
            hasher.update(log.through.to_le_bytes());
        }
        hasher.update(self.content);
        let hash: Hash = hasher.finalize().into();
        std::array::from_fn(|at| hash[at])
    }

    /// Takes one range whose records are verified. Returns what changed for readers, and the records that are new, to be stored.
    ///
    /// Records already held are skipped; a second content for a held number quarantines the origin.
    ///
    /// # Errors
    /// [`RangeError`]; nothing changed, except that [`RangeError::Fork`] quarantines.
    pub fn apply(&mut self, range: &Range, records: &[SignedRef]) -> Result<Applied, RangeError> {
        self.check(range, records)?;
        let mut applied = Applied::default();
        self.supersede(range.origin, &mut applied);
        let log = self.logs.entry(range.origin).or_default();
        for signed in records.iter().filter(|signed| signed.record.seq > log.through) {
            xor(&mut self.content, &signed.hash);
            let key = signed.record.key();
            let replaced = log.by_key.insert(key, signed.record.seq).and_then(|seq| log.records.remove(&seq));
            log.records.insert(signed.record.seq, signed.clone());
            if let Some(old) = replaced {
                xor(&mut self.content, &old.hash);
                applied.dropped.push((range.origin, old.record.seq));
                if old.record.body.is_some() && signed.record.body.is_none() {
                    applied.changes.push(Change::Gone(old));
                }
            }
            if signed.record.body.is_some() {
                applied.changes.push(Change::Put(signed.clone()));
            }
            applied.stored.push(signed.clone());
        }
        log.through = log.through.max(range.to_inclusive);
        debug_assert!(
            log.records.keys().next_back().is_none_or(|last| *last <= log.through),
            "I1: nothing is held beyond it"
        );
        Ok(applied)
    }

    fn check(&mut self, range: &Range, records: &[SignedRef]) -> Result<(), RangeError> {
        let mut last = range.from_exclusive;
        for signed in records {
            let record = &signed.record;
            let fits = record.origin() == range.origin && record.zone == self.zone.as_str() && record.seq > last;
            if !fits {
                return Err(RangeError::Malformed);
            }
            last = record.seq;
        }
        // The last record of a log is never overwritten, so an honest range ends in a record: its end is signed, not claimed.
        if last != range.to_inclusive || records.is_empty() {
            return Err(RangeError::Malformed);
        }
        if self.incarnation_of(range.origin.node).is_some_and(|held| held > range.origin.incarnation) {
            return Err(RangeError::Superseded);
        }
        let origins = self.logs.len();
        let Some(log) = self.logs.get_mut(&range.origin) else {
            if origins >= ORIGINS_MAX {
                return Err(RangeError::TooManyOrigins);
            }
            return if range.from_exclusive == 0 { Ok(()) } else { Err(RangeError::Gap) };
        };
        let forked = records
            .iter()
            .any(|signed| log.records.get(&signed.record.seq).is_some_and(|held| held.hash != signed.hash));
        log.quarantined |= forked;
        if log.quarantined {
            return Err(RangeError::Fork);
        }
        if range.from_exclusive > log.through { Err(RangeError::Gap) } else { Ok(()) }
    }

    /// A higher incarnation ends the lives before it.
    fn supersede(&mut self, origin: Origin, applied: &mut Applied) {
        let former = Origin { node: origin.node, incarnation: 0 }..origin;
        let former: Vec<Origin> = self.logs.range(former).map(|(origin, _)| *origin).collect();
        for life in former {
            let Some(log) = self.logs.remove(&life) else { continue };
            for signed in log.records.into_values() {
                xor(&mut self.content, &signed.hash);
                applied.dropped.push((life, signed.record.seq));
                if signed.record.body.is_some() {
                    applied.changes.push(Change::Gone(signed));
                }
            }
        }
    }

    /// What a peer with `theirs` lacks, oldest first, cut on record borders to about `bytes_max`; and whether more is left.
    pub fn ranges_for(&self, theirs: &[(Origin, u64)], bytes_max: usize) -> (Vec<Range>, bool) {
        let mut budget = bytes_max;
        let mut ranges = Vec::new();
        for (origin, log) in &self.logs {
            let from = theirs.binary_search_by_key(origin, |(o, _)| *o).map_or(0, |at| theirs[at].1);
            if from >= log.through || log.quarantined {
                continue;
            }
            let mut range =
                Range { origin: *origin, from_exclusive: from, to_inclusive: from, cut: false, records: Vec::new() };
            budget = budget.saturating_sub(RANGE_BYTES_OVERHEAD);
            for (seq, signed) in log.records.range(from + 1..) {
                if signed.envelope.len() > budget {
                    break;
                }
                budget -= signed.envelope.len();
                range.records.push(signed.envelope.to_vec());
                range.to_inclusive = *seq;
            }
            let cut = range.to_inclusive < log.through;
            range.cut = cut;
            if !range.records.is_empty() {
                ranges.push(range);
            }
            if cut {
                return (ranges, true);
            }
        }
        (ranges, false)
    }

    /// The same, in frames of about [`RANGES_BYTES_TARGET`] each.
    pub fn frames_for(&self, theirs: &[(Origin, u64)], bytes_max: usize) -> (Vec<Vec<Range>>, bool) {
        let mut theirs: BTreeMap<Origin, u64> = theirs.iter().copied().collect();
        let mut frames = Vec::new();
        let mut left = bytes_max;
        loop {
            let known: Vec<(Origin, u64)> = theirs.iter().map(|(o, through)| (*o, *through)).collect();
            let (ranges, more) = self.ranges_for(&known, RANGES_BYTES_TARGET.min(left));
            let bytes: usize = ranges.iter().map(range_bytes).sum();
            for range in &ranges {
                theirs.insert(range.origin, range.to_inclusive);
            }
            if !ranges.is_empty() {
                frames.push(ranges);
            }
            left = left.saturating_sub(bytes);
            if !more || bytes == 0 || left == 0 {
                return (frames, more);
            }
        }
    }

    /// Whether `theirs` names anything that is not held here.
    pub fn lacks_from(&self, theirs: &[(Origin, u64)]) -> bool {
        theirs.iter().any(|(origin, through)| {
            self.through(*origin) < *through
                && self.incarnation_of(origin.node).is_none_or(|held| held <= origin.incarnation)
        })
    }
}

/// What one range changed.
#[derive(Debug, Default)]
pub struct Applied {
    /// For readers.
    pub changes: Vec<Change>,
    /// New records, to be stored.
    pub stored: Vec<SignedRef>,
    /// Records that are no longer held, to be deleted from the store.
    pub dropped: Vec<(Origin, u64)>,
}

/// About how many bytes a range takes on the wire, with the certificates of its origin.
pub(crate) fn range_bytes(range: &Range) -> usize {
    RANGE_BYTES_OVERHEAD + range.records.iter().map(Vec::len).sum::<usize>()
}

fn xor(into: &mut Hash, hash: &Hash) {
    for (a, b) in into.iter_mut().zip(hash) {
        *a ^= b;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use ed25519_dalek::SigningKey;

    use super::*;
    use crate::record::{Head, Record, VISIBILITY_PUBLIC};
    use crate::trust::sign_flush;

    fn write(seq: u64, name: &str, body: Option<&[u8]>) -> SignedRef {
        write_as(1, seq, name, body)
    }

    fn write_as(incarnation: u64, seq: u64, name: &str, body: Option<&[u8]>) -> SignedRef {
        let key = SigningKey::from_bytes(&[1; 32]);
        let record = Record {
            zone: "z".into(),
            kind: Kind::Tool.number(),
            name: name.into(),
            node: NodeId(key.verifying_key().to_bytes()),
            incarnation,
            seq,
            epoch: 0,
            hlc: seq,
            visibility: VISIBILITY_PUBLIC,
            issued_ms: 0,
            expires_ms: 0,
            def_hash: None,
            body: body.map(<[u8]>::to_vec),
        };
        Arc::new(sign_flush(&key, vec![record], Head::default()).remove(0))
    }

    fn range(from: u64, records: &[SignedRef]) -> Range {
        Range {
            origin: records[0].record.origin(),
            from_exclusive: from,
            to_inclusive: records[records.len() - 1].record.seq,
            cut: false,
            records: records.iter().map(|signed| signed.envelope.to_vec()).collect(),
        }
    }

    fn registry() -> Registry {
        Registry::new(ZoneName::parse("z").unwrap())
    }

    #[test]
    fn a_gap_is_refused_and_moves_nothing() {
        let mut registry = registry();
        let (one, three) = (write(1, "a.z", Some(b"1")), write(3, "c.z", Some(b"3")));
        registry.apply(&range(0, std::slice::from_ref(&one)), std::slice::from_ref(&one)).unwrap();
        let late = range(2, std::slice::from_ref(&three));
        assert_eq!(registry.apply(&late, &[three]).unwrap_err(), RangeError::Gap);
        assert_eq!(registry.through(one.record.origin()), 1);
    }

    #[test]
    fn equal_vectors_are_equal_digests_whatever_the_way() {
        let all: Vec<SignedRef> =
            (1..=5).map(|seq| write(seq, if seq < 4 { "a.z" } else { "b.z" }, Some(&[seq as u8]))).collect();
        let (mut straight, mut compacted) = (registry(), registry());
        for (at, signed) in all.iter().enumerate() {
            let one = std::slice::from_ref(signed);
            straight.apply(&range(at as u64, one), one).unwrap();
        }
        let (ranges, more) = straight.ranges_for(&[], usize::MAX);
        assert!(!more && ranges[0].records.len() == 2, "overwritten records are absent");
        let live = [all[2].clone(), all[4].clone()];
        compacted.apply(&ranges[0], &live).unwrap();
        assert_eq!((straight.digest(), straight.vector()), (compacted.digest(), compacted.vector()));
    }

    #[test]
    fn a_range_may_not_claim_more_than_its_last_record() {
        let one = write(1, "a.z", Some(b"1"));
        let mut wide = range(0, std::slice::from_ref(&one));
        wide.to_inclusive = 99;
        assert_eq!(registry().apply(&wide, &[one]).unwrap_err(), RangeError::Malformed);
    }

    #[test]
    fn two_contents_for_one_number_quarantine_the_origin() {
        let mut registry = registry();
        let (one, other) = (write(1, "a.z", Some(b"1")), write(1, "a.z", Some(b"2")));
        registry.apply(&range(0, std::slice::from_ref(&one)), std::slice::from_ref(&one)).unwrap();
        let fork = registry.apply(&range(0, std::slice::from_ref(&other)), &[other]);
        assert_eq!(fork.unwrap_err(), RangeError::Fork);
        let two = write(2, "b.z", Some(b"2"));
        assert_eq!(registry.apply(&range(1, std::slice::from_ref(&two)), &[two]).unwrap_err(), RangeError::Fork);
    }

    #[test]
    fn a_tombstone_takes_the_record_out_and_a_new_life_takes_all() {
        let mut registry = registry();
        let (one, two) = (write(1, "a.z", Some(b"1")), write(2, "b.z", Some(b"2")));
        registry.apply(&range(0, &[one.clone(), two.clone()]), &[one, two]).unwrap();
        let gone = write(3, "a.z", None);
        let applied = registry.apply(&range(2, std::slice::from_ref(&gone)), &[gone]).unwrap();
        assert!(matches!(&applied.changes[..], [Change::Gone(old)] if old.record.name == "a.z"));
        let reborn = write_as(2, 1, "c.z", Some(b"3"));
        let applied = registry.apply(&range(0, std::slice::from_ref(&reborn)), &[reborn]).unwrap();
        assert_eq!(applied.changes.len(), 2);
        let old = write(4, "d.z", Some(b"4"));
        assert_eq!(registry.apply(&range(3, std::slice::from_ref(&old)), &[old]).unwrap_err(), RangeError::Superseded);
    }

    #[test]
    fn ranges_are_cut_on_record_borders_and_continue() {
        let mut sender = registry();
        let all: Vec<SignedRef> = (1..=40).map(|seq| write(seq, &format!("t{seq}.z"), Some(&[7; 100]))).collect();
        sender.apply(&range(0, &all), &all).unwrap();
        let mut receiver = registry();
        let mut rounds = 0;
        loop {
            let (ranges, more) = sender.ranges_for(&receiver.vector(), 4_000);
            for range in &ranges {
                let records: Vec<SignedRef> = all
                    .iter()
                    .filter(|s| s.record.seq > range.from_exclusive && s.record.seq <= range.to_inclusive)
                    .cloned()
                    .collect();
                receiver.apply(range, &records).unwrap();
            }
            rounds += 1;
            if !more {
                break;
            }
        }
        assert!(rounds > 3);
        assert_eq!(sender.digest(), receiver.digest());
    }
}
