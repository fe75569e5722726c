//! One replica with its clock and its own log, and a wire between a few of them: virtual time, one seed, messages in order or lost.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::gossip::{Gossip, News, Replica, Sends};
use crate::now::Now;
use crate::params::GOSSIP_INTERVAL;
use crate::record::{NodeId, Signed, SignedRef};
use crate::registry::author::{Author, NOW, opened, registry};
use crate::registry::{Evidence, RangeError, Registry};
use crate::selection::Chance;
use crate::trust::Chains;
use crate::wire::message::{Digest, Message, Range, Ranges};

/// Members of the zones here, few of them connected: records travel whole in their first three hops.
pub(super) const MEMBERS: usize = 1000;
pub(super) const WAY: Duration = Duration::from_millis(1);

pub(super) fn id(number: u8) -> NodeId {
    NodeId([number; 32])
}

pub(super) fn millis(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// One replica, its clock, and the writer of its own log.
pub(super) struct Node {
    pub(super) id: NodeId,
    pub(super) fellows: Vec<NodeId>,
    pub(super) registry: Registry,
    pub(super) gossip: Gossip,
    pub(super) chance: Chance,
    pub(super) author: Author,
    pub(super) now: Duration,
}

impl Node {
    pub(super) fn new(number: u8, fellows: impl Iterator<Item = u8>) -> Self {
        Self {
            id: id(number),
            fellows: fellows.map(id).collect(),
            registry: registry(),
            gossip: Gossip { next_round: Duration::MAX, ..Gossip::default() },
            chance: Chance::new([number; 32]),
            author: Author::new(number, 1),
            now: Duration::ZERO,
        }
    }

    pub(super) fn with<T>(&mut self, speak: impl FnOnce(&mut Gossip, Duration, &Replica<'_>, &mut Chance) -> T) -> T {
        // Whose log it is says nothing here: everybody may speak for the zone.
        let writers = self.registry.vector().into_iter().map(|(origin, _)| origin);
        let forked = self.registry.forks().map(Evidence::origin);
        let mut chains = Chains::default();
        writers.chain(forked).for_each(|origin| chains.insert(origin.node, Vec::new()));
        let replica = Replica {
            id: self.id,
            fellows: &self.fellows,
            count: MEMBERS,
            members: 0,
            chains: &chains,
            registry: &self.registry,
        };
        speak(&mut self.gossip, self.now, &replica, &mut self.chance)
    }

    /// One record of that many bytes in the node's own log.
    pub(super) fn write(&mut self, bytes: usize) -> Sends {
        self.author.put("own.z", &vec![7; bytes]);
        self.publish(1)
    }

    /// The last records of the own log, which are durable now.
    pub(super) fn publish(&mut self, count: usize) -> Sends {
        let held = self.author.held();
        let records = &held[held.len() - count..];
        self.registry.append(records);
        let news = News::of(records);
        self.with(|gossip, now, replica, chance| gossip.news(now, news.as_slice(), 0, None, replica, chance))
    }

    /// What another wrote is held, as if it always had been.
    pub(super) fn hold(&mut self, author: &Author) {
        let (range, records) = author.whole();
        self.take(id(0), &range, &records).expect("it fits");
    }

    pub(super) fn take(
        &mut self,
        from: NodeId,
        range: &Range,
        records: &[SignedRef],
    ) -> Result<Option<News>, RangeError> {
        let now = Now { mono: self.now, ..NOW };
        self.registry.apply(from, range, records, now).map(|applied| News::of(&applied.stored))
    }

    pub(super) fn hear(&mut self, from: NodeId, message: &Message) -> Sends {
        match message {
            Message::Digest(digest) => self.with(|g, now, replica, _| g.on_digest(now, from, digest, replica)),
            Message::Buckets(buckets) => self.with(|g, now, replica, _| g.on_buckets(now, from, buckets, replica)),
            Message::Vector(vector) => self.with(|g, now, replica, _| g.on_vector(now, from, vector, replica)),
            Message::Announce(news) => self.with(|g, now, replica, c| g.on_announce(now, from, news, replica, c)),
            Message::Busy(busy) => self.with(|g, now, replica, c| g.on_busy(now, from, busy, replica, c)),
            Message::Ranges(ranges) => self.hear_ranges(from, ranges),
            Message::Fork(fork) => {
                let read = |bytes: &[u8]| SignedRef::new(Signed::read(bytes).expect("it was written"));
                let evidence = Evidence::of(&read(&fork.one), &read(&fork.other)).expect("it proves a fork");
                self.registry.quarantine(evidence);
                Sends::new()
            }
            other => panic!("{} is not said here", other.name()),
        }
    }

    pub(super) fn hear_ranges(&mut self, from: NodeId, ranges: &Ranges) -> Sends {
        let mut fresh = Vec::new();
        for range in &ranges.ranges {
            match self.take(from, range, &opened(range)) {
                Ok(news) => fresh.extend(news),
                Err(RangeError::Fork(evidence)) => drop(self.registry.quarantine(evidence)),
                Err(_) => {}
            }
        }
        self.with(|gossip, now, replica, chance| gossip.on_ranges(now, from, ranges, &fresh, replica, chance))
    }

    pub(super) fn pass(&mut self, time: Duration) -> Sends {
        self.now += time;
        self.with(|gossip, now, replica, chance| gossip.on_time(now, replica, chance))
    }

    pub(super) fn compare(&mut self, peer: NodeId) -> Sends {
        self.with(|gossip, now, replica, _| gossip.compare(now, peer, replica))
    }

    pub(super) fn digest(&self) -> Message {
        Digest { hash: self.registry.digest(), members: 0 }.into()
    }
}

/// Two or three nodes and what is on its way between them.
pub(super) struct Wire {
    pub(super) nodes: Vec<Node>,
    queue: VecDeque<(NodeId, NodeId, Message)>,
    /// Of a hundred messages, so many are lost.
    loss: u64,
    pub(super) kinds: BTreeMap<&'static str, usize>,
}

impl Wire {
    pub(super) fn new(count: u8, loss: u64) -> Self {
        let node = |number| Node::new(number, (1..=count).filter(move |other| *other != number));
        let nodes: Vec<Node> = (1..=count).map(node).collect();
        Self { nodes, queue: VecDeque::new(), loss, kinds: BTreeMap::new() }
    }

    pub(super) fn send(&mut self, at: usize, sends: Sends) {
        let from = self.nodes[at].id;
        for (to, message) in sends {
            *self.kinds.entry(message.name()).or_default() += 1;
            assert!(message.try_encode().is_some(), "{} does not fit a frame", message.name());
            if self.nodes[at].chance.below(100) >= self.loss {
                self.queue.push_back((from, to, message));
            }
        }
    }

    /// Rounds of `first` only, or of everybody, and nothing but what follows from them.
    pub(super) fn rounds(&mut self, count: usize, first: bool) {
        for _ in 0..count {
            for at in 0..if first { 1 } else { self.nodes.len() } {
                let peer = self.nodes[at].fellows[0];
                let sends = self.nodes[at].compare(peer);
                self.send(at, sends);
            }
            for _ in 0..GOSSIP_INTERVAL.as_millis() {
                for _ in 0..self.queue.len() {
                    let Some((from, to, message)) = self.queue.pop_front() else { break };
                    let Some(at) = self.nodes.iter().position(|node| node.id == to) else { continue };
                    let sends = self.nodes[at].hear(from, &message);
                    self.send(at, sends);
                }
                for at in 0..self.nodes.len() {
                    let sends = self.nodes[at].pass(WAY);
                    self.send(at, sends);
                }
            }
        }
    }

    pub(super) fn is_equal(&self) -> bool {
        self.nodes.iter().all(|node| node.registry.digest() == self.nodes[0].registry.digest())
    }
}
