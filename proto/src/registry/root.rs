//! The hash tree over one log, by which a head says what the log holds.
//!
//! The leaves are the records held, by number. Sixteen neighbours share a node, up to the level where one node is left: a record that
//! comes or goes costs one path, and the same records give the same root whatever the way they came.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use crate::record::Hash;

/// The tree of one log.
#[derive(Debug, Clone, Default)]
pub struct Tree {
    leaves: BTreeMap<u64, Hash>,
}

impl Tree {
    /// A record stands under that number.
    pub fn insert(&mut self, seq: u64, hash: Hash) {
        self.leaves.insert(seq, hash);
    }

    /// It stands no more.
    pub fn remove(&mut self, seq: u64) {
        self.leaves.remove(&seq);
    }

    /// Records in the tree.
    pub fn count(&self) -> u64 {
        self.leaves.len() as u64
    }

    /// The root; zero for an empty log.
    pub fn root(&self) -> Hash {
        root_of(self.leaves.iter().map(|(seq, hash)| (*seq, *hash)))
    }
}

/// The root over records sorted by number.
pub fn root_of(leaves: impl Iterator<Item = (u64, Hash)>) -> Hash {
    let mut level: Vec<(u64, Hash)> = leaves.collect();
    let mut height = 0_u8;
    while !level.is_empty() && (height == 0 || level.len() > 1 || level[0].0 != 0) {
        height += 1;
        level = level
            .chunk_by(|a, b| a.0 >> 4 == b.0 >> 4)
            .map(|group| {
                let mut hasher = Sha256::new();
                hasher.update([height]);
                for (number, hash) in group {
                    hasher.update([(number & 15) as u8]);
                    hasher.update(hash);
                }
                (group[0].0 >> 4, hasher.finalize().into())
            })
            .collect();
    }
    level.first().map_or([0; 32], |(_, hash)| *hash)
}
