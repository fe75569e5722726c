//! How long neighbours take to answer, and from when on it pays to ask the next one as well ("The Tail at Scale", Dean and Barroso 2013).
//!
//! What must always hold: who is slow is asked past, never forgotten: whichever answers first is heard. And slowness of all does not
//! double the load: a second question is paid for by ten that were answered.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Via;
use crate::wire::message::Form;

/// Times kept of one neighbour, and how many there must be before they count.
const TIMES: usize = 32;
const TIMES_MIN: usize = 16;
/// A second question is not asked before; a busy machine alone takes as long.
const PATIENCE_MIN: Duration = Duration::from_millis(10);
/// What a second question costs, in answers, and how much can be saved up.
const PRICE: u32 = 10;
const SAVINGS_MAX: u32 = 10 * PRICE;
/// Neighbours whose times are kept.
const NEIGHBOURS_MAX: usize = 1_024;

/// Times of all neighbours.
#[derive(Debug, Default)]
pub(super) struct Pace {
    times: BTreeMap<(Via, bool, String), Times>,
    savings: u32,
}

#[derive(Debug, Default)]
struct Times {
    /// The last ones, in no order.
    last: Vec<Duration>,
    next: usize,
}

impl Pace {
    /// A zone answered whole after so long.
    pub(super) fn heard(&mut self, via: Via, form: Form, zone: &str, took: Duration) {
        self.savings = (self.savings + 1).min(SAVINGS_MAX);
        let key = (via, form == Form::Exact, zone.to_owned());
        if !self.times.contains_key(&key) && self.times.len() >= NEIGHBOURS_MAX {
            return;
        }
        let times = self.times.entry(key).or_default();
        if times.last.len() < TIMES {
            times.last.push(took);
        } else {
            times.last[times.next] = took;
        }
        times.next = (times.next + 1) % TIMES;
    }

    /// How long to wait for a zone's first node before its next is asked as well: as long as all but one in twenty took. Nothing while too
    /// little is known, or nothing is saved.
    pub(super) fn patience(&self, via: Via, form: Form, zone: &str) -> Option<Duration> {
        let times = self.times.get(&(via, form == Form::Exact, zone.to_owned()))?;
        if times.last.len() < TIMES_MIN || self.savings < PRICE {
            return None;
        }
        let mut sorted = times.last.clone();
        let at = (sorted.len() * 95).div_ceil(100) - 1;
        Some((*sorted.select_nth_unstable(at).1).max(PATIENCE_MIN))
    }

    /// Pays for a second question. False when there is not enough for it.
    pub(super) const fn spend(&mut self) -> bool {
        let is_paid = self.savings >= PRICE;
        if is_paid {
            self.savings -= PRICE;
        }
        is_paid
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn the_next_is_asked_once_nearly_all_would_have_answered() {
        let mut pace = Pace::default();
        for number in 1..TIMES_MIN as u64 {
            pace.heard(Via::Child, Form::Words, "lib", ms(number));
            assert_eq!(pace.patience(Via::Child, Form::Words, "lib"), None);
        }
        pace.heard(Via::Child, Form::Words, "lib", ms(500));
        assert_eq!(
            pace.patience(Via::Child, Form::Words, "lib"),
            Some(ms(500)),
            "one of sixteen is more than one in twenty"
        );
        for _ in 0..20 {
            pace.heard(Via::Child, Form::Words, "lib", ms(40));
        }
        assert_eq!(pace.patience(Via::Child, Form::Words, "lib"), Some(ms(40)));
        assert_eq!(pace.patience(Via::Child, Form::Exact, "lib"), None, "names take another time than words");
        assert_eq!(pace.patience(Via::Parent, Form::Words, "lib"), None);
    }

    #[test]
    fn slowness_of_all_is_not_answered_with_twice_the_questions() {
        let mut pace = Pace::default();
        (0..1_000).for_each(|_| pace.heard(Via::Child, Form::Exact, "lib", ms(1)));
        let mut hedged = 0;
        while pace.patience(Via::Child, Form::Exact, "lib").is_some() {
            assert!(pace.spend());
            hedged += 1;
        }
        assert_eq!(hedged, 10);
        assert!(!pace.spend());
        (0..PRICE - 1).for_each(|_| pace.heard(Via::Child, Form::Exact, "lib", ms(1)));
        assert_eq!(pace.patience(Via::Child, Form::Exact, "lib"), None);
        pace.heard(Via::Child, Form::Exact, "lib", ms(1));
        assert_eq!(pace.patience(Via::Child, Form::Exact, "lib"), Some(PATIENCE_MIN));
    }

    #[test]
    fn so_many_neighbours_are_remembered() {
        let mut pace = Pace::default();
        for number in 0..=NEIGHBOURS_MAX {
            pace.heard(Via::Child, Form::Exact, &format!("z{number}"), ms(1));
        }
        assert_eq!(pace.times.len(), NEIGHBOURS_MAX);
    }
}
