//! An immutable run of documents turned inside out: for every family of words, the documents that have one of them.
//!
//! Segments are sealed from a handful of fresh documents, and merged from several older segments in steps whose size the caller
//! chooses. They know nothing of removals: the documents removed from a segment are marked beside it ([`Removed`]).
//! Within a segment documents are numbered from 0; those numbers never leave this directory.
//!
//! Most documents of a family have one word of it and the stem with the same weight: these *singles* take three bytes, a number and a code,
//! and those of great weight lie apart from those of little, so that a search can often do without the latter. All others have a *mixed*
//! posting of four bytes for each term.

use std::sync::Arc;

use super::DocId;
use super::family::{Family, Sought};
use super::removed::Removed;
use super::score::Query;
use super::terms::{Held, Terms};

/// Documents of one segment: their numbers fit 16 bits.
pub(super) const SEGMENT_DOCUMENTS_MAX: usize = u16::MAX as usize;

/// Postings and bytes of term text of one segment: their offsets fit 32 bits.
const SEGMENT_POSTINGS_MAX: usize = 1 << 26;
const SEGMENT_TEXT_MAX: usize = 1 << 30;

/// Words of a family that a code can name; documents with further ones are mixed.
pub(super) const CODED_WORDS: usize = 16;

/// Singles lie in layers: of which weights each is at most but the last, where all others are.
const LAYERS_MOST: [u8; LAYERS - 1] = [2, 4];
pub(super) const LAYERS: usize = 3;

/// Families that share an entry of the directory, about.
const FAMILIES_PER_ENTRY: usize = 4;

#[derive(Debug, Default)]
pub(super) struct Segment {
    pub(super) documents: Vec<DocId>,
    pub(super) lengths: Vec<u32>,
    /// The numbers of the documents, ordered by id.
    by_id: Vec<u16>,
    /// The least of the lengths.
    shortest: u32,
    /// All terms, one after the other.
    text: String,
    /// Of each family its stem, then its words; one that is the stem has no text.
    terms: Vec<Term>,
    /// In order.
    families: Vec<Entry>,
    /// Where the families begin whose hashes begin with a number.
    directory: Vec<u32>,
    layers: [Layer; LAYERS],
    mixed: Vec<Mixed>,
}

/// Documents with one word of a family, and which: see [`Singles`].
#[derive(Debug, Default)]
struct Layer {
    documents: Vec<u16>,
    codes: Vec<u8>,
}

#[derive(Debug, Clone, Copy)]
struct Term {
    text_end: u32,
    /// How many documents have it.
    documents: u16,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    hash: u32,
    terms_end: u32,
    layer_ends: [u32; LAYERS],
    mixed_end: u32,
    /// The greatest weight.
    most: u8,
}

impl Entry {
    /// What stands before the first.
    const FIRST: Self = Self { hash: 0, terms_end: 0, layer_ends: [0; LAYERS], mixed_end: 0, most: 0 };
}

/// One document that has a term.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Mixed {
    pub(super) document: u16,
    /// Its place in its family: 0 for the stem.
    pub(super) term: u8,
    pub(super) weight: u8,
}

/// Documents that have one word of a family, and the stem with the same weight.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Singles<'a> {
    /// In order.
    pub(super) documents: &'a [u16],
    /// Parallel to them: the number of the word, from 0, times 16, and the weight less 1.
    pub(super) codes: &'a [u8],
}

/// The documents of a family.
#[derive(Debug, Clone, Copy)]
pub(super) struct Listed<'a> {
    pub(super) layers: [Singles<'a>; LAYERS],
    /// All others, in order.
    pub(super) mixed: &'a [Mixed],
    most: u8,
}

/// What one document has of a family.
#[derive(Debug, Clone, Copy)]
pub(super) enum Of<'a> {
    /// One word, and the stem with the same weight.
    One { word: u8, weight: u8 },
    /// A posting for each term; none where it has nothing.
    Mixed(&'a [Mixed]),
}

/// Where a segment has what a query seeks.
#[derive(Debug)]
pub(super) struct LookedUp {
    /// Parallel to the query's families: the place in the segment.
    pub(super) families: Vec<Option<u32>>,
    /// Parallel to its terms: the place in its family.
    pub(super) places: Vec<Option<u8>>,
}

/// What a code says: the word's place in the family and the weight.
const fn decode(code: u8) -> (u8, u8) {
    ((code >> 4) + 1, (code & 15) + 1)
}

impl Singles<'_> {
    /// The word's place in the family and the weight, of every document.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u16, (u8, u8))> {
        self.documents.iter().zip(self.codes).map(|(document, code)| (*document, decode(*code)))
    }

    pub(super) fn find(&self, document: u16) -> Option<(u8, u8)> {
        self.documents.binary_search(&document).ok().map(|at| decode(self.codes[at]))
    }
}

impl Of<'_> {
    /// The weight of a term of the family, by its place.
    pub(super) fn weight(self, term: u8) -> u8 {
        match self {
            Self::One { word, weight } if term == 0 || term == word => weight,
            Self::One { .. } => 0,
            Self::Mixed(mixed) => mixed.iter().find(|posting| posting.term == term).map_or(0, |posting| posting.weight),
        }
    }
}

impl<'a> Listed<'a> {
    /// The greatest weight in a layer, at most; in the last, of mixed postings too.
    pub(super) fn most(&self, layer: usize) -> u8 {
        LAYERS_MOST.get(layer).map_or(self.most, |most| self.most.min(*most))
    }

    /// What a document has of the family.
    pub(super) fn of(&self, document: u16) -> Of<'a> {
        let single = self.layers.iter().find_map(|singles| singles.find(document));
        single.map_or_else(|| Of::Mixed(self.mixed_of(document)), |(word, weight)| Of::One { word, weight })
    }

    /// The mixed postings of a document.
    pub(super) fn mixed_of(&self, document: u16) -> &'a [Mixed] {
        let first = self.mixed.partition_point(|posting| posting.document < document);
        let count = self.mixed[first..].iter().take_while(|posting| posting.document == document).count();
        &self.mixed[first..first + count]
    }

    /// How many documents have a term, of those that `counts` says count.
    pub(super) fn count(&self, term: u8, counts: impl Fn(u16) -> bool) -> u64 {
        let has = |(document, (word, _)): &(u16, (u8, u8))| (term == 0 || *word == term) && counts(*document);
        let singles: usize = self.layers.iter().map(|singles| singles.iter().filter(has).count()).sum();
        let mixed = self.mixed.iter().filter(|posting| posting.term == term && counts(posting.document));
        (singles + mixed.count()) as u64
    }

    /// About how many postings there are.
    pub(super) fn postings(&self) -> usize {
        self.layers.iter().map(|singles| singles.documents.len()).sum::<usize>() + self.mixed.len()
    }
}

impl Segment {
    /// Turns fresh documents into a segment.
    pub(super) fn seal(fresh: &[(DocId, Arc<Terms>)]) -> Self {
        debug_assert!(fresh.len() <= SEGMENT_DOCUMENTS_MAX);
        let mut held = Vec::with_capacity(fresh.iter().map(|(_, terms)| terms.len()).sum());
        let mut segment = Self::default();
        for ((id, terms), document) in fresh.iter().zip(0u16..) {
            segment.documents.push(*id);
            segment.lengths.push(terms.length());
            held.extend(terms.families().map(|(at, family)| (family.hash, document, at)));
        }
        held.sort_unstable();
        let find = |&(_, document, at): &(u32, u16, u16)| fresh[usize::from(document)].1.held(at);
        for run in held.chunk_by_mut(|a, b| a.0 == b.0) {
            // Nearly always one stem.
            run.sort_by(|a, b| find(a).family().cmp(&find(b).family()));
            for family in run.chunk_by(|a, b| find(a).family() == find(b).family()) {
                segment.open(find(&family[0]).family());
                for one in family {
                    segment.push(one.1, find(one));
                }
                segment.close(find(&family[0]).family().hash);
            }
        }
        segment.finish();
        segment
    }

    pub(super) fn len(&self) -> usize {
        self.documents.len()
    }

    /// Every term, and whether it is a stem: these without their mark.
    pub(super) fn each_term(&self, mut each: impl FnMut(&str, bool)) {
        for at in 0..self.families.len() {
            let (first, end) = self.terms_at(at);
            if self.terms[first].documents > 0 {
                each(self.term(first), true);
            }
            (first + 1..end).for_each(|term| each(self.word(first, term), false));
        }
    }

    /// No fewer terms than there are.
    pub(super) const fn terms_at_most(&self) -> usize {
        self.terms.len()
    }

    pub(super) fn id(&self, document: u16) -> DocId {
        self.documents[usize::from(document)]
    }

    pub(super) fn length(&self, document: u16) -> u32 {
        self.lengths[usize::from(document)]
    }

    pub(super) const fn shortest(&self) -> u32 {
        self.shortest
    }

    /// The number of a document, whether removed or not.
    pub(super) fn find(&self, id: DocId) -> Option<u16> {
        let at = self.by_id.binary_search_by_key(&id, |&document| self.id(document)).ok()?;
        Some(self.by_id[at])
    }

    /// What it has of the query's terms.
    pub(super) fn look_up(&self, query: &Query) -> LookedUp {
        let families: Vec<Option<u32>> = query.families().map(|family| self.find_family(family)).collect();
        let place = |term| {
            let Sought { family, word } = query.sought(term);
            let (first, end) = self.terms_at(families[query.family_of(term)]? as usize);
            let Some(word) = word else { return Some(0) };
            let is_word = |at: &usize| match self.term(*at) {
                "" => word == family.stem,
                own => word == own,
            };
            // A stem has a few dozen words at most: all that end in one of the stemmer's endings.
            (first + 1..end).find(is_word).map(|term| (term - first) as u8)
        };
        LookedUp { places: (0..query.terms().len()).map(place).collect(), families }
    }

    /// The documents of the family of one of the query's terms, and the term's place in it.
    pub(super) fn sought(&self, query: &Query, looked_up: &LookedUp, term: usize) -> Option<(Listed<'_>, u8)> {
        let family = looked_up.families[query.family_of(term)]?;
        Some((self.listed(family as usize), looked_up.places[term]?))
    }

    /// Puts the weight of each of the query's terms in a document after those that are there.
    pub(super) fn weights(&self, query: &Query, looked_up: &LookedUp, document: u16, weights: &mut Vec<u16>) {
        let of = |family: &Option<u32>| family.map(|family| self.listed(family as usize).of(document));
        let of: Vec<Option<Of<'_>>> = looked_up.families.iter().map(of).collect();
        let weight = |(term, place): (usize, &Option<u8>)| {
            let (of, place) = (of[query.family_of(term)]?, (*place)?);
            Some(u16::from(of.weight(place)))
        };
        weights.extend(looked_up.places.iter().enumerate().map(|place| weight(place).unwrap_or(0)));
    }

    /// How many documents have one of the query's terms, removed ones among them.
    pub(super) fn count(&self, query: &Query, looked_up: &LookedUp, term: usize) -> u64 {
        let (family, place) = (looked_up.families[query.family_of(term)], looked_up.places[term]);
        family.zip(place).map_or(0, |(family, place)| {
            u64::from(self.terms[self.terms_at(family as usize).0 + usize::from(place)].documents)
        })
    }

    fn find_family(&self, family: Family<'_>) -> Option<u32> {
        let bits = self.directory.len().checked_sub(1)?.ilog2();
        let entry = (u64::from(family.hash) << bits >> 32) as usize;
        let (start, end) = (self.directory[entry] as usize, self.directory[entry + 1] as usize);
        let mut families = start..end;
        if families.len() > 2 * FAMILIES_PER_ENTRY {
            let before = self.families[families.clone()].partition_point(|entry| entry.hash < family.hash);
            families.start += before;
        }
        families
            .skip_while(|at| self.families[*at].hash < family.hash)
            .take_while(|at| self.families[*at].hash == family.hash)
            .find(|at| self.family(*at).stem == family.stem)
            .map(|at| at as u32)
    }

    /// The documents of the family of that place.
    pub(super) fn listed(&self, at: usize) -> Listed<'_> {
        let start = at.checked_sub(1).map_or(Entry::FIRST, |before| self.families[before]);
        let entry = self.families[at];
        let singles = |layer: usize| {
            let range = start.layer_ends[layer] as usize..entry.layer_ends[layer] as usize;
            let layer = &self.layers[layer];
            Singles { documents: &layer.documents[range.clone()], codes: &layer.codes[range] }
        };
        Listed {
            layers: std::array::from_fn(singles),
            mixed: &self.mixed[start.mixed_end as usize..entry.mixed_end as usize],
            most: entry.most,
        }
    }

    pub(super) const fn families(&self) -> usize {
        self.families.len()
    }

    /// The hash of the family of that place.
    pub(super) fn hash(&self, at: usize) -> u32 {
        self.families[at].hash
    }

    /// The greatest weight in the family of that place.
    pub(super) fn most(&self, at: usize) -> u8 {
        self.families[at].most
    }

    /// The family of that place.
    pub(super) fn family(&self, at: usize) -> Family<'_> {
        Family { hash: self.families[at].hash, stem: self.term(self.terms_at(at).0) }
    }

    /// A word of the family of that place, by its own place in it.
    pub(super) fn word_of(&self, family: usize, place: u8) -> &str {
        let first = self.terms_at(family).0;
        self.word(first, first + usize::from(place))
    }

    fn terms_at(&self, family: usize) -> (usize, usize) {
        let first = family.checked_sub(1).map_or(0, |before| self.families[before].terms_end);
        (first as usize, self.families[family].terms_end as usize)
    }

    fn word(&self, stem: usize, at: usize) -> &str {
        let own = self.term(at);
        if own.is_empty() { self.term(stem) } else { own }
    }

    fn term(&self, at: usize) -> &str {
        let start = if at == 0 { 0 } else { self.terms[at - 1].text_end };
        &self.text[start as usize..self.terms[at].text_end as usize]
    }

    // Writing: families come in order, and the documents of each.

    /// Makes room for what other segments hold.
    pub(super) fn reserve<'a>(&mut self, others: impl Iterator<Item = &'a Self> + Clone) {
        for (number, layer) in self.layers.iter_mut().enumerate() {
            let singles = others.clone().map(|other| other.layers[number].documents.len()).sum();
            layer.documents.reserve_exact(singles);
            layer.codes.reserve_exact(singles);
        }
        self.mixed.reserve_exact(others.map(|other| other.mixed.len()).sum());
    }

    /// Begins a family.
    pub(super) fn open(&mut self, family: Family<'_>) {
        self.push_term(family.stem);
    }

    fn push_term(&mut self, text: &str) {
        self.text.push_str(text);
        // Held below u32::MAX by `can_merge`, and by the bounds of a document where a segment is sealed.
        self.terms.push(Term { text_end: self.text.len() as u32, documents: 0 });
    }

    /// Where the open family's terms begin.
    fn opened(&self) -> usize {
        self.families.last().map_or(0, |family| family.terms_end as usize)
    }

    /// The place of a word in the open family.
    pub(super) fn place_of(&mut self, word: &str) -> u8 {
        let stem = self.opened();
        let known = (stem + 1..self.terms.len()).find(|at| self.word(stem, *at) == word);
        let place = known.unwrap_or_else(|| {
            self.push_term(if self.term(stem) == word { "" } else { word });
            self.terms.len() - 1
        });
        // A few dozen at most.
        (place - stem) as u8
    }

    /// Adds a document that has one word of the open family.
    pub(super) fn push_single(&mut self, document: u16, word: u8, weight: u8) {
        if usize::from(word) > CODED_WORDS {
            self.push_mixed(Mixed { document, term: 0, weight });
            self.push_mixed(Mixed { document, term: word, weight });
            return;
        }
        let stem = self.opened();
        self.terms[stem].documents += 1;
        self.terms[stem + usize::from(word)].documents += 1;
        let layer = &mut self.layers[LAYERS_MOST.iter().filter(|most| weight > **most).count()];
        layer.documents.push(document);
        layer.codes.push(((word - 1) << 4) | (weight - 1));
    }

    pub(super) fn push_mixed(&mut self, posting: Mixed) {
        let stem = self.opened();
        self.terms[stem + usize::from(posting.term)].documents += 1;
        self.mixed.push(posting);
    }

    fn push(&mut self, document: u16, held: Held<'_>) {
        let mut words = held.words();
        if let (Some((word, weight)), None) = (words.next(), words.next())
            && weight == held.weight()
        {
            let word = self.place_of(word);
            self.push_single(document, word, weight);
            return;
        }
        if held.weight() > 0 {
            self.push_mixed(Mixed { document, term: 0, weight: held.weight() });
        }
        for (word, weight) in held.words() {
            let term = self.place_of(word);
            self.push_mixed(Mixed { document, term, weight });
        }
    }

    /// Ends the open family.
    pub(super) fn close(&mut self, hash: u32) {
        let start = self.families.last().copied().unwrap_or(Entry::FIRST);
        let layer_ends = std::array::from_fn(|layer| self.layers[layer].documents.len() as u32);
        let mixed = &mut self.mixed[start.mixed_end as usize..];
        if layer_ends == start.layer_ends && mixed.is_empty() {
            let stem = self.opened();
            self.text.truncate(if stem == 0 { 0 } else { self.terms[stem - 1].text_end as usize });
            self.terms.truncate(stem);
            return;
        }
        if !mixed.is_sorted() {
            mixed.sort_unstable();
        }
        let singles =
            self.layers.iter().zip(start.layer_ends).flat_map(|(layer, start)| &layer.codes[start as usize..]);
        let weights = singles.map(|code| decode(*code).1).chain(mixed.iter().map(|posting| posting.weight));
        // All held below u32::MAX, as above.
        let entry = Entry {
            hash,
            terms_end: self.terms.len() as u32,
            layer_ends,
            most: weights.max().unwrap_or(0),
            mixed_end: self.mixed.len() as u32,
        };
        self.families.push(entry);
    }

    pub(super) fn finish(&mut self) {
        // The documents were numbered in order, below SEGMENT_DOCUMENTS_MAX.
        self.by_id = (0..self.documents.len()).map(|number| number as u16).collect();
        self.by_id.sort_by_key(|&document| self.documents[usize::from(document)]);
        self.shortest = self.lengths.iter().copied().min().unwrap_or(0);
        let entries = (self.families.len() / FAMILIES_PER_ENTRY).max(1).next_power_of_two();
        let bits = entries.ilog2();
        let mut at = 0;
        self.directory = (0..=entries as u64)
            .map(|entry| {
                while self.families.get(at).is_some_and(|family| u64::from(family.hash) << bits >> 32 < entry) {
                    at += 1;
                }
                at as u32
            })
            .collect();
        self.documents.shrink_to_fit();
        self.lengths.shrink_to_fit();
        self.text.shrink_to_fit();
        self.terms.shrink_to_fit();
        self.families.shrink_to_fit();
        for layer in &mut self.layers {
            layer.documents.shrink_to_fit();
            layer.codes.shrink_to_fit();
        }
        self.mixed.shrink_to_fit();
    }
}

/// Whether segments may become one.
pub(super) fn can_merge<'a>(segments: impl Iterator<Item = (&'a Segment, &'a Removed)>) -> bool {
    let (mut documents, mut postings, mut text) = (0, 0, 0);
    for (segment, removed) in segments {
        documents += segment.len() - removed.count();
        // Each single may become two mixed ones.
        let singles: usize = segment.layers.iter().map(|layer| layer.documents.len()).sum();
        postings += 2 * singles + segment.mixed.len();
        text += segment.text.len();
    }
    documents <= SEGMENT_DOCUMENTS_MAX && postings <= SEGMENT_POSTINGS_MAX && text <= SEGMENT_TEXT_MAX
}
