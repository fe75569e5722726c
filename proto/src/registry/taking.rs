//! Taking a range, row by row as PROTOCOL §10.3 has it.
//!
//! [`Registry::apply`] is rows 2 to 6, `take` 7 to 10; row 1 is the node's. Nothing changes for readers before row 9, and there only to a
//! state that the log's writer signed.

use std::time::Duration;

use super::deferred::Waiting;
use super::log::{self, Log};
use super::stages::{Part, Stage};
use super::{Applied, Evidence, RangeError, Registry, exchange};
use crate::now::Now;
use crate::params::{CLOCK_AHEAD_MAX, ORIGINS_MAX};
use crate::record::{NodeId, SignedRef};
use crate::wire::message::Range;

impl Registry {
    /// Takes one range whose records are verified, from whoever sent it.
    ///
    /// Nothing changes for readers until a head confirms the whole: a range that was cut waits for the sender's next one. Records
    /// already held are skipped. A range stamped too far ahead waits as well, see [`Registry::retry`].
    ///
    /// # Errors
    /// [`RangeError`]; nothing that was held changed. After [`RangeError::Incomplete`] and [`RangeError::Full`] what the sender had
    /// sent in parts is forgotten.
    pub fn apply(
        &mut self,
        sender: NodeId,
        range: &Range,
        records: &[SignedRef],
        now: Now,
    ) -> Result<Applied, RangeError> {
        self.check(range, records)?;
        let Some(end) = self.deferred.end(range.origin) else { return self.take(sender, range, records, now) };
        if range.to_inclusive <= end {
            return Ok(Applied::default());
        }
        if range.from_exclusive > end {
            return Err(RangeError::Gap);
        }
        if range.cut {
            return Err(RangeError::Busy);
        }
        self.defer(sender, range, records, now)
    }

    /// Takes the next that is due of what was held back. What follows from it may end the life of what comes after it, so that is not
    /// taken in one go. Senders whose ranges turn out to be wrong are not named: it is asked for again.
    pub fn retry(&mut self, now: Now) -> Option<Applied> {
        while let Some(Waiting { sender, range, records, .. }) = self.deferred.pop_due(now.wall_ms) {
            let applied = self.check(&range, &records).and_then(|()| self.take(sender, &range, &records, now));
            if applied.is_ok() {
                return applied.ok();
            }
        }
        None
    }

    /// Nodes of which something is held back.
    pub fn held_back(&self) -> usize {
        self.deferred.nodes()
    }

    /// When [`Registry::retry`] has something to do, if the wall's clock goes on as it does.
    pub fn next_retry(&self, now: Now) -> Option<Duration> {
        let due = self.deferred.next_due()?;
        Some(now.mono + Duration::from_millis(due.saturating_sub(now.wall_ms)))
    }

    /// Rows 2 to 5: what can be said of a range without taking it.
    fn check(&self, range: &Range, records: &[SignedRef]) -> Result<(), RangeError> {
        let mut last = range.from_exclusive;
        for signed in records {
            let record = &signed.record;
            if record.origin() != range.origin || record.zone() != self.zone.as_str() || record.seq <= last {
                return Err(RangeError::Malformed);
            }
            last = record.seq;
        }
        // The last record of a log is never overwritten, so an honest range ends in a record: its end is signed, not claimed.
        if last != range.to_inclusive || records.is_empty() || last > exchange::SEQ_MAX {
            return Err(RangeError::Malformed);
        }
        if self.is_over(range.origin) {
            return Err(RangeError::Superseded);
        }
        if self.is_quarantined(range.origin) {
            return Err(RangeError::Quarantined);
        }
        if self.slots.len() >= ORIGINS_MAX && !self.slots.contains(range.origin.node) {
            return Err(RangeError::TooManyOrigins);
        }
        let log = self.log(range.origin);
        let known = |seq| log.and_then(|log| log.get(seq)).or_else(|| self.deferred.get(range.origin, seq));
        let forked = records.iter().find_map(|signed| Evidence::of(known(signed.record.seq)?, signed));
        forked.map_or(Ok(()), |evidence| Err(RangeError::Fork(evidence)))
    }

    /// Puts a range to what its sender sent before it. All of it is taken if a head confirms it, and kept if more is to come.
    fn take(&mut self, sender: NodeId, range: &Range, records: &[SignedRef], now: Now) -> Result<Applied, RangeError> {
        let mut stage = self.begin(sender, range, now.mono)?;
        if !self.is_news(range, stage.part) {
            return Ok(Applied::default());
        }
        stage.add(records, range.to_inclusive, now.mono);
        if !range.cut || self.may_confirm(&stage) {
            match self.settle(&stage, now) {
                Ok(Some(applied)) => return Ok(applied),
                // What comes may confirm it, and replace what is too much.
                Ok(None) => {}
                Err(RangeError::TooLarge) if range.cut => {}
                Err(error) => return Err(error),
            }
            stage.tried = stage.records().len();
        }
        if range.cut {
            return if self.stages.keep(stage) { Ok(Applied::default()) } else { Err(RangeError::Full) };
        }
        if stage.part == Part::Continuation {
            let doubts = self.doubts.entry(range.origin.node).or_default();
            *doubts = doubts.saturating_add(1);
        }
        Err(RangeError::Incomplete)
    }

    /// Row 7: what the range is put to, the stage it goes on from or an empty one.
    fn begin(&mut self, sender: NodeId, range: &Range, now: Duration) -> Result<Stage, RangeError> {
        let Range { origin, from_exclusive, cut, .. } = *range;
        if let Some(stage) = self.stages.take(origin, sender, from_exclusive) {
            return Ok(stage);
        }
        if from_exclusive > self.through(origin) {
            return Err(RangeError::Gap);
        }
        if cut && self.stages.lent_to_another(origin.node, sender, now).is_some_and(|lent| lent >= origin) {
            return Err(RangeError::Busy);
        }
        let part = if from_exclusive == 0 { Part::Snapshot } else { Part::Continuation };
        Ok(Stage::new(origin, sender, part))
    }

    /// Row 8: whether there may be anything new in it. The first part of a snapshot may end before what is held does, and a doubted log
    /// is replaced by one that ends where it does.
    fn is_news(&self, range: &Range, part: Part) -> bool {
        let (end, through) = (range.to_inclusive, self.through(range.origin));
        match part {
            Part::Snapshot => end > through || range.cut || end == through && self.wants_whole(range.origin.node),
            Part::Continuation => end > through,
        }
    }

    /// Row 9: whether a part that was cut may by chance end in a confirmed state, as when nothing was overwritten since: cheap to say.
    /// To look is not, so it is looked for again only in twice as many records.
    fn may_confirm(&self, stage: &Stage) -> bool {
        let count = match stage.part {
            Part::Snapshot => stage.records().len(),
            Part::Continuation => self.log(stage.origin).map_or(0, Log::len) + self.fresh(stage).len(),
        };
        let ends =
            |last: &SignedRef| last.head().seq == last.record.seq && usize::try_from(last.head().count) == Ok(count);
        stage.records().len() >= 2 * stage.tried && self.fresh(stage).last().is_some_and(ends)
    }

    /// Row 9: changes the log to what a stage leads to, if it is not too large and the head of its last record confirms that; `None` if
    /// it does not. Deferred, it has changed nothing yet.
    fn settle(&mut self, stage: &Stage, now: Now) -> Result<Option<Applied>, RangeError> {
        let origin = stage.origin;
        if ahead_ms(stage.records(), now.wall_ms) > 0 {
            let from_exclusive = match stage.part {
                Part::Snapshot => 0,
                Part::Continuation => self.through(origin),
            };
            let range = Range { origin, from_exclusive, to_inclusive: stage.end, cut: false, records: Vec::new() };
            return self.defer(stage.sender, &range, stage.records(), now).map(Some);
        }
        let (held, fresh) = match stage.part {
            Part::Snapshot => (None, stage.records()),
            Part::Continuation => (self.log(origin), self.fresh(stage)),
        };
        if !log::fits(held, fresh, self.log_bytes_max) {
            return Err(RangeError::TooLarge);
        }
        let applied = match stage.part {
            Part::Snapshot => self.begin_log(fresh),
            Part::Continuation => self.extend(origin.node, fresh),
        };
        if applied.is_some() {
            self.stages.forget_reached(origin, self.through(origin));
        }
        Ok(applied)
    }

    /// The records of a stage that follow what is held.
    fn fresh<'a>(&self, stage: &'a Stage) -> &'a [SignedRef] {
        stage.after(self.through(stage.origin))
    }

    /// Holds back what is stamped too far ahead, behind what waits of its life.
    fn defer(&mut self, sender: NodeId, range: &Range, records: &[SignedRef], now: Now) -> Result<Applied, RangeError> {
        if self.deferred.life(range.origin.node).is_some_and(|life| life > range.origin) {
            return Err(RangeError::Busy);
        }
        let ahead_ms = ahead_ms(records, now.wall_ms);
        let range = Range { records: Vec::new(), ..*range };
        let waiting =
            Waiting { sender, range, records: records.to_vec(), due_ms: now.wall_ms.saturating_add(ahead_ms) };
        let applied = Applied { ahead_ms, ..Applied::default() };
        if self.deferred.keep(waiting) { Ok(applied) } else { Err(RangeError::Full) }
    }
}

/// How long the local clock takes until none of these stamps is too far ahead of it.
fn ahead_ms(records: &[SignedRef], wall_ms: u64) -> u64 {
    let latest = records.iter().map(|signed| signed.record.hlc >> 16).max().unwrap_or(0);
    latest.saturating_sub(wall_ms.saturating_add(CLOCK_AHEAD_MAX.as_millis() as u64))
}
