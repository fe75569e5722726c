//! Which tools go by a name: numbers of tools, found by a hash of any of their names.
//!
//! It holds no name, so whoever looks up tells by a further hash, or by the names themselves, which of the tools it is given is meant.
//! What must always hold: a copy costs a reference for each part, a change beside a copy costs one part, and nobody who does not know
//! the key finds many names of one hash: names are what strangers call their tools.

use std::hash::{DefaultHasher, Hasher};
use std::sync::Arc;

/// Parts, each copied whole: with 100,000 tools of four names a part is 400 entries.
const PARTS: usize = 1024;
/// Entries that are looked at around where one ought to stand, before it is searched for.
const NEAR: usize = 64;

/// A hash, and the number of a tool.
type Entry = (u32, u32);

/// A name as it is looked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sought {
    place: usize,
    hash: u32,
    /// 64 bits that depend on none of the others: two names of one hash and one check are one name, as nobody who does not know the
    /// key finds others.
    pub(super) check: u64,
}

/// Entries, sorted, in parts by other bits of the hash. There are no parts until there is a name.
#[derive(Clone, Debug, Default)]
pub(super) struct Names {
    key: u64,
    parts: Vec<Arc<[Entry]>>,
}

impl Names {
    /// None, under a key that strangers do not know.
    pub(super) const fn keyed(key: u64) -> Self {
        Self { key, parts: Vec::new() }
    }

    /// How a name is looked for here.
    pub(super) fn sought(&self, name: &str) -> Sought {
        let mut hasher = DefaultHasher::new();
        hasher.write_u64(self.key);
        hasher.write(name.as_bytes());
        let hash = hasher.finish();
        // No text has that byte: the check of one name is the hash of no other.
        hasher.write_u8(u8::MAX);
        Sought { place: (hash >> 32) as usize % PARTS, hash: hash as u32, check: hasher.finish() }
    }

    /// Numbers that may go by a name, in order.
    pub(super) fn find(&self, sought: Sought) -> impl Iterator<Item = u32> {
        let part = self.parts.get(sought.place).map_or(&[][..], |part| part);
        let is_sought = move |(hash, _): &&Entry| *hash == sought.hash;
        part[first_of(part, sought.hash)..].iter().take_while(is_sought).map(|(_, number)| *number)
    }

    pub(super) fn insert(&mut self, name: &str, number: u32) {
        if self.parts.is_empty() {
            self.parts = vec![Arc::default(); PARTS];
        }
        let Sought { place, hash, .. } = self.sought(name);
        let part = &mut self.parts[place];
        if let Err(at) = part.binary_search(&(hash, number)) {
            *part = part[..at].iter().copied().chain([(hash, number)]).chain(part[at..].iter().copied()).collect();
        }
    }

    pub(super) fn remove(&mut self, name: &str, number: u32) {
        let Sought { place, hash, .. } = self.sought(name);
        let Some(part) = self.parts.get_mut(place) else { return };
        if let Ok(at) = part.binary_search(&(hash, number)) {
            *part = part[..at].iter().chain(&part[at + 1..]).copied().collect();
        }
    }
}

/// Where the entries of a hash begin, or would. Hashes are spread evenly, so that is near its share of the way; only where many tools
/// go by one name it is not.
fn first_of(part: &[Entry], hash: u32) -> usize {
    let share = ((u64::from(hash) * part.len() as u64) >> 32) as usize;
    let (from, to) = (share.saturating_sub(NEAR), part.len().min(share + NEAR));
    let mut at = share;
    while at > from && part[at - 1].0 >= hash {
        at -= 1;
    }
    while at < to && part[at].0 < hash {
        at += 1;
    }
    let is_first = (at == 0 || part[at - 1].0 < hash) && part.get(at).is_none_or(|(next, _)| *next >= hash);
    if is_first { at } else { part.partition_point(|(other, _)| *other < hash) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(names: &Names, name: &str) -> Vec<u32> {
        names.find(names.sought(name)).collect()
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
        for number in 0..5_000 {
            assert!(found(&names, &format!("tool_{number}")).contains(&number), "{number}");
        }
    }

    #[test]
    fn a_hash_is_found_wherever_it_stands() {
        let spread: Vec<Entry> = (0..1000_u32).map(|number| (number * 4_000_000, number)).collect();
        let heap: Vec<Entry> =
            (0..1000_u32).map(|number| (if number < 900 { 7 } else { u32::MAX - number }, 0)).collect();
        for mut part in [spread, heap, Vec::new(), vec![(u32::MAX, 1)]] {
            part.sort_unstable();
            let around = part.iter().flat_map(|(hash, _)| [hash.saturating_sub(1), *hash, hash.saturating_add(1)]);
            for hash in around.chain([0, u32::MAX]) {
                assert_eq!(first_of(&part, hash), part.partition_point(|(other, _)| *other < hash), "{hash}");
            }
        }
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
