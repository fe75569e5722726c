//! The index as its one writer sees it: documents come and go, snapshots go out.
//!
//! Fresh documents wait in a short tail, of which a snapshot makes a segment of its own; a full tail is sealed into one that stays, and four
//! segments of a size class are merged into one of the next class. A merge is worked off a little with every change, in
//! proportion to the change, so the writer never pauses for it. It is not thread safe and needs not be: one task owns it.

use std::sync::{Arc, OnceLock};

use super::DocId;
use super::merge::Merge;
use super::removed::Removed;
use super::segment::{SEGMENT_DOCUMENTS_MAX, Segment, can_merge};
use super::snapshot::{IndexSnapshot, Part};
use super::terms::{Terms, counted};

/// Documents that wait to be sealed. Each costs every snapshot after a change about a microsecond.
const TAIL_MAX: usize = 32;

/// Segments of one size class before they are merged.
const CLASS_SEGMENTS: usize = 4;

/// Merge work with every change, in postings, beside what the change itself pays.
const MERGE_POSTINGS_PER_CHANGE: usize = 1024;

/// Merge work an inserted document pays for each of its terms: it will be merged at most once in each of six classes, and
/// once more for every time half of a segment is removed.
const MERGE_POSTINGS_PER_TERM: usize = 8;

/// The mutable holder.
#[derive(Debug, Default)]
pub struct Index {
    sealed: Vec<Sealed>,
    tail: Vec<(DocId, Arc<Terms>)>,
    merge: Option<Running>,
    /// Whether segments came, or lost documents, since somebody looked for what to merge.
    unsettled: bool,
    /// The number of the next segment; segments of a merge under way are recognised by it.
    next_number: u64,
    documents: usize,
    total_length: u64,
    /// Dropped by every change.
    snapshot: OnceLock<Arc<IndexSnapshot>>,
}

#[derive(Debug)]
struct Sealed {
    number: u64,
    part: Part,
}

#[derive(Debug)]
struct Running {
    /// The segments it reads, in the merge's order.
    numbers: Vec<u64>,
    merge: Merge,
}

impl Index {
    /// The number of documents.
    pub fn len(&self) -> usize {
        self.documents
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.documents == 0
    }

    /// Adds a document under an id that none has.
    pub fn insert(&mut self, id: DocId, terms: impl Into<Arc<Terms>>) {
        debug_assert!(!self.contains(id), "an id names one document at a time");
        let terms = terms.into();
        let work = MERGE_POSTINGS_PER_CHANGE + MERGE_POSTINGS_PER_TERM * terms.len();
        self.documents += 1;
        self.total_length += counted(terms.length());
        self.tail.push((id, terms));
        if self.tail.len() >= TAIL_MAX {
            let segment = Segment::seal(&self.tail);
            self.tail.clear();
            self.push(segment, Removed::default());
        }
        self.after_change(work);
    }

    /// Removes a document. False if there is none of that id.
    pub fn remove(&mut self, id: DocId) -> bool {
        let removed = self.take_out(id);
        if removed {
            self.after_change(MERGE_POSTINGS_PER_CHANGE);
        }
        removed
    }

    /// What readers search from now on; costs a few references and a segment of the tail, and nothing at all when nothing changed.
    pub fn snapshot(&self) -> Arc<IndexSnapshot> {
        let snapshot = self.snapshot.get_or_init(|| {
            let tail = (!self.tail.is_empty())
                .then(|| Part { segment: Arc::new(Segment::seal(&self.tail)), removed: Arc::default() });
            Arc::new(IndexSnapshot {
                parts: self.sealed.iter().map(|sealed| sealed.part.clone()).chain(tail).collect(),
                documents: self.documents,
                total_length: self.total_length,
            })
        });
        Arc::clone(snapshot)
    }

    fn push(&mut self, segment: Segment, removed: Removed) {
        let part = Part { segment: Arc::new(segment), removed: Arc::new(removed) };
        self.sealed.push(Sealed { number: self.next_number, part });
        self.next_number += 1;
        self.unsettled = true;
    }

    fn contains(&self, id: DocId) -> bool {
        let live = |part: &Part| part.segment.find(id).is_some_and(|found| !part.removed.contains(found));
        self.tail.iter().any(|&(waiting, _)| waiting == id) || self.sealed.iter().any(|sealed| live(&sealed.part))
    }

    fn take_out(&mut self, id: DocId) -> bool {
        let length = if let Some(at) = self.tail.iter().position(|&(waiting, _)| waiting == id) {
            self.tail.remove(at).1.length()
        } else {
            let found = self.sealed.iter_mut().find_map(|sealed| {
                let document = sealed.part.segment.find(id).filter(|&found| !sealed.part.removed.contains(found))?;
                Some((&mut sealed.part, document))
            });
            let Some((part, document)) = found else { return false };
            Arc::make_mut(&mut part.removed).insert(document);
            self.unsettled = true;
            part.segment.length(document)
        };
        self.documents -= 1;
        self.total_length -= counted(length);
        true
    }

    fn after_change(&mut self, work: usize) {
        self.snapshot.take();
        if self.merge.is_none() {
            self.begin_merge();
        }
        if let Some(mut running) = self.merge.take() {
            if running.merge.step(work) {
                self.finish_merge(running);
            } else {
                self.merge = Some(running);
            }
        }
    }

    fn begin_merge(&mut self) {
        if !std::mem::take(&mut self.unsettled) {
            return;
        }
        self.sealed.retain(|sealed| sealed.live() > 0);
        let Some(numbers) = self.half_removed().or_else(|| self.full_class()) else { return };
        let chosen = self.sealed.iter().filter(|sealed| numbers.contains(&sealed.number));
        let parts = chosen.map(|sealed| (Arc::clone(&sealed.part.segment), Arc::clone(&sealed.part.removed)));
        self.merge = Some(Running { merge: Merge::new(parts), numbers });
    }

    /// A segment of which more than half was removed, to be written anew without.
    fn half_removed(&self) -> Option<Vec<u64>> {
        let wasteful = self.sealed.iter().find(|sealed| sealed.live() * 2 < sealed.part.segment.len())?;
        Some(vec![wasteful.number])
    }

    /// The four oldest segments of the smallest size class that has four.
    fn full_class(&self) -> Option<Vec<u64>> {
        let classes = class(SEGMENT_DOCUMENTS_MAX);
        (0..=classes).find_map(|wanted| {
            let of_class = self.sealed.iter().filter(|sealed| class(sealed.live()) == wanted).take(CLASS_SEGMENTS);
            let chosen: Vec<&Sealed> = of_class.collect();
            let parts = chosen.iter().map(|sealed| (&*sealed.part.segment, &*sealed.part.removed));
            let mergeable = chosen.len() == CLASS_SEGMENTS && can_merge(parts);
            mergeable.then(|| chosen.iter().map(|sealed| sealed.number).collect())
        })
    }

    fn finish_merge(&mut self, running: Running) {
        // `begin_merge` drops empty segments only while no merge runs, so all its inputs are still here, in its order.
        let (inputs, others): (Vec<Sealed>, Vec<Sealed>) =
            std::mem::take(&mut self.sealed).into_iter().partition(|sealed| running.numbers.contains(&sealed.number));
        debug_assert_eq!(inputs.len(), running.numbers.len());
        let (segment, removed) = running.merge.finish(inputs.iter().map(|sealed| &*sealed.part.removed));
        self.sealed = others;
        self.push(segment, removed);
    }
}

impl Sealed {
    fn live(&self) -> usize {
        self.part.segment.len() - self.part.removed.count()
    }
}

/// 0 for what a tail gives, one more for every factor of [`CLASS_SEGMENTS`].
fn class(documents: usize) -> u32 {
    (documents / TAIL_MAX).max(1).ilog(CLASS_SEGMENTS)
}
