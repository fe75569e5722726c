//! Nodes of one zone find each other, believe each other and become equal, in whatever order they come.

use std::time::Duration;

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
