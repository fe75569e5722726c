//! Who is there. In this form liveness is what the connections say: a node is alive while one stands, down when the last ends.
//!
//! Down is an opinion of this node, never part of what is replicated; it hides nothing but health.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::record::NodeId;

/// What is believed of a fellow node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Liveness {
    /// A connection stands. Left on its end or on `Leave`.
    Alive,
    /// No connection. Left when one stands again; contact is retried for ever.
    Down,
    /// It said that it stops. Left when it connects again.
    Left,
}

/// One fellow node.
#[derive(Clone, Debug)]
pub struct Member {
    /// What is believed.
    pub liveness: Liveness,
    /// Since when.
    pub since: Duration,
    /// Where it was last reached.
    pub address: String,
}

/// Fellow nodes of the own zone, without the node itself.
#[derive(Debug, Default)]
pub struct Membership {
    members: BTreeMap<NodeId, Member>,
    changes: u64,
}

impl Membership {
    /// A connection with a fellow replica stands.
    pub fn on_alive(&mut self, node: NodeId, address: String, now: Duration) {
        self.set(node, Liveness::Alive, Some(address), now);
    }

    /// The last connection with it ended.
    pub fn on_down(&mut self, node: NodeId, now: Duration) {
        if self.members.get(&node).is_some_and(|member| member.liveness == Liveness::Alive) {
            self.set(node, Liveness::Down, None, now);
        }
    }

    /// It said that it stops.
    pub fn on_leave(&mut self, node: NodeId, now: Duration) {
        self.set(node, Liveness::Left, None, now);
    }

    fn set(&mut self, node: NodeId, liveness: Liveness, address: Option<String>, now: Duration) {
        let member =
            self.members.entry(node).or_insert(Member { liveness: Liveness::Down, since: now, address: String::new() });
        if member.liveness != liveness {
            member.liveness = liveness;
            member.since = now;
            self.changes += 1;
        }
        if let Some(address) = address {
            member.address = address;
        }
    }

    /// Whether calls can reach it.
    pub fn is_alive(&self, node: NodeId) -> bool {
        self.members.get(&node).is_some_and(|member| member.liveness == Liveness::Alive)
    }

    /// Fellow nodes that are alive, sorted.
    pub fn alive(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.members.iter().filter(|(_, member)| member.liveness == Liveness::Alive).map(|(node, _)| *node)
    }

    /// Everybody ever met.
    pub fn all(&self) -> impl Iterator<Item = (NodeId, &Member)> {
        self.members.iter().map(|(node, member)| (*node, member))
    }

    /// Grows with every change of somebody's liveness.
    pub const fn changes(&self) -> u64 {
        self.changes
    }
}
