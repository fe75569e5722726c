//! The rules of the logs, one by one. `model` has them all at once.

mod forks;
mod parts;

use std::sync::Arc;
use std::time::Duration;

use super::author::{Author, NOW, opened, range, registry, under};
use super::*;
use crate::codec::Wire;
use crate::now::Now;
use crate::params::{
    DEFERRED_BYTES_MAX, LOG_BYTES_MAX, LOG_BYTES_RECORD, RECORD_BYTES_MAX, STAGE_PATIENCE, STAGED_BYTES_MAX,
    TOMBSTONE_KEPT,
};
use crate::record::{Envelope, Signed};
use crate::wire::message::{Range, Vector};

const A: NodeId = NodeId([0xaa; 32]);
const B: NodeId = NodeId([0xbb; 32]);

pub(super) fn all_of(registry: &Registry, to: NodeId, now: Now) -> Vector {
    Vector { buckets: u64::MAX, entries: registry.entries(to, u64::MAX, now.mono), reply: false }
}

fn taken(registry: &mut Registry, from: u64, records: &[SignedRef]) -> Applied {
    registry.apply(A, &range(from, records), records, NOW).unwrap()
}

/// How many records each range had that was held back until then.
fn retried(registry: &mut Registry, now: Now) -> Vec<usize> {
    std::iter::from_fn(|| registry.retry(now)).map(|applied| applied.stored.len()).collect()
}

fn refused(registry: &mut Registry, from: u64, records: &[SignedRef]) -> RangeError {
    let before = (registry.digest(), registry.vector());
    let error = registry.apply(A, &range(from, records), records, NOW).unwrap_err();
    assert_eq!(before, (registry.digest(), registry.vector()), "what is refused changes nothing");
    error
}

fn names(registry: &Registry, origin: Origin) -> Vec<&str> {
    registry.records_of(origin).map(|signed| signed.record.name()).collect()
}

/// A log of `count` records, each of its own flush, then a change to the first: no cut of it ends in a state that was signed.
fn long(number: u8, count: usize) -> Author {
    let mut author = Author::new(number, 1);
    for at in 0..count {
        author.put(&format!("t{at}.z"), &[at as u8; 100]);
    }
    author.put("t0.z", b"changed");
    author
}

#[test]
fn a_gap_is_refused_and_moves_nothing() {
    let (mut author, mut registry) = (Author::new(1, 1), registry());
    let one = author.put("a.z", b"1");
    author.put("b.z", b"2");
    let three = author.put("c.z", b"3");
    taken(&mut registry, 0, &one);
    assert_eq!(refused(&mut registry, 2, &three), RangeError::Gap);
    assert_eq!(registry.through(author.origin), 1);
}

#[test]
fn equal_vectors_are_equal_digests_whatever_the_way() {
    let (mut author, mut straight, mut compacted) = (Author::new(1, 1), registry(), registry());
    let empty = straight.digest();
    for at in 0..30_u64 {
        let records = author.put(if at < 25 { "a.z" } else { "b.z" }, &[at as u8]);
        taken(&mut straight, at, &records);
    }
    assert_eq!(straight.records_of(author.origin).count(), 2, "overwritten records are gone");
    let (range, records) = author.whole();
    compacted.apply(A, &range, &records, NOW).unwrap();
    assert_eq!((straight.digest(), straight.buckets()), (compacted.digest(), compacted.buckets()));
    assert_ne!(straight.digest(), empty);
}

#[test]
fn a_range_is_of_one_origin_and_ends_in_its_last_record() {
    let (mut author, mut registry) = (Author::new(1, 1), registry());
    let records = author.flush(&[("a.z", Some(b"1")), ("b.z", Some(b"2"))]);
    let good = range(0, &records);
    let bad = [
        Range { to_inclusive: 99, ..good.clone() },
        Range { to_inclusive: 1, ..good.clone() },
        Range { from_exclusive: 1, ..good.clone() },
        Range { origin: Author::new(2, 1).origin, ..good.clone() },
        Range { origin: Author::new(1, 2).origin, ..good.clone() },
    ];
    for range in bad {
        assert_eq!(registry.apply(A, &range, &records, NOW).unwrap_err(), RangeError::Malformed);
    }
    assert_eq!(registry.apply(A, &good, &[], NOW).unwrap_err(), RangeError::Malformed);
    let mut other = Registry::new(ZoneName::parse("y").unwrap());
    assert_eq!(other.apply(A, &good, &records, NOW).unwrap_err(), RangeError::Malformed);
    registry.apply(A, &good, &records, NOW).unwrap();
}

#[test]
fn what_a_relay_leaves_out_is_noticed_and_comes_from_another() {
    for count in [3, 40] {
        let (mut author, mut registry) = (Author::new(1, 1), registry());
        for at in 0..count {
            author.put(&format!("t{at}.z"), b"1");
        }
        let (range, records) = author.whole();
        registry.apply(A, &range, &records, NOW).unwrap();
        let from = author.seq;
        let records = author.flush(&[("x.z", Some(b"1")), ("t1.z", None), ("y.z", Some(b"1"))]);
        for left_out in 0..2 {
            let mut less = records.clone();
            less.remove(left_out);
            assert_eq!(refused(&mut registry, from, &less), RangeError::Incomplete);
        }
        assert_eq!(refused(&mut registry, from, &records[..2]), RangeError::Incomplete, "nor is the end left out");
        assert_eq!(taken(&mut registry, from, &records).stored.len(), 3);
    }
}

#[test]
fn old_versions_in_the_place_of_new_ones_are_refused() {
    let (mut author, mut registry) = (Author::new(1, 1), registry());
    let old = author.put("a.z", b"old");
    author.put("a.z", b"new");
    let last = author.put("b.z", b"1");
    let stale = [old[0].clone(), last[0].clone()];
    assert_eq!(refused(&mut registry, 0, &stale), RangeError::Incomplete);
    let (range, records) = author.whole();
    registry.apply(B, &range, &records, NOW).unwrap();
}

#[test]
fn what_is_left_out_behind_a_cut_is_found_out() {
    let author = long(1, 20);
    let (mut registry, records) = (registry(), author.held());
    let first = [records[0].clone(), records[2].clone()];
    let cut = Range { cut: true, ..range(0, &first) };
    assert!(registry.apply(A, &cut, &first, NOW).unwrap().changes.is_empty());
    assert_eq!(registry.standing(author.origin, A, NOW.mono), Standing::Staged(first[1].record.seq));
    let rest = &records[3..];
    let last = range(first[1].record.seq, rest);
    assert_eq!(registry.apply(A, &last, rest, NOW).unwrap_err(), RangeError::Incomplete);
    assert_eq!(registry.pending_bytes(), (0, 0), "and all of it is forgotten");
    registry.apply(B, &range(0, &records), &records, NOW).unwrap();
}

#[test]
fn a_log_that_grew_without_overwriting_is_taken_part_by_part() {
    let (mut author, mut registry) = (Author::new(1, 1), registry());
    for at in 0..20 {
        author.put(&format!("t{at}.z"), b"1");
    }
    let records = author.held();
    let cut = Range { cut: true, ..range(0, &records[..12]) };
    assert_eq!(registry.apply(A, &cut, &records[..12], NOW).unwrap().stored.len(), 12);
    assert_eq!((registry.through(author.origin), registry.pending_bytes()), (12, (0, 0)));
    registry.apply(B, &range(12, &records[12..]), &records[12..], NOW).unwrap();
}

#[test]
fn a_snapshot_cut_in_the_middle_revives_nothing_and_shows_nothing() {
    let (mut author, mut registry) = (long(1, 20), registry());
    let before = author.held();
    taken(&mut registry, 0, &before);
    let digest = registry.digest();
    for at in 5..15 {
        author.delete(&format!("t{at}.z"));
    }
    author.floor = author.seq;
    author.put("end.z", b"1");
    author.put("t1.z", b"2");
    // Behind the floor, the tombstones are gone: only the whole says what is deleted.
    let records = author.held();
    let cut = Range { cut: true, ..range(0, &records[..5]) };
    let applied = registry.apply(A, &cut, &records[..5], NOW).unwrap();
    assert!(applied.changes.is_empty() && applied.stored.is_empty() && applied.dropped.is_empty());
    assert_eq!((registry.digest(), registry.records_of(author.origin).count()), (digest, before.len()));
    let rest = range(records[4].record.seq, &records[5..]);
    let applied = registry.apply(A, &rest, &records[5..], NOW).unwrap();
    let gone = applied.changes.iter().filter(|change| matches!(change, Change::Gone(_))).count();
    assert_eq!((gone, applied.dropped.len()), (10, 11));
    assert_eq!(registry.records_of(author.origin).cloned().collect::<Vec<_>>(), records);
}

#[test]
fn snapshots_of_two_senders_never_mix() {
    let (author, mut registry) = (long(1, 20), registry());
    let records = author.held();
    let part = |from: usize, to: usize, cut| {
        let after = if from == 0 { 0 } else { records[from - 1].record.seq };
        (Range { cut, ..range(after, &records[from..to]) }, records[from..to].to_vec())
    };
    let mut apply = |sender, (range, records): (Range, Vec<SignedRef>), mono| {
        registry.apply(sender, &range, &records, Now { mono, ..NOW }).map(|applied| applied.stored.len())
    };
    assert_eq!(apply(A, part(0, 5, true), Duration::ZERO), Ok(0));
    assert_eq!(apply(B, part(5, 10, true), Duration::ZERO), Err(RangeError::Gap));
    assert_eq!(apply(B, part(0, 5, true), Duration::ZERO), Err(RangeError::Busy));
    // The first has gone silent. Each goes on where its own parts end.
    assert_eq!(apply(B, part(0, 10, true), STAGE_PATIENCE), Ok(0));
    assert_eq!(apply(A, part(10, 20, false), STAGE_PATIENCE), Err(RangeError::Gap));
    assert_eq!(apply(B, part(5, 20, false), STAGE_PATIENCE), Err(RangeError::Gap));
    assert_eq!(apply(A, part(5, 20, false), STAGE_PATIENCE), Ok(20));
    assert_eq!(apply(B, part(10, 20, false), STAGE_PATIENCE), Ok(0), "nothing new");
}

#[test]
fn while_a_log_comes_from_one_sender_it_is_not_asked_of_others() {
    let (author, mut registry) = (long(1, 20), registry());
    let records = author.held();
    let cut = Range { cut: true, ..range(0, &records[..5]) };
    registry.apply(A, &cut, &records[..5], NOW).unwrap();
    let said = |to, mono| all_of(&registry, to, Now { mono, ..NOW }).entries;
    let entry = |standing: Standing| vec![(author.origin, standing.number())];
    assert_eq!(said(A, Duration::ZERO), entry(Standing::Staged(records[4].record.seq)));
    assert_eq!(said(B, Duration::ZERO), entry(Standing::NotNow));
    assert_eq!(said(B, STAGE_PATIENCE), [], "all of it is asked for");
    // Whoever sends all of it at once is heard all the same.
    let mut registry = registry;
    assert_eq!(registry.apply(B, &range(0, &records), &records, NOW).unwrap().stored.len(), 20);
    assert_eq!(registry.pending_bytes(), (0, 0));
}

#[test]
fn collected_tombstones_leave_equal_digests_whoever_saw_them() {
    for others in [1, 30] {
        let (mut author, mut follower, mut late) = (Author::new(1, 1), registry(), registry());
        for at in 0..others {
            let records = author.put(&format!("t{at}.z"), b"1");
            taken(&mut follower, at, &records);
        }
        let records = author.delete("t0.z");
        taken(&mut follower, others, &records);
        assert_eq!(follower.tombstones_of(author.origin).collect::<Vec<_>>(), [others + 1]);
        author.floor = author.seq;
        let records = author.put("last.z", b"1");
        let applied = taken(&mut follower, others + 1, &records);
        assert_eq!(applied.dropped, [(author.origin, others + 1)], "the store is told");
        let (range, records) = author.whole();
        late.apply(A, &range, &records, NOW).unwrap();
        assert_eq!((follower.digest(), follower.floor(author.origin)), (late.digest(), others + 1));
        assert!(names(&late, author.origin).iter().eq(names(&follower, author.origin).iter()));
    }
}

#[test]
fn the_last_record_is_never_collected() {
    let (mut author, mut registry) = (Author::new(1, 1), registry());
    taken(&mut registry, 0, &author.put("a.z", b"1"));
    let gone = author.delete("a.z");
    let over = under(Head { floor: 2, ..*gone[0].head() }, &gone[0]);
    taken(&mut registry, 1, &[over]);
    assert_eq!((registry.through(author.origin), registry.floor(author.origin)), (2, 1));
}

#[test]
fn whoever_is_below_the_floor_is_sent_everything() {
    let (mut author, mut sender) = (Author::new(1, 1), registry());
    taken(&mut sender, 0, &author.put("a.z", b"1"));
    let below = taken(&mut registry(), 0, &author.held()).stored;
    taken(&mut sender, 1, &author.delete("a.z"));
    author.floor = 2;
    taken(&mut sender, 2, &author.put("b.z", b"1"));
    let from = |standing| sender.range_of(author.origin, standing).map(|range| range.from_exclusive);
    assert_eq!(from(Standing::Through(1)), Some(0));
    assert_eq!(from(Standing::Through(2)), Some(2));
    assert_eq!(from(Standing::Staged(1)), Some(1), "a snapshot goes on where it is");
    assert_eq!(from(Standing::Through(3)), None);
    let mut peer = registry();
    taken(&mut peer, 0, &below);
    let range = sender.range_of(author.origin, Standing::Through(1)).unwrap();
    let applied = peer.apply(A, &range, &opened(&range), NOW).unwrap();
    assert!(matches!(&applied.changes[..], [Change::Gone(_), Change::Put(_)]));
    assert_eq!(peer.digest(), sender.digest());
}

#[test]
fn what_is_stamped_too_far_ahead_waits_with_all_that_follows() {
    let (mut author, mut registry) = (Author::new(1, 1), registry());
    taken(&mut registry, 0, &author.put("a.z", b"1"));
    let digest = registry.digest();
    author.wall_ms += 10_000;
    let ahead = author.put("b.z", b"2");
    author.wall_ms -= 10_000;
    let later = author.put("c.z", b"3");
    assert_eq!(taken(&mut registry, 1, &ahead).ahead_ms, 9_500);
    assert!(taken(&mut registry, 2, &later).stored.is_empty(), "it follows what waits");
    assert_eq!((registry.digest(), registry.through(author.origin)), (digest, 1));
    assert_eq!(registry.holds(author.origin), 3, "and need not be fetched");
    let theirs = [(author.origin, 3)];
    assert!(!registry.lacks_from(&theirs) && !registry.has_reached(&theirs), "nor can it be read");
    assert_eq!(registry.standing(author.origin, B, NOW.mono), Standing::NotNow);
    assert_eq!(registry.next_retry(NOW), Some(Duration::from_millis(9_500)));
    assert!(registry.retry(Now { wall_ms: NOW.wall_ms + 9_499, ..NOW }).is_none());
    assert_eq!(retried(&mut registry, Now { wall_ms: NOW.wall_ms + 9_500, ..NOW }), [1, 1]);
    assert_eq!(
        (registry.through(author.origin), registry.next_retry(NOW), registry.pending_bytes()),
        (3, None, (0, 0))
    );
    assert!(registry.has_reached(&theirs));
    let none = self::registry();
    let waits = [(author.origin, Standing::NotNow.number())];
    assert!(registry.has_reached(&waits) && !none.has_reached(&waits), "who waits holds what came before");
}

#[test]
fn two_contents_are_seen_though_one_of_them_waits_for_the_clock() {
    let (mut author, mut twin, mut registry) = (Author::new(1, 1), Author::new(1, 1), registry());
    author.wall_ms += 10_000;
    assert_eq!(taken(&mut registry, 0, &author.put("a.z", b"1")).ahead_ms, 9_500);
    twin.put("a.z", b"2");
    twin.put("b.z", b"2");
    let RangeError::Fork(evidence) = refused(&mut registry, 0, &twin.held()) else { panic!("it is taken for honest") };
    registry.quarantine(evidence);
    assert!(registry.is_quarantined(author.origin) && registry.next_retry(NOW).is_none());
}

#[test]
fn what_waits_for_the_clock_is_bounded_and_fetched_again() {
    let mut registry = registry();
    let mut authors: Vec<Author> = (1..=100).map(|number| Author::new(number, 1)).collect();
    for author in &mut authors {
        author.wall_ms += 10_000;
        let records = author.put("a.z", &[0; RECORD_BYTES_MAX - 256]);
        assert_eq!(taken(&mut registry, 0, &records).ahead_ms, 9_500);
    }
    assert!(registry.pending_bytes().1 <= DEFERRED_BYTES_MAX);
    assert!(authors.iter().all(|author| registry.standing(author.origin, B, NOW.mono) == Standing::NotNow));
    let later = Now { wall_ms: NOW.wall_ms + 10_000, ..NOW };
    let kept = retried(&mut registry, later).len();
    assert!((50..100).contains(&kept), "{kept} were kept");
    for author in authors {
        let (range, records) = author.whole();
        registry.apply(A, &range, &records, later).unwrap();
    }
    assert_eq!(registry.origins(), 100);
}

#[test]
fn parts_of_one_log_are_bounded() {
    let (mut author, mut registry) = (Author::new(1, 1), registry());
    author.put("t.z", b"1");
    let mut from = 0;
    let refused = loop {
        let signed = author.flush(&[("a.z", Some(b"1"))]).remove(0);
        let records = [signed.weighing(RECORD_BYTES_MAX)];
        let cut = Range { cut: true, ..range(from, &records) };
        from = cut.to_inclusive;
        match registry.apply(A, &cut, &records, NOW) {
            Ok(_) => assert!(registry.pending_bytes().0 <= STAGED_BYTES_MAX),
            Err(refused) => break refused,
        }
    };
    assert_eq!((refused, registry.pending_bytes()), (RangeError::Full, (0, 0)));
    assert!(from as usize > STAGED_BYTES_MAX / (2 * RECORD_BYTES_MAX) * 9 / 10);
}

#[test]
fn whatever_a_log_may_hold_fits_the_parts() {
    let largest = u64::MAX;
    let mut record = Author::new(1, largest).put("a.z", b"").remove(0).record.to_record();
    (record.seq, record.epoch, record.hlc) = (largest, largest, largest);
    (record.issued_ms, record.expires_ms, record.def_hash) = (largest, largest, Some([1; 32]));
    (record.kind, record.visibility) = (u8::MAX, u8::MAX);
    record.body = Some(vec![0; 60_000]);
    let head = Head { seq: largest, floor: largest, count: largest, root: [1; 32] };
    let (payload, path) =
        (record.encode(), vec![[1; 32]; LOG_BYTES_MAX.div_ceil(LOG_BYTES_RECORD).ilog2() as usize + 1]);
    let envelope = Envelope { payload, index: u32::MAX, path, head, signature: [1; 64] }.encode();
    let signed = Arc::new(Signed::read(&envelope).unwrap());
    assert!(deferred::bytes_of(std::slice::from_ref(&signed)) <= 2 * signed.record.counted_bytes());
    const { assert!(2 * LOG_BYTES_MAX <= STAGED_BYTES_MAX) };
}

/// How large a log is follows from the state that its head names, so all who look agree; nobody goes on with one that is too large,
/// whole, in parts or by what follows, until its origin has made it smaller.
#[test]
fn a_log_that_is_too_large_is_not_taken_until_it_is_smaller() {
    let body: &[u8] = &[7; 1000];
    let (mut author, mut held, mut fresh) = (Author::new(1, 1), registry(), registry());
    let first = author.flush(&[("a.z", Some(body)), ("b.z", Some(body))]);
    let most = first.iter().map(|signed| signed.record.counted_bytes()).sum();
    for registry in [&mut held, &mut fresh] {
        registry.log_bytes_max = most;
    }
    taken(&mut held, 0, &first);
    assert_eq!(held.log_bytes(author.origin), (most, most));
    let before = held.digest();
    let third = author.put("c.z", b"");
    assert_eq!(refused(&mut held, 2, &third), RangeError::TooLarge);
    let (whole, records) = author.whole();
    assert_eq!(fresh.apply(A, &whole, &records, NOW).unwrap_err(), RangeError::TooLarge);
    assert_eq!((held.digest(), fresh.origins()), (before, 0), "nothing changed");
    assert!(held.incomplete().next().is_none(), "nor is it doubted");
    let fourth = author.put("a.z", b"");
    let both: Vec<SignedRef> = third.into_iter().chain(fourth.clone()).collect();
    assert_eq!(refused(&mut held, 2, &both), RangeError::TooLarge);
    // In parts, of which the first is too much.
    let fifth = author.delete("b.z");
    let cut = Range { cut: true, ..range(2, &both) };
    assert!(held.apply(A, &cut, &both, NOW).unwrap().stored.is_empty());
    taken(&mut held, 4, &fifth);
    let (whole, records) = author.whole();
    fresh.apply(A, &whole, &records, NOW).unwrap();
    assert_eq!((held.digest(), held.log_bytes(author.origin)), (fresh.digest(), fresh.log_bytes(author.origin)));
}

#[test]
fn a_reaped_life_is_dropped_and_refused_and_its_mark_is_compared() {
    let (mut author, mut holder, mut other) = (Author::new(1, 5), registry(), registry());
    let records = author.put("a.z", b"1");
    taken(&mut holder, 0, &records);
    let applied = holder.reap(author.origin.node, 5);
    assert!(matches!(&applied.changes[..], [Change::Gone(_)]) && applied.dropped.len() == 1);
    assert_eq!((refused(&mut holder, 0, &records), holder.origins()), (RangeError::Superseded, 0));
    let unmarked = other.digest();
    other.reap(author.origin.node, 5);
    assert_eq!((holder.digest(), holder.buckets()), (other.digest(), other.buckets()));
    assert_ne!(other.digest(), unmarked);
    assert!(!holder.lacks_from(&[(author.origin, 1)]));
    other.reap(author.origin.node, 4);
    assert_eq!(holder.digest(), other.digest(), "marks only rise");
    taken(&mut holder, 0, &Author::new(1, 6).put("a.z", b"1"));
    other.lift(author.origin.node);
    assert_eq!(other.digest(), unmarked);
}

#[test]
fn another_life_takes_over_only_when_it_is_whole() {
    let (mut author, mut registry) = (Author::new(1, 1), registry());
    taken(&mut registry, 0, &author.put("a.z", b"1"));
    let mut reborn = Author::new(1, 2);
    for at in 0..10 {
        reborn.put(&format!("t{at}.z"), b"1");
    }
    reborn.put("t0.z", b"2");
    let records = reborn.held();
    let cut = Range { cut: true, ..range(0, &records[..5]) };
    assert!(registry.apply(A, &cut, &records[..5], NOW).unwrap().changes.is_empty());
    assert_eq!(registry.vector(), [(author.origin, 1)], "nothing blinks");
    assert_eq!(refused(&mut registry, 11, &reborn.put("x.z", b"1")), RangeError::Gap);
    let rest = range(records[4].record.seq, &records[5..]);
    let applied = registry.apply(A, &rest, &records[5..], NOW).unwrap();
    assert_eq!((applied.changes.len(), applied.dropped), (11, vec![(author.origin, 1)]));
    assert_eq!(registry.vector(), [(reborn.origin, 11)]);
    assert_eq!(refused(&mut registry, 1, &author.put("b.z", b"1")), RangeError::Superseded);
}

#[test]
fn a_tombstone_takes_out_and_a_record_replaces_whatever_the_case_of_its_name() {
    for others in [0, 20] {
        let (mut author, mut registry) = (Author::new(1, 1), registry());
        author.put("a.z", b"1");
        for at in 0..others {
            author.put(&format!("t{at}.z"), b"1");
        }
        let (all, records) = author.whole();
        registry.apply(A, &all, &records, NOW).unwrap();
        assert!(registry.latest(author.origin, Kind::Tool, "A.Z").is_some());
        assert!(registry.latest(author.origin, Kind::Server, "a.z").is_none());
        let from = author.seq;
        let applied = taken(&mut registry, from, &author.put("a.z", b"2"));
        assert!(matches!(&applied.changes[..], [Change::Put(_)]) && applied.dropped == [(author.origin, 1)]);
        let applied = taken(&mut registry, from + 1, &author.delete("a.z"));
        assert!(matches!(&applied.changes[..], [Change::Gone(old)] if old.record.seq == from + 1));
        assert!(registry.latest(author.origin, Kind::Tool, "a.z").unwrap().record.is_tombstone());
    }
}

#[test]
fn our_own_flushes_are_appended_whatever_they_overwrite() {
    let (mut author, mut registry) = (Author::new(1, 1), registry());
    author.wall_ms += 1_000_000;
    let applied = registry.append(&author.flush(&[("a.z", Some(b"1")), ("a.z", Some(b"2")), ("b.z", Some(b"1"))]));
    assert_eq!(
        (applied.stored.len(), applied.dropped),
        (2, vec![(author.origin, 1)]),
        "its own clock holds nothing back"
    );
    for at in 0..20 {
        registry.append(&author.put(&format!("t{at}.z"), b"1"));
    }
    registry.append(&author.flush(&[("b.z", None), ("t3.z", Some(b"2"))]));
    assert!(registry.records_of(author.origin).cloned().eq(author.held()));
}

#[test]
#[should_panic(expected = "our own head")]
fn our_own_head_has_to_be_right() {
    let mut author = Author::new(1, 1);
    let wrong = under(Head { seq: 1, ..Head::default() }, &author.put("a.z", b"1")[0]);
    registry().append(&[wrong]);
}

#[test]
fn a_log_that_the_store_has_only_in_part_is_shown_and_asked_for_again() {
    let (author, mut damaged, mut good) = (long(1, 20), registry(), registry());
    let mut less = author.held();
    less.remove(7);
    assert_eq!(damaged.restore(&less).changes.len(), 19);
    good.restore(&author.held());
    assert_ne!(damaged.digest(), good.digest());
    assert_eq!(damaged.standing(author.origin, A, NOW.mono), Standing::Through(0));
    assert!(damaged.frames_for(&all_of(&registry(), A, NOW), usize::MAX).0.is_empty(), "it is not passed on");
    let (frames, _) = good.frames_for(&all_of(&damaged, A, NOW), usize::MAX);
    let applied = damaged.apply(A, &frames[0][0], &opened(&frames[0][0]), NOW).unwrap();
    assert_eq!((applied.stored.len(), applied.dropped.len()), (1, 0));
    assert_eq!((damaged.digest(), damaged.incomplete().count()), (good.digest(), 0));
}

#[test]
fn what_the_store_was_about_to_drop_is_dropped_when_it_is_read() {
    let (mut author, mut registry) = (Author::new(1, 1), registry());
    let mut stored = author.put("a.z", b"1");
    stored.extend(author.put("b.z", b"1"));
    stored.extend(author.put("a.z", b"2"));
    let restored = registry.restore(&stored);
    assert_eq!((restored.stored.len(), restored.dropped), (2, vec![(author.origin, 1)]));
    let later = Author::new(1, 2).put("a.z", b"3");
    let restored = registry.restore(&later);
    assert_eq!(restored.dropped, [(author.origin, 2), (author.origin, 3)]);
    assert_eq!(registry.restore(&stored).dropped.len(), 3, "an earlier life");
}

#[test]
fn ranges_are_cut_on_record_borders_and_go_on_until_all_is_there() {
    let (author, mut sender) = (long(1, 60), registry());
    taken(&mut sender, 0, &author.held());
    taken(&mut sender, 0, &Author::new(2, 1).put("a.z", b"1"));
    for bytes in [1, 4_000, 1_000_000] {
        let (mut receiver, mut rounds) = (registry(), 0);
        loop {
            let (frames, more) = sender.frames_for(&all_of(&receiver, A, NOW), bytes);
            for range in frames.iter().flatten() {
                assert_eq!(range.records.len(), opened(range).len());
                receiver.apply(A, range, &opened(range), NOW).unwrap();
            }
            rounds += 1;
            assert!(rounds < 100, "every round brings something");
            if !more {
                break;
            }
        }
        assert_eq!((sender.digest(), rounds > 1), (receiver.digest(), bytes < 1_000_000));
    }
}

#[test]
fn frames_stay_near_their_target_and_one_log_goes_on_from_frame_to_frame() {
    let (mut author, mut sender, mut receiver) = (Author::new(1, 1), registry(), registry());
    for at in 0..400 {
        author.put(&format!("t{at}.z"), &[1; 2_000]);
    }
    taken(&mut sender, 0, &author.held());
    let (frames, more) = sender.frames_for(&all_of(&receiver, A, NOW), usize::MAX);
    assert!(!more && frames.len() > 3);
    for frame in &frames {
        assert!(frame.iter().map(range_bytes).sum::<usize>() <= crate::params::RANGES_BYTES_TARGET + 2_200);
        frame.iter().for_each(|range| _ = receiver.apply(A, range, &opened(range), NOW).unwrap());
    }
    assert_eq!(sender.digest(), receiver.digest());
}

#[test]
fn a_vector_speaks_of_its_buckets_or_of_single_origins() {
    let mut registry = registry();
    let authors: Vec<Author> = (0..=255).map(|number| Author::new(number, 1)).collect();
    let empty = *registry.buckets();
    for mut author in authors {
        let before = *registry.buckets();
        taken(&mut registry, 0, &author.put("a.z", b"1"));
        let changed: Vec<usize> = (0..BUCKETS).filter(|at| before[*at] != registry.buckets()[*at]).collect();
        assert_eq!(changed, [bucket_of(author.origin.node)]);
    }
    assert!(empty.iter().zip(registry.buckets()).all(|(empty, bucket)| empty != bucket));
    let mask = 1 << 3 | 1 << 63;
    let entries = registry.entries(A, mask, NOW.mono);
    assert!(entries.iter().all(|(origin, _)| mask >> bucket_of(origin.node) & 1 == 1) && entries.len() == 8);
    assert_eq!(registry.entries(A, u64::MAX, NOW.mono), registry.vector());
    let sent = |vector: &Vector| registry.frames_for(vector, usize::MAX).0.concat().len();
    assert_eq!(sent(&Vector { buckets: mask, entries: Vec::new(), reply: false }), 8);
    assert_eq!(sent(&Vector { buckets: mask, entries: entries[..3].to_vec(), reply: false }), 5);
    assert_eq!(sent(&Vector { buckets: 0, entries: Vec::new(), reply: false }), 0);
    let single = vec![(entries[0].0, 0), (entries[1].0, 1)];
    assert_eq!(sent(&Vector { buckets: 0, entries: single, reply: false }), 1);
}

#[test]
fn whoever_knows_a_later_life_is_sent_nothing_of_the_former_and_others_all_of_the_later() {
    let mut registry = registry();
    let mut author = Author::new(1, 5);
    taken(&mut registry, 0, &author.put("a.z", b"1"));
    let sent = |incarnation| {
        let entries = vec![(Origin { incarnation, ..author.origin }, 1)];
        registry.frames_for(&Vector { buckets: u64::MAX, entries, reply: false }, usize::MAX).0.concat().len()
    };
    assert_eq!((sent(4), sent(5), sent(6)), (1, 0, 0));
    let lacks = |incarnation, through| registry.lacks_from(&[(Origin { incarnation, ..author.origin }, through)]);
    assert_eq!((lacks(4, 9), lacks(5, 1), lacks(5, 2), lacks(6, 1)), (false, false, true, true));
}

#[test]
fn what_stands_in_a_vector_is_read_as_it_was_written() {
    let all =
        [Standing::Through(0), Standing::Through((1 << 62) - 1), Standing::Staged(1), Standing::Staged((1 << 62) - 1)];
    for standing in all.into_iter().chain([Standing::NotNow, Standing::Quarantined]) {
        assert_eq!(Standing::from_number(standing.number()), standing);
    }
    assert_eq!(Standing::Through(7).number(), 7);
    assert_eq!(Standing::Quarantined.number(), u64::MAX);
}

#[test]
fn tombstones_are_collectable_when_they_are_old() {
    let (mut author, mut registry) = (Author::new(1, 1), registry());
    assert_eq!(registry.collectable(author.origin, u64::MAX), 0);
    for name in ["a.z", "b.z", "c.z"] {
        registry.append(&author.put(name, b"1"));
        registry.append(&author.delete(name));
        author.wall_ms += 10;
    }
    let kept_ms = TOMBSTONE_KEPT.as_millis() as u64;
    let collectable = |passed_ms| registry.collectable(author.origin, NOW.wall_ms + kept_ms + passed_ms);
    assert_eq!(registry.collectable(author.origin, NOW.wall_ms + kept_ms - 1), 0);
    assert_eq!((collectable(0), collectable(9), collectable(10)), (2, 2, 4));
    assert_eq!(collectable(1000), 4, "the last record stays");
}

#[test]
fn one_origin_more_than_a_zone_may_have_is_refused() {
    let mut registry = registry();
    let mut node = [0; 32];
    for number in 0..ORIGINS_MAX as u32 {
        node[..4].copy_from_slice(&number.to_le_bytes());
        let mut author = Author::new(0, 1);
        author.origin.node = NodeId(node);
        taken(&mut registry, 0, &author.put("a.z", b"1"));
    }
    assert_eq!(refused(&mut registry, 0, &Author::new(9, 1).put("a.z", b"1")), RangeError::TooManyOrigins);
}

#[test]
fn a_small_log_takes_less_than_a_hundred_bytes_beside_its_records() {
    // The key and the slot in the tree's node, as full as random keys make it (about 0.7), and the list with its allocation.
    let entry = (size_of::<NodeId>() + size_of::<Slot>()) * 10 / 7;
    assert!(entry + size_of::<SignedRef>() + 8 < 100, "{entry}");
}
