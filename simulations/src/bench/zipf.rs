//! Z1–Z5: a federation of a hundred zones in which some tools are asked for all the time and most hardly ever (Zipf's law).
//!
//! ```text
//!  .            3 nodes
//!  m1 … m9      3 each          every way 15 ms, so that a hop costs 30
//!  l1 … l90     3 each          the tools are here
//! ```
//!
//! A name is *cold* when nobody has asked for it yet: what it costs then is known beforehand, the zones on the way there times a round
//! trip (AOP paper eq. 10). A question is a *hit* when it sends nothing out of its node's own zone: its own tools, what this node keeps
//! (L2), what the fellow keeps that owns the question. What a door keeps (L1) lies outside of the simulator.

mod load;

use std::collections::BTreeMap;
use std::time::Duration;

use aop_proto::params::TTL_L2;
use load::{Load, Seen, Tree};

use super::{Figure, Options, ms};
use crate::world::World;

/// One way.
const WAY: Duration = Duration::from_millis(15);
/// Looking up and checking, everywhere together (L_cache).
const MARGIN: Duration = Duration::from_millis(5);
/// What the paper says of any question.
const ALL_MAX: f64 = 100.0;
/// The same of what leaves the zone, per cent: 85 hits of 100.
const MISSES_MAX: f64 = 15.0;
/// Names that are asked for once, before the load begins.
const COLD: usize = 2_000;
/// One lifetime until it is steady, one that is measured.
const WARM: Duration = Duration::from_secs(300);
const MEASURED: Duration = Duration::from_secs(300);

pub(super) fn all(options: &Options) -> Vec<Figure> {
    let (mut world, tree) = load::federation(options.seed + 30, WAY);
    let mut figures = cold(&mut world, &tree);
    let mut load = Load::new(&tree);
    load.run(&mut world, &tree, WARM);
    load.forget();
    load.run(&mut world, &tree, MEASURED);
    figures.extend(steady(&load));
    figures
}

/// The middle and the worst of a hundred, and whatever lies between.
fn part(times: &[Duration], per_cent: usize) -> Option<Duration> {
    times.get((times.len() * per_cent).div_ceil(100).max(1) - 1).copied()
}

fn of(times: impl Iterator<Item = Duration>) -> Vec<Duration> {
    let mut times: Vec<Duration> = times.collect();
    times.sort_unstable();
    times
}

/// Every name once, at a node somewhere.
fn cold(world: &mut World, tree: &Tree) -> Vec<Figure> {
    let mut load = Load::new(tree);
    load.once_each(world, tree, COLD);
    let hops: BTreeMap<u32, Vec<&Seen>> = load.seen.iter().fold(BTreeMap::new(), |mut hops, seen| {
        hops.entry(seen.hops).or_insert_with(Vec::new).push(seen);
        hops
    });
    let mut figures = Vec::new();
    for (hops, seen) in hops.into_iter().filter(|(hops, _)| *hops > 0) {
        let times = of(seen.iter().map(|seen| seen.took));
        let rtt = 2 * WAY;
        let extra = |more: u32| {
            let least = rtt * (hops + more);
            let here = times.iter().filter(|took| **took >= least && **took < least + rtt).count();
            format!("{:.0}", 100.0 * here as f64 / times.len() as f64)
        };
        let shares: Vec<String> = (0..4).map(extra).collect();
        let most = ms(Some(rtt * hops + MARGIN));
        let what = format!("a cold name, {hops} hops of 30 ms: median of {}", times.len());
        figures.push(
            Figure::new("Z1", what, ms(part(&times, 50)), "ms")
                .at_most(most)
                .beside(format!("0, 1, 2, 3 round trips more: {} %", shares.join(", "))),
        );
        figures.push(
            Figure::new("Z1", "the same, 99 of 100", ms(part(&times, 99)), "ms").beside(format!("{most:.0} is direct")),
        );
    }
    let times = of(load.seen.iter().map(|seen| seen.took));
    figures.push(
        Figure::new("Z2", "any cold name: 99 of 100", ms(part(&times, 99)), "ms")
            .at_most(ALL_MAX)
            .beside(format!("mean {:.0} ms", super::mean(times.iter().map(|took| took.as_secs_f64() * 1e3)))),
    );
    figures
}

/// The load, once it is steady.
fn steady(load: &Load) -> Vec<Figure> {
    let times = of(load.seen.iter().map(|seen| seen.took));
    let median = ms(part(&times, 50));
    let mut figures = vec![
        Figure::new("Z2", format!("under load, all {} questions: 99 of 100", times.len()), ms(part(&times, 99)), "ms")
            .at_most(ALL_MAX)
            .beside(format!("median {median:.0} ms")),
    ];
    for busy in [true, false] {
        let seen: Vec<&Seen> = load.seen.iter().filter(|seen| seen.busy == busy).collect();
        let share =
            |of: &dyn Fn(&Seen) -> bool| 100.0 * seen.iter().filter(|seen| of(seen)).count() as f64 / seen.len() as f64;
        let rate = load.rate(busy);
        let ideal = 100.0 * (1.0 - load.ideal(rate));
        let figure = Figure::new(
            "Z3",
            format!("left their zone, of {} where {rate:.0} are asked a second", seen.len()),
            share(&|seen| !seen.hit),
            "%",
        );
        let figure = if busy { figure.at_most(MISSES_MAX) } else { figure };
        let lives = seen.iter().filter(|seen| !seen.hit).map(|seen| seen.left.min(TTL_L2).as_secs_f64());
        let life = super::mean(lives);
        let short = share(&|seen| !seen.hit && seen.left < TTL_L2) / share(&|seen| !seen.hit);
        figures.push(figure.beside(format!(
            "own {:.1} %, here {:.1} %, at a fellow {:.1} %; {:.0} % of what left came back from a cache, to live {life:.0} s in the mean of \
             all; with 300 s it would be {ideal:.1} %",
            share(&|seen| seen.hops == 0),
            share(&|seen| seen.hit && seen.hops > 0 && seen.took.is_zero()),
            share(&|seen| seen.hit && seen.hops > 0 && !seen.took.is_zero()),
            100.0 * short,
        )));
        if busy {
            figures.extend([2, 3, 5, 10].into_iter().map(|least| {
                let popular = share(&|seen| !seen.hit && seen.asked_before >= least);
                Figure::new(
                    "Z5",
                    format!("the same, if what was asked {least} times in 300 s were kept fresh"),
                    share(&|seen| !seen.hit) - popular,
                    "%",
                )
                .beside(format!(
                    "{:.1} fetches a second and zone, now {:.1}",
                    load.fetches(least),
                    load.misses_a_second()
                ))
            }));
        }
    }
    let oldest = load.seen.iter().map(|seen| seen.age).max();
    figures.push(
        Figure::new("Z4", "oldest answer", oldest.map_or(f64::INFINITY, |age| age.as_secs_f64()), "s")
            .at_most(301.0)
            .beside("L2 keeps for 300 s what was a round trip or some old when it came"),
    );
    let beyond = load.seen.iter().filter(|seen| seen.age + seen.left > Duration::from_secs(900)).count();
    figures.push(
        Figure::new("Z4", "answers older than their stated lifetime leaves them", beyond as f64, "").at_most(0.0),
    );
    let failed = load.failed;
    figures.push(Figure::new("Z4", "questions that did not find their tool", failed as f64, "").at_most(0.0));
    figures
}
