//! T4, T7 and T10: what grows with a zone, and how little: rounds, bytes when nothing happens, and time of one core of this machine.

use std::time::{Duration, Instant};

use super::spread::update;
use super::{Figure, Options, mean, most, zone};
use crate::world::{HANDSHAKE_BYTES, HostId, World};

/// Time in which nothing happens, for most sizes.
const QUIET: Duration = Duration::from_secs(60);
/// The same for large zones.
const QUIET_LARGE: Duration = Duration::from_secs(30);
/// Nodes of a large zone.
const LARGE: u32 = 4096;
/// A node begins an exchange at least so often: the round of T4.
const ROUND: Duration = Duration::from_millis(240);
/// Runs of T4.
const RUNS: u32 = 30;

/// A zone in which nothing happens.
struct Idle {
    nodes: u32,
    quiet: Duration,
    /// Bytes each node sends in a second.
    bytes: f64,
    /// Handshakes each node begins in a minute.
    handshakes: f64,
    /// Wall time.
    took: f64,
    events: u64,
    /// All memory of this process for each pair of nodes, where it is known.
    memory: Option<f64>,
}

pub(super) fn all(options: &Options) -> Vec<Figure> {
    let small = idle(&mut zone(100, options.seed).0, QUIET);
    let (middle, mut figures) = of_size(1000, QUIET, options);
    figures[0] = figures[0].clone().at_most(6.0).beside("bound 4; ideal push-pull 5.1, push only 8.2");
    let (large, more) = of_size(LARGE, QUIET_LARGE, options);
    figures.extend(more.into_iter().map(|f| f.at_most(7.0).beside("bound 5; ideal push-pull ≈ 6, push only ≈ 9.7")));
    let mut speeds = vec![speed(&middle).at_most(3.0), speed(&large).at_most(15.0)];
    if options.large {
        let (huge, more) = of_size(10_000, QUIET_LARGE, options);
        figures.extend(more.into_iter().map(|f| f.at_most(8.0).beside("bound 5; ideal push-pull 6.7, push only 10.6")));
        speeds.push(speed(&huge).at_most(30.0));
        let memory = Figure::new("T10", "memory of a pair, n = 10000", huge.memory.unwrap_or(f64::INFINITY), "B");
        speeds.push(memory.at_most(16.0));
    }
    figures.extend(bytes(&small, &middle, &large));
    figures.extend(speeds);
    figures.push(same_seed_same_trace(options));
    figures
}

fn of_size(nodes: u32, quiet: Duration, options: &Options) -> (Idle, Vec<Figure>) {
    let (mut world, hosts) = zone(nodes, options.seed);
    let idle = idle(&mut world, quiet);
    let figure = rounds(&mut world, &hosts);
    (idle, vec![figure])
}

fn idle(world: &mut World, quiet: Duration) -> Idle {
    let hosts: Vec<HostId> = world.hosts().collect();
    let handshakes = |world: &World| hosts.iter().map(|host| world.handshakes(*host)).sum::<u64>();
    let (bytes, shaken, events) = (world.traffic(|_| true).bytes, handshakes(world), world.trace().events());
    let began = Instant::now();
    world.run_for(quiet);
    let took = began.elapsed().as_secs_f64();
    let nodes = hosts.len() as f64;
    let each = 1.0 / nodes / quiet.as_secs_f64();
    Idle {
        nodes: hosts.len() as u32,
        quiet,
        bytes: (world.traffic(|_| true).bytes - bytes) as f64 * each,
        handshakes: (handshakes(world) - shaken) as f64 * each * 60.0,
        took,
        events: world.trace().events() - events,
        memory: resident().map(|bytes| bytes as f64 / nodes / nodes),
    }
}

fn bytes(small: &Idle, middle: &Idle, large: &Idle) -> [Figure; 3] {
    let handshakes = middle.handshakes * HANDSHAKE_BYTES as f64 / 60.0;
    [
        Figure::new("T7", "idle bytes per node and second, n = 1000", middle.bytes, "B")
            .at_most(1000.0)
            .beside("chitchat 306 KB per interval"),
        Figure::new("T7", "the same at n = 4096 for those at n = 100", large.bytes / small.bytes, "×")
            .at_most(1.5)
            .beside(format!("{:.0} B and {:.0} B", large.bytes, small.bytes)),
        Figure::new("T7", "handshakes per node and minute, n = 1000", middle.handshakes, "")
            .beside(format!("charged apart: {handshakes:.0} B/s at {HANDSHAKE_BYTES} B each")),
    ]
}

fn speed(idle: &Idle) -> Figure {
    let each = idle.took * 1e6 / idle.events.max(1) as f64;
    // What smaller worlds left behind would weigh too much in a small one.
    let memory = idle.memory.filter(|_| idle.nodes >= LARGE);
    let memory = memory.map_or_else(String::new, |memory| format!(", {memory:.0} B of memory a pair, all in"));
    Figure::new("T10", format!("{} idle nodes for {} s, one core", idle.nodes, idle.quiet.as_secs()), idle.took, "s")
        .beside(format!("{} events, {each:.2} µs each{memory}", idle.events))
}

fn same_seed_same_trace(options: &Options) -> Figure {
    let traces = [(); 2].map(|()| zone(100, options.seed).0.trace());
    let differing = f64::from(u8::from(traces[0] != traces[1]));
    let shown = format!("{:016x}", traces[0].hash());
    Figure::new("T10", "traces of one seed that differ, of 2", differing, "").at_most(0.0).beside(shown)
}

/// Rounds until all hold an update, at zero latency.
fn rounds(world: &mut World, hosts: &[HostId]) -> Figure {
    world.weather.sync = (Duration::ZERO, Duration::ZERO);
    world.go_in_rounds(Some(ROUND));
    let began = world.time();
    let round = |time: Duration| (time - began).div_duration_f64(ROUND).floor();
    let runs = (0..RUNS).map(|number| {
        // Each run begins with a round.
        world.run_for(ROUND.mul_f64(round(world.time()) + 1.0) + began - world.time());
        let start = round(world.time());
        let spread = update(world, hosts, number);
        spread.all.map_or(f64::INFINITY, |_| round(world.time()) - start)
    });
    let runs: Vec<f64> = runs.collect();
    let worst = most(runs.iter().copied());
    let what = format!("rounds to all at zero latency, n = {}, mean of {RUNS} (worst {worst:.0})", hosts.len());
    Figure::new("T4", what, mean(runs), "")
}

/// Bytes of memory this process has, where the system says so.
fn resident() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = text.split_whitespace().nth(1)?.parse().ok()?;
    Some(pages * 4096)
}
