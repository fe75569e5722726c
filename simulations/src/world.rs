//! The world: hosts, one queue of events in virtual time, and the only loop that drives nodes.
//!
//! ```text
//!  scenario ── faults, doors ──▶ world ── Input ──▶ node        engine    the loop: what is due, what a node asks for
//!                                  │  ◀── Output ──┘            between   links, dials, messages on their way
//!                                  └─ queue, traffic, shared    faults    what operators and accidents do
//! ```
//!
//! Everything a node asks for is done here, some time later and not always: messages travel, dials are answered, writes reach the
//! disk. A scenario steps time forward and does to hosts what operators and accidents do. The same seed gives the same run,
//! whatever is watched or told of it.

mod between;
mod doors;
mod engine;
mod faults;
mod files;
mod formed;
mod hooks;
mod queue;
mod rounds;
mod shared;
mod traffic;

use std::collections::{BTreeMap, HashMap};
use std::hash::BuildHasherDefault;
use std::sync::Arc;
use std::time::Duration;

use aop_proto::access::{Policy, Rule};
use aop_proto::node::{Invitation, Node};
use aop_proto::record::{NodeId, Origin};
use aop_proto::selection::Chance;
use aop_proto::view::View;
use aop_proto::wire::Class;

use crate::checks::Checks;
pub use crate::host::Answered;
use crate::host::Host;
use crate::network::{Network, Weather};
use crate::trace::Trace;
use engine::Event;
use queue::Queue;
use rounds::Rounds;
use shared::{Identity, Shared};
use traffic::Ledgers;

pub use crate::question::{name, question, words};
pub use doors::DEADLINE;
pub use formed::FORMED_ZONE;
pub use hooks::{Actor, Belief, Meter, Spread, Tell, Watch};
pub use traffic::{HANDSHAKE_BYTES, HANDSHAKE_ROUND_TRIPS, Traffic};

/// A host's number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct HostId(pub usize);

/// What a host runs.
#[derive(Clone, Debug, Default)]
pub struct Spec {
    /// How it is called in what is told; empty for its number.
    pub name: String,
    /// Its zone.
    pub zone: String,
    /// Where it listens.
    pub address: String,
    /// `--parent`.
    pub parents: Vec<String>,
    /// `--join`.
    pub joins: Vec<String>,
    /// Whoever comes needs an invite.
    pub guarded: bool,
    /// `--invite`.
    pub invitation: Option<Invitation>,
    /// `[auth] rules`
    pub rules: Vec<Rule>,
}

impl Spec {
    /// A node of `zone` at host `10.0.0.<host>`.
    pub fn new(zone: &str, host: u32) -> Self {
        Self { zone: zone.to_owned(), address: address(host), ..Self::default() }
    }

    /// The same, where whoever comes needs an invite.
    #[must_use]
    pub const fn guarded(mut self) -> Self {
        self.guarded = true;
        self
    }

    /// The same with an invite.
    #[must_use]
    pub fn invited(mut self, invitation: Invitation) -> Self {
        self.invitation = Some(invitation);
        self
    }

    /// Its rules, as it starts with them.
    pub fn policy(&self) -> Policy {
        Policy { is_open: !self.guarded, rules: self.rules.clone() }
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

/// Everything.
pub struct World {
    /// How the network is now; scenarios change it as they go.
    pub weather: Weather,
    /// What is told on stdout as it happens.
    pub tell: Tell,
    /// Whether disks keep what nodes write; without, large worlds need less memory and no host may start again.
    pub keep_disks: bool,
    time: Duration,
    chances: Chances,
    queue: Queue<Event>,
    pub(crate) hosts: Vec<Host>,
    by_address: BTreeMap<String, usize>,
    by_id: HashMap<NodeId, u32, BuildHasherDefault<Identity>>,
    network: Network,
    /// What came to hosts that are paused.
    backlogs: BTreeMap<usize, Vec<Event>>,
    pub(crate) checks: Checks,
    trace: Trace,
    traffic: Ledgers,
    shared: Arc<Shared>,
    next_token: u64,
    idle_wakes: (Duration, usize, u32),
    spread: Option<Spread>,
    belief: Option<Belief>,
    rounds: Option<Rounds>,
    /// Whose frame a host is being given.
    hears: Option<(usize, usize)>,
    meter: Option<Meter>,
    /// Zone keys that were told.
    told: BTreeMap<usize, Option<[u8; 32]>>,
}

/// Chance, apart for each purpose: one more draw of a script does not change the weather.
struct Chances {
    /// Of scripts and storms.
    script: Chance,
    /// Of the network and the disks.
    winds: Chance,
    /// Keys and seeds of hosts.
    births: Chance,
}

impl World {
    /// An empty world of that seed.
    pub fn new(seed: u64) -> Self {
        let chance = |purpose: u8| {
            let mut bytes = [0; 32];
            bytes[..8].copy_from_slice(&seed.to_le_bytes());
            bytes[8] = purpose;
            Chance::new(bytes)
        };
        Self {
            weather: Weather::default(),
            tell: Tell::Nothing,
            keep_disks: true,
            time: Duration::ZERO,
            chances: Chances { script: chance(0), winds: chance(1), births: chance(2) },
            queue: Queue::default(),
            hosts: Vec::new(),
            by_address: BTreeMap::new(),
            by_id: HashMap::default(),
            network: Network::default(),
            backlogs: BTreeMap::new(),
            checks: Checks::default(),
            trace: Trace::default(),
            traffic: Ledgers::default(),
            shared: Arc::default(),
            next_token: 0,
            idle_wakes: (Duration::ZERO, 0, 0),
            spread: None,
            belief: None,
            rounds: None,
            hears: None,
            meter: None,
            told: BTreeMap::new(),
        }
    }

    /// A host with an empty disk, not running yet.
    pub fn add(&mut self, spec: Spec) -> HostId {
        let mut host = Host::new(spec, &mut self.chances.births);
        host.epoch_ms = self.hosts.first().map_or(host.epoch_ms, |first| first.epoch_ms);
        let number = self.hosts.len();
        self.by_address.insert(host.spec.address.clone(), number);
        self.by_id.insert(host.id, number as u32);
        self.hosts.push(host);
        self.network.add_host();
        self.traffic.add_host();
        HostId(number)
    }

    /// A host that runs from now on.
    pub fn boot(&mut self, spec: Spec) -> HostId {
        let host = self.add(spec);
        self.start(host);
        host
    }

    /// What is checked from now on; everything unless said. The run is the same.
    pub const fn watch(&mut self, watch: Watch) {
        self.checks.watch = watch;
    }

    /// A number below `bound`, from the world's seed.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.chances.script.below(bound)
    }

    /// Time since the world began.
    pub const fn time(&self) -> Duration {
        self.time
    }

    /// The hash of everything that happened, and how much that was.
    pub const fn trace(&self) -> Trace {
        self.trace
    }

    /// All hosts.
    pub fn hosts(&self) -> impl Iterator<Item = HostId> + use<> {
        (0..self.hosts.len()).map(HostId)
    }

    /// A host's node, while it runs.
    pub fn node(&self, host: HostId) -> Option<&Node> {
        self.hosts[host.0].node.as_deref()
    }

    /// What a host runs.
    pub fn spec(&self, host: HostId) -> &Spec {
        &self.hosts[host.0].spec
    }

    /// How a host is called in what is told.
    pub fn label(&self, host: HostId) -> String {
        match self.hosts[host.0].spec.name.as_str() {
            "" => format!("host {}", host.0),
            name => name.to_owned(),
        }
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

    /// The log a host writes, in its present life.
    pub fn origin(&self, host: HostId) -> Origin {
        let Host { id, incarnation, node, .. } = &self.hosts[host.0];
        let held = node.as_ref().and_then(|node| node.registry().incarnation_of(*id));
        Origin { node: *id, incarnation: held.unwrap_or(*incarnation) }
    }

    /// What a host's readers see, while it runs; built when somebody asks.
    pub fn view(&self, host: HostId) -> Option<&Arc<View>> {
        self.hosts[host.0].view()
    }

    /// What a host told its operator.
    pub fn refusals(&self, host: HostId) -> Vec<String> {
        self.hosts[host.0].refusals.iter().map(|refusal| refusal.reason.clone()).collect()
    }

    /// Links that stand at a host.
    pub fn degree(&self, host: HostId) -> usize {
        self.network.degree(host.0)
    }

    /// What a host sent, of the kinds wanted.
    pub fn sent(&self, host: HostId, wanted: impl Fn(u8) -> bool) -> Traffic {
        self.traffic.sent(host.0, wanted)
    }

    /// What was sent to a host, of the kinds wanted.
    pub fn received(&self, host: HostId, wanted: impl Fn(u8) -> bool) -> Traffic {
        self.traffic.received(host.0, wanted)
    }

    /// What a host sent in one class.
    pub fn sent_as(&self, host: HostId, class: Class) -> Traffic {
        self.traffic.of_class(host.0, class)
    }

    /// What all hosts sent, of the kinds wanted.
    pub fn traffic(&self, wanted: impl Fn(u8) -> bool) -> Traffic {
        self.hosts().map(|host| self.sent(host, &wanted)).sum()
    }

    /// Handshakes a host began that were answered; each costs [`HANDSHAKE_BYTES`] and [`HANDSHAKE_ROUND_TRIPS`], charged apart.
    pub fn handshakes(&self, host: HostId) -> u64 {
        self.traffic.handshakes(host.0)
    }

    /// Notes from now on when each host holds that log up to there.
    pub fn follow(&mut self, origin: Origin, seq: u64) {
        let spread = Spread::new(origin, seq, self.time, self.hosts.len());
        let spread = self.spread.insert(spread);
        for (number, host) in self.hosts.iter().enumerate() {
            spread.look(number, host.node.as_deref(), self.time);
        }
    }

    /// What was noted since [`follow`](Self::follow).
    pub const fn spread(&self) -> Option<&Spread> {
        self.spread.as_ref()
    }

    /// Notes from now on when each host believes that node to be down.
    pub fn follow_belief(&mut self, node: NodeId) {
        self.belief = Some(Belief::new(node, self.time, self.hosts.len()));
    }

    /// What was noted since [`follow_belief`](Self::follow_belief).
    pub const fn belief(&self) -> Option<&Belief> {
        self.belief.as_ref()
    }

    /// Whether two hosts both believe in the link between them.
    pub fn are_linked(&self, a: HostId, b: HostId) -> bool {
        self.network.find(a.0, b.0).is_some_and(|at| self.network.is_up(at))
    }

    /// Measures from now on what the nodes themselves take, apart from the world.
    pub fn measure(&mut self) {
        self.meter = Some(Meter::default());
    }

    /// What was measured.
    pub const fn measured(&self) -> Option<Meter> {
        self.meter
    }

    /// Lets that much time pass.
    pub fn run_for(&mut self, time: Duration) {
        let end = self.time + time;
        while self.step(end) {}
        self.time = end;
        self.check_all();
    }

    /// Lets time pass until `done`, at most that much; how long it took. `done` is asked after every event.
    pub fn run_until(&mut self, most: Duration, mut done: impl FnMut(&Self) -> bool) -> Option<Duration> {
        let (start, end) = (self.time, self.time + most);
        loop {
            if done(self) {
                self.check_all();
                return Some(self.time - start);
            }
            if !self.step(end) {
                self.time = end;
                return done(self).then_some(most);
            }
        }
    }

    /// The same for large worlds: `done` is asked every `pause` only.
    pub fn run_until_every(
        &mut self,
        pause: Duration,
        most: Duration,
        mut done: impl FnMut(&Self) -> bool,
    ) -> Option<Duration> {
        let start = self.time;
        while !done(self) {
            if self.time - start >= most {
                return None;
            }
            self.run_for(pause);
        }
        Some(self.time - start)
    }

    fn check_all(&mut self) {
        if self.is_foul() {
            self.checks.disturbed(self.time);
        }
        self.checks.all(self.time, &self.hosts);
    }

    /// Whether something is wrong that lasts.
    fn is_foul(&self) -> bool {
        let hindered = |host: &Host| host.uplink.is_some() || host.paused.is_some();
        self.weather.is_foul() || !self.network.is_whole() || self.hosts.iter().any(hindered)
    }

    fn tell(&self, what: std::fmt::Arguments<'_>) {
        if self.tell != Tell::Nothing {
            println!("{:>12.6} {what}", self.time.as_secs_f64());
        }
    }
}
