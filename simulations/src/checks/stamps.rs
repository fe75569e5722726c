//! Invariant 1, for stamps: what a node writes is stamped after everything it had taken by then (PROTOCOL §6.3), or what is shown last
//! would not be what was written last.

use std::collections::BTreeMap;

use aop_proto::node::Node;
use aop_proto::record::{NodeId, Origin, SignedRef};

use super::{Verdict, ensure};

/// The highest stamp that each host has taken, in which life of its log.
#[derive(Debug, Default)]
pub(crate) struct Stamps {
    taken: BTreeMap<usize, (u64, u64)>,
}

impl Stamps {
    /// A node stands on its store, and knows what is there.
    pub(super) fn restarted(&mut self, number: usize, id: NodeId, node: &Node) {
        let registry = node.registry();
        let others = registry.vector().into_iter().filter(|(origin, _)| origin.node != id);
        let stamps = others.flat_map(|(origin, _)| registry.records_of(origin)).map(|signed| signed.record.hlc);
        let (stamp, life) = (stamps.max().unwrap_or(0), registry.incarnation_of(id).unwrap_or(0));
        self.taken.insert(number, (life, stamp));
    }

    /// A node wants this kept, in the order in which it took or wrote it. A new life begins with the clock as it is then.
    pub(super) fn kept(&mut self, number: usize, id: NodeId, signed: &SignedRef) -> Verdict {
        let Origin { node, incarnation } = signed.record.origin();
        let (life, stamp) = self.taken.entry(number).or_default();
        if node != id {
            *stamp = signed.record.hlc.max(*stamp);
            return Ok(());
        }
        if std::mem::replace(life, incarnation) != incarnation {
            *stamp = 0;
        }
        ensure(signed.record.hlc > *stamp, 1, || {
            format!("host {number} stamps {signed:?} {}, and had taken a record of {stamp}", signed.record.hlc)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::scenario::{replicas, server};
    use crate::world::World;

    #[test]
    fn planted_clock_that_does_not_listen_turns_invariant_1_red() {
        let mut world = World::new(1);
        let hosts = replicas(&mut world, "research", 1, 2);
        let mut last_of = |host| {
            world.run_for(Duration::from_secs(2));
            world.write(host, server(&format!("s{host:?}"), &[("one", "first")]));
            world.run_for(Duration::from_secs(2));
            let node = world.node(host).expect("it runs");
            node.registry().records_of(world.origin(host)).last().cloned().expect("it has written")
        };
        let (own, other) = (last_of(hosts[0]), last_of(hosts[1]));
        let mut stamps = Stamps::default();
        let mut kept = |signed| stamps.kept(0, own.record.node(), signed);
        kept(&own).expect("the first");
        kept(&other).expect("it is later");
        let red = kept(&own).expect_err("it is stamped before what was taken");
        assert!(red.to_string().starts_with("invariant 1: "), "{red}");
    }
}
