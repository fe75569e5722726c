//! A storm: a federation of some zones under everything that can happen to it, then calm, and what must be true after it.
//!
//! Which faults a storm has is drawn from its seed, since uniform faults hide what a single kind finds. In the first act only
//! safety is asked (see `checks`); in the second faults stop, every host runs, and within the stated time all replicas of a zone
//! must be equal and every tool that was acknowledged must be found from everywhere.
//!
//! Every event has a chance of its own: a storm without some of its events is the same storm otherwise, which is how `shrink` finds
//! those that matter.

mod fault;
pub mod shrink;
pub mod swarm;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::time::Duration;

use aop_proto::node::Write;
use aop_proto::record::Origin;
use aop_proto::resolver::Terms;
use aop_proto::selection::Chance;
use aop_proto::wire::message::Form;

use crate::checks::Coverage;
use crate::hostile::Enemy;
use crate::scenario::{acquainted, equal, tool};
use crate::trace::Trace;
use crate::world::{HostId, Spec, Tell, World, name, question, words};

pub use fault::{FAULTS, Fault};

/// After the last fault, everything is well again within this time: links are lost unnoticed for 10 s, dials take up to
/// 5 s and pause up to 12 s, and a zone two levels down waits for the one above it.
const CALM: Duration = Duration::from_secs(60);
/// Things that happen in the first act.
const EVENTS: u32 = 120;
/// Hosts of one zone, late comers included.
const REPLICAS_MAX: usize = 8;

/// What a storm is made of; the same plan is the same storm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Of everything that is drawn.
    pub seed: u64,
    /// What can happen in it.
    pub faults: BTreeSet<Fault>,
    /// Which of its events happen, by number.
    pub events: Vec<u32>,
}

impl Plan {
    /// The storm of a seed, with a third of all faults.
    pub fn of(seed: u64) -> Self {
        let mut chance = chance(seed, u32::MAX);
        let faults = FAULTS.into_iter().filter(|_| chance.below(3) == 0).collect();
        Self { seed, faults, events: (0..EVENTS).collect() }
    }

    /// The arguments of `cargo sim swarm` that play it again.
    pub fn arguments(&self) -> String {
        let whole = Self::of(self.seed);
        let mut text = format!("--seed {} --count 1", self.seed);
        if self.faults != whole.faults {
            let faults: Vec<&str> = self.faults.iter().map(|fault| fault.name()).collect();
            let _ = write!(text, " --faults {}", if faults.is_empty() { "none".to_owned() } else { faults.join(",") });
        }
        if self.events != whole.events {
            let events: Vec<String> = self.events.iter().map(u32::to_string).collect();
            let _ = write!(text, " --events {}", if events.is_empty() { "none".to_owned() } else { events.join(",") });
        }
        text
    }

    /// Plays the storm to its end.
    ///
    /// # Errors
    /// In words, what was not true after it. What is never true ends the process with the check's own words.
    pub fn play(&self, tell: Tell) -> Result<World, String> {
        let mut storm = Storm::new(self, tell);
        for event in &self.events {
            storm.chance = chance(self.seed, *event);
            storm.happen();
            storm.notice();
        }
        storm.chance = chance(self.seed, EVENTS);
        storm.calm()?;
        Ok(storm.world)
    }

    /// The same, and what is never true is an error like any other.
    ///
    /// # Errors
    /// In words, what was not true.
    pub fn try_play(&self, tell: Tell) -> Result<(Trace, Coverage), String> {
        let ended = |world: World| (world.trace(), world.coverage().clone());
        let played = std::panic::catch_unwind(|| self.play(tell).map(ended));
        played.unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            Err(text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("a check failed").to_owned())
        })
    }
}

/// Runs the storm of a seed to its end; `verbose` tells on stdout what happens.
///
/// # Errors
/// As [`Plan::play`].
pub fn storm(seed: u64, verbose: bool) -> Result<World, String> {
    Plan::of(seed).play(if verbose { Tell::Events } else { Tell::Nothing })
}

fn chance(seed: u64, event: u32) -> Chance {
    let mut bytes = [0x57; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    bytes[8..12].copy_from_slice(&event.to_le_bytes());
    Chance::new(bytes)
}

/// One storm under way.
struct Storm {
    world: World,
    chance: Chance,
    /// Honest hosts by zone.
    zones: BTreeMap<String, Vec<HostId>>,
    zone_of: BTreeMap<HostId, String>,
    /// What the seed drew, and what the plan has besides; of these the plan may have dropped some, which then do not happen.
    drawn: Vec<Fault>,
    faults: BTreeSet<Fault>,
    /// Acknowledged and not removed since: full name and the host that serves it.
    standing: BTreeMap<String, HostId>,
    /// Writes whose end is not known yet.
    pending: Vec<(HostId, u64, String, bool)>,
    /// Revocations whose end is not known yet: who was told to write it, and whom it is about.
    revoking: Vec<(HostId, u64, HostId)>,
    /// Who was revoked.
    outcasts: BTreeSet<HostId>,
    enemy: Option<Enemy>,
    number: u32,
}

impl Storm {
    fn new(plan: &Plan, tell: Tell) -> Self {
        let mut world = World::new(plan.seed);
        world.tell = tell;
        let mut storm = Self {
            world,
            chance: chance(plan.seed, EVENTS + 1),
            zones: BTreeMap::new(),
            zone_of: BTreeMap::new(),
            drawn: Plan::of(plan.seed).faults.union(&plan.faults).copied().collect(),
            faults: plan.faults.clone(),
            standing: BTreeMap::new(),
            pending: Vec::new(),
            revoking: Vec::new(),
            outcasts: BTreeSet::new(),
            enemy: None,
            number: 0,
        };
        let mut first_of: BTreeMap<&str, u32> = BTreeMap::new();
        for (zone, parent) in [(".", None), ("lib", Some(".")), ("lab", Some(".")), ("ml.lib", Some("lib"))] {
            let replicas = 1 + storm.chance.below(3);
            for replica in 0..replicas {
                let host = storm.next_address();
                let mut spec = Spec::new(zone, host);
                if replica == 0 {
                    first_of.insert(zone, host);
                } else if parent.is_none() || storm.chance.below(2) == 0 {
                    spec = spec.join(first_of[zone]);
                }
                // Who joins may or may not be told of the parent.
                if let Some(parent) = parent
                    && (spec.joins.is_empty() || storm.chance.below(2) == 0)
                {
                    spec = spec.parent(first_of[parent]);
                }
                storm.add(spec);
            }
        }
        let mut order: Vec<HostId> = storm.world.hosts().collect();
        while !order.is_empty() {
            let at = storm.pick(order.len());
            storm.world.start(order.swap_remove(at));
            let pause = Duration::from_millis(storm.chance.below(400));
            storm.world.run_for(pause);
        }
        storm
    }

    fn next_address(&self) -> u32 {
        self.world.hosts().count() as u32 + 1
    }

    fn add(&mut self, mut spec: Spec) -> HostId {
        let zone = spec.zone.clone();
        let replicas = self.zones.entry(zone.clone()).or_default();
        let number = self.zone_of.values().filter(|other| **other == zone).count() + 1;
        spec.name = format!("{zone}/{number}");
        let id = self.world.add(spec);
        replicas.push(id);
        self.zone_of.insert(id, zone);
        id
    }

    fn pick(&mut self, of: usize) -> usize {
        usize::try_from(self.chance.below(of as u64)).unwrap_or(0)
    }

    fn any(&mut self) -> HostId {
        let hosts: Vec<HostId> = self.world.hosts().collect();
        let at = self.pick(hosts.len());
        hosts[at]
    }

    fn happen(&mut self) {
        match self.chance.below(6) {
            0 | 1 if !self.drawn.is_empty() => {
                let at = self.pick(self.drawn.len());
                let fault = self.drawn[at];
                if self.faults.contains(&fault) {
                    self.strike(fault);
                }
            }
            2 => self.ask(),
            _ => self.write(),
        }
        let pause = Duration::from_millis(match self.chance.below(4) {
            0 => self.chance.below(5_000),
            1 => 0,
            _ => self.chance.below(200),
        });
        self.world.run_for(pause);
    }

    /// Somebody asks for something, whatever the weather; the checks look at the answer and at how long it took.
    fn ask(&mut self) {
        let host = self.any();
        if self.world.node(host).is_none() {
            return;
        }
        let number = self.chance.below(u64::from(self.number) + 1);
        let question = match self.chance.below(3) {
            0 => words(&format!("tool {number}")),
            1 => question(Form::List, ""),
            _ => name(&format!("tool_{number}.host{}.lib", host.0)),
        };
        let cached = self.chance.below(2) == 0;
        self.world.ask(host, question, |terms| Terms { cached, ..terms });
    }

    fn write(&mut self) {
        let host = self.any();
        if self.world.node(host).is_none() {
            self.world.start(host);
            return;
        }
        if self.chance.below(6) == 0 {
            self.write_shared(host);
            return;
        }
        let zone = self.zone_of[&host].clone();
        let own: Vec<String> =
            self.standing.iter().filter(|(_, served)| **served == host).map(|(name, _)| name.clone()).collect();
        if !own.is_empty() && self.chance.below(3) == 0 {
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

    /// A tool that several hosts of a zone serve, as one service or as two that clash when nobody knew of the other; or no more.
    fn write_shared(&mut self, host: HostId) {
        let text = ["what several serve", "what several serve, in other words"][self.pick(4) / 3];
        let replica = self.chance.below(4) > 0;
        let tools = vec![tool("shared", "common", text)];
        let write = match self.chance.below(4) {
            0 => Write::Remove("shared".to_owned()),
            _ => Write::Server { server: "shared".to_owned(), replica, tools },
        };
        self.world.write(host, write);
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

    fn is_enemy(&self, host: HostId) -> bool {
        self.enemy.as_ref().is_some_and(|enemy| enemy.host() == host)
    }

    /// Whether a host was revoked, or may have been.
    fn is_outcast(&self, host: HostId) -> bool {
        self.outcasts.contains(&host) || self.revoking.iter().any(|(_, _, whom)| *whom == host)
    }

    /// What a host served is not promised any more.
    fn forget(&mut self, host: HostId) {
        self.standing.retain(|_, served| *served != host);
    }

    /// Takes note of writes that have ended, and of those that never will.
    fn notice(&mut self) {
        for (by, token, host) in std::mem::take(&mut self.revoking) {
            match self.world.written(by, token) {
                Some(Ok(_)) => self.cast_out(host),
                Some(Err(_)) => {}
                None if self.world.node(by).is_some() && self.world.is_asked(by, token) => {
                    self.revoking.push((by, token, host));
                }
                // It crashed in between: whoever might be out is asked nothing any more.
                None => self.cast_out(host),
            }
        }
        for (host, token, name, stands) in std::mem::take(&mut self.pending) {
            match self.world.written(host, token) {
                _ if self.is_enemy(host) || self.outcasts.contains(&host) => {}
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
                }
            }
        }
    }

    fn cast_out(&mut self, host: HostId) {
        self.zones.values_mut().for_each(|hosts| hosts.retain(|honest| *honest != host));
        self.outcasts.insert(host);
        self.forget(host);
    }

    fn calm(&mut self) -> Result<(), String> {
        self.world.calm();
        self.world.weather = crate::Weather::default();
        self.world.run_for(Duration::from_millis(100));
        for host in self.world.hosts() {
            if self.world.node(host).is_none() {
                self.world.start(host);
            }
        }
        // Who is revoked by the last events is no replica of the zone any more.
        self.world.run_for(Duration::from_secs(1));
        self.notice();
        let zones: Vec<Vec<HostId>> = self.zones.values().cloned().collect();
        let well = |world: &World| zones.iter().all(|zone| acquainted(world, zone) && equal(world, zone));
        let mut is_well = self.world.run_until(CALM, well).is_some();
        // A clock that was wrong may have stamped what it writes only now.
        while !is_well && !self.world.held_back().is_zero() {
            let most = CALM + self.world.held_back();
            is_well = self.world.run_until(most, well).is_some();
        }
        if !is_well {
            return Err(self.report("replicas are not equal, or do not know each other"));
        }
        self.world.run_for(CALM);
        self.notice();
        self.outcasts_are_out()?;
        self.everything_is_found()
    }

    /// Who is believed to be revoked by one replica is so by all, shows nothing, and speaks with none.
    fn outcasts_are_out(&self) -> Result<(), String> {
        for (host, of) in self.outcasts.iter().map(|host| (host, &self.zones[&self.zone_of[host]])) {
            let node = self.world.id(*host);
            let views = of.iter().filter_map(|fellow| self.world.view(*fellow));
            let out: Vec<bool> = views
                .map(|view| {
                    let is_out = view.keys.outcasts.iter().any(|(outcast, _)| *outcast == node);
                    let is_member = view.members.iter().any(|member| member.node == node);
                    let is_heard = is_member || view.relations.contains_key(&node);
                    if is_out && is_heard { Err(()) } else { Ok(is_out) }
                })
                .collect::<Result<_, _>>()
                .map_err(|()| self.report("a revoked replica is heard"))?;
            if out.windows(2).any(|pair| pair[0] != pair[1]) {
                return Err(self.report("some know of a revocation that others do not"));
            }
        }
        Ok(())
    }

    fn everything_is_found(&mut self) -> Result<(), String> {
        let standing: Vec<String> = self.standing.keys().cloned().collect();
        let hosts: Vec<HostId> = self.zones.values().flatten().copied().collect();
        for host in hosts {
            let sample: Vec<&String> = standing.iter().filter(|_| self.chance.below(4) == 0).take(8).collect();
            for wanted in sample {
                let answered = self.world.resolve(host, name(wanted));
                if answered.names() != [wanted.clone()] {
                    let silent = answered.outcome.silent.clone();
                    return Err(self.report(&format!("not found: {host:?} misses {wanted}, silent {silent:?}")));
                }
            }
            let answered = self.world.resolve(host, words(&format!("one of many tools for {}", host.0)));
            let zones: BTreeSet<&str> =
                answered.outcome.answers.iter().map(|(_, checked)| checked.answer.zone.as_str()).collect();
            if zones.len() != self.zones.len() || answered.outcome.is_partial() {
                let silent = answered.outcome.silent.clone();
                return Err(self.report(&format!("not heard: {host:?} knows {zones:?} only, silent {silent:?}")));
            }
        }
        Ok(())
    }

    /// What is wrong, and of every host what an operator would look at first.
    fn report(&self, what: &str) -> String {
        let time = self.world.time();
        let mut text = format!("{what}; at {time:?}, faults {:?}", self.faults);
        for host in self.world.hosts() {
            let _ = write!(text, "\n{} {:?}", self.world.label(host), self.world.refusals(host));
            let (Some(view), Some(node)) = (self.world.view(host), self.world.node(host)) else { continue };
            let digest = u32::from_be_bytes(*node.registry().digest().first_chunk().unwrap_or(&[0; 4]));
            let (short, tools) = (view.node.short(), view.tools.len());
            let _ = write!(text, " {short} admitted {} digest {digest:08x} tools {tools}", view.admitted);
            for member in view.members.iter().filter(|member| member.state != "alive") {
                let _ = write!(text, "\n  {} is {}", member.node.short(), member.state);
            }
            for contact in view.contacts.iter().filter(|contact| contact.error.is_some()) {
                let _ = write!(text, "\n  {} {} {:?}", contact.address, contact.purpose, contact.error);
            }
            let first = self.zones[&self.zone_of[&host]][0];
            let Some(theirs) = self.world.node(first).map(aop_proto::node::Node::registry) else { continue };
            let origins: BTreeSet<Origin> =
                node.registry().vector().into_iter().chain(theirs.vector()).map(|(origin, _)| origin).collect();
            for origin in origins {
                let (through, other) = (node.registry().through(origin), theirs.through(origin));
                if other != through {
                    let _ = write!(text, "\n  holds {origin:?} to {through}, {} to {other}", self.world.label(first));
                }
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_of_a_plan_name_what_was_dropped() {
        let mut plan = Plan::of(7);
        assert_eq!(plan.arguments(), "--seed 7 --count 1");
        plan.events = vec![3, 9];
        plan.faults = [Fault::Crash].into();
        assert_eq!(plan.arguments(), "--seed 7 --count 1 --faults crash --events 3,9");
    }

    #[test]
    fn every_fault_is_in_some_storm() {
        let seen: BTreeSet<Fault> = (0..40).flat_map(|seed| Plan::of(seed).faults).collect();
        assert_eq!(seen.len(), FAULTS.len());
    }
}
