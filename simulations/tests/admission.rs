//! Nodes of one zone find each other, believe each other and become equal, in whatever order they come.

use std::time::Duration;

use aop_proto::wire::message::Message;
use aop_simulations::scenario::{acquainted, equal, replicas, server};
use aop_simulations::world::{HostId, Spec, World};

const SOON: Duration = Duration::from_secs(10);
/// Readers see what a node holds at most this much later.
const READERS: Duration = Duration::from_millis(20);

/// The node that joined was admitted and told so, but had heard its fellow's greeting before it could judge it, and never judged
/// it again: it took no gossip, so nothing was ever replicated.
#[test]
fn a_node_that_joins_sees_its_fellow_and_becomes_equal() {
    let mut world = World::new(1);
    let hosts = replicas(&mut world, "research", 1, 2);
    world.write_through(hosts[0], server("arxiv", &[("search_papers", "find papers on arxiv")])).unwrap();
    let took = world.run_until(SOON, |world| acquainted(world, &hosts) && equal(world, &hosts));
    assert!(took.is_some(), "{:?}", world.view(hosts[1]));
}

fn grown(world: &mut World, hosts: &[HostId], what: &str) {
    let took = world.run_until(SOON, |world| acquainted(world, hosts) && equal(world, hosts));
    let views: Vec<_> = hosts.iter().map(|h| world.view(*h).map(|v| (v.admitted, &v.members, &v.contacts))).collect();
    assert!(took.is_some(), "{what}: {views:#?} {:?}", hosts.iter().map(|h| world.refusals(*h)).collect::<Vec<_>>());
}

/// Only those who had joined each other knew each other: what a replica two joins away served counted as down.
#[test]
fn replicas_that_join_in_a_chain_all_know_each_other() {
    let mut world = World::new(1);
    let hosts: Vec<HostId> =
        (1..=4).map(|n| world.boot(if n == 1 { Spec::new("z", 1) } else { Spec::new("z", n).join(n - 1) })).collect();
    grown(&mut world, &hosts, "chain");
}

#[test]
fn a_child_that_does_not_lie_below_its_parent_is_told_which_name_would() {
    let mut world = World::new(1);
    world.boot(Spec::new("lib", 1));
    let stray = world.boot(Spec::new("research", 2).parent(1));
    world.run_for(Duration::from_secs(2));
    let refusals = world.refusals(stray);
    assert!(refusals.iter().any(|reason| reason.contains("`research.lib`")), "{refusals:?}");
    assert!(world.view(stray).unwrap().contacts.iter().any(|contact| contact.state == "refused"));
}

/// Both founded the zone when they came at once; the parent took the first key and refused the other for good.
#[test]
fn two_replicas_with_one_parent_find_each_other_whatever_the_order() {
    let orders: [[u32; 3]; 4] = [[0, 1, 2], [1, 0, 2], [1, 2, 0], [2, 1, 0]];
    for (seed, order) in (1..).zip(orders) {
        for pause in [Duration::ZERO, Duration::from_millis(3), Duration::from_secs(2)] {
            let mut world = World::new(seed);
            let specs = [Spec::new(".", 1), Spec::new("research", 2).parent(1), Spec::new("research", 3).parent(1)];
            let hosts: Vec<HostId> = specs.into_iter().map(|spec| world.add(spec)).collect();
            for number in order {
                world.start(hosts[number as usize]);
                world.run_for(pause);
            }
            for (at, tool) in [(1, "search_papers"), (2, "count_papers")] {
                world.write_through(hosts[at], server(tool, &[(tool, "papers on arxiv")])).unwrap();
            }
            grown(&mut world, &hosts[1..], &format!("{order:?} {pause:?}"));
            world.run_for(READERS);
            let tools = world.view(hosts[1]).unwrap().tools.len();
            assert_eq!(tools, 2, "{order:?} {pause:?}");
        }
    }
}

/// Everybody waited for somebody else's key.
#[test]
fn replicas_that_join_each_other_all_round_become_one_zone() {
    for seed in 1..20 {
        let mut world = World::new(seed);
        let specs = (1..=3).map(|n| (1..=3).filter(|other| *other != n).fold(Spec::new("research", n), Spec::join));
        let hosts: Vec<HostId> = specs.map(|spec| world.boot(spec)).collect();
        grown(&mut world, &hosts, &format!("seed {seed}"));
    }
}

/// Two that joined a third, which waited itself, took each other's silence for leave to found the zone.
#[test]
fn whoever_only_joins_leaves_founding_to_others() {
    for seed in 1..=20 {
        let mut world = World::new(seed);
        let mut hosts = vec![world.boot(Spec::new("lib", 2).parent(1)), world.boot(Spec::new("lib", 3).join(2))];
        hosts.extend((4..=6).map(|number| world.boot(Spec::new("lib", number).join(3))));
        world.run_for(Duration::from_secs(1));
        for host in &hosts {
            assert!(!world.view(*host).is_some_and(|view| view.admitted), "seed {seed}: there is no parent yet");
        }
        world.boot(Spec::new(".", 1));
        grown(&mut world, &hosts, &format!("seed {seed}"));
    }
}

/// Each of two founders admitted a replica before the parent had chosen, and would not give its key up for that.
#[test]
fn founders_with_company_wait_for_the_parent_s_choice() {
    for seed in 1..=20 {
        let mut world = World::new(seed);
        world.boot(Spec::new(".", 1));
        let hosts = [
            world.boot(Spec::new("lib", 2).parent(1)),
            world.boot(Spec::new("lib", 3).parent(1)),
            world.boot(Spec::new("lib", 4).join(2)),
            world.boot(Spec::new("lib", 5).join(3)),
        ];
        grown(&mut world, &hosts, &format!("seed {seed}"));
    }
}

/// A child pinned the key of a founder that gave it up a moment later, and refused its parent from then on.
#[test]
fn a_key_that_may_be_given_up_is_not_shown_to_children() {
    for seed in 1..=20 {
        let mut world = World::new(seed);
        let child = world.boot(Spec::new("ml.lib", 4).parent(2));
        world.boot(Spec::new("lib", 2).parent(1));
        world.boot(Spec::new("lib", 3).parent(1));
        world.run_for(Duration::from_millis(700));
        let root = world.boot(Spec::new(".", 1));
        world.run_for(SOON);
        assert!(world.refusals(child).is_empty(), "seed {seed}: {:?}", world.refusals(child));
        let zones: Vec<String> = {
            let answered = world.resolve(root, aop_simulations::world::words("anything"));
            answered.outcome.answers.iter().map(|(_, checked)| checked.answer.zone.clone()).collect()
        };
        assert_eq!(zones, [".", "lib", "ml.lib"], "seed {seed}");
    }
}

/// Two founders lost the parent before it had chosen. One took its silence for leave to admit others, and the parent chose the other.
#[test]
fn a_founder_that_lost_its_parent_waits_for_its_choice() {
    for millis in 0..30 {
        let mut world = World::new(millis + 1);
        let parent = world.boot(Spec::new("lib", 2).parent(1));
        let founders = [world.boot(Spec::new("ml.lib", 3).parent(2)), world.boot(Spec::new("ml.lib", 4).parent(2))];
        world.run_for(Duration::from_secs(1));
        let root = world.boot(Spec::new(".", 1));
        world.run_until(SOON, |world| world.view(parent).is_some_and(|view| view.zone_key.is_some())).unwrap();
        world.run_for(Duration::from_millis(millis));
        world.partition(&[root, parent], &founders);
        world.run_for(SOON * 2);
        let others = [3, 4].map(|founder| world.boot(Spec::new("ml.lib", founder + 2).join(founder)));
        world.run_for(SOON);
        world.heal();
        grown(&mut world, &[founders, others].concat(), &format!("{millis} ms"));
    }
}

/// What a node had delegated went with its log, and while it came back it knew of no delegation: the next to come founded the
/// zone again, under another key.
#[test]
fn a_parent_that_lost_its_disk_lets_nobody_found_its_children_again() {
    for (seed, keys_too) in (1..=20).zip([false, true].into_iter().cycle()) {
        let mut world = World::new(seed);
        world.boot(Spec::new(".", 1));
        let lib = [world.boot(Spec::new("lib", 2).parent(1)), world.boot(Spec::new("lib", 3).parent(1))];
        let first = world.boot(Spec::new("ml.lib", 4).parent(2));
        grown(&mut world, &lib, "lib");
        world.run_for(SOON);
        if keys_too {
            world.replace(lib[0]);
        } else {
            world.lose(lib[0]);
        }
        let second = world.boot(Spec::new("ml.lib", 5).parent(2));
        world.run_for(Duration::from_secs(1));
        world.start(lib[0]);
        world.run_for(SOON * 3);
        grown(&mut world, &[first, second], &format!("seed {seed}"));
        grown(&mut world, &lib, &format!("seed {seed}"));
    }
}

/// Two replicas that came together held the same, and took that for all there is: of what the first had delegated they knew nothing
/// yet, and a child founded its zone again.
#[test]
fn replicas_as_new_as_each_other_deny_nothing() {
    for seed in 1..=20 {
        let mut world = World::new(seed);
        world.boot(Spec::new(".", 1));
        let old = world.boot(Spec::new("lib", 2).parent(1));
        let first = world.boot(Spec::new("ml.lib", 3).parent(2));
        world.run_for(SOON);
        world.crash(first);
        let words = world.id(old);
        world.doctor_frames(old, move |mut message| {
            if let Message::Ranges(ranges) = &mut message {
                ranges.ranges.retain(|range| range.origin.node != words);
            }
            Some(message)
        });
        let new = [world.boot(Spec::new("lib", 4).join(2)), world.boot(Spec::new("lib", 5).join(2))];
        world.run_for(Duration::from_secs(2));
        let second = world.boot(Spec::new("ml.lib", 6).parent(5));
        world.run_for(SOON);
        world.doctor_frames(old, Some);
        world.start(first);
        grown(&mut world, &[first, second], &format!("seed {seed}"));
        grown(&mut world, &[old, new[0], new[1]], &format!("seed {seed}"));
    }
}

/// Its fellows looked for the node that had been there before, at the same address, for ever.
#[test]
fn another_node_at_the_address_of_a_lost_one_is_found() {
    let mut world = World::new(1);
    let hosts = replicas(&mut world, "research", 1, 3);
    grown(&mut world, &hosts, "first");
    world.replace(hosts[2]);
    world.partition(&hosts[..1], &hosts[2..]);
    world.start(hosts[2]);
    world.run_for(SOON);
    world.heal();
    // Who joined it finds it by its address, whoever it is.
    world.run_for(SOON * 3);
    let met = |from: usize, to: usize| {
        let members = &world.view(hosts[from]).unwrap().members;
        members.iter().any(|member| member.node == world.id(hosts[to]) && member.state == "alive")
    };
    for (from, to) in [(0, 1), (0, 2), (1, 2), (2, 0), (2, 1)] {
        assert!(met(from, to), "{from} does not know {to}");
    }
}

#[test]
fn a_zone_under_another_key_is_refused_in_words_and_nothing_is_mixed() {
    let mut world = World::new(1);
    let ours = replicas(&mut world, "research", 1, 2);
    let theirs = replicas(&mut world, "research", 11, 2);
    grown(&mut world, &ours, "ours");
    grown(&mut world, &theirs, "theirs");
    world.write_through(ours[0], server("arxiv", &[("search_papers", "papers")])).unwrap();
    world.crash(theirs[1]);
    world.change(theirs[1], Spec::new("research", 12).join(1));
    world.start(theirs[1]);
    world.run_for(SOON);
    let refusals = world.refusals(theirs[1]);
    assert!(refusals.iter().any(|reason| reason.contains("under another key")), "{refusals:?}");
    assert!(world.view(theirs[1]).unwrap().tools.is_empty());
    assert!(acquainted(&world, &ours) && equal(&world, &ours));
    // Beginning anew it belongs where it is told to.
    world.replace(theirs[1]);
    world.start(theirs[1]);
    world.run_for(SOON);
    assert_eq!(world.view(theirs[1]).unwrap().tools.len(), 1);
}

#[test]
fn a_zone_that_the_parent_delegates_to_another_key_is_refused() {
    let mut world = World::new(1);
    world.boot(Spec::new(".", 1));
    let first = world.boot(Spec::new("research", 2).parent(1));
    let others = replicas(&mut world, "research", 11, 2);
    grown(&mut world, &others, "others");
    world.crash(others[0]);
    world.change(others[0], Spec::new("research", 11).parent(1));
    world.start(others[0]);
    world.run_for(SOON);
    let refusals = world.refusals(others[0]);
    assert!(refusals.iter().any(|reason| reason.contains("delegates research to another key")), "{refusals:?}");
    assert!(world.refusals(first).is_empty());
}

/// Every replica was certified by the one it had joined: the chain of the ninth was longer than anybody believes.
#[test]
fn a_long_row_of_joins_leaves_short_chains() {
    let mut world = World::new(1);
    let mut hosts = replicas(&mut world, "z", 1, 1);
    for number in 2..=20 {
        hosts.push(world.boot(Spec::new("z", number).join(number - 1)));
        world.run_for(Duration::from_secs(1));
    }
    grown(&mut world, &hosts, "row");
    world.run_for(READERS * 10);
    let tools = &world.view(hosts[0]).unwrap().tools;
    let chains = tools.nodes().values().filter_map(|signed| signed.node_body()).map(|body| body.chain.len());
    assert_eq!(chains.max(), Some(2));
}

/// Two replicas that had believed the same key and lost sight of each other before either knew where the other was: both had the
/// parent, and neither asked it.
#[test]
fn replicas_that_know_their_key_find_each_other_through_the_parent() {
    for seed in 1..=20 {
        let mut world = World::new(seed);
        world.boot(Spec::new(".", 1));
        let first = world.boot(Spec::new("research", 2).parent(1));
        world.run_for(SOON);
        let second = world.boot(Spec::new("research", 3).parent(1));
        // Both stop as soon as the second knows the key.
        let known = |world: &World| world.view(second).is_some_and(|view| view.zone_key.is_some());
        world.run_until(SOON, known).unwrap();
        let pause = Duration::from_millis(seed % 5);
        world.run_for(pause);
        world.crash(first);
        world.crash(second);
        world.run_for(SOON * 2);
        world.start(first);
        world.start(second);
        grown(&mut world, &[first, second], &format!("seed {seed}"));
    }
}
