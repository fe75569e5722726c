//! Invariant 7: what was acknowledged stands at its host across any crash that leaves the disk, and at everybody who has heard of it.

use std::collections::BTreeMap;
use std::time::Duration;

use aop_proto::node::{Node, Wrote};
use aop_proto::record::{Kind, Origin};

use super::truth::Truth;
use super::{Verdict, ensure};
use crate::host::Host;

/// What is known from outside about one tool a host was told to serve.
#[derive(Clone, Copy, Debug)]
struct Promise {
    /// The host's log stood here when the write was acknowledged.
    origin: Origin,
    through: u64,
    /// Served, or removed.
    stands: bool,
}

/// Everything acknowledged, by host and name.
#[derive(Debug, Default)]
pub(crate) struct Promises {
    by_host: BTreeMap<usize, BTreeMap<String, Promise>>,
}

impl Promises {
    /// The disk is gone: what it promised was void while no other member had it, and ends with that life of the log.
    pub(super) fn forget(&mut self, number: usize) {
        self.by_host.remove(&number);
    }

    pub(super) fn acknowledged(&mut self, number: usize, host: &Host, wrote: &Wrote) {
        let Some((origin, through)) = host.node.as_ref().and_then(|node| own_log(host, node)) else { return };
        let standing = wrote.tools.iter().map(|(name, _)| (name, true));
        let promises = self.by_host.entry(number).or_default();
        for (name, stands) in standing.chain(wrote.removed.iter().map(|name| (name, false))) {
            promises.insert(name.to_lowercase(), Promise { origin, through, stands });
        }
    }

    /// A node stands on its store: it has everything it ever acknowledged.
    pub(super) fn restarted(&self, number: usize, host: &Host) -> Verdict {
        let Some(node) = &host.node else { return Ok(()) };
        self.by_host.get(&number).into_iter().flatten().try_for_each(|(name, promise)| {
            kept(node, name, promise, || format!("host {number} restarted and no longer holds its promise of {name}"))
        })
    }

    /// Every reader that has come as far holds what was promised, or a later word on it. Where a number has two contents, others may
    /// hold the other one until the writer's next life says it again.
    pub(super) fn everywhere(&self, time: Duration, hosts: &[Host], truth: &Truth) -> Verdict {
        // An enemy may take back what it promised while it was honest, and nobody notes what is acknowledged to it.
        for (number, promises) in self.by_host.iter().filter(|(number, _)| !hosts[**number].hostile) {
            let zone = &hosts[*number].spec.zone;
            let readers = hosts.iter().enumerate().filter(|(_, host)| host.spec.zone == *zone && !host.hostile);
            for (at, reader) in readers {
                let Some(node) = &reader.node else { continue };
                for (name, promise) in promises {
                    let heard = || node.registry().through(promise.origin) >= promise.through;
                    if at == *number || (heard() && !truth.is_forked(promise.origin)) {
                        kept(node, name, promise, || {
                            format!("at {time:?} host {at} holds another state of {name} than host {number} promised")
                        })?;
                    }
                }
            }
        }
        Ok(())
    }
}

/// The highest life of a host's own log, as its own node holds it.
fn own_log(host: &Host, node: &Node) -> Option<(Origin, u64)> {
    let incarnation = node.registry().incarnation_of(host.id)?;
    let origin = Origin { node: host.id, incarnation };
    Some((origin, node.registry().through(origin)))
}

fn kept(node: &Node, name: &str, promise: &Promise, what: impl FnOnce() -> String) -> Verdict {
    let registry = node.registry();
    // Another life of the log speaks for itself: what it repeats is acknowledged anew.
    if registry.incarnation_of(promise.origin.node).is_some_and(|held| held > promise.origin.incarnation) {
        return Ok(());
    }
    let latest = registry.latest(promise.origin, Kind::Tool, name);
    // A later record is of a write that a crash overtook before it was acknowledged: both may be true.
    let overtaken = latest.is_some_and(|signed| signed.record.seq > promise.through);
    // So may it be of one that took out what was promised, and was collected since.
    let collected = latest.is_none() && registry.floor(promise.origin) > promise.through;
    let stands = latest.is_some_and(|signed| signed.record.body().is_some());
    ensure(overtaken || collected || stands == promise.stands, 7, what)
}
