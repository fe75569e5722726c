//! Invariants 3 and 4 at one host: its logs are what was written, what it shows is what its logs say, and equal vectors are equal
//! logs are equal views, over all hosts of a zone and all time.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash as _, Hasher};

use aop_proto::node::Node;
use aop_proto::record::{Origin, SignedRef};
use aop_proto::registry::Change;
use aop_proto::view::View;
use aop_proto::zone::{Tools, Zone};

use super::logs::{Held, compare};
use super::truth::Truth;
use super::{Verdict, ensure};

/// Records up to which a view is built anew at every change; above it, at one in so many.
const REBUILT_ALWAYS: usize = 24;
const REBUILT_ONE_IN: u64 = 16;

/// What was seen so far, to compare with.
#[derive(Debug, Default)]
pub(crate) struct Shows {
    /// Digest and hash of what is shown, by a hash of zone and vector.
    equal: BTreeMap<u64, ([u8; 16], u64)>,
    /// Logs of each host that lack what is overwritten later: their hosts' digests compare with nobody's.
    inexact: BTreeMap<usize, BTreeSet<Origin>>,
    /// The digest under which a host's logs were last looked at.
    looked: BTreeMap<usize, (u32, [u8; 16])>,
    views: u64,
}

impl Shows {
    /// Whether a host's logs are others than when this was last asked.
    pub(super) fn moved(&mut self, number: usize, life: u32, digest: [u8; 16]) -> bool {
        self.looked.insert(number, (life, digest)) != Some((life, digest))
    }

    /// Invariant 3 for these logs of a host.
    pub(super) fn log_changes(&mut self, number: usize, node: &Node, origins: &[Origin], truth: &mut Truth) -> Verdict {
        let inexact = self.inexact.entry(number).or_default();
        for origin in origins {
            let Some(log) = truth.log(*origin).filter(|_| !truth.is_forked(*origin)) else {
                ensure(!truth.is_honest(origin.node) || truth.is_forked(*origin), 3, || {
                    format!("host {number} holds a log {origin:?} of which nothing was ever made durable")
                })?;
                inexact.insert(*origin);
                continue;
            };
            let records: BTreeMap<u64, SignedRef> =
                node.registry().records_of(*origin).map(|signed| (signed.record.seq, signed.clone())).collect();
            let through = node.registry().through(*origin);
            let held = Held { host: number, origin: *origin, through, records: &records };
            if compare(&held, log, truth.has_hostile())? {
                inexact.remove(origin);
            } else {
                inexact.insert(*origin);
            }
        }
        Ok(())
    }

    /// Invariant 4 for a view that was just taken.
    pub(super) fn view(&mut self, number: usize, node: &Node, view: &View, vector: &[(Origin, u64)]) -> Verdict {
        self.views += 1;
        let registry = node.registry();
        if view.tools.len() <= REBUILT_ALWAYS || self.views.is_multiple_of(REBUILT_ONE_IN) {
            let records = vector.iter().flat_map(|(origin, _)| registry.records_of(*origin)).cloned();
            rebuilt(number, view, records)?;
        }
        if view.keys.revoked.is_some() {
            // It speaks with nobody any more.
            return Ok(());
        }
        let inexact = self.inexact.get(&number);
        if inexact.is_some_and(|inexact| vector.iter().any(|(origin, _)| inexact.contains(origin))) {
            return Ok(());
        }
        let mut hasher = DefaultHasher::new();
        (view.zone.as_str(), vector).hash(&mut hasher);
        registry.forks().for_each(|evidence| evidence.origin().hash(&mut hasher));
        // Who is revoked is told ahead of the log that says so, and ends a log wherever it is heard.
        view.keys.outcasts.iter().for_each(|(node, _)| node.hash(&mut hasher));
        let here = (registry.digest(), hash_of(&view.tools));
        let known = *self.equal.entry(hasher.finish()).or_insert(here);
        ensure(known.0 == here.0, 4, || format!("host {number} has an equal vector with another digest"))?;
        ensure(known.1 == here.1, 4, || format!("host {number} has an equal vector and shows something else"))
    }
}

/// A zone built from the records alone, in one order, shows what the node shows.
fn rebuilt(number: usize, view: &View, records: impl Iterator<Item = SignedRef>) -> Verdict {
    let mut zone = Zone::default();
    for signed in records.filter(|signed| signed.record.body().is_some()) {
        zone.apply(&Change::Put(signed));
    }
    ensure(hash_of(&view.tools) == hash_of(zone.tools()), 4, || {
        let (shown, built) = (picture(&view.tools), picture(zone.tools()));
        let [only, lacks] = [&shown - &built, &built - &shown].map(|side| side.into_iter().take(4).collect::<Vec<_>>());
        format!("host {number} shows what its logs do not say, or not all of it: shows {only:?}, lacks {lacks:?}")
    })
}

/// The same in words, for whoever has to find out.
fn picture(tools: &Tools) -> BTreeSet<String> {
    let tool = |tool: &&aop_proto::zone::Tool| {
        let instances: Vec<_> = tool.instances().iter().map(|instance| &instance.signed).collect();
        format!("{} as {} says, clash {}, {instances:?}", tool.name(), tool.shown().node().short(), tool.clash)
    };
    let nodes = tools.nodes().values().map(|signed| format!("{signed:?}"));
    tools.all().iter().map(tool).chain(nodes).collect()
}

/// Everything of a zone's tools and nodes that has nothing to do with liveness.
fn hash_of(tools: &Tools) -> u64 {
    let mut hasher = DefaultHasher::new();
    for tool in tools.all() {
        (tool.name(), tool.shown().node(), tool.clash).hash(&mut hasher);
        for instance in tool.instances() {
            (instance.node(), instance.signed.record.seq, instance.signed.hash).hash(&mut hasher);
        }
    }
    for (node, signed) in tools.nodes() {
        (node, signed.hash).hash(&mut hasher);
    }
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::scenario::{server, tool};
    use crate::world::{HostId, Spec, World};

    fn one() -> (World, HostId) {
        let mut world = World::new(1);
        let host = world.boot(Spec::new("research", 1));
        world.write(host, server("s", &[("one", "first"), ("two", "second")]));
        world.run_for(Duration::from_secs(1));
        (world, host)
    }

    fn look(shows: &mut Shows, world: &World, host: HostId, view: &View) -> Verdict {
        let node = world.node(host).expect("it runs");
        shows.view(0, node, view, &node.registry().vector())
    }

    #[test]
    fn planted_view_that_is_not_what_the_logs_say_turns_invariant_4_red() {
        let (mut world, host) = one();
        let before = world.view(host).expect("it runs").clone();
        look(&mut Shows::default(), &world, host, &before).expect("that is what the logs say");
        world.write(host, server("s", &[("one", "changed")]));
        world.run_for(Duration::from_secs(1));
        let red = look(&mut Shows::default(), &world, host, &before).expect_err("it is what they said before");
        assert!(red.to_string().starts_with("invariant 4: "), "{red}");
    }

    #[test]
    fn planted_view_that_depends_on_more_than_the_vector_turns_invariant_4_red() {
        let (mut world, host) = one();
        let mut shows = Shows::default();
        let view = world.view(host).expect("it runs").clone();
        look(&mut shows, &world, host, &view).expect("the first of its vector");
        world.write(host, aop_proto::node::Write::Catalogue(vec![tool("t", "three", "third")]));
        world.run_for(Duration::from_secs(1));
        let vector = view.vector.clone();
        // Another digest and another view under the vector of before.
        let node = world.node(host).expect("it runs");
        let now = world.view(host).expect("it runs");
        let red = shows.view(0, node, now, &vector).expect_err("equal vectors, equal all");
        assert!(red.to_string().starts_with("invariant 4: "), "{red}");
    }
}
