//! Invariant 11: what happened at all. A branch that no seed of a swarm takes is a branch nobody has tested.
//!
//! Everything is seen from outside: in frames, records, views, answers and gauges.

use std::collections::BTreeMap;
use std::fmt;

use aop_proto::node::Gauge;
use aop_proto::record::{Kind, SignedRef};
use aop_proto::resolver::Source;
use aop_proto::view::View;
use aop_proto::wire::message::Message;

use crate::host::Answered;

/// How often each branch was taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    counts: BTreeMap<&'static str, u64>,
    kinds: BTreeMap<u8, u64>,
}

/// The frames of replicas, by number.
const KINDS: [(u8, &str); 21] = [
    (1, "frame Hello"),
    (2, "frame Admit"),
    (3, "frame Refuse"),
    (4, "frame Leave"),
    (5, "frame Fork"),
    (8, "frame Referral"),
    (9, "frame Delegate"),
    (10, "frame Serials"),
    (16, "frame Digest"),
    (17, "frame Buckets"),
    (18, "frame Vector"),
    (19, "frame Ranges"),
    (20, "frame Announce"),
    (21, "frame Busy"),
    (22, "frame ClockAhead"),
    (24, "frame Ping"),
    (25, "frame Ack"),
    (26, "frame PingRequest"),
    (27, "frame Members"),
    (32, "frame Query"),
    (33, "frame Answer"),
];

impl Coverage {
    pub(crate) fn hit(&mut self, branch: &'static str) {
        self.hit_times(branch, 1);
    }

    fn hit_times(&mut self, branch: &'static str, times: u64) {
        if times > 0 {
            *self.counts.entry(branch).or_default() += times;
        }
    }

    pub(super) fn frame(&mut self, bytes: &[u8]) {
        const RANGES: u8 = 19;
        let kind = bytes.get(3).copied().unwrap_or(0);
        *self.kinds.entry(kind).or_default() += 1;
        if kind == RANGES
            && let Ok(Message::Ranges(ranges)) = Message::decode(bytes)
        {
            self.hit_times("range cut", ranges.ranges.iter().filter(|range| range.cut).count() as u64);
            self.hit_times("more ranges", u64::from(ranges.more));
            self.hit_times("rumour passed on", u64::from(ranges.hop > 1));
            let whole = ranges.ranges.iter().filter(|range| range.from_exclusive == 0 && range.records.len() > 1);
            self.hit_times("log from its beginning", whole.count() as u64);
        }
    }

    pub(super) fn record(&mut self, signed: &SignedRef) {
        let record = &signed.record;
        self.hit_times("tombstone", u64::from(record.is_tombstone()));
        self.hit_times("reap", u64::from(record.kind() == Kind::Reap));
        self.hit_times("manifest", u64::from(record.kind() == Kind::Manifest));
        self.hit_times("floor published", u64::from(signed.head().floor > 0));
        self.hit_times("later life", u64::from(record.origin().incarnation > 1));
    }

    pub(super) fn view(&mut self, view: &View) {
        for member in &view.members {
            match member.state {
                "suspect" => self.hit("member suspect"),
                "down" => self.hit("member down"),
                "left" => self.hit("member left"),
                _ => {}
            }
        }
        self.hit_times("clash shown", u64::from(view.tools.all().iter().any(|tool| tool.clash)));
        self.hit_times("something refused", u64::from(view.counts.refused > 0));
        self.hit_times("bad frame", u64::from(view.counts.bad_frames > 0));
    }

    pub(super) fn answer(&mut self, answered: &Answered) {
        for (source, checked) in &answered.outcome.answers {
            match source {
                Source::L2 => self.hit("answer from the zone's cache"),
                Source::L3 => self.hit("answer from before, stale"),
                Source::Export => self.hit("zone that told it has nothing"),
                Source::Local | Source::Parent | Source::Child => {}
            }
            self.hit_times("answer of who is behind", u64::from(checked.answer.behind));
        }
        self.hit_times("answer partial", u64::from(answered.outcome.is_partial()));
        self.hit_times("answer empty", u64::from(answered.found.is_empty()));
    }

    pub(super) fn gauges(&mut self, gauges: &[Gauge]) {
        for gauge in gauges {
            self.hit_times(gauge.name, u64::from(gauge.held > 0));
        }
    }

    /// Adds what another world saw.
    pub fn merge(&mut self, other: &Self) {
        for (branch, times) in &other.counts {
            *self.counts.entry(branch).or_default() += times;
        }
        for (kind, times) in &other.kinds {
            *self.kinds.entry(*kind).or_default() += times;
        }
    }

    /// Invariant 11: that each of these branches was taken.
    ///
    /// # Errors
    /// Names those that were not.
    pub fn require(&self, branches: &[&str]) -> Result<(), String> {
        let missing: Vec<_> = branches.iter().filter(|branch| self.count(branch) == 0).collect();
        if missing.is_empty() { Ok(()) } else { Err(format!("invariant 11: nothing took {missing:?}")) }
    }

    /// How often a branch was taken.
    pub fn count(&self, branch: &str) -> u64 {
        let kind = KINDS.iter().find(|(_, name)| *name == branch);
        match kind {
            Some((kind, _)) => self.kinds.get(kind).copied().unwrap_or(0),
            None => self.counts.get(branch).copied().unwrap_or(0),
        }
    }
}

impl fmt::Display for Coverage {
    /// One line a branch; frames that were never sent are named too.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (kind, name) in KINDS {
            writeln!(f, "{name:<32} {:>12}", self.kinds.get(&kind).copied().unwrap_or(0))?;
        }
        for (branch, times) in &self.counts {
            writeln!(f, "{branch:<32} {times:>12}")?;
        }
        Ok(())
    }
}
