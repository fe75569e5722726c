//! A shelf of the core behind a lock: where a door keeps answers, and what can be made again.
//!
//! How long something lives is asked elsewhere; here only the room is bounded, and what goes first is decided by [`aop_proto::cache`]
//! (SIEVE). A library stood here before, which by Zipf's law had the answer less often (`benches/README.md`, zipf). One lock, because a
//! look takes a hundredth of a request and the largest answer, the list of a whole zone, may need all of the room. What must always
//! hold: the lock is held for one look or one insertion, never while anything is made, waited for or cleared away.

use std::fmt;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aop_proto::cache::Shelf;

/// Nothing here ends by time.
const NOW: Duration = Duration::ZERO;

/// Things by their names, bounded in number and bytes.
pub(super) struct Shared<V> {
    shelf: Mutex<Shelf<u64, Arc<Named<V>>>>,
    entries_max: usize,
    bytes_max: usize,
    hasher: RandomState,
}

/// Kept by the hash of its name, which nobody outside can foresee. Of two with the same hash the later stays.
struct Named<V> {
    name: Box<str>,
    value: V,
}

impl<V: Clone> Shared<V> {
    /// Nothing yet, with room for so many things and bytes.
    pub(super) fn new(entries_max: usize, bytes_max: usize) -> Self {
        let shelf = Mutex::new(Shelf::bounded(entries_max, bytes_max));
        Self { shelf, entries_max, bytes_max, hasher: RandomState::new() }
    }

    /// What is kept under that name.
    pub(super) fn get(&self, name: &str) -> Option<V> {
        let hash = self.hasher.hash_one(name);
        let found = self.locked().get(&hash, NOW)?.value;
        (*found.name == *name).then(|| found.value.clone())
    }

    /// Keeps something of about so many bytes.
    pub(super) fn put(&self, name: &str, value: V, bytes: usize) {
        let hash = self.hasher.hash_one(name);
        let named = Arc::new(Named { name: name.into(), value });
        let gone = self.locked().put(hash, named, bytes, Duration::MAX, NOW);
        drop(gone);
    }

    /// What is kept under that name, or this from now on, as of no weight.
    pub(super) fn get_or_put(&self, name: &str, value: V) -> V {
        let hash = self.hasher.hash_one(name);
        let mut shelf = self.locked();
        if let Some(found) = shelf.get(&hash, NOW).filter(|found| *found.value.name == *name) {
            return found.value.value.clone();
        }
        let gone = shelf.put(hash, Arc::new(Named { name: name.into(), value: value.clone() }), 0, Duration::MAX, NOW);
        drop(shelf);
        drop(gone);
        value
    }

    /// Drops everything.
    pub(super) fn clear(&self) {
        let empty = Shelf::bounded(self.entries_max, self.bytes_max);
        let full = std::mem::replace(&mut *self.locked(), empty);
        drop(full);
    }

    /// How many things are kept.
    pub(super) fn len(&self) -> usize {
        self.locked().len()
    }

    /// Nothing panics half way through a change of a shelf.
    fn locked(&self) -> MutexGuard<'_, Shelf<u64, Arc<Named<V>>>> {
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<V> fmt::Debug for Shared<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Shared")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_found_and_bounded_in_number_and_bytes() {
        let kept = Shared::new(160, 16_000);
        for number in 0..1000_usize {
            kept.put(&number.to_string(), number, 10);
            assert_eq!(kept.get(&number.to_string()), Some(number));
        }
        assert_eq!(kept.len(), 160);
        for number in 0..1000_usize {
            kept.put(&number.to_string(), number, 500);
        }
        assert_eq!(kept.len(), 32);
        kept.put("0", 0, 16_001);
        assert_eq!(kept.get("0"), None, "too heavy, and what was there is of yesterday");
        kept.clear();
        assert_eq!((kept.len(), kept.get("999")), (0, None));
    }

    #[test]
    fn who_comes_first_says_what_it_is() {
        let kept = Shared::new(160, 16_000);
        assert_eq!((kept.get_or_put("a", 1), kept.get_or_put("a", 2), kept.get("a")), (1, 1, Some(1)));
    }

    #[test]
    fn many_threads_find_what_they_put() {
        let kept = Shared::new(160, 16_000);
        std::thread::scope(|scope| {
            for thread in 0..4_usize {
                let kept = &kept;
                scope.spawn(move || {
                    for number in 0..2_000_usize {
                        let name = (number % 200).to_string();
                        kept.put(&name, (name.clone(), thread), 10);
                        assert!(kept.get(&name).is_none_or(|(found, _)| found == name));
                    }
                });
            }
        });
        assert!(kept.len() <= 160);
    }
}
