//! One who writes a log and signs right heads: what honest ranges are cut from, and what a liar's must look like to be looked at.

use std::collections::BTreeMap;
use std::sync::Arc;

use aop_proto::record::{Head, NodeId, Origin, Record, Signed, SignedRef};
use aop_proto::registry::root::root_of;
use aop_proto::trust::{SigningKey, sign_flush};
use aop_proto::wire::message::Range;

/// What a log holds, by number.
pub(crate) type Held = BTreeMap<u64, SignedRef>;

/// The writer of one log.
pub(crate) struct Author {
    key: SigningKey,
    pub(crate) origin: Origin,
    pub(crate) held: Held,
}

impl Author {
    pub(crate) fn new(key: SigningKey, incarnation: u64) -> Self {
        let node = NodeId(key.verifying_key().to_bytes());
        Self { key, origin: Origin { node, incarnation }, held: Held::new() }
    }

    /// The number of the last record.
    pub(crate) fn through(&self) -> u64 {
        self.held.last_key_value().map_or(0, |(seq, _)| *seq)
    }

    /// Writes one flush, whose numbers follow the log, and collects tombstones up to `floor`.
    pub(crate) fn flush(&mut self, mut records: Vec<Record>, floor: u64) -> Vec<SignedRef> {
        for (record, seq) in records.iter_mut().zip(self.through() + 1..) {
            (record.node, record.incarnation, record.seq) = (self.origin.node, self.origin.incarnation, seq);
        }
        // Under no head at first, for their hashes: they stand in the root that the head names.
        let mut next = self.held.clone();
        for signed in sign_flush(&self.key, records.clone(), Head::default()) {
            next.retain(|_, old| old.record.key() != signed.record.key());
            next.insert(signed.record.seq, Arc::new(signed));
        }
        let last = next.last_key_value().map_or(0, |(seq, _)| *seq);
        next.retain(|seq, signed| signed.record.body().is_some() || *seq > floor || *seq == last);
        let root = root_of(next.iter().map(|(seq, signed)| (*seq, signed.hash)));
        let head = Head { seq: last, floor, count: next.len() as u64, root };
        let signed: Vec<SignedRef> = sign_flush(&self.key, records, head).into_iter().map(Arc::new).collect();
        for signed in &signed {
            if let Some(held) = next.get_mut(&signed.record.seq) {
                *held = signed.clone();
            }
        }
        self.held = next;
        signed
    }

    /// Signs anything, as it is.
    pub(crate) fn sign(&self, record: Record, head: Head) -> Signed {
        sign_flush(&self.key, vec![record], head).remove(0)
    }
}

/// A range of these records, the last of which ends it.
pub(crate) fn range_of(from_exclusive: u64, cut: bool, records: &[SignedRef]) -> Option<Range> {
    let last = &records.last()?.record;
    Some(Range {
        origin: last.origin(),
        from_exclusive,
        to_inclusive: last.seq,
        cut,
        records: records.iter().map(|signed| signed.envelope()).collect(),
    })
}
