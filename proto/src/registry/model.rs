//! Four replicas under random operations, compared after every step with what their writers know.
//!
//! Writes, deletions and floors of several records a flush; exchanges of some buckets that are cut small, lose parts, leave records
//! out, or lie about being cut; clocks that are behind; stores that come back; lives that end; writers that write one dot twice. Then
//! all faults stop, and everything must become equal.

use std::time::Duration;

use super::author::{Author, NOW, opened, range, registry};
use super::*;
use crate::now::Now;
use crate::params::TOMBSTONE_KEPT;
use crate::record::Hash;
use crate::selection::Chance;
use crate::wire::message::{Range, Vector};

const NODES: usize = 4;

/// The numbers and hashes of the records that stand.
type Contents = BTreeMap<u64, Hash>;

struct Replica {
    id: NodeId,
    registry: Registry,
    author: Author,
    /// Readers: what they were told stands.
    shown: BTreeMap<(NodeId, String), Hash>,
    /// The store: what it was told to keep.
    stored: BTreeMap<(Origin, u64), SignedRef>,
    behind_ms: u64,
}

struct Model {
    chance: Chance,
    replicas: Vec<Replica>,
    now: Now,
    /// What each life of each writer held after each flush.
    history: BTreeMap<Origin, BTreeMap<u64, Contents>>,
    /// Lives that wrote one dot twice: what they hold is not one thing.
    tainted: BTreeSet<Origin>,
    digests: BTreeMap<String, [u8; 16]>,
    seen: BTreeMap<(usize, NodeId), (u64, u64)>,
    happened: BTreeMap<&'static str, u64>,
}

fn contents<'a>(records: impl Iterator<Item = &'a SignedRef>) -> Contents {
    records.map(|signed| (signed.record.seq, signed.hash)).collect()
}

impl Replica {
    fn new(number: usize) -> Self {
        let author = Author::new(number as u8 + 1, 1);
        let (shown, stored) = (BTreeMap::new(), BTreeMap::new());
        Self { id: author.origin.node, registry: registry(), author, shown, stored, behind_ms: 0 }
    }

    fn follow(&mut self, applied: &Applied) {
        for change in &applied.changes {
            match change {
                Change::Put(signed) => {
                    self.shown.insert((signed.record.node(), signed.record.name().to_owned()), signed.hash)
                }
                Change::Gone(signed) => self.shown.remove(&(signed.record.node(), signed.record.name().to_owned())),
            };
        }
        for signed in &applied.stored {
            self.stored.insert((signed.record.origin(), signed.record.seq), signed.clone());
        }
        for dot in &applied.dropped {
            self.stored.remove(dot);
        }
    }
}

impl Model {
    fn new(seed: u8) -> Self {
        Self {
            chance: Chance::new([seed; 32]),
            replicas: (0..NODES).map(Replica::new).collect(),
            now: NOW,
            history: BTreeMap::new(),
            tainted: BTreeSet::new(),
            digests: BTreeMap::new(),
            seen: BTreeMap::new(),
            happened: BTreeMap::new(),
        }
    }

    fn below(&mut self, bound: usize) -> usize {
        self.chance.below(bound as u64) as usize
    }

    fn local(&self, at: usize) -> Now {
        Now { wall_ms: self.now.wall_ms - self.replicas[at].behind_ms, ..self.now }
    }

    fn count(&mut self, what: &'static str) {
        *self.happened.entry(what).or_default() += 1;
    }

    /// A flush of some records, pushed to some.
    fn write(&mut self, at: usize) {
        let origin = self.replicas[at].author.origin;
        if self.replicas[at].registry.is_quarantined(origin) || self.tainted.contains(&origin) {
            self.reborn(at);
        }
        let names: Vec<String> = (0..=self.below(4)).map(|_| format!("t{}.z", self.chance.below(25))).collect();
        let writes: Vec<(&str, Option<&[u8]>)> =
            names.iter().map(|name| (name.as_str(), (self.chance.below(3) > 0).then_some(&b"body"[..]))).collect();
        // When its tombstones of some seconds ago were a day old.
        let wall_ms = self.now.wall_ms;
        let later_ms = wall_ms + TOMBSTONE_KEPT.as_millis() as u64 - self.chance.below(10_000);
        let Replica { author, registry, .. } = &mut self.replicas[at];
        author.wall_ms = wall_ms;
        if self.chance.below(4) == 0 {
            author.floor = author.floor.max(registry.collectable(author.origin, later_ms));
        }
        let (from, records) = (author.seq, author.flush(&writes));
        self.history.entry(author.origin).or_default().insert(author.seq, contents(author.held().iter()));
        let applied = registry.append(&records);
        // The store has the whole flush before anything of it is published.
        let all = Applied { stored: records.clone(), ..Applied::default() };
        self.replicas[at].follow(&all);
        self.replicas[at].follow(&applied);
        for to in 0..NODES {
            if to != at && self.chance.below(2) == 0 {
                self.deliver(at, to, &range(from, &records), &records);
            }
        }
    }

    fn deliver(&mut self, from: usize, to: usize, range: &Range, records: &[SignedRef]) {
        if range.origin.node == self.replicas[to].id {
            return;
        }
        let (now, sender) = (self.local(to), self.replicas[from].id);
        let before = self.replicas[to].registry.digest();
        match self.replicas[to].registry.apply(sender, range, records, now) {
            Ok(applied) => {
                self.count(match (applied.ahead_ms > 0, range.cut, range.from_exclusive == 0) {
                    (true, ..) => "deferred",
                    (_, true, _) => "cut",
                    (_, _, true) => "whole",
                    _ => "range",
                });
                self.replicas[to].follow(&applied);
            }
            Err(error) => {
                assert_eq!(before, self.replicas[to].registry.digest(), "{error} changes nothing");
                self.count(match &error {
                    RangeError::Gap => "gap",
                    RangeError::Incomplete => "incomplete",
                    RangeError::Fork(_) => "fork",
                    RangeError::Superseded => "superseded",
                    RangeError::Quarantined => "quarantined",
                    RangeError::Busy => "busy",
                    RangeError::Unbelieved
                    | RangeError::Forged
                    | RangeError::Malformed
                    | RangeError::TooManyOrigins
                    | RangeError::TooLarge
                    | RangeError::Full => {
                        panic!("{error}")
                    }
                });
                if let RangeError::Fork(evidence) = error {
                    assert!(self.tainted.contains(&evidence.origin()), "nobody is blamed for nothing");
                    self.quarantine(to, evidence);
                }
            }
        }
    }

    fn quarantine(&mut self, at: usize, evidence: Evidence) {
        let applied = self.replicas[at].registry.quarantine(evidence);
        self.replicas[at].follow(&applied);
    }

    /// `to` asks `from` for some buckets. With faults, what comes is cut small and not always as it was sent.
    fn exchange(&mut self, from: usize, to: usize, faults: bool) -> bool {
        let mask = if faults { self.chance.number() | self.chance.number() } else { u64::MAX };
        let now = self.local(to).mono;
        let entries = self.replicas[to].registry.entries(self.replicas[from].id, mask, now);
        let vector = Vector { buckets: mask, entries, reply: false };
        let bytes = if faults { 1 + self.below(6_000) } else { 1_000_000 };
        let sender = &self.replicas[from].registry;
        let evidence: Vec<Evidence> = sender.forks_for(&vector).into_iter().cloned().collect();
        let (frames, _) = sender.frames_for(&vector, bytes);
        let mut ranges: Vec<Range> = frames.into_iter().flatten().collect();
        if ranges.is_empty() && evidence.is_empty() {
            let differ = |at: &usize| sender.buckets()[*at] != self.replicas[to].registry.buckets()[*at];
            let mask = (0..BUCKETS).filter(differ).fold(0, |mask, at| mask | 1 << at);
            ranges = sender.tails(mask, 0, usize::MAX);
        }
        let any = !ranges.is_empty() || !evidence.is_empty();
        for evidence in evidence {
            self.quarantine(to, evidence);
        }
        for mut range in ranges {
            let mut records = opened(&range);
            match self.below(if faults { 12 } else { usize::MAX }) {
                0 => continue,
                1 if records.len() > 1 => _ = records.remove(self.chance.below(records.len() as u64 - 1) as usize),
                2 if records.len() > 1 => {
                    records.pop();
                    range.to_inclusive = records[records.len() - 1].record.seq;
                }
                3 => range.cut = !range.cut,
                _ => {}
            }
            self.deliver(from, to, &range, &records);
        }
        any
    }

    /// Another life of a writer, as when its store is lost.
    fn reborn(&mut self, at: usize) {
        let Origin { node, incarnation } = self.replicas[at].author.origin;
        self.replicas[at].author = Author::new(node.0[0], incarnation + 1);
    }

    /// A writer writes one number twice, and each half of the zone hears of another content.
    fn fork(&mut self, at: usize) {
        let Replica { author, registry, .. } = &mut self.replicas[at];
        let origin = author.origin;
        if author.seq == 0 || self.tainted.contains(&origin) || registry.is_quarantined(origin) {
            return;
        }
        self.tainted.insert(origin);
        let mut twin = Author::new(origin.node.0[0], origin.incarnation);
        twin.wall_ms = self.now.wall_ms;
        twin.take_over(author);
        let (from, one) = (author.seq, author.put("fork.z", b"1"));
        let other = twin.put("fork.z", b"2");
        let applied = registry.append(&one);
        self.replicas[at].follow(&applied);
        for to in (0..NODES).filter(|to| *to != at) {
            let said = if self.chance.below(2) == 0 { &one } else { &other };
            self.deliver(at, to, &range(from, said), said);
        }
    }

    /// A replica comes back with its store, and nothing else.
    fn restart(&mut self, at: usize) {
        let mut by_origin: BTreeMap<Origin, Vec<SignedRef>> = BTreeMap::new();
        for (dot, signed) in &self.replicas[at].stored {
            by_origin.entry(dot.0).or_default().push(signed.clone());
        }
        let before = std::mem::replace(&mut self.replicas[at].registry, registry());
        self.replicas[at].shown.clear();
        for records in by_origin.into_values() {
            let applied = self.replicas[at].registry.restore(&records);
            let shown = Applied { stored: Vec::new(), dropped: Vec::new(), ..applied };
            self.replicas[at].follow(&shown);
        }
        for evidence in before.forks().cloned() {
            self.quarantine(at, evidence);
        }
        let after = &self.replicas[at].registry;
        assert_eq!(after.incomplete().filter(|origin| !self.tainted.contains(origin)).count(), 0);
        assert_eq!((before.digest(), before.buckets()), (after.digest(), after.buckets()), "a restart changes nothing");
    }

    fn step(&mut self) {
        let (at, other) = (self.below(NODES), 1 + self.below(NODES - 1));
        match self.below(40) {
            0..12 => self.write(at),
            12..34 => _ = self.exchange((at + other) % NODES, at, true),
            34 => self.replicas[at].behind_ms = self.chance.below(3) * 30_000,
            35 => self.restart(at),
            36 if self.below(4) == 0 => self.reborn(at),
            37 if self.below(4) == 0 => self.fork(at),
            _ => {}
        }
        let passed = self.chance.below(1_000);
        self.now.wall_ms += passed;
        self.now.mono += Duration::from_millis(passed);
        for at in 0..NODES {
            let now = self.local(at);
            while let Some(applied) = self.replicas[at].registry.retry(now) {
                self.count("retried");
                self.replicas[at].follow(&applied);
            }
        }
        self.check();
    }

    fn check(&mut self) {
        for at in 0..NODES {
            let Replica { registry, shown, stored, .. } = &self.replicas[at];
            for (origin, through) in registry.vector() {
                let seen = self.seen.entry((at, origin.node)).or_default();
                assert!(*seen <= (origin.incarnation, through), "I1: {origin:?} went back from {seen:?} to {through}");
                *seen = (origin.incarnation, through);
                if !self.tainted.contains(&origin) {
                    let held = contents(registry.records_of(origin));
                    assert_eq!(
                        Some(&held),
                        self.history[&origin].get(&through),
                        "{origin:?} at {through} is not its writer's"
                    );
                }
            }
            let vector = registry.vector();
            let all: Vec<&SignedRef> = vector.iter().flat_map(|(origin, _)| registry.records_of(*origin)).collect();
            let live = all.iter().filter(|signed| signed.record.body().is_some());
            let live =
                live.map(|signed| ((signed.record.node(), signed.record.name().to_owned()), signed.hash)).collect();
            assert_eq!(shown, &live, "what readers were told is not what is held");
            let dots = all.iter().map(|signed| (signed.record.origin(), signed.record.seq)).collect::<BTreeSet<_>>();
            assert!(stored.keys().eq(&dots), "what the store was told is not what is held");
            self.check_digest(at);
        }
    }

    /// I2, over all replicas and all time: equal vectors are equal digests.
    fn check_digest(&mut self, at: usize) {
        let registry = &self.replicas[at].registry;
        let vector = registry.vector();
        if vector.iter().any(|(origin, _)| self.tainted.contains(origin)) {
            return;
        }
        let forks: Vec<Origin> = registry.forks().map(Evidence::origin).collect();
        let digest = registry.digest();
        let known = *self.digests.entry(format!("{vector:?}{forks:?}")).or_insert(digest);
        assert_eq!(known, digest, "equal vectors with other digests");
    }

    fn heal(&mut self) {
        self.now.wall_ms += 200_000;
        self.now.mono += Duration::from_secs(200);
        for replica in &mut self.replicas {
            replica.behind_ms = 0;
        }
        for round in 0.. {
            for at in 0..NODES {
                let now = self.local(at);
                while let Some(applied) = self.replicas[at].registry.retry(now) {
                    self.replicas[at].follow(&applied);
                }
            }
            let mut any = false;
            for (from, to) in (0..NODES * NODES).map(|at| (at / NODES, at % NODES)).filter(|(from, to)| from != to) {
                any |= self.exchange(from, to, false);
            }
            self.check();
            if !any {
                break;
            }
            assert!(
                round < 20,
                "replicas do not become equal: {:?}",
                self.replicas.iter().map(|r| r.registry.vector()).collect::<Vec<_>>()
            );
        }
        let first = &self.replicas[0].registry;
        for replica in &self.replicas {
            assert_eq!((replica.registry.digest(), replica.registry.buckets()), (first.digest(), first.buckets()));
            let origin = replica.author.origin;
            if !self.tainted.contains(&origin) {
                assert_eq!(first.through(origin), replica.author.seq, "all of it is everywhere");
            }
        }
    }
}

#[test]
fn whatever_happens_replicas_hold_what_was_signed_and_become_equal() {
    let mut happened: BTreeMap<&'static str, u64> = BTreeMap::new();
    for seed in 0..40 {
        let mut model = Model::new(seed);
        for _ in 0..300 {
            model.step();
        }
        model.heal();
        model.happened.iter().for_each(|(what, times)| *happened.entry(what).or_default() += times);
    }
    let all = [
        "busy",
        "cut",
        "deferred",
        "fork",
        "gap",
        "incomplete",
        "quarantined",
        "range",
        "retried",
        "superseded",
        "whole",
    ];
    assert!(happened.keys().copied().eq(all), "every rule is met: {happened:?}");
}
