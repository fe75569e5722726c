//! One who writes a log and signs right heads, for tests of whatever holds logs. Signatures are not made: nobody here looks at them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::codec::Wire;
use crate::name::ZoneName;
use crate::now::Now;
use crate::record::{Envelope, Head, Kind, NodeId, Origin, Record, Signed, SignedRef, VISIBILITY_PUBLIC};
use crate::registry::Registry;
use crate::registry::root::Tree;
use crate::wire::message::Range;

pub(crate) const NOW: Now = Now { mono: Duration::ZERO, wall_ms: 1_000_000 };

/// One who writes a log, and signs right heads. Signatures are not looked at here.
pub(crate) struct Author {
    pub(crate) origin: Origin,
    pub(crate) seq: u64,
    pub(crate) floor: u64,
    pub(crate) wall_ms: u64,
    tree: Tree,
    held: BTreeMap<String, SignedRef>,
}

impl Author {
    pub(crate) fn new(number: u8, incarnation: u64) -> Self {
        Self {
            origin: Origin { node: NodeId([number; 32]), incarnation },
            seq: 0,
            floor: 0,
            wall_ms: NOW.wall_ms,
            tree: Tree::default(),
            held: BTreeMap::new(),
        }
    }

    /// One flush: names in lower case, and what they are to be; `None` deletes.
    pub(crate) fn flush(&mut self, writes: &[(&str, Option<&[u8]>)]) -> Vec<SignedRef> {
        let records: Vec<Signed> = writes.iter().map(|(name, body)| self.write(name, *body)).collect();
        for signed in &records {
            self.stand(signed);
        }
        let collected = |signed: &SignedRef| signed.record.is_tombstone() && signed.record.seq <= self.floor;
        for (_, signed) in self.held.extract_if(.., |_, signed| collected(signed)) {
            self.tree.remove(signed.record.seq);
        }
        let head = self.tree.head(self.seq, self.floor);
        let records: Vec<SignedRef> = records.into_iter().map(|signed| under(head, &signed)).collect();
        for signed in &records {
            if let Some(held) = self.held.get_mut(signed.record.name())
                && held.record.seq == signed.record.seq
            {
                *held = signed.clone();
            }
        }
        records
    }

    pub(crate) fn put(&mut self, name: &str, body: &[u8]) -> Vec<SignedRef> {
        self.flush(&[(name, Some(body))])
    }

    pub(crate) fn delete(&mut self, name: &str) -> Vec<SignedRef> {
        self.flush(&[(name, None)])
    }

    /// Goes on where another author is.
    pub(crate) fn take_over(&mut self, other: &Self) {
        (self.seq, self.floor, self.tree, self.held) = (other.seq, other.floor, other.tree.clone(), other.held.clone());
    }

    /// What the log holds, by number.
    pub(crate) fn held(&self) -> Vec<SignedRef> {
        let by_seq: BTreeMap<u64, &SignedRef> = self.held.values().map(|signed| (signed.record.seq, signed)).collect();
        by_seq.into_values().cloned().collect()
    }

    pub(crate) fn whole(&self) -> (Range, Vec<SignedRef>) {
        (range(0, &self.held()), self.held())
    }

    fn write(&mut self, name: &str, body: Option<&[u8]>) -> Signed {
        self.seq += 1;
        let record = Record {
            zone: "z".into(),
            kind: Kind::Tool.number(),
            name: name.into(),
            node: self.origin.node,
            incarnation: self.origin.incarnation,
            seq: self.seq,
            epoch: 0,
            hlc: self.wall_ms << 16,
            visibility: VISIBILITY_PUBLIC,
            issued_ms: self.wall_ms,
            expires_ms: 0,
            def_hash: None,
            body: body.map(<[u8]>::to_vec),
        };
        enveloped(record.encode(), Head::default())
    }

    fn stand(&mut self, signed: &Signed) {
        if let Some(old) = self.held.insert(signed.record.name().to_owned(), Arc::new(signed.clone())) {
            self.tree.remove(old.record.seq);
        }
        self.tree.insert(signed.record.seq, signed.hash);
    }
}

pub(crate) fn under(head: Head, signed: &Signed) -> SignedRef {
    Arc::new(enveloped(signed.record.payload().to_vec(), head))
}

fn enveloped(payload: Vec<u8>, head: Head) -> Signed {
    let envelope = Envelope { payload, index: 0, path: Vec::new(), head, signature: [0; 64] };
    Signed::read(&envelope.encode()).expect("it was just made")
}

pub(crate) fn range(from: u64, records: &[SignedRef]) -> Range {
    let last = &records[records.len() - 1].record;
    Range { origin: last.origin(), from_exclusive: from, to_inclusive: last.seq, cut: false, records: Vec::new() }
}

pub(crate) fn registry() -> Registry {
    Registry::new(ZoneName::parse("z").expect("a zone"))
}

/// The records of a range, as they are read back from the wire.
pub(crate) fn opened(range: &Range) -> Vec<SignedRef> {
    range.records.iter().map(|bytes| Arc::new(Signed::read(bytes).expect("it was written"))).collect()
}
