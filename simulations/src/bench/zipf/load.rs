//! The federation, who asks how often for what, and what became of each question.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use aop_proto::params::TTL_L2;
use aop_proto::resolver::Source;

use crate::Answered;
use crate::scenario::server;
use crate::world::{HostId, Spec, Watch, World, name};

const MIDDLES: usize = 9;
const LEAVES: usize = 90;
const REPLICAS: usize = 3;
/// Tools of all leaves together.
const NAMES: usize = 10_000;
/// Leaves in which much is asked, and how often in one of them.
const BUSY: usize = 8;
const BUSY_RATE: f64 = 100.0;
/// Questions a second in each of the others.
const QUIET_RATE: f64 = 2.0;
/// Between two moments at which questions are asked.
const STEP: Duration = Duration::from_millis(10);
/// Between two cold questions.
const COLD_PAUSE: Duration = Duration::from_millis(20);

/// Zones in the order root, middles, leaves.
#[derive(Debug)]
pub(super) struct Tree {
    hosts: Vec<Vec<HostId>>,
    above: Vec<Option<usize>>,
    /// Full names, the most popular first, and the zone of each.
    names: Vec<(String, usize)>,
}

impl Tree {
    /// Zones that a question of one zone passes on its way to another, that one included.
    fn hops(&self, from: usize, to: usize) -> u32 {
        let up = |mut at: usize| {
            let mut way = vec![at];
            while let Some(above) = self.above[at] {
                way.push(above);
                at = above;
            }
            way
        };
        let (from, to) = (up(from), up(to));
        let shared = from.iter().rev().zip(to.iter().rev()).take_while(|(a, b)| a == b).count();
        (from.len() + to.len() - 2 * shared) as u32
    }
}

/// A federation that has formed, with its tools.
pub(super) fn federation(seed: u64, way: Duration) -> (World, Tree) {
    let mut world = World::new(seed);
    world.watch(Watch::Nothing);
    world.keep_disks = false;
    world.weather.latency = (way, way);
    let mut tree = Tree { hosts: Vec::new(), above: Vec::new(), names: Vec::new() };
    let zones: Vec<(String, Option<usize>)> = (0..=MIDDLES + LEAVES).map(zone).collect();
    let address = |zone: usize, replica: usize| (zone * REPLICAS + replica + 1) as u32;
    for (at, (label, above)) in zones.iter().enumerate() {
        let host = |replica: usize| {
            let spec = Spec::new(label, address(at, replica));
            let spec = if replica > 0 { spec.join(address(at, 0)) } else { spec };
            if let Some(above) = above { spec.parent(address(*above, replica)) } else { spec }
        };
        tree.hosts.push((0..REPLICAS).map(|replica| world.add(host(replica))).collect());
        tree.above.push(*above);
    }
    // Who founds a zone is there before its fellows, and a zone before those below it.
    for level in [0..1, 1..1 + MIDDLES, 1 + MIDDLES..zones.len()] {
        for replicas in [0..1, 1..REPLICAS] {
            for hosts in &tree.hosts[level.clone()] {
                hosts[replicas.clone()].iter().for_each(|host| world.start(*host));
            }
            world.run_for(Duration::from_secs(5));
        }
    }
    world.run_for(Duration::from_secs(10));
    for number in 0..NAMES {
        let zone = 1 + MIDDLES + world.below(LEAVES as u64) as usize;
        let host = tree.hosts[zone][number % REPLICAS];
        tree.names.push((format!("tool{number}.host{}.{}", host.0, zones[zone].0), zone));
    }
    let mut of_host: BTreeMap<usize, Vec<String>> = BTreeMap::new();
    for (number, (_, zone)) in tree.names.iter().enumerate() {
        of_host.entry(tree.hosts[*zone][number % REPLICAS].0).or_default().push(format!("tool{number}"));
    }
    for (host, tools) in of_host {
        let tools: Vec<(&str, &str)> = tools.iter().map(|tool| (tool.as_str(), "one of very many tools")).collect();
        world.write(HostId(host), server(&format!("host{host}"), &tools));
    }
    world.run_for(Duration::from_secs(20));
    (world, tree)
}

/// The name of a zone, and the one above it.
fn zone(at: usize) -> (String, Option<usize>) {
    match at {
        0 => (".".to_owned(), None),
        _ if at <= MIDDLES => (format!("m{at}"), Some(0)),
        _ => {
            let above = 1 + (at - 1) % MIDDLES;
            (format!("l{}.m{above}", at - MIDDLES), Some(above))
        }
    }
}

/// What became of one question.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    pub(super) hops: u32,
    pub(super) took: Duration,
    /// Nothing left the zone for it.
    pub(super) hit: bool,
    pub(super) age: Duration,
    pub(super) left: Duration,
    pub(super) busy: bool,
    /// Times that its zone asked for the same in one lifetime before.
    pub(super) asked_before: usize,
}

#[derive(Debug)]
struct Asked {
    host: HostId,
    token: u64,
    zone: usize,
    name: usize,
    asked_before: usize,
}

/// Questions by Zipf's law with exponent 1, and what became of them.
#[derive(Debug)]
pub(super) struct Load {
    pub(super) seen: Vec<Seen>,
    pub(super) failed: usize,
    /// Sums of the weights up to each name.
    sums: Vec<f64>,
    under_way: Vec<Asked>,
    owed: f64,
    ran: Duration,
    /// When each busy zone asked for each name within the last lifetime.
    past: BTreeMap<(usize, usize), VecDeque<Duration>>,
    /// Keys of busy zones that were asked so often, summed over the steps at which that was counted.
    popular: BTreeMap<usize, (f64, u32)>,
}

impl Load {
    pub(super) fn new(tree: &Tree) -> Self {
        let mut sum = 0.0;
        let sums = (1..=tree.names.len()).map(|rank| {
            sum += 1.0 / rank as f64;
            sum
        });
        Self {
            seen: Vec::new(),
            failed: 0,
            sums: sums.collect(),
            under_way: Vec::new(),
            owed: 0.0,
            ran: Duration::ZERO,
            past: BTreeMap::new(),
            popular: BTreeMap::new(),
        }
    }

    /// What was seen so far does not count.
    pub(super) fn forget(&mut self) {
        self.seen.clear();
        self.popular.clear();
        (self.failed, self.ran) = (0, Duration::ZERO);
    }

    /// Questions a second of one zone.
    pub(super) const fn rate(&self, busy: bool) -> f64 {
        if busy { BUSY_RATE } else { QUIET_RATE }
    }

    /// Hits of a zone that asks so often when every answer lives a whole lifetime: of each name, all but the first in it.
    pub(super) fn ideal(&self, rate: f64) -> f64 {
        let all = self.sums.last().copied().unwrap_or(1.0);
        let of = |rank: usize| {
            let share = 1.0 / rank as f64 / all;
            let asked = rate * share * TTL_L2.as_secs_f64();
            share * asked / (1.0 + asked)
        };
        (1..=self.sums.len()).map(of).sum()
    }

    /// Misses of one busy zone a second.
    pub(super) fn misses_a_second(&self) -> f64 {
        let misses = self.seen.iter().filter(|seen| seen.busy && !seen.hit).count();
        misses as f64 / self.ran.as_secs_f64() / BUSY as f64
    }

    /// The same when names asked that often are fetched once in a lifetime, and the others when they are asked for.
    pub(super) fn fetches(&self, least: usize) -> f64 {
        let rare = self.seen.iter().filter(|seen| seen.busy && !seen.hit && seen.asked_before < least).count();
        let (sum, times) = self.popular.get(&least).copied().unwrap_or_default();
        let kept = sum / f64::from(times.max(1)) / BUSY as f64;
        rare as f64 / self.ran.as_secs_f64() / BUSY as f64 + kept / TTL_L2.as_secs_f64()
    }

    /// Asks for so many names, each once, one after the other at nodes anywhere.
    pub(super) fn once_each(&mut self, world: &mut World, tree: &Tree, count: usize) {
        let from = tree.names.len() - count;
        for name in from..tree.names.len() {
            let zone = world.below(tree.hosts.len() as u64) as usize;
            self.ask(world, tree, zone, name);
            world.run_for(COLD_PAUSE);
            self.hear(world, tree);
        }
        self.finish(world, tree);
    }

    /// Goes on for so long.
    pub(super) fn run(&mut self, world: &mut World, tree: &Tree, time: Duration) {
        let first = 1 + MIDDLES;
        let quiet = (tree.hosts.len() - BUSY) as f64 * QUIET_RATE * STEP.as_secs_f64();
        let each = (BUSY_RATE * STEP.as_secs_f64()).round() as usize;
        let end = world.time() + time;
        let mut count_at = world.time();
        while world.time() < end {
            for zone in first..first + BUSY {
                for _ in 0..each {
                    let name = self.draw(world);
                    self.ask(world, tree, zone, name);
                }
            }
            self.owed += quiet;
            while self.owed >= 1.0 {
                self.owed -= 1.0;
                let at = world.below((tree.hosts.len() - BUSY) as u64) as usize;
                let zone = if at < first { at } else { at + BUSY };
                let name = self.draw(world);
                self.ask(world, tree, zone, name);
            }
            world.run_for(STEP);
            self.hear(world, tree);
            if world.time() >= count_at {
                count_at += TTL_L2 / 10;
                self.count_popular(world.time());
            }
        }
        self.ran += time;
        self.finish(world, tree);
    }

    fn draw(&self, world: &mut World) -> usize {
        const PARTS: u64 = 1 << 52;
        let all = self.sums.last().copied().unwrap_or(1.0);
        let wanted = world.below(PARTS) as f64 / PARTS as f64 * all;
        self.sums.partition_point(|sum| *sum <= wanted).min(self.sums.len() - 1)
    }

    fn ask(&mut self, world: &mut World, tree: &Tree, zone: usize, at: usize) {
        let host = tree.hosts[zone][world.below(REPLICAS as u64) as usize];
        let mut asked_before = 0;
        if is_busy(zone) {
            let past = self.past.entry((zone, at)).or_default();
            let oldest = world.time().saturating_sub(TTL_L2);
            while past.front().is_some_and(|then| *then < oldest) {
                past.pop_front();
            }
            asked_before = past.len();
            past.push_back(world.time());
        }
        let token = world.ask(host, name(&tree.names[at].0), |terms| terms);
        self.under_way.push(Asked { host, token, zone, name: at, asked_before });
    }

    fn hear(&mut self, world: &mut World, tree: &Tree) {
        for asked in std::mem::take(&mut self.under_way) {
            match world.answer(asked.host, asked.token) {
                Some(answered) => self.see(&asked, &answered, tree, world),
                None => self.under_way.push(asked),
            }
        }
    }

    fn see(&mut self, asked: &Asked, answered: &Answered, tree: &Tree, world: &World) {
        let (full, zone) = &tree.names[asked.name];
        let Some((source, checked)) = answered.outcome.answers.first().filter(|_| answered.names() == [full.clone()])
        else {
            self.failed += 1;
            return;
        };
        let (age, took) = (Duration::from_millis(checked.answer.age_ms), answered.took);
        // A fellow that had to ask itself was away for longer than one round trip. Who joined a question that was on its way cannot tell
        // by the time; what was asked only now is young.
        let round_trip = 2 * world.weather.latency.1;
        let at_fellow = *source == Source::L2 && took <= round_trip && age > 10 * round_trip;
        self.seen.push(Seen {
            hops: tree.hops(asked.zone, *zone),
            took,
            hit: *source == Source::Local || (*source == Source::L2 && took.is_zero()) || at_fellow,
            age,
            left: Duration::from_millis(checked.answer.ttl_ms),
            busy: is_busy(asked.zone),
            asked_before: asked.asked_before,
        });
    }

    /// Names asked so often in the last lifetime, in all busy zones.
    fn count_popular(&mut self, time: Duration) {
        let oldest = time.saturating_sub(TTL_L2);
        let counts: Vec<usize> =
            self.past.values().map(|past| past.len() - past.partition_point(|then| *then < oldest)).collect();
        for least in [2, 3, 5, 10] {
            let (sum, times) = self.popular.entry(least).or_default();
            *sum += counts.iter().filter(|count| **count >= least).count() as f64;
            *times += 1;
        }
    }

    fn finish(&mut self, world: &mut World, tree: &Tree) {
        world.run_for(crate::world::DEADLINE);
        self.hear(world, tree);
        self.failed += self.under_way.drain(..).count();
    }
}

const fn is_busy(zone: usize) -> bool {
    zone > MIDDLES && zone <= MIDDLES + BUSY
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hops_go_up_to_where_two_ways_meet_and_down_again() {
        let above = (0..=MIDDLES + LEAVES).map(|at| zone(at).1).collect();
        let tree = Tree { hosts: Vec::new(), above, names: Vec::new() };
        let leaf = |number: usize| MIDDLES + number;
        let (first, beside) = (leaf(1), leaf(1 + MIDDLES));
        assert_eq!(zone(beside).1, zone(first).1);
        let ways = [(first, first), (1, first), (0, first), (first, beside), (2, first), (first, leaf(2))];
        assert_eq!(ways.map(|(from, to)| tree.hops(from, to)), [0, 1, 2, 2, 3, 4]);
    }

    #[test]
    fn whole_lifetimes_answer_more_where_more_is_asked() {
        let names = (0..NAMES).map(|name| (name.to_string(), 0)).collect();
        let load = Load::new(&Tree { hosts: Vec::new(), above: Vec::new(), names });
        assert!(load.ideal(1.0) < load.ideal(10.0) && (0.84..0.86).contains(&load.ideal(100.0)));
    }
}
