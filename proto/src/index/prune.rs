//! The best documents of a segment without scoring all of them, and to the bit those that scoring all would give.
//!
//! Concepts are gone through from the one that can bring the most to the one that can bring the least. As soon as what is left cannot lift
//! a new document among the best, only those met before are looked up in the rest (MaxScore; Turtle and Flood 1995). These sums are made
//! in another order than scores are, so they only choose: whatever comes near the last place is scored in the end, as [`Scorer`] does it.

use std::cell::Cell;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ops::Range;

use super::score::{Scorer, part};
use super::segment::{CODED_WORDS, LAYERS, Listed, LookedUp, Mixed, Segment};

/// More than what sums of the same parts in another order can differ by: 256 terms, half of 2^-23 for each addition.
const MARGIN: f32 = 1e-4;

/// Postings that are read in the time in which one document is looked for in a list.
const POSTINGS_PER_LOOK: usize = 16;

thread_local! {
    /// The room of the last search of this thread: clearing what a search touched is cheaper than a new one.
    static ROOM: Cell<Room> = const { Cell::new(Room::new()) };
}

/// Room for a search, used for one segment after the other and left empty.
#[derive(Debug, Default)]
pub(super) struct Room {
    sums: Vec<f32>,
    met: Vec<u16>,
    /// What one concept brings.
    parts: Vec<f32>,
    touched: Vec<u16>,
}

/// The best so far by sums that are near their scores, and everything that may tie with the last of them.
#[derive(Debug)]
pub(super) struct Best {
    limit: usize,
    /// Sums below are of no interest; rises as better ones come in.
    bar: f32,
    /// The best `limit`, as bits, which sort as they do.
    places: BinaryHeap<Reverse<u32>>,
    /// Sum, number of the segment, document.
    found: Vec<(f32, usize, u16)>,
    /// How many to collect before those below the bar go.
    full: usize,
}

impl Best {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, bar: 0.0, places: BinaryHeap::new(), found: Vec::new(), full: 64 }
    }

    fn push(&mut self, sum: f32, segment: usize, document: u16) {
        if self.places.len() == self.limit {
            self.places.pop();
        }
        self.places.push(Reverse(sum.to_bits()));
        if let (true, Some(Reverse(last))) = (self.places.len() == self.limit, self.places.peek()) {
            // The score of the last may be a margin below its sum, and those that tie with it one more.
            self.bar = self.bar.max(f32::from_bits(*last) * (1.0 - 3.0 * MARGIN));
        }
        self.found.push((sum, segment, document));
        if self.found.len() >= self.full {
            self.clear_up();
            self.full = 2 * self.found.len() + 64;
        }
    }

    fn clear_up(&mut self) {
        let bar = self.bar;
        self.found.retain(|found| found.0 >= bar);
    }

    /// Segments and documents, among which are the best `limit` by score and all that tie with the last.
    pub(super) fn into_found(mut self) -> impl Iterator<Item = (usize, u16)> {
        self.clear_up();
        self.found.into_iter().map(|(_, segment, document)| (segment, document))
    }
}

/// A family that may bring a concept something, and what.
struct List<'a> {
    listed: Listed<'a>,
    /// What its stem is worth, and each of its words.
    stem: f32,
    words: [f32; CODED_WORDS],
    /// Words that no code names, by place.
    further: Vec<(u8, f32)>,
    /// The sum of all.
    whole: f32,
}

/// A concept in one segment: a list of its own words where `has_own`, and of those that may stand for them.
struct Found {
    lists: Range<usize>,
    has_own: bool,
}

/// What is gone through for a question in one segment.
struct Plan<'a> {
    lists: Vec<List<'a>>,
    concepts: Vec<Found>,
    units: Vec<Unit>,
}

/// What is gone through at once: a concept, or a layer of one that has a single list.
#[derive(Debug, Clone, Copy)]
struct Unit {
    concept: usize,
    /// Nothing for the whole of it.
    layer: Option<usize>,
    postings: usize,
    /// What it can bring a document.
    at_most: f32,
    /// What it and all after it can bring a document.
    left: f32,
}

/// A segment and how its documents are scored.
struct Scored<'a> {
    segment: &'a Segment,
    scorer: &'a Scorer<'a>,
}

impl Scored<'_> {
    /// What no document of the segment is beyond: the greatest weight of every concept in its shortest document.
    fn at_most(&self, looked_up: &LookedUp) -> f32 {
        let (query, saturation) = (self.scorer.query(), self.scorer.saturation(self.segment.shortest()));
        let of_concept = |range: Range<usize>| {
            let (mut own, mut most, mut other) = (0.0, 0, 0.0_f32);
            for (member, rarity) in query.members()[range.clone()].iter().zip(&self.scorer.rarities()[range]) {
                let term = usize::from(member.term);
                let Some(family) = looked_up.families[query.family_of(term)] else { continue };
                if looked_up.places[term].is_none() {
                    continue;
                }
                let weight = u16::from(self.segment.most(family as usize));
                if member.is_synonym() {
                    other = other.max(part(*rarity, weight, saturation));
                } else {
                    // All of one family.
                    (own, most) = (own + *rarity, weight);
                }
            }
            part(own, most, saturation).max(other)
        };
        query.concepts().map(of_concept).sum::<f32>() * (1.0 + MARGIN)
    }

    fn part(&self, worth: f32, weight: u8, document: u16) -> f32 {
        part(worth, u16::from(weight), self.scorer.saturation(self.segment.length(document)))
    }
}

impl<'a> List<'a> {
    /// Of terms of one family by place, and what they are worth.
    fn new(listed: Listed<'a>, terms: impl Iterator<Item = (u8, f32)>) -> Self {
        let mut list = Self { listed, stem: 0.0, words: [0.0; CODED_WORDS], further: Vec::new(), whole: 0.0 };
        for (place, worth) in terms {
            match usize::from(place) {
                0 => list.stem = worth,
                word @ 1..=CODED_WORDS => list.words[word - 1] = worth,
                _ => list.further.push((place, worth)),
            }
            list.whole += worth;
        }
        list
    }

    /// What a document with one word is worth, stem and word together.
    fn single(&self, word: u8) -> f32 {
        self.stem + self.words[usize::from(word - 1) % CODED_WORDS]
    }

    /// What a term is worth.
    fn worth(&self, place: u8) -> f32 {
        match usize::from(place) {
            0 => self.stem,
            word @ 1..=CODED_WORDS => self.words[word - 1],
            _ => self.further.iter().find(|term| term.0 == place).map_or(0.0, |term| term.1),
        }
    }

    /// What a layer can bring a document.
    fn at_most(&self, layer: usize, scored: &Scored<'_>) -> f32 {
        let saturation = scored.scorer.saturation(scored.segment.shortest());
        part(self.whole, u16::from(self.listed.most(layer)), saturation)
    }

    /// Calls `each` with every document of a layer that it may bring something, and with what. Mixed ones are in the last.
    fn each(
        &self,
        layer: usize,
        scored: &Scored<'_>,
        mut wants: impl FnMut(u16) -> bool,
        mut each: impl FnMut(u16, f32),
    ) {
        for (document, (word, weight)) in self.listed.layers[layer].iter() {
            let worth = self.single(word);
            if wants(document) && worth > 0.0 {
                each(document, scored.part(worth, weight, document));
            }
        }
        for posting in self.mixed(layer) {
            let worth = self.worth(posting.term);
            if wants(posting.document) && worth > 0.0 {
                each(posting.document, scored.part(worth, posting.weight, posting.document));
            }
        }
    }

    fn mixed(&self, layer: usize) -> &[Mixed] {
        if layer + 1 == LAYERS { self.listed.mixed } else { &[] }
    }

    fn postings(&self, layer: usize) -> usize {
        self.listed.layers[layer].documents.len() + self.mixed(layer).len()
    }

    /// What all layers bring one document, which is in one of them at most.
    fn of_any(&self, document: u16, scored: &Scored<'_>) -> f32 {
        let single = self.listed.layers.iter().find_map(|layer| layer.find(document));
        match single {
            Some((word, weight)) => scored.part(self.single(word), weight, document),
            None => self.of_mixed(document, scored),
        }
    }

    /// What a layer brings one document.
    fn of(&self, layer: usize, document: u16, scored: &Scored<'_>) -> f32 {
        if let Some((word, weight)) = self.listed.layers[layer].find(document) {
            return scored.part(self.single(word), weight, document);
        }
        if self.mixed(layer).is_empty() { 0.0 } else { self.of_mixed(document, scored) }
    }

    fn of_mixed(&self, document: u16, scored: &Scored<'_>) -> f32 {
        let part = |one: &Mixed| scored.part(self.worth(one.term), one.weight, document);
        self.listed.mixed_of(document).iter().map(part).sum()
    }
}

impl<'a> Plan<'a> {
    /// The concepts of the question that the segment has something of, and in which order they are gone through.
    fn new(looked_up: &LookedUp, scored: &Scored<'a>) -> Self {
        let query = scored.scorer.query();
        let listed =
            |term: u16| Some(scored.segment.listed(looked_up.families[query.family_of(usize::from(term))]? as usize));
        let place = |term: u16| looked_up.places[usize::from(term)];
        let mut lists: Vec<List<'a>> = Vec::with_capacity(query.concepts().len());
        let mut concepts = Vec::with_capacity(query.concepts().len());
        for range in query.concepts() {
            let start = lists.len();
            let members = query.members()[range.clone()].iter().zip(&scored.scorer.rarities()[range]);
            let own = members.clone().filter(|(member, _)| !member.is_synonym());
            let mut terms = own.clone().filter_map(|(member, rarity)| Some((place(member.term)?, *rarity))).peekable();
            // All of one family.
            if terms.peek().is_some()
                && let Some(listed) = own.clone().next().and_then(|(member, _)| listed(member.term))
            {
                lists.push(List::new(listed, terms));
            }
            let has_own = lists.len() > start;
            let others = members.filter(|(member, _)| member.is_synonym());
            let other = |(_, rarity), listed| List::new(listed, std::iter::once((0, rarity)));
            lists.extend(others.filter_map(|(member, rarity)| Some(other(((), *rarity), listed(member.term)?))));
            if lists.len() > start {
                concepts.push(Found { lists: start..lists.len(), has_own });
            }
        }
        let mut plan = Self { units: Vec::with_capacity(LAYERS * concepts.len()), lists, concepts };
        plan.order(scored);
        plan
    }

    /// From what can bring the most to what can bring the least.
    fn order(&mut self, scored: &Scored<'_>) {
        for (concept, found) in self.concepts.iter().enumerate() {
            let lists = &self.lists[found.lists.clone()];
            let unit = |layer, postings, at_most| Unit { concept, layer, postings, at_most, left: 0.0 };
            if let [only] = lists {
                let layers = (0..LAYERS).filter(|layer| only.postings(*layer) > 0);
                self.units
                    .extend(layers.map(|layer| unit(Some(layer), only.postings(layer), only.at_most(layer, scored))));
            } else {
                let postings = lists.iter().map(|list| list.listed.postings()).sum();
                let at_most = lists.iter().map(|list| list.at_most(LAYERS - 1, scored)).fold(0.0, f32::max);
                self.units.push(unit(None, postings, at_most));
            }
        }
        self.units.sort_unstable_by(|a, b| b.at_most.total_cmp(&a.at_most));
        let mut most = vec![0.0; self.concepts.len()];
        for unit in self.units.iter_mut().rev() {
            // A document is in one layer of a concept.
            most[unit.concept] = unit.at_most;
            unit.left = most.iter().sum::<f32>() * (1.0 + MARGIN);
        }
    }

    fn lists_of(&self, unit: &Unit) -> &[List<'a>] {
        &self.lists[self.concepts[unit.concept].lists.clone()]
    }

    /// What a unit brings one document, nearly.
    fn of(&self, unit: &Unit, document: u16, scored: &Scored<'_>) -> f32 {
        let of = |list: &List<'_>| match unit.layer {
            Some(layer) => list.of(layer, document, scored),
            None => list.of_any(document, scored),
        };
        self.lists_of(unit).iter().map(of).fold(0.0, f32::max)
    }
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
            room.parts.resize(documents, 0.0);
        }
        let result = search(&mut room);
        ROOM.set(room);
        result
    }

    /// Adds to the best what this segment, of that number, has to bring. Only documents that `is_wanted` count.
    pub(super) fn search(
        &mut self,
        (number, segment): (usize, &Segment),
        looked_up: &LookedUp,
        scorer: &Scorer<'_>,
        best: &mut Best,
        is_wanted: &dyn Fn(u16) -> bool,
    ) {
        let scored = Scored { segment, scorer };
        if scored.at_most(looked_up) < best.bar {
            return;
        }
        let plan = Plan::new(looked_up, &scored);
        let (mut opening, mut read) = (0, 0);
        while let Some(unit) = plan.units.get(opening).filter(|unit| unit.left >= best.bar) {
            self.go_through(&plan, unit, &scored);
            opening += 1;
            read += unit.postings;
            // The bar is looked for as soon as there can be one, and again whenever that costs less than what was read since.
            let later = &plan.units[opening..];
            let costs = self.met.len() + best.limit * later.len() * POSTINGS_PER_LOOK;
            if self.met.len() >= best.limit && !later.is_empty() && (best.bar == 0.0 || read >= costs) {
                best.bar = best.bar.max(self.bar(later, &plan, &scored, best.limit, is_wanted));
                read = 0;
            }
        }
        let Self { sums, met, .. } = self;
        for unit in &plan.units[opening..] {
            met.retain(|document| {
                let sum = &mut sums[usize::from(*document)];
                let reaches = *sum + unit.left >= best.bar;
                if !reaches {
                    *sum = 0.0;
                }
                reaches
            });
            if met.is_empty() {
                return;
            }
            if let ([only], Some(layer)) = (plan.lists_of(unit), unit.layer)
                && unit.postings < met.len() * POSTINGS_PER_LOOK
            {
                let sums = Cell::from_mut(&mut sums[..]).as_slice_of_cells();
                let is_met = |document: u16| sums[usize::from(document)].get() > 0.0;
                only.each(layer, &scored, is_met, |document, part| {
                    sums[usize::from(document)].update(|sum| sum + part);
                });
            } else {
                for document in &*met {
                    sums[usize::from(*document)] += plan.of(unit, *document, &scored);
                }
            }
        }
        for document in met.drain(..) {
            let sum = std::mem::take(&mut sums[usize::from(document)]);
            if sum >= best.bar && is_wanted(document) {
                best.push(sum, number, document);
            }
        }
    }

    /// What as many documents reach as are sought, those that are far by now; 0 where some of them are not wanted.
    fn bar(
        &self,
        later: &[Unit],
        plan: &Plan<'_>,
        scored: &Scored<'_>,
        limit: usize,
        is_wanted: &dyn Fn(u16) -> bool,
    ) -> f32 {
        let mut far: Vec<(f32, u16)> =
            self.met.iter().map(|document| (self.sums[usize::from(*document)], *document)).collect();
        if far.len() > limit {
            far.select_nth_unstable_by(limit, |a, b| b.0.total_cmp(&a.0));
            far.truncate(limit);
        }
        let reached = |(sum, document): &(f32, u16)| match is_wanted(*document) {
            true => later.iter().fold(*sum, |sum, unit| sum + plan.of(unit, *document, scored)),
            false => 0.0,
        };
        far.iter().map(reached).fold(f32::INFINITY, f32::min) * (1.0 - 3.0 * MARGIN)
    }

    /// Adds what a unit brings to every document that has it.
    fn go_through(&mut self, plan: &Plan<'_>, unit: &Unit, scored: &Scored<'_>) {
        let Self { sums, met, parts, touched } = self;
        let lists = plan.lists_of(unit);
        if let ([only], Some(layer)) = (lists, unit.layer) {
            only.each(layer, scored, |_| true, |document, part| add(sums, met, document, part));
            return;
        }
        let has_own = plan.concepts[unit.concept].has_own;
        for (at, list) in lists.iter().enumerate() {
            for layer in 0..LAYERS {
                if at == 0 && has_own {
                    list.each(layer, scored, |_| true, |document, part| add(parts, touched, document, part));
                    continue;
                }
                list.each(
                    layer,
                    scored,
                    |_| true,
                    |document, part| {
                        let most = &mut parts[usize::from(document)];
                        if *most == 0.0 {
                            touched.push(document);
                        }
                        *most = most.max(part);
                    },
                );
            }
        }
        for document in touched.drain(..) {
            let part = std::mem::take(&mut parts[usize::from(document)]);
            add(sums, met, document, part);
        }
    }
}

fn add(sums: &mut [f32], met: &mut Vec<u16>, document: u16, part: f32) {
    let sum = &mut sums[usize::from(document)];
    if *sum == 0.0 {
        met.push(document);
    }
    *sum += part;
}
