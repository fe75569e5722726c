//! A federation of three levels in which everything goes on at once: tools change, networks are cut, clocks step, nodes die, and questions
//! are asked at every door. Each answer is given to the judge with what the model knows.

use std::collections::BTreeMap;
use std::time::Duration;

use aop_proto::params::TTL_L3;
use aop_proto::record::NodeId;
use aop_proto::resolver::Terms;
use aop_proto::wire::message::{Form, Question};
use aop_simulations::scenario::{acquainted, equal, server};
use aop_simulations::world::{HostId, Spec, name, question, words};
use aop_simulations::{Answered, World};

use crate::judge::{Tally, judge};
use crate::model::{Tool, Troubles};

/// How a federation is, and what happens to it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    /// How long it goes on.
    pub(crate) time: Duration,
    /// Between two steps at the most; in each something may happen.
    pub(crate) pause: Duration,
    /// Replicas of one zone.
    pub(crate) replicas_max: u64,
    /// Whether anything goes wrong.
    pub(crate) faults: bool,
}

/// One zone of it.
#[derive(Debug)]
pub(crate) struct Zone {
    pub(crate) name: String,
    pub(crate) above: Option<usize>,
    pub(crate) hosts: Vec<HostId>,
    /// By full name.
    pub(crate) tools: BTreeMap<String, Tool>,
    pub(crate) troubles: Troubles,
}

/// A question that waits for its answer.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) host: HostId,
    pub(crate) question: Question,
    pub(crate) cached: bool,
    pub(crate) age_max: Duration,
    at: Duration,
    token: u64,
}

/// Something wrong that ends.
#[derive(Debug)]
enum Fault {
    Cut,
    Down(HostId),
    Slow,
}

/// See the module.
pub(crate) struct Federation {
    pub(crate) world: World,
    pub(crate) zones: Vec<Zone>,
    pub(crate) zone_of: BTreeMap<HostId, usize>,
    pub(crate) host_of: BTreeMap<NodeId, HostId>,
    pub(crate) tally: Tally,
    plan: Plan,
    asked: Vec<Asked>,
    /// Writes that are not acknowledged: at which host, and of which tool.
    writing: Vec<(HostId, u64, String)>,
    /// What is wrong now, its number, and when it ends.
    wrong: Vec<(Fault, u64, Duration)>,
    next: u64,
}

const SETTLED: Duration = Duration::from_secs(60);
/// Nothing lasts so long that a delegation ends: its parent does not deny what was asked of it.
const FAULT_MAX: Duration = Duration::from_secs(30);

impl Federation {
    /// A root, two or three zones below it, three to six below those.
    pub(crate) fn new(plan: Plan) -> Self {
        let mut world = World::new(plan.seed);
        let middles = 2 + world.below(2) as usize;
        let leaves = 3 + world.below(4) as usize;
        let mut zones: Vec<Zone> = Vec::new();
        for number in 0..=middles + leaves {
            let (name, above) = match number {
                0 => (".".to_owned(), None),
                _ if number <= middles => (format!("m{number}"), Some(0)),
                _ => {
                    let above = 1 + world.below(middles as u64) as usize;
                    (format!("l{number}.{}", zones[above].name), Some(above))
                }
            };
            let count = 1 + world.below(plan.replicas_max);
            let mut hosts: Vec<HostId> = Vec::new();
            for _ in 0..count {
                let address = world.hosts().count() as u32 + 1;
                let mut spec = Spec::new(&name, address);
                if let Some(first) = hosts.first() {
                    spec = spec.join(first.0 as u32 + 1);
                }
                if let Some(above) = above {
                    spec = spec.parent(zones[above].hosts[0].0 as u32 + 1);
                }
                hosts.push(world.boot(spec));
            }
            zones.push(Zone { name, above, hosts, tools: BTreeMap::new(), troubles: Troubles::default() });
        }
        let zone_of = zones.iter().enumerate().flat_map(|(at, zone)| zone.hosts.iter().map(move |host| (*host, at)));
        let zone_of = zone_of.collect();
        let host_of = world.hosts().map(|host| (world.id(host), host)).collect();
        let (tally, next) = (Tally::default(), 0);
        let mut made =
            Self { world, zones, zone_of, host_of, tally, plan, asked: vec![], writing: vec![], wrong: vec![], next };
        made.settle();
        made
    }

    /// Until everybody finds everybody; then every host gets tools.
    fn settle(&mut self) {
        let done = self.world.run_until_every(Duration::from_secs(1), SETTLED, |world| {
            self.zones.iter().all(|zone| {
                let delegated = |host: &HostId| {
                    let view = world.view(*host);
                    view.is_some_and(|view| view.routes.parent.as_ref().is_none_or(|parent| !parent.peers.is_empty()))
                };
                acquainted(world, &zone.hosts) && equal(world, &zone.hosts) && zone.hosts.iter().all(delegated)
            })
        });
        assert!(done.is_some(), "the federation forms");
        self.world.run_for(Duration::from_secs(3));
        for host in self.world.hosts().collect::<Vec<_>>() {
            let zone = self.zone_of[&host];
            for tool in 0..2 {
                let full = self.full_name(host, tool);
                self.zones[zone].tools.insert(full, Tool::new(host));
            }
            self.write(host);
        }
        self.world.run_for(Duration::from_secs(10));
    }

    fn full_name(&self, host: HostId, tool: u32) -> String {
        let zone = &self.zones[self.zone_of[&host]].name;
        format!("tool{tool}.host{}{}", host.0, if zone == "." { String::new() } else { format!(".{zone}") })
    }

    /// Lets it go on to its end.
    pub(crate) fn run(mut self) -> Tally {
        let end = self.world.time() + self.plan.time;
        while self.world.time() < end {
            let pause = self.below(self.plan.pause.as_millis() as u64);
            self.world.run_for(Duration::from_millis(pause));
            self.end_faults();
            match self.below(12) {
                0 if self.plan.faults && self.wrong.len() < 3 => self.go_wrong(),
                1 | 2 => {
                    let host = self.any();
                    self.write(host);
                }
                _ => self.ask(),
            }
            self.hear();
        }
        self.world.run_for(Duration::from_secs(10));
        self.hear();
        self.tally
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.world.below(bound)
    }

    fn any(&mut self) -> HostId {
        let count = self.world.hosts().count() as u64;
        HostId(self.below(count) as usize)
    }

    /// One of a host's two tools becomes another version, or is not registered any more.
    fn write(&mut self, host: HostId) {
        if self.world.node(host).is_none() || self.writing.iter().any(|(writer, ..)| *writer == host) {
            return;
        }
        let (zone, which) = (self.zone_of[&host], self.below(2) as u32);
        let gone = self.below(3) == 0;
        let full = self.full_name(host, which);
        let version = (!gone).then_some(self.next as u32);
        self.next += 1;
        let time = self.world.time();
        if let Some(tool) = self.zones[zone].tools.get_mut(&full) {
            tool.asked(version, time);
        }
        let texts: Vec<(String, String)> = (0..2)
            .filter_map(|tool| {
                let version = self.zones[zone].tools[&self.full_name(host, tool)].latest()?;
                Some((format!("tool{tool}"), format!("a tool of host {}, version {version}", host.0)))
            })
            .collect();
        let tools: Vec<(&str, &str)> = texts.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
        let token = self.world.write(host, server(&format!("host{}", host.0), &tools));
        self.writing.push((host, token, full));
        // Most are durable within milliseconds; the model is the sharper for knowing when.
        self.world.run_until(Duration::from_millis(20), |world| world.written(host, token).is_some());
        self.hear();
    }

    fn ask(&mut self) {
        let host = self.any();
        if self.world.node(host).is_none() {
            return;
        }
        let zone = self.below(self.zones.len() as u64) as usize;
        let question = match self.below(5) {
            0 => Question { limit: 100, ..words("tool version") },
            1 => Question { limit: 100, ..question(Form::List, "") },
            2 => name(&self.full_name(self.zones[zone].hosts[0], 2)),
            _ => {
                let names: Vec<String> = self.zones[zone].tools.keys().cloned().collect();
                name(&names[self.below(names.len() as u64) as usize])
            }
        };
        let cached = self.below(4) > 0;
        let age_max = match self.below(6) {
            0 => Duration::from_secs(self.below(300)),
            _ => TTL_L3,
        };
        let token = self.world.ask(host, question.clone(), |terms| Terms { cached, age_max, ..terms });
        self.asked.push(Asked { host, question, cached, age_max, at: self.world.time(), token });
    }

    /// Takes what has come: acknowledgements first, since what they end is not true any more.
    fn hear(&mut self) {
        let time = self.world.time();
        for (host, token, full) in std::mem::take(&mut self.writing) {
            let zone = self.zone_of[&host];
            match self.world.written(host, token) {
                Some(Ok(_)) => {
                    if let Some(tool) = self.zones[zone].tools.get_mut(&full) {
                        tool.acknowledged(time);
                    }
                }
                Some(Err(error)) => panic!("{host:?} does not write: {error}"),
                None if self.world.is_asked(host, token) && self.world.node(host).is_some() => {
                    self.writing.push((host, token, full));
                }
                None => {}
            }
        }
        for asked in std::mem::take(&mut self.asked) {
            match self.world.answer(asked.host, asked.token) {
                Some(answered) => self.judge(&asked, &answered),
                None if self.world.is_asked(asked.host, asked.token) && self.world.node(asked.host).is_some() => {
                    self.asked.push(asked);
                }
                None => {}
            }
        }
    }

    fn judge(&mut self, asked: &Asked, answered: &Answered) {
        let time = asked.at + answered.took;
        let mut tally = std::mem::take(&mut self.tally);
        if let Err(what) = judge(self, asked, answered, time, &mut tally) {
            let host = self.world.label(asked.host);
            panic!(
                "{:?}: at {time:?} {host} was told of {:?}: {what}\n{:?}",
                self.plan,
                asked.question.text,
                answered.silent()
            );
        }
        self.tally = tally;
    }

    /// Something goes wrong for a while.
    fn go_wrong(&mut self) {
        self.next += 1;
        let (number, now) = (self.next, self.world.time());
        let most = FAULT_MAX.min(self.plan.time / 2).as_millis() as u64;
        let until = now + Duration::from_millis(1_000 + self.below(most));
        let (host, other) = (self.any(), self.any());
        match self.below(7) {
            kind @ (0 | 1) => {
                // Zones from zones, or hosts from hosts.
                let (mut one, mut two) = (Vec::new(), Vec::new());
                for at in 0..self.zones.len() {
                    let side = self.below(2);
                    for host in self.zones[at].hosts.clone() {
                        let side = if kind == 0 { side } else { self.below(2) };
                        if side == 0 { one.push(host) } else { two.push(host) }
                    }
                }
                self.world.partition(&one, &two);
                self.apart(number, |host| one.contains(&host));
                self.wrong.push((Fault::Cut, number, until));
            }
            2 => {
                self.world.cut_one_way(&[host], &[other]);
                self.apart(number, |one| one == host);
                self.wrong.push((Fault::Cut, number, until));
            }
            3 if self.world.node(host).is_some() => {
                self.world.crash(host);
                let zone = self.zone_of[&host];
                self.zones[zone].troubles.begin(number, now);
                self.wrong.push((Fault::Down(host), number, until));
            }
            4 => {
                self.world.weather.latency.1 = Duration::from_millis([80, 300][self.below(2) as usize]);
                self.wrong.push((Fault::Slow, number, until));
            }
            5 => self.step_clocks(number, host),
            _ => {}
        }
    }

    /// Zones that lie on both sides are not whole.
    fn apart(&mut self, number: u64, is_here: impl Fn(HostId) -> bool) {
        let now = self.world.time();
        for zone in &mut self.zones {
            let here = zone.hosts.iter().filter(|host| is_here(**host)).count();
            if here > 0 && here < zone.hosts.len() {
                zone.troubles.begin(number, now);
            }
        }
    }

    /// A host's wall clock steps, or those of its whole zone: tens of seconds to hours, either way. Replicas wait with what is stamped
    /// ahead of their own clocks, so they are apart until the end.
    fn step_clocks(&mut self, number: u64, host: HostId) {
        let most = [60, 3_600, 5 * 3_600][self.below(3) as usize] * 1_000;
        let ahead = self.below(2 * most) as i64 - most as i64;
        let zone = self.zone_of[&host];
        let now = self.world.time();
        let whole = self.below(2) == 0;
        if self.zones[zone].hosts.len() > 1 {
            self.zones[zone].troubles.begin(number, now);
        }
        let hosts = if whole { self.zones[zone].hosts.clone() } else { vec![host] };
        for host in hosts {
            self.world.set_clock(host, ahead);
        }
    }

    fn end_faults(&mut self) {
        let now = self.world.time();
        let (over, lasting) = std::mem::take(&mut self.wrong).into_iter().partition(|(_, _, until)| *until <= now);
        self.wrong = lasting;
        let over: Vec<(Fault, u64, Duration)> = over;
        for (fault, number, _) in over {
            match fault {
                Fault::Cut => {
                    // All cuts end together.
                    self.world.heal();
                    let cuts: Vec<u64> =
                        self.wrong.extract_if(.., |(fault, ..)| matches!(fault, Fault::Cut)).map(|cut| cut.1).collect();
                    for number in cuts.into_iter().chain([number]) {
                        self.zones.iter_mut().for_each(|zone| zone.troubles.end(number, now));
                    }
                }
                Fault::Down(host) => {
                    self.world.start(host);
                    self.zones.iter_mut().for_each(|zone| zone.troubles.end(number, now));
                }
                Fault::Slow => self.world.weather.latency.1 = Duration::from_millis(5),
            }
        }
    }
}
