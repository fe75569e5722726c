//! Which tools go by a name: numbers of tools, found by a hash of any of their names.
//!
//! It holds no name, so whoever looks up compares the tools it is given: two names may have one hash. What must always hold: a copy
//! costs a reference for each part, and a change beside a copy costs one part.

use std::sync::Arc;

/// Parts, each copied whole: with 100,000 tools of four names a part is 400 entries.
const PARTS: usize = 1024;

/// Pairs of hash and number, sorted, in parts by the hash's last bits.
#[derive(Clone, Debug)]
pub(super) struct Names(Vec<Arc<Vec<(u64, u32)>>>);

impl Default for Names {
    fn default() -> Self {
        Self(vec![Arc::default(); PARTS])
    }
}

impl Names {
    /// Numbers that may go by a name, in order.
    pub(super) fn find(&self, name: &str) -> impl Iterator<Item = u32> {
        let hash = hash_of(name);
        let part = &self.0[part_of(hash)];
        let from = part.partition_point(|(other, _)| *other < hash);
        part[from..].iter().take_while(move |(other, _)| *other == hash).map(|(_, number)| *number)
    }

    pub(super) fn insert(&mut self, name: &str, number: u32) {
        let entry = (hash_of(name), number);
        let part = Arc::make_mut(&mut self.0[part_of(entry.0)]);
        if let Err(at) = part.binary_search(&entry) {
            part.insert(at, entry);
        }
    }

    pub(super) fn remove(&mut self, name: &str, number: u32) {
        let entry = (hash_of(name), number);
        let part = Arc::make_mut(&mut self.0[part_of(entry.0)]);
        if let Ok(at) = part.binary_search(&entry) {
            part.remove(at);
        }
    }
}

/// FNV-1a: spread is all that is asked of it, the keys are names this zone took in.
fn hash_of(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

const fn part_of(hash: u64) -> usize {
    // Its high half is the better mixed one.
    (hash >> 32) as usize % PARTS
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(names: &Names, name: &str) -> Vec<u32> {
        names.find(name).collect()
    }

    #[test]
    fn a_name_finds_everybody_who_goes_by_it_and_nobody_else() {
        let mut names = Names::default();
        for number in 0..5_000 {
            names.insert(&format!("tool_{number}"), number);
            names.insert("search", number);
        }
        names.insert("search", 7);
        assert_eq!(found(&names, "tool_77"), [77]);
        assert_eq!(found(&names, "search"), (0..5_000).collect::<Vec<_>>());
        assert_eq!(found(&names, "tool_5000"), [0; 0]);
    }

    #[test]
    fn a_copy_stays_as_it_was() {
        let mut names = Names::default();
        names.insert("search", 1);
        let copy = names.clone();
        names.insert("search", 2);
        names.remove("search", 1);
        names.remove("read", 1);
        assert_eq!((found(&copy, "search"), found(&names, "search")), (vec![1], vec![2]));
    }
}
