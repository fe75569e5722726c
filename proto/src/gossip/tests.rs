//! The rules of dissemination one by one, on one node, and repairs of two that share a wire. How fast thousands hear of something,
//! and what that costs, is measured by the simulator.

mod wire;

use super::peer::{Peer, Told};
use super::*;
use crate::params::{
    ANNOUNCE_DOTS_MAX, ANNOUNCE_FANOUT, ASK_PATIENCE_MIN, ASKED_MAX, COALESCE, LOOKS, OUTBOX_BYTES_MAX,
    OUTBOX_LOGS_MAX, PUSH_BYTES_MAX, RANGES_BYTES_PER_ROUND, STRANGE_EXCHANGES, WANTS_FELLOW_MAX, WANTS_MAX,
};
use crate::registry::author::{Author, range};
use crate::wire::message::Announce;
use wire::{Node, WAY, Wire, id, millis};

/// A frame of the last `count` records of a log.
fn pushed(author: &Author, count: usize, hop: u8) -> Message {
    let held = author.held();
    Ranges { ranges: vec![range_of(&held, held.len() - count)], chains: Vec::new(), more: false, hop }.into()
}

/// A frame of some records of a log in which nothing was overwritten, and more to come.
fn part(author: &Author, from: usize, to: usize) -> Message {
    let range = Range { cut: true, ..range_of(&author.held()[..to], from) };
    Ranges { ranges: vec![range], chains: Vec::new(), more: false, hop: 0 }.into()
}

fn range_of(held: &[SignedRef], from: usize) -> Range {
    let (before, records) = held.split_at(from);
    let envelopes = records.iter().map(|signed| signed.envelope()).collect();
    Range { records: envelopes, ..range(before.last().map_or(0, |signed| signed.record.seq), records) }
}

/// Who is asked for something.
fn asked(sends: &Sends) -> Vec<NodeId> {
    sends.iter().filter(|(_, message)| matches!(message, Message::Vector(_))).map(|(to, _)| *to).collect()
}

fn announce(authors: &[&Author], hop: u8) -> Message {
    let dots = authors.iter().map(|author| Announced { origin: author.origin, through: author.seq });
    Announce { dots: dots.collect(), hop }.into()
}

/// To whom, what, and with which hop.
fn summary(sends: &Sends) -> Vec<(NodeId, &'static str, u8)> {
    let hop = |message: &Message| match message {
        Message::Ranges(ranges) => ranges.hop,
        Message::Announce(announce) => announce.hop,
        _ => 0,
    };
    sends.iter().map(|(to, message)| (*to, message.name(), hop(message))).collect()
}

fn is_all(sends: &Sends, count: usize, what: &str, hop: u8) -> bool {
    let to: BTreeSet<NodeId> = sends.iter().map(|(to, _)| *to).collect();
    to.len() == count && sends.len() == count && summary(sends).iter().all(|(_, name, h)| (*name, *h) == (what, hop))
}

#[test]
fn small_records_travel_whole_at_every_hop_and_large_ones_in_the_first_hops() {
    let cases = [(1, 1, [true; 4]), (1, 1024, [true, true, true, false]), (3, PUSH_BYTES_MAX / 3, [false; 4])];
    for (records, bytes, whole) in cases {
        for (hop, whole) in (0..).zip(whole) {
            let mut node = Node::new(1, 2..30);
            let mut author = Author::new(100, 1);
            (0..records).for_each(|number| _ = author.put(&format!("t{number}.z"), &vec![7; bytes]));
            let sends = if hop == 0 {
                node.author = author;
                node.publish(records)
            } else {
                node.hear(id(2), &pushed(&author, records, hop))
            };
            let (fanout, what) = if whole { (FANOUT, "Ranges") } else { (ANNOUNCE_FANOUT, "Announce") };
            assert!(is_all(&sends, fanout, what, hop + 1), "{bytes} bytes at hop {hop}: {:?}", summary(&sends));
        }
    }
}

#[test]
fn news_are_followed_by_looks_at_a_few_others_and_then_by_silence() {
    let mut node = Node::new(1, 2..30);
    node.write(1);
    let mut looks = Vec::new();
    for _ in 0..100 {
        let sends = node.pass(millis(5));
        assert!(sends.is_empty() || is_all(&sends, FANOUT, "Digest", 0), "{:?}", summary(&sends));
        looks.extend((!sends.is_empty()).then_some(node.now));
    }
    assert_eq!(looks.len(), usize::from(LOOKS));
    assert!(looks.windows(2).all(|pair| pair[1] - pair[0] >= LOOK_AFTER * 4 / 5), "{looks:?}");
}

#[test]
fn a_repair_is_not_passed_on() {
    let mut author = Author::new(100, 1);
    author.put("a.z", b"1");
    assert_eq!(summary(&Node::new(1, 2..30).hear(id(2), &pushed(&author, 1, 0))), []);
}

#[test]
fn an_announced_log_is_asked_for_at_one_fellow_and_at_the_next_when_that_is_silent_or_busy() {
    let (mut node, mut author) = (Node::new(1, 2..5), Author::new(100, 1));
    author.put("a.z", b"1");
    let request =
        |to| vec![(to, Message::from(Vector { buckets: 0, entries: vec![(author.origin, 0)], reply: false }))];
    assert_eq!(node.hear(id(3), &announce(&[&author], 5)), request(id(3)));
    assert_eq!(node.hear(id(4), &announce(&[&author], 5)), []);
    assert_eq!(node.pass(ASK_PATIENCE_MIN - WAY), []);
    assert_eq!(node.pass(WAY), request(id(4)), "who announced it as well");
    node.now += COALESCE;
    let busy = Busy { retry_ms: 10_000 };
    let next = node.hear(id(4), &busy.into());
    assert!(next == request(id(2)) || next == request(id(3)), "anybody, but not the one that is busy: {next:?}");
    let mut asked = 3;
    for _ in 0..20 {
        let sends = node.pass(ASK_PATIENCE_MIN);
        assert!(sends.iter().all(|(to, _)| *to != id(4)), "it asked for a pause");
        asked += sends.len();
    }
    assert_eq!((asked, node.gossip.wants()), (usize::from(ASKED_MAX), 0), "the digests have it then");
}

#[test]
fn what_was_asked_for_goes_on_as_it_was_announced() {
    let (mut node, mut author) = (Node::new(1, 2..30), Author::new(100, 1));
    author.put("a.z", &[7; 1024]);
    node.hear(id(2), &announce(&[&author], 5));
    node.hear(id(3), &announce(&[&author], 6));
    let sends = node.hear(id(2), &pushed(&author, 1, 0));
    assert!(is_all(&sends, ANNOUNCE_FANOUT, "Announce", 6), "{:?}", summary(&sends));
    assert!(sends.iter().all(|(to, _)| *to != id(2) && *to != id(3)), "both have it");
    assert_eq!(node.gossip.wants(), 0);
}

#[test]
fn nothing_goes_to_whoever_is_known_to_have_it() {
    let mut author = Author::new(100, 1);
    author.put("a.z", b"1");
    let mut node = Node::new(1, 2..5);
    let sends = node.hear(id(3), &pushed(&author, 1, 1));
    assert!(is_all(&sends, 2, "Ranges", 2) && sends.iter().all(|(to, _)| *to != id(3)), "{sends:?}");
    // Nor when it says so while it waits for its turn.
    author.put("b.z", b"2");
    assert_eq!(node.hear(id(3), &pushed(&author, 1, 1)), [], "they were sent something a moment ago");
    assert_eq!(node.hear(id(2), &announce(&[&author], 2)), []);
    let sends = node.pass(COALESCE);
    assert_eq!(summary(&sends), [(id(4), "Ranges", 2)]);
}

#[test]
fn a_burst_shares_its_frames() {
    let mut node = Node::new(1, 2..5);
    assert!(is_all(&node.write(1), 3, "Ranges", 1));
    for number in 0..5 {
        let mut author = Author::new(100 + number, 1);
        author.put("a.z", b"1");
        node.hold(&author);
        let news = [News::of(&author.held()).unwrap()];
        let sends = node.with(|gossip, now, replica, chance| gossip.news(now, &news, 1, None, replica, chance));
        assert_eq!(sends, []);
    }
    assert_eq!(node.pass(COALESCE - Duration::from_micros(1)), []);
    let sends = node.pass(Duration::from_micros(1));
    assert!(is_all(&sends, 3, "Ranges", 2), "{:?}", summary(&sends));
    for (_, message) in sends {
        let Message::Ranges(ranges) = message else { panic!() };
        assert_eq!(ranges.ranges.len(), 5);
    }
}

#[test]
fn who_asks_for_too_much_is_told_when_to_come_back_and_gets_it_all() {
    let mut wire = Wire::new(2, 0);
    let mut author = Author::new(100, 1);
    for number in 0..120 {
        author.put(&format!("t{number}.z"), &vec![7; 60_000]);
    }
    wire.nodes[1].hold(&author);
    let asks = Message::from(Vector { buckets: u64::MAX, entries: Vec::new(), reply: false });
    let asker = id(9);
    let mut served = 0;
    let retry_ms = loop {
        let sends = wire.nodes[1].hear(asker, &asks);
        if let [(_, Message::Busy(busy))] = &sends[..] {
            break busy.retry_ms;
        }
        served += RANGES_BYTES_PER_ROUND;
        assert!(served < 8 * 1024 * 1024, "there is no end of it");
    };
    assert!(retry_ms > 0);
    wire.nodes[1].pass(millis(u64::from(retry_ms)));
    assert!(wire.nodes[1].hear(asker, &asks).len() > 1);
    wire.rounds(20, true);
    assert!(wire.is_equal() && wire.kinds.contains_key("Busy"), "{:?}", wire.kinds);
}

#[test]
fn who_is_busy_is_not_asked_before_its_time_and_then_is() {
    let (mut node, other) = (Node::new(1, 2..3), Node::new(2, 1..2));
    node.compare(id(2));
    node.write(1);
    assert_eq!(summary(&node.hear(id(2), &other.digest())), [(id(2), "Announce", 3)]);
    let unknown = Message::from(Digest { hash: [9; 16], members: 0 });
    assert_eq!(summary(&node.hear(id(2), &unknown)), [(id(2), "Vector", 0)]);
    assert_eq!(node.hear(id(2), &Busy { retry_ms: 300 }.into()), []);
    assert_eq!(node.hear(id(2), &unknown), []);
    node.gossip.look_at = None;
    assert_eq!(node.pass(millis(299)), []);
    assert_eq!(summary(&node.pass(WAY)), [(id(2), "Digest", 0)]);
    assert_eq!(summary(&node.hear(id(2), &unknown)), [(id(2), "Vector", 0)]);
}

#[test]
fn a_hash_of_a_moment_ago_is_answered_by_what_came_since() {
    let mut node = Node::new(1, 2..5);
    node.write(1);
    let before = node.digest();
    let mut author = Author::new(100, 1);
    author.put("a.z", b"1");
    node.hear(id(2), &pushed(&author, 1, 1));
    let sends = node.hear(id(3), &before);
    let [(to, Message::Announce(told))] = &sends[..] else { panic!("{sends:?}") };
    assert_eq!((*to, &told.dots[..]), (id(3), &[Announced { origin: author.origin, through: 1 }][..]));
}

/// What came since may be gone again: a line that names nothing would be the answer for ever.
#[test]
fn a_hash_of_a_moment_ago_is_compared_when_what_came_since_cannot_be_told() {
    let (mut node, mut author) = (Node::new(1, 2..5), Author::new(100, 1));
    let before = node.digest();
    author.put("a.z", b"1");
    node.hear(id(2), &pushed(&author, 1, 1));
    node.registry.reap(author.origin.node, 1);
    assert_eq!(summary(&node.hear(id(3), &before)), [(id(3), "Vector", 0)]);
}

#[test]
fn parts_are_compared_only_where_the_vector_is_longer_than_their_hashes() {
    for (logs, first) in [(SMALL_ZONE_LOGS, "Vector"), (SMALL_ZONE_LOGS + 1, "Digest")] {
        let mut node = Node::new(1, 2..5);
        for number in 0..logs {
            let mut author = Author::new(100 + number as u8, 1);
            author.put("a.z", b"1");
            node.hold(&author);
        }
        let unknown = Message::from(Digest { hash: [9; 16], members: 0 });
        assert_eq!(summary(&node.hear(id(2), &unknown)), [(id(2), first, 0)]);
        if first == "Digest" {
            assert_eq!(summary(&node.hear(id(2), &unknown)), [(id(2), "Buckets", 0)]);
            let mut hashes = node.registry.buckets().to_vec();
            hashes[3] ^= 1;
            let sends = node.hear(id(2), &Buckets { hashes }.into());
            assert!(matches!(&sends[..], [(_, Message::Vector(vector))] if vector.buckets == 1 << 3 && vector.reply));
        }
        // Whoever is new lacks everything and has nothing: in a large zone nothing else tells how far it has to come.
        let new = Vector { buckets: u64::MAX, entries: Vec::new(), reply: true };
        let sends = node.hear(id(3), &new.into());
        let told = sends.iter().any(|(_, message)| matches!(message, Message::Vector(vector) if !vector.reply));
        assert_eq!(told, logs > SMALL_ZONE_LOGS);
    }
}

/// The hashes of the parts are short: whoever writes logs can make them agree where the logs do not.
#[test]
fn parts_that_seem_equal_again_and_again_are_all_compared() {
    let mut node = Node::new(1, 2..5);
    node.write(1);
    let same = Message::from(Buckets { hashes: node.registry.buckets().to_vec() });
    for exchange in 1..=STRANGE_EXCHANGES {
        let sends = node.hear(id(2), &same);
        let looks = exchange == STRANGE_EXCHANGES;
        assert_eq!(summary(&sends), if looks { vec![(id(2), "Vector", 0)] } else { Vec::new() });
        assert!(
            sends.iter().all(|(_, sent)| matches!(sent, Message::Vector(all) if all.buckets == u64::MAX && all.reply))
        );
    }
}

#[test]
fn an_unequal_pair_that_only_exchanges_hashes_becomes_equal() {
    for (logs, loss, seed) in [(0, 0, 1), (20, 0, 2), (100, 0, 3), (20, 30, 4), (150, 30, 5), (150, 30, 6)] {
        let (mut wire, mut chance) = (Wire::new(2, loss), Chance::new([seed; 32]));
        for number in 0..logs {
            let mut author = Author::new(100 + number, 1);
            for _ in 0..=chance.below(4) {
                author.put(&format!("t{}.z", chance.below(6)), &vec![7; chance.below(2000) as usize]);
                for node in &mut wire.nodes {
                    if node.chance.below(3) == 0 {
                        node.hold(&author);
                    }
                }
            }
            wire.nodes[chance.below(2) as usize].hold(&author);
        }
        wire.rounds(if loss == 0 { 2 } else { 100 }, seed % 2 == 0);
        assert!(wire.is_equal(), "{logs} logs, {loss} of 100 lost: {:?}", wire.kinds);
        wire.kinds.clear();
        wire.rounds(3, false);
        assert!(wire.kinds.keys().all(|kind| *kind == "Digest"), "silence is a hash now and then: {:?}", wire.kinds);
    }
}

#[test]
fn a_log_with_two_ends_of_one_number_comes_out_whatever_hides_it() {
    // Of large records not all fit a frame: they are told in turn.
    for (logs, bytes) in [(1, 10), (100, 10), (60, 40_000)] {
        let mut wire = Wire::new(2, 0);
        for number in 0..logs {
            let mut author = Author::new(100 + number, 1);
            author.put("a.z", &vec![7; bytes]);
            wire.nodes[0].hold(&author);
            let is_forked = number == logs / 2;
            let mut twin = Author::new(100 + number, 1);
            twin.put("a.z", &vec![if is_forked { 8 } else { 7 }; bytes]);
            wire.nodes[1].hold(&twin);
        }
        assert_eq!(wire.nodes[0].registry.vector(), wire.nodes[1].registry.vector());
        wire.rounds(if bytes > 1000 { 1_000 } else { 2 * STRANGE_EXCHANGES as usize }, true);
        let origin = Author::new(100 + logs / 2, 1).origin;
        assert!(wire.nodes.iter().all(|node| node.registry.is_quarantined(origin)), "{logs} logs of {bytes}");
        assert!(wire.is_equal());
    }
}

#[test]
fn an_answer_to_parts_is_closed_and_one_to_single_logs_only_when_there_is_more() {
    let (mut node, mut author) = (Node::new(1, 2..5), Author::new(100, 1));
    for number in 0..20 {
        author.put(&format!("t{number}.z"), &vec![7; 60_000]);
    }
    node.hold(&author);
    let closing = |sends: &Sends| match &sends[sends.len() - 1].1 {
        Message::Ranges(ranges) => ranges.ranges.is_empty().then_some(ranges.more),
        _ => None,
    };
    let mut hear = |buckets, through| {
        let entries = vec![(author.origin, through)];
        node.hear(id(2), &Vector { buckets, entries, reply: false }.into())
    };
    let sends = hear(u64::MAX, 0);
    assert!(sends.len() > 2 && closing(&sends) == Some(true));
    let sends = hear(0, 0);
    assert!(sends.len() > 2 && closing(&sends) == Some(true));
    assert_eq!(closing(&hear(u64::MAX, 19)), Some(false));
    assert_eq!(closing(&hear(u64::MAX, 20)), Some(false));
    assert_eq!(closing(&hear(0, 19)), None);
    assert_eq!(hear(0, 20), []);
}

#[test]
fn a_pull_ends_with_its_closing_frame() {
    let unknown = Message::from(Digest { hash: [9; 16], members: 0 });
    let closing = Ranges { ranges: Vec::new(), chains: Vec::new(), more: false, hop: 0 };
    let mut node = Node::new(1, 2..5);
    node.hear(id(2), &unknown);
    assert!(node.gossip.is_behind());
    assert_eq!(node.hear(id(3), &unknown), [], "what one is asked for nobody else is");
    node.hear(id(3), &closing.clone().into());
    assert!(node.gossip.is_behind(), "that one was not asked");
    node.hear(id(2), &closing.into());
    assert!(!node.gossip.is_behind());
}

/// One who held a whole history was asked for it, and after its first frame the next was asked for the same.
#[test]
fn nobody_else_is_asked_while_the_parts_of_an_answer_come() {
    let (mut node, mut author) = (Node::new(1, 2..5), Author::new(100, 1));
    (0..3).for_each(|number| _ = author.put(&format!("t{number}.z"), b"1"));
    for peer in [2, 3] {
        node.hear(id(peer), &announce(&[&author], 9));
    }
    node.now += COALESCE;
    assert!(
        node.hear(id(2), &part(&author, 0, 1))
            .iter()
            .all(|(_, message)| matches!(message, Message::Announce(_) | Message::Ranges(_)))
    );
    assert_eq!(node.registry.through(author.origin), 1, "it was taken");
    assert_eq!(asked(&node.pass(PULL_PATIENCE - WAY)), []);
    assert_eq!(asked(&node.pass(WAY)), [id(3)]);
}

#[test]
fn whoever_has_given_all_it_had_is_followed_by_the_next() {
    let (mut node, mut author) = (Node::new(1, 2..4), Author::new(100, 1));
    author.put("a.z", b"1");
    node.hear(id(2), &announce(&[&author], 9));
    let first = pushed(&author, 1, 0);
    author.put("b.z", b"1");
    node.hear(id(3), &announce(&[&author], 9));
    node.now += COALESCE;
    assert_eq!(asked(&node.hear(id(2), &first)), [id(3)]);
}

/// More that never comes, or is never taken, is not asked for again and again.
#[test]
fn whoever_says_more_is_asked_only_while_something_comes() {
    let mut author = Author::new(100, 1);
    for number in 0..3 {
        author.put(&format!("t{number}.z"), b"1");
    }
    let more = Message::from(Ranges { ranges: Vec::new(), chains: Vec::new(), more: true, hop: 0 });
    let unknown = Message::from(Digest { hash: [9; 16], members: 0 });
    for first in [&unknown, &announce(&[&author], 9)] {
        let mut node = Node::new(1, 2..3);
        assert_eq!(asked(&node.hear(id(2), first)).len(), 1);
        node.now += COALESCE;
        node.hear(id(2), &part(&author, 0, 1));
        assert_eq!(asked(&node.hear(id(2), &more)).len(), 1, "something came");
        let mut again = 0;
        for _ in 0..20 {
            node.now += COALESCE;
            // Begins after a gap: nobody can take it.
            for message in [&part(&author, 2, 3), &more] {
                again += asked(&node.hear(id(2), message)).len();
            }
        }
        assert!(again <= usize::from(ASKED_MAX), "asked {again} times");
    }
}

fn origin(number: usize) -> Origin {
    let mut node = [0; 32];
    node[..8].copy_from_slice(&(number as u64).to_le_bytes());
    Origin { node: NodeId(node), incarnation: 1 }
}

#[test]
fn everything_that_waits_is_bounded() {
    let told = |bytes| Told { after: 0, hop: 0, payload: Some(bytes) };
    let mut peer = Peer::default();
    let dropped: u64 = (0..OUTBOX_LOGS_MAX + 7).map(|number| peer.tell(origin(number), told(1))).sum();
    assert_eq!((peer.outbox.len(), dropped), (OUTBOX_LOGS_MAX, 7));
    let mut peer = Peer::default();
    for number in 0..20 {
        peer.tell(origin(number), told(PUSH_BYTES_MAX));
    }
    let whole: usize = peer.outbox.values().filter_map(|told| told.payload).sum();
    assert_eq!(whole, OUTBOX_BYTES_MAX, "the others are announced");

    let mut node = Node::new(1, 2..30);
    let dots: Vec<Announced> = (1..2 * WANTS_MAX).map(|at| Announced { origin: origin(at), through: 1 }).collect();
    node.hear(id(2), &Announce { dots: dots.clone(), hop: 9 }.into());
    assert_eq!(node.gossip.wants(), ANNOUNCE_DOTS_MAX, "what is longer than a datagram is none of ours");
    for peer in 2..30 {
        for dots in dots.chunks(ANNOUNCE_DOTS_MAX) {
            node.hear(id(peer), &Announce { dots: dots.to_vec(), hop: 9 }.into());
        }
    }
    assert_eq!(node.gossip.wants(), WANTS_MAX);
    assert!(node.gossip.counts().dropped > WANTS_MAX as u64);
    for _ in 0..usize::from(ASKED_MAX) + 1 {
        node.pass(PULL_PATIENCE);
    }
    assert_eq!(node.gossip.wants(), 0);
    (2..30).for_each(|peer| node.gossip.forget(id(peer), node.now));
    assert!(node.gossip.peers.is_empty() && node.gossip.flushes.is_empty());
}

#[test]
fn one_fellow_does_not_fill_what_is_wanted() {
    let (mut node, mut author) = (Node::new(1, 2..5), Author::new(100, 1));
    author.put("a.z", b"1");
    let dots: Vec<Announced> = (1..2 * WANTS_MAX).map(|at| Announced { origin: origin(at), through: 1 }).collect();
    for round in 0..2 {
        for dots in dots.chunks(ANNOUNCE_DOTS_MAX) {
            node.hear(id(2), &Announce { dots: dots.to_vec(), hop: 9 }.into());
        }
        assert_eq!(node.gossip.wants(), WANTS_FELLOW_MAX, "round {round}");
        node.hear(id(3), &announce(&[&author], 5));
        assert_eq!(node.gossip.wants(), WANTS_FELLOW_MAX + 1, "there is room for another's");
        for _ in 0..usize::from(ASKED_MAX) + 1 {
            node.pass(PULL_PATIENCE);
        }
        assert_eq!(node.gossip.wants(), 0, "asked in vain, they are forgotten");
    }
}

#[test]
fn what_a_fellow_that_went_was_asked_for_is_asked_of_another_at_once() {
    let (mut node, mut author) = (Node::new(1, 2..4), Author::new(100, 1));
    author.put("a.z", b"1");
    node.hear(id(2), &announce(&[&author], 5));
    node.gossip.forget(id(2), node.now);
    node.fellows.retain(|fellow| *fellow != id(2));
    assert_eq!(summary(&node.pass(Duration::ZERO)), [(id(3), "Vector", 0)]);
}

#[test]
fn a_number_that_no_record_may_have_is_not_asked_for() {
    let (mut node, mut author) = (Node::new(1, 2..5), Author::new(100, 1));
    author.put("a.z", b"1");
    node.hear(id(2), &pushed(&author, 1, 0));
    for through in [u64::MAX, u64::MAX - 1, 1 << 63 | 9, 1 << 62] {
        let dots = vec![Announced { origin: author.origin, through }];
        assert_eq!(node.hear(id(3), &Announce { dots, hop: 5 }.into()), [], "{through}");
    }
    assert_eq!(node.gossip.wants(), 0);
}
