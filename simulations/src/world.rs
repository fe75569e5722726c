//! The world: hosts, one queue of events in virtual time, and the only loop that drives nodes.
//!
//! Everything a node asks for is done here, some time later and not always: messages travel, dials are answered, writes reach the
//! disk. A scenario steps time forward and does to hosts what operators and accidents do. After every event the checks look.

mod between;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use aop_proto::node::{Input, Node, Output, Write, WriteError, Wrote};
use aop_proto::record::NodeId;
use aop_proto::resolver::Terms;
use aop_proto::selection::Chance;
use aop_proto::view::View;
use aop_proto::wire::message::Question;

use crate::checks::Checks;
pub use crate::host::Answered;
use crate::host::Host;
use crate::network::{Network, Weather};
use crate::trace::Trace;

pub use crate::question::{name, question, words};

/// Timers a node may have at one instant before it counts as one that wakes without end.
const IDLE_WAKES_MAX: u32 = 1000;
/// Pauses after which an unanswered handshake is tried again, as QUIC does.
const HANDSHAKE_RETRY: Duration = Duration::from_millis(300);
/// Time a host that leaves has for its last words.
const LAST_WORDS: Duration = Duration::from_millis(50);
/// Time a door gives its question.
pub const DEADLINE: Duration = Duration::from_secs(2);

/// A host's number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct HostId(pub usize);

/// What a host runs.
#[derive(Clone, Debug, Default)]
pub struct Spec {
    /// Its zone.
    pub zone: String,
    /// Where it listens.
    pub address: String,
    /// `--parent`.
    pub parents: Vec<String>,
    /// `--join`.
    pub joins: Vec<String>,
}

impl Spec {
    /// A node of `zone` at host `10.0.0.<host>`.
    pub fn new(zone: &str, host: u32) -> Self {
        Self { zone: zone.to_owned(), address: address(host), ..Self::default() }
    }

    /// The same with a parent at host `10.0.0.<host>`.
    #[must_use]
    pub fn parent(mut self, host: u32) -> Self {
        self.parents.push(address(host));
        self
    }

    /// The same with a fellow at host `10.0.0.<host>`.
    #[must_use]
    pub fn join(mut self, host: u32) -> Self {
        self.joins.push(address(host));
        self
    }
}

/// The address of the host of that number.
pub fn address(host: u32) -> String {
    let [_, a, b, c] = host.to_be_bytes();
    format!("10.{a}.{b}.{c}:7400")
}

enum Event {
    Timer { life: u32 },
    Dial { life: u32, address: String, expected: Option<NodeId>, since: Duration, tries: u32 },
    Settle { with: usize, lives: [u32; 2] },
    Up { number: u64, address: String, dialed: bool, with: usize },
    Down { number: u64, with: usize },
    Input { number: u64, with: usize, input: Input },
    Reached { life: u32, input: Input },
    Synced { life: u32 },
    Stop { life: u32 },
}

impl Event {
    const fn kind(&self) -> u8 {
        match self {
            Self::Timer { .. } => 0,
            Self::Dial { .. } => 1,
            Self::Settle { .. } => 2,
            Self::Up { .. } => 3,
            Self::Down { .. } => 4,
            Self::Input { .. } => 5,
            Self::Synced { .. } => 6,
            Self::Stop { .. } => 7,
            Self::Reached { .. } => 8,
        }
    }
}

/// Messages and bytes of one kind that one host sent to another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Messages.
    pub messages: u64,
    /// Bytes, headers included.
    pub bytes: u64,
}

/// Everything.
pub struct World {
    /// How the network is now; scenarios change it as they go.
    pub weather: Weather,
    /// Whether what happens to hosts is told on stderr.
    pub verbose: bool,
    time: Duration,
    chance: Chance,
    queue: BTreeMap<(Duration, u64), (usize, Event)>,
    next_event: u64,
    hosts: Vec<Host>,
    by_address: BTreeMap<String, usize>,
    by_id: BTreeMap<NodeId, usize>,
    network: Network,
    checks: Checks,
    trace: Trace,
    /// By kind of message, sender and receiver.
    traffic: BTreeMap<(u8, usize, usize), Traffic>,
    next_token: u64,
    idle_wakes: (Duration, usize, u32),
}

impl World {
    /// An empty world of that seed.
    pub fn new(seed: u64) -> Self {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        Self {
            weather: Weather::default(),
            verbose: false,
            time: Duration::ZERO,
            chance: Chance::new(bytes),
            queue: BTreeMap::new(),
            next_event: 0,
            hosts: Vec::new(),
            by_address: BTreeMap::new(),
            by_id: BTreeMap::new(),
            network: Network::default(),
            checks: Checks::default(),
            trace: Trace::default(),
            traffic: BTreeMap::new(),
            next_token: 0,
            idle_wakes: (Duration::ZERO, 0, 0),
        }
    }

    /// A host with an empty disk, not running yet.
    pub fn add(&mut self, spec: Spec) -> HostId {
        let host = Host::new(spec, &mut self.chance);
        let number = self.hosts.len();
        self.by_address.insert(host.spec.address.clone(), number);
        self.by_id.insert(host.id, number);
        self.hosts.push(host);
        HostId(number)
    }

    /// A host that runs from now on.
    pub fn boot(&mut self, spec: Spec) -> HostId {
        let host = self.add(spec);
        self.start(host);
        host
    }

    /// Starts a host's node on what its disk holds.
    pub fn start(&mut self, host: HostId) {
        assert!(self.hosts[host.0].node.is_none(), "a host runs one node");
        self.tell(format_args!("{host:?} starts: {:?}", self.hosts[host.0].spec));
        self.hosts[host.0].start(self.time, &mut self.chance);
        self.hosts[host.0].first_token = self.next_token + 1;
        self.drain(host.0);
    }

    /// Power is lost: what was not durable is gone, and nobody is told.
    pub fn crash(&mut self, host: HostId) {
        self.tell(format_args!("{host:?} crashes"));
        self.hosts[host.0].stop(&mut self.chance);
        for (a, b) in self.network.of(host.0) {
            self.lose_pair(a, b);
        }
    }

    /// A crash that takes the disk along.
    pub fn lose(&mut self, host: HostId) {
        self.crash(host);
        self.tell(format_args!("{host:?} loses its disk"));
        self.hosts[host.0].lose_disk();
    }

    /// A crash that takes disk and keys along: another node will come at that address.
    pub fn replace(&mut self, host: HostId) {
        self.crash(host);
        self.tell(format_args!("{host:?} loses its disk and its keys"));
        self.hosts[host.0].lose_keys(&mut self.chance);
        self.by_id.insert(self.hosts[host.0].id, host.0);
    }

    /// The host says goodbye and stops.
    pub fn leave(&mut self, host: HostId) {
        self.tell(format_args!("{host:?} leaves"));
        self.input(host.0, Input::Leave);
        let life = self.hosts[host.0].life;
        self.at(self.time + LAST_WORDS, host.0, Event::Stop { life });
    }

    /// From now on nothing goes between the two sides.
    pub fn partition(&mut self, one: &[HostId], other: &[HostId]) {
        self.tell(format_args!("cut between {one:?} and {other:?}"));
        for a in one {
            for b in other {
                self.network.cut(a.0, b.0);
                self.lose_pair(a.0, b.0);
            }
        }
    }

    /// Everybody can reach everybody again.
    pub fn heal(&mut self) {
        self.tell(format_args!("no cuts"));
        self.network.heal();
    }

    /// The connection of two hosts is lost.
    pub fn disconnect(&mut self, a: HostId, b: HostId) {
        self.tell(format_args!("{a:?} and {b:?} are disconnected"));
        self.lose_pair(a.0, b.0);
    }

    fn tell(&self, what: std::fmt::Arguments<'_>) {
        if self.verbose {
            eprintln!("{:>10.4} {what}", self.time.as_secs_f64());
        }
    }

    /// Sets how far a host's wall clock is off.
    pub fn set_clock(&mut self, host: HostId, ahead_ms: i64) {
        self.hosts[host.0].clock_ms = ahead_ms;
    }

    /// A number below `bound`, from the world's seed.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.chance.below(bound)
    }

    /// Time since the world began.
    pub const fn time(&self) -> Duration {
        self.time
    }

    /// The hash of everything that happened.
    pub const fn trace(&self) -> Trace {
        self.trace
    }

    /// All hosts.
    pub fn hosts(&self) -> impl Iterator<Item = HostId> + use<> {
        (0..self.hosts.len()).map(HostId)
    }

    /// A host's node, while it runs.
    pub fn node(&self, host: HostId) -> Option<&Node> {
        self.hosts[host.0].node.as_ref()
    }

    /// What a host runs.
    pub fn spec(&self, host: HostId) -> &Spec {
        &self.hosts[host.0].spec
    }

    /// Changes what a host runs from its next start on: other flags, the same address.
    pub fn change(&mut self, host: HostId, spec: Spec) {
        assert_eq!(spec.address, self.hosts[host.0].spec.address, "a host stays where it is");
        self.hosts[host.0].spec = spec;
    }

    /// A host's identity.
    pub fn id(&self, host: HostId) -> NodeId {
        self.hosts[host.0].id
    }

    /// What a host's readers see.
    pub fn view(&self, host: HostId) -> Option<&Arc<View>> {
        self.hosts[host.0].view.as_ref()
    }

    /// What a host told its operator.
    pub fn refusals(&self, host: HostId) -> Vec<String> {
        self.hosts[host.0].refusals.iter().map(|refusal| refusal.reason.clone()).collect()
    }

    /// Messages and bytes that one host sent to another, of the kinds wanted.
    pub fn traffic(&self, from: HostId, to: HostId, wanted: impl Fn(u8) -> bool) -> Traffic {
        self.traffic_where(|kind, sender, receiver| sender == from && receiver == to && wanted(kind))
    }

    /// Messages and bytes of everything wanted, by kind, sender and receiver.
    pub fn traffic_where(&self, wanted: impl Fn(u8, HostId, HostId) -> bool) -> Traffic {
        let mut sum = Traffic::default();
        for ((kind, from, to), traffic) in &self.traffic {
            if wanted(*kind, HostId(*from), HostId(*to)) {
                sum.messages += traffic.messages;
                sum.bytes += traffic.bytes;
            }
        }
        sum
    }

    /// Hands a write to a host's node; the result comes later.
    pub fn write(&mut self, host: HostId, write: Write) -> u64 {
        self.next_token += 1;
        let token = self.next_token;
        self.input(host.0, Input::Write { token, write });
        token
    }

    /// Whether a write was handed to the run of the host's node that goes on now.
    pub fn is_asked(&self, host: HostId, token: u64) -> bool {
        self.hosts[host.0].first_token <= token
    }

    /// How a write ended, once it has.
    pub fn written(&self, host: HostId, token: u64) -> Option<&Result<Wrote, WriteError>> {
        self.hosts[host.0].written.get(&token)
    }

    /// Writes and lets time pass until that has ended.
    ///
    /// # Errors
    /// What the node said.
    pub fn write_through(&mut self, host: HostId, write: Write) -> Result<Wrote, WriteError> {
        let token = self.write(host, write);
        let done = self.run_until(Duration::from_secs(5), |world| world.written(host, token).is_some());
        assert!(done.is_some(), "a write ends");
        self.hosts[host.0].written.remove(&token).expect("it has ended")
    }

    /// Asks a host's node; the answer comes later.
    pub fn ask(&mut self, host: HostId, question: Question, terms: impl FnOnce(Terms) -> Terms) -> u64 {
        self.next_token += 1;
        let token = self.next_token;
        let now = self.hosts[host.0].now(self.time);
        let terms = terms(Terms::of_door(question.form, now.mono + DEADLINE));
        self.hosts[host.0].asked.insert(token, self.time);
        self.input(host.0, Input::Resolve { token, question, terms });
        token
    }

    /// Asks and lets time pass until the answer is there.
    pub fn resolve(&mut self, host: HostId, question: Question) -> Answered {
        self.resolve_as(host, question, |terms| terms)
    }

    /// The same on other terms than a door's.
    pub fn resolve_as(&mut self, host: HostId, question: Question, terms: impl FnOnce(Terms) -> Terms) -> Answered {
        let token = self.ask(host, question, terms);
        let done = self.run_until(DEADLINE * 4, |world| world.hosts[host.0].answered.contains_key(&token));
        assert!(done.is_some(), "every question is answered");
        self.hosts[host.0].answered.remove(&token).expect("it is there")
    }

    /// Lets that much time pass.
    pub fn run_for(&mut self, time: Duration) {
        let end = self.time + time;
        while self.step(end) {}
        self.time = end;
        self.checks.all(self.time, &self.hosts);
    }

    /// Lets time pass until `done`, at most that much; how long it took.
    pub fn run_until(&mut self, most: Duration, mut done: impl FnMut(&Self) -> bool) -> Option<Duration> {
        let (start, end) = (self.time, self.time + most);
        loop {
            if done(self) {
                self.checks.all(self.time, &self.hosts);
                return Some(self.time - start);
            }
            if !self.step(end) {
                self.time = end;
                return done(self).then_some(most);
            }
        }
    }

    /// Does the next event before `end`; false when there is none.
    fn step(&mut self, end: Duration) -> bool {
        let Some(entry) = self.queue.first_entry().filter(|entry| entry.key().0 <= end) else { return false };
        let ((at, _), (host, event)) = entry.remove_entry();
        debug_assert!(at >= self.time, "time never goes back");
        self.time = at;
        let bytes: &[u8] = match &event {
            Event::Input { input: Input::Frame { bytes, .. }, .. } => bytes,
            _ => &[],
        };
        self.trace.event(at, event.kind(), host, bytes);
        self.happen(host, event);
        true
    }

    fn at(&mut self, at: Duration, host: usize, event: Event) {
        self.next_event += 1;
        self.queue.insert((at, self.next_event), (host, event));
    }

    fn happen(&mut self, host: usize, event: Event) {
        match event {
            Event::Timer { life } => {
                if self.hosts[host].life == life && self.hosts[host].wake == Some(self.time) {
                    self.hosts[host].wake = None;
                    self.guard_wakes(host);
                    let now = self.hosts[host].now(self.time);
                    if let Some(node) = &mut self.hosts[host].node {
                        node.handle_timeout(now);
                        self.drain(host);
                    }
                }
            }
            Event::Dial { life, address, expected, since, tries } => {
                if self.hosts[host].life == life {
                    self.dial(host, address, expected, since, tries);
                }
            }
            Event::Settle { with, lives } => self.settle(host, with, lives),
            Event::Up { number, address, dialed, with } => {
                let Some(side) = self.standing(number, host, with) else { return };
                let Some(connection) = self.network.between(host, with) else { return };
                connection.up[side] = true;
                let peer = connection.ids[1 - side];
                self.input(host, Input::PeerUp { peer, address, dialed });
            }
            Event::Down { number, with } => self.go_down(host, with, number),
            Event::Input { number, with, input } => {
                let up = self
                    .standing(number, host, with)
                    .is_some_and(|side| self.network.between(host, with).is_some_and(|connection| connection.up[side]));
                if up {
                    self.input(host, input);
                }
            }
            Event::Reached { life, input } => {
                if self.hosts[host].life == life {
                    self.input(host, input);
                }
            }
            Event::Synced { life } => {
                if self.hosts[host].life == life
                    && let Some(token) = self.hosts[host].disk.sync()
                {
                    self.input(host, Input::Persisted { token, durable: true });
                }
            }
            Event::Stop { life } => {
                if self.hosts[host].life == life {
                    self.hosts[host].stop(&mut self.chance);
                    for (a, b) in self.network.of(host) {
                        self.close_pair(a, b);
                    }
                }
            }
        }
    }

    /// A node that wakes without end would hang a simulation, and burn a real machine.
    fn guard_wakes(&mut self, host: usize) {
        let (at, who, count) = self.idle_wakes;
        self.idle_wakes = if (at, who) == (self.time, host) { (at, who, count + 1) } else { (self.time, host, 0) };
        assert!(self.idle_wakes.2 < IDLE_WAKES_MAX, "host {host} wakes without end at {:?}", self.time);
    }

    fn input(&mut self, host: usize, input: Input) {
        let now = self.hosts[host].now(self.time);
        if let Some(node) = &mut self.hosts[host].node {
            node.handle_input(now, input);
            self.drain(host);
        }
    }

    /// Does what the node asks for, until it waits.
    fn drain(&mut self, host: usize) {
        loop {
            let Some(node) = &mut self.hosts[host].node else { return };
            match node.poll_output() {
                Output::Send { peer, bytes, class: _ } => {
                    self.send(host, peer, Input::Frame { peer: self.hosts[host].id, bytes });
                }
                Output::Dial { address, expected } => {
                    let (life, since) = (self.hosts[host].life, self.time);
                    self.at(since, host, Event::Dial { life, address, expected, since, tries: 0 });
                }
                Output::Persist { token, keep } => {
                    self.hosts[host].disk.write(token, keep);
                    let sync = self.weather.sync(&mut self.chance);
                    let at = (self.time + sync).max(self.hosts[host].disk_busy_until);
                    self.hosts[host].disk_busy_until = at;
                    let life = self.hosts[host].life;
                    self.at(at, host, Event::Synced { life });
                }
                Output::Written { token, result } => {
                    if let Ok(wrote) = &result {
                        self.hosts[host].promise(wrote);
                    }
                    self.hosts[host].written.insert(token, result);
                }
                Output::Resolved { token, outcome, found } => {
                    let took = self.hosts[host].asked.remove(&token).map_or(Duration::ZERO, |at| self.time - at);
                    let answered = Answered { outcome: *outcome, found, took };
                    self.checks.answered(host, &answered, &self.hosts);
                    self.hosts[host].answered.insert(token, answered);
                }
                Output::Close { peer } => {
                    if let Some(with) = self.by_id.get(&peer).copied() {
                        self.close_pair(host, with);
                    }
                }
                Output::Changed => {
                    let Some(view) = self.hosts[host].node.as_mut().map(|node| Arc::new(node.view())) else { return };
                    self.checks.view(host, &self.hosts[host], &view);
                    let before = self.hosts[host].view.as_ref().and_then(|view| view.zone_key);
                    if view.zone_key != before {
                        let key = view.zone_key.map(|key| NodeId(key).short());
                        self.tell(format_args!("{:?} of {} has zone key {key:?}", HostId(host), view.zone));
                    }
                    self.hosts[host].view = Some(view);
                }
                Output::Refused(refusal) => {
                    self.tell(format_args!("{:?} tells its operator: {}", HostId(host), refusal.reason));
                    self.hosts[host].refusals.push(refusal);
                }
                Output::Wait(deadline) => {
                    let at = self.hosts[host].started.checked_add(deadline);
                    if let Some(at) = at.filter(|at| self.hosts[host].wake != Some(*at)) {
                        let at = at.max(self.time);
                        self.hosts[host].wake = Some(at);
                        let life = self.hosts[host].life;
                        self.at(at, host, Event::Timer { life });
                    }
                    return;
                }
            }
        }
    }
}
