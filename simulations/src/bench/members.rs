//! T9: who is gone, and who is not.

use std::time::Duration;

use super::{Figure, Options, most, zone};
use crate::world::{Belief, HostId, World};

const NODES: u32 = 1000;
/// Crashes, one after the other.
const CRASHES: usize = 5;
/// Nobody waits longer until all know of one.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between what is measured in bad weather and what is measured in good.
const SETTLE: Duration = Duration::from_secs(10);
/// With 1000 nodes, a million node-seconds.
const WATCHED: Duration = Duration::from_secs(1000);

pub(super) fn all(options: &Options) -> Vec<Figure> {
    let (mut world, hosts) = zone(NODES, options.seed);
    let wrong = false_positives(&mut world, &hosts);
    world.weather.loss = 0;
    world.run_for(SETTLE);
    let mut figures = crashes(&mut world, &hosts);
    figures.push(wrong);
    figures
}

fn crashes(world: &mut World, hosts: &[HostId]) -> Vec<Figure> {
    let (mut first, mut all) = (Vec::new(), Vec::new());
    for number in 0..CRASHES {
        let gone = hosts[1 + number * 7];
        world.follow_belief(world.id(gone));
        world.crash(gone);
        let known = hosts.len() - 1 - number;
        let knows = |world: &World| world.belief().is_some_and(|belief| belief.times().len() >= known);
        let done = world.run_until_every(Duration::from_millis(50), PATIENCE, knows);
        let times = world.belief().map(Belief::times).unwrap_or_default();
        let seconds = |time: Option<&Duration>| time.map_or(f64::INFINITY, Duration::as_secs_f64);
        first.push(seconds(times.first()));
        all.push(done.map_or(f64::INFINITY, |_| seconds(times.last())));
    }
    vec![
        Figure::new("T9", format!("crash known to the first, worst of {CRASHES}, n = {NODES}"), most(first), "s")
            .at_most(4.0)
            .beside("foca 15.2"),
        Figure::new("T9", "crash known to all", most(all), "s").at_most(6.0).beside("foca 15.9"),
    ]
}

/// Nodes that were believed to be gone and were not.
fn false_positives(world: &mut World, hosts: &[HostId]) -> Figure {
    world.weather.loss = 50;
    world.run_for(WATCHED);
    let counts = |host: &HostId| world.view(*host).map(|view| view.counts.membership);
    let declared: u64 = hosts.iter().filter_map(counts).map(|counts| counts.declared).sum();
    let refuted: u64 = hosts.iter().filter_map(counts).map(|counts| counts.refuted).sum();
    Figure::new("T9", "believed down and alive, 10⁶ node-seconds at 5 % loss", declared as f64, "")
        .at_most(0.0)
        .beside(format!("{refuted} suspicions refuted"))
}
