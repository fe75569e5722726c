//! The index as readers see it: immutable, shared, searched by many threads at once without a lock.
//!
//! A snapshot holds references to segments and to the few documents not yet in one; it copies no postings. It never changes: a
//! reader that holds one across several questions gets answers of one moment.

use std::sync::Arc;

use super::DocId;
use super::prune::Room;
use super::score::{Query, Scorer, Stats};
use super::segment::{Listed, Removed, Segment};
use super::terms::{Terms, counted};

/// A segment and what was removed from it.
#[derive(Debug, Clone)]
pub(super) struct Part {
    pub(super) segment: Arc<Segment>,
    pub(super) removed: Arc<Removed>,
}

/// One moment of an [`Index`](super::Index).
#[derive(Debug, Clone, Default)]
pub struct IndexSnapshot {
    pub(super) parts: Vec<Part>,
    pub(super) tail: Vec<(DocId, Arc<Terms>)>,
    pub(super) documents: usize,
    pub(super) total_length: u64,
}

impl IndexSnapshot {
    /// The number of documents.
    pub fn len(&self) -> usize {
        self.documents
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.documents == 0
    }

    /// The sum of the documents' lengths, long ones cut.
    pub const fn total_length(&self) -> u64 {
        self.total_length
    }

    /// Every term at least once. Those of removed documents may be among them until their segment is merged.
    pub(super) fn each_term(&self, mut each: impl FnMut(&str)) {
        for part in &self.parts {
            part.segment.each_term(&mut each);
        }
        self.tail.iter().flat_map(|(_, terms)| terms.iter()).for_each(|(term, _)| each(term));
    }

    /// No fewer terms than there are.
    pub(super) fn terms_at_most(&self) -> usize {
        let tail = self.tail.iter().map(|(_, terms)| terms.len()).sum::<usize>();
        self.parts.iter().map(|part| part.segment.terms()).sum::<usize>() + tail
    }

    /// This collection's statistics of the query's terms; exact, removed documents are counted nowhere.
    pub fn stats(&self, query: &Query) -> Stats {
        self.stats_of(query, &self.look_up(query))
    }

    /// The same of those documents only that `filter` lets pass, as if there were no others. Looks at every document.
    pub fn stats_among(&self, query: &Query, filter: &dyn Fn(DocId) -> bool) -> Stats {
        let mut stats = Stats::none(query);
        for part in &self.parts {
            let passes: Vec<bool> = (0..part.segment.len())
                .map(|number| number as u16)
                .map(|document| !part.removed.contains(document) && filter(part.segment.id(document)))
                .collect();
            for (&passes, document) in passes.iter().zip(0u16..) {
                stats.documents += u64::from(passes);
                stats.total_length += if passes { counted(part.segment.length(document)) } else { 0 };
            }
            for (count, postings) in stats.document_frequency.iter_mut().zip(part.segment.look_up(query)) {
                *count += postings.postings.iter().filter(|posting| passes[posting.document()]).count() as u64;
            }
        }
        for (_, terms) in self.tail.iter().filter(|(id, _)| filter(*id)) {
            stats.count(query, terms);
        }
        stats
    }

    /// The best `limit` documents among those that `filter` lets pass, scored with this collection's own statistics.
    ///
    /// Best first, equal scores by document number. Every document that ties with the last one is returned too, so that the
    /// caller can cut by something that means the same on every node.
    pub fn search(&self, query: &Query, limit: usize, filter: &dyn Fn(DocId) -> bool) -> Vec<(DocId, f32)> {
        let postings = self.look_up(query);
        let scorer = Scorer::new(query, &self.stats_of(query, &postings));
        self.rank(&scorer, &postings, limit, filter)
    }

    /// As [`search`](Self::search), scored with statistics of a wider collection.
    pub fn search_with(
        &self,
        query: &Query,
        stats: &Stats,
        limit: usize,
        filter: &dyn Fn(DocId) -> bool,
    ) -> Vec<(DocId, f32)> {
        self.rank(&Scorer::new(query, stats), &self.look_up(query), limit, filter)
    }

    /// The postings of every part, which both statistics and ranking read.
    fn look_up(&self, query: &Query) -> Vec<Vec<Listed<'_>>> {
        self.parts.iter().map(|part| part.segment.look_up(query)).collect()
    }

    fn stats_of(&self, query: &Query, postings: &[Vec<Listed<'_>>]) -> Stats {
        let frequency = |at: usize| {
            let sealed =
                self.parts.iter().zip(postings).map(|(part, postings)| part.removed.count_live(postings[at].postings));
            let tail = self.tail.iter().filter(|(_, terms)| terms.weight(&query.terms()[at]) > 0).count() as u64;
            sealed.sum::<u64>() + tail
        };
        Stats {
            documents: self.documents as u64,
            total_length: self.total_length,
            document_frequency: (0..query.terms().len()).map(frequency).collect(),
        }
    }

    fn rank(
        &self,
        scorer: &Scorer<'_>,
        postings: &[Vec<Listed<'_>>],
        limit: usize,
        filter: &dyn Fn(DocId) -> bool,
    ) -> Vec<(DocId, f32)> {
        let mut best = Best::new(limit);
        let largest = self.parts.iter().map(|part| part.segment.len()).max().unwrap_or(0);
        Room::lend(largest, |room| {
            for (part, postings) in self.parts.iter().zip(postings) {
                let is_wanted = |document| !part.removed.contains(document) && filter(part.segment.id(document));
                room.search((&part.segment, postings), scorer, (limit, best.bar), &is_wanted, |document, score| {
                    if best.wants(score) {
                        best.push(part.segment.id(document), score);
                    }
                });
                best.raise_bar();
            }
        });
        for (id, terms) in &self.tail {
            let score = scorer.score(terms);
            if best.wants(score) && filter(*id) {
                best.push(*id, score);
            }
        }
        best.into_sorted()
    }
}

/// The best so far, and everything that ties with the last of them.
struct Best {
    limit: usize,
    /// Scores below are of no interest; rises as better ones come in.
    bar: f32,
    found: Vec<(DocId, f32)>,
    /// How many to collect before looking for a higher bar.
    full: usize,
}

impl Best {
    fn new(limit: usize) -> Self {
        Self { limit, bar: 0.0, found: Vec::new(), full: Self::room(limit) }
    }

    /// Twice what must be kept, so that raising the bar costs each candidate a constant.
    fn room(kept: usize) -> usize {
        kept.saturating_mul(2).saturating_add(64)
    }

    fn wants(&self, score: f32) -> bool {
        score > 0.0 && score >= self.bar && self.limit > 0
    }

    fn push(&mut self, id: DocId, score: f32) {
        self.found.push((id, score));
        if self.found.len() >= self.full {
            self.raise_bar();
        }
    }

    fn raise_bar(&mut self) {
        if self.found.len() > self.limit && self.limit > 0 {
            let (_, last, _) = self.found.select_nth_unstable_by(self.limit - 1, |a, b| b.1.total_cmp(&a.1));
            self.bar = last.1;
            let bar = self.bar;
            self.found.retain(|&(_, score)| score >= bar);
        }
        self.full = Self::room(self.found.len());
    }

    fn into_sorted(mut self) -> Vec<(DocId, f32)> {
        self.raise_bar();
        self.found.sort_unstable_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        self.found
    }
}
