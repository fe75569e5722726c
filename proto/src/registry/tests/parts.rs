//! What a certified member can do with parts of logs and stamps ahead of the clock: nothing that keeps another's log from anybody.

use super::*;
use crate::codec::Wire;
use crate::params::{DEFERRED_BYTES_NODE_MAX, FRAME_BYTES_MAX, LOAN_MAX, STAGED_BYTES_MAX, VECTOR_ENTRIES_MAX};

const ROGUE: NodeId = NodeId([0xee; 32]);

fn at(mono: Duration) -> Now {
    Now { mono, ..NOW }
}

fn at_second(count: u64) -> Now {
    at(seconds(count))
}

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// A part of a log that is cut, from record to record of what it holds.
fn part(records: &[SignedRef], from: usize, to: usize) -> (Range, &[SignedRef]) {
    let after = if from == 0 { 0 } else { records[from - 1].record.seq };
    (Range { cut: true, ..range(after, &records[from..to]) }, &records[from..to])
}

fn send(
    registry: &mut Registry,
    sender: NodeId,
    records: &[SignedRef],
    part_of: (usize, usize),
    now: Duration,
) -> bool {
    let (range, records) = part(records, part_of.0, part_of.1);
    registry.apply(sender, &range, records, at(now)).is_ok()
}

/// A node and a life of it, with one record under a stamp.
fn life(number: u32, incarnation: u64, hlc: u64) -> Author {
    let mut author = Author::new(0, incarnation);
    author.origin.node.0[..4].copy_from_slice(&number.to_be_bytes());
    author.wall_ms = hlc >> 16;
    author
}

/// A part of a log of a record as large as this many bytes, and more to come.
fn heavy(number: u32, bytes: usize) -> (Range, Vec<SignedRef>) {
    let signed = life(number, 1, NOW.wall_ms << 16).flush(&[("a.z", Some(b"1")), ("b.z", Some(b"1"))]).remove(0);
    let records = vec![signed.weighing(bytes / 2)];
    (Range { cut: true, ..range(0, &records) }, records)
}

/// The seconds, of so many, in which others than these are not asked for a log; they send what they like, each second.
fn kept_away(
    registry: &mut Registry,
    origin: Origin,
    seconds_max: u64,
    mut each: impl FnMut(&mut Registry, u64),
) -> Vec<u64> {
    let mut kept = Vec::new();
    for second in 0..seconds_max {
        each(registry, second);
        if registry.standing(origin, B, seconds(second)) == Standing::NotNow {
            kept.push(second);
        }
    }
    kept
}

#[test]
fn whoever_starts_over_again_and_again_keeps_a_log_away_for_a_moment_in_a_minute() {
    let (author, mut registry) = (long(1, 20), registry());
    let records = author.held();
    let kept = kept_away(&mut registry, author.origin, 120, |registry, second| {
        send(registry, ROGUE, &records, (0, 1), seconds(second));
    });
    assert_eq!(kept, (0..15).chain(60..75).collect::<Vec<u64>>());
}

#[test]
fn nor_do_several_who_take_turns() {
    let (author, mut registry) = (long(1, 20), registry());
    let records = author.held();
    let kept = kept_away(&mut registry, author.origin, 120, |registry, second| {
        for rogue in 1..=5 {
            send(registry, NodeId([rogue; 32]), &records, (0, 1), seconds(second));
        }
    });
    assert_eq!(kept, (0..15).chain(60..75).collect::<Vec<u64>>());
}

#[test]
fn nor_who_brings_one_old_state_after_the_other() {
    let (mut author, mut registry) = (Author::new(1, 1), registry());
    let names: Vec<String> = (0..40).map(|number| format!("t{number}.z")).collect();
    let flushes: Vec<Vec<SignedRef>> =
        names.chunks(2).map(|two| author.flush(&[(&two[0], Some(b"1")), (&two[1], Some(b"1"))])).collect();
    let kept = kept_away(&mut registry, author.origin, 60, |registry, second| {
        // A flush in two parts: the log moves on with the second, and the next has begun at once.
        let (flush, part) = (&flushes[second as usize / 4], second as usize % 4);
        if part == 0 || part == 3 {
            let one = &flush[usize::from(part == 3)..][..1];
            let range = Range { cut: part == 0, ..range(one[0].record.seq - 1, one) };
            registry.apply(ROGUE, &range, one, at_second(second)).unwrap();
        }
    });
    assert_eq!(registry.through(author.origin), 30);
    assert!(kept.iter().all(|second| *second < LOAN_MAX.as_secs()), "{kept:?}");
}

#[test]
fn nor_who_fails() {
    let (author, mut registry) = (long(1, 20), registry());
    let records = author.held();
    let wrong = range(records[0].record.seq, &records[2..3]);
    let kept = kept_away(&mut registry, author.origin, 60, |registry, second| {
        send(registry, ROGUE, &records, (0, 1), seconds(second));
        let failed = registry.apply(ROGUE, &wrong, &records[2..3], at_second(second));
        assert_eq!(failed.unwrap_err(), RangeError::Incomplete);
        send(registry, ROGUE, &records, (0, 1), seconds(second));
    });
    assert_eq!(kept, (0..15).collect::<Vec<u64>>());
}

#[test]
fn a_slow_sender_goes_on_beside_another() {
    let (author, mut registry) = (long(1, 60), registry());
    let records = author.held();
    let ends = |count: u64| records[count as usize - 1].record.seq;
    for second in 0..20 {
        assert!(send(&mut registry, A, &records, (second as usize, second as usize + 1), seconds(second)));
    }
    let said = |registry: &Registry, to| registry.standing(author.origin, to, seconds(19));
    assert_eq!((said(&registry, A), said(&registry, B)), (Standing::Staged(ends(20)), Standing::Through(0)));
    assert!(send(&mut registry, B, &records, (0, 5), seconds(19)));
    assert_eq!((said(&registry, A), said(&registry, B)), (Standing::Staged(ends(20)), Standing::Staged(ends(5))));
    let rest = range(ends(20), &records[20..]);
    registry.apply(A, &rest, &records[20..], at(seconds(20))).unwrap();
    assert_eq!((registry.through(author.origin), registry.pending_bytes()), (author.seq, (0, 0)));
}

#[test]
fn who_was_silent_starts_over_and_goes_on_where_that_ends() {
    let (author, mut registry) = (long(1, 60), registry());
    let records = author.held();
    send(&mut registry, A, &records, (0, 30), seconds(0));
    let said = |registry: &Registry, second| registry.standing(author.origin, A, seconds(second));
    assert_eq!(said(&registry, 10), Standing::Through(0));
    send(&mut registry, A, &records, (0, 10), seconds(10));
    assert_eq!(said(&registry, 11), Standing::Staged(records[9].record.seq));
}

#[test]
fn one_sender_does_not_fill_the_room_for_parts() {
    let mut registry = registry();
    let bytes = STAGED_BYTES_MAX / 8;
    for number in 0..100 {
        let (range, records) = heavy(number, bytes - 1_000);
        registry.apply(ROGUE, &range, &records, NOW).unwrap();
    }
    assert!(registry.pending_bytes().0 <= STAGED_BYTES_MAX);
    let author = long(1, 20);
    assert!(send(&mut registry, B, &author.held(), (0, 5), Duration::ZERO));
    assert_eq!(registry.standing(author.origin, B, NOW.mono), Standing::Staged(author.held()[4].record.seq));
}

#[test]
fn where_several_fill_it_the_largest_makes_room() {
    let (mut registry, author) = (registry(), long(1, 20));
    let bytes = STAGED_BYTES_MAX / 8;
    for number in 0..32 {
        let (range, records) = heavy(number, bytes - 1_000);
        registry.apply(NodeId([number as u8 / 8; 32]), &range, &records, NOW).unwrap();
        assert!(registry.pending_bytes().0 <= STAGED_BYTES_MAX);
        if number == 0 {
            assert!(send(&mut registry, B, &author.held(), (0, 5), Duration::ZERO));
        }
    }
    assert!(registry.pending_bytes().0 > STAGED_BYTES_MAX / 2);
    assert_eq!(registry.standing(author.origin, B, NOW.mono), Standing::Staged(author.held()[4].record.seq));
}

#[test]
fn of_a_node_a_sender_has_the_parts_of_one_life() {
    let mut registry = registry();
    for incarnation in 1..=3_000 {
        let records = life(1, incarnation, NOW.wall_ms << 16).flush(&[("a.z", Some(b"1")), ("b.z", Some(b"1"))]);
        send(&mut registry, ROGUE, &records, (0, 1), Duration::ZERO);
    }
    let named = registry.entries(ROGUE, u64::MAX, Duration::ZERO);
    assert_eq!(named, [(life(1, 3_000, 0).origin, Standing::Staged(1).number())]);
    assert!(registry.pending_bytes().0 < 3_000, "one record of one life");
    let records = life(1, 5, NOW.wall_ms << 16).flush(&[("a.z", Some(b"1")), ("b.z", Some(b"1"))]);
    assert!(!send(&mut registry, B, &records, (0, 1), Duration::ZERO), "another's earlier one has to wait");
    assert!(send(&mut registry, B, &records, (0, 1), STAGE_PATIENCE));
}

#[test]
fn of_a_node_one_life_waits_for_the_clock_the_latest() {
    let mut registry = registry();
    for incarnation in 1..=ORIGINS_MAX as u64 {
        let records = life(1, incarnation, u64::MAX).put("a.z", b"1");
        assert!(taken(&mut registry, 0, &records).ahead_ms > 0);
    }
    let mut honest = life(2, 1, (NOW.wall_ms + 10_000) << 16);
    let records = honest.put("a.z", b"1");
    assert_eq!(taken(&mut registry, 0, &records).ahead_ms, 9_500, "there is room");
    assert_eq!(registry.entries(A, u64::MAX, Duration::ZERO).len(), 2);
    assert_eq!(refused(&mut registry, 0, &life(1, 5, u64::MAX).put("a.z", b"1")), RangeError::Busy);
    let later = Now { wall_ms: NOW.wall_ms + 10_000, ..NOW };
    assert_eq!((retried(&mut registry, later), registry.through(honest.origin)), (vec![1], 1));
    assert_eq!(taken(&mut registry, 0, &life(1, 5, NOW.wall_ms << 16).put("a.z", b"1")).stored.len(), 1);
}

#[test]
fn one_node_does_not_fill_the_room_for_what_waits() {
    let (mut registry, mut liar) = (registry(), life(1, 1, u64::MAX));
    for number in 0..200 {
        let records = liar.put(&format!("t{number}.z"), &[0; RECORD_BYTES_MAX - 256]);
        // What is no longer kept begins after a gap from then on.
        drop(registry.apply(A, &range(number, &records), &records, NOW));
    }
    let filled = registry.pending_bytes().1;
    assert!((DEFERRED_BYTES_NODE_MAX / 2..=DEFERRED_BYTES_NODE_MAX).contains(&filled), "{filled}");
    let honest = life(2, 1, (NOW.wall_ms + 10_000) << 16).put("a.z", b"1");
    taken(&mut registry, 0, &honest);
    let later = Now { wall_ms: NOW.wall_ms + 10_000, ..NOW };
    assert_eq!(retried(&mut registry, later), [1], "it was kept");
}

#[test]
fn a_vector_fits_a_frame_whatever_waits() {
    let mut registry = registry();
    for number in 0..ORIGINS_MAX as u32 {
        let mut author = life(number << 16, u64::MAX - 1, NOW.wall_ms << 16);
        author.seq = exchange::SEQ_MAX - 1;
        taken(&mut registry, 0, &author.put("a.z", b"1"));
        taken(&mut registry, 0, &life(number << 16, u64::MAX, u64::MAX).put("a.z", b"1"));
    }
    let entries = registry.entries(A, u64::MAX, Duration::ZERO);
    assert_eq!(entries.len(), VECTOR_ENTRIES_MAX);
    assert_eq!(
        entries.iter().filter(|(_, number)| *number == exchange::SEQ_MAX).count(),
        ORIGINS_MAX,
        "what is held is named"
    );
    let vector = Vector { buckets: u64::MAX, entries, reply: true };
    assert!(vector.encode().len() + 100 < FRAME_BYTES_MAX, "{}", vector.encode().len());
}

#[test]
fn a_pile_is_not_put_together_in_vain_for_each_of_its_parts() {
    let (mut author, mut registry) = (Author::new(1, 1), registry());
    // Every head claims as many records as are there, and another root.
    let lies: Vec<SignedRef> = (0..3_000_u64)
        .map(|number| {
            let signed = author.put(&format!("t{number}.z"), b"1").remove(0);
            under(Head { root: [7; 32], ..*signed.head() }, &signed)
        })
        .collect();
    for number in 0..lies.len() {
        assert!(send(&mut registry, ROGUE, &lies, (number, number + 1), Duration::ZERO));
    }
    let stage = registry.stages.fresh(author.origin, ROGUE, Duration::ZERO).unwrap();
    assert!(stage.tried.is_power_of_two(), "it was looked at {} records", stage.tried);
}
