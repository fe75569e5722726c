//! The best documents of a segment without scoring all of them, and to the bit those that scoring all would give.
//!
//! Concepts are gone through from the one that can bring the most to the one that can bring the least. As soon as what is left cannot lift
//! a new document among the best, only those met before are looked up in the rest (MaxScore; Turtle and Flood 1995). These sums are made
//! in another order than scores are, so they only choose: whatever comes near the last place is scored anew, as [`Scorer`] does it.

use std::cell::Cell;

use super::score::{Member, Scorer};
use super::segment::{Listed, Posting, Segment};

/// More than what sums of the same parts in another order can differ by: 256 terms, half of 2^-23 for each addition.
const MARGIN: f32 = 1e-4;

/// Documents looked at for the last place beyond those that are wanted: some of them may be hidden from who asks.
const SPARE: usize = 64;

thread_local! {
    /// The room of the last search of this thread: clearing what a search touched is cheaper than a new one.
    static ROOM: Cell<Room> = const { Cell::new(Room::new()) };
}

/// Room for a search, used for one segment after the other and left empty.
#[derive(Debug, Default)]
pub(super) struct Room {
    sums: Vec<f32>,
    met: Vec<u16>,
    /// What a concept's own words bring each document, and what others that stand for them do.
    parts: Vec<[f32; 2]>,
    touched: Vec<u16>,
}

/// A concept in one segment: its terms that occur there.
struct Found<'a> {
    members: Vec<(Member, f32, &'a [Posting])>,
    at_most: f32,
}

impl Room {
    const fn new() -> Self {
        Self { sums: Vec::new(), met: Vec::new(), parts: Vec::new(), touched: Vec::new() }
    }

    /// Lends room for segments of at most so many documents.
    pub(super) fn lend<T>(documents: usize, search: impl FnOnce(&mut Self) -> T) -> T {
        // Nobody else of the thread searches meanwhile; if one did, it would take new room.
        let mut room = ROOM.take();
        if room.sums.len() < documents {
            room.sums.resize(documents, 0.0);
            room.parts.resize(documents, [0.0; 2]);
        }
        let result = search(&mut room);
        ROOM.set(room);
        result
    }

    /// Calls `each` for documents of the segment and their scores: for all that have a place among the best `limit`, and that reach `bar`.
    /// Only documents that `is_wanted` count.
    pub(super) fn search(
        &mut self,
        (segment, postings): (&Segment, &[Listed<'_>]),
        scorer: &Scorer<'_>,
        (limit, bar): (usize, f32),
        is_wanted: &dyn Fn(u16) -> bool,
        mut each: impl FnMut(u16, f32),
    ) {
        let found = found(segment, postings, scorer);
        let mut order: Vec<&Found<'_>> = found.iter().filter(|found| !found.members.is_empty()).collect();
        order.sort_by(|a, b| b.at_most.total_cmp(&a.at_most));
        let mut bar = bar * (1.0 - MARGIN);
        let mut closed = false;
        for (at, found) in order.iter().enumerate() {
            // What it and all after it can bring; added up from the small ones, so that nothing is lost to rounding.
            let left: f32 = order[at..].iter().rev().map(|found| found.at_most).sum();
            closed = closed || left < bar;
            if closed {
                let reach = |document: &u16| self.sums[usize::from(*document)] + left * (1.0 + MARGIN) >= bar;
                let (kept, dropped): (Vec<u16>, Vec<u16>) = self.met.iter().partition(|document| reach(document));
                dropped.into_iter().for_each(|document| self.sums[usize::from(document)] = 0.0);
                self.met = kept;
                self.look_up(segment, found, scorer);
            } else {
                self.go_through(segment, found, scorer);
            }
            if closed || self.met.len() > limit {
                bar = bar.max(self.last_place(limit, bar, is_wanted) * (1.0 - MARGIN));
            }
        }
        for document in std::mem::take(&mut self.met) {
            let sum = std::mem::take(&mut self.sums[usize::from(document)]);
            if sum >= bar && is_wanted(document) {
                each(document, exact(segment, &found, document, scorer));
            }
        }
    }

    /// Adds what a concept brings to every document that has it.
    fn go_through(&mut self, segment: &Segment, found: &Found<'_>, scorer: &Scorer<'_>) {
        if let [(_, rarity, postings)] = found.members[..] {
            for posting in postings {
                self.add(posting.number(), segment.part(*posting, rarity, scorer));
            }
            return;
        }
        if let [(_, rarity, mut one), (other, its_rarity, mut two)] = found.members[..]
            && !other.is_synonym()
        {
            // A word and its stem: mostly the same documents.
            while let (Some(a), Some(b)) = (one.first(), two.first()) {
                let (from_one, from_two) = (a.number() <= b.number(), b.number() <= a.number());
                let mut sum = 0.0;
                if from_one {
                    sum += segment.part(*a, rarity, scorer);
                    one = &one[1..];
                }
                if from_two {
                    sum += segment.part(*b, its_rarity, scorer);
                    two = &two[1..];
                }
                self.add(if from_one { a.number() } else { b.number() }, sum);
            }
            one.iter().for_each(|posting| self.add(posting.number(), segment.part(*posting, rarity, scorer)));
            two.iter().for_each(|posting| self.add(posting.number(), segment.part(*posting, its_rarity, scorer)));
            return;
        }
        for (member, rarity, postings) in &found.members {
            for posting in *postings {
                let part = segment.part(*posting, *rarity, scorer);
                let [own, other] = &mut self.parts[posting.document()];
                if *own == 0.0 && *other == 0.0 {
                    self.touched.push(posting.number());
                }
                if member.is_synonym() {
                    *other = other.max(part);
                } else {
                    *own += part;
                }
            }
        }
        for document in std::mem::take(&mut self.touched) {
            let [own, other] = std::mem::take(&mut self.parts[usize::from(document)]);
            self.add(document, own.max(other));
        }
    }

    fn add(&mut self, document: u16, part: f32) {
        let sum = &mut self.sums[usize::from(document)];
        if *sum == 0.0 {
            self.met.push(document);
        }
        *sum += part;
    }

    /// The same for the documents met so far alone.
    fn look_up(&mut self, segment: &Segment, found: &Found<'_>, scorer: &Scorer<'_>) {
        for document in &self.met {
            self.sums[usize::from(*document)] += part_of(segment, found, *document, scorer);
        }
    }

    /// The sum of the last of the best `limit` documents that are wanted; 0 where fewer reach `bar`.
    fn last_place(&self, limit: usize, bar: f32, is_wanted: &dyn Fn(u16) -> bool) -> f32 {
        if limit == 0 || self.met.len() < limit {
            return 0.0;
        }
        let sums = self.met.iter().map(|document| (self.sums[usize::from(*document)], *document));
        let mut best: Vec<(f32, u16)> = sums.filter(|(sum, _)| *sum >= bar).collect();
        let looked_at = limit.saturating_add(SPARE);
        if best.len() > looked_at {
            best.select_nth_unstable_by(looked_at, |a, b| b.0.total_cmp(&a.0));
            best.truncate(looked_at);
        }
        best.sort_unstable_by(|a, b| b.0.total_cmp(&a.0));
        best.into_iter().filter(|(_, document)| is_wanted(*document)).nth(limit - 1).map_or(0.0, |(sum, _)| sum)
    }
}

/// Every concept of the question, in its order.
fn found<'a>(segment: &Segment, postings: &[Listed<'a>], scorer: &Scorer<'_>) -> Vec<Found<'a>> {
    let query = scorer.query();
    let concept = |range: std::ops::Range<usize>| {
        let members = query.members()[range.clone()].iter().zip(&scorer.rarities()[range]);
        let members = members.map(|(member, &rarity)| (*member, rarity, postings[usize::from(member.term)]));
        let members: Vec<_> = members.filter(|(_, _, found)| !found.postings.is_empty()).collect();
        let (mut own, mut other) = (0.0, 0.0_f32);
        for (member, rarity, found) in &members {
            let at_most = segment.part_at_most(found.most, *rarity, scorer);
            if member.is_synonym() {
                other = other.max(at_most);
            } else {
                own += at_most;
            }
        }
        let members = members.into_iter().map(|(member, rarity, found)| (member, rarity, found.postings)).collect();
        Found { members, at_most: own.max(other) }
    };
    query.concepts().map(concept).collect()
}

/// What a concept brings one document, as [`Scorer::score`] counts it.
fn part_of(segment: &Segment, found: &Found<'_>, document: u16, scorer: &Scorer<'_>) -> f32 {
    let (mut own, mut other) = (0.0, 0.0_f32);
    for (member, rarity, postings) in &found.members {
        let Ok(at) = postings.binary_search_by_key(&document, |posting| posting.number()) else { continue };
        let part = segment.part(postings[at], *rarity, scorer);
        if member.is_synonym() {
            other = other.max(part);
        } else {
            own += part;
        }
    }
    own.max(other)
}

/// A document's score, bit for bit.
fn exact(segment: &Segment, found: &[Found<'_>], document: u16, scorer: &Scorer<'_>) -> f32 {
    found.iter().fold(0.0, |sum, found| sum + part_of(segment, found, document, scorer))
}
