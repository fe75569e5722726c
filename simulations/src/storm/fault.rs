//! What can happen in a storm, each kind on or off for the whole of it.

use std::time::Duration;

use aop_proto::node::Write;

use super::{REPLICAS_MAX, Storm};
use crate::hostile::{Enemy, TRICKS, Trick};
use crate::world::{HostId, Spec};

macro_rules! faults {
    ($($(#[$doc:meta])* $variant:ident $name:literal),* $(,)?) => {
        /// A kind of fault.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
        pub enum Fault {
            $($(#[$doc])* $variant,)*
        }

        /// All of them.
        pub const FAULTS: [Fault; [$($name),*].len()] = [$(Fault::$variant),*];

        impl Fault {
            /// How it is written on the command line.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }
        }
    };
}

faults! {
    /// Power is lost; who does not run starts.
    Crash "crash",
    /// A disk is lost, or disk and keys.
    LostDisk "lost-disk",
    /// A host comes back with the disk of an earlier time.
    OldDisk "old-disk",
    /// Two sides, drawn anew each time.
    Partition "partition",
    /// A ring: everybody has two neighbours.
    Ring "ring",
    /// Messages go one way between two hosts.
    OneWay "one-way",
    /// One link ends, with what was in flight.
    Disconnect "disconnect",
    /// Packets are lost, and whole messages.
    Loss "loss",
    /// Datagrams come twice.
    Duplicate "duplicate",
    /// Datagrams overtake each other.
    Reorder "reorder",
    /// All ways are slow.
    Slow "slow",
    /// The ways of one host are slow.
    SlowLink "slow-link",
    /// A host sends little.
    Cap "cap",
    /// A host stands still.
    Pause "pause",
    /// A wall clock steps.
    Clock "clock",
    /// A wall clock gains or loses.
    Drift "drift",
    /// A host says goodbye.
    Leave "leave",
    /// Most of a zone says goodbye at once.
    MassLeave "mass-leave",
    /// Several hosts come to a zone at once.
    JoinStorm "join-storm",
    /// Messages arrive with a byte changed.
    Noise "noise",
    /// An admitted host becomes an enemy, once in a storm, and plays its tricks on its zone.
    Hostile "hostile",
    /// A day passes on all clocks.
    Day "day",
    /// A replica is revoked by another, at most two in a storm.
    Revoke "revoke",
}

/// Replicas that are revoked in one storm.
const OUTCASTS_MAX: usize = 2;
/// Tricks that the core has no answer to: a counter that leaves no room for a refutation, and a stamp that never comes.
const NOT_YET: [Trick; 2] = [Trick::Accuse, Trick::FarFuture];

impl Fault {
    /// The fault of that name.
    pub fn named(name: &str) -> Option<Self> {
        FAULTS.into_iter().find(|fault| fault.name() == name)
    }
}

impl Storm {
    pub(super) fn strike(&mut self, fault: Fault) {
        let (host, other) = (self.any(), self.any());
        let runs = self.world.node(host).is_some();
        let which = self.pick(3);
        match fault {
            Fault::LostDisk | Fault::OldDisk if self.is_enemy(host) || self.is_outcast(host) => {}
            Fault::Crash | Fault::LostDisk | Fault::OldDisk | Fault::Leave if !runs => self.world.start(host),
            Fault::Crash => self.world.crash(host),
            Fault::LostDisk => self.lose_disk(host),
            Fault::OldDisk => self.old_disk(host),
            Fault::Leave => self.world.leave(host),
            Fault::MassLeave => self.mass_leave(host),
            Fault::JoinStorm => self.join_storm(host),
            Fault::Partition | Fault::Ring | Fault::OneWay if which == 0 => self.world.heal(),
            Fault::Partition => {
                let (mut one, mut two) = (Vec::new(), Vec::new());
                for host in self.world.hosts() {
                    if self.chance.below(2) == 0 { one.push(host) } else { two.push(host) }
                }
                self.world.partition(&one, &two);
            }
            Fault::Ring => {
                let hosts: Vec<HostId> = self.world.hosts().collect();
                let order = self.chance.sample(&hosts, hosts.len());
                self.world.ring(&order);
            }
            Fault::OneWay => self.world.cut_one_way(&[host], &[other]),
            Fault::Disconnect if host != other => self.world.disconnect(host, other),
            Fault::Disconnect => {}
            Fault::Loss => {
                self.world.weather.loss = [0, 100, 300][which];
                self.world.weather.drop = [0, 50, 300][self.pick(3)];
            }
            Fault::Duplicate => self.world.weather.duplicate = [0, 50, 300][which],
            Fault::Reorder => self.world.weather.reorder = [0, 50, 300][which],
            Fault::Noise => self.world.weather.noise = [0, 20, 200][which],
            Fault::Slow => self.world.weather.latency.1 = Duration::from_millis([5, 80, 700][which]),
            Fault::SlowLink => {
                let most = Duration::from_millis([5, 200, 1500][which]);
                let all: Vec<HostId> = self.world.hosts().collect();
                self.world.slow(&[host], &all, (most / 2, most));
            }
            Fault::Cap => self.world.cap(host, [None, Some(20_000), Some(200_000)][which]),
            Fault::Pause => {
                let time = Duration::from_millis([300, 5_000, 30_000][which]);
                self.world.pause(host, time);
            }
            Fault::Clock => {
                let ahead = i64::try_from(self.chance.below(1_200_000)).unwrap_or(0) - 600_000;
                self.world.set_clock(host, ahead);
            }
            Fault::Hostile => self.play_a_trick(host),
            Fault::Day => self.world.pass_a_day(),
            Fault::Revoke => self.revoke(host),
            Fault::Drift => self.world.set_drift(host, [-50_000, 200, 50_000][which]),
        }
    }

    /// The first enemy is one with two honest fellows; later it plays, whoever was struck.
    fn play_a_trick(&mut self, host: HostId) {
        if self.enemy.is_none() && self.zones[&self.zone_of[&host]].len() > 2 {
            self.enemy = Enemy::take(&mut self.world, host);
            if self.enemy.is_some() {
                self.zones.values_mut().for_each(|hosts| hosts.retain(|honest| *honest != host));
                self.forget(host);
            }
        }
        let trick = TRICKS[self.pick(TRICKS.len())];
        if !NOT_YET.contains(&trick)
            && let Some(enemy) = &mut self.enemy
            && self.world.node(enemy.host()).is_some()
        {
            let honest = self.zones[&self.zone_of[&enemy.host()]].clone();
            enemy.play(&mut self.world, trick, &honest);
        }
    }

    /// A fellow revokes a host, the enemy too: one that nobody was told to come by, since whoever begins anew would find nobody.
    fn revoke(&mut self, host: HostId) {
        let zone = self.zones[&self.zone_of[&host]].clone();
        let fellows: Vec<HostId> = zone.into_iter().filter(|fellow| *fellow != host).collect();
        let address = self.world.spec(host).address.clone();
        let is_named = self.world.hosts().any(|other| {
            let spec = self.world.spec(other);
            spec.joins.contains(&address) || spec.parents.contains(&address)
        });
        if fellows.len() < 2 || is_named || self.outcasts.len() + self.revoking.len() >= OUTCASTS_MAX {
            return;
        }
        let by = fellows[self.pick(fellows.len())];
        let node = self.world.id(host);
        if self.world.node(by).is_some() && !self.is_outcast(host) && !self.is_outcast(by) {
            let token = self.world.write(by, Write::Revoke { node, reason: "a storm".to_owned() });
            self.revoking.push((by, token, host));
        }
    }

    fn lose_disk(&mut self, host: HostId) {
        if !self.has_twin(host) {
            return;
        }
        if self.chance.below(2) == 0 {
            self.world.lose(host);
        } else {
            self.world.replace(host);
        }
        self.forget(host);
    }

    /// Once in three times a backup is made, else the last one is put back.
    fn old_disk(&mut self, host: HostId) {
        if self.chance.below(3) == 0 || !self.has_twin(host) {
            self.world.backup(host);
        } else if self.world.restore_backup(host) {
            self.forget(host);
            self.world.start(host);
        }
    }

    /// All of a host's zone but the host.
    fn mass_leave(&mut self, host: HostId) {
        for fellow in self.zones[&self.zone_of[&host]].clone() {
            if fellow != host && self.world.node(fellow).is_some() {
                self.world.leave(fellow);
            }
        }
    }

    /// Two to four hosts join the zone of a host, all at it.
    fn join_storm(&mut self, host: HostId) {
        if self.is_outcast(host) {
            // Nobody gets in by it.
            return;
        }
        let zone = self.zone_of[&host].clone();
        let room = REPLICAS_MAX.saturating_sub(self.zones[&zone].len());
        for _ in 0..room.min(2 + self.pick(3)) {
            let at = u32::try_from(host.0 + 1).unwrap_or(1);
            let spec = Spec::new(&zone, self.next_address()).join(at);
            let new = self.add(spec);
            self.world.start(new);
        }
    }
}
