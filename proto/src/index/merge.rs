//! Several segments become one, in steps whose size the caller chooses.

use std::cmp::Ordering;
use std::sync::Arc;

use super::removed::Removed;
use super::segment::{Mixed, Segment, Singles};

/// A merge under way: reads old segments family by family and leaves out what was removed before it began.
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
    /// The next family to read.
    at: usize,
}

impl Input {
    /// By the next family. Texts are looked at only where hashes are equal.
    fn order(&self, other: &Self) -> Ordering {
        let (hash, its) = (self.segment.hash(self.at), other.segment.hash(other.at));
        hash.cmp(&its).then_with(|| self.segment.family(self.at).stem.cmp(other.segment.family(other.at).stem))
    }
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
        output.reserve(inputs.iter().map(|input| &*input.segment));
        Self { inputs, output }
    }

    /// Works through about `postings` postings. True when there is nothing left to do.
    pub(super) fn step(&mut self, postings: usize) -> bool {
        let mut left = postings;
        while left > 0 {
            let unread = self.inputs.iter().filter(|input| input.at < input.segment.families());
            let Some(next) = unread.min_by(|a, b| a.order(b)) else { return true };
            let (source, at) = (Arc::clone(&next.segment), next.at);
            left = left.saturating_sub(1 + self.copy_family(&source, at));
        }
        false
    }

    fn copy_family(&mut self, source: &Segment, at: usize) -> usize {
        let family = source.family(at);
        let output = &mut self.output;
        output.open(family);
        let mut read = 0;
        for input in &mut self.inputs {
            let is_next = input.at < input.segment.families()
                && input.segment.hash(input.at) == family.hash
                && input.segment.family(input.at).stem == family.stem;
            if !is_next {
                continue;
            }
            let listed = input.segment.listed(input.at);
            // The new places of its words, as documents that are kept ask for them: 0, the stem's, until then.
            let mut places = [0; 256];
            let mut place = |output: &mut Segment, term: u8| {
                let place = &mut places[usize::from(term)];
                if *place == 0 && term > 0 {
                    *place = output.place_of(input.segment.word_of(input.at, term));
                }
                *place
            };
            for (document, (word, weight)) in listed.layers.iter().flat_map(Singles::iter) {
                if !input.removed.contains(document) {
                    let word = place(output, word);
                    output.push_single(input.renumbered[usize::from(document)], word, weight);
                }
            }
            for posting in listed.mixed {
                if !input.removed.contains(posting.document) {
                    let document = input.renumbered[usize::from(posting.document)];
                    let term = place(output, posting.term);
                    output.push_mixed(Mixed { document, term, weight: posting.weight });
                }
            }
            read += listed.postings();
            input.at += 1;
        }
        output.close(family.hash);
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
