//! What became of calls that carry an idempotency key, as their home knows it.
//!
//! ```text
//!            begin: durable before anything is sent          answered: durable before it is told
//!  unknown ─────────────────────────────────────▶ Begun ──────────────────────────────────▶ Answered, replayed
//!     ▲                                            │ │ lost, or the node died
//!     └───────── provably not sent ────────────────┘ └──────────────────────────────────▶ MayHaveRun, told, never run again
//! ```
//!
//! What must always hold: between the first call under a key and its expiry the upstream is called at most once under it, whatever
//! dies in between; a ledger that is full refuses, it never forgets early. Source: DESIGN D10; the IETF draft
//! *The Idempotency-Key HTTP Header Field*.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::codec::{WireRead, WireWrite};
use crate::params::{LEDGER_ANSWER_BYTES_MAX, LEDGER_BYTES_MAX, LEDGER_ENTRIES_MAX, LEDGER_KEPT, LEDGER_OWNER_MAX};
use crate::record::Hash;

/// What is kept of one call.
#[derive(Clone, Debug, PartialEq, Eq, WireRead, WireWrite)]
pub struct Entry {
    /// SHA-256 of its arguments: a key is for one call.
    pub arguments: Hash,
    /// Who made it, for shares of the room.
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
    owned: BTreeMap<String, usize>,
    /// Of answers.
    bytes: usize,
}

impl Ledger {
    /// Takes in what was kept by an earlier run. What had begun and has no end may have run: nobody knows, so it never runs again.
    pub fn restore(&mut self, key: Hash, mut entry: Entry) {
        entry.end.get_or_insert(End { failed: true, answer: None });
        self.insert(key, entry);
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
        let is_full = self.entries.len() >= LEDGER_ENTRIES_MAX || self.bytes >= LEDGER_BYTES_MAX;
        if is_full || self.owned.get(owner).is_some_and(|owned| *owned >= LEDGER_OWNER_MAX) {
            let first = self.by_age.first().map_or(wall_ms, |(expires_ms, _)| *expires_ms);
            return Begun::Full(Duration::from_millis(first.saturating_sub(wall_ms).max(1_000)));
        }
        let expires_ms = wall_ms.saturating_add(LEDGER_KEPT.as_millis() as u64);
        let entry = Entry { arguments, owner: owner.to_owned(), expires_ms, end: None };
        self.insert(key, entry.clone());
        Begun::First(entry)
    }

    /// A call ended, or may have run and nobody will know: this has to be durable before it is told. Of an answer too large to be kept only
    /// that there was one is. Nothing when no such call runs.
    pub fn end(&mut self, key: Hash, failed: bool, answer: Option<&[u8]>) -> Option<Entry> {
        let entry = self.entries.get_mut(&key).filter(|entry| entry.end.is_none())?;
        let answer = answer.filter(|answer| answer.len() <= LEDGER_ANSWER_BYTES_MAX).map(<[u8]>::to_vec);
        self.bytes += answer.as_ref().map_or(0, Vec::len);
        entry.end = Some(End { failed, answer });
        Some(entry.clone())
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

    fn insert(&mut self, key: Hash, entry: Entry) {
        self.remove(&key);
        self.by_age.insert((entry.expires_ms, key));
        *self.owned.entry(entry.owner.clone()).or_default() += 1;
        self.bytes += answer_bytes(&entry);
        self.entries.insert(key, entry);
    }

    fn remove(&mut self, key: &Hash) {
        let Some(entry) = self.entries.remove(key) else { return };
        self.by_age.remove(&(entry.expires_ms, *key));
        self.bytes -= answer_bytes(&entry);
        if let Some(count) = self.owned.get_mut(&entry.owner) {
            *count -= 1;
            if *count == 0 {
                self.owned.remove(&entry.owner);
            }
        }
    }
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
        for number in 0..LEDGER_OWNER_MAX {
            first(&mut ledger, key(number));
        }
        assert!(matches!(ledger.begin(NOW, KEY, [1; 32], "lab"), Begun::Full(_)));
        assert_eq!(ledger.begin(NOW, key(0), [1; 32], "lab"), Begun::Running);
        assert!(matches!(ledger.begin(NOW, KEY, [1; 32], "other"), Begun::First(_)), "it is not one caller's");
        let mut heavy = Ledger::default();
        let answer = vec![b'a'; LEDGER_ANSWER_BYTES_MAX];
        for number in 0..=LEDGER_BYTES_MAX / LEDGER_ANSWER_BYTES_MAX {
            if let Begun::First(_) = heavy.begin(NOW, key(number), [1; 32], "lab") {
                heavy.end(key(number), false, Some(&answer));
            }
        }
        assert_eq!(heavy.bytes, LEDGER_BYTES_MAX);
        assert!(matches!(heavy.begin(NOW, KEY, [1; 32], "lab"), Begun::Full(_)));
        let mut ledger = Ledger::default();
        first(&mut ledger, KEY);
        ledger.end(KEY, false, Some(&vec![0; LEDGER_ANSWER_BYTES_MAX + 1]));
        assert_eq!(ledger.begin(NOW, KEY, [1; 32], "lab"), Begun::Ended(End { failed: false, answer: None }));
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
