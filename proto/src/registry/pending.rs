//! What has arrived of logs and cannot be taken yet: parts whose end no head confirms so far, and ranges whose stamps are ahead of the
//! local clock.
//!
//! Nothing here is shown, stored, relayed or hashed. It is bounded in bytes, and all of it may be lost: it is asked for again.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::RangeInclusive;
use std::time::Duration;

use crate::params::{DEFERRED_BYTES_MAX, ORIGINS_MAX, STAGE_PATIENCE, STAGED_BYTES_MAX};
use crate::record::{NodeId, Origin, SignedRef};
use crate::wire::message::Range;

/// What a record is reckoned to take beside its envelope, which is held twice: as it came, and as it was read.
const RECORD_BYTES_OVERHEAD: usize = 256;

/// The parts of one log from one sender, put together until a head confirms them.
#[derive(Debug)]
pub(super) struct Stage {
    pub(super) sender: NodeId,
    /// It begins at 0, to stand in the place of whatever is held; otherwise it goes on from there.
    pub(super) whole: bool,
    /// Where it ends so far.
    pub(super) end: u64,
    records: Vec<SignedRef>,
    bytes: usize,
    touched: Duration,
}

impl Stage {
    pub(super) const fn new(sender: NodeId, whole: bool) -> Self {
        Self { sender, whole, end: 0, records: Vec::new(), bytes: 0, touched: Duration::ZERO }
    }

    /// The next part.
    pub(super) fn add(&mut self, records: &[SignedRef], end: u64, touched: Duration) {
        self.records.extend_from_slice(records);
        self.bytes += bytes_of(records);
        (self.end, self.touched) = (end, touched);
    }

    pub(super) fn records(&self) -> &[SignedRef] {
        &self.records
    }

    /// Its records after a number.
    pub(super) fn after(&self, through: u64) -> &[SignedRef] {
        &self.records[self.records.partition_point(|signed| signed.record.seq <= through)..]
    }
}

/// Logs being put together, at most one stage an origin.
#[derive(Debug, Default)]
pub(super) struct Stages {
    by_origin: BTreeMap<Origin, Stage>,
    bytes: usize,
}

impl Stages {
    pub(super) fn get(&self, origin: Origin) -> Option<&Stage> {
        self.by_origin.get(&origin)
    }

    /// The stage of an origin, unless its sender has been silent for too long.
    pub(super) fn fresh(&self, origin: Origin, now: Duration) -> Option<&Stage> {
        self.get(origin).filter(|stage| now < stage.touched + STAGE_PATIENCE)
    }

    /// Keeps a stage. False when it does not fit; then there is none of that origin.
    pub(super) fn keep(&mut self, origin: Origin, stage: Stage) -> bool {
        let now = stage.touched;
        self.take(origin);
        let stale: Vec<Origin> = self.origins().filter(|other| self.fresh(*other, now).is_none()).collect();
        for other in stale {
            self.take(other);
        }
        let fits = self.bytes + stage.bytes <= STAGED_BYTES_MAX;
        if fits {
            self.bytes += stage.bytes;
            self.by_origin.insert(origin, stage);
        }
        fits
    }

    pub(super) fn take(&mut self, origin: Origin) -> Option<Stage> {
        let stage = self.by_origin.remove(&origin)?;
        self.bytes -= stage.bytes;
        Some(stage)
    }

    /// Forgets a stage that brings nothing any more.
    pub(super) fn forget_reached(&mut self, origin: Origin, through: u64) {
        if self.get(origin).is_some_and(|stage| stage.end <= through) {
            self.take(origin);
        }
    }

    pub(super) fn forget(&mut self, origins: RangeInclusive<Origin>) {
        let ended: Vec<Origin> = self.by_origin.range(origins).map(|(origin, _)| *origin).collect();
        for origin in ended {
            self.take(origin);
        }
    }

    pub(super) fn origins(&self) -> impl Iterator<Item = Origin> {
        self.by_origin.keys().copied()
    }

    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }
}

/// A range that waits for the local clock.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) sender: NodeId,
    /// Without its envelopes.
    pub(super) range: Range,
    pub(super) records: Vec<SignedRef>,
    pub(super) due_ms: u64,
}

/// Ranges held back, by origin, in the order of their arrival.
#[derive(Debug, Default)]
pub(super) struct Deferred {
    by_origin: BTreeMap<Origin, VecDeque<Waiting>>,
    /// When the first of each origin is due.
    due: BTreeSet<(u64, Origin)>,
    bytes: usize,
}

impl Deferred {
    /// Where the last range held back of an origin ends.
    pub(super) fn end(&self, origin: Origin) -> Option<u64> {
        self.by_origin.get(&origin)?.back().map(|waiting| waiting.range.to_inclusive)
    }

    /// Holds a range back. When there is no room for its records they are forgotten, but not that the origin has to wait. False when
    /// too many origins wait.
    pub(super) fn keep(&mut self, mut waiting: Waiting) -> bool {
        let (origin, bytes) = (waiting.range.origin, bytes_of(&waiting.records));
        let full = self.by_origin.len() >= ORIGINS_MAX;
        let Some(queue) = self.by_origin.get_mut(&origin) else {
            if !full {
                if self.bytes + bytes > DEFERRED_BYTES_MAX {
                    waiting.records.clear();
                }
                self.bytes += bytes_of(&waiting.records);
                self.due.insert((waiting.due_ms, origin));
                self.by_origin.insert(origin, [waiting].into());
            }
            return !full;
        };
        if self.bytes + bytes <= DEFERRED_BYTES_MAX {
            self.bytes += bytes;
            queue.push_back(waiting);
        }
        true
    }

    /// When the next range is due, on the wall's clock.
    pub(super) fn next_due(&self) -> Option<u64> {
        self.due.first().map(|(due, _)| *due)
    }

    /// The next range that is due by `wall_ms`.
    pub(super) fn pop_due(&mut self, wall_ms: u64) -> Option<Waiting> {
        let (_, origin) = *self.due.first().filter(|(due, _)| *due <= wall_ms)?;
        self.due.pop_first();
        let queue = self.by_origin.get_mut(&origin)?;
        let waiting = queue.pop_front()?;
        self.bytes -= bytes_of(&waiting.records);
        match queue.front() {
            Some(next) => _ = self.due.insert((next.due_ms, origin)),
            None => _ = self.by_origin.remove(&origin),
        }
        Some(waiting)
    }

    pub(super) fn forget(&mut self, origins: RangeInclusive<Origin>) {
        let ended: Vec<Origin> = self.by_origin.range(origins).map(|(origin, _)| *origin).collect();
        for origin in ended {
            let queue = self.by_origin.remove(&origin).unwrap_or_default();
            self.due.retain(|(_, due)| *due != origin);
            self.bytes -= queue.iter().map(|waiting| bytes_of(&waiting.records)).sum::<usize>();
        }
    }

    pub(super) fn origins(&self) -> impl Iterator<Item = Origin> {
        self.by_origin.keys().copied()
    }

    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }
}

fn bytes_of(records: &[SignedRef]) -> usize {
    records.iter().map(|signed| 2 * signed.envelope.len() + RECORD_BYTES_OVERHEAD).sum()
}
