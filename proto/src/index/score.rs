//! How well a document answers a question: BM25, one function for everybody.
//!
//! The score depends on the question, the document's own terms and the statistics of the collection, never on where the
//! document was found. It is not a probability and says nothing across questions. It is computed in single precision in a
//! fixed order of operations, so two nodes with equal inputs get equal bits.

use std::collections::{BTreeMap, BTreeSet};

use super::family::{Family, Sought};
use super::synonyms::others;
use super::terms::{STEM_MARK, Terms, counted, push_terms};
use super::words::each_word;

/// Further terms of a question are ignored (a word usually gives two: itself and its stem).
pub(super) const OWN_TERMS_MAX: usize = 128;

/// Terms of a question with those that may stand for its own.
pub const QUERY_TERMS_MAX: usize = 256;

/// How fast repeating a term stops to pay. Source: Robertson and Zaragoza 2009, §3.4; per weight of an ordinary field (2).
const K1: f32 = 1.2 * 2.0;

/// How much a long document is held back, 0 to 1. Lower than the usual 0.75: in joint catalogues terse entries of foreign
/// zones crowd out well-described tools otherwise (`benches/README.md`).
const B: f32 = 0.6;

/// What a word that may stand for the question's own counts, of the stem it stands for.
const SYNONYM: f32 = 0.8;

/// The distinct terms of a question, sorted, and which of them belong together.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Query {
    terms: Box<[Box<str>]>,
    /// The families of its terms, distinct, by hash and stem.
    families: Box<[(u32, Box<str>)]>,
    /// The family of each term.
    family_of: Box<[u16]>,
    /// Concept by concept.
    members: Box<[Member]>,
    /// Where each concept ends among the members; it starts where the one before ends.
    ends: Box<[u16]>,
}

/// A term of a concept: one word of the question in all its forms, with the words that may stand for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Member {
    /// Its place among the terms.
    pub(super) term: u16,
    /// For a word that may stand for it, the member whose rarity bounds its own.
    stands_for: Option<u16>,
}

impl Member {
    /// Whether the question says another word.
    pub(super) const fn is_synonym(self) -> bool {
        self.stands_for.is_some()
    }
}

/// A concept's terms while a question is read.
#[derive(Default)]
struct Read {
    own: BTreeSet<Box<str>>,
    others: Vec<Box<str>>,
}

impl Query {
    /// Reads a question in plain words. Its stop words are dropped, unless it has nothing else.
    pub fn parse(text: &str) -> Self {
        let telling = Self::collect(text, false);
        Self::of(if telling.is_empty() { Self::collect(text, true) } else { telling })
    }

    /// Whether it tells anything beyond stop words, which documents have only in names and titles.
    pub fn is_telling(text: &str) -> bool {
        !Self::collect(text, false).is_empty()
    }

    /// The question's own terms by concept: by the stem of their word, or by the whole word where it has none.
    fn collect(text: &str, stop_words: bool) -> BTreeMap<Box<str>, Read> {
        let mut concepts: BTreeMap<Box<str>, Read> = BTreeMap::new();
        let mut count = 0;
        let (mut lower, mut room) = (String::new(), String::new());
        each_word(text, &mut lower, |word| {
            if !stop_words && word.is_stop() {
                return;
            }
            room.clear();
            let mut starts = [0; 2];
            let mut forms = 0;
            push_terms(word, &mut room, |_, start| {
                starts[forms] = start;
                forms += 1;
            });
            // The last form is the stem.
            let key = &room[starts[forms - 1]..];
            let concept = concepts.entry(key.into()).or_default();
            for at in 0..forms {
                let end = if at + 1 < forms { starts[at + 1] } else { room.len() };
                let term = &room[starts[at]..end];
                if count < OWN_TERMS_MAX && !concept.own.contains(term) {
                    concept.own.insert(term.into());
                    count += 1;
                }
            }
        });
        concepts.retain(|_, concept| !concept.own.is_empty());
        concepts
    }

    fn of(mut concepts: BTreeMap<Box<str>, Read>) -> Self {
        let mut terms: BTreeSet<Box<str>> = concepts.values().flat_map(|concept| &concept.own).cloned().collect();
        let own = terms.clone();
        for (key, concept) in &mut concepts {
            for other in key.strip_prefix(STEM_MARK).map_or(&[][..], others) {
                let other: Box<str> = format!("{STEM_MARK}{other}").into();
                let is_known = terms.contains(&other);
                if !own.contains(&other) && (is_known || terms.len() < QUERY_TERMS_MAX) {
                    terms.insert(other.clone());
                    concept.others.push(other);
                }
            }
        }
        let terms: Box<[Box<str>]> = terms.into_iter().collect();
        // At most QUERY_TERMS_MAX terms, each in few concepts.
        let place = |term: &str| terms.binary_search_by(|known| (**known).cmp(term)).unwrap_or_default() as u16;
        let (mut members, mut ends) = (Vec::new(), Vec::new());
        for (key, concept) in &concepts {
            let start = members.len();
            members.extend(concept.own.iter().map(|term| Member { term: place(term), stands_for: None }));
            let stem = start + concept.own.iter().position(|term| term == key).unwrap_or_default();
            let other = |term: &str| Member { term: place(term), stands_for: Some(stem as u16) };
            members.extend(concept.others.iter().map(|term| other(term)));
            ends.push(members.len() as u16);
        }
        let mut room = String::new();
        let mut placed: Vec<(u32, Box<str>, u16)> = Vec::with_capacity(terms.len());
        for (term, at) in terms.iter().zip(0u16..) {
            let family = Sought::of(term, &mut room).family;
            placed.push((family.hash, family.stem.into(), at));
        }
        placed.sort_unstable();
        let mut families: Vec<(u32, Box<str>)> = Vec::with_capacity(placed.len());
        let mut family_of: Box<[u16]> = vec![0; terms.len()].into();
        for (hash, stem, at) in placed {
            if families.last().is_none_or(|last| last.0 != hash || last.1 != stem) {
                families.push((hash, stem));
            }
            family_of[usize::from(at)] = (families.len() - 1) as u16;
        }
        Self { terms, families: families.into(), family_of, members: members.into(), ends: ends.into() }
    }

    /// The families of its terms.
    pub(super) fn families(&self) -> impl ExactSizeIterator<Item = Family<'_>> {
        self.families.iter().map(|(hash, stem)| Family { hash: *hash, stem })
    }

    /// The number of a term's family.
    pub(super) fn family_of(&self, term: usize) -> usize {
        usize::from(self.family_of[term])
    }

    /// A term as it is sought.
    pub(super) fn sought(&self, term: usize) -> Sought<'_> {
        let (hash, stem) = &self.families[self.family_of(term)];
        let text = &*self.terms[term];
        Sought { family: Family { hash: *hash, stem }, word: (!text.starts_with(STEM_MARK)).then_some(text) }
    }

    /// The terms, sorted; what [`Stats::document_frequency`] is parallel to.
    pub fn terms(&self) -> &[Box<str>] {
        &self.terms
    }

    /// Whether nothing can be sought with it.
    pub fn is_empty(&self) -> bool {
        self.terms.is_empty()
    }

    /// How many terms are the question's own.
    pub(super) fn own_terms(&self) -> usize {
        self.members.iter().filter(|member| !member.is_synonym()).count()
    }

    /// The concepts: of each, where its members are.
    pub(super) fn concepts(&self) -> impl ExactSizeIterator<Item = std::ops::Range<usize>> {
        let start = |at: usize| at.checked_sub(1).map_or(0, |before| self.ends[before]);
        self.ends.iter().enumerate().map(move |(at, end)| usize::from(start(at))..usize::from(*end))
    }

    /// How much of a stem it says: all of its own, half of one that may stand for another.
    pub(super) fn says_stem(&self, stem: &str) -> f32 {
        let Ok(at) = self.terms.binary_search_by(|term| (**term).cmp(stem)) else { return 0.0 };
        let is_own = |member: &Member| usize::from(member.term) == at && !member.is_synonym();
        if self.members.iter().any(is_own) { 1.0 } else { 0.5 }
    }

    /// A word for each concept, as the question says it.
    pub fn words(&self) -> Vec<&str> {
        let word = |members: std::ops::Range<usize>| {
            let mut own = self.members[members].iter().filter(|member| !member.is_synonym());
            let first = own.next().map_or("", |member| &*self.terms[usize::from(member.term)]);
            first.trim_start_matches(STEM_MARK)
        };
        self.concepts().map(word).collect()
    }

    /// The members of all concepts.
    pub(super) fn members(&self) -> &[Member] {
        &self.members
    }
}

/// What a collection says about a question's terms. Adding the statistics of disjoint collections gives those of their union.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Stats {
    /// Documents in the collection.
    pub documents: u64,
    /// The sum of the documents' lengths, long ones cut.
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
        self.total_length += counted(terms.length());
        for (count, term) in self.document_frequency.iter_mut().zip(0..query.terms.len()) {
            *count += u64::from(terms.weight(query.sought(term)) > 0);
        }
    }

    /// The same of a question that is a part of `whole`, of which these are. A term that is not in the whole has a count of all.
    pub(super) fn of_part(&self, whole: &Query, part: &Query) -> Self {
        let count = |term: &str| {
            let at = whole.terms.binary_search_by(|known| (**known).cmp(term)).ok()?;
            Some(self.document_frequency.get(at).copied().unwrap_or(0))
        };
        let document_frequency = part.terms.iter().map(|term| count(term).unwrap_or(self.documents)).collect();
        Self { document_frequency, ..*self }
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
    /// Parallel to the query's members.
    rarities: Vec<f32>,
    /// What a document's length adds to the saturation, per unit.
    slope: f32,
}

impl<'q> Scorer<'q> {
    /// Prepares the weight of every term of `query` in a collection.
    pub fn new(query: &'q Query, stats: &Stats) -> Self {
        let average = (stats.total_length as f64 / stats.documents.max(1) as f64).max(1.0) as f32;
        let rarity = |term: u16| {
            let frequency = stats.document_frequency.get(usize::from(term)).copied().unwrap_or(0);
            inverse_frequency(stats.documents, frequency)
        };
        let worth = |member: &Member| match member.stands_for {
            None => rarity(member.term),
            // A rare word that may stand for a common one tells no more than that.
            Some(own) => SYNONYM * rarity(member.term).min(rarity(query.members[usize::from(own)].term)),
        };
        Self { query, rarities: query.members.iter().map(worth).collect(), slope: K1 * B / average }
    }

    /// How well the document answers; 0 exactly where no term of the query occurs.
    pub fn score(&self, terms: &Terms) -> f32 {
        self.score_by(terms.length(), |term| terms.weight(self.query.sought(term)))
    }

    /// The same of a document of which the length is known, and the weight of each of the query's terms.
    pub(super) fn score_by(&self, length: u32, weight: impl Fn(usize) -> u16) -> f32 {
        self.each_part(length, weight).fold(0.0, |sum, part| sum + part)
    }

    /// What each concept adds to the score of a document, in order; 0 where it has none of its words. The score is their sum.
    pub fn parts(&self, terms: &Terms) -> Box<[f32]> {
        self.each_part(terms.length(), |term| terms.weight(self.query.sought(term))).collect()
    }

    /// What each concept can bring at most.
    pub fn worths(&self) -> Vec<f64> {
        let worth = |members: std::ops::Range<usize>| {
            let own = self.query.members[members.clone()].iter().zip(&self.rarities[members]);
            own.filter(|(member, _)| !member.is_synonym()).map(|(_, rarity)| f64::from(*rarity)).sum()
        };
        self.query.concepts().map(worth).collect()
    }

    fn each_part(&self, length: u32, weight: impl Fn(usize) -> u16) -> impl Iterator<Item = f32> {
        let saturation = self.saturation(length);
        self.query.concepts().map(move |members| {
            let (mut own, mut other) = (0.0, 0.0_f32);
            for (member, &rarity) in self.query.members[members.clone()].iter().zip(&self.rarities[members]) {
                let weight = weight(usize::from(member.term));
                if weight > 0 {
                    let part = part(rarity, weight, saturation);
                    if member.is_synonym() {
                        other = other.max(part);
                    } else {
                        own += part;
                    }
                }
            }
            own.max(other)
        })
    }

    /// What no document can reach: every term of the query, as strong as can be. Above 0 for every query that has terms.
    pub fn ceiling(&self) -> f32 {
        let own = self.query.members.iter().zip(&self.rarities).filter(|(member, _)| !member.is_synonym());
        own.map(|(_, rarity)| rarity * (K1 + 1.0)).sum()
    }

    /// The question.
    pub(super) fn query(&self) -> &'q Query {
        self.query
    }

    /// What each of the query's members is worth, parallel to them.
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
