//! What is true, as somebody knows who only sees what writers were told and what they acknowledged; and since when each zone has been
//! whole, so that its replicas have no excuse.
//!
//! A state may be true from when it was asked for, and may be seen until the next one is acknowledged. A write that a crash overtook may
//! have happened or not: both are allowed until the next one is acknowledged.

use std::collections::BTreeMap;
use std::time::Duration;

use aop_simulations::HostId;

/// What one tool is at one time: its version, or none where it is not registered.
pub(crate) type Version = Option<u32>;

/// After this, everybody in contact holds what was written: ten rounds and what a slow network adds (P3).
pub(crate) const SPREAD: Duration = Duration::from_secs(5);
/// After a fault ends, contact is found again: losses are noticed after 10 s, dials take up to 5 s and pause up to 12 s.
pub(crate) const HEAL: Duration = Duration::from_secs(60);

#[derive(Debug)]
struct State {
    version: Version,
    from: Duration,
    until: Duration,
}

/// One tool's whole history, and who writes it.
#[derive(Debug)]
pub(crate) struct Tool {
    pub(crate) writer: HostId,
    states: Vec<State>,
}

impl Tool {
    pub(crate) fn new(writer: HostId) -> Self {
        Self { writer, states: vec![State { version: None, from: Duration::ZERO, until: Duration::MAX }] }
    }

    /// The latest that was asked for.
    pub(crate) fn latest(&self) -> Version {
        self.states.last().and_then(|state| state.version)
    }

    /// Its writer is told so.
    pub(crate) fn asked(&mut self, version: Version, time: Duration) {
        self.states.push(State { version, from: time, until: Duration::MAX });
    }

    /// What was asked for last is true, and nothing before.
    pub(crate) fn acknowledged(&mut self, time: Duration) {
        if let Some((_, before)) = self.states.split_last_mut() {
            before.iter_mut().for_each(|state| state.until = state.until.min(time));
        }
    }

    /// Whether its writer may have shown that at some moment from `earliest` to `latest`.
    pub(crate) fn could_be(&self, version: Version, earliest: Duration, latest: Duration) -> bool {
        let fits = |state: &State| state.version == version && state.from <= latest && state.until >= earliest;
        self.states.iter().any(fits)
    }

    /// Whether it was something else before, so that an old answer can be told from a new one.
    pub(crate) fn changed_before(&self, time: Duration) -> bool {
        self.states.iter().any(|state| state.until < time)
    }
}

/// Times in which the replicas of a zone could not be expected to hold the same.
#[derive(Debug, Default)]
pub(crate) struct Troubles(BTreeMap<u64, (Duration, Duration)>);

impl Troubles {
    /// Something begins that keeps replicas apart.
    pub(crate) fn begin(&mut self, number: u64, time: Duration) {
        self.0.entry(number).or_insert((time, Duration::MAX));
    }

    /// It is over.
    pub(crate) fn end(&mut self, number: u64, time: Duration) {
        if let Some((_, end)) = self.0.get_mut(&number) {
            *end = time;
        }
    }

    /// Up to when everything that was true at a writer had come to every replica at `time`, at the least.
    pub(crate) fn known_at(&self, time: Duration) -> Duration {
        let mut whole = time;
        let covers = |whole: Duration| {
            let of = |(begin, end): &(Duration, Duration)| *begin < whole && whole <= end.saturating_add(HEAL);
            self.0.values().filter(|trouble| of(trouble)).map(|(begin, _)| *begin).min()
        };
        while let Some(begin) = covers(whole) {
            whole = begin;
        }
        whole.saturating_sub(SPREAD)
    }
}
