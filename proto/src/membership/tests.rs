//! Two nodes in words, and up to a thousand in a world of their own.

mod world;

use super::*;
use crate::wire::message::Update;
use world::{RTT, World, id, secs};

fn update(of: usize, counter: u32, liveness: Liveness, by: usize) -> Update {
    Update { node: id(of), counter, state: liveness.number(), by: id(by) }
}

fn news(updates: Vec<Update>) -> Members {
    Members { updates, reply: false }
}

fn chance() -> Chance {
    Chance::new([1; 32])
}

fn node(members: usize) -> Membership {
    let mut node = Membership::new(id(0), Duration::ZERO);
    for member in 0..members {
        node.on_member(id(member));
    }
    node
}

#[test]
fn the_higher_counter_stands_and_of_equal_ones_the_worse() {
    use Liveness::{Alive, Down, Left, Suspect};
    let mut node = node(3);
    let mut hear = |counter, liveness| {
        node.on_members(id(2), &news(vec![update(1, counter, liveness, 2)]), Duration::ZERO, &mut chance());
        node.liveness(id(1)).unwrap()
    };
    assert_eq!(hear(0, Suspect), Suspect);
    assert_eq!(hear(0, Alive), Suspect);
    assert_eq!(hear(0, Down), Down);
    assert_eq!(hear(0, Suspect), Down);
    assert_eq!(hear(0, Left), Left);
    assert_eq!(hear(1, Alive), Alive);
    assert_eq!(hear(0, Left), Alive);
    assert_eq!(hear(1, Left), Left);
    assert_eq!(hear(2, Suspect), Suspect);
}

#[test]
fn down_heard_of_somebody_alive_is_a_suspicion_that_ends_by_itself() {
    let mut node = node(3);
    node.on_members(id(2), &news(vec![update(1, 0, Liveness::Down, 2)]), Duration::ZERO, &mut chance());
    assert_eq!(node.liveness(id(1)), Some(Liveness::Suspect));
    node.on_time(Duration::from_millis(1499), &mut chance());
    assert_eq!(node.liveness(id(1)), Some(Liveness::Suspect));
    node.on_time(Duration::from_millis(1500), &mut chance());
    assert_eq!(node.liveness(id(1)), Some(Liveness::Down));
}

/// Who had gone while a node was away was shown as alive until the node had looked for it in vain.
#[test]
fn who_is_only_on_record_is_unheard_until_somebody_speaks_of_it() {
    let unheard = |node: &Membership| (1..6).filter(|at| node.unheard().contains(&id(*at))).collect::<Vec<_>>();
    let mut restarted = node(5);
    assert_eq!(unheard(&restarted), [1, 2, 3, 4]);
    assert!(!restarted.take_heard());
    restarted.on_connected(id(1), true, Duration::ZERO, Duration::ZERO, &mut chance());
    restarted.on_members(id(2), &news(vec![update(3, 0, Liveness::Down, 2)]), Duration::ZERO, &mut chance());
    assert_eq!(unheard(&restarted), [4], "one connected, one spoke, and of one somebody said something");
    assert_eq!([restarted.take_heard(), restarted.take_heard()], [true, false], "readers see it");
    restarted.on_digest(id(1), restarted.hash() ^ 1, Duration::ZERO);
    assert_eq!(unheard(&restarted), [4], "a fellow believes something else");
    restarted.on_digest(id(1), restarted.hash(), Duration::ZERO);
    assert!(unheard(&restarted).is_empty() && restarted.take_heard(), "a fellow believes the same");
    restarted.on_member(id(5));
    assert!(unheard(&restarted).is_empty(), "its record came of it");
}

/// Each of the other half tells the same when two halves meet; once the second one that did was believed.
#[test]
fn however_many_say_that_somebody_is_down_it_has_its_time_to_say_that_it_is_not() {
    let mut node = node(5);
    for by in [2, 3, 4] {
        node.on_members(id(by), &news(vec![update(1, 0, Liveness::Down, by)]), Duration::ZERO, &mut chance());
        assert_eq!(node.liveness(id(1)), Some(Liveness::Suspect), "said by {by}");
    }
    // Nor is what was suspected of an earlier counter.
    node.on_members(id(2), &news(vec![update(1, 1, Liveness::Suspect, 2)]), Duration::ZERO, &mut chance());
    node.on_members(id(2), &news(vec![update(1, 2, Liveness::Down, 2)]), Duration::ZERO, &mut chance());
    assert_eq!(node.liveness(id(1)), Some(Liveness::Suspect));
    node.on_time(Duration::from_millis(1499), &mut chance());
    assert_eq!(node.liveness(id(1)), Some(Liveness::Suspect));
    node.on_time(Duration::from_millis(1500), &mut chance());
    assert_eq!(node.liveness(id(1)), Some(Liveness::Down));
}

#[test]
fn a_node_refutes_what_is_worse_than_alive_with_a_higher_counter() {
    let mut node = node(3);
    node.on_connected(id(1), true, RTT, Duration::ZERO, &mut chance());
    // Of an earlier life: alive needs no refuting, only its counter.
    node.on_members(id(1), &news(vec![update(0, 7, Liveness::Alive, 1)]), Duration::ZERO, &mut chance());
    assert_eq!(node.summary(), [update(0, 7, Liveness::Alive, 0)]);
    node.on_members(id(1), &news(vec![update(0, 6, Liveness::Down, 1)]), Duration::ZERO, &mut chance());
    assert_eq!(node.counts().refuted, 0);
    let ask = Members { updates: vec![update(0, 7, Liveness::Suspect, 1)], reply: true };
    let sends = node.on_members(id(1), &ask, Duration::ZERO, &mut chance());
    let refutation: Message = news(vec![update(0, 8, Liveness::Alive, 0)]).into();
    assert_eq!(sends, [(id(1), refutation.clone()), (id(1), refutation)]);
}

#[test]
fn who_leaves_refutes_nothing() {
    let mut node = node(2);
    node.on_connected(id(1), true, RTT, Duration::ZERO, &mut chance());
    assert_eq!(node.leave().len(), 1);
    node.on_members(id(1), &news(vec![update(0, 0, Liveness::Left, 0)]), Duration::ZERO, &mut chance());
    assert_eq!(node.summary(), [update(0, 0, Liveness::Left, 0)]);
}

#[test]
fn an_unknown_node_is_nobody() {
    let mut node = node(2);
    let hash = node.hash();
    node.take_events();
    node.on_members(id(1), &news(vec![update(9, 3, Liveness::Down, 1)]), Duration::ZERO, &mut chance());
    assert_eq!((node.liveness(id(9)), node.hash(), node.take_events().len()), (None, hash, 0));
    node.on_member(id(0));
    assert_eq!((node.count(), node.liveness(id(0))), (1, None));
}

#[test]
fn a_member_that_is_gone_leaves_nothing_behind() {
    let mut node = node(3);
    let hash = node.hash();
    node.on_members(id(2), &news(vec![update(1, 4, Liveness::Suspect, 2)]), Duration::ZERO, &mut chance());
    assert_ne!(node.hash(), hash);
    node.on_gone(id(1));
    assert_eq!((node.hash(), node.count(), node.summary().len()), (hash, 1, 0));
    node.on_time(secs(1), &mut chance());
    assert_eq!(node.not_alive().len(), 0);
}

#[test]
fn the_hash_does_not_depend_on_order_and_suspicion_is_no_part_of_it() {
    let told = [update(1, 0, Liveness::Left, 2), update(2, 5, Liveness::Alive, 2), update(3, 1, Liveness::Suspect, 2)];
    let (mut one, mut other) = (node(4), node(4));
    for update in told {
        one.on_members(id(2), &news(vec![update]), Duration::ZERO, &mut chance());
    }
    for update in told.iter().rev() {
        other.on_members(id(2), &news(vec![*update]), Duration::ZERO, &mut chance());
    }
    assert_eq!(one.hash(), other.hash());
    one.on_members(id(1), &news(vec![update(2, 5, Liveness::Suspect, 1)]), Duration::ZERO, &mut chance());
    assert_eq!(one.hash(), other.hash());
}

/// A sick node once accused hundreds (consul issues 5567, 5928): what it did not hear while it slept is no evidence.
#[test]
fn a_node_that_was_not_run_listens_before_it_accuses() {
    let mut node = node(3);
    let mut chance = chance();
    node.on_connected(id(1), true, RTT, Duration::ZERO, &mut chance);
    node.on_members(id(1), &news(vec![update(2, 0, Liveness::Suspect, 1)]), Duration::ZERO, &mut chance);
    for millis in [1000, 1400] {
        node.on_time(Duration::from_millis(millis), &mut chance);
    }
    let liveness = |node: &Membership| [1, 2].map(|fellow| node.liveness(id(fellow)).unwrap());
    node.on_time(secs(31), &mut chance);
    assert_eq!(liveness(&node), [Liveness::Alive, Liveness::Suspect]);
    node.on_time(secs(32), &mut chance);
    assert_eq!(liveness(&node), [Liveness::Alive, Liveness::Suspect]);
    node.on_time(secs(33), &mut chance);
    assert_eq!(liveness(&node), [Liveness::Suspect, Liveness::Down]);
    assert_eq!(node.counts().stalled, 1);
}

/// The first thing after a sleep may be that a connection was lost meanwhile; the probes of before it are no evidence either.
#[test]
fn a_node_that_was_not_run_accuses_nobody_whatever_comes_first() {
    let inputs: [fn(&mut Membership, Duration, &mut Chance) -> Sends; 4] = [
        |node, now, chance| node.on_disconnected(id(2), true, now, chance),
        |node, now, chance| node.on_unreached(id(3), now, chance),
        |node, now, chance| node.on_connected(id(3), true, RTT, now, chance),
        |node, now, chance| node.on_members(id(2), &news(Vec::new()), now, chance),
    ];
    for input in inputs {
        let (mut node, mut chance) = (node(4), chance());
        for fellow in [1, 2] {
            node.on_connected(id(fellow), true, RTT, Duration::ZERO, &mut chance);
        }
        for millis in [1000, 1500] {
            node.on_time(Duration::from_millis(millis), &mut chance);
        }
        assert!(node.probes.is_probed(id(1)), "and no answer comes");
        for now in [secs(31), secs(31), secs(32)] {
            input(&mut node, now, &mut chance);
            node.on_time(now, &mut chance);
            assert_eq!((node.counts().failed, node.counts().stalled), (0, 1));
        }
    }
}

#[test]
fn an_answer_is_no_longer_than_news_however_much_is_asked() {
    let mut node = node(3);
    let ask = Members { updates: vec![update(1, 0, Liveness::Alive, 2); 10_000], reply: true };
    let sends = node.on_members(id(2), &ask, Duration::ZERO, &mut chance());
    let Message::Members(answer) = &sends[0].1 else { panic!("{sends:?}") };
    assert_eq!(answer.updates.len(), NEWS_PER_FRAME);
}

/// Numbers were counted up once, and an answer counted whoever gave it: one certified liar could answer for everybody who died.
#[test]
fn a_probe_ends_by_its_target_or_by_somebody_who_was_asked_under_its_number() {
    let (mut node, mut chance) = (node(6), chance());
    for fellow in 1..6 {
        node.on_connected(id(fellow), true, RTT, Duration::ZERO, &mut chance);
    }
    let numbers: Vec<(NodeId, u32)> = pings(&node.on_time(secs(1), &mut chance));
    let (target, number) = numbers[0];
    let ack = |number| Ack { number, updates: Vec::new() };
    let at = |millis| secs(1) + Duration::from_millis(millis);
    for fellow in (1..6).map(id).filter(|fellow| *fellow != target) {
        node.on_ack(fellow, &ack(number), at(1), &mut chance);
        assert!(node.probes.is_probed(target), "somebody else's probe, and nobody was asked");
    }
    let asks = node.on_time(at(300), &mut chance);
    let asked: Vec<NodeId> = asks.iter().filter(|(_, sent)| is_request(sent, target)).map(|(to, _)| *to).collect();
    assert_eq!(asked.len(), INDIRECT_PROBES);
    for fellow in (1..6).map(id).filter(|fellow| *fellow != target) {
        node.on_ack(fellow, &ack(number.wrapping_add(1)), at(301), &mut chance);
        assert!(node.probes.is_probed(target), "a guessed number");
        if !asked.contains(&fellow) {
            node.on_ack(fellow, &ack(number), at(301), &mut chance);
            assert!(node.probes.is_probed(target), "nobody asked it");
        }
    }
    node.on_ack(asked[1], &ack(number), at(302), &mut chance);
    assert!(!node.probes.is_probed(target));
}

#[test]
fn numbers_of_probes_do_not_follow_from_each_other() {
    let (mut node, mut chance) = (node(3), chance());
    node.on_connected(id(1), true, RTT, Duration::ZERO, &mut chance);
    let mut numbers: Vec<u32> = Vec::new();
    for second in 1..50 {
        let sends = node.on_time(secs(second), &mut chance);
        for (target, number) in pings(&sends) {
            numbers.push(number);
            node.on_ack(target, &Ack { number, updates: Vec::new() }, secs(second), &mut chance);
        }
    }
    let near = numbers.windows(2).filter(|pair| pair[1].abs_diff(pair[0]) < 1 << 16).count();
    assert!(numbers.len() > 20 && near < 2, "{numbers:?}");
}

fn pings(sends: &Sends) -> Vec<(NodeId, u32)> {
    let ping = |(to, sent): &(NodeId, Message)| match sent {
        Message::Ping(ping) => Some((*to, ping.number)),
        _ => None,
    };
    sends.iter().filter_map(ping).collect()
}

fn is_request(message: &Message, of: NodeId) -> bool {
    matches!(message, Message::PingRequest(ask) if ask.target == of)
}

/// Where it is asked it can say so, and hold that one probe up; of a zone of twenty, three are asked.
#[test]
fn a_liar_that_answers_for_everybody_does_not_hide_a_crash() {
    for seed in 0..8 {
        let mut world = World::new(20, seed);
        world.liars.insert(7);
        for victim in [3, 12] {
            let crashed = world.now;
            world.crash(victim);
            world.run(secs(8));
            let known = world.known(victim, Liveness::Down);
            let up = world.hosts.iter().filter(|host| host.up).count();
            assert_eq!(known.len(), up, "seed {seed}, victim {victim}");
            println!("seed {seed}: {:?}", *known.values().max().unwrap() - crashed);
        }
        assert!(world.downs().iter().all(|entry| !world.hosts[entry.of].up));
    }
}

/// T9: known to the first within 4 s, to all within 6 s.
#[test]
fn a_crash_in_a_zone_of_a_thousand_is_known_in_time() {
    for seed in 0..4 {
        let mut world = World::new(1000, seed);
        let mut worst = (Duration::ZERO, Duration::ZERO);
        for victim in [17, 400, 555, 901] {
            let crashed = world.now;
            world.crash(victim);
            world.run(secs(8));
            let known = world.known(victim, Liveness::Down);
            assert_eq!(known.len(), world.hosts.iter().filter(|host| host.up).count(), "seed {seed}, victim {victim}");
            let first = *known.values().min().unwrap() - crashed;
            let last = *known.values().max().unwrap() - crashed;
            worst = (worst.0.max(first), worst.1.max(last));
        }
        println!("seed {seed}: first {:?}, all {:?}", worst.0, worst.1);
        assert!(worst.0 <= secs(4) && worst.1 <= secs(6), "seed {seed}: {worst:?}");
        assert!(world.downs().iter().all(|entry| !world.hosts[entry.of].up));
    }
}

#[test]
fn nobody_is_suspected_where_nothing_is_lost() {
    for (count, seed) in [(20, 1), (300, 1), (300, 2)] {
        let mut world = World::new(count, seed);
        world.run(secs(120));
        assert!(world.log.is_empty(), "{count} nodes: {:?}", world.log);
    }
}

#[test]
fn nobody_who_lives_is_declared_down_at_five_per_cent_loss() {
    for (count, time) in [(300, 50), (20, 300)] {
        let mut world = World::new(count, 7);
        world.loss = 50;
        world.run(secs(time));
        assert!(world.downs().is_empty(), "{:?}", world.downs());
    }
}

/// Streams that drop messages, as full queues do: suspicions abound, and all are refuted.
#[test]
fn nobody_who_lives_is_declared_down_where_streams_lose_messages_too() {
    let mut world = World::new(300, 11);
    (world.loss, world.drop) = (50, 50);
    world.run(secs(40));
    assert!(world.downs().is_empty(), "{:?}", world.downs());
    assert!(world.log.iter().any(|entry| entry.liveness == Liveness::Suspect));
}

/// T9's other half.
#[test]
#[ignore = "a million node-seconds"]
fn nobody_who_lives_is_declared_down_in_a_million_node_seconds() {
    let mut suspected = 0;
    for seed in 0..2 {
        let mut world = World::new(1000, seed);
        world.loss = 50;
        for _ in 0..50 {
            world.run(secs(10));
            assert!(world.downs().is_empty(), "{:?}", world.downs());
            suspected += world.log.iter().filter(|entry| entry.liveness == Liveness::Suspect).count();
            world.log.clear();
        }
        let failed: u64 = world.hosts.iter().map(|host| host.member.counts().failed).sum();
        println!("seed {seed}: {failed} probes failed, {suspected} suspicions so far, {} frames", world.frames);
    }
}

#[test]
fn a_paused_node_is_declared_down_comes_back_and_accuses_nobody() {
    for seed in 0..6 {
        let count = if seed == 0 { 300 } else { 30 };
        let mut world = World::new(count, seed);
        world.pause(5, true);
        world.run(secs(30));
        assert_eq!(world.known(5, Liveness::Down).len(), count - 1, "seed {seed}");
        world.pause(5, false);
        world.run(secs(20));
        assert!(world.downs().iter().all(|entry| entry.of == 5), "seed {seed}: {:?}", world.downs());
        assert!(world.agree(&[]), "seed {seed}");
    }
}

#[test]
fn a_link_that_works_one_way_kills_nobody() {
    let mut world = World::new(20, 3);
    world.cut.insert((1, 2));
    world.run(secs(60));
    assert!(world.downs().is_empty(), "{:?}", world.downs());
    let mut world = World::new(2, 3);
    world.cut.extend([(0, 1)]);
    world.run(secs(60));
    assert!(world.known(0, Liveness::Down).contains_key(&1), "nobody else can say that it lives");
}

#[test]
fn a_graceful_leave_is_known_to_all_within_a_second() {
    for (count, seed) in [(10, 1), (1000, 2), (1000, 3)] {
        let mut world = World::new(count, seed);
        let left = world.now;
        world.leave(3);
        world.run(Duration::from_millis(20));
        world.crash(3);
        world.run(secs(3));
        let known = world.known(3, Liveness::Left);
        assert_eq!(known.len(), count - 1);
        let last = *known.values().max().unwrap() - left;
        println!("{count} nodes: {last:?}");
        assert!(last <= secs(1), "{count} nodes: {last:?}");
    }
}

/// News miss somebody in one of ten zones of this size. Such a one hears of it by the second digest that differs, half a second
/// after the first: of this world's, one a second, that takes up to 4.3 s (of 120 seeds).
const TO_STRAGGLERS: Duration = Duration::from_secs(6);

#[test]
fn who_was_down_or_had_left_comes_back_under_its_old_name() {
    for leaves in [false, true] {
        for count in [5, 300] {
            let mut world = World::new(count, 4);
            if leaves {
                world.leave(2);
            }
            world.crash(2);
            world.run(secs(20));
            assert!(world.agree(&[2]), "{count} nodes, leaves: {leaves}");
            world.restart(2);
            world.run(TO_STRAGGLERS);
            assert!(world.agree(&[]), "{count} nodes, leaves: {leaves}");
            // Again, over the counter of the life before.
            world.crash(2);
            world.run(secs(12));
            world.restart(2);
            world.run(TO_STRAGGLERS);
            assert!(world.agree(&[]), "{count} nodes, leaves: {leaves}");
        }
    }
}

#[test]
fn two_halves_declare_each_other_down_and_heal() {
    for (count, seed) in [(20, 1), (20, 2), (300, 3)] {
        let mut world = World::new(count, seed);
        world.split(count / 2);
        world.run(secs(40));
        for host in &mut world.hosts {
            assert_eq!(host.member.not_alive().len(), count - count / 2);
        }
        world.cut.clear();
        world.log.clear();
        world.run(secs(30));
        assert!(world.agree(&[]), "{count} nodes");
        assert!(world.downs().is_empty(), "neither half kills the other's: {:?}", world.downs());
        world.log.clear();
        world.run(secs(60));
        assert!(world.log.is_empty(), "nobody is suspected afterwards: {:?}", world.log);
    }
}

/// The node that held on alone once never found the others again (foca issue 15, serf issue 605).
#[test]
fn a_node_that_lost_everybody_gets_everybody_back() {
    let mut world = World::new(12, 9);
    world.split(1);
    world.run(secs(60));
    assert_eq!(world.hosts[0].member.alive_count(), 0);
    world.cut.clear();
    world.run(secs(30));
    assert!(world.agree(&[]));
}

/// All restart with the record of one that died in the meantime: nobody was ever connected with it.
#[test]
fn somebody_known_only_from_old_records_is_found_to_be_down() {
    for count in [3, 300] {
        let mut world = World::new(count, 5);
        for host in 0..count {
            world.crash(host);
        }
        world.run(secs(60));
        for host in 1..count {
            world.restart(host);
        }
        world.run(secs(60));
        assert!(world.agree(&[0]), "{count} nodes");
    }
}

#[test]
fn many_crashes_at_once_are_all_known() {
    let mut world = World::new(300, 6);
    let gone: Vec<usize> = (0..100).map(|host| host * 3).collect();
    for host in &gone {
        world.crash(*host);
    }
    world.run(secs(40));
    assert!(world.agree(&gone));
}

#[test]
fn the_same_seed_lives_the_same_life() {
    let life = || {
        let mut world = World::new(50, 8);
        world.loss = 100;
        world.crash(3);
        world.run(secs(20));
        (world.frames, world.log.iter().map(|entry| (entry.at, entry.host, entry.of)).collect::<Vec<_>>())
    };
    assert_eq!(life(), life());
}

/// T7 leaves a kilobyte a second for gossip and membership together.
#[test]
fn an_idle_zone_says_little_whatever_its_size() {
    for count in [10, 100, 1000] {
        let mut world = World::new(count, 2);
        let before = world.frames;
        world.weigh = true;
        world.run(secs(20));
        let per_second = world.bytes / 20 / count as u64;
        println!("{count} nodes: {per_second} B/s, {} frames/s a node", (world.frames - before) / 20 / count as u64);
        assert!(per_second < 150, "{count} nodes: {per_second} B/s each, a digest included");
    }
}
