//! `cargo sim`: one scenario of replicas, its figures on stdout.
//!
//! ```text
//!  cargo sim run --nodes 64 --loss 0.1 --updates 200 --seed 7
//! ```
//!
//! The same arguments give the same figures, trace hash included, on every machine; only the wall time differs.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use aop_proto::params::GOSSIP_INTERVAL;
use aop_simulations::World;
use aop_simulations::scenario::{acquainted, equal, replicas, updates};

const USAGE: &str = "usage: cargo sim run [--nodes N] [--loss SHARE] [--updates N] [--pause MS] [--seed N]";

/// What one run is made of.
struct Run {
    nodes: u32,
    /// Share of messages that vanish, and of datagrams that have to be sent again, while the updates are made.
    loss: f64,
    updates: u32,
    pause: Duration,
    seed: u64,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some(run) = parse(&arguments) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    if simulate(&run) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn parse(arguments: &[String]) -> Option<Run> {
    let mut run = Run { nodes: 64, loss: 0.0, updates: 200, pause: Duration::from_millis(10), seed: 1 };
    let (command, options) = arguments.split_first()?;
    if command != "run" || options.len() % 2 != 0 {
        return None;
    }
    for option in options.chunks(2) {
        let value = &option[1];
        match option[0].as_str() {
            "--nodes" => run.nodes = value.parse().ok().filter(|nodes| (1..=100_000).contains(nodes))?,
            "--loss" => run.loss = value.parse().ok().filter(|loss| (0.0..1.0).contains(loss))?,
            "--updates" => run.updates = value.parse().ok()?,
            "--pause" => run.pause = Duration::from_millis(value.parse().ok()?),
            "--seed" => run.seed = value.parse().ok()?,
            _ => return None,
        }
    }
    Some(run)
}

/// Everybody meets, updates are made under loss, faults stop, and the clock runs until all hold the same.
fn simulate(run: &Run) -> bool {
    let began = Instant::now();
    let mut world = World::new(run.seed);
    let hosts = replicas(&mut world, "bench", 1, run.nodes);
    let limit = Duration::from_secs(600);
    let Some(met) = world.run_until(limit, |world| acquainted(world, &hosts)) else {
        println!("not acquainted after {limit:?}");
        return false;
    };
    let joined = world.traffic_where(|_, _, _| true);
    world.weather.drop = (run.loss * 1000.0).round() as u64;
    world.weather.loss = world.weather.drop;
    updates(&mut world, &hosts, run.updates, run.pause);
    world.run_for(Duration::from_millis(20));
    world.weather.drop = 0;
    world.weather.loss = 0;
    let equal = world.run_until(limit, |world| equal(world, &hosts));
    let spread = world.traffic_where(|_, _, _| true);
    let nodes = u64::from(run.nodes);
    println!("nodes        {:>12}   loss {}   updates {}   seed {}", run.nodes, run.loss, run.updates, run.seed);
    println!("acquainted   {:>12.3} s", met.as_secs_f64());
    match equal {
        Some(took) => {
            let rounds = took.as_secs_f64() / GOSSIP_INTERVAL.as_secs_f64();
            println!("equal        {:>12.3} s after the last loss, {rounds:.1} rounds", took.as_secs_f64());
        }
        None => println!("equal        not within {limit:?}"),
    }
    println!("to meet      {:>12} messages per node, {} bytes", joined.messages / nodes, joined.bytes / nodes);
    println!(
        "to spread    {:>12} messages per node, {} bytes",
        (spread.messages - joined.messages) / nodes,
        (spread.bytes - joined.bytes) / nodes
    );
    println!("trace        {:016x} over {} events", world.trace().hash(), world.trace().events());
    println!("simulated    {:>12.3} s in {:.1} s", world.time().as_secs_f64(), began.elapsed().as_secs_f64());
    equal.is_some()
}
