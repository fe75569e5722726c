//! Ranges and snapshots against a registry, with the honest logs they were cut from as the model.
//!
//! Whatever comes, from whomever: what is held of a log is what its writer held after some flush (I1, I2), and what is refused
//! changes nothing. When it ends, an honest peer's ranges bring all of it.

use std::collections::BTreeMap;
use std::time::Duration;

use aop_proto::name::ZoneName;
use aop_proto::now::Now;
use aop_proto::params::{CLOCK_AHEAD_MAX, STAGE_PATIENCE};
use aop_proto::record::{Kind, NodeId, Origin, Record, SignedRef, VISIBILITY_PUBLIC};
use aop_proto::registry::{RangeError, Registry, Standing};
use aop_proto::trust::{SigningKey, Verifier};
use aop_proto::wire::message::{Range, Vector};

use super::Dice;
use super::author::{Author, Held, range_of};

const WALL_MS: u64 = 1_790_000_000_000;
/// A clock of a writer is ahead by so much at most.
const AHEAD_MS_MAX: u64 = 4_000;
const FLUSHES_MAX: usize = 12;
const SENDERS: [NodeId; 3] = [NodeId([0xa0; 32]), NodeId([0xb0; 32]), NodeId([0xc0; 32])];
/// So small that a log comes in several parts.
const ROUND_BYTES: usize = 3_000;
/// Exchanges in which everything has come.
const ROUNDS_MAX: usize = 60;

/// One origin's log with its whole history.
struct History {
    origin: Origin,
    /// What was held after each flush, by the number of its last record, from the empty log on.
    states: BTreeMap<u64, Held>,
}

impl History {
    /// Writes as the dice say: a few keys, now and then a tombstone, a floor, a clock that is ahead.
    fn write(dice: &mut Dice<'_>, seed: u8) -> Self {
        let mut author = Author::new(SigningKey::from_bytes(&[seed; 32]), 1);
        let mut states = BTreeMap::from([(0, Held::new())]);
        let mut floor = 0;
        for _ in 0..=dice.below(FLUSHES_MAX) {
            let records = (0..=dice.below(4)).map(|_| record(dice)).collect();
            if dice.below(4) == 0 {
                floor = floor.max(dice.number() % (author.through() + 1));
            }
            author.flush(records, floor);
            states.insert(author.through(), author.held.clone());
        }
        Self { origin: author.origin, states }
    }

    /// The number of its last record.
    fn end(&self) -> u64 {
        *self.states.last_key_value().expect("the empty log is one").0
    }

    /// What somebody who has come to some state sends to somebody who stands so: at most `count` records.
    fn range(&self, state: u64, standing: u64, count: usize) -> Option<(Range, Vec<SignedRef>)> {
        let (end, held) = self.states.range(..=state % (self.end() + 1)).next_back()?;
        let floor = held.last_key_value()?.1.head().floor.min(end - 1);
        let from = match Standing::from_number(standing) {
            Standing::Through(seq) if seq < floor => 0,
            Standing::Through(seq) | Standing::Staged(seq) if seq <= *end => seq,
            _ => return None,
        };
        let records: Vec<SignedRef> = held.range(from + 1..).take(count).map(|(_, signed)| signed.clone()).collect();
        Some((range_of(from, records.last()?.record.seq < *end, &records)?, records))
    }
}

fn record(dice: &mut Dice<'_>) -> Record {
    let choice = dice.byte();
    let ahead_ms = if dice.below(16) == 0 { u64::from(dice.byte()) * 1_000 % (AHEAD_MS_MAX + 1) } else { 0 };
    Record {
        zone: "z".into(),
        // A kind nobody knows: the logs do not care.
        kind: Kind::Unknown(77).number(),
        name: format!("{}{}.z", if choice & 1 == 0 { "t" } else { "T" }, choice % 5),
        node: NodeId([0; 32]),
        incarnation: 0,
        seq: 0,
        epoch: 0,
        hlc: (WALL_MS + ahead_ms) << 16,
        visibility: VISIBILITY_PUBLIC,
        issued_ms: 0,
        expires_ms: 0,
        def_hash: None,
        body: (choice < 200).then(|| vec![choice]),
    }
}

/// A registry and its clock.
struct Replica {
    registry: Registry,
    now: Now,
}

impl Replica {
    fn new() -> Self {
        let registry = Registry::new(ZoneName::parse("z").expect("a zone"));
        Self { registry, now: Now { mono: Duration::ZERO, wall_ms: WALL_MS } }
    }

    fn pass(&mut self, time: Duration) {
        self.now.mono += time;
        self.now.wall_ms += u64::try_from(time.as_millis()).unwrap_or(0);
        while self.registry.retry(self.now).is_some() {}
    }

    /// What is said to a sender of one log.
    fn standing(&self, origin: Origin, sender: NodeId) -> u64 {
        self.registry.standing(origin, sender, self.now.mono).number()
    }

    /// Takes a range, or does not.
    fn take(&mut self, sender: NodeId, range: &Range, records: &[SignedRef]) -> Result<(), RangeError> {
        let (through, digest) = (self.registry.through(range.origin), self.registry.digest());
        let result = self.registry.apply(sender, range, records, self.now).map(drop);
        assert!(self.registry.through(range.origin) >= through, "I1");
        assert!(result.is_ok() || self.registry.digest() == digest, "what is refused changes nothing");
        result
    }

    /// I2: what is held is what the writer held then, record by record and head by head, and nothing of it is too far ahead.
    fn check(&self, history: &History) {
        let through = self.registry.through(history.origin);
        let expected = history.states.get(&through).expect("a log ends where its writer once ended it");
        assert!(
            self.registry.records_of(history.origin).eq(expected.values()),
            "not what its writer held at {through}"
        );
        let clock_ms = self.now.wall_ms + u64::try_from(CLOCK_AHEAD_MAX.as_millis()).unwrap_or(0);
        assert!(expected.values().all(|signed| signed.record.hlc >> 16 <= clock_ms), "held, and ahead of the clock");
    }

    /// Asks somebody honest until nothing more comes.
    fn catch_up(&mut self, honest: &Self, verifier: &mut Verifier) {
        // Whoever sent parts is given up, and every stamp is in the past.
        self.pass(STAGE_PATIENCE + Duration::from_millis(AHEAD_MS_MAX));
        for round in 0.. {
            assert!(round < ROUNDS_MAX, "there is no end of it");
            let entries = self.registry.entries(SENDERS[0], u64::MAX, self.now.mono);
            let vector = Vector { buckets: u64::MAX, entries, reply: false };
            let (frames, _) = honest.registry.frames_for(&vector, ROUND_BYTES);
            if frames.is_empty() {
                break;
            }
            for range in frames.iter().flatten() {
                let open = |bytes: &Vec<u8>| verifier.open(bytes).expect("it was signed");
                let records: Vec<SignedRef> = range.records.iter().map(open).collect();
                // Refused once, as when it went on from a liar's part, it is asked for again.
                let _ = self.take(SENDERS[0], range, &records);
            }
        }
        assert_eq!(
            (self.registry.digest(), self.registry.buckets(), self.registry.vector()),
            (honest.registry.digest(), honest.registry.buckets(), honest.registry.vector()),
            "I2"
        );
    }
}

/// Somebody who holds all of these logs, and a clock at which they are in the past.
fn honest(histories: &[History]) -> Replica {
    let mut honest = Replica::new();
    honest.pass(Duration::from_millis(AHEAD_MS_MAX));
    for history in histories {
        let (range, records) = history.range(history.end(), 0, usize::MAX).expect("a log is not empty");
        honest.take(SENDERS[1], &range, &records).expect("a whole log is taken");
        honest.check(history);
    }
    honest
}

/// Honest ranges of several senders in any order, cut, doubled and stale, to two replicas; then the rest. Both end as the logs
/// themselves.
pub(crate) fn delta(bytes: &[u8]) {
    let dice = &mut Dice(bytes);
    let histories = [History::write(dice, 1), History::write(dice, 2)];
    let mut replicas = [Replica::new(), Replica::new()];
    while !dice.is_empty() {
        let (replica, history) = (&mut replicas[dice.below(2)], &histories[dice.below(2)]);
        let sender = SENDERS[dice.below(SENDERS.len())];
        let stands = if dice.yes() { replica.standing(history.origin, sender) } else { dice.number() };
        let (state, count) = (dice.number(), if dice.yes() { 1 + dice.below(4) } else { usize::MAX });
        if dice.below(8) == 0 {
            replica.pass(Duration::from_millis(100 * u64::from(dice.byte())));
        } else if let Some((range, records)) = history.range(state, stands, count) {
            let at = replica.registry.through(history.origin);
            let nothing_waits = replica.registry.pending_bytes() == (0, 0);
            let result = replica.take(sender, &range, &records);
            match &result {
                Ok(()) | Err(RangeError::Gap | RangeError::Busy | RangeError::Incomplete) => {}
                Err(error) => panic!("honest, and refused: {error}"),
            }
            match range.from_exclusive {
                from if nothing_waits && from > at => assert_eq!(result, Err(RangeError::Gap)),
                from if nothing_waits && from == at && !range.cut => {
                    assert_eq!((result, replica.registry.holds(history.origin)), (Ok(()), range.to_inclusive));
                }
                _ => {}
            }
        }
        replica.check(history);
    }
    let (honest, mut verifier) = (honest(&histories), Verifier::default());
    for mut replica in replicas {
        replica.catch_up(&honest, &mut verifier);
    }
}

/// Parts of a log of any age, told by relays that leave out, double, swap and mix records, and lie about where a range begins and
/// ends; then somebody honest.
pub(crate) fn snapshot(bytes: &[u8]) {
    let dice = &mut Dice(bytes);
    let histories = [History::write(dice, 1)];
    let history = &histories[0];
    let mut replica = Replica::new();
    while !dice.is_empty() {
        let sender = SENDERS[dice.below(SENDERS.len())];
        let stands = if dice.yes() { replica.standing(history.origin, sender) } else { 0 };
        let (state, count) = (dice.number(), if dice.yes() { 1 + dice.below(4) } else { usize::MAX });
        let Some((mut range, mut records)) = history.range(state, stands, count) else { continue };
        let malformed = lie(dice, history, &mut range, &mut records);
        let result = replica.take(sender, &range, &records);
        assert!(!malformed || result == Err(RangeError::Malformed), "{result:?}");
        replica.check(history);
        match dice.below(16) {
            0 => replica = Replica::new(),
            1 => replica.pass(Duration::from_millis(100 * u64::from(dice.byte()))),
            _ => {}
        }
    }
    replica.catch_up(&honest(&histories), &mut Verifier::default());
}

/// What a relay can make of a range whose records it cannot change. Whether nobody can take it for one.
fn lie(dice: &mut Dice<'_>, history: &History, range: &mut Range, records: &mut Vec<SignedRef>) -> bool {
    let (victim, from, end) = (dice.below(records.len()), range.from_exclusive, range.to_inclusive);
    match dice.below(10) {
        0 => {
            records.remove(victim);
        }
        1 => records.insert(victim, records[victim].clone()),
        2 => records.swap(0, victim),
        3 => {
            // A record that stood once.
            let states = history.states.values().nth(dice.below(history.states.len()));
            let old = states.and_then(|held| held.values().nth(victim)).filter(|old| old.record.seq > from);
            records.extend(old.cloned());
            records.sort_by_key(|signed| signed.record.seq);
            records.dedup_by_key(|signed| signed.record.seq);
        }
        4 => range.from_exclusive = dice.number(),
        5 => range.to_inclusive = dice.number(),
        6 | 7 => range.cut = !range.cut,
        _ => {}
    }
    let ends = records.last().map(|signed| signed.record.seq);
    if dice.yes() && range.to_inclusive == end {
        range.to_inclusive = ends.unwrap_or(end);
    }
    let ascends = records.is_sorted_by(|one, next| one.record.seq < next.record.seq);
    let begins = records.first().is_some_and(|first| first.record.seq > range.from_exclusive);
    !begins || !ascends || ends != Some(range.to_inclusive)
}
