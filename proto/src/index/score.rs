//! How well a document answers a question: BM25, one function for everybody.
//!
//! The score depends on the question, the document's own terms and the statistics of the collection, never on where the
//! document was found. It is not a probability and says nothing across questions. It is computed in single precision in a
//! fixed order of operations, so two nodes with equal inputs get equal bits.

use std::collections::BTreeSet;

use super::terms::{Terms, push_terms};
use super::words::each_word;

/// Further terms of a question are ignored (a word usually gives two: itself and its stem).
pub const QUERY_TERMS_MAX: usize = 128;

/// How fast repeating a term stops to pay. Source: Robertson and Zaragoza 2009, §3.4; per weight of an ordinary field (2).
const K1: f32 = 1.2 * 2.0;

/// How much a long document is held back, 0 to 1. Lower than the usual 0.75: in joint catalogues terse entries of foreign
/// zones crowd out well-described tools otherwise (`benches/README.md`).
const B: f32 = 0.6;

/// The distinct terms of a question, sorted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Query {
    terms: Box<[Box<str>]>,
}

impl Query {
    /// Reads a question in plain words. Its stop words are dropped, unless it has nothing else.
    pub fn parse(text: &str) -> Self {
        let telling = Self::collect(text, false);
        Self { terms: if telling.is_empty() { Self::collect(text, true) } else { telling } }
    }

    /// Whether it tells anything beyond stop words, which documents have only in names and titles.
    pub fn is_telling(text: &str) -> bool {
        !Self::collect(text, false).is_empty()
    }

    fn collect(text: &str, stop_words: bool) -> Box<[Box<str>]> {
        let mut terms: BTreeSet<Box<str>> = BTreeSet::new();
        let (mut lower, mut room) = (String::new(), String::new());
        each_word(text, &mut lower, |word| {
            if stop_words || !word.is_stop() {
                push_terms(word, &mut room, |term, _| {
                    if terms.len() < QUERY_TERMS_MAX && !terms.contains(term) {
                        terms.insert(term.into());
                    }
                });
            }
        });
        terms.into_iter().collect()
    }

    /// The terms, sorted; what [`Stats::document_frequency`] is parallel to.
    pub fn terms(&self) -> &[Box<str>] {
        &self.terms
    }

    /// Whether nothing can be sought with it.
    pub fn is_empty(&self) -> bool {
        self.terms.is_empty()
    }
}

/// What a collection says about a question's terms. Adding the statistics of disjoint collections gives those of their union.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Stats {
    /// Documents in the collection.
    pub documents: u64,
    /// The sum of the documents' lengths.
    pub total_length: u64,
    /// How many documents have each of the query's terms.
    pub document_frequency: Vec<u64>,
}

impl Stats {
    /// Those of no documents, which have a place for each of the query's terms.
    pub fn none(query: &Query) -> Self {
        Self { document_frequency: vec![0; query.terms().len()], ..Self::default() }
    }

    /// Adds one document to statistics of that query.
    pub fn count(&mut self, query: &Query, terms: &Terms) {
        self.documents += 1;
        self.total_length += u64::from(terms.length());
        for (count, term) in self.document_frequency.iter_mut().zip(query.terms()) {
            *count += u64::from(terms.weight(term) > 0);
        }
    }

    /// Adds another collection's statistics of the same query. Absurd numbers of a peer saturate; missing ones count as 0.
    pub fn merge(&mut self, other: &Self) {
        self.documents = self.documents.saturating_add(other.documents);
        self.total_length = self.total_length.saturating_add(other.total_length);
        if self.document_frequency.len() < other.document_frequency.len() {
            self.document_frequency.resize(other.document_frequency.len(), 0);
        }
        for (sum, more) in self.document_frequency.iter_mut().zip(&other.document_frequency) {
            *sum = sum.saturating_add(*more);
        }
    }
}

/// A question made ready against a collection's statistics: score many documents with it.
#[derive(Debug, Clone)]
pub struct Scorer<'q> {
    query: &'q Query,
    /// Parallel to the query's terms.
    rarities: Vec<f32>,
    /// What a document's length adds to the saturation, per unit.
    slope: f32,
}

impl<'q> Scorer<'q> {
    /// Prepares the weight of every term of `query` in a collection.
    pub fn new(query: &'q Query, stats: &Stats) -> Self {
        let average = (stats.total_length as f64 / stats.documents.max(1) as f64).max(1.0) as f32;
        let frequency = |at: usize| stats.document_frequency.get(at).copied().unwrap_or(0);
        let rarities = (0..query.terms.len()).map(|at| inverse_frequency(stats.documents, frequency(at))).collect();
        Self { query, rarities, slope: K1 * B / average }
    }

    /// How well the document answers; 0 exactly where no term of the query occurs.
    pub fn score(&self, terms: &Terms) -> f32 {
        let saturation = self.saturation(terms.length());
        let mut sum = 0.0;
        for (term, &rarity) in self.query.terms.iter().zip(&self.rarities) {
            let weight = terms.weight(term);
            if weight > 0 {
                sum += part(rarity, weight, saturation);
            }
        }
        sum
    }

    /// What no document can reach: every term of the query, as strong as can be. Above 0 for every query that has terms.
    pub fn ceiling(&self) -> f32 {
        self.rarities.iter().map(|rarity| rarity * (K1 + 1.0)).sum()
    }

    /// What each of the query's terms is worth, parallel to them.
    pub(super) fn rarities(&self) -> &[f32] {
        &self.rarities
    }

    /// The weight at which a term of a document of this length has brought half of what it can.
    pub(super) fn saturation(&self, length: u32) -> f32 {
        K1 * (1.0 - B) + self.slope * length as f32
    }
}

/// What one term adds to a document's score. Source: Robertson and Zaragoza 2009, eq. 3.15.
pub(super) fn part(rarity: f32, weight: u16, saturation: f32) -> f32 {
    let weight = f32::from(weight);
    rarity * (weight * (K1 + 1.0) / (weight + saturation))
}

/// ln(1 + (N - n + ½) / (n + ½)): always positive, so every matching term helps. More documents with a term than documents
/// is a peer's nonsense and read as "all of them".
fn inverse_frequency(documents: u64, frequency: u64) -> f32 {
    let without = documents.saturating_sub(frequency) as f64;
    ((without + 0.5) / (frequency as f64 + 0.5)).ln_1p() as f32
}

/// The score of one document; [`IndexSnapshot::search`](super::IndexSnapshot::search) gives bit for bit the same.
pub fn score(query: &Query, terms: &Terms, stats: &Stats) -> f32 {
    Scorer::new(query, stats).score(terms)
}
