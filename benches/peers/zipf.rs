//! `[zipf]`: how often L1 has the answer, beside a plain cache that drops what was used longest ago, of equal capacity.
//!
//! Names drawn by Zipf's law, capacity for a tenth of them; whatever is not found is put in. The first half of a trace fills, the second
//! counts, and every round is another trace. L1 is bounded by bytes: its answers are made of such a size that a tenth of the names fit,
//! and none of them ends by its time. *the best choice* is what a cache would have that knew the trace and always kept the names asked
//! for most often in it.

use std::cell::Cell;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use aop::answers::{Answers, Hit, L1_BYTES_MAX, Moment, Resolution};
use bytes::Bytes;

use crate::Result;
use crate::arguments::Arguments;
use crate::rounds::{Contestant, play};
use crate::sheet::{Bound, Column, Sample, Sheet};
use crate::table::count;
use crate::trace::Zipf;

const NAMES: usize = 100_000;
const CAPACITY: usize = NAMES / 10;
/// Questions that fill, and as many that count.
const QUESTIONS: usize = 1_000_000;
const HITS: &str = "hits_percent";
/// Longer than any of this takes.
const LIFE: Duration = Duration::from_secs(3600);
const NOW: Moment = Moment { serial: 1, epoch: 1, circuits: 0 };

/// Rows, in their order.
const LRU: usize = 0;
const L1: usize = 2;

pub(crate) fn measure(arguments: &Arguments) -> Result<Sheet> {
    let answer = of_equal_size();
    let (lru, other, best, l1) = (Cell::new(0), Cell::new(1_000), Cell::new(0), Cell::new(0));
    let held = Cell::new(0);
    let contestants = vec![
        Contestant::new("least recently used", || Ok(run_lru(&next(&lru)))),
        Contestant::new("the same, another trace (A/A)", || Ok(run_lru(&next(&other)))),
        Contestant::new("L1 of aop-node", || {
            let (sample, kept) = run_l1(&next(&l1), &answer);
            held.set(kept);
            Ok(sample)
        }),
        Contestant::new("the best choice", || Ok(run_best(&next(&best)))),
    ];
    let (names, capacity, questions) = (count(NAMES), count(CAPACITY), count(QUESTIONS));
    let mut sheet = Sheet {
        about: format!(
            "hits by Zipf's law (1.0), {names} names, capacity {capacity}, {questions} questions after as many"
        ),
        columns: vec![Column { key: HITS, title: "hits %", digits: 2, compared: true }],
        rows: play("zipf", arguments, contestants),
        ..Sheet::default()
    };
    let points = sheet.difference(L1, LRU, HITS);
    let (must, stretch) = (Bound::AtLeast(0.0), Bound::AtLeast(4.0));
    sheet.aim("hits of L1 − least recently used, points", points, must, Some(stretch));
    sheet.notes.push(format!("L1 kept {} answers at the end, least recently used {CAPACITY}", held.get()));
    Ok(sheet)
}

/// The trace of the next round.
fn next(round: &Cell<u64>) -> Vec<usize> {
    round.set(round.get() + 1);
    let mut zipf = Zipf::new(NAMES, round.get());
    (0..2 * QUESTIONS).map(|_| zipf.draw()).collect()
}

/// Hits among the second half, in percent, of a cache that says of each name whether it had it.
fn hits(trace: &[usize], mut had: impl FnMut(usize) -> bool) -> Sample {
    let (fill, counted) = trace.split_at(QUESTIONS);
    for name in fill {
        had(*name);
    }
    let hits = counted.iter().filter(|name| had(**name)).count();
    Sample::from([(HITS, hits as f64 / counted.len() as f64 * 100.0)])
}

fn run_lru(trace: &[usize]) -> Sample {
    let mut cache = Lru::default();
    hits(trace, |name| cache.had(name))
}

fn run_best(trace: &[usize]) -> Sample {
    let mut asked = HashMap::new();
    for name in &trace[QUESTIONS..] {
        *asked.entry(*name).or_insert(0) += 1;
    }
    let mut often: Vec<usize> = asked.into_values().collect();
    often.sort_unstable_by(|a, b| b.cmp(a));
    let hits: usize = often.iter().take(CAPACITY).sum();
    Sample::from([(HITS, hits as f64 / QUESTIONS as f64 * 100.0)])
}

fn run_l1(trace: &[usize], answer: &Arc<Resolution>) -> (Sample, usize) {
    let cache = Answers::default();
    let sample = hits(trace, |name| {
        let key = key(name);
        let had = cache.get(&key, NOW, LIFE, 1, String::new).is_some();
        if !had {
            cache.put(key, Arc::clone(answer), NOW);
        }
        had
    });
    (sample, cache.kept())
}

fn key(name: usize) -> String {
    format!("{name:06}")
}

/// An answer of the weight of which exactly [`CAPACITY`] fit. What L1 adds to a definition is found out by asking what fits.
fn of_equal_size() -> Arc<Resolution> {
    let weight = L1_BYTES_MAX / CAPACITY;
    let mut small = weight / 2;
    let mut step = small / 2;
    // The largest definition with which a tenth of the names fit.
    while step > 0 {
        if fits(&answer(small + step)) {
            small += step;
        }
        step /= 2;
    }
    answer(small)
}

fn fits(answer: &Arc<Resolution>) -> bool {
    let cache = Answers::default();
    for name in 0..CAPACITY {
        cache.put(key(name), Arc::clone(answer), NOW);
    }
    cache.kept() == CAPACITY
}

fn answer(definition: usize) -> Arc<Resolution> {
    let hit = Hit { definition: Bytes::from(vec![0; definition]), source: "child", ttl: LIFE, ..Hit::default() };
    Arc::new(Resolution { hits: vec![hit], ttl: LIFE, ..Resolution::default() })
}

/// The plain one: entries in a ring by use, found by name.
struct Lru {
    places: HashMap<usize, usize>,
    /// Name, the one used before it, the one used after it.
    entries: Vec<[usize; 3]>,
}

/// The place that is nobody's: after the newest and before the oldest.
const RING: usize = 0;
const NAME: usize = 0;
const BEFORE: usize = 1;
const AFTER: usize = 2;

impl Default for Lru {
    fn default() -> Self {
        Self { places: HashMap::new(), entries: vec![[usize::MAX, RING, RING]] }
    }
}

impl Lru {
    /// Whether it had the name; it has it now.
    fn had(&mut self, name: usize) -> bool {
        if let Some(place) = self.places.get(&name).copied() {
            self.unlink(place);
            self.link(place);
            return true;
        }
        let place = if self.entries.len() <= CAPACITY {
            self.entries.push([name, RING, RING]);
            self.entries.len() - 1
        } else {
            let oldest = self.entries[RING][AFTER];
            self.unlink(oldest);
            self.places.remove(&self.entries[oldest][NAME]);
            self.entries[oldest][NAME] = name;
            oldest
        };
        self.places.insert(name, place);
        self.link(place);
        false
    }

    fn unlink(&mut self, place: usize) {
        let [_, before, after] = self.entries[place];
        self.entries[before][AFTER] = after;
        self.entries[after][BEFORE] = before;
    }

    /// As the newest.
    fn link(&mut self, place: usize) {
        let newest = self.entries[RING][BEFORE];
        self.entries[place][BEFORE] = newest;
        self.entries[place][AFTER] = RING;
        self.entries[newest][AFTER] = place;
        self.entries[RING][BEFORE] = place;
    }
}
