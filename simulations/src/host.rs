//! One host: a node, its store, its clock, and everything it said to its doors.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use aop_proto::name::ZoneName;
use aop_proto::node::{Config, Node, Refusal, WriteError, Wrote};
use aop_proto::now::Now;
use aop_proto::record::NodeId;
use aop_proto::resolver::Outcome;
use aop_proto::search::Found;
use aop_proto::selection::Chance;
use aop_proto::trust::SigningKey;
use aop_proto::view::View;

use crate::disk::Disk;
use crate::world::Spec;

/// The Unix time at which every simulation begins.
const EPOCH_MS: u64 = 1_790_000_000_000;

/// One answer to a question of a door.
#[derive(Debug)]
pub struct Answered {
    /// What zones said.
    pub outcome: Outcome,
    /// The same, ranked.
    pub found: Vec<Found>,
    /// From the question to the answer.
    pub took: Duration,
}

impl Answered {
    /// Full names of what was found, best first.
    pub fn names(&self) -> Vec<String> {
        self.found.iter().map(|found| found.name.to_string()).collect()
    }

    /// Zones that were silent.
    pub fn silent(&self) -> Vec<&str> {
        self.outcome.silent.iter().map(|silent| silent.zone.as_str()).collect()
    }
}

/// What is known from outside about one tool a host was told to serve.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Promise {
    /// The host's log stood here when the write was acknowledged.
    pub(crate) through: u64,
    /// In this life of the log.
    pub(crate) incarnation: u64,
    /// Served, or removed.
    pub(crate) stands: bool,
}

/// One host, whether it runs or not.
pub(crate) struct Host {
    pub(crate) spec: Spec,
    pub(crate) id: NodeId,
    key: [u8; 32],
    zone_key: [u8; 32],
    pub(crate) disk: Disk,
    pub(crate) node: Option<Node>,
    /// Which run this is; what was meant for an earlier one is dropped.
    pub(crate) life: u32,
    pub(crate) started: Duration,
    /// Milliseconds its wall clock is ahead of true time, or behind.
    pub(crate) clock_ms: i64,
    pub(crate) incarnation: u64,
    pub(crate) wake: Option<Duration>,
    pub(crate) disk_busy_until: Duration,
    pub(crate) view: Option<Arc<View>>,
    /// Tokens below this were for earlier runs.
    pub(crate) first_token: u64,
    pub(crate) asked: BTreeMap<u64, Duration>,
    pub(crate) answered: BTreeMap<u64, Answered>,
    pub(crate) written: BTreeMap<u64, Result<Wrote, WriteError>>,
    pub(crate) refusals: Vec<Refusal>,
    pub(crate) promises: BTreeMap<String, Promise>,
}

impl Host {
    pub(crate) fn new(spec: Spec, chance: &mut Chance) -> Self {
        let (key, zone_key) = (bytes(chance), bytes(chance));
        Self {
            spec,
            id: NodeId(SigningKey::from_bytes(&key).verifying_key().to_bytes()),
            key,
            zone_key,
            disk: Disk::default(),
            node: None,
            life: 0,
            started: Duration::ZERO,
            clock_ms: 0,
            incarnation: 1,
            wake: None,
            disk_busy_until: Duration::ZERO,
            view: None,
            first_token: 0,
            asked: BTreeMap::new(),
            answered: BTreeMap::new(),
            written: BTreeMap::new(),
            refusals: Vec::new(),
            promises: BTreeMap::new(),
        }
    }

    /// Starts a node on what the store holds.
    pub(crate) fn start(&mut self, time: Duration, chance: &mut Chance) {
        self.life += 1;
        self.started = time;
        self.view = None;
        self.wake = None;
        self.disk_busy_until = time;
        let config = Config {
            zone: ZoneName::parse(&self.spec.zone).expect("scenarios name zones that are zones"),
            key: SigningKey::from_bytes(&self.key),
            zone_key: SigningKey::from_bytes(&self.zone_key),
            incarnation: self.disk.incarnation().unwrap_or(self.incarnation),
            address: self.spec.address.clone(),
            version: "0.0.0".to_owned(),
            seed: bytes(chance),
            parents: self.spec.parents.clone(),
            joins: self.spec.joins.clone(),
            opened: None,
        };
        self.node = Some(Node::new(config, self.disk.restored(), self.now(time)));
    }

    /// The node is gone, and what was not durable with it.
    pub(crate) fn stop(&mut self, chance: &mut Chance) {
        self.node = None;
        self.life += 1;
        self.view = None;
        self.asked.clear();
        self.disk.crash(chance);
    }

    /// The store is lost; what comes back is another life of the log.
    pub(crate) fn lose_disk(&mut self) {
        self.disk = Disk::default();
        self.incarnation += 1;
        self.promises.clear();
    }

    /// The keys are lost as well; what comes back is somebody else.
    pub(crate) fn lose_keys(&mut self, chance: &mut Chance) {
        self.lose_disk();
        (self.key, self.zone_key) = (bytes(chance), bytes(chance));
        self.id = NodeId(SigningKey::from_bytes(&self.key).verifying_key().to_bytes());
    }

    /// What its clocks say.
    pub(crate) fn now(&self, time: Duration) -> Now {
        let wall_ms = (EPOCH_MS + time.as_millis() as u64).saturating_add_signed(self.clock_ms);
        Now { mono: time.saturating_sub(self.started), wall_ms }
    }

    /// Takes what an acknowledged write promises.
    pub(crate) fn promise(&mut self, wrote: &Wrote) {
        let Some(node) = &self.node else { return };
        let origin = aop_proto::record::Origin { node: self.id, incarnation: self.incarnation };
        let (through, incarnation) = (node.registry().through(origin), self.incarnation);
        let standing = wrote.tools.iter().map(|(name, _)| (name, true));
        for (name, stands) in standing.chain(wrote.removed.iter().map(|name| (name, false))) {
            self.promises.insert(name.to_lowercase(), Promise { through, incarnation, stands });
        }
    }
}

fn bytes(chance: &mut Chance) -> [u8; 32] {
    let mut bytes = [0; 32];
    for part in bytes.chunks_mut(8) {
        part.copy_from_slice(&chance.number().to_le_bytes());
    }
    bytes
}
