//! What became of calls that carry an idempotency key, as their home knows it.
//!
//! ```text
//!            begin: durable before anything is sent          answered: made durable, then told
//!  unknown ─────────────────────────────────────▶ Begun ──────────────────────────────────▶ Answered, replayed
//!     ▲                                            │ │ lost, or the node died
//!     └───────── provably not sent ────────────────┘ └──────────────────────────────────▶ MayHaveRun, told, never run again
//! ```
//!
//! What must always hold: between the first call under a key and its expiry the upstream is called at most once under it, whatever
//! dies in between; a ledger that is full refuses, it never forgets early. An end that could not be made durable is told all the same: after a
//! restart it is a call that may have run. Source: DESIGN D10; the IETF draft
//! *The Idempotency-Key HTTP Header Field*.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::codec::{WireRead, WireWrite};
use crate::params::{
    LEDGER_ANSWER_BYTES_MAX, LEDGER_BYTES_MAX, LEDGER_CALLER_PART, LEDGER_ENTRIES_MAX, LEDGER_KEPT, LEDGER_ZONE_PART,
};
use crate::record::Hash;

/// What is kept of one call.
#[derive(Clone, Debug, PartialEq, Eq, WireRead, WireWrite)]
pub struct Entry {
    /// SHA-256 of its arguments: a key is for one call.
    pub arguments: Hash,
    /// Who made it, for shares of the room: its zone, then a space and the caller.
    pub owner: String,
    /// Until when it is kept, milliseconds since the Unix epoch.
    pub expires_ms: u64,
    /// How it ended; nothing while it has not.
    pub end: Option<End>,
}

/// How a call ended.
#[derive(Clone, Debug, PartialEq, Eq, WireRead, WireWrite)]
pub struct End {
    /// Whether `answer` is a problem.
    pub failed: bool,
    /// What is told to whoever repeats it; nothing where it ran, or may have, and there is nothing to tell.
    pub answer: Option<Vec<u8>>,
}

/// What is to be done with a call under a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Begun {
    /// It is the first: this has to be durable before anything is sent.
    First(Entry),
    /// It runs already.
    Running,
    /// It ended so.
    Ended(End),
    /// The key was used with other arguments.
    Differs,
    /// No room; the first place is free after so long.
    Full(Duration),
}

/// The ledger of one node.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    entries: BTreeMap<Hash, Entry>,
    by_age: BTreeSet<(u64, Hash)>,
    owned: BTreeMap<String, Share>,
    /// Of answers.
    bytes: usize,
}

/// What a zone, or one caller, has of it.
#[derive(Clone, Copy, Debug, Default)]
struct Share {
    entries: usize,
    bytes: usize,
}

impl Ledger {
    /// Takes in what was kept by an earlier run. What had begun and has no end may have run: nobody knows, so it never runs again.
    pub fn restore(&mut self, key: Hash, mut entry: Entry) {
        entry.end.get_or_insert(End { failed: true, answer: None });
        self.insert(key, entry);
    }

    /// A call under `key` that may be repeated comes: where nobody knows how the one before ended, it is forgotten.
    pub fn repeat(&mut self, key: Hash, arguments: Hash) {
        let is_lost = |entry: &&Entry| entry.arguments == arguments && entry.end.as_ref().is_some_and(End::is_unknown);
        if self.entries.get(&key).filter(is_lost).is_some() {
            self.remove(&key);
        }
    }

    /// A call under `key` comes.
    pub fn begin(&mut self, wall_ms: u64, key: Hash, arguments: Hash, owner: &str) -> Begun {
        if let Some(entry) = self.entries.get(&key).filter(|entry| entry.expires_ms > wall_ms || entry.end.is_none()) {
            return match &entry.end {
                _ if entry.arguments != arguments => Begun::Differs,
                None => Begun::Running,
                Some(end) => Begun::Ended(end.clone()),
            };
        }
        self.remove(&key);
        let is_used_up = |(owner, part): (&str, usize)| self.share(owner).entries >= LEDGER_ENTRIES_MAX / part;
        if self.entries.len() >= LEDGER_ENTRIES_MAX || owners(owner).any(is_used_up) {
            let first = self.by_age.first().map_or(wall_ms, |(expires_ms, _)| *expires_ms);
            return Begun::Full(Duration::from_millis(first.saturating_sub(wall_ms).max(1_000)));
        }
        let expires_ms = wall_ms.saturating_add(LEDGER_KEPT.as_millis() as u64);
        let entry = Entry { arguments, owner: owner.to_owned(), expires_ms, end: None };
        self.insert(key, entry.clone());
        Begun::First(entry)
    }

    /// A call ended, or may have run and nobody will know: this has to be durable before it is told. Of an answer too large to be kept, or
    /// beyond the share of its caller or zone, or the whole, only that there was one is. Nothing when no such call runs.
    pub fn end(&mut self, key: Hash, failed: bool, answer: Option<&[u8]>) -> Option<Entry> {
        let mut entry = self.entries.get(&key).filter(|entry| entry.end.is_none()).cloned()?;
        let answer = answer.filter(|answer| self.has_room(&entry.owner, answer.len())).map(<[u8]>::to_vec);
        entry.end = Some(End { failed, answer });
        self.insert(key, entry.clone());
        Some(entry)
    }

    /// A call was provably not sent: its key may be used again. False when no such call runs.
    pub fn not_sent(&mut self, key: Hash) -> bool {
        let runs = self.entries.get(&key).is_some_and(|entry| entry.end.is_none());
        if runs {
            self.remove(&key);
        }
        runs
    }

    /// Forgets what has been kept for long enough, and says what that was.
    pub fn expire(&mut self, wall_ms: u64) -> Vec<Hash> {
        let mut gone = Vec::new();
        let due: Vec<Hash> =
            self.by_age.iter().take_while(|(expires_ms, _)| *expires_ms <= wall_ms).map(|(_, key)| *key).collect();
        for key in due {
            // What still runs is kept, however long it takes.
            if self.entries.get(&key).is_some_and(|entry| entry.end.is_some()) {
                self.remove(&key);
                gone.push(key);
            }
        }
        gone
    }

    /// How many calls it knows of.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether it knows of none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn has_room(&self, owner: &str, bytes: usize) -> bool {
        let fits = |(owner, part): (&str, usize)| self.share(owner).bytes + bytes <= LEDGER_BYTES_MAX / part;
        bytes <= LEDGER_ANSWER_BYTES_MAX && self.bytes + bytes <= LEDGER_BYTES_MAX && owners(owner).all(fits)
    }

    fn share(&self, owner: &str) -> Share {
        self.owned.get(owner).copied().unwrap_or_default()
    }

    fn insert(&mut self, key: Hash, entry: Entry) {
        self.remove(&key);
        let bytes = answer_bytes(&entry);
        self.by_age.insert((entry.expires_ms, key));
        for (owner, _) in owners(&entry.owner) {
            let share = self.owned.entry(owner.to_owned()).or_default();
            *share = Share { entries: share.entries + 1, bytes: share.bytes + bytes };
        }
        self.bytes += bytes;
        self.entries.insert(key, entry);
    }

    fn remove(&mut self, key: &Hash) {
        let Some(entry) = self.entries.remove(key) else { return };
        self.by_age.remove(&(entry.expires_ms, *key));
        let bytes = answer_bytes(&entry);
        self.bytes -= bytes;
        for (owner, _) in owners(&entry.owner) {
            let share = self.share(owner);
            if share.entries <= 1 {
                self.owned.remove(owner);
            } else {
                self.owned.insert(owner.to_owned(), Share { entries: share.entries - 1, bytes: share.bytes - bytes });
            }
        }
    }
}

impl End {
    /// Whether there is nothing to tell but that it may have run.
    const fn is_unknown(&self) -> bool {
        self.answer.is_none()
    }
}

/// Whose room an entry takes, each with the part that it may have: the zone's and the caller's.
fn owners(owner: &str) -> impl Iterator<Item = (&str, usize)> {
    let zone = owner.split(' ').next().unwrap_or_default();
    let caller = (owner != zone).then_some((owner, LEDGER_CALLER_PART));
    [(zone, LEDGER_ZONE_PART)].into_iter().chain(caller)
}

fn answer_bytes(entry: &Entry) -> usize {
    entry.end.as_ref().and_then(|end| end.answer.as_ref()).map_or(0, Vec::len)
}

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::{RngCore as _, SeedableRng as _};

    use super::*;
    use crate::codec::Wire as _;

    const KEY: Hash = [7; 32];
    const NOW: u64 = 1_000_000;

    fn first(ledger: &mut Ledger, key: Hash) -> Entry {
        match ledger.begin(NOW, key, [1; 32], "lab") {
            Begun::First(entry) => entry,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_answer_is_replayed_until_it_expires() {
        let mut ledger = Ledger::default();
        let entry = first(&mut ledger, KEY);
        assert_eq!(Entry::decode(&entry.encode()), Ok(entry));
        assert_eq!(ledger.begin(NOW, KEY, [1; 32], "lab"), Begun::Running);
        assert_eq!(ledger.begin(NOW, KEY, [2; 32], "lab"), Begun::Differs);
        let kept = ledger.end(KEY, false, Some(b"42")).expect("it ran");
        assert_eq!(ledger.end(KEY, true, None), None, "an end is an end");
        let end = End { failed: false, answer: Some(b"42".to_vec()) };
        assert_eq!(ledger.begin(kept.expires_ms - 1, KEY, [1; 32], "lab"), Begun::Ended(end));
        assert!(ledger.expire(kept.expires_ms - 1).is_empty());
        assert_eq!(ledger.expire(kept.expires_ms), [KEY]);
        assert!(ledger.is_empty() && ledger.bytes == 0 && ledger.by_age.is_empty() && ledger.owned.is_empty());
    }

    #[test]
    fn what_was_not_sent_may_be_sent_and_what_may_have_run_never_again() {
        let mut ledger = Ledger::default();
        first(&mut ledger, KEY);
        assert!(ledger.not_sent(KEY) && !ledger.not_sent(KEY));
        let begun = first(&mut ledger, KEY);
        let mut after = Ledger::default();
        after.restore(KEY, begun);
        let unknown = Begun::Ended(End { failed: true, answer: None });
        assert_eq!(after.begin(NOW, KEY, [1; 32], "lab"), unknown);
        assert!(!after.not_sent(KEY) && after.end(KEY, false, Some(b"late")).is_none());
        assert_eq!(after.begin(NOW, KEY, [1; 32], "lab"), unknown);
    }

    #[test]
    fn what_runs_does_not_expire() {
        let mut ledger = Ledger::default();
        first(&mut ledger, KEY);
        assert!(ledger.expire(u64::MAX).is_empty());
        assert_eq!(ledger.begin(u64::MAX, KEY, [1; 32], "lab"), Begun::Running);
    }

    #[test]
    fn a_full_ledger_refuses_and_forgets_nothing() {
        let mut ledger = Ledger::default();
        let key = |number: usize| {
            let mut key = [0; 32];
            key[..8].copy_from_slice(&number.to_le_bytes());
            key
        };
        for number in 0..LEDGER_ENTRIES_MAX / LEDGER_ZONE_PART {
            first(&mut ledger, key(number));
        }
        assert!(matches!(ledger.begin(NOW, KEY, [1; 32], "lab"), Begun::Full(_)));
        assert_eq!(ledger.begin(NOW, key(0), [1; 32], "lab"), Begun::Running);
        assert!(matches!(ledger.begin(NOW, KEY, [1; 32], "lab token:a"), Begun::Full(_)), "its zone has no more");
        assert!(matches!(ledger.begin(NOW, KEY, [1; 32], "other"), Begun::First(_)), "it is not one zone's");
        let mut ledger = Ledger::default();
        for number in 0..LEDGER_ENTRIES_MAX / LEDGER_CALLER_PART {
            assert!(matches!(ledger.begin(NOW, key(number), [1; 32], "lab token:a"), Begun::First(_)));
        }
        assert!(matches!(ledger.begin(NOW, KEY, [1; 32], "lab token:a"), Begun::Full(_)));
        assert!(matches!(ledger.begin(NOW, KEY, [1; 32], "lab token:b"), Begun::First(_)), "it is not one caller's");
        let mut ledger = Ledger::default();
        first(&mut ledger, KEY);
        ledger.end(KEY, false, Some(&vec![0; LEDGER_ANSWER_BYTES_MAX + 1]));
        assert_eq!(ledger.begin(NOW, KEY, [1; 32], "lab"), Begun::Ended(End { failed: false, answer: None }));
    }

    #[test]
    fn answers_fill_no_more_than_their_callers_share_and_what_is_not_kept_ran_all_the_same() {
        let mut ledger = Ledger::default();
        let answer = vec![b'a'; LEDGER_ANSWER_BYTES_MAX - 1];
        let kept = |ledger: &mut Ledger, owner: &str, number: u8, count: usize| {
            let mut kept = 0;
            for at in 0..=count {
                let key = [number, at as u8].repeat(16).try_into().expect("32");
                assert!(matches!(ledger.begin(NOW, key, [1; 32], owner), Begun::First(_)), "bytes refuse nobody");
                let end = ledger.end(key, false, Some(&answer)).and_then(|entry| entry.end).expect("it ran");
                assert_eq!(ledger.begin(NOW, key, [1; 32], owner), Begun::Ended(end.clone()));
                kept += usize::from(end.answer.is_some());
            }
            kept
        };
        let all = LEDGER_BYTES_MAX / LEDGER_ANSWER_BYTES_MAX;
        assert_eq!(kept(&mut ledger, "lab token:a", 1, all), all / LEDGER_CALLER_PART);
        assert_eq!(kept(&mut ledger, "lab token:b", 2, all), all / LEDGER_CALLER_PART);
        assert_eq!(kept(&mut ledger, "lab token:c", 3, all), 0, "the zone's is used up");
        for zone in 4..=8 {
            kept(&mut ledger, &format!("zone{zone}"), zone, all);
        }
        assert!(ledger.bytes <= LEDGER_BYTES_MAX && ledger.bytes > LEDGER_BYTES_MAX - LEDGER_ANSWER_BYTES_MAX);
        ledger.expire(u64::MAX);
        assert!(ledger.bytes == 0 && ledger.owned.is_empty());
    }

    #[test]
    fn what_may_be_repeated_is_where_nobody_knows_how_it_ended() {
        let mut ledger = Ledger::default();
        first(&mut ledger, KEY);
        ledger.repeat(KEY, [1; 32]);
        assert_eq!(ledger.begin(NOW, KEY, [1; 32], "lab"), Begun::Running);
        ledger.end(KEY, true, None);
        ledger.repeat(KEY, [2; 32]);
        assert_eq!(ledger.begin(NOW, KEY, [2; 32], "lab"), Begun::Differs);
        ledger.repeat(KEY, [1; 32]);
        first(&mut ledger, KEY);
        ledger.end(KEY, false, Some(b"42"));
        ledger.repeat(KEY, [1; 32]);
        let end = End { failed: false, answer: Some(b"42".to_vec()) };
        assert_eq!(ledger.begin(NOW, KEY, [1; 32], "lab"), Begun::Ended(end));
    }

    /// A node that dies between any two steps, a disk that keeps what was said to be durable, and an upstream that counts.
    #[test]
    fn under_one_key_an_upstream_is_called_at_most_once_whenever_the_node_dies() {
        for seed in 0..500 {
            let mut chance = ChaCha8Rng::seed_from_u64(seed);
            let mut disk: BTreeMap<Hash, Vec<u8>> = BTreeMap::new();
            let mut ledger = Ledger::default();
            let mut effects = BTreeMap::new();
            for _ in 0..200 {
                let key = [(chance.next_u32() % 4) as u8; 32];
                let dies = |chance: &mut ChaCha8Rng| chance.next_u32().is_multiple_of(8);
                let mut step = || -> Option<()> {
                    let Begun::First(entry) = ledger.begin(NOW, key, [1; 32], "lab") else { return Some(()) };
                    if dies(&mut chance) {
                        return None;
                    }
                    disk.insert(key, entry.encode());
                    if dies(&mut chance) {
                        return None;
                    }
                    if chance.next_u32().is_multiple_of(3) {
                        assert!(ledger.not_sent(key));
                        disk.remove(&key);
                        return Some(());
                    }
                    *effects.entry(key).or_insert(0) += 1;
                    if dies(&mut chance) {
                        return None;
                    }
                    let entry = ledger.end(key, false, Some(b"done")).expect("it runs");
                    disk.insert(key, entry.encode());
                    Some(())
                };
                if step().is_none() {
                    ledger = Ledger::default();
                    for (key, entry) in &disk {
                        ledger.restore(*key, Entry::decode(entry).expect("an entry"));
                    }
                }
            }
            assert!(effects.values().all(|count| *count == 1), "seed {seed}: {effects:?}");
        }
    }
}
