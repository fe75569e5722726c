//! Parts of logs that no head confirms so far: of each sender one pile a node, in the order of the log.
//!
//! Nothing here is shown, stored, relayed or hashed, and all of it may be lost: it is asked for again. A sender is a certified member
//! and may be a liar, so piles of two senders are never mixed, none takes another's place, and where there is no room whoever has most
//! gives some. So that a log comes once, it is *lent*: while its borrower brings it, nobody else begins to. A loan ends when the
//! borrower is silent, after [`LOAN_MAX`] at the latest; and whoever had it, the next is given [`LOAN_PAUSE`] after it began.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::params::{LOAN_MAX, LOAN_PAUSE, ORIGINS_MAX, STAGE_PATIENCE, STAGED_BYTES_MAX};
use crate::record::{NodeId, Origin, SignedRef};
use crate::registry::deferred::bytes_of;

/// What parts are put together to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// All of a log, from 0 on: it stands in the place of whatever is held.
    Snapshot,
    /// What follows what is held.
    Continuation,
}

/// The parts of one log from one sender, put together until a head confirms them.
#[derive(Debug)]
pub(super) struct Stage {
    pub(super) origin: Origin,
    pub(super) sender: NodeId,
    pub(super) part: Part,
    /// Where it ends so far.
    pub(super) end: u64,
    /// So many of its records were put together in vain.
    pub(super) tried: usize,
    records: Vec<SignedRef>,
    bytes: usize,
    touched: Duration,
}

impl Stage {
    pub(super) const fn new(origin: Origin, sender: NodeId, part: Part) -> Self {
        Self { origin, sender, part, end: 0, tried: 0, records: Vec::new(), bytes: 0, touched: Duration::ZERO }
    }

    /// The next part.
    pub(super) fn add(&mut self, records: &[SignedRef], end: u64, now: Duration) {
        self.records.extend_from_slice(records);
        self.bytes += bytes_of(records);
        (self.end, self.touched) = (end, now);
    }

    pub(super) fn records(&self) -> &[SignedRef] {
        &self.records
    }

    /// Its records after a number.
    pub(super) fn after(&self, through: u64) -> &[SignedRef] {
        &self.records[self.records.partition_point(|signed| signed.record.seq <= through)..]
    }

    /// Whether its sender may be expected to go on with it.
    fn is_fresh(&self, now: Duration) -> bool {
        now < self.touched + STAGE_PATIENCE
    }
}

/// Who brings the log of a node while nobody else begins to.
#[derive(Debug)]
struct Loan {
    to: NodeId,
    since: Duration,
}

/// What one sender has here, by node.
#[derive(Debug, Default)]
struct Piles {
    by_node: BTreeMap<NodeId, Stage>,
    bytes: usize,
}

/// Logs being put together.
#[derive(Debug, Default)]
pub(super) struct Stages {
    /// None is empty.
    by_sender: BTreeMap<NodeId, Piles>,
    bytes: usize,
    /// The last of each node.
    loans: BTreeMap<NodeId, Loan>,
}

impl Stages {
    /// The pile of this log that `sender` is expected to go on with.
    pub(super) fn fresh(&self, origin: Origin, sender: NodeId, now: Duration) -> Option<&Stage> {
        self.get(origin.node, sender).filter(|stage| stage.origin == origin && stage.is_fresh(now))
    }

    /// The life of which a node's log is lent to another than `sender`.
    pub(super) fn lent_to_another(&self, node: NodeId, sender: NodeId, now: Duration) -> Option<Origin> {
        self.lent(node, now).filter(|stage| stage.sender != sender).map(|stage| stage.origin)
    }

    /// Lives of which a vector for `to` says something: it brings them, or another does.
    pub(super) fn named_to(&self, to: NodeId, now: Duration) -> impl Iterator<Item = Origin> {
        let own = self.by_sender.get(&to).into_iter().flat_map(|piles| piles.by_node.values());
        let own = own.filter(move |stage| stage.is_fresh(now)).map(|stage| stage.origin);
        own.chain(self.loans.keys().filter_map(move |node| self.lent_to_another(*node, to, now)))
    }

    /// Takes out the pile that goes on with a range of this sender from `from` on.
    pub(super) fn take(&mut self, origin: Origin, sender: NodeId, from: u64) -> Option<Stage> {
        let stage = self.get(origin.node, sender)?;
        if stage.origin == origin && stage.end == from { self.remove(origin.node, sender) } else { None }
    }

    /// Keeps a pile in the place of any other of its sender and node. Where there is no room others go, the largest of whoever has most;
    /// false when it is itself more than there may be.
    pub(super) fn keep(&mut self, stage: Stage) -> bool {
        self.remove(stage.origin.node, stage.sender);
        if stage.bytes > STAGED_BYTES_MAX {
            return false;
        }
        while self.bytes + stage.bytes > STAGED_BYTES_MAX {
            let most = self.by_sender.iter().max_by_key(|(_, piles)| piles.bytes);
            let (sender, _) = most.expect("the bytes are of somebody");
            self.remove_largest(*sender);
        }
        self.insert(stage);
        true
    }

    /// Forgets what brings nothing any more of a log that is held through there.
    pub(super) fn forget_reached(&mut self, origin: Origin, through: u64) {
        self.forget_of(origin.node, |stage| stage.origin == origin && stage.end <= through);
    }

    /// Forgets what is of lives of a node up to `incarnation`.
    pub(super) fn forget(&mut self, node: NodeId, incarnation: u64) {
        self.forget_of(node, |stage| stage.origin.incarnation <= incarnation);
    }

    /// Forgets all that one sender left unfinished.
    pub(super) fn forget_sender(&mut self, sender: NodeId) {
        self.bytes -= self.by_sender.remove(&sender).map_or(0, |piles| piles.bytes);
    }

    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    fn get(&self, node: NodeId, sender: NodeId) -> Option<&Stage> {
        self.by_sender.get(&sender)?.by_node.get(&node)
    }

    fn insert(&mut self, stage: Stage) {
        let Stage { origin: Origin { node, .. }, sender, bytes, touched, .. } = stage;
        self.bytes += bytes;
        let piles = self.by_sender.entry(sender).or_default();
        piles.bytes += bytes;
        piles.by_node.insert(node, stage);
        self.lend(node, sender, touched);
    }

    /// The pile of whoever a node's log is lent to.
    fn lent(&self, node: NodeId, now: Duration) -> Option<&Stage> {
        let loan = self.loans.get(&node).filter(|loan| now < loan.since + LOAN_MAX)?;
        self.get(node, loan.to).filter(|stage| stage.is_fresh(now))
    }

    /// Lends a log, unless it was lent a moment ago: then several may bring it, which costs the line.
    fn lend(&mut self, node: NodeId, to: NodeId, now: Duration) {
        let is_recent = |loan: &Loan| now < loan.since + LOAN_PAUSE;
        if self.loans.get(&node).is_some_and(is_recent) {
            return;
        }
        if self.loans.len() >= ORIGINS_MAX {
            self.loans.retain(|_, loan| is_recent(loan));
        }
        if self.loans.len() < ORIGINS_MAX {
            self.loans.insert(node, Loan { to, since: now });
        }
    }

    /// Walks over all that a sender has, which only whoever fills its room leads to, and once for each pile that was kept.
    fn remove_largest(&mut self, sender: NodeId) {
        let piles = self.by_sender.get(&sender).into_iter().flat_map(|piles| piles.by_node.values());
        let largest = piles.max_by_key(|stage| stage.bytes).expect("the bytes are of something");
        self.remove(largest.origin.node, sender);
    }

    fn forget_of(&mut self, node: NodeId, is_over: impl Fn(&Stage) -> bool) {
        let piles = self.by_sender.values().filter_map(|piles| piles.by_node.get(&node));
        let over: Vec<NodeId> = piles.filter(|stage| is_over(stage)).map(|stage| stage.sender).collect();
        for sender in over {
            self.remove(node, sender);
        }
    }

    fn remove(&mut self, node: NodeId, sender: NodeId) -> Option<Stage> {
        let piles = self.by_sender.get_mut(&sender)?;
        let stage = piles.by_node.remove(&node)?;
        piles.bytes -= stage.bytes;
        self.bytes -= stage.bytes;
        if piles.by_node.is_empty() {
            self.by_sender.remove(&sender);
        }
        Some(stage)
    }
}
