//! `cargo sim`: one scenario of replicas, its figures on stdout.
//!
//! ```text
//!  cargo sim run --nodes 64 --loss 0.1 --updates 200 --seed 7
//!  cargo sim swarm --seconds 60 --seed 1        storms of one seed after the other; a failing seed is the last line
//!  cargo sim swarm --count 1 --seed 4711        one of them again, told as it goes
//! ```
//!
//! The same arguments give the same figures, trace hash included, on every machine; only the wall time differs.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use aop_proto::params::GOSSIP_INTERVAL;
use aop_simulations::World;
use aop_simulations::scenario::{acquainted, equal, replicas, updates};
use aop_simulations::storm::storm;

const USAGE: &str = "usage: cargo sim run [--nodes N] [--loss SHARE] [--updates N] [--pause MS] [--seed N]
       cargo sim swarm [--seconds N] [--seed N] [--count N]";

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
    let Some(command) = parse(&arguments) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let went_well = match command {
        Command::Run(run) => simulate(&run),
        Command::Swarm { time, seed, count } => swarm(time, seed, count),
    };
    if went_well { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

enum Command {
    Run(Run),
    Swarm { time: Duration, seed: u64, count: u64 },
}

fn parse(arguments: &[String]) -> Option<Command> {
    let (command, options) = arguments.split_first()?;
    match command.as_str() {
        "run" => parse_run(options).map(Command::Run),
        "swarm" => parse_swarm(options),
        _ => None,
    }
}

fn parse_swarm(options: &[String]) -> Option<Command> {
    let (mut time, mut seed, mut count) = (Duration::from_secs(60), 1, u64::MAX);
    for option in options.chunks(2) {
        match (option[0].as_str(), option.get(1)?) {
            ("--seconds", value) => time = Duration::from_secs(value.parse().ok()?),
            ("--seed", value) => seed = value.parse().ok()?,
            ("--count", value) => count = value.parse().ok()?,
            _ => return None,
        }
    }
    Some(Command::Swarm { time, seed, count })
}

/// Storms until the time is over or one ends badly.
fn swarm(time: Duration, first: u64, count: u64) -> bool {
    let began = Instant::now();
    let mut seed = first;
    while began.elapsed() < time && seed - first < count {
        // A violated check ends the process in the middle of it: the seed stands on the line before.
        println!("storm {seed}");
        if let Err(what) = storm(seed, count == 1) {
            println!("{what}\nfailed: seed {seed}");
            return false;
        }
        seed += 1;
    }
    println!("{} storms, all well", seed - first);
    true
}

fn parse_run(options: &[String]) -> Option<Run> {
    let mut run = Run { nodes: 64, loss: 0.0, updates: 200, pause: Duration::from_millis(10), seed: 1 };
    for option in options.chunks(2) {
        let value = option.get(1)?;
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
    let joined = world.traffic(|_| true);
    world.weather.drop = (run.loss * 1000.0).round() as u64;
    world.weather.loss = world.weather.drop;
    updates(&mut world, &hosts, run.updates, run.pause);
    world.run_for(Duration::from_millis(20));
    world.weather.drop = 0;
    world.weather.loss = 0;
    let equal = world.run_until(limit, |world| equal(world, &hosts));
    let spread = world.traffic(|_| true);
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
