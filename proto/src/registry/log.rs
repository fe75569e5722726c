//! One log, compacted: the latest record of each key, tombstones above the floor included.
//!
//! Where it ends, what is collected and what it must hold all stand in the head of its last record, so nothing of it is kept beside
//! the records. A log of a few records is a sorted list; a larger one has tables and the hash tree. It is *not* told where records
//! come from or whether they may be taken: `registry` decides that.

use std::borrow::Cow;
use std::collections::BTreeSet;

use sha2::{Digest as _, Sha256};

use crate::name::has_capitals;
use crate::params::TOMBSTONE_KEPT;
use crate::record::{Head, Kind, Origin, SignedRef};
use crate::registry::root::{Changes, Tree, root_of};

/// Records up to which a log is a list: most origins have a record of their node and little more.
const FEW: usize = 8;

/// The records of one origin. Never empty.
#[derive(Debug)]
pub(super) enum Log {
    /// Most origins serve nothing: this is the record of their node.
    One(SignedRef),
    /// Sorted by number.
    #[expect(clippy::box_collection, reason = "a log of one record is smaller for it, and these are the most")]
    Few(Box<Vec<SignedRef>>),
    /// With tables. A log does not shrink back.
    Many(Box<Many>),
}

/// A log of more than [`FEW`] records.
#[derive(Debug, Default)]
pub(super) struct Many {
    /// The records, by number.
    tree: Tree<SignedRef>,
    /// Their keys' hashes and their numbers.
    by_key: BTreeSet<(u64, u64)>,
    tombstones: BTreeSet<u64>,
    bytes: usize,
}

/// What some records do to a log: those that stand afterwards, and those that stand no more.
#[derive(Debug, Default)]
pub(super) struct Step {
    pub(super) put: Vec<SignedRef>,
    pub(super) gone: Vec<SignedRef>,
}

impl Log {
    /// The log of these records, sorted by number; `None` for none.
    pub(super) fn of(records: &[SignedRef]) -> Option<Self> {
        Self::standing(step(None, records).put)
    }

    /// The log of records that all stand, sorted by number; `None` for none.
    fn standing(mut records: Vec<SignedRef>) -> Option<Self> {
        if records.len() > FEW {
            let mut many = Many::default();
            for signed in records {
                many.tree.insert(signed.record.seq, signed.clone());
                many.insert(&signed);
            }
            many.tree.root();
            return Some(Self::Many(Box::new(many)));
        }
        if records.len() > 1 {
            records.shrink_to_fit();
            return Some(Self::Few(Box::new(records)));
        }
        records.pop().map(Self::One)
    }

    /// Its records, as the list of a small log or as the tables of a large one.
    fn parts(&self) -> (&[SignedRef], Option<&Many>) {
        match self {
            Self::One(signed) => (std::slice::from_ref(signed), None),
            Self::Few(records) => (records, None),
            Self::Many(many) => (&[], Some(many)),
        }
    }

    /// The last record, which is never overwritten or collected.
    pub(super) fn last(&self) -> &SignedRef {
        let last = match self {
            Self::One(signed) => Some(signed),
            Self::Few(records) => records.last(),
            Self::Many(many) => many.tree.leaves().last_key_value().map(|(_, signed)| signed),
        };
        last.expect("a log has at least its last record")
    }

    /// Whose it is.
    pub(super) fn origin(&self) -> Origin {
        self.last().record.origin()
    }

    /// Everything up to here is held (I1).
    pub(super) fn through(&self) -> u64 {
        self.last().record.seq
    }

    /// Tombstones up to here are collected.
    pub(super) fn floor(&self) -> u64 {
        floor_at(self.last())
    }

    pub(super) fn len(&self) -> usize {
        let (few, many) = self.parts();
        few.len() + many.map_or(0, |many| many.tree.leaves().len())
    }

    /// What its records count.
    pub(super) fn bytes(&self) -> usize {
        let (few, many) = self.parts();
        counted(few) + many.map_or(0, |many| many.bytes)
    }

    pub(super) fn get(&self, seq: u64) -> Option<&SignedRef> {
        match self.parts() {
            (few, None) => few.iter().find(|signed| signed.record.seq == seq),
            (_, Some(many)) => many.tree.leaves().get(&seq),
        }
    }

    /// The record under a key, in whatever case the name is written.
    pub(super) fn latest(&self, kind: Kind, name: &str) -> Option<&SignedRef> {
        let is = |signed: &&SignedRef| signed.record.kind() == kind && signed.record.name().eq_ignore_ascii_case(name);
        match self.parts() {
            (few, None) => few.iter().find(is),
            (_, Some(many)) => {
                let hash = key_hash(kind, name);
                let numbers = many.by_key.range((hash, 0)..=(hash, u64::MAX));
                numbers.filter_map(|(_, seq)| many.tree.leaves().get(seq)).find(is)
            }
        }
    }

    /// All records after number `from`, by number.
    pub(super) fn after(&self, from: u64) -> impl Iterator<Item = &SignedRef> {
        let (few, many) = self.parts();
        let few = few.iter().skip_while(move |signed| signed.record.seq <= from);
        few.chain(many.into_iter().flat_map(move |many| many.tree.leaves().range(from + 1..).map(|(_, s)| s)))
    }

    /// Numbers of the tombstones held, in order.
    pub(super) fn tombstones(&self) -> impl Iterator<Item = u64> {
        let (few, many) = self.parts();
        let few = few.iter().filter(|signed| signed.record.is_tombstone()).map(|signed| signed.record.seq);
        few.chain(many.into_iter().flat_map(|many| many.tombstones.iter().copied()))
    }

    /// The highest floor it may have: tombstones up to it are older than [`TOMBSTONE_KEPT`].
    pub(super) fn collectable(&self, wall_ms: u64) -> u64 {
        let kept_ms = TOMBSTONE_KEPT.as_millis() as u64;
        let is_old = |seq| self.get(seq).is_some_and(|signed| signed.record.issued_ms() + kept_ms <= wall_ms);
        let collectable = self.tombstones().take_while(|seq| is_old(*seq));
        collectable.filter(|seq| *seq < self.through()).last().unwrap_or(0).max(self.floor())
    }

    /// What it really holds, as its head ought to say.
    pub(super) fn head(&mut self) -> Head {
        let (seq, floor) = (self.through(), self.last().head().floor);
        match self {
            Self::Many(many) => many.tree.head(seq, floor),
            small => head_of(seq, floor, small.parts().0),
        }
    }

    /// The head of what stands once something has changed after it.
    pub(super) fn head_after(&self, changes: &Changes, seq: u64, floor: u64) -> Head {
        let (few, many) = self.parts();
        let Some(many) = many else {
            let mut leaves = few.iter().map(|signed| (signed.record.seq, Some(signed.hash))).collect::<Changes>();
            leaves.extend(changes);
            return head_of_changes(&leaves, seq, floor);
        };
        let stood = |seq: &u64| many.tree.leaves().contains_key(seq);
        let come = changes.iter().filter(|(seq, change)| change.is_some() && !stood(seq)).count() as u64;
        let gone = changes.iter().filter(|(seq, change)| change.is_none() && stood(seq)).count() as u64;
        Head { seq, floor, count: many.tree.count() + come - gone, root: many.tree.root_after(changes) }
    }

    /// Whether it holds what its origin signed that it holds.
    pub(super) fn is_confirmed(&mut self) -> bool {
        self.head() == *self.last().head()
    }

    /// Takes records that follow its own, if the head of the last of them confirms what is held then. Otherwise it is unchanged.
    pub(super) fn extend(&mut self, fresh: &[SignedRef]) -> Option<Step> {
        let step = step(Some(self), fresh);
        let head = *fresh.last()?.head();
        let ends = fresh.last()?.record.seq == head.seq;
        let fits =
            ends && (self.len() + step.put.len()).checked_sub(step.gone.len()) == usize::try_from(head.count).ok();
        (fits && self.take(&step, &head)).then_some(step)
    }

    fn take(&mut self, step: &Step, head: &Head) -> bool {
        if let Self::Many(many) = self {
            return many.take(step, head);
        }
        let stays = |signed: &&SignedRef| !step.gone.iter().any(|gone| gone.record.seq == signed.record.seq);
        let (few, _) = self.parts();
        let next: Vec<SignedRef> = few.iter().filter(stays).chain(&step.put).cloned().collect();
        if head_of(head.seq, head.floor, &next) != *head {
            return false;
        }
        *self = Self::standing(next).expect("the last record stands");
        true
    }
}

fn counted(records: &[SignedRef]) -> usize {
    records.iter().map(|signed| signed.record.counted_bytes()).sum()
}

/// Whether a log counts no more than `most` once records stand in it that follow it.
pub(super) fn fits(held: Option<&Log>, fresh: &[SignedRef], most: usize) -> bool {
    let bytes = held.map_or(0, Log::bytes);
    // Nearly always, and cheap to say: as if nothing were replaced.
    if bytes + counted(fresh) <= most {
        return true;
    }
    let step = step(held, fresh);
    bytes + counted(&step.put) - counted(&step.gone) <= most
}

/// What `fresh`, sorted by number and after everything held, would do: the last record of a key stands, and tombstones up to the
/// floor of the last record's head do not.
fn step(held: Option<&Log>, fresh: &[SignedRef]) -> Step {
    let mut step = Step::default();
    let Some(last) = fresh.last() else { return step };
    let floor = floor_at(last);
    let mut keys = BTreeSet::new();
    for signed in fresh.iter().rev() {
        let (kind, name) = (signed.record.kind(), signed.record.name());
        if fresh.len() > 1 && !keys.insert((kind, lower(name))) {
            continue;
        }
        step.gone.extend(held.and_then(|held| held.latest(kind, name)).cloned());
        if !signed.record.is_tombstone() || signed.record.seq > floor {
            step.put.push(signed.clone());
        }
    }
    step.put.reverse();
    if let Some(held) = held {
        let collected = held.tombstones().take_while(|seq| *seq <= floor);
        step.gone.extend(collected.filter_map(|seq| held.get(seq).cloned()));
    }
    step.gone.sort_by_key(|signed| signed.record.seq);
    step.gone.dedup_by_key(|signed| signed.record.seq);
    step
}

impl Many {
    fn take(&mut self, step: &Step, head: &Head) -> bool {
        for gone in &step.gone {
            self.tree.remove(gone.record.seq);
        }
        for put in &step.put {
            self.tree.insert(put.record.seq, put.clone());
        }
        if self.tree.head(head.seq, head.floor) != *head {
            for put in &step.put {
                self.tree.remove(put.record.seq);
            }
            for gone in &step.gone {
                self.tree.insert(gone.record.seq, gone.clone());
            }
            self.tree.root();
            return false;
        }
        for gone in &step.gone {
            self.remove(gone);
        }
        for put in &step.put {
            self.insert(put);
        }
        true
    }

    /// Into the tables; the tree has it already.
    fn insert(&mut self, signed: &SignedRef) {
        let seq = signed.record.seq;
        self.by_key.insert((key_hash(signed.record.kind(), signed.record.name()), seq));
        if signed.record.is_tombstone() {
            self.tombstones.insert(seq);
        }
        self.bytes += signed.record.counted_bytes();
    }

    fn remove(&mut self, signed: &SignedRef) {
        let seq = signed.record.seq;
        self.bytes -= signed.record.counted_bytes();
        self.tombstones.remove(&seq);
        self.by_key.remove(&(key_hash(signed.record.kind(), signed.record.name()), seq));
    }
}

/// Tombstones up to here are collected in a log that ends in this record. The record itself never is.
fn floor_at(last: &SignedRef) -> u64 {
    last.head().floor.min(last.record.seq.saturating_sub(1))
}

fn head_of(seq: u64, floor: u64, records: &[SignedRef]) -> Head {
    let leaves = records.iter().map(|signed| (signed.record.seq, signed.hash));
    Head { seq, floor, count: records.len() as u64, root: root_of(leaves) }
}

/// The head of a log of nothing but what is to stand.
pub(super) fn head_of_changes(changes: &Changes, seq: u64, floor: u64) -> Head {
    let leaves = || changes.iter().filter_map(|(seq, change)| Some((*seq, (*change)?)));
    Head { seq, floor, count: leaves().count() as u64, root: root_of(leaves()) }
}

/// Where a key is looked for. Names are strangers' texts, and nobody finds many of one hash: it is a part of SHA-256.
fn key_hash(kind: Kind, name: &str) -> u64 {
    let hash = Sha256::new().chain_update([kind.number()]).chain_update(&*lower(name)).finalize();
    u64::from_le_bytes(*hash.first_chunk().expect("8 of 32 bytes"))
}

/// The name as keys compare it (DESIGN D1), without an allocation where it is written so already.
fn lower(name: &str) -> Cow<'_, str> {
    if has_capitals(name) { Cow::Owned(name.to_ascii_lowercase()) } else { Cow::Borrowed(name) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_of_one_record_is_two_words() {
        assert_eq!(size_of::<Log>(), 2 * size_of::<usize>());
    }
}
