//! Invariants 3 and 5: a log held is the log written, and what was deleted is not shown again by who has known it deleted.
//!
//! A part of a log that was cut on its way may lack records that the rest of it overwrites, and tombstones that were collected
//! since: research §3, "overwritten records may be absent".

use std::collections::BTreeMap;

use aop_proto::record::{Origin, SignedRef};
use aop_proto::view::View;

use super::order::Order;
use super::truth::{Log, Truth};
use super::{Verdict, Violation, ensure};

/// One log of one host.
#[derive(Debug)]
pub(super) struct Held<'a> {
    pub(super) host: usize,
    pub(super) origin: Origin,
    pub(super) through: u64,
    pub(super) records: &'a BTreeMap<u64, SignedRef>,
}

/// Compares a log with what its origin wrote; whether it is exactly that, nothing left out that was overwritten later. With
/// `lenient`, a part of a log may lack what a peer withheld until its end is reached.
pub(super) fn compare(held: &Held<'_>, log: &Log, lenient: bool) -> Result<bool, Violation> {
    let Held { host, origin, through, records } = held;
    let (floor, at_end) = (log.floor_at(*through), log.records.get(through).map(|s| s.head().seq));
    let known = |seq: &u64| log.records.contains_key(seq);
    ensure(*through == 0 || known(through), 3, || {
        format!("host {host} is through {through} of {origin:?}, a number its origin never made durable")
    })?;
    let mut left: BTreeMap<u64, &SignedRef> = records.iter().map(|(seq, signed)| (*seq, signed)).collect();
    let mut exact = true;
    for signed in log.live(*through, 0) {
        let seq = signed.record.seq;
        let collected = signed.record.is_tombstone() && seq <= floor;
        match left.remove(&seq) {
            Some(found) => {
                ensure(found.hash == signed.hash, 2, || format!("host {host} holds another content for {signed:?}"))?;
                ensure(!collected || at_end != Some(*through), 3, || {
                    format!("host {host} at {through} still holds {signed:?}, a tombstone below the floor {floor}")
                })?;
            }
            None if collected => {}
            None => {
                let overwritten = log.by_key[&signed.record.key()].last() > Some(&seq);
                let forgotten = signed.record.is_tombstone() && seq <= log.floor;
                let withheld = lenient && at_end != Some(*through);
                ensure(overwritten || forgotten || withheld, 3, || {
                    format!("host {host} is through {through} of {origin:?} and lacks {signed:?}")
                })?;
                exact = false;
            }
        }
    }
    match left.values().next() {
        None => Ok(exact),
        Some(extra) => {
            let what = format!("host {host} is through {through} of {origin:?} and holds {extra:?} besides");
            Err(Violation { number: 3, what })
        }
    }
}

/// Whoever has held a tombstone shows nothing from before it. Of a log with two contents for one number nobody can say which was held.
pub(super) fn deleted(number: usize, view: &View, truth: &Truth, order: &Order) -> Verdict {
    for tool in view.tools.all() {
        for instance in tool.instances() {
            let record = &instance.signed.record;
            let Some(log) = truth.log(record.origin()).filter(|_| !truth.is_forked(record.origin())) else { continue };
            let Some(tombstone) = log.deleted_after(&record.key(), record.seq) else { continue };
            let reached = order.reached(number, record.node());
            ensure(reached < Some((record.origin().incarnation, tombstone)), 5, || {
                format!("host {number} has been at {reached:?} and shows {record:?}, deleted at {tombstone}")
            })?;
        }
    }
    Ok(())
}
