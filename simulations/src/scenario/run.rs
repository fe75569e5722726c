//! A scenario from a file, played: the hosts settle, the script runs (act one: whatever happens, the checks hold), faults stop, and
//! what is expected has to become true in its time (act two).

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use aop_proto::node::Write;

use super::file::{Act, Expect, Join, Scenario, Step, Who, ZoneSpec};
use super::{acquainted, equal, tool};
use crate::network::Weather;
use crate::world::{DEADLINE, HostId, Spec, Tell, Watch, World, name, words};

/// Pause between two looks at something that is expected.
const LOOK: Duration = Duration::from_millis(100);

/// How a scenario ended.
pub struct Report {
    /// The world after it.
    pub world: World,
    /// One line for everything expected.
    pub lines: Vec<String>,
    /// Whether all of it was true.
    pub well: bool,
}

/// Plays a scenario. What is never true ends the process with the check's own words.
///
/// # Errors
/// When it names hosts that are not there.
pub fn play(scenario: &Scenario, seed: u64, tell: Tell, watch: Watch) -> Result<Report, String> {
    let mut play = Play::new(scenario, seed, tell, watch);
    play.run(scenario)?;
    Ok(Report { world: play.world, lines: play.lines, well: play.well })
}

struct Play {
    world: World,
    zones: BTreeMap<String, Vec<HostId>>,
    base: Weather,
    number: u32,
    lines: Vec<String>,
    well: bool,
}

enum Due<'a> {
    Act(&'a Act),
    Expect(&'a Expect),
}

impl Play {
    fn new(scenario: &Scenario, seed: u64, tell: Tell, watch: Watch) -> Self {
        let mut world = World::new(seed);
        world.tell = tell;
        world.watch(watch);
        let base = scenario.weather.over(&Weather::default());
        world.weather = base.clone();
        let mut play = Self { world, zones: BTreeMap::new(), base, number: 0, lines: Vec::new(), well: true };
        let mut first_of = BTreeMap::new();
        let mut next = 1;
        for zone in &scenario.zone {
            first_of.insert(zone.name.clone(), next);
            let parent = zone.parent.as_ref().map(|parent| first_of[parent]);
            play.add(zone, next, parent);
            next += zone.replicas;
        }
        play
    }

    fn add(&mut self, zone: &ZoneSpec, first: u32, parent: Option<u32>) {
        for replica in 0..zone.replicas {
            let mut spec = Spec::new(&zone.name, first + replica);
            spec.name = format!("{}/{}", zone.name, replica + 1);
            spec = match zone.join {
                Join::First if replica > 0 => spec.join(first),
                Join::Chain if replica > 0 => spec.join(first + replica - 1),
                Join::All => {
                    (0..zone.replicas).filter(|other| *other != replica).fold(spec, |spec, n| spec.join(first + n))
                }
                Join::First | Join::Chain | Join::Nobody => spec,
            };
            spec = parent.map_or(spec.clone(), |parent| spec.parent(parent));
            let host = self.world.add(spec);
            self.zones.entry(zone.name.clone()).or_default().push(host);
            if replica < zone.running.unwrap_or(zone.replicas) {
                self.world.start(host);
            }
        }
    }

    fn run(&mut self, scenario: &Scenario) -> Result<(), String> {
        self.world.run_for(scenario.settle.0);
        let began = self.world.time();
        for (at, due) in timeline(scenario) {
            self.world.run_for((began + at).saturating_sub(self.world.time()));
            match due {
                Due::Act(act) => self.act(act)?,
                Due::Expect(expect) => self.expect(expect)?,
            }
        }
        self.world.run_for((began + scenario.calm.0).saturating_sub(self.world.time()));
        self.world.calm();
        self.world.weather = self.base.clone();
        for host in self.world.hosts() {
            self.start(host);
        }
        for expect in scenario.expect.iter().filter(|expect| expect.at.is_none()) {
            self.expect(&expect.what)?;
        }
        Ok(())
    }

    fn start(&mut self, host: HostId) {
        if self.world.node(host).is_none() {
            self.world.start(host);
        }
    }

    /// The hosts that a pattern names, in its order.
    fn who(&self, who: &Who) -> Result<Vec<HostId>, String> {
        let patterns = match who {
            Who::One(pattern) => std::slice::from_ref(pattern),
            Who::Several(patterns) => patterns,
        };
        let hosts = patterns.iter().map(|pattern| self.named(pattern));
        Ok(hosts.collect::<Result<Vec<_>, _>>()?.concat())
    }

    fn named(&self, pattern: &str) -> Result<Vec<HostId>, String> {
        if pattern == "*" {
            return Ok(self.world.hosts().collect());
        }
        if let Some(zone) = self.zones.get(pattern) {
            return Ok(zone.clone());
        }
        let nobody = || format!("no host `{pattern}`; write `zone/1`, `zone/2..4`, `zone` or `*`");
        let (zone, numbers) = pattern.rsplit_once('/').ok_or_else(nobody)?;
        let zone = self.zones.get(zone).ok_or_else(nobody)?;
        let (first, last) = numbers.split_once("..").unwrap_or((numbers, numbers));
        let (first, last) = (first.parse::<usize>(), last.parse::<usize>());
        let (Ok(first @ 1..), Ok(last)) = (first, last) else { return Err(nobody()) };
        zone.get(first - 1..last).map(<[HostId]>::to_vec).ok_or_else(nobody)
    }

    fn one(&self, pattern: &str) -> Result<HostId, String> {
        match self.named(pattern)?.as_slice() {
            [host] => Ok(*host),
            _ => Err(format!("`{pattern}` is not one host")),
        }
    }

    fn act(&mut self, act: &Act) -> Result<(), String> {
        match act {
            Act::Write { host, tools } => {
                let host = self.one(host)?;
                let tools = tools.iter().map(|both| {
                    let (server, original) = both.split_once('/').unwrap_or(("tools", both));
                    tool(server, original, &original.replace('_', " "))
                });
                let write = Write::Catalogue(tools.collect());
                self.world.write(host, write);
            }
            Act::Writes { hosts, count, pause } => {
                let hosts = self.who(hosts)?;
                for _ in 0..*count {
                    self.write_any(&hosts);
                    self.world.run_for(pause.0);
                }
            }
            Act::Remove { host, what } => {
                let host = self.one(host)?;
                self.world.write(host, Write::Remove(what.clone()));
            }
            Act::Ask { host, words: text } => {
                let host = self.one(host)?;
                self.world.ask(host, words(text), |terms| terms);
            }
            Act::Weather(weather) => self.world.weather = weather.over(&self.base),
            Act::Heal {} => self.world.heal(),
            Act::Partition { sides } => {
                let sides = sides.iter().map(|side| self.who(side)).collect::<Result<Vec<_>, _>>()?;
                for (at, one) in sides.iter().enumerate() {
                    self.world.partition(one, &sides[at + 1..].concat());
                }
            }
            Act::Cut { from, to } => self.world.cut_one_way(&self.who(from)?, &self.who(to)?),
            Act::Ring { hosts } => self.world.ring(&self.who(hosts)?),
            Act::Disconnect { between, and } => {
                for a in self.who(between)? {
                    self.who(and)?.into_iter().filter(|b| *b != a).for_each(|b| self.world.disconnect(a, b));
                }
            }
            Act::Slow { between, and, latency: (least, most) } => {
                self.world.slow(&self.who(between)?, &self.who(and)?, (least.0, most.0));
            }
            Act::Crash { hosts } => self.each(hosts, true, World::crash)?,
            Act::Leave { hosts } => self.each(hosts, true, World::leave)?,
            Act::Start { hosts } => self.each(hosts, false, World::start)?,
            Act::Lose { hosts } => self.each(hosts, true, World::lose)?,
            Act::Replace { hosts } => self.each(hosts, true, World::replace)?,
            Act::Backup { hosts } => self.each(hosts, true, World::backup)?,
            Act::Restore { hosts } => self.each(hosts, true, |world, host| {
                if world.restore_backup(host) {
                    world.start(host);
                }
            })?,
            Act::Pause { hosts, time } => self.each(hosts, true, |world, host| world.pause(host, time.0))?,
            Act::Cap { hosts, bytes_per_second } => {
                self.each(hosts, true, |world, host| world.cap(host, Some(*bytes_per_second)))?;
            }
            Act::Clock { hosts, ahead } => self.each(hosts, true, |world, host| world.set_clock(host, ahead.ms))?,
            Act::Drift { hosts, ppm } => self.each(hosts, true, |world, host| world.set_drift(host, *ppm))?,
        }
        Ok(())
    }

    /// Does something to each of these that runs, or does not.
    fn each(&mut self, who: &Who, runs: bool, mut act: impl FnMut(&mut World, HostId)) -> Result<(), String> {
        for host in self.who(who)? {
            if self.world.node(host).is_some() == runs {
                act(&mut self.world, host);
            }
        }
        Ok(())
    }

    fn write_any(&mut self, hosts: &[HostId]) {
        let at = usize::try_from(self.world.below(hosts.len() as u64)).unwrap_or(0);
        if let Some(host) = hosts.get(at).filter(|host| self.world.node(**host).is_some()) {
            self.number += 1;
            let original = format!("tool_{}", self.number);
            self.world.write(*host, Write::Catalogue(vec![tool("many", &original, "one of many tools")]));
        }
    }

    fn expect(&mut self, expect: &Expect) -> Result<(), String> {
        match expect {
            Expect::Converged { zone, within } => {
                let hosts = self.named(zone)?;
                let what = format!("zone {zone} has converged");
                self.look(what, within.0, |world| acquainted(world, &hosts) && equal(world, &hosts));
            }
            Expect::Equal { hosts, within } => {
                let hosts = self.who(hosts)?;
                let what = format!("{} hosts hold the same", hosts.len());
                self.look(what, within.0, |world| equal(world, &hosts));
            }
            Expect::Alive { hosts, members, within } => {
                let hosts = self.who(hosts)?;
                let what = format!("{} hosts see {members} others alive", hosts.len());
                self.look(what, within.0, |world| hosts.iter().all(|host| alive(world, *host) == *members));
            }
            Expect::Found { tool, from, within } => {
                let hosts = self.who(from)?;
                let what = format!("{tool} is found from {} hosts", hosts.len());
                self.look(what, within.0, |world| asked(world, &hosts, tool).iter().all(|found| *found == Some(true)));
            }
            Expect::NotFound { tool, from, within } => {
                let hosts = self.who(from)?;
                let what = format!("{tool} is denied to {} hosts", hosts.len());
                self.look(what, within.0, |world| asked(world, &hosts, tool).iter().all(|found| *found == Some(false)));
            }
        }
        Ok(())
    }

    /// Looks until it is true, or the time is over.
    fn look(&mut self, what: String, within: Duration, mut is_true: impl FnMut(&mut World) -> bool) {
        let began = self.world.time();
        let end = began + within;
        let mut well = is_true(&mut self.world);
        while !well && self.world.time() < end {
            self.world.run_for(LOOK.min(end - self.world.time()));
            well = is_true(&mut self.world);
        }
        self.well &= well;
        let took = (self.world.time() - began).as_secs_f64();
        let mut line = format!("{}  {what}", if well { "ok    " } else { "FAILED" });
        let _ = match (well, within.is_zero()) {
            (true, false) => write!(line, ", {took:.1} s of {within:?}"),
            (false, false) => write!(line, ", not within {within:?}"),
            (_, true) => Ok(()),
        };
        self.lines.push(line);
    }
}

/// Everything with a time, by time; at one time acts come first.
fn timeline(scenario: &Scenario) -> Vec<(Duration, Due<'_>)> {
    fn repeated<T>(step: &Step<T>) -> impl Iterator<Item = (Duration, &T)> {
        let first = step.at;
        (0..step.repeat).filter_map(move |number| Some((first? + step.every * number, &step.what)))
    }
    let acts = scenario.act.iter().flat_map(repeated).map(|(at, act)| (at, Due::Act(act)));
    let looks = scenario.expect.iter().flat_map(repeated).map(|(at, expect)| (at, Due::Expect(expect)));
    let mut all: Vec<(Duration, Due<'_>)> = acts.chain(looks).filter(|(at, _)| *at <= scenario.calm.0).collect();
    all.sort_by_key(|(at, _)| *at);
    all
}

fn alive(world: &World, host: HostId) -> usize {
    let members = world.view(host).map(|view| view.members.iter().filter(|member| member.state == "alive").count());
    members.unwrap_or(0)
}

/// Whether each of these hosts that run finds the tool; `None` where it cannot be said.
fn asked(world: &mut World, hosts: &[HostId], tool: &str) -> Vec<Option<bool>> {
    let running: Vec<HostId> = hosts.iter().copied().filter(|host| world.node(*host).is_some()).collect();
    let tokens: Vec<(HostId, u64)> =
        running.into_iter().map(|host| (host, world.ask(host, name(tool), |terms| terms))).collect();
    world.run_until(DEADLINE, |world| tokens.iter().all(|(host, token)| world.is_answered(*host, *token)));
    let found = tokens.into_iter().map(|(host, token)| {
        let answered = world.answer(host, token)?;
        match answered.names().iter().any(|name| name == tool) {
            true => Some(true),
            false => answered.silent().is_empty().then_some(false),
        }
    });
    found.collect()
}
