//! How well a document answers a question: BM25, one function for everybody.
//!
//! The score depends on the question, the document's own terms and the statistics of the collection, never on where the
//! document was found. It is not a probability and says nothing across questions. It is computed in single precision in a
//! fixed order of operations, so two nodes with equal inputs get equal bits.

use std::ops::Range;

use super::family::{Family, Sought};
use super::sift::Sifted;
use super::synonyms::others;
use super::terms::{STEM_MARK, Terms, counted, push_terms};
use super::words::{Word, each_word};

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
    families: Families,
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

/// A question's own terms while it is read.
#[derive(Default)]
struct Read {
    /// All texts, one after the other.
    text: String,
    /// By concept, then by term; distinct.
    own: Vec<Own>,
}

/// A term of the question itself: places in the text.
struct Own {
    /// What its concept goes by: the stem of its word, or the whole word where it has none.
    key: Range<usize>,
    term: Range<usize>,
}

impl Read {
    /// Stop words are left out, unless `stop_words`.
    fn of(question: &str, stop_words: bool) -> Self {
        let mut read = Self { text: String::with_capacity(2 * question.len() + 8), own: Vec::with_capacity(16) };
        let mut lower = String::new();
        each_word(question, &mut lower, |word| {
            if stop_words || !word.is_stop() {
                read.push(word);
            }
        });
        read
    }

    fn push(&mut self, word: Word<'_>) {
        let mut starts = [0; 2];
        let mut forms = 0;
        push_terms(word, &mut self.text, |_, start| {
            starts[forms] = start;
            forms += 1;
        });
        let end = self.text.len();
        // The last form is the stem.
        let key = starts[forms - 1]..end;
        for at in 0..forms {
            let term = starts[at]..if at + 1 < forms { starts[at + 1] } else { end };
            let order = |own: &Own| {
                let known = (&self.text[own.key.clone()], &self.text[own.term.clone()]);
                known.cmp(&(&self.text[key.clone()], &self.text[term.clone()]))
            };
            if self.own.len() < OWN_TERMS_MAX
                && let Err(place) = self.own.binary_search_by(order)
            {
                self.own.insert(place, Own { key: key.clone(), term });
            }
        }
    }

    fn key(&self, own: &Own) -> &str {
        &self.text[own.key.clone()]
    }

    fn term(&self, own: &Own) -> &str {
        &self.text[own.term.clone()]
    }
}

impl Query {
    /// Reads a question in plain words. Its stop words are dropped, unless it has nothing else.
    pub fn parse(text: &str) -> Self {
        let telling = Read::of(text, false);
        Self::of(&if telling.own.is_empty() { Read::of(text, true) } else { telling })
    }

    /// Whether it tells anything beyond stop words, which documents have only in names and titles.
    pub fn is_telling(text: &str) -> bool {
        !Read::of(text, false).own.is_empty()
    }

    fn of(read: &Read) -> Self {
        let mut own: Vec<&str> = read.own.iter().map(|own| read.term(own)).collect();
        own.sort_unstable();
        own.dedup();
        let concepts = || read.own.chunk_by(|a, b| read.key(a) == read.key(b));
        let (mut terms, mut stand_ins) = (own.clone(), Vec::new());
        for (concept, number) in concepts().zip(0_usize..) {
            for other in others(read.key(&concept[0])) {
                let place = terms.binary_search(&&**other);
                if own.binary_search(&&**other).is_err() && (place.is_ok() || terms.len() < QUERY_TERMS_MAX) {
                    if let Err(place) = place {
                        terms.insert(place, other);
                    }
                    stand_ins.push((number, &**other));
                }
            }
        }
        // At most QUERY_TERMS_MAX terms, each in few concepts.
        let place = |term: &str| terms.binary_search(&term).unwrap_or_default() as u16;
        let mut members = Vec::with_capacity(read.own.len() + stand_ins.len());
        let mut ends = Vec::with_capacity(read.own.len());
        let mut stand_ins = stand_ins.into_iter().peekable();
        for (concept, number) in concepts().zip(0_usize..) {
            let start = members.len();
            members.extend(concept.iter().map(|own| Member { term: place(read.term(own)), stands_for: None }));
            let stem = concept.iter().position(|own| read.term(own) == read.key(own));
            let stem = start + stem.unwrap_or_default();
            while let Some((_, term)) = stand_ins.next_if(|(of, _)| *of == number) {
                members.push(Member { term: place(term), stands_for: Some(stem as u16) });
            }
            ends.push(members.len() as u16);
        }
        let (families, family_of) = families(&terms);
        let terms = terms.into_iter().map(Box::from).collect();
        Self { terms, families, family_of, members: members.into(), ends: ends.into() }
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

/// Families by hash and stem.
type Families = Box<[(u32, Box<str>)]>;

/// The families of these terms, distinct and in order, and that of each term.
fn families(terms: &[&str]) -> (Families, Box<[u16]>) {
    let mut room = String::new();
    let mut stems = String::new();
    let mut placed: Vec<(u32, Range<usize>, u16)> = Vec::with_capacity(terms.len());
    for (term, at) in terms.iter().zip(0u16..) {
        let family = Sought::of(term, &mut room).family;
        let start = stems.len();
        stems.push_str(family.stem);
        placed.push((family.hash, start..stems.len(), at));
    }
    let stem = |stem: &Range<usize>| &stems[stem.clone()];
    placed.sort_unstable_by(|a, b| a.0.cmp(&b.0).then_with(|| stem(&a.1).cmp(stem(&b.1))));
    let mut families: Vec<(u32, Box<str>)> = Vec::with_capacity(placed.len());
    let mut family_of: Box<[u16]> = vec![0; terms.len()].into();
    for (hash, range, at) in placed {
        if families.last().is_none_or(|last| last.0 != hash || *last.1 != *stem(&range)) {
            families.push((hash, stem(&range).into()));
        }
        family_of[usize::from(at)] = (families.len() - 1) as u16;
    }
    (families.into(), family_of)
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

    /// The same of one that was sifted for that query.
    pub fn count_sifted(&mut self, sifted: &Sifted) {
        self.documents += 1;
        self.total_length += counted(sifted.length);
        for (count, term) in self.document_frequency.iter_mut().zip(0..) {
            *count += u64::from(sifted.weight(term) > 0);
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

    pub(super) fn each_part(&self, length: u32, weight: impl Fn(usize) -> u16) -> impl Iterator<Item = f32> {
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
