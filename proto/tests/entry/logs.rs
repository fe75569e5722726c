//! Ranges and snapshots against a registry, with the honest log they were cut from as the model.

use std::collections::BTreeMap;
use std::sync::Arc;

use aop_proto::name::ZoneName;
use aop_proto::record::{Head, Kind, NodeId, Origin, Record, SignedRef, VISIBILITY_PUBLIC};
use aop_proto::registry::Registry;
use aop_proto::registry::root::root_of;
use aop_proto::trust::{SigningKey, sign_flush};
use aop_proto::wire::message::Range;

use super::Dice;

/// Records a log of these tests has at most.
const RECORDS_MAX: u64 = 24;

/// One origin's log with its whole history.
struct History {
    origin: Origin,
    /// What was held after each record, from the empty log on.
    held: Vec<BTreeMap<u64, SignedRef>>,
}

impl History {
    /// Writes as the dice say: a few keys, now and then a tombstone.
    fn write(dice: &mut Dice<'_>, seed: u8) -> Self {
        let key = SigningKey::from_bytes(&[seed; 32]);
        let origin = Origin { node: NodeId(key.verifying_key().to_bytes()), incarnation: 1 };
        let mut history = Self { origin, held: vec![BTreeMap::new()] };
        for seq in 1..=2 + dice.number() % (RECORDS_MAX - 1) {
            let choice = dice.byte();
            let (name, body) = (format!("t{}.z", choice % 5), (choice < 200).then(|| vec![choice]));
            let record = Record {
                zone: "z".into(),
                // A kind nobody knows: the logs do not care.
                kind: Kind::Unknown(77).number(),
                name,
                node: origin.node,
                incarnation: origin.incarnation,
                seq,
                epoch: 0,
                hlc: seq,
                visibility: VISIBILITY_PUBLIC,
                issued_ms: 0,
                expires_ms: 0,
                def_hash: None,
                body,
            };
            let mut held = history.held[history.held.len() - 1].clone();
            held.retain(|_, old| old.record.name != record.name);
            let hash = sign_flush(&key, vec![record.clone()], Head::default()).remove(0).hash;
            let leaves = held.iter().map(|(seq, signed)| (*seq, signed.hash)).chain([(seq, hash)]);
            let head = Head { seq, floor: 0, count: held.len() as u64 + 1, root: root_of(leaves) };
            held.insert(seq, Arc::new(sign_flush(&key, vec![record], head).remove(0)));
            history.held.push(held);
        }
        history
    }

    /// What an honest node that has come to `at` sends of (`from`, `to`]; `None` when nothing ends there.
    fn range(&self, at: u64, from: u64, to: u64) -> Option<(Range, Vec<SignedRef>)> {
        let held = &self.held[usize::try_from(at).ok()?];
        let part = held.range(from + 1..).take_while(|(seq, _)| **seq <= to);
        let records: Vec<SignedRef> = part.map(|(_, signed)| signed.clone()).collect();
        let to_inclusive = records.last()?.record.seq;
        let range = Range {
            origin: self.origin,
            from_exclusive: from,
            to_inclusive,
            cut: to_inclusive < at,
            records: records.iter().map(|signed| signed.envelope.to_vec()).collect(),
        };
        Some((range, records))
    }

    fn end(&self) -> u64 {
        self.held.len() as u64 - 1
    }
}

fn empty() -> Registry {
    Registry::new(ZoneName::parse("z").expect("a zone"))
}

/// Gives a range to a registry and checks what holds whatever comes: complete-through never goes back (I1), and what is refused
/// changes nothing. Whether it was taken.
fn take(registry: &mut Registry, range: &Range, records: &[SignedRef]) -> bool {
    let (through, digest) = (registry.through(range.origin), registry.digest());
    let taken = registry.apply(range, records).is_ok();
    assert!(registry.through(range.origin) >= through, "I1");
    assert!(taken || registry.digest() == digest, "what is refused changes nothing");
    taken
}

/// Honest ranges in any order, doubled and stale, to two registries; then the rest. Both end as the log itself.
pub(crate) fn delta(bytes: &[u8]) {
    let dice = &mut Dice(bytes);
    let histories = [History::write(dice, 1), History::write(dice, 2)];
    let (mut one, mut other) = (empty(), empty());
    while !dice.is_empty() {
        let history = &histories[dice.below(2)];
        let at = dice.number() % (history.end() + 1);
        let (from, to) = (dice.number() % (at + 1), dice.number() % (at + 1));
        let Some((range, records)) = history.range(at, from, to) else { continue };
        let registry = if dice.yes() { &mut one } else { &mut other };
        let through = registry.through(history.origin);
        let taken = take(registry, &range, &records);
        if range.from_exclusive > through {
            assert!(!taken, "a gap is refused");
        }
    }
    let mut straight = empty();
    for history in &histories {
        for registry in [&mut one, &mut other, &mut straight] {
            finish(registry, history);
        }
    }
    for registry in [&one, &other] {
        assert_eq!((registry.digest(), registry.vector()), (straight.digest(), straight.vector()), "I2");
    }
}

/// Snapshots of any age over anything held, some with a record left out or doubled; then the whole log once more.
pub(crate) fn snapshot(bytes: &[u8]) {
    let dice = &mut Dice(bytes);
    let history = History::write(dice, 1);
    let mut registry = empty();
    while !dice.is_empty() {
        let at = dice.number() % (history.end() + 1);
        let Some((mut range, mut records)) = history.range(at, 0, at) else { continue };
        let victim = dice.below(records.len());
        match dice.below(4) {
            0 => drop((records.remove(victim), range.records.remove(victim))),
            1 => {
                records.insert(victim, records[victim].clone());
                range.records.insert(victim, range.records[victim].clone());
            }
            _ => {}
        }
        take(&mut registry, &range, &records);
        if dice.yes() {
            registry = empty();
        }
    }
    finish(&mut registry, &history);
}

/// The rest of the log, and all of it; afterwards the registry is complete through its end, whatever it was told before.
fn finish(registry: &mut Registry, history: &History) {
    let end = history.end();
    for from in [registry.through(history.origin), 0] {
        if let Some((range, records)) = history.range(end, from, end) {
            take(registry, &range, &records);
        }
    }
    assert_eq!(registry.through(history.origin), end);
}
