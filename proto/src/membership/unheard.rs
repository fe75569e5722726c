//! Who counts as alive because its record is held, and for no other reason: a record outlives its node.
//!
//! Only what readers are shown hangs on it. What must hold: nobody comes in after a fellow once believed the same as this node, as from
//! then on a new record is news of a new node.

use std::collections::BTreeSet;

use crate::record::NodeId;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Unheard {
    nodes: BTreeSet<NodeId>,
    agreed: bool,
    changed: bool,
}

impl Unheard {
    pub(super) const fn nodes(&self) -> &BTreeSet<NodeId> {
        &self.nodes
    }

    /// The record of a node that nothing was known of is held.
    pub(super) fn on_record(&mut self, node: NodeId) {
        if !self.agreed {
            self.nodes.insert(node);
        }
    }

    /// Something was heard of it, by this node or another, or its record is gone.
    pub(super) fn end(&mut self, node: NodeId) {
        self.changed |= self.nodes.remove(&node);
    }

    /// A fellow believes the same: those whom this node does not hear are heard by others.
    pub(super) fn on_agreed(&mut self) {
        self.agreed = true;
        self.changed |= !self.nodes.is_empty();
        self.nodes.clear();
    }

    /// Whether there are fewer than when this was asked last.
    pub(super) const fn take_change(&mut self) -> bool {
        std::mem::replace(&mut self.changed, false)
    }
}
