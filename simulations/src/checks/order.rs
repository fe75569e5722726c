//! Invariant 1, for what a host holds of others: complete-through never goes back while it runs, nor across a crash that leaves its
//! disk. (What an origin writes itself is judged where it is written, in `truth`.)

use std::collections::BTreeMap;

use aop_proto::node::Node;
use aop_proto::record::{NodeId, Origin, SignedRef};

use super::truth::Truth;
use super::{Verdict, ensure};
use crate::host::Host;

pub(super) type Vector = Vec<(Origin, u64)>;

/// One host, as far as it has come.
#[derive(Debug, Default)]
struct Mark {
    life: u32,
    vector: Vector,
    /// What its disk has acknowledged: life and number, by node.
    durable: BTreeMap<NodeId, (u64, u64)>,
}

/// How far every host has come.
#[derive(Debug, Default)]
pub(crate) struct Order {
    hosts: BTreeMap<usize, Mark>,
}

/// I11: what is written belongs to a life that the disk knows of, or the next run would begin it again.
pub(super) fn is_of_durable_life(number: usize, host: &Host, signed: &SignedRef) -> Verdict {
    let durable = host.disk.incarnation().unwrap_or(host.incarnation);
    ensure(signed.record.origin().incarnation <= durable, 1, || {
        format!("host {number} writes {signed:?}, and its disk knows of life {durable} only")
    })
}

/// The highest life of a node in a vector, and how far it is held.
fn of_node(vector: &[(Origin, u64)], node: NodeId) -> Option<(u64, u64)> {
    let from = vector.partition_point(|(origin, _)| origin.node < node);
    let lives = vector[from..].iter().take_while(|(origin, _)| origin.node == node);
    lives.last().map(|(origin, through)| (origin.incarnation, *through))
}

impl Order {
    /// The disk is gone, or another one.
    pub(super) fn forget(&mut self, number: usize) {
        self.hosts.remove(&number);
    }

    /// What was held and not durable is gone.
    pub(super) fn crashed(&mut self, number: usize) {
        if let Some(mark) = self.hosts.get_mut(&number) {
            mark.vector.clear();
        }
    }

    /// A disk has acknowledged a record.
    pub(super) fn durable(&mut self, number: usize, signed: &SignedRef) {
        let durable = &mut self.hosts.entry(number).or_default().durable;
        let mark = durable.entry(signed.record.node()).or_default();
        *mark = (*mark).max((signed.record.origin().incarnation, signed.record.seq));
    }

    /// The farthest this host has provably been in the logs of a node.
    pub(super) fn reached(&self, number: usize, node: NodeId) -> Option<(u64, u64)> {
        let mark = self.hosts.get(&number)?;
        mark.durable.get(&node).copied().max(of_node(&mark.vector, node))
    }

    /// A node stands on its store: it holds what was acknowledged to it.
    pub(super) fn restarted(&mut self, number: usize, node: &Node, truth: &Truth) -> Verdict {
        let vector = node.registry().vector();
        let Some(mark) = self.hosts.get(&number) else { return Ok(()) };
        for (id, durable) in &mark.durable {
            let origin = Origin { node: *id, incarnation: durable.0 };
            if truth.is_forked(origin) || truth.is_reaped(origin) || !truth.is_honest(*id) {
                continue;
            }
            let now = of_node(&vector, *id);
            ensure(now >= Some(*durable), 1, || {
                format!("host {number} restarted at {now:?} of {origin:?}, its disk had acknowledged {durable:?}")
            })?;
        }
        Ok(())
    }

    /// Logs that are not where they were.
    pub(super) fn changed(&self, number: usize, life: u32, vector: &[(Origin, u64)]) -> Vec<Origin> {
        let before = self.hosts.get(&number).filter(|mark| mark.life == life).map_or(&[][..], |mark| &mark.vector[..]);
        let same = |entry: &&(Origin, u64)| before.binary_search(entry).is_err();
        vector.iter().filter(same).map(|(origin, _)| *origin).collect()
    }

    /// A running node's vector, compared with the one before.
    pub(super) fn advance(&mut self, number: usize, life: u32, vector: &[(Origin, u64)], truth: &Truth) -> Verdict {
        let mark = self.hosts.entry(number).or_default();
        if mark.life == life {
            for (origin, before) in &mark.vector {
                let now = of_node(vector, origin.node);
                let ended = truth.is_forked(*origin) || truth.is_reaped(*origin) || !truth.is_honest(origin.node);
                ensure(ended || now >= Some((origin.incarnation, *before)), 1, || {
                    format!("host {number} went back from {before} of {origin:?} to {now:?}")
                })?;
            }
        }
        mark.life = life;
        mark.vector.clear();
        mark.vector.extend_from_slice(vector);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn origin(node: u8, incarnation: u64) -> Origin {
        Origin { node: NodeId([node; 32]), incarnation }
    }

    #[test]
    fn planted_vector_that_goes_back_turns_invariant_1_red() {
        let (mut order, truth) = (Order::default(), Truth::default());
        order.advance(0, 1, &[(origin(1, 1), 5), (origin(2, 1), 3)], &truth).unwrap();
        order.advance(0, 1, &[(origin(1, 2), 1), (origin(2, 1), 3)], &truth).unwrap();
        for worse in [vec![(origin(1, 2), 1), (origin(2, 1), 2)], vec![(origin(2, 1), 3)]] {
            let red = order.advance(0, 1, &worse, &truth).unwrap_err();
            assert!(red.to_string().starts_with("invariant 1: "), "{red}");
        }
        order.advance(0, 2, &[], &truth).unwrap();
    }
}
