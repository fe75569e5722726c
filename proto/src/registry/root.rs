//! The hash tree over one log, by which a head says what the log holds.
//!
//! The leaves are the records held, by number. Sixteen neighbours share a node, up to the level where node 0 is alone: a record that
//! comes or goes costs one path, and the same records give the same root whatever the way they came. [`root_of`] is what the root
//! *is*; [`Tree`] is the same, remembered.
//!
//! ```text
//!  height 2                 0                     the root: the height has as many steps as the last number has hex digits
//!                    ╱      │      ╲
//!  height 1         0       1       3             node = SHA-256(height ‖ for each child: its last hex digit ‖ its hash)
//!                 ╱   ╲     │     ╱   ╲
//!  leaves       0x02 0x0f  0x10 0x30 0x31         hash of the record's payload
//! ```
//!
//! It is *not* the tree of a flush (`trust`), which is over the order of signing and proves single records.

use std::collections::{BTreeMap, BTreeSet};

use sha2::{Digest, Sha256};

use crate::record::{Hash, Head, SignedRef};

/// What changes after a log: what is to stand under a number, or that nothing is.
pub type Changes = BTreeMap<u64, Option<Hash>>;

/// What stands under a number: the hash of a record's payload, or whatever has one.
pub trait Leaf {
    /// That hash.
    fn hash(&self) -> &Hash;
}

impl Leaf for Hash {
    fn hash(&self) -> &Hash {
        self
    }
}

impl Leaf for SignedRef {
    fn hash(&self) -> &Hash {
        &self.hash
    }
}

/// The tree of one log, kept as records come and go, over the records themselves or their hashes alone.
#[derive(Debug, Clone)]
pub struct Tree<L = Hash> {
    leaves: BTreeMap<u64, L>,
    /// By height from 1, then by number: the hashes of all nodes that are not dirty.
    levels: Vec<BTreeMap<u64, Hash>>,
    /// Nodes of height 1 with leaves that changed since the root was last computed.
    dirty: BTreeSet<u64>,
}

impl<L> Default for Tree<L> {
    fn default() -> Self {
        Self { leaves: BTreeMap::new(), levels: Vec::new(), dirty: BTreeSet::new() }
    }
}

impl<L: Leaf> Tree<L> {
    /// A record stands under that number.
    pub fn insert(&mut self, seq: u64, leaf: L) {
        self.leaves.insert(seq, leaf);
        self.dirty.insert(seq >> 4);
    }

    /// It stands no more.
    pub fn remove(&mut self, seq: u64) {
        if self.leaves.remove(&seq).is_some() {
            self.dirty.insert(seq >> 4);
        }
    }

    /// What stands, by number.
    pub const fn leaves(&self) -> &BTreeMap<u64, L> {
        &self.leaves
    }

    /// Records in the tree.
    pub fn count(&self) -> u64 {
        self.leaves.len() as u64
    }

    /// The root, as [`root_of`] has it; zero for an empty log. Costs the paths of what changed since it was last asked for.
    pub fn root(&mut self) -> Hash {
        let Some((last, _)) = self.leaves.last_key_value() else {
            *self = Self::default();
            return [0; 32];
        };
        let top = height_of(*last);
        self.levels.truncate(top);
        let mut dirty = std::mem::take(&mut self.dirty);
        for height in 1..=top {
            if self.levels.len() < height {
                // The tree has grown: what was its root is the first child here.
                self.levels.push(BTreeMap::new());
                dirty.insert(0);
            }
            for number in &dirty {
                self.renew(height, *number);
            }
            dirty = dirty.into_iter().map(|number| number >> 4).collect();
        }
        self.levels[top - 1][&0]
    }

    /// Hashes one node again, or drops it when it has no child any more.
    fn renew(&mut self, height: usize, number: u64) {
        let (below, level) = self.levels.split_at_mut(height - 1);
        let of_it = number << 4..=number << 4 | 15;
        let hash = match below.last() {
            None => node_of(height, self.leaves.range(of_it).map(|(child, leaf)| (*child, leaf.hash()))),
            Some(below) => node_of(height, below.range(of_it).map(|(child, hash)| (*child, hash))),
        };
        match hash {
            Some(hash) => level[0].insert(number, hash),
            None => level[0].remove(&number),
        };
    }

    /// The root once something has changed, as [`Self::root`] would have it. Nothing is kept of that: it costs the paths of what changes.
    ///
    /// # Panics
    /// When leaves have changed since the root was last computed.
    pub fn root_after(&self, changes: &Changes) -> Hash {
        assert!(self.dirty.is_empty(), "the root is known");
        let new = changes.iter().rev().find(|(_, change)| change.is_some()).map(|(seq, _)| *seq);
        let old = self.leaves.keys().rev().find(|seq| !matches!(changes.get(seq), Some(None))).copied();
        let Some(last) = new.max(old) else { return [0; 32] };
        let top = height_of(last);
        let mut changed = changes.clone();
        for height in 1..=top {
            let mut numbers: BTreeSet<u64> = changed.keys().map(|number| number >> 4).collect();
            if self.levels.len() < height {
                numbers.insert(0);
            }
            changed = numbers.into_iter().map(|number| (number, self.node_after(height, number, &changed))).collect();
        }
        match changed.get(&0) {
            Some(root) => root.expect("something stands"),
            None => self.levels[top - 1][&0],
        }
    }

    /// The hash of a node, once something below it has changed.
    fn node_after(&self, height: usize, number: u64, changed: &Changes) -> Option<Hash> {
        let of_it = number << 4..=number << 4 | 15;
        let mut children: BTreeMap<u64, &Hash> = match height {
            1 => self.leaves.range(of_it.clone()).map(|(child, leaf)| (*child, leaf.hash())).collect(),
            _ => self
                .levels
                .get(height - 2)
                .into_iter()
                .flat_map(|level| level.range(of_it.clone()))
                .map(|(c, h)| (*c, h))
                .collect(),
        };
        for (child, change) in changed.range(of_it) {
            match change {
                Some(hash) => children.insert(*child, hash),
                None => children.remove(child),
            };
        }
        node_of(height, children.into_iter())
    }

    /// The head of a log that holds these records, whose last flush ends in `seq` and whose tombstones are collected to `floor`.
    pub fn head(&mut self, seq: u64, floor: u64) -> Head {
        Head { seq, floor, count: self.count(), root: self.root() }
    }
}

/// The root over records sorted by number.
pub fn root_of(leaves: impl Iterator<Item = (u64, Hash)>) -> Hash {
    let mut level: Vec<(u64, Hash)> = leaves.collect();
    let mut height = 0;
    while !level.is_empty() && (height == 0 || level.len() > 1 || level[0].0 != 0) {
        height += 1;
        level = level
            .chunk_by(|a, b| a.0 >> 4 == b.0 >> 4)
            .map(|group| (group[0].0 >> 4, node_hash(height, group.iter().map(|(child, hash)| (*child, hash)))))
            .collect();
    }
    level.first().map_or([0; 32], |(_, hash)| *hash)
}

/// The hash of a node, if it has any child.
fn node_of<'a>(height: usize, children: impl Iterator<Item = (u64, &'a Hash)>) -> Option<Hash> {
    let mut children = children.peekable();
    children.peek().is_some().then(|| node_hash(height, children))
}

fn node_hash<'a>(height: usize, children: impl Iterator<Item = (u64, &'a Hash)>) -> Hash {
    let mut hasher = Sha256::new();
    // 64 bits are sixteen hex digits: no tree is higher.
    hasher.update([height as u8]);
    for (child, hash) in children {
        hasher.update([(child & 15) as u8]);
        hasher.update(hash);
    }
    hasher.finalize().into()
}

/// Hex digits of the last number, at least one.
const fn height_of(last: u64) -> usize {
    match last.checked_ilog2() {
        Some(bits) => bits as usize / 4 + 1,
        None => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::selection::Chance;

    #[test]
    fn the_tree_has_the_root_of_its_records_after_whatever_came_and_went() {
        let mut chance = Chance::new([7; 32]);
        for spread in [9, 40, 300, 5_000, u64::MAX] {
            let (mut tree, mut leaves) = (Tree::default(), BTreeMap::new());
            for step in 0..2_000_u64 {
                // Numbers come and go at every size of the set, down to none.
                let seq = chance.below(spread) >> chance.below(64.min(spread.ilog2().into()));
                if chance.below(100) < 45 + step / 100 {
                    tree.remove(seq);
                    leaves.remove(&seq);
                } else {
                    let hash: Hash = Sha256::digest(chance.number().to_le_bytes()).into();
                    tree.insert(seq, hash);
                    leaves.insert(seq, hash);
                }
                if chance.below(4) == 0 {
                    let root = tree.root();
                    assert_eq!(root, root_of(leaves.iter().map(|(seq, hash)| (*seq, *hash))), "step {step}");
                }
                assert_eq!(tree.count(), leaves.len() as u64);
            }
            for seq in leaves.keys() {
                tree.remove(*seq);
            }
            assert_eq!((tree.root(), tree.count()), ([0; 32], 0));
        }
    }

    #[test]
    fn the_root_after_changes_is_that_of_what_stands_then() {
        let mut chance = Chance::new([8; 32]);
        for step in 0..3_000 {
            let spread = 1 << (1 + chance.below(14));
            let mut hash = || -> Hash { Sha256::digest(chance.number().to_le_bytes()).into() };
            let (mut tree, mut leaves, mut changes) = (Tree::default(), BTreeMap::new(), Changes::new());
            let (hashes, more): (Vec<Hash>, Vec<Hash>) = (0..40).map(|_| (hash(), hash())).unzip();
            for hash in hashes.into_iter().take(step % 40) {
                let seq = chance.below(spread);
                tree.insert(seq, hash);
                leaves.insert(seq, hash);
            }
            tree.root();
            for hash in more {
                // What stands goes, also the last, and what does not comes, also far above.
                let seq = if chance.below(2) == 0 { chance.below(spread) } else { chance.below(4 * spread) };
                changes.insert(seq, (chance.below(3) == 0).then_some(hash));
            }
            for (seq, change) in &changes {
                match change {
                    Some(hash) => leaves.insert(*seq, *hash),
                    None => leaves.remove(seq),
                };
            }
            assert_eq!(tree.root_after(&changes), root_of(leaves.into_iter()), "step {step}");
        }
    }

    #[test]
    fn the_root_names_every_record_its_number_and_its_place() {
        let (a, b) = ([1; 32], [2; 32]);
        let roots = [
            root_of([].into_iter()),
            root_of([(1, a)].into_iter()),
            root_of([(2, a)].into_iter()),
            root_of([(0x11, a)].into_iter()),
            root_of([(1, b)].into_iter()),
            root_of([(1, a), (2, b)].into_iter()),
            root_of([(1, b), (2, a)].into_iter()),
        ];
        assert_eq!(roots.iter().collect::<BTreeSet<_>>().len(), roots.len());
    }
}
