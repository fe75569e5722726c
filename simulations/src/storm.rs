//! A storm: a federation of some zones under everything that can happen to it, then calm, and what must be true after it.
//!
//! Which faults a storm has is drawn from its seed, since uniform faults hide what a single kind finds. In the first act only
//! safety is asked (see `checks`); in the second faults stop, every host runs, and within the stated time all replicas of a zone
//! must be equal and every tool that was acknowledged must be found from everywhere.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::time::Duration;

use aop_proto::node::Write;
use aop_proto::resolver::Terms;
use aop_proto::wire::message::Form;

use crate::scenario::{acquainted, equal, tool};
use crate::world::{HostId, Spec, World, name, question, words};

/// After the last fault, everything is well again within this time: connections are lost unnoticed for 10 s, dials take up to
/// 5 s and pause up to 12 s, and a zone two levels down waits for the one above it.
const CALM: Duration = Duration::from_secs(60);
/// Things that happen in the first act.
const EVENTS: u32 = 120;

/// What can happen, each on or off for a whole storm.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Fault {
    Crash,
    LostDisk,
    Partition,
    Disconnect,
    Loss,
    Slow,
    Clock,
    Leave,
    Noise,
}

const FAULTS: [Fault; 9] = [
    Fault::Crash,
    Fault::LostDisk,
    Fault::Partition,
    Fault::Disconnect,
    Fault::Loss,
    Fault::Slow,
    Fault::Clock,
    Fault::Leave,
    Fault::Noise,
];

/// One storm under way.
struct Storm {
    world: World,
    zones: BTreeMap<String, Vec<HostId>>,
    zone_of: BTreeMap<HostId, String>,
    faults: BTreeSet<Fault>,
    /// Acknowledged and not removed since: full name and the host that serves it.
    standing: BTreeMap<String, HostId>,
    /// Writes whose end is not known yet.
    pending: Vec<(HostId, u64, String, bool)>,
    /// Names whose last write was neither acknowledged nor refused before its host crashed.
    unknown: BTreeSet<String>,
    number: u32,
}

/// Runs the storm of a seed to its end; `verbose` tells on stderr what happens.
///
/// # Errors
/// In words, what was not true after it. What is never true ends the process with the check's own words.
pub fn storm(seed: u64, verbose: bool) -> Result<World, String> {
    let mut storm = Storm::new(seed, verbose);
    for _ in 0..EVENTS {
        storm.happen();
        storm.notice();
    }
    storm.calm()?;
    Ok(storm.world)
}

impl Storm {
    fn new(seed: u64, verbose: bool) -> Self {
        let mut world = World::new(seed);
        world.tell = if verbose { crate::world::Tell::Events } else { crate::world::Tell::Nothing };
        let faults = FAULTS.into_iter().filter(|_| world.below(3) == 0).collect();
        let mut storm = Self {
            world,
            zones: BTreeMap::new(),
            zone_of: BTreeMap::new(),
            faults,
            standing: BTreeMap::new(),
            pending: Vec::new(),
            unknown: BTreeSet::new(),
            number: 0,
        };
        let mut host = 0;
        let mut first_of: BTreeMap<&str, u32> = BTreeMap::new();
        for (zone, parent) in [(".", None), ("lib", Some(".")), ("lab", Some(".")), ("ml.lib", Some("lib"))] {
            let replicas = 1 + storm.world.below(3);
            for replica in 0..replicas {
                host += 1;
                let mut spec = Spec::new(zone, host);
                if replica == 0 {
                    first_of.insert(zone, host);
                } else if parent.is_none() || storm.world.below(2) == 0 {
                    spec = spec.join(first_of[zone]);
                }
                // Who joins may or may not be told of the parent.
                if let Some(parent) = parent
                    && (spec.joins.is_empty() || storm.world.below(2) == 0)
                {
                    spec = spec.parent(first_of[parent]);
                }
                let id = storm.world.add(spec);
                storm.zones.entry(zone.to_owned()).or_default().push(id);
                storm.zone_of.insert(id, zone.to_owned());
            }
        }
        let mut order: Vec<HostId> = storm.world.hosts().collect();
        while !order.is_empty() {
            let at = storm.pick(order.len());
            storm.world.start(order.swap_remove(at));
            let pause = Duration::from_millis(storm.world.below(400));
            storm.world.run_for(pause);
        }
        storm
    }

    fn pick(&mut self, of: usize) -> usize {
        usize::try_from(self.world.below(of as u64)).unwrap_or(0)
    }

    fn any(&mut self) -> HostId {
        let hosts: Vec<HostId> = self.world.hosts().collect();
        let at = self.pick(hosts.len());
        hosts[at]
    }

    fn happen(&mut self) {
        let faults: Vec<Fault> = self.faults.iter().copied().collect();
        match self.world.below(6) {
            0 | 1 if !faults.is_empty() => {
                let at = self.pick(faults.len());
                self.strike(faults[at]);
            }
            2 => self.ask(),
            _ => self.write(),
        }
        let pause = Duration::from_millis(match self.world.below(4) {
            0 => self.world.below(5_000),
            1 => 0,
            _ => self.world.below(200),
        });
        self.world.run_for(pause);
    }

    /// Somebody asks for something, whatever the weather; the checks look at the answer and at how long it took.
    fn ask(&mut self) {
        let host = self.any();
        if self.world.node(host).is_none() {
            return;
        }
        let number = self.world.below(u64::from(self.number) + 1);
        let question = match self.world.below(3) {
            0 => words(&format!("tool {number}")),
            1 => question(Form::List, ""),
            _ => name(&format!("tool_{number}.host{}.lib", host.0)),
        };
        let cached = self.world.below(2) == 0;
        self.world.ask(host, question, |terms| Terms { cached, ..terms });
    }

    fn write(&mut self) {
        let host = self.any();
        if self.world.node(host).is_none() {
            self.world.start(host);
            return;
        }
        let zone = self.zone_of[&host].clone();
        let own: Vec<String> =
            self.standing.iter().filter(|(_, served)| **served == host).map(|(name, _)| name.clone()).collect();
        if !own.is_empty() && self.world.below(3) == 0 {
            let at = self.pick(own.len());
            let token = self.world.write(host, Write::Remove(own[at].clone()));
            self.pending.push((host, token, own[at].clone(), false));
            return;
        }
        self.number += 1;
        let original = format!("tool_{}", self.number);
        let zone = if zone == "." { String::new() } else { format!(".{zone}") };
        let full = format!("{original}.host{}{zone}", host.0);
        let server = format!("host{}", host.0);
        let token = self.world.write(host, Write::Catalogue(vec![tool(&server, &original, "one of many tools")]));
        self.pending.push((host, token, full, true));
    }

    fn strike(&mut self, fault: Fault) {
        let (host, other) = (self.any(), self.any());
        let runs = self.world.node(host).is_some();
        match fault {
            Fault::Crash if runs => self.world.crash(host),
            Fault::LostDisk if runs && self.has_twin(host) => {
                if self.world.below(2) == 0 {
                    self.world.lose(host);
                } else {
                    self.world.replace(host);
                }
                self.standing.retain(|_, served| *served != host);
            }
            Fault::Leave if runs => self.world.leave(host),
            Fault::Crash | Fault::LostDisk | Fault::Leave => {
                if !runs {
                    self.world.start(host);
                }
            }
            Fault::Partition => {
                let hosts: Vec<HostId> = self.world.hosts().collect();
                let (mut one, mut two) = (Vec::new(), Vec::new());
                for host in hosts {
                    if self.world.below(2) == 0 { one.push(host) } else { two.push(host) }
                }
                if self.world.below(2) == 0 {
                    self.world.heal();
                } else {
                    self.world.partition(&one, &two);
                }
            }
            Fault::Disconnect => {
                if host != other {
                    self.world.disconnect(host, other);
                }
            }
            Fault::Loss => {
                self.world.weather.drop = [0, 50, 300][self.pick(3)];
                self.world.weather.loss = [0, 100, 300][self.pick(3)];
            }
            Fault::Noise => self.world.weather.noise = [0, 20, 200][self.pick(3)],
            Fault::Slow => {
                let most = [5, 80, 700][self.pick(3)];
                self.world.weather.latency.1 = Duration::from_millis(most);
            }
            Fault::Clock => {
                let ahead = i64::try_from(self.world.below(1_200_000)).unwrap_or(0) - 600_000;
                self.world.set_clock(host, ahead);
            }
        }
    }

    /// Whether another replica holds all that this one holds, and this one was told where to find others: a zone whose last disk
    /// is lost, or whose first node begins anew all alone, does not come back by itself.
    fn has_twin(&self, host: HostId) -> bool {
        if self.world.spec(host).joins.is_empty() && self.world.spec(host).parents.is_empty() {
            return false;
        }
        let admitted = |host: HostId| self.world.view(host).is_some_and(|view| view.admitted);
        let fellows = self.zones[&self.zone_of[&host]].iter().filter(|fellow| **fellow != host);
        fellows.into_iter().any(|fellow| admitted(*fellow) && equal(&self.world, &[host, *fellow]))
    }

    /// Takes note of writes that have ended, and of those that never will.
    fn notice(&mut self) {
        for (host, token, name, stands) in std::mem::take(&mut self.pending) {
            match self.world.written(host, token) {
                Some(Ok(_)) if stands => {
                    self.standing.insert(name, host);
                }
                Some(Ok(_)) => {
                    self.standing.remove(&name);
                }
                Some(Err(_)) => {}
                None if self.world.node(host).is_some() && self.world.is_asked(host, token) => {
                    self.pending.push((host, token, name, stands));
                }
                // It crashed in between: either may be true.
                None => {
                    self.standing.remove(&name);
                    self.unknown.insert(name);
                }
            }
        }
    }

    fn calm(&mut self) -> Result<(), String> {
        self.world.heal();
        self.world.weather = crate::Weather::default();
        for host in self.world.hosts() {
            self.world.set_clock(host, 0);
        }
        self.world.run_for(Duration::from_millis(100));
        for host in self.world.hosts() {
            if self.world.node(host).is_none() {
                self.world.start(host);
            }
        }
        let zones: Vec<Vec<HostId>> = self.zones.values().cloned().collect();
        let well = |world: &World| zones.iter().all(|zone| acquainted(world, zone) && equal(world, zone));
        if self.world.run_until(CALM, well).is_none() {
            return Err(self.report("replicas are not equal, or do not know each other"));
        }
        self.world.run_for(CALM);
        self.notice();
        self.everything_is_found()
    }

    fn everything_is_found(&mut self) -> Result<(), String> {
        let standing: Vec<String> = self.standing.keys().cloned().collect();
        for host in self.world.hosts() {
            let sample: Vec<&String> = standing.iter().filter(|_| self.world.below(4) == 0).take(8).collect();
            for wanted in sample {
                let answered = self.world.resolve(host, name(wanted));
                if answered.names() != [wanted.clone()] {
                    let silent = answered.outcome.silent.clone();
                    return Err(self.report(&format!("{host:?} does not find {wanted}, silent {silent:?}")));
                }
            }
            let answered = self.world.resolve(host, words(&format!("one of many tools for {}", host.0)));
            let zones: BTreeSet<&str> =
                answered.outcome.answers.iter().map(|(_, checked)| checked.answer.zone.as_str()).collect();
            if zones.len() != self.zones.len() || answered.outcome.is_partial() {
                let silent = answered.outcome.silent.clone();
                return Err(self.report(&format!("{host:?} hears of {zones:?} only, silent {silent:?}")));
            }
        }
        Ok(())
    }

    fn report(&self, what: &str) -> String {
        let mut text = format!("{what}; faults {:?}", self.faults);
        for host in self.world.hosts() {
            let zone = &self.zone_of[&host];
            let _ = write!(text, "\n{host:?} of {zone}: {:?}", self.world.refusals(host));
            if let Some(view) = self.world.view(host) {
                let members: Vec<String> =
                    view.members.iter().map(|member| format!("{} {}", member.node.short(), member.state)).collect();
                let contacts: Vec<String> = view
                    .contacts
                    .iter()
                    .map(|contact| {
                        format!("{} {} {} {:?}", contact.address, contact.purpose, contact.state, contact.error)
                    })
                    .collect();
                let _ = write!(
                    text,
                    "\n  {} admitted {} tools {} members {members:?}\n  contacts {contacts:#?}",
                    view.node.short(),
                    view.admitted,
                    view.tools.len()
                );
            }
        }
        text
    }
}
