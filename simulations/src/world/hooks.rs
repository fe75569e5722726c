//! Where others take hold of a world: what is checked and told, who sits at a node's place, what is measured.

use std::time::Duration;

use aop_proto::node::{Input, Node, Output};
use aop_proto::now::Now;
use aop_proto::record::{NodeId, Origin};
use aop_proto::view::{MemberView, View};
use aop_proto::wire::message::{Message, Range, Ranges};

/// What is checked while a world runs. The run is the same whatever is watched.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Watch {
    /// Nothing: for figures of large worlds.
    Nothing,
    /// What can be checked without building what readers see.
    Digests,
    /// Everything, every view included.
    Everything,
}

/// What is told of a run, one line an event.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Tell {
    /// Nothing.
    Nothing,
    /// What happens to hosts and links.
    Events,
    /// Every message as well.
    Frames,
}

/// Somebody at a node's place who follows rules of its own: a hostile peer, or one that only echoes.
pub trait Actor {
    /// As [`Node::handle_input`].
    fn handle_input(&mut self, now: Now, input: Input);
    /// As [`Node::handle_timeout`].
    fn handle_timeout(&mut self, now: Now);
    /// As [`Node::poll_output`].
    fn poll_output(&mut self) -> Output;
}

/// The kind of frames that carry records.
const RANGES: u8 = 19;

/// When each host first believed that one node is down.
#[derive(Clone, Debug)]
pub struct Belief {
    node: NodeId,
    since: Duration,
    at: Vec<Option<Duration>>,
}

impl Belief {
    pub(super) fn new(node: NodeId, since: Duration, hosts: usize) -> Self {
        Self { node, since, at: vec![None; hosts] }
    }

    pub(super) fn look(&mut self, host: usize, view: &View, time: Duration) {
        let is_down = |member: &MemberView| member.node == self.node && member.state == "down";
        if let Some(at @ None) = self.at.get_mut(host)
            && view.members.iter().any(is_down)
        {
            *at = Some(time - self.since);
        }
    }

    /// Time until each host that believes it did, sorted.
    pub fn times(&self) -> Vec<Duration> {
        let mut times: Vec<Duration> = self.at.iter().flatten().copied().collect();
        times.sort_unstable();
        times
    }
}

/// When each host first held one log up to some record.
#[derive(Clone, Debug)]
pub struct Spread {
    origin: Origin,
    seq: u64,
    since: Duration,
    held: Vec<Option<Duration>>,
    missing: usize,
    copies: u64,
}

impl Spread {
    pub(super) fn new(origin: Origin, seq: u64, since: Duration, hosts: usize) -> Self {
        Self { origin, seq, since, held: vec![None; hosts], missing: hosts, copies: 0 }
    }

    pub(super) fn look(&mut self, host: usize, node: Option<&Node>, time: Duration) {
        let Some(held @ None) = self.held.get_mut(host) else { return };
        if node.is_some_and(|node| node.registry().through(self.origin) >= self.seq) {
            *held = Some(time - self.since);
            self.missing -= 1;
        }
    }

    /// A frame leaves a host.
    pub(super) fn sent(&mut self, bytes: &[u8]) {
        if bytes.get(3) != Some(&RANGES) {
            return;
        }
        let Ok(Message::Ranges(Ranges { ranges, .. })) = Message::decode(bytes) else { return };
        let has = |range: &Range| range.from_exclusive < self.seq && self.seq <= range.to_inclusive;
        self.copies += ranges.iter().filter(|range| range.origin == self.origin && has(range)).count() as u64;
    }

    /// How often the record was sent.
    pub const fn copies(&self) -> u64 {
        self.copies
    }

    /// Hosts that do not hold it yet.
    pub const fn missing(&self) -> usize {
        self.missing
    }

    /// Time until each host that holds it held it, sorted.
    pub fn times(&self) -> Vec<Duration> {
        let mut times: Vec<Duration> = self.held.iter().flatten().copied().collect();
        times.sort_unstable();
        times
    }

    /// Time until that share of all hosts held it; `None` if they do not.
    pub fn reached(&self, share: f64) -> Option<Duration> {
        let wanted = (self.held.len() as f64 * share).ceil() as usize;
        self.times().get(wanted.max(1) - 1).copied()
    }
}

/// What nodes took of the time that a run took.
#[derive(Clone, Copy, Debug, Default)]
pub struct Meter {
    /// Inside of nodes.
    pub nodes: Duration,
    /// Inputs and timeouts.
    pub calls: u64,
}
