//! Nodes of one zone find each other, believe each other and become equal, in whatever order they come.

use std::time::Duration;

use aop_simulations::World;
use aop_simulations::scenario::{acquainted, equal, replicas, server};

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
