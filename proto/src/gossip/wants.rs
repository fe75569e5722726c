//! Logs that are known to go on elsewhere: who said so, who was asked, and when somebody else is.
//!
//! A log is asked for at one fellow at a time: its payload comes once. A want ends when the registry holds it, and when enough
//! fellows were asked in vain: the digests have it then.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::params::{ANNOUNCERS_MAX, ASKED_MAX, WANTS_FELLOW_MAX, WANTS_MAX};
use crate::record::{NodeId, Origin};
use crate::wire::message::Announced;

/// One log.
#[derive(Debug)]
pub(super) struct Want {
    /// The furthest that somebody holds it.
    pub(super) through: u64,
    /// Hops of the announcement: what comes is passed on as if it had come with it.
    pub(super) hop: u8,
    /// Who is asked now, and holds it for all we know.
    pub(super) asked: Option<NodeId>,
    /// Who announced it first.
    first: NodeId,
    /// Who else announced it, and how far.
    announcers: Vec<(NodeId, u64)>,
    asks: u8,
    retry_at: Duration,
}

impl Want {
    /// Who is known to hold news of this log.
    pub(super) fn holders(&self) -> Vec<NodeId> {
        self.announcers.iter().map(|(peer, _)| *peer).chain(self.asked).collect()
    }
}

/// What an announcement meant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Heard {
    /// Nobody is asked for it yet.
    New,
    /// Somebody is.
    Known,
    /// As much is wanted as may be, of all or of this fellow.
    Full,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Wants {
    by_origin: BTreeMap<Origin, Want>,
    retries: BTreeSet<(Duration, Origin)>,
    /// How many of them a fellow was the first to announce.
    by_first: BTreeMap<NodeId, usize>,
}

impl Wants {
    /// Somebody holds more of a log than this node does.
    pub(super) fn hear(&mut self, dot: Announced, hop: u8, from: NodeId, now: Duration) -> Heard {
        let of_fellow = self.by_first.get(&from).copied().unwrap_or(0);
        let full = self.by_origin.len() >= WANTS_MAX || of_fellow >= WANTS_FELLOW_MAX;
        match self.by_origin.get_mut(&dot.origin) {
            Some(want) => {
                want.through = want.through.max(dot.through);
                want.announcers.retain(|(peer, _)| *peer != from);
                if want.announcers.len() >= ANNOUNCERS_MAX {
                    // Whoever holds least makes room; of equals the first to say so are kept.
                    want.announcers.sort_by_key(|(_, through)| std::cmp::Reverse(*through));
                    want.announcers.retain(|(_, through)| *through >= dot.through);
                    want.announcers.truncate(ANNOUNCERS_MAX);
                }
                if want.announcers.len() < ANNOUNCERS_MAX {
                    want.announcers.push((from, dot.through));
                }
                Heard::Known
            }
            None if full => Heard::Full,
            None => {
                let announcers = vec![(from, dot.through)];
                let want =
                    Want { through: dot.through, hop, asked: None, first: from, announcers, asks: 0, retry_at: now };
                self.by_origin.insert(dot.origin, want);
                self.by_first.insert(from, of_fellow + 1);
                self.retries.insert((now, dot.origin));
                Heard::New
            }
        }
    }

    pub(super) fn get(&self, origin: Origin) -> Option<&Want> {
        self.by_origin.get(&origin)
    }

    /// Who is to be asked next: whoever announced more than `ours` and `may` be asked, the first first, otherwise what `any` gives.
    /// `None` ends the want.
    pub(super) fn next(
        &mut self,
        origin: Origin,
        ours: u64,
        may: impl Fn(NodeId) -> bool,
        any: impl FnOnce(Option<NodeId>) -> Option<NodeId>,
    ) -> Option<NodeId> {
        let want = self.by_origin.get_mut(&origin)?;
        let place = want.announcers.iter().position(|(peer, through)| *through > ours && may(*peer));
        let next = place.map(|at| want.announcers.remove(at).0).or_else(|| any(want.asked));
        if want.asks >= ASKED_MAX || next.is_none() {
            self.remove(origin);
            return None;
        }
        want.asks += 1;
        want.asked = next;
        next
    }

    /// When the next is asked unless an answer comes.
    pub(super) fn retry_at(&mut self, origin: Origin, at: Duration) {
        if let Some(want) = self.by_origin.get_mut(&origin) {
            self.retries.remove(&(want.retry_at, origin));
            want.retry_at = at;
            self.retries.insert((at, origin));
        }
    }

    /// It is wanted no more.
    pub(super) fn remove(&mut self, origin: Origin) {
        let Some(want) = self.by_origin.remove(&origin) else { return };
        self.retries.remove(&(want.retry_at, origin));
        if let Some(count) = self.by_first.get_mut(&want.first) {
            *count -= 1;
            if *count == 0 {
                self.by_first.remove(&want.first);
            }
        }
    }

    /// One whose answer did not come.
    pub(super) fn overdue(&self, now: Duration) -> Option<Origin> {
        self.retries.first().filter(|(at, _)| *at <= now).map(|(_, origin)| *origin)
    }

    pub(super) fn next_deadline(&self) -> Option<Duration> {
        self.retries.first().map(|(at, _)| *at)
    }

    /// What a fellow is asked for.
    pub(super) fn asked_of(&self, peer: NodeId) -> Vec<Origin> {
        let asked = self.by_origin.iter().filter(|(_, want)| want.asked == Some(peer));
        asked.map(|(origin, _)| *origin).collect()
    }

    /// A fellow is gone: what it was asked for is overdue.
    pub(super) fn forget(&mut self, peer: NodeId, now: Duration) {
        for want in self.by_origin.values_mut() {
            want.announcers.retain(|(announcer, _)| *announcer != peer);
        }
        for origin in self.asked_of(peer) {
            self.retry_at(origin, now);
        }
    }

    /// How many.
    pub(super) fn len(&self) -> usize {
        self.by_origin.len()
    }
}
