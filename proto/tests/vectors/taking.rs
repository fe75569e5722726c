//! Rule `taking`: ranges of one log as a node hears them, and what it holds then. The log is the one of PROTOCOL §10.1.

use std::sync::Arc;
use std::time::Duration;

use aop_proto::codec::Wire;
use aop_proto::name::ZoneName;
use aop_proto::now::Now;
use aop_proto::record::{Head, NodeId, Record, SignedRef};
use aop_proto::registry::{RangeError, Registry};
use aop_proto::trust::Verifier;
use aop_proto::wire::message::Range;
use serde_json::{Value, json};

use crate::author::{Author, range_of};
use crate::meaning::Meaning;
use crate::samples::{key, server_records};
use crate::support::hex;

/// After each range the number up to which the log is complete; in the end what is held of it, whether it is quarantined, and the
/// digest over everything.
pub(crate) fn output(input: &Value) -> Value {
    let mut registry = Registry::new(ZoneName::parse("research").expect("a zone"));
    let now = Now { mono: Duration::ZERO, wall_ms: u64::from_json(&input["wall_ms"]) };
    let mut origin = None;
    let mut through = Vec::new();
    for heard in input["heard"].as_array().expect("ranges") {
        let bytes: Vec<u8> = Meaning::from_json(&heard["range"]);
        let range = Range::decode(&bytes).expect("the range decodes");
        let opened: Result<Vec<SignedRef>, _> =
            range.records.iter().map(|bytes| Verifier::default().open(bytes)).collect();
        let taken = opened.ok().map(|records| registry.apply(NodeId::from_json(&heard["from"]), &range, &records, now));
        if let Some(Err(RangeError::Fork(evidence))) = taken {
            registry.quarantine(evidence);
        }
        through.push(registry.through(range.origin));
        origin = Some(range.origin);
    }
    let origin = origin.expect("something is heard");
    let held: Vec<u64> = registry.records_of(origin).map(|signed| signed.record.seq).collect();
    json!({
        "through": through, "held": held, "quarantined": registry.is_quarantined(origin),
        "digest": hex(&registry.digest())
    })
}

/// One who writes 1 A, 2 B, 3 A', 4 B† (a tombstone), 5 C, 6 C', each number signed alone.
struct Told {
    author: Author,
    /// The records under the head of their flush, from 1.
    all: Vec<SignedRef>,
}

impl Told {
    fn new(incarnation: u64) -> Self {
        Self { author: Author::new(key(1), incarnation), all: Vec::new() }
    }

    /// The log of the figure; tombstones up to `floor` are collected with the last record.
    fn whole(incarnation: u64, floor: u64) -> Self {
        let mut told = Self::new(incarnation);
        for (name, live) in [("a", true), ("b", true), ("a", true), ("b", false), ("c", true)] {
            told.write(name, live, 0);
        }
        told.write("c", true, floor);
        told
    }

    fn write(&mut self, name: &str, live: bool, floor: u64) {
        let record = record(name, live);
        self.all.extend(self.author.flush(vec![record], floor));
    }

    /// These numbers, as the range from `from` on.
    fn range(&self, from: u64, cut: bool, numbers: &[u64]) -> Range {
        let records: Vec<SignedRef> =
            self.all.iter().filter(|one| numbers.contains(&one.record.seq)).cloned().collect();
        range_of(from, cut, &records).expect("some")
    }
}

fn record(name: &str, live: bool) -> Record {
    let [record] = server_records(1).try_into().expect("one");
    let body = record.body.clone().filter(|_| live);
    Record { name: name.into(), body, ..record }
}

/// What is heard, case by case.
pub(crate) fn inputs() -> Vec<(&'static str, Value)> {
    let (told, collected, later) = (Told::whole(7, 0), Told::whole(7, 4), Told::whole(8, 0));
    let whole = told.range(0, false, &[3, 4, 6]);
    let first = told.range(0, true, &[3]);
    let swap = |range: &Range| Range { records: range.records.iter().rev().cloned().collect(), ..range.clone() };
    // Another third record than the one that was told, under a head that is as right.
    let mut forked = Told::new(7);
    for (name, live) in [("a", true), ("b", true), ("other", true)] {
        forked.write(name, live, 0);
    }
    let at = |seq: u64| {
        let mut far = Told::new(7);
        let record = Record { node: told.author.origin.node, incarnation: 7, seq, ..record("a", true) };
        let head = |signed: &SignedRef| Head {
            seq,
            floor: 0,
            count: 1,
            root: aop_proto::registry::root::root_of([(seq, signed.hash)].into_iter()),
        };
        let bare = Arc::new(far.author.sign(record.clone(), Head::default()));
        far.all.push(Arc::new(far.author.sign(record, head(&bare))));
        far.range(0, false, &[seq])
    };
    let cases: Vec<(&str, Vec<(u8, Range)>)> = vec![
        ("the whole log", vec![(2, whole.clone())]),
        ("the whole log, heard twice", vec![(2, whole.clone()), (3, whole.clone())]),
        ("the whole log, whose tombstone was collected", vec![(2, collected.range(0, false, &[3, 6]))]),
        (
            "what follows",
            vec![
                (2, told.range(0, false, &[1])),
                (2, told.range(1, false, &[2])),
                (3, told.range(2, false, &[3, 4, 6])),
            ],
        ),
        ("what follows overlaps", vec![(2, told.range(0, false, &[1, 2])), (2, told.range(1, false, &[3, 4, 6]))]),
        ("a gap", vec![(2, told.range(0, false, &[1])), (2, told.range(2, false, &[3, 4, 6]))]),
        (
            "in parts of one sender",
            vec![(2, first.clone()), (2, told.range(3, true, &[4])), (2, told.range(4, false, &[6]))],
        ),
        (
            "a part of another sender between",
            vec![(2, first.clone()), (3, told.range(3, false, &[4, 6])), (2, told.range(3, false, &[4, 6]))],
        ),
        ("a live record left out", vec![(2, told.range(0, false, &[4, 6]))]),
        ("a replaced record put in", vec![(2, told.range(0, false, &[1, 3, 4, 6]))]),
        ("a tombstone left out that is not collected", vec![(2, told.range(0, false, &[3, 6]))]),
        ("an end without its last record", vec![(2, Range { to_inclusive: 7, ..whole.clone() })]),
        ("no records", vec![(2, Range { records: Vec::new(), ..whole.clone() })]),
        ("not ascending", vec![(2, Range { to_inclusive: 3, ..swap(&whole) })]),
        (
            "a record at its beginning",
            vec![
                (2, told.range(0, false, &[1, 2])),
                (2, Range { from_exclusive: 3, ..told.range(0, false, &[3, 4, 6]) }),
            ],
        ),
        ("under the number of another life", vec![(2, Range { origin: later.author.origin, ..whole.clone() })]),
        ("a later life, and then the one before", vec![(2, later.range(0, false, &[3, 4, 6])), (2, whole.clone())]),
        ("a life, and then the next", vec![(2, whole.clone()), (2, later.range(0, false, &[3, 4, 6]))]),
        (
            "two contents of one number",
            vec![
                (2, told.range(0, false, &[1, 2])),
                (2, told.range(2, false, &[3])),
                (3, forked.range(2, false, &[3])),
            ],
        ),
        (
            "a quarantined log goes on",
            vec![
                (2, told.range(0, false, &[1, 2, 3])),
                (2, told.range(2, false, &[3])),
                (3, forked.range(2, false, &[3])),
                (2, told.range(3, false, &[4, 6])),
            ],
        ),
        ("the last number there may be", vec![(2, at((1 << 62) - 1))]),
        ("a number more", vec![(2, at(1 << 62))]),
    ];
    let entry = |(name, heard): (&str, Vec<(u8, Range)>)| {
        let heard: Vec<Value> = heard
            .iter()
            .map(|(from, range)| json!({"from": hex(&key(*from).verifying_key().to_bytes()), "range": hex(&range.encode())}))
            .collect();
        ("taking", json!({"name": name, "wall_ms": 1_790_000_000_000_u64, "heard": heard}))
    };
    cases.into_iter().map(entry).collect()
}
