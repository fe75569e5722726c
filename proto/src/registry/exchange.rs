//! What two replicas tell each other of their logs: what stands in a vector, and the ranges that answer one.
//!
//! The number beside an origin in a vector is its [`Standing`]. Only confirmed logs are sent: whoever takes a range whole can check it
//! against the head of its last record.

use std::collections::VecDeque;
use std::time::Duration;

use crate::params::{BUCKETS, RANGE_BYTES_OVERHEAD, RANGES_BYTES_TARGET, VECTOR_ENTRIES_MAX};
use crate::record::{NodeId, Origin, SignedRef};
use crate::registry::log::Log;
use crate::registry::{Evidence, Registry, Slot};
use crate::wire::message::{Range, Vector};

/// What a vector says of one origin, and how its number is read (it is wire).
///
/// ```text
///  0 … 2^62−1        complete through it; 0 also asks for everything again
///  2^63 + n          the receiver's own snapshot, or a long part, is held up to n and not yet whole: go on from n
///  2^64−2            nothing is wanted now: held back for the clock, or on its way from somebody else
///  2^64−1            two contents for one dot were seen: nothing is wanted any more of this life
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Complete through.
    Through(u64),
    /// Parts of it came from the receiver of the vector, up to here.
    Staged(u64),
    /// Nothing is wanted now.
    NotNow,
    /// Quarantined.
    Quarantined,
}

const STAGED: u64 = 1 << 63;
/// Numbers of records stay below this, which leaves room for what else a vector says.
pub(super) const SEQ_MAX: u64 = (1 << 62) - 1;

impl Standing {
    /// Its number on the wire.
    pub const fn number(self) -> u64 {
        match self {
            Self::Through(seq) => seq,
            Self::Staged(seq) => STAGED | seq,
            Self::NotNow => u64::MAX - 1,
            Self::Quarantined => u64::MAX,
        }
    }

    /// What a number says.
    pub const fn from_number(number: u64) -> Self {
        match number {
            u64::MAX => Self::Quarantined,
            number if number == u64::MAX - 1 => Self::NotNow,
            number if number & STAGED != 0 => Self::Staged(number & !STAGED),
            seq => Self::Through(seq),
        }
    }
}

/// The bucket of a node's log: the first bits of its id, so that a bucket is one stretch of the sorted logs.
pub const fn bucket_of(node: NodeId) -> usize {
    node.0[0] as usize * BUCKETS / 256
}

impl Registry {
    /// The entries of a vector for `to`, of the buckets whose bits are set, sorted.
    pub fn entries(&self, to: NodeId, mask: u64, now: Duration) -> Vec<(Origin, u64)> {
        let mut origins: Vec<Origin> = self.in_buckets(mask).map(Slot::origin).collect();
        let asked = |origin: &Origin| mask >> bucket_of(origin.node) & 1 == 1 && !self.is_held(*origin);
        let coming = self.stages.named_to(to, now).chain(self.deferred.origins()).filter(asked);
        // What is not named comes again, which costs the line; a vector that is longer than a frame does not come at all.
        origins.extend(coming.take(VECTOR_ENTRIES_MAX.saturating_sub(origins.len())));
        origins.sort_unstable();
        origins.dedup();
        origins.into_iter().map(|origin| (origin, self.standing(origin, to, now).number())).collect()
    }

    /// What a vector for `to` says of one origin.
    pub fn standing(&self, origin: Origin, to: NodeId, now: Duration) -> Standing {
        if self.is_quarantined(origin) {
            return Standing::Quarantined;
        }
        if self.deferred.end(origin).is_some() {
            return Standing::NotNow;
        }
        if let Some(stage) = self.stages.fresh(origin, to, now) {
            return Standing::Staged(stage.end);
        }
        if self.stages.lent_to_another(origin.node, to, now) == Some(origin) {
            return Standing::NotNow;
        }
        Standing::Through(if self.wants_whole(origin.node) { 0 } else { self.through(origin) })
    }

    /// What a peer lacks, in frames of about [`RANGES_BYTES_TARGET`] and about `bytes_max` in all; and whether more is left. Of each
    /// log the oldest comes first; of a log whose collected tombstones the peer has not seen, or of a new life, everything.
    pub fn frames_for(&self, vector: &Vector, bytes_max: usize) -> (Vec<Vec<Range>>, bool) {
        let mut frames = Frames { done: Vec::new(), open: Vec::new(), room: RANGES_BYTES_TARGET, left: bytes_max };
        for (origin, log) in self.logs_asked_for(vector) {
            if let Some(from) = sent_from(log, standing_in(&vector.entries, origin))
                && !frames.add(origin, from, log.after(from))
            {
                return (frames.finish(), true);
            }
        }
        (frames.finish(), false)
    }

    /// The same as a whole, as it is now: records are shared and not copied, and what changes here later is not in it.
    pub fn missing(&self, vector: &Vector) -> Vec<Missing> {
        let lacked = |(origin, log): (Origin, &Log)| {
            let from = sent_from(log, standing_in(&vector.entries, origin))?;
            Some(Missing { origin, from, records: log.after(from).cloned().collect(), next: 0 })
        };
        self.logs_asked_for(vector).filter_map(lacked).collect()
    }

    /// The vector of what may be sent: of confirmed logs, and of those that are quarantined.
    pub fn tellable(&self) -> Vec<(Origin, u64)> {
        let told = |slot: &Slot| {
            let origin = slot.origin();
            let standing = match slot {
                Slot::Held(_) => Standing::Through(self.confirmed(origin)?.through()),
                Slot::Forked(_) => Standing::Quarantined,
            };
            Some((origin, standing.number()))
        };
        self.slots.values().filter_map(told).collect()
    }

    /// Takes over what another registry holds of one node, to be tried on: the log or the quarantine, and the mark.
    pub fn borrow_log(&mut self, from: &Self, node: NodeId) {
        if let Some(incarnation) = from.reaped(node) {
            self.reap(node, incarnation);
        }
        match from.slots.get(node) {
            Some(Slot::Held(log)) => drop(self.restore(&log.after(0).cloned().collect::<Vec<_>>())),
            Some(Slot::Forked(evidence)) => drop(self.quarantine((**evidence).clone())),
            None => {}
        }
    }

    /// Forgets the parts that one sender left unfinished.
    pub fn forget_parts_of(&mut self, sender: NodeId) {
        self.stages.forget_sender(sender);
    }

    /// What somebody who stands so lacks of one log, in one range of about [`RANGES_BYTES_TARGET`].
    pub fn range_of(&self, origin: Origin, standing: Standing) -> Option<Range> {
        let log = self.confirmed(origin)?;
        let mut frames = Frames { done: Vec::new(), open: Vec::new(), room: usize::MAX, left: RANGES_BYTES_TARGET };
        let from = sent_from(log, standing)?;
        frames.add(origin, from, log.after(from));
        frames.open.pop()
    }

    /// The last records of the logs of these buckets, about `bytes_max` of them from the one in place `from` on, all round. Two logs that
    /// end in one number and differ, differ in it: for a peer whose buckets still differ after the vectors agreed.
    pub fn tails(&self, mask: u64, from: usize, bytes_max: usize) -> Vec<Range> {
        let held = self.in_buckets(mask).filter_map(|slot| self.confirmed(slot.origin()));
        let mut held: Vec<&Log> = held.collect();
        let first = from.checked_rem(held.len()).unwrap_or(0);
        held.rotate_left(first);
        let tail = |log: &Log| Range {
            origin: log.origin(),
            from_exclusive: log.through() - 1,
            to_inclusive: log.through(),
            cut: false,
            records: vec![log.last().envelope()],
        };
        let mut left = bytes_max;
        let fits = |range: &Range| {
            let bytes = range_bytes(range);
            let fits = bytes <= left;
            left = left.saturating_sub(bytes);
            fits
        };
        held.into_iter().map(tail).take_while(fits).collect()
    }

    /// Whether somebody with these entries has anything that is not held, on its way, or refused here.
    pub fn lacks_from(&self, entries: &[(Origin, u64)]) -> bool {
        entries.iter().any(|(origin, number)| match Standing::from_number(*number) {
            _ if self.is_over(*origin) || self.is_quarantined(*origin) => false,
            Standing::Through(through) => self.lacks(*origin, through),
            Standing::Quarantined => true,
            Standing::Staged(_) | Standing::NotNow => false,
        })
    }

    /// Whether all that somebody with these entries has is held or refused here, and not only on its way: it can be read. Of what that
    /// one waits for itself it is not said how much it holds: of these logs anything has to be held.
    pub fn has_reached(&self, entries: &[(Origin, u64)]) -> bool {
        entries.iter().all(|(origin, number)| match Standing::from_number(*number) {
            _ if self.is_over(*origin) || self.is_quarantined(*origin) => true,
            Standing::Through(through) => through > SEQ_MAX || self.through(*origin) >= through,
            Standing::Quarantined => false,
            Standing::Staged(_) | Standing::NotNow => self.incarnation_of(origin.node).is_some(),
        })
    }

    /// Whether anything of a log up to a number is not held, on its way, or refused here. A number that no record may have is a lie.
    pub fn lacks(&self, origin: Origin, through: u64) -> bool {
        let refused = through > SEQ_MAX || self.is_over(origin) || self.is_quarantined(origin);
        !refused && self.holds(origin) < through
    }

    /// Evidence for a peer that does not know of it.
    pub fn forks_for(&self, vector: &Vector) -> Vec<&Evidence> {
        let unknown = |evidence: &&Evidence| {
            let origin = evidence.origin();
            let asked = vector.buckets >> bucket_of(origin.node) & 1 == 1;
            let told = asked || vector.entries.iter().any(|(entry, _)| *entry == origin);
            let theirs = standing_in(&vector.entries, origin);
            told && !matches!(theirs, Some(Standing::Quarantined) | None)
        };
        self.forks().filter(unknown).collect()
    }

    fn is_held(&self, origin: Origin) -> bool {
        self.slots.get(origin.node).is_some_and(|slot| slot.origin() == origin)
    }

    fn in_buckets(&self, mask: u64) -> impl Iterator<Item = &Slot> {
        (0..BUCKETS).filter(move |bucket| mask >> bucket & 1 == 1).flat_map(|bucket| {
            let width = 256 / BUCKETS;
            let (mut first, mut last) = ([0; 32], [255; 32]);
            first[0] = (bucket * width) as u8;
            last[0] = (bucket * width + width - 1) as u8;
            self.slots.range(NodeId(first)..=NodeId(last))
        })
    }

    /// Logs that may be sent: those of the vector's buckets, or of its entries when it has none.
    fn logs_asked_for<'a>(&'a self, vector: &'a Vector) -> impl Iterator<Item = (Origin, &'a Log)> {
        let singles = vector.entries.iter().filter(|_| vector.buckets == 0).map(|(origin, _)| origin.node);
        let singles = singles.filter_map(|node| self.slots.get(node));
        self.in_buckets(vector.buckets)
            .chain(singles)
            .filter_map(|slot| Some((slot.origin(), self.confirmed(slot.origin())?)))
    }
}

/// What entries, sorted, say of an origin; `None` when they name a later life of its node.
fn standing_in(entries: &[(Origin, u64)], origin: Origin) -> Option<Standing> {
    let at = entries.partition_point(|(entry, _)| *entry < origin);
    match entries.get(at) {
        Some((entry, number)) if *entry == origin => Some(Standing::from_number(*number)),
        Some((entry, _)) if entry.node == origin.node => None,
        _ => Some(Standing::Through(0)),
    }
}

/// Where to begin for somebody who stands so, if anything is to be sent.
fn sent_from(log: &Log, standing: impl Into<Option<Standing>>) -> Option<u64> {
    let from = match standing.into()? {
        Standing::Through(seq) if seq < log.floor() => 0,
        Standing::Through(seq) | Standing::Staged(seq) => seq,
        Standing::NotNow | Standing::Quarantined => return None,
    };
    (from < log.through()).then_some(from)
}

/// What somebody lacks of one log, as it was at one moment.
#[derive(Debug)]
pub struct Missing {
    /// The log.
    pub origin: Origin,
    from: u64,
    records: Vec<SignedRef>,
    /// Place of the first record that was not cut out yet.
    next: usize,
}

impl Missing {
    /// Whether it begins at the log's beginning.
    pub const fn is_whole(&self) -> bool {
        self.from == 0
    }

    /// The next frame of ranges out of these, of about [`RANGES_BYTES_TARGET`]; what it holds is taken out, and none is left empty.
    pub fn cut(all: &mut VecDeque<Self>) -> Vec<Range> {
        let mut frames =
            Frames { done: Vec::new(), open: Vec::new(), room: RANGES_BYTES_TARGET, left: RANGES_BYTES_TARGET };
        while let Some(first) = all.front_mut() {
            let (held, from) = (frames.open.len(), first.from);
            if frames.add(first.origin, from, first.records[first.next..].iter()) {
                all.pop_front();
                continue;
            }
            if let Some(range) = frames.open.get(held) {
                first.next += range.records.len();
                first.from = range.to_inclusive;
            }
            break;
        }
        frames.open
    }
}

/// Ranges as they are cut into frames.
struct Frames {
    done: Vec<Vec<Range>>,
    open: Vec<Range>,
    /// Bytes that still fit the open frame.
    room: usize,
    /// Bytes that may still be sent.
    left: usize,
}

impl Frames {
    /// Adds what a log holds after `from`. False when not all of it fits.
    fn add<'a>(&mut self, origin: Origin, from: u64, records: impl Iterator<Item = &'a SignedRef>) -> bool {
        let new = |from| Range { origin, from_exclusive: from, to_inclusive: from, cut: true, records: Vec::new() };
        let mut range = new(from);
        self.spend(RANGE_BYTES_OVERHEAD);
        for signed in records {
            // The first record of an answer always fits: otherwise nobody would ever get on.
            let is_first = self.done.is_empty() && self.open.is_empty() && range.records.is_empty();
            if signed.envelope_len() > self.left && !is_first {
                self.close(range);
                return false;
            }
            if signed.envelope_len() > self.room && !is_first {
                let next = new(range.to_inclusive);
                self.close(std::mem::replace(&mut range, next));
                self.turn();
                self.spend(RANGE_BYTES_OVERHEAD);
            }
            self.put(&mut range, signed);
        }
        range.cut = false;
        self.close(range);
        true
    }

    fn put(&mut self, range: &mut Range, signed: &SignedRef) {
        self.spend(signed.envelope_len());
        range.to_inclusive = signed.record.seq;
        range.records.push(signed.envelope());
    }

    const fn spend(&mut self, bytes: usize) {
        self.room = self.room.saturating_sub(bytes);
        self.left = self.left.saturating_sub(bytes);
    }

    fn close(&mut self, range: Range) {
        if !range.records.is_empty() {
            self.open.push(range);
        }
    }

    /// Begins another frame.
    fn turn(&mut self) {
        if !self.open.is_empty() {
            self.done.push(std::mem::take(&mut self.open));
        }
        self.room = RANGES_BYTES_TARGET;
    }

    fn finish(mut self) -> Vec<Vec<Range>> {
        self.turn();
        self.done
    }
}

/// About how many bytes a range takes on the wire, with the certificates of its origin.
pub(crate) fn range_bytes(range: &Range) -> usize {
    RANGE_BYTES_OVERHEAD + range.records.iter().map(Vec::len).sum::<usize>()
}
