//! An immutable run of documents turned inside out: for every term, the documents that have it.
//!
//! Segments are sealed from a handful of fresh documents, and merged from several older segments in steps whose size the caller
//! chooses. They know nothing of removals: the documents removed from a segment are marked beside it ([`Removed`]).
//! Within a segment documents are numbered from 0; those numbers never leave this directory.

use std::sync::Arc;

use super::DocId;
use super::score::{Query, Scorer, part};
use super::terms::{TERM_WEIGHT_MAX, Terms};
use super::words::{is_same, prefix, sort_by_word};

/// Documents of one segment: their numbers fit 16 bits.
pub(super) const SEGMENT_DOCUMENTS_MAX: usize = u16::MAX as usize;

/// Postings and bytes of term text of one segment: their offsets fit 32 bits.
const SEGMENT_POSTINGS_MAX: usize = 1 << 26;
const SEGMENT_TEXT_MAX: usize = 1 << 30;

#[derive(Debug, Default)]
pub(super) struct Segment {
    documents: Vec<DocId>,
    lengths: Vec<u32>,
    /// The numbers of the documents, ordered by id.
    by_id: Vec<u16>,
    /// All terms in order, one after the other.
    text: String,
    entries: Vec<Entry>,
    /// The greatest weight of each term.
    most: Vec<u8>,
    postings: Vec<Posting>,
    /// The least of the lengths.
    shortest: u32,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    text_end: u32,
    postings_end: u32,
}

/// One document that has a term.
#[derive(Debug, Clone, Copy)]
pub(super) struct Posting {
    document: u16,
    weight: u16,
}

/// The documents that have a term, and its greatest weight in any of them.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Listed<'a> {
    pub(super) postings: &'a [Posting],
    pub(super) most: u8,
}

impl Posting {
    /// Number of the document in its segment.
    pub(super) fn document(self) -> usize {
        usize::from(self.document)
    }

    /// The same, as it is kept.
    pub(super) const fn number(self) -> u16 {
        self.document
    }
}

impl Segment {
    /// Turns fresh documents into a segment.
    pub(super) fn seal(fresh: &[(DocId, Arc<Terms>)]) -> Self {
        debug_assert!(fresh.len() <= SEGMENT_DOCUMENTS_MAX);
        let mut occurrences = Vec::with_capacity(fresh.iter().map(|(_, t)| t.len()).sum());
        let mut segment = Self::default();
        for ((id, terms), document) in fresh.iter().zip(0u16..) {
            segment.documents.push(*id);
            segment.lengths.push(terms.length());
            // A document has at most DOCUMENT_TERMS_MAX terms.
            occurrences.extend(terms.iter().zip(0u16..).map(|((term, _), at)| (prefix(term), document, at)));
        }
        let find = |document: u16, at: u16| fresh[usize::from(document)].1.at(usize::from(at));
        let text = |&(_, document, at): &(u128, u16, u16)| find(document, at).0;
        // A document's terms are in order: what is of one term stays in the order of documents.
        sort_by_word(&mut occurrences, |occurrence| occurrence.0, text);
        for run in occurrences.chunk_by(|a, b| is_same(a.0, b.0, || [text(a), text(b)])) {
            let posting = |&(_, document, at)| Posting { document, weight: find(document, at).1 };
            segment.postings.extend(run.iter().map(posting));
            segment.close_term(text(&run[0]));
        }
        segment.finish();
        segment
    }

    pub(super) fn len(&self) -> usize {
        self.documents.len()
    }

    /// Every term, in order.
    pub(super) fn each_term(&self, each: &mut impl FnMut(&str)) {
        (0..self.entries.len()).for_each(|at| each(self.term(at)));
    }

    /// The number of distinct terms.
    pub(super) fn terms(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn id(&self, document: u16) -> DocId {
        self.documents[usize::from(document)]
    }

    pub(super) fn length(&self, document: u16) -> u32 {
        self.lengths[usize::from(document)]
    }

    /// The number of a document, whether removed or not.
    pub(super) fn find(&self, id: DocId) -> Option<u16> {
        let at = self.by_id.binary_search_by_key(&id, |&document| self.id(document)).ok()?;
        Some(self.by_id[at])
    }

    /// The postings of each of the query's terms, in the query's order.
    pub(super) fn look_up(&self, query: &Query) -> Vec<Listed<'_>> {
        // Both are sorted: each search starts where the one before ended.
        let mut low = 0;
        let found = query.terms().iter().map(|term| {
            let mut high = self.entries.len();
            while low < high {
                let middle = low.midpoint(high);
                match self.term(middle).cmp(term) {
                    std::cmp::Ordering::Less => low = middle + 1,
                    std::cmp::Ordering::Greater => high = middle,
                    std::cmp::Ordering::Equal => {
                        low = middle;
                        return Listed { postings: self.postings_at(middle), most: self.most[middle] };
                    }
                }
            }
            Listed::default()
        });
        found.collect()
    }

    /// What a posting brings.
    pub(super) fn part(&self, posting: Posting, rarity: f32, scorer: &Scorer<'_>) -> f32 {
        part(rarity, posting.weight, scorer.saturation(self.lengths[posting.document()]))
    }

    /// What no posting of a term can bring more than, of that rarity and weight at most.
    pub(super) fn part_at_most(&self, most: u8, rarity: f32, scorer: &Scorer<'_>) -> f32 {
        part(rarity, u16::from(most), scorer.saturation(self.shortest))
    }

    fn term(&self, at: usize) -> &str {
        let start = if at == 0 { 0 } else { self.entries[at - 1].text_end };
        &self.text[start as usize..self.entries[at].text_end as usize]
    }

    fn postings_at(&self, at: usize) -> &[Posting] {
        let start = if at == 0 { 0 } else { self.entries[at - 1].postings_end };
        &self.postings[start as usize..self.entries[at].postings_end as usize]
    }

    /// Ends a term whose postings were just pushed.
    fn close_term(&mut self, term: &str) {
        self.text.push_str(term);
        let start = self.entries.last().map_or(0, |entry| entry.postings_end as usize);
        let most = self.postings[start..].iter().map(|posting| posting.weight).max().unwrap_or(0);
        self.most.push(most.min(TERM_WEIGHT_MAX) as u8);
        // Both are held below u32::MAX by `can_merge`, and by the bounds of a document where a segment is sealed.
        self.entries.push(Entry { text_end: self.text.len() as u32, postings_end: self.postings.len() as u32 });
    }

    fn finish(&mut self) {
        // The documents were numbered in order, below SEGMENT_DOCUMENTS_MAX.
        self.by_id = (0..self.documents.len()).map(|number| number as u16).collect();
        self.by_id.sort_by_key(|&document| self.documents[usize::from(document)]);
        self.shortest = self.lengths.iter().copied().min().unwrap_or(0);
        self.text.shrink_to_fit();
        self.entries.shrink_to_fit();
        self.most.shrink_to_fit();
        self.postings.shrink_to_fit();
    }
}

/// Which documents of a segment were removed.
#[derive(Debug, Clone, Default)]
pub(super) struct Removed {
    /// Empty until the first removal.
    bits: Vec<u64>,
    count: usize,
}

impl Removed {
    pub(super) fn contains(&self, document: u16) -> bool {
        let document = usize::from(document);
        self.bits.get(document / 64).is_some_and(|word| word >> (document % 64) & 1 == 1)
    }

    /// How many of the postings are of documents that were not removed.
    pub(super) fn count_live(&self, postings: &[Posting]) -> u64 {
        let live = |posting: &&Posting| !self.contains(posting.document);
        let count = if self.count == 0 { postings.len() } else { postings.iter().filter(live).count() };
        count as u64
    }

    pub(super) fn insert(&mut self, document: u16) {
        if self.contains(document) {
            return;
        }
        let at = usize::from(document) / 64;
        if self.bits.len() <= at {
            self.bits.resize(at + 1, 0);
        }
        self.bits[at] |= 1 << (document % 64);
        self.count += 1;
    }

    pub(super) fn count(&self) -> usize {
        self.count
    }
}

/// Whether segments may become one.
pub(super) fn can_merge<'a>(segments: impl Iterator<Item = (&'a Segment, &'a Removed)>) -> bool {
    let (mut documents, mut postings, mut text) = (0, 0, 0);
    for (segment, removed) in segments {
        documents += segment.len() - removed.count();
        postings += segment.postings.len();
        text += segment.text.len();
    }
    documents <= SEGMENT_DOCUMENTS_MAX && postings <= SEGMENT_POSTINGS_MAX && text <= SEGMENT_TEXT_MAX
}

/// A merge under way: reads old segments term by term and leaves out what was removed before it began.
#[derive(Debug)]
pub(super) struct Merge {
    inputs: Vec<Input>,
    output: Segment,
}

#[derive(Debug)]
struct Input {
    segment: Arc<Segment>,
    removed: Arc<Removed>,
    /// The new number of each document; meaningless for removed ones.
    renumbered: Vec<u16>,
    /// The next term to read.
    at: usize,
}

impl Merge {
    pub(super) fn new(parts: impl Iterator<Item = (Arc<Segment>, Arc<Removed>)>) -> Self {
        let mut output = Segment::default();
        let inputs: Vec<Input> = parts
            .map(|(segment, removed)| {
                let mut renumbered = Vec::with_capacity(segment.len());
                for ((&id, &length), document) in segment.documents.iter().zip(&segment.lengths).zip(0u16..) {
                    // Below SEGMENT_DOCUMENTS_MAX, as `can_merge` was asked.
                    renumbered.push(output.documents.len() as u16);
                    if !removed.contains(document) {
                        output.documents.push(id);
                        output.lengths.push(length);
                    }
                }
                Input { segment, removed, renumbered, at: 0 }
            })
            .collect();
        output.postings.reserve_exact(inputs.iter().map(|input| input.segment.postings.len()).sum());
        Self { inputs, output }
    }

    /// Works through about `postings` postings. True when there is nothing left to do.
    pub(super) fn step(&mut self, postings: usize) -> bool {
        let mut left = postings;
        while left > 0 {
            let unread = self.inputs.iter().filter(|input| input.at < input.segment.entries.len());
            let Some(next) = unread.min_by_key(|input| input.segment.term(input.at)) else {
                return true;
            };
            let (source, at) = (Arc::clone(&next.segment), next.at);
            left = left.saturating_sub(1 + self.copy_term(source.term(at)));
        }
        false
    }

    fn copy_term(&mut self, term: &str) -> usize {
        let before = self.output.postings.len();
        let mut read = 0;
        for input in &mut self.inputs {
            if input.at == input.segment.entries.len() || input.segment.term(input.at) != term {
                continue;
            }
            let postings = input.segment.postings_at(input.at);
            let kept = postings.iter().filter(|posting| !input.removed.contains(posting.document));
            let renumbered = &input.renumbered;
            self.output.postings.extend(kept.map(|posting| Posting {
                document: renumbered[usize::from(posting.document)],
                weight: posting.weight,
            }));
            read += postings.len();
            input.at += 1;
        }
        if self.output.postings.len() > before {
            self.output.close_term(term);
        }
        read
    }

    /// The merged segment. `removed_now` tells, for each input in order, what is removed by now; what was removed while the
    /// merge ran comes back as removed from the merged segment.
    pub(super) fn finish<'a>(mut self, removed_now: impl Iterator<Item = &'a Removed>) -> (Segment, Removed) {
        let mut removed = Removed::default();
        for (input, now) in self.inputs.iter().zip(removed_now) {
            if now.count() == input.removed.count() {
                continue;
            }
            for (&renumbered, document) in input.renumbered.iter().zip(0u16..) {
                if now.contains(document) && !input.removed.contains(document) {
                    removed.insert(renumbered);
                }
            }
        }
        self.output.finish();
        (self.output, removed)
    }
}
