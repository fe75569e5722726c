//! Nodes of one zone find each other, believe each other and become equal, in whatever order they come.

use std::time::Duration;

use aop_simulations::scenario::{acquainted, equal, replicas, server};
use aop_simulations::world::{HostId, Spec, World};

const SOON: Duration = Duration::from_secs(10);

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
