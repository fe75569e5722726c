//! What was found by name for calls, for as long as nothing changes: the same tool is called again and again.
//!
//! Only what the node's own view says is kept, and only at the moment at which it said so; it is never older than now (P7).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::answers::{Hit, Moment};

/// Names kept; when one more comes all go.
const NAMES_MAX: usize = 1_024;

/// Tools of the own zone by the names under which they were called, as of one moment of the view.
#[derive(Default)]
pub(super) struct Known(Mutex<(Moment, HashMap<String, Arc<Hit>>)>);

impl Known {
    /// What goes by that name at that moment.
    pub(super) fn get(&self, name: &str, now: Moment) -> Option<Arc<Hit>> {
        let held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        (held.0 == now).then(|| held.1.get(name).cloned()).flatten()
    }

    /// Remembers what went by that name at that moment, and forgets what was found at any other.
    pub(super) fn keep(&self, name: &str, hit: &Arc<Hit>, then: Moment) {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (moment, hits) = &mut *held;
        if *moment != then || hits.len() >= NAMES_MAX {
            hits.clear();
            *moment = then;
        }
        hits.insert(name.to_owned(), Arc::clone(hit));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(serial: u64) -> Moment {
        Moment { serial, epoch: 1, circuits: 0 }
    }

    fn called(name: &str) -> Arc<Hit> {
        Arc::new(Hit { name: name.to_owned(), ..Hit::default() })
    }

    #[test]
    fn what_is_known_ends_with_its_moment() {
        let known = Known::default();
        known.keep("a.b", &called("a.b"), at(1));
        assert_eq!(known.get("a.b", at(1)).expect("known").name, "a.b");
        assert!(known.get("a.b", at(2)).is_none() && known.get("a.c", at(1)).is_none());
        known.keep("a.c", &called("a.c"), at(2));
        assert!(known.get("a.b", at(2)).is_none(), "of an older moment");
    }

    #[test]
    fn so_many_names_are_known_and_no_more() {
        let known = Known::default();
        for number in 0..=NAMES_MAX {
            known.keep(&number.to_string(), &called("a"), at(1));
        }
        assert!(known.get("0", at(1)).is_none() && known.get(&NAMES_MAX.to_string(), at(1)).is_some());
        assert_eq!(known.0.lock().expect("lock").1.len(), 1);
    }
}
