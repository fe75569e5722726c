//! A small world for membership alone: one event queue, virtual time, one seed. Datagrams may be lost, streams only delay;
//! connections are dialled as the nodes wish, given up as they say, and lost after a silence.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::time::Duration;

use crate::membership::{Liveness, Membership, Sends};
use crate::params::DATAGRAM_BYTES_MAX;
use crate::record::NodeId;
use crate::selection::Chance;
use crate::wire::Class;
use crate::wire::class_of;
use crate::wire::message::{Ack, Digest, Message, Ping, PingRequest};

/// Pause between two digests of one node. Longer than the product's, so that membership has to help itself.
const DIGESTS: Duration = Duration::from_secs(1);
/// Time after which the ends of a connection notice that nothing comes any more.
const SILENCE: Duration = Duration::from_secs(10);
/// What handshakes are said to take.
pub(super) const RTT: Duration = Duration::from_millis(100);
const RETRANSMIT: Duration = Duration::from_millis(25);

#[derive(PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Event {
    Wake(usize),
    Digest(usize),
    /// To, from, and where the message lies.
    Deliver(usize, usize, u64),
    /// Dialled by, to.
    Dial(usize, usize),
    /// Of, with, and which of their connections; whether it was lost.
    Ended(usize, usize, u64, bool),
}

pub(super) struct Host {
    pub(super) member: Membership,
    chance: Chance,
    pub(super) up: bool,
    paused: bool,
    waiting: Vec<Event>,
    /// With whom, and by which connection: the end of an earlier one says nothing of this.
    linked: BTreeMap<usize, u64>,
    wake_at: Duration,
}

/// Who believed what of whom since when.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub(super) at: Duration,
    pub(super) host: usize,
    pub(super) of: usize,
    pub(super) liveness: Liveness,
}

pub(super) struct World {
    pub(super) now: Duration,
    pub(super) hosts: Vec<Host>,
    queue: BinaryHeap<Reverse<(Duration, u64, Event)>>,
    messages: BTreeMap<u64, Message>,
    ties: u64,
    chance: Chance,
    pub(super) latency: (Duration, Duration),
    /// Per mille.
    pub(super) loss: u64,
    /// Messages of streams that vanish, per mille.
    pub(super) drop: u64,
    /// One way.
    pub(super) cut: BTreeSet<(usize, usize)>,
    /// They see every probe and say that its target lives, whether they were asked or not.
    pub(super) liars: BTreeSet<usize>,
    pub(super) log: Vec<Entry>,
    pub(super) frames: u64,
    pub(super) bytes: u64,
    pub(super) weigh: bool,
    pub(super) dials: u64,
}

pub(super) fn id(index: usize) -> NodeId {
    let mut bytes = [0; 32];
    let index = index as u64;
    bytes[..8].copy_from_slice(&index.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
    bytes[24..].copy_from_slice(&index.to_le_bytes());
    NodeId(bytes)
}

fn index(id: NodeId) -> usize {
    usize::try_from(u64::from_le_bytes(id.0[24..].try_into().unwrap())).unwrap()
}

pub(super) fn secs(count: u64) -> Duration {
    Duration::from_secs(count)
}

impl World {
    /// Nodes that know each other's records, connected as they wish.
    pub(super) fn new(count: usize, seed: u64) -> Self {
        let mut world = Self::empty(seed);
        for _ in 0..count {
            world.add();
        }
        for host in 0..count {
            for other in 0..count {
                world.hosts[host].member.on_member(id(other));
            }
            world.hosts[host].member.take_events();
        }
        for host in 0..count {
            world.settle(host, Sends::new());
        }
        world.run(secs(5));
        world.log.clear();
        world
    }

    fn empty(seed: u64) -> Self {
        Self {
            now: Duration::ZERO,
            hosts: Vec::new(),
            queue: BinaryHeap::new(),
            messages: BTreeMap::new(),
            ties: 0,
            chance: seeded(seed),
            latency: (Duration::from_micros(500), Duration::from_millis(2)),
            loss: 0,
            drop: 0,
            cut: BTreeSet::new(),
            liars: BTreeSet::new(),
            log: Vec::new(),
            frames: 0,
            bytes: 0,
            weigh: false,
            dials: 0,
        }
    }

    fn add(&mut self) {
        let index = self.hosts.len();
        let chance = seeded(self.chance.number());
        let member = Membership::new(id(index), self.now);
        let linked = BTreeMap::new();
        let waiting = Vec::new();
        self.hosts.push(Host { member, chance, up: true, paused: false, waiting, linked, wake_at: Duration::MAX });
        let first = self.now + self.chance.jitter(DIGESTS);
        self.push(first, Event::Digest(index));
    }

    fn push(&mut self, at: Duration, event: Event) {
        self.ties += 1;
        self.queue.push(Reverse((at, self.ties, event)));
    }

    pub(super) fn run(&mut self, time: Duration) {
        let until = self.now + time;
        while let Some(Reverse((at, _, _))) = self.queue.peek()
            && *at <= until
        {
            let Some(Reverse((at, _, event))) = self.queue.pop() else { break };
            self.now = at;
            self.handle(event);
        }
        self.now = until;
    }

    fn handle(&mut self, event: Event) {
        let host = match &event {
            Event::Wake(host) | Event::Digest(host) | Event::Deliver(host, ..) | Event::Ended(host, ..) => *host,
            Event::Dial(host, _) => *host,
        };
        if !self.hosts[host].up {
            if let Event::Deliver(_, _, message) = event {
                self.messages.remove(&message);
            }
            return;
        }
        if self.hosts[host].paused {
            self.hosts[host].waiting.push(event);
            return;
        }
        let now = self.now;
        match event {
            Event::Wake(_) => {
                let Host { member, chance, wake_at, .. } = &mut self.hosts[host];
                if *wake_at > now {
                    return;
                }
                *wake_at = Duration::MAX;
                let sends = member.on_time(now, chance);
                self.settle(host, sends);
            }
            Event::Digest(_) => {
                let linked: Vec<usize> = self.hosts[host].linked.keys().copied().collect();
                let members = self.hosts[host].member.hash();
                let sends = self.chance.sample(&linked, 1).into_iter();
                let sends = sends.map(|peer| (id(peer), Digest { hash: [0; 16], members }.into())).collect();
                self.settle(host, sends);
                let next = now + self.chance.jitter(DIGESTS);
                self.push(next, Event::Digest(host));
            }
            Event::Deliver(_, from, message) => {
                let Some(message) = self.messages.remove(&message) else { return };
                if !self.hosts[host].linked.contains_key(&from) {
                    return;
                }
                self.deliver(host, id(from), &message);
            }
            Event::Dial(_, to) => self.dialled(host, to),
            Event::Ended(_, with, number, lost) => self.ended(host, with, number, lost),
        }
    }

    fn deliver(&mut self, host: usize, from: NodeId, message: &Message) {
        let now = self.now;
        let Host { member, chance, .. } = &mut self.hosts[host];
        let sends = match message {
            Message::Ping(ping) => member.on_ping(from, ping, now, chance),
            Message::Ack(ack) => member.on_ack(from, ack, now, chance),
            Message::PingRequest(ask) => member.on_ping_request(from, ask, now, chance),
            Message::Members(members) => member.on_members(from, members, now, chance),
            Message::Digest(digest) => {
                member.on_heard(from);
                member.on_digest(from, digest.members, now)
            }
            other => panic!("{other:?} is none of membership's"),
        };
        self.settle(host, sends);
    }

    fn dialled(&mut self, host: usize, to: usize) {
        let now = self.now;
        self.ties += 1;
        let number = self.ties;
        let reached = self.hosts[to].up && !self.is_cut(host, to) && !self.hosts[to].paused;
        let Host { member, chance, linked, .. } = &mut self.hosts[host];
        if !reached {
            let sends = member.on_unreached(id(to), now, chance);
            self.settle(host, sends);
            return;
        }
        linked.insert(to, number);
        let mut sends = member.on_connected(id(to), true, RTT, now, chance);
        let welcome = self.hosts[to].member.accepts(id(host));
        if welcome {
            self.hosts[to].linked.insert(host, number);
            let Host { member, chance, .. } = &mut self.hosts[to];
            let theirs = member.on_connected(id(host), false, RTT, now, chance);
            self.settle(to, theirs);
        } else {
            let Host { member, chance, linked, .. } = &mut self.hosts[host];
            linked.remove(&to);
            sends.extend(member.on_disconnected(id(to), false, now, chance));
        }
        self.settle(host, sends);
    }

    fn ended(&mut self, host: usize, with: usize, number: u64, lost: bool) {
        let now = self.now;
        let Host { member, chance, linked, .. } = &mut self.hosts[host];
        if linked.get(&with) == Some(&number) {
            linked.remove(&with);
            let sends = member.on_disconnected(id(with), lost, now, chance);
            self.settle(host, sends);
        }
    }

    pub(super) fn is_cut(&self, one: usize, other: usize) -> bool {
        self.cut.contains(&(one, other)) || self.cut.contains(&(other, one))
    }

    /// After whatever happened to a host: its messages, its wishes, its next wake.
    pub(super) fn settle(&mut self, host: usize, sends: Sends) {
        for (to, message) in sends {
            self.send(host, index(to), message);
        }
        let now = self.now;
        let Host { member, chance, .. } = &mut self.hosts[host];
        let wanted = member.wanted(now, chance);
        let surplus = member.surplus();
        let events = member.take_events();
        for (of, liveness) in events {
            self.log.push(Entry { at: now, host, of: index(of), liveness });
        }
        for node in wanted {
            self.dials += 1;
            let to = index(node);
            let way = self.way() * 4;
            let reached = self.hosts[to].up && !self.is_cut(host, to) && !self.hosts[to].paused;
            self.push(now + if reached { way } else { secs(1) }, Event::Dial(host, to));
        }
        for node in surplus {
            let with = index(node);
            let Some(number) = self.hosts[host].linked.get(&with).copied() else { continue };
            self.ended(host, with, number, false);
            let at = self.now + self.way();
            self.push(at, Event::Ended(with, host, number, false));
        }
        let Host { member, wake_at, .. } = &mut self.hosts[host];
        let next = member.next_deadline().max(now);
        if next < *wake_at {
            *wake_at = next;
            self.push(next, Event::Wake(host));
        }
    }

    /// A liar is as fast as anybody.
    fn lie(&mut self, to: usize, message: &Message) {
        let (Message::Ping(Ping { number, .. }) | Message::PingRequest(PingRequest { number, .. })) = message else {
            return;
        };
        let liars: Vec<usize> = self.liars.iter().copied().filter(|liar| *liar != to).collect();
        for liar in liars {
            self.ties += 1;
            self.messages.insert(self.ties, Ack { number: *number, updates: Vec::new() }.into());
            let at = self.now + self.way();
            self.push(at, Event::Deliver(to, liar, self.ties));
        }
    }

    fn send(&mut self, from: usize, to: usize, message: Message) {
        self.lie(from, &message);
        self.frames += 1;
        let is_datagram = matches!(message, Message::Ping(_) | Message::Ack(_) | Message::PingRequest(_));
        if self.weigh {
            let bytes = message.encode();
            assert_eq!(class_of(bytes[3]) == Class::Datagram, is_datagram);
            assert!(!is_datagram || bytes.len() <= DATAGRAM_BYTES_MAX);
            self.bytes += bytes.len() as u64;
        }
        let mut at = self.now + self.way();
        let mut again = RETRANSMIT;
        while self.loss > 0 && self.chance.below(1000) < self.loss {
            if is_datagram {
                return;
            }
            at += again;
            again *= 2;
        }
        if self.cut.contains(&(from, to)) || self.chance.below(1000) < self.drop {
            return;
        }
        self.ties += 1;
        self.messages.insert(self.ties, message);
        self.push(at, Event::Deliver(to, from, self.ties));
    }

    fn way(&mut self) -> Duration {
        let span = u64::try_from((self.latency.1 - self.latency.0).as_nanos()).unwrap();
        self.latency.0 + Duration::from_nanos(self.chance.below(span + 1))
    }

    /// It is gone without a word; its fellows notice a silence.
    pub(super) fn crash(&mut self, host: usize) {
        self.hosts[host].up = false;
        self.silence(|one, other| one == host || other == host);
    }

    fn silence(&mut self, between: impl Fn(usize, usize) -> bool) {
        for host in 0..self.hosts.len() {
            for (with, number) in self.hosts[host].linked.clone() {
                if between(host, with) {
                    self.push(self.now + SILENCE, Event::Ended(host, with, number, true));
                }
            }
        }
    }

    /// It starts again, with the records its store held and nothing else.
    pub(super) fn restart(&mut self, host: usize) {
        let everybody = self.hosts.len();
        for other in 0..everybody {
            if let Some(number) = self.hosts[other].linked.get(&host).copied() {
                self.ended(other, host, number, false);
            }
        }
        let fresh = &mut self.hosts[host];
        fresh.member = Membership::new(id(host), self.now);
        for other in 0..everybody {
            fresh.member.on_member(id(other));
        }
        fresh.member.take_events();
        (fresh.up, fresh.wake_at) = (true, Duration::MAX);
        fresh.linked.clear();
        let first = self.now + DIGESTS;
        self.push(first, Event::Digest(host));
        self.settle(host, Sends::new());
    }

    pub(super) fn pause(&mut self, host: usize, paused: bool) {
        self.hosts[host].paused = paused;
        if !paused {
            // What came in is read before the timers of long ago, or after them: both happen.
            let mut waiting = std::mem::take(&mut self.hosts[host].waiting);
            if self.chance.below(2) == 0 {
                waiting.reverse();
            }
            for event in waiting {
                self.handle(event);
            }
        }
    }

    /// No word passes between the first `count` and the others, in both directions.
    pub(super) fn split(&mut self, count: usize) {
        for one in 0..count {
            for other in count..self.hosts.len() {
                self.cut.extend([(one, other), (other, one)]);
            }
        }
        self.silence(|one, other| (one < count) != (other < count));
    }

    pub(super) fn leave(&mut self, host: usize) {
        let sends = self.hosts[host].member.leave();
        self.settle(host, sends);
    }

    /// When hosts first believed this of one.
    pub(super) fn known(&self, of: usize, liveness: Liveness) -> BTreeMap<usize, Duration> {
        let mut known = BTreeMap::new();
        for entry in self.log.iter().filter(|entry| entry.of == of && entry.liveness == liveness) {
            known.entry(entry.host).or_insert(entry.at);
        }
        known
    }

    /// Times somebody was declared down.
    pub(super) fn downs(&self) -> Vec<Entry> {
        self.log.iter().filter(|entry| entry.liveness == Liveness::Down).copied().collect()
    }

    /// Whether all that are up agree that exactly these are away.
    pub(super) fn agree(&mut self, away: &[usize]) -> bool {
        let away: BTreeSet<NodeId> = away.iter().map(|host| id(*host)).collect();
        let mut up = self.hosts.iter_mut().filter(|host| host.up);
        let first = up.next().map(|host| host.member.hash());
        self.hosts
            .iter_mut()
            .filter(|host| host.up)
            .all(|host| *host.member.not_alive() == away && Some(host.member.hash()) == first)
    }
}

fn seeded(number: u64) -> Chance {
    let mut seed = [0; 32];
    seed[..8].copy_from_slice(&number.to_le_bytes());
    Chance::new(seed)
}
