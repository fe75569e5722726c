//! Two contents under one number: found by ranges, by tails and by evidence, and the same to everybody who knows.

use super::*;

/// Two registries that hold different contents of one dot, and the two contents.
fn forked() -> (Registry, Registry, Vec<SignedRef>, Vec<SignedRef>) {
    let (mut left, mut right) = (registry(), registry());
    let (mut author, mut twin) = (Author::new(1, 1), Author::new(1, 1));
    let (first, same) = (author.put("a.z", b"1"), twin.put("a.z", b"1"));
    let (one, other) = (author.put("b.z", b"1"), twin.put("b.z", b"2"));
    taken(&mut left, 0, &[first[0].clone(), one[0].clone()]);
    taken(&mut right, 0, &[same[0].clone(), other[0].clone()]);
    (left, right, one, other)
}

fn evidence(registry: &mut Registry, from: u64, records: &[SignedRef]) -> Evidence {
    match refused(registry, from, records) {
        RangeError::Fork(evidence) => evidence,
        error => panic!("{error}"),
    }
}

#[test]
fn two_contents_for_one_dot_quarantine_the_origin_with_one_digest_everywhere() {
    let (mut left, mut right, one, other) = forked();
    let origin = one[0].record.origin();
    assert_ne!(left.digest(), right.digest());
    let seen = evidence(&mut left, 1, &other);
    assert_eq!(seen, evidence(&mut right, 1, &one), "whichever came first");
    let applied = left.quarantine(seen.clone());
    assert_eq!((applied.changes.len(), applied.dropped.len()), (2, 2), "it leaves the view and the store");
    let mut stranger = registry();
    right.quarantine(seen.clone());
    stranger.quarantine(seen.clone());
    assert_eq!((left.digest(), left.digest()), (right.digest(), stranger.digest()));
    assert_ne!(left.digest(), registry().digest(), "that it is quarantined is part of what is compared");
    assert_eq!((left.through(origin), left.is_quarantined(origin)), (0, true));
    assert_eq!(refused(&mut left, 1, &one), RangeError::Quarantined);
    assert!(left.append(&one).stored.is_empty() && left.quarantine(seen).changes.is_empty());
}

#[test]
fn evidence_goes_to_whoever_does_not_know_it_and_the_log_to_nobody() {
    let (mut left, right, _, other) = forked();
    let seen = evidence(&mut left, 1, &other);
    left.quarantine(seen.clone());
    let theirs = all_of(&right, A, NOW);
    assert!(left.frames_for(&theirs, usize::MAX).0.is_empty());
    assert_eq!(left.forks_for(&theirs), [&seen]);
    assert!(left.forks_for(&all_of(&left, A, NOW)).is_empty());
    assert!(right.lacks_from(&all_of(&left, B, NOW).entries), "there is something to learn");
    assert!(!left.lacks_from(&theirs.entries));
}

#[test]
fn another_life_ends_a_quarantine() {
    let (mut left, _, _, other) = forked();
    let seen = evidence(&mut left, 1, &other);
    left.quarantine(seen.clone());
    let mut reborn = Author::new(1, 2);
    taken(&mut left, 0, &reborn.put("a.z", b"1"));
    let mut straight = registry();
    taken(&mut straight, 0, &reborn.held());
    assert_eq!(left.digest(), straight.digest());
    assert!(left.quarantine(seen).changes.is_empty(), "what is over stays over");
    assert_eq!(left.through(reborn.origin), 1);
}

#[test]
fn two_heads_for_one_dot_are_a_fork_as_well() {
    let (mut author, mut registry) = (Author::new(1, 1), registry());
    let one = author.put("a.z", b"1");
    taken(&mut registry, 0, &one);
    let other = under(Head { floor: 1, ..*one[0].head() }, &one[0]);
    assert!(matches!(refused(&mut registry, 0, &[other]), RangeError::Fork(_)));
    assert_eq!(Evidence::of(&one[0], &one[0]), None);
}

#[test]
fn logs_that_end_in_one_number_and_differ_find_out_by_their_tails() {
    let (left, mut right, ..) = forked();
    assert!(left.frames_for(&all_of(&right, A, NOW), usize::MAX).0.is_empty(), "their vectors agree");
    let tails = left.tails(1 << bucket_of(NodeId([1; 32])), 0, 9_000);
    let records = opened(&tails[0]);
    assert!(matches!(right.apply(A, &tails[0], &records, NOW), Err(RangeError::Fork(_))));
    assert!(left.tails(!(1 << bucket_of(NodeId([1; 32]))), 7, 9_000).is_empty());
}

#[test]
fn a_log_that_nothing_fits_any_more_is_asked_for_again_and_shows_its_fork() {
    let (mut left, mut right) = (registry(), registry());
    let (mut author, mut twin) = (Author::new(1, 1), Author::new(1, 1));
    taken(&mut left, 0, &author.put("a.z", b"1"));
    taken(&mut right, 0, &twin.put("a.z", b"2"));
    let next = author.put("b.z", b"1");
    taken(&mut left, 1, &next);
    for _ in 0..2 {
        assert_eq!(right.standing(author.origin, A, NOW.mono), Standing::Through(1));
        assert_eq!(refused(&mut right, 1, &next), RangeError::Incomplete);
    }
    assert_eq!(right.incomplete().collect::<Vec<_>>(), [author.origin]);
    let (frames, _) = left.frames_for(&all_of(&right, A, NOW), usize::MAX);
    let error = right.apply(A, &frames[0][0], &opened(&frames[0][0]), NOW).unwrap_err();
    assert!(matches!(error, RangeError::Fork(_)));
}

/// Evidence was kept for every life: who wrote two contents in life after life filled the stores of all others.
#[test]
fn of_one_node_one_quarantine_is_held_however_many_lives_it_forks() {
    let (mut holder, mut late) = (registry(), registry());
    let mut kept = BTreeSet::new();
    let forked_in = |life| {
        let (one, other) = (Author::new(1, life).put("a.z", b"1"), Author::new(1, life).put("a.z", b"2"));
        Evidence::of(&one[0], &other[0]).unwrap()
    };
    for life in 1..=100 {
        let applied = holder.quarantine(forked_in(life));
        kept.insert(Origin { node: NodeId([1; 32]), incarnation: life });
        applied.absolved.iter().for_each(|origin| _ = kept.remove(origin));
        assert_eq!((holder.forks().count(), kept.len(), holder.origins()), (1, 1, 1));
    }
    // Whoever only hears of the last agrees, and nobody goes back to an earlier one.
    late.quarantine(forked_in(100));
    assert!(holder.quarantine(forked_in(99)).absolved.is_empty() && late.quarantine(forked_in(7)).absolved.is_empty());
    assert_eq!((holder.digest(), holder.forks().count()), (late.digest(), 1));
    let node = NodeId([1; 32]);
    assert_eq!(late.reap(node, 100).absolved, [Origin { node, incarnation: 100 }]);
    let mut author = Author::new(1, 101);
    assert_eq!(taken(&mut holder, 0, &author.put("a.z", b"1")).absolved.len(), 1);
    assert_eq!((holder.forks().count(), late.forks().count()), (0, 0));
}
