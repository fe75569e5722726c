//! One host: a node, its store, its clock, and everything it said to its doors.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use aop_proto::invite::Invite;
use aop_proto::name::ZoneName;
use aop_proto::node::{Admission, Config, Node, Refusal, WriteError, Wrote};
use aop_proto::now::Now;
use aop_proto::record::NodeId;
use aop_proto::resolver::Outcome;
use aop_proto::search::{Found, Lost};
use aop_proto::selection::Chance;
use aop_proto::trust::{Opened, SigningKey};
use aop_proto::view::View;

use crate::disk::Disk;
use crate::sabotage::Doctor;
use crate::world::{Actor, Spec};

/// The Unix time at which every simulation begins.
pub(crate) const EPOCH_MS: u64 = 1_790_000_000_000;

/// One answer to a question of a door.
#[derive(Debug)]
pub struct Answered {
    /// What zones said.
    pub outcome: Outcome,
    /// The same, ranked.
    pub found: Vec<Found>,
    /// What was offered and is not shown.
    pub lost: Vec<Lost>,
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

/// One host, whether it runs or not.
pub(crate) struct Host {
    pub(crate) spec: Spec,
    pub(crate) id: NodeId,
    pub(crate) key: [u8; 32],
    pub(crate) zone_key: [u8; 32],
    /// Made for the last rotation, which a crash may have prevented.
    pub(crate) spare_key: Option<[u8; 32]>,
    pub(crate) disk: Disk,
    /// Invites it has issued, by token; each change is durable at once.
    pub(crate) invites: BTreeMap<String, Invite>,
    /// An earlier state of the disk, and the log's life then.
    pub(crate) backup: Option<(Disk, u64)>,
    pub(crate) node: Option<Box<Node>>,
    /// Somebody else at a node's place.
    pub(crate) actor: Option<Box<dyn Actor>>,
    /// Which run this is; what was meant for an earlier one is dropped.
    pub(crate) life: u32,
    pub(crate) started: Duration,
    clock: Clock,
    /// When the world began, as right clocks count now.
    pub(crate) epoch_ms: u64,
    pub(crate) incarnation: u64,
    /// When it wants to be woken.
    pub(crate) wake: Duration,
    /// When the queue will look whether it is to be woken; never after `wake`.
    pub(crate) timer: Duration,
    pub(crate) disk_busy_until: Duration,
    /// Bytes a second it can send, if that is bounded, and until when it is busy with those before.
    pub(crate) uplink: Option<u64>,
    pub(crate) sending_until: Duration,
    /// The number of the pause it is in.
    pub(crate) paused: Option<u64>,
    /// What readers see, once somebody asked since it changed.
    pub(crate) view: OnceCell<Arc<View>>,
    /// Tokens below this were for earlier runs.
    pub(crate) first_token: u64,
    pub(crate) asked: BTreeMap<u64, Duration>,
    pub(crate) answered: BTreeMap<u64, Answered>,
    pub(crate) written: BTreeMap<u64, Result<Wrote, WriteError>>,
    pub(crate) refusals: Vec<Refusal>,
    /// Number of the last change that this run told those who watch.
    pub(crate) news: u64,
    /// It speaks as it likes: nothing it holds or says is held against the protocol.
    pub(crate) hostile: bool,
    pub(crate) doctor: Doctor,
}

/// How a wall clock goes wrong: it is ahead by so much, and gains so much since some time.
#[derive(Clone, Copy, Debug, Default)]
struct Clock {
    ahead_ms: i64,
    drift_ppm: i64,
    since: Duration,
}

impl Clock {
    fn ahead_ms(&self, time: Duration) -> i64 {
        if self.drift_ppm == 0 {
            return self.ahead_ms;
        }
        let passed = i64::try_from(time.saturating_sub(self.since).as_millis()).unwrap_or(i64::MAX);
        self.ahead_ms + passed.saturating_mul(self.drift_ppm) / 1_000_000
    }
}

impl Host {
    pub(crate) fn new(spec: Spec, chance: &mut Chance) -> Self {
        let (key, zone_key) = (bytes(chance), bytes(chance));
        Self {
            spec,
            id: NodeId(SigningKey::from_bytes(&key).verifying_key().to_bytes()),
            key,
            zone_key,
            spare_key: None,
            disk: Disk::default(),
            invites: BTreeMap::new(),
            backup: None,
            node: None,
            actor: None,
            life: 0,
            started: Duration::ZERO,
            clock: Clock::default(),
            epoch_ms: EPOCH_MS,
            incarnation: 1,
            wake: Duration::MAX,
            timer: Duration::MAX,
            disk_busy_until: Duration::ZERO,
            uplink: None,
            sending_until: Duration::ZERO,
            paused: None,
            view: OnceCell::new(),
            first_token: 0,
            asked: BTreeMap::new(),
            answered: BTreeMap::new(),
            written: BTreeMap::new(),
            refusals: Vec::new(),
            news: 0,
            hostile: false,
            doctor: Doctor::default(),
        }
    }

    /// Starts a node on what the store holds.
    pub(crate) fn start(&mut self, time: Duration, chance: &mut Chance, opened: Arc<dyn Opened>) {
        self.begin(time);
        let config = Config {
            zone: ZoneName::parse(&self.spec.zone).expect("scenarios name zones that are zones"),
            key: SigningKey::from_bytes(&self.key),
            zone_key: SigningKey::from_bytes(&self.zone_key),
            spare_key: self.spare_key.as_ref().map(SigningKey::from_bytes),
            incarnation: self.disk.incarnation().unwrap_or(self.incarnation),
            address: self.spec.address.clone(),
            version: "0.0.0".to_owned(),
            seed: bytes(chance),
            parents: self.spec.parents.clone(),
            joins: self.spec.joins.clone(),
            admission: if self.spec.guarded { Admission::Invited } else { Admission::Open },
            invitation: self.spec.invitation.clone(),
            rules: self.spec.policy(),
            opened: Some(opened),
        };
        self.node = Some(Box::new(Node::new(config, self.disk.restored(), self.now(time))));
    }

    /// Another run begins.
    pub(crate) fn begin(&mut self, time: Duration) {
        self.life += 1;
        self.started = time;
        self.news = 0;
        self.view = OnceCell::new();
        (self.wake, self.timer) = (Duration::MAX, Duration::MAX);
        (self.disk_busy_until, self.sending_until) = (time, time);
    }

    /// Whether something lives here.
    pub(crate) const fn runs(&self) -> bool {
        self.node.is_some() || self.actor.is_some()
    }

    /// A key to rotate to, kept before it is used. One that was made before and never became the zone's is used now.
    pub(crate) fn next_key(&mut self, chance: &mut Chance) -> SigningKey {
        let current = self.view().and_then(|view| view.zone_key);
        let public = |key: &[u8; 32]| SigningKey::from_bytes(key).verifying_key().to_bytes();
        if let Some(spare) = self.spare_key.take_if(|spare| Some(public(spare)) == current) {
            self.zone_key = spare;
        }
        SigningKey::from_bytes(self.spare_key.get_or_insert_with(|| bytes(chance)))
    }

    /// The node is gone, and what was not durable with it.
    pub(crate) fn stop(&mut self, chance: &mut Chance) {
        (self.node, self.actor) = (None, None);
        self.life += 1;
        self.paused = None;
        self.view = OnceCell::new();
        self.asked.clear();
        self.disk.crash(chance);
    }

    /// The store is lost; what comes back is another life of the log, named after the clock as a real node does. False when the
    /// clock gives a name that may have been used.
    pub(crate) fn lose_disk(&mut self, time: Duration) -> bool {
        let last = self.disk.incarnation().unwrap_or(0).max(self.incarnation);
        self.disk = Disk::default();
        self.incarnation = self.now(time).wall_ms / 1000;
        self.incarnation > last
    }

    /// The keys are lost as well; what comes back is somebody else.
    pub(crate) fn lose_keys(&mut self, time: Duration, chance: &mut Chance) {
        self.lose_disk(time);
        self.backup = None;
        (self.key, self.zone_key, self.spare_key) = (bytes(chance), bytes(chance), None);
        self.id = NodeId(SigningKey::from_bytes(&self.key).verifying_key().to_bytes());
    }

    /// The store is as it was at its backup; what was promised since is not known there any more.
    pub(crate) fn restore_backup(&mut self) -> bool {
        let Some((disk, incarnation)) = self.backup.clone() else { return false };
        (self.disk, self.incarnation) = (disk, incarnation);
        true
    }

    /// What its clocks say.
    pub(crate) fn now(&self, time: Duration) -> Now {
        let wall_ms = (self.epoch_ms + time.as_millis() as u64).saturating_add_signed(self.clock.ahead_ms(time));
        Now { mono: time.saturating_sub(self.started), wall_ms }
    }

    /// Its wall clock steps.
    pub(crate) fn set_clock(&mut self, time: Duration, ahead_ms: i64) {
        self.clock = Clock { ahead_ms, since: time, ..self.clock };
    }

    /// Its wall clock goes fast or slow from now on.
    pub(crate) fn set_drift(&mut self, time: Duration, drift_ppm: i64) {
        self.clock = Clock { ahead_ms: self.clock.ahead_ms(time), drift_ppm, since: time };
    }

    /// How far its wall clock is off.
    pub(crate) fn ahead_ms(&self, time: Duration) -> i64 {
        self.clock.ahead_ms(time)
    }

    /// What readers see.
    pub(crate) fn view(&self) -> Option<&Arc<View>> {
        let node = self.node.as_ref()?;
        Some(self.view.get_or_init(|| Arc::new(node.view())))
    }
}

fn bytes(chance: &mut Chance) -> [u8; 32] {
    let mut bytes = [0; 32];
    for part in bytes.chunks_mut(8) {
        part.copy_from_slice(&chance.number().to_le_bytes());
    }
    bytes
}
