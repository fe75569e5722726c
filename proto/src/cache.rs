//! The rules of the three caches: how long an answer lives at each level, what is passed down, and what ends it early.
//!
//! L1 is a client door's, L2 the zone's, L3 the registry's (AOP paper §7.5). Lifetimes are never added: what is handed on is what
//! remains, so that one number bounds how old an answer can be (I5). A newer tag of a zone ends its answers at once.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::name::ZoneName;
use crate::params::{CACHE_BYTES_MAX, CACHE_ENTRIES_MAX, TTL_L1, TTL_L2, TTL_L3, TTL_NEGATIVE, TTL_PARTIAL};
use crate::record::NodeId;
use crate::wire::message::{Serial, TAG_UNREACHABLE, ZoneAnswer};

/// Where an answer is kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Level {
    /// One client door's.
    L1,
    /// The zone's.
    L2,
    /// The registry's.
    L3,
}

/// What kind of answer it is, for how long it may live.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Quality {
    /// Everybody asked has answered.
    Complete,
    /// Somebody was silent.
    Partial,
    /// The authority says that there is none.
    Negative,
}

/// How long an answer may be kept at `level` when `remaining` is what its authority still gives it.
pub fn lifetime(level: Level, quality: Quality, remaining: Duration) -> Duration {
    let cap = match level {
        Level::L1 => TTL_L1,
        Level::L2 => TTL_L2,
        Level::L3 => TTL_L3,
    };
    let quality = match quality {
        Quality::Complete => TTL_L3,
        Quality::Partial => TTL_PARTIAL,
        Quality::Negative => TTL_NEGATIVE,
    };
    remaining.min(cap).min(quality)
}

/// I5: so much time passed since what an answer says was true: on its way, in a cache, or waiting for others. Source: RFC 9111 §4.2.3.
pub const fn grow_older(answer: &mut ZoneAnswer, time: Duration) {
    let time_ms = time.as_millis() as u64;
    answer.age_ms = answer.age_ms.saturating_add(time_ms);
    answer.ttl_ms = answer.ttl_ms.saturating_sub(time_ms);
}

/// Hits and misses of one level.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Answered from here.
    pub hits: u64,
    /// Looked for here and not found.
    pub misses: u64,
}

/// A shelf of answers, bounded in number and in bytes. When it is full, what nobody asked for since a hand went by goes first: what is
/// asked for once makes room again soon, what is popular stays (SIEVE, Zhang and others, NSDI 2024).
#[derive(Debug)]
pub struct Shelf<K, V> {
    entries: BTreeMap<K, Entry<V>>,
    by_age: BTreeMap<u64, K>,
    next: u64,
    /// Where the hand stands, from the oldest to the newest.
    hand: u64,
    entries_max: usize,
    bytes_max: usize,
    bytes: usize,
    count: Count,
}

#[derive(Debug)]
struct Entry<V> {
    value: V,
    bytes: usize,
    stored: Duration,
    lifetime: Duration,
    number: u64,
    /// It was asked for since the hand went by.
    is_wanted: bool,
}

/// Something found on a shelf, with how long it has been there and how much of its life is left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept<V> {
    /// What was kept.
    pub value: V,
    /// Time on the shelf.
    pub age: Duration,
    /// What remains of its lifetime.
    pub remaining: Duration,
}

impl<K: Ord + Clone, V: Clone> Default for Shelf<K, V> {
    fn default() -> Self {
        Self::new(CACHE_ENTRIES_MAX)
    }
}

impl<K: Ord + Clone, V: Clone> Shelf<K, V> {
    /// An empty shelf for at most so many entries.
    pub const fn new(entries_max: usize) -> Self {
        Self::bounded(entries_max, CACHE_BYTES_MAX)
    }

    /// The same, of at most so many bytes together.
    pub const fn bounded(entries_max: usize, bytes_max: usize) -> Self {
        Self {
            entries: BTreeMap::new(),
            by_age: BTreeMap::new(),
            next: 0,
            hand: 0,
            entries_max,
            bytes_max,
            bytes: 0,
            count: Count { hits: 0, misses: 0 },
        }
    }

    /// Keeps `value`, of about `bytes`, for `lifetime`; nothing is kept for no time. Hands out what had to go for it: whoever holds a lock
    /// may clear it away later.
    pub fn put(&mut self, key: K, value: V, bytes: usize, lifetime: Duration, now: Duration) -> Vec<V> {
        let mut gone: Vec<V> = self.remove(&key).into_iter().collect();
        if lifetime.is_zero() || bytes > self.bytes_max {
            gone.push(value);
            return gone;
        }
        while !self.entries.is_empty()
            && (self.entries.len() >= self.entries_max || self.bytes + bytes > self.bytes_max)
        {
            gone.extend(self.make_room());
        }
        self.bytes += bytes;
        self.by_age.insert(self.next, key.clone());
        self.entries.insert(key, Entry { value, bytes, stored: now, lifetime, number: self.next, is_wanted: false });
        self.next += 1;
        gone
    }

    /// What is kept under `key` and still alive. Counts a hit or a miss.
    pub fn get(&mut self, key: &K, now: Duration) -> Option<Kept<V>> {
        let found = self.entries.get_mut(key).and_then(|entry| {
            let age = now.saturating_sub(entry.stored);
            let remaining = entry.lifetime.checked_sub(age).filter(|left| !left.is_zero())?;
            entry.is_wanted = true;
            Some(Kept { value: entry.value.clone(), age, remaining })
        });
        match &found {
            Some(_) => self.count.hits += 1,
            None => {
                self.count.misses += 1;
                self.remove(key);
            }
        }
        found
    }

    /// What was looked for here and not found was kept after all, by a fellow: of the level it is a hit.
    pub(crate) const fn found_at_fellow(&mut self) {
        self.count.misses = self.count.misses.saturating_sub(1);
        self.count.hits += 1;
    }

    /// Nothing of what was looked for is here, whatever its key would have been.
    pub(crate) const fn missed(&mut self) {
        self.count.misses += 1;
    }

    /// What is kept under `key` and still alive, as if nobody had looked.
    pub fn peek(&self, key: &K, now: Duration) -> Option<&V> {
        let entry = self.entries.get(key)?;
        (now.saturating_sub(entry.stored) < entry.lifetime).then_some(&entry.value)
    }

    /// Whether anything is kept under `key`, ended or not. Counts nothing.
    pub fn contains(&self, key: &K) -> bool {
        self.entries.contains_key(key)
    }

    /// Takes the next one away that was not asked for since the hand went by.
    fn make_room(&mut self) -> Option<V> {
        // Once round, every mark is gone.
        for _ in 0..=self.entries.len() {
            let next = self.by_age.range(self.hand..).next().or_else(|| self.by_age.iter().next());
            let (number, key) = next.map(|(number, key)| (*number, key.clone()))?;
            self.hand = number + 1;
            let is_wanted = self.entries.get_mut(&key).is_some_and(|entry| std::mem::take(&mut entry.is_wanted));
            if !is_wanted {
                return self.remove(&key);
            }
        }
        None
    }

    /// Keys from `first` on, ended ones included.
    pub fn keys_from(&self, first: &K) -> impl Iterator<Item = &K> {
        self.entries.range(first..).map(|(key, _)| key)
    }

    fn remove(&mut self, key: &K) -> Option<V> {
        let entry = self.entries.remove(key)?;
        self.by_age.remove(&entry.number);
        self.bytes -= entry.bytes;
        Some(entry.value)
    }

    /// Drops what `keep` does not want.
    pub fn retain(&mut self, mut keep: impl FnMut(&K, &V) -> bool) {
        self.entries.retain(|key, entry| keep(key, &entry.value));
        self.by_age.retain(|_, key| self.entries.contains_key(key));
        self.bytes = self.entries.values().map(|entry| entry.bytes).sum();
    }

    /// Hits and misses so far.
    pub const fn count(&self) -> Count {
        self.count
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether nothing is kept.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

/// The newest content tag heard of each node of each zone.
#[derive(Debug, Default)]
pub struct Tags(BTreeMap<(ZoneName, NodeId), (u64, u64)>);

impl Tags {
    /// Takes a tag. True when it is newer than what is known, and so worth telling others.
    pub fn hear(&mut self, zone: &ZoneName, node: NodeId, stamp: u64, tag: u64) -> bool {
        let key = (zone.clone(), node);
        match self.0.get(&key) {
            Some((known, _)) if *known >= stamp => false,
            known => {
                if known.is_none() && self.0.len() >= CACHE_ENTRIES_MAX {
                    // The one that has been quiet for longest makes room.
                    let oldest = self.0.iter().min_by_key(|(_, (stamp, _))| *stamp).map(|(key, _)| key.clone());
                    oldest.and_then(|oldest| self.0.remove(&oldest));
                }
                self.0.insert(key, (stamp, tag));
                true
            }
        }
    }

    /// Whether an answer under `tag` is older than what was heard of its node since.
    pub fn outdates(&self, zone: &ZoneName, node: NodeId, tag: u64) -> bool {
        self.0.get(&(zone.clone(), node)).is_some_and(|(_, known)| *known != tag)
    }

    /// The tag of a zone that was told last, whoever of it told it.
    pub fn newest(&self, zone: &ZoneName) -> Option<u64> {
        let first = (zone.clone(), NodeId([0; 32]));
        let of_zone = self.0.range(first..).take_while(|((of, _), _)| of == zone);
        of_zone.max_by_key(|(_, (stamp, _))| *stamp).map(|(_, (_, tag))| *tag)
    }

    /// Zones that can be reached, as far as tags tell.
    pub fn reached(&self) -> impl Iterator<Item = &ZoneName> + '_ {
        let by_zone = self.0.keys().map(|(of, _)| of);
        by_zone.filter(|of| self.newest(of) != Some(TAG_UNREACHABLE))
    }

    /// Those of them within `zone`.
    pub fn reached_within<'a>(&'a self, zone: &'a ZoneName) -> impl Iterator<Item = &'a ZoneName> + 'a {
        self.reached().filter(|of| of.is_within(zone))
    }

    /// Number of nodes of which a tag is known.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Everything heard.
    pub fn all(&self) -> impl Iterator<Item = Serial> + '_ {
        self.0.iter().map(|((zone, node), (stamp, tag))| Serial {
            zone: zone.to_string(),
            node: *node,
            stamp: *stamp,
            tag: *tag,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn lifetimes_are_the_least_of_all_and_never_added() {
        assert_eq!(lifetime(Level::L1, Quality::Complete, s(900)), s(60));
        assert_eq!(lifetime(Level::L2, Quality::Complete, s(900)), s(300));
        assert_eq!(lifetime(Level::L2, Quality::Complete, s(12)), s(12));
        assert_eq!(lifetime(Level::L1, Quality::Partial, s(900)), s(5));
        assert_eq!(lifetime(Level::L3, Quality::Negative, s(900)), s(30));
    }

    #[test]
    fn what_was_kept_says_how_old_it_is_and_ends_on_time() {
        let mut shelf = Shelf::default();
        shelf.put("q", 1, 1, s(10), s(100));
        assert_eq!(shelf.get(&"q", s(104)), Some(Kept { value: 1, age: s(4), remaining: s(6) }));
        assert_eq!(shelf.get(&"q", s(110)), None);
        assert_eq!((shelf.count(), shelf.len()), (Count { hits: 1, misses: 1 }, 0));
    }

    #[test]
    fn a_full_shelf_drops_the_oldest_that_nobody_asked_for() {
        let mut shelf = Shelf::default();
        for key in 0..=CACHE_ENTRIES_MAX {
            shelf.put(key, (), 1, s(10), s(0));
        }
        assert_eq!(shelf.len(), CACHE_ENTRIES_MAX);
        assert!(shelf.get(&0, s(1)).is_none() && shelf.get(&1, s(1)).is_some());
        shelf.put(CACHE_ENTRIES_MAX + 1, (), 1, s(10), s(0));
        assert!(shelf.get(&1, s(1)).is_some() && shelf.get(&2, s(1)).is_none(), "the first was asked for");
        shelf.put(1, (), CACHE_BYTES_MAX, s(10), s(0));
        assert_eq!(shelf.len(), 1, "what is heavy takes the room of many");
        shelf.put(2, (), CACHE_BYTES_MAX + 1, s(10), s(0));
        assert_eq!(shelf.len(), 1, "what is too heavy is not kept");
        let mut small = Shelf::bounded(10, 100);
        let gone: usize = (0..10).map(|key| small.put(key, (), 30, s(10), s(0)).len()).sum();
        assert_eq!((small.len(), gone), (3, 7), "bytes bound as well as numbers do, and what goes is handed out");
    }

    /// The same requests, by Zipf's law, of a shelf and of a list that drops what was not used for longest.
    #[test]
    fn what_is_popular_stays_longer_than_where_the_least_recently_used_goes() {
        let names = 10_000_usize;
        let weights: Vec<f64> = (1..=names)
            .scan(0.0, |sum, rank| {
                *sum += 1.0 / rank as f64;
                Some(*sum)
            })
            .collect();
        let mut chance = crate::selection::Chance::new([3; 32]);
        let mut draw = || {
            let at = (chance.number() >> 11) as f64 / (1_u64 << 53) as f64 * weights[names - 1];
            weights.partition_point(|sum| *sum < at)
        };
        for share in [100, 20, 10] {
            let capacity = names / share;
            let (mut shelf, mut used, mut last, mut now) =
                (Shelf::new(capacity), BTreeMap::new(), BTreeMap::new(), 0_u64);
            let mut hits = [0_u32; 2];
            for request in 0..200_000 {
                let name = draw();
                let counts = request >= 100_000;
                match shelf.get(&name, s(0)) {
                    Some(_) => hits[0] += u32::from(counts),
                    None => drop(shelf.put(name, (), 1, s(10), s(0))),
                }
                now += 1;
                if let Some(before) = used.insert(name, now) {
                    hits[1] += u32::from(counts);
                    last.remove(&before);
                } else if used.len() > capacity {
                    let (_, oldest) = last.pop_first().unwrap();
                    used.remove(&oldest);
                }
                last.insert(now, name);
            }
            let points = |hits: u32| f64::from(hits) / 1_000.0;
            let gained = points(hits[0]) - points(hits[1]);
            assert!(gained >= 4.0, "capacity 1/{share}: {} % against {} %", points(hits[0]), points(hits[1]));
        }
    }
}
