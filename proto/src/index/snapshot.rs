//! The index as readers see it: immutable, shared, searched by many threads at once without a lock.
//!
//! A snapshot holds references to segments, the last of them of the few documents that wait to be sealed; it copies no postings. It never
//! changes: a reader that holds one across several questions gets answers of one moment.

use std::cmp::Reverse;
use std::sync::Arc;

use super::DocId;
use super::prune::{Best, Room};
use super::removed::Removed;
use super::score::{Query, Scorer, Stats};
use super::segment::{LookedUp, Segment};
use super::sift::Sifted;
use super::terms::{STEM_MARK, counted};

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
        let mut marked = String::from(STEM_MARK);
        for part in &self.parts {
            part.segment.each_term(|term, is_stem| {
                if is_stem {
                    marked.truncate(STEM_MARK.len_utf8());
                    marked.push_str(term);
                }
                each(if is_stem { &marked } else { term });
            });
        }
    }

    /// No fewer terms than there are.
    pub(super) fn terms_at_most(&self) -> usize {
        self.parts.iter().map(|part| part.segment.terms_at_most()).sum()
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
            let looked_up = part.segment.look_up(query);
            for (term, count) in stats.document_frequency.iter_mut().enumerate() {
                let listed = part.segment.sought(query, &looked_up, term);
                *count += listed.map_or(0, |(listed, place)| listed.count(place, |at| passes[usize::from(at)]));
            }
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
        self.rank(&scorer, &postings, limit, filter).bare()
    }

    /// The same with what the query finds in each document, and with the statistics it is scored with: those given, or else this
    /// collection's own.
    pub fn find(
        &self,
        query: &Query,
        stats: Option<Stats>,
        limit: usize,
        filter: &dyn Fn(DocId) -> bool,
    ) -> (Stats, Vec<(DocId, f32, Sifted)>) {
        let postings = self.look_up(query);
        let stats = stats.unwrap_or_else(|| self.stats_of(query, &postings));
        let found = self.rank(&Scorer::new(query, &stats), &postings, limit, filter);
        (stats, found.sifted(query.terms().len()))
    }

    /// As [`search`](Self::search), scored with statistics of a wider collection.
    pub fn search_with(
        &self,
        query: &Query,
        stats: &Stats,
        limit: usize,
        filter: &dyn Fn(DocId) -> bool,
    ) -> Vec<(DocId, f32)> {
        self.rank(&Scorer::new(query, stats), &self.look_up(query), limit, filter).bare()
    }

    /// What every part has of the query, which both statistics and ranking read.
    fn look_up(&self, query: &Query) -> Vec<LookedUp> {
        self.parts.iter().map(|part| part.segment.look_up(query)).collect()
    }

    fn stats_of(&self, query: &Query, looked_up: &[LookedUp]) -> Stats {
        let in_part = |term: usize, part: &Part, looked_up: &LookedUp| {
            if part.removed.count() == 0 {
                return part.segment.count(query, looked_up, term);
            }
            let listed = part.segment.sought(query, looked_up, term);
            listed.map_or(0, |(listed, place)| listed.count(place, |document| !part.removed.contains(document)))
        };
        let of_term =
            |term| self.parts.iter().zip(looked_up).map(|(part, looked_up)| in_part(term, part, looked_up)).sum();
        Stats {
            documents: self.documents as u64,
            total_length: self.total_length,
            document_frequency: (0..query.terms().len()).map(of_term).collect(),
        }
    }

    fn rank(
        &self,
        scorer: &Scorer<'_>,
        looked_up: &[LookedUp],
        limit: usize,
        filter: &dyn Fn(DocId) -> bool,
    ) -> Ranked {
        if limit == 0 {
            return Ranked::default();
        }
        // The largest first: the more documents were looked at, the fewer of the others come near the best.
        let mut order: Vec<usize> = (0..self.parts.len()).collect();
        order.sort_by_key(|part| Reverse(self.parts[*part].segment.len()));
        let largest = order.first().map_or(0, |part| self.parts[*part].segment.len());
        let mut best = Best::new(limit);
        Room::lend(largest, |room| {
            for &number in &order {
                let part = &self.parts[number];
                let is_wanted = |document| !part.removed.contains(document) && filter(part.segment.id(document));
                room.search((number, &part.segment), &looked_up[number], scorer, &mut best, &is_wanted);
            }
        });
        let terms = scorer.query().terms().len();
        let mut ranked = Ranked::default();
        for (number, document) in best.into_found() {
            let segment = &self.parts[number].segment;
            let (from, length) = (ranked.weights.len(), segment.length(document));
            segment.weights(scorer.query(), &looked_up[number], document, &mut ranked.weights);
            let weights = &ranked.weights[from..];
            let score = scorer.score_by(length, |term| weights[term]);
            if score > 0.0 {
                ranked.hits.push(Hit { id: segment.id(document), score, length, weights: from / terms });
            }
        }
        let hits = &mut ranked.hits;
        hits.sort_unstable_by(|a, b| b.score.total_cmp(&a.score).then(a.id.cmp(&b.id)));
        if let Some(last) = hits.get(limit - 1).map(|hit| hit.score) {
            hits.retain(|hit| hit.score >= last);
        }
        ranked
    }
}

/// Documents in their order.
#[derive(Debug, Default)]
struct Ranked {
    hits: Vec<Hit>,
    /// Of one document after the other, the weight of each term.
    weights: Vec<u16>,
}

#[derive(Debug, Clone, Copy)]
struct Hit {
    id: DocId,
    score: f32,
    length: u32,
    /// Whose place among the weights it has.
    weights: usize,
}

impl Ranked {
    fn bare(self) -> Vec<(DocId, f32)> {
        self.hits.into_iter().map(|hit| (hit.id, hit.score)).collect()
    }

    fn sifted(&self, terms: usize) -> Vec<(DocId, f32, Sifted)> {
        let sifted = |hit: &Hit| {
            let weights = self.weights[hit.weights * terms..][..terms].into();
            (hit.id, hit.score, Sifted { length: hit.length, weights })
        };
        self.hits.iter().map(sifted).collect()
    }
}
