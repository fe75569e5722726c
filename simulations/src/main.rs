//! `cargo sim`: scenarios from files, storms of random faults, the table of figures.
//!
//! The same arguments give the same run, trace hash included, on every machine; only the wall time differs.

use std::io::{IsTerminal, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use aop_simulations::bench::{self, curve};
use aop_simulations::scenario::file::Scenario;
use aop_simulations::scenario::run::play;
use aop_simulations::storm::shrink::shrink;
use aop_simulations::storm::swarm::{Failure, Swarm};
use aop_simulations::storm::{FAULTS, Fault, Plan};
use aop_simulations::world::{Tell, Watch};
use clap::{Args, Parser, Subcommand, ValueEnum};

/// Nodes of the protocol by the thousand, in virtual time, from one seed.
#[derive(Parser)]
#[command(name = "cargo sim", bin_name = "cargo sim", after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "Examples:
  cargo sim run simulations/scenarios/partition.toml --seed 7
  cargo sim run simulations/scenarios/old-backup.toml --trace
  cargo sim swarm --minutes 10 --jobs 2
  cargo sim swarm --seed 4711 --count 1 --trace
  cargo sim bench --json
  cargo sim curve --nodes 1000 --loss 0.1 --svg curve.svg";

#[derive(Subcommand)]
enum Command {
    /// Play scenarios from files.
    Run(Run),
    /// Play storms of random faults until the time is over or one ends badly.
    Swarm(SwarmArgs),
    /// Measure the table of figures.
    Bench(Bench),
    /// Show how updates spread, as numbers or as a drawing.
    Curve(Curve),
}

#[derive(Args)]
struct Run {
    /// The scenarios.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Of everything that is drawn; the same seed is the same run.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    #[command(flatten)]
    told: Told,
    /// What is checked on the way; the run is the same.
    #[arg(long, value_enum, default_value = "everything")]
    watch: WatchLevel,
}

#[derive(Args)]
struct Told {
    /// Tell what happens, one line an event; `--trace=frames` tells of every message too.
    #[arg(long, value_enum, num_args = 0..=1, require_equals = true, default_missing_value = "events")]
    trace: Option<TraceLevel>,
}

#[derive(Clone, Copy, ValueEnum)]
enum TraceLevel {
    Events,
    Frames,
}

#[derive(Clone, Copy, ValueEnum)]
enum WatchLevel {
    Everything,
    Digests,
    Nothing,
}

impl Told {
    const fn tell(&self) -> Tell {
        match self.trace {
            None => Tell::Nothing,
            Some(TraceLevel::Events) => Tell::Events,
            Some(TraceLevel::Frames) => Tell::Frames,
        }
    }
}

#[derive(Args)]
struct SwarmArgs {
    /// No storm begins after so many minutes.
    #[arg(long, default_value_t = 1.0)]
    minutes: f64,
    /// The first seed, each storm has the next; from the clock when it is not said.
    #[arg(long)]
    seed: Option<u64>,
    /// No more storms than these.
    #[arg(long, default_value_t = u64::MAX, hide_default_value = true)]
    count: u64,
    /// Storms at once.
    #[arg(long, default_value_t = 1)]
    jobs: usize,
    /// Drop what does not matter from a storm that ends badly.
    #[arg(long)]
    shrink: bool,
    /// Only these faults, `crash,pause`, `none` or `all`, instead of those the seed draws.
    #[arg(long)]
    faults: Option<String>,
    /// Only these events, by number, or `none`.
    #[arg(long)]
    events: Option<String>,
    /// Print which branches were taken, and how often.
    #[arg(long)]
    coverage: bool,
    #[command(flatten)]
    told: Told,
}

#[derive(Args)]
struct Bench {
    /// As JSON, for machines.
    #[arg(long)]
    json: bool,
    /// The seed of the first run.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Worlds of ten thousand nodes as well.
    #[arg(long)]
    large: bool,
    /// Only these figures, T1 to T10 and Z1 to Z5, or a letter for all of its figures.
    only: Vec<String>,
}

#[derive(Args)]
struct Curve {
    /// Nodes of the zone.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(2..=10_000))]
    nodes: u32,
    /// Updates, one after the other.
    #[arg(long, default_value_t = 20)]
    updates: u32,
    /// Share of messages that are lost for good, `0.1`.
    #[arg(long, default_value_t = 0.0)]
    loss: f64,
    /// Links of 10 to 80 ms instead of 0.5 to 2 ms.
    #[arg(long)]
    wan: bool,
    /// Of everything that is drawn by chance.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Draw it to this file.
    #[arg(long)]
    svg: Option<PathBuf>,
}

fn main() -> ExitCode {
    let went_well = match Cli::parse().command {
        Command::Run(run) => run.files.iter().try_fold(true, |well, file| Ok(simulate(file, &run)? && well)),
        Command::Swarm(arguments) => swarm(&arguments),
        Command::Curve(curve) => draw(&curve),
        Command::Bench(Bench { json, seed, large, only }) => {
            Ok(bench::run(&bench::Options { json, seed, large, only }))
        }
    };
    match went_well {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(what) => {
            eprintln!("error: {what}");
            ExitCode::from(2)
        }
    }
}

/// Plays one scenario and prints what came of it.
fn simulate(file: &Path, run: &Run) -> Result<bool, String> {
    let shown = file.display();
    let text = std::fs::read_to_string(file).map_err(|error| format!("{shown}: {error}"))?;
    let scenario = Scenario::read(&text).map_err(|error| format!("{shown}: {error}"))?;
    let watch = match run.watch {
        WatchLevel::Everything => Watch::Everything,
        WatchLevel::Digests => Watch::Digests,
        WatchLevel::Nothing => Watch::Nothing,
    };
    let replay = format!("cargo sim run {shown} --seed {}", run.seed);
    println!("{}\n{replay}", scenario.about);
    let began = Instant::now();
    let played = std::panic::catch_unwind(|| play(&scenario, run.seed, run.told.tell(), watch));
    let Ok(played) = played else {
        println!("failed; again: {replay} --trace");
        return Ok(false);
    };
    let report = played.map_err(|error| format!("{shown}: {error}"))?;
    report.lines.iter().for_each(|line| println!("  {line}"));
    let (world, trace) = (&report.world, report.world.trace());
    let (sent, handshakes) = (world.traffic(|_| true), world.hosts().map(|host| world.handshakes(host)).sum::<u64>());
    println!(
        "  {} hosts, {:.1} s in {:.2} s, {} events, {} messages of {} bytes, {handshakes} handshakes",
        world.hosts().count(),
        world.time().as_secs_f64(),
        began.elapsed().as_secs_f64(),
        trace.events(),
        sent.messages,
        sent.bytes,
    );
    println!("  trace {:016x}", trace.hash());
    if !report.well {
        println!("failed; again: {replay} --trace");
    }
    Ok(report.well)
}

/// Shows how updates spread.
fn draw(&Curve { nodes, updates, loss, wan, seed, ref svg }: &Curve) -> Result<bool, String> {
    if !(0.0..=0.9).contains(&loss) {
        return Err(format!("{loss} is no share of messages to lose"));
    }
    let curves = curve::curves(curve::Options { nodes, updates, loss, wan, seed });
    print!("{}", curves.table());
    if let Some(file) = svg {
        std::fs::write(file, curves.svg()).map_err(|error| format!("{}: {error}", file.display()))?;
        println!("drawn to {}", file.display());
    }
    Ok(true)
}

/// Storms until the time is over or one ends badly.
fn swarm(arguments: &SwarmArgs) -> Result<bool, String> {
    if !(0.0..=1e6).contains(&arguments.minutes) {
        return Err(format!("{} minutes are no time", arguments.minutes));
    }
    let swarm = Swarm {
        seed: arguments.seed.unwrap_or_else(fresh_seed),
        count: arguments.count,
        time: Duration::from_secs_f64(arguments.minutes * 60.0),
        jobs: arguments.jobs,
        faults: arguments.faults.as_deref().map(faults).transpose()?,
        events: arguments.events.as_deref().map(events).transpose()?,
        tell: arguments.told.tell(),
    };
    println!("storms from seed {}", swarm.seed);
    // What is never true is told with the seed, not where it was found.
    std::panic::set_hook(Box::new(|_| {}));
    let began = Instant::now();
    let bar = std::io::stderr().is_terminal() && swarm.tell == Tell::Nothing;
    let tally = swarm.run(|storms| {
        if bar {
            let left = swarm.time.saturating_sub(began.elapsed()).as_secs();
            eprint!("\r\x1b[K{storms} storms, {left} s left");
            let _ = std::io::stderr().flush();
        }
    });
    if bar {
        eprint!("\r\x1b[K");
    }
    if arguments.coverage {
        print!("{}", tally.coverage);
    }
    let Some(failure) = tally.failure else {
        println!(
            "{} storms of {} events in {:.1} s, all well",
            tally.storms,
            tally.events,
            began.elapsed().as_secs_f64()
        );
        return Ok(true);
    };
    let Failure { plan, what } = &failure;
    println!("{what}\nseed {} ended badly; again: cargo sim swarm {} --trace", plan.seed, plan.arguments());
    if arguments.shrink {
        let least = shrink(plan, |plan| failure.is_of(plan), |plan| eprintln!("  {}", size(plan)));
        println!("the least of it, {}: cargo sim swarm {} --trace", size(&least), least.arguments());
    }
    Ok(false)
}

fn size(plan: &Plan) -> String {
    format!("{} kinds of faults, {} events", plan.faults.len(), plan.events.len())
}

/// A seed nobody has used, short enough to be read aloud.
fn fresh_seed() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    now.as_millis() as u64 % 1_000_000_000
}

fn faults(text: &str) -> Result<Vec<Fault>, String> {
    match text {
        "none" => Ok(Vec::new()),
        "all" => Ok(FAULTS.to_vec()),
        _ => text.split(',').map(|name| Fault::named(name).ok_or_else(|| unknown_fault(name))).collect(),
    }
}

fn unknown_fault(name: &str) -> String {
    let known: Vec<&str> = FAULTS.iter().map(|fault| fault.name()).collect();
    format!("no fault `{name}`; known are {}", known.join(", "))
}

fn events(text: &str) -> Result<Vec<u32>, String> {
    if text == "none" {
        return Ok(Vec::new());
    }
    text.split(',').map(|number| number.parse().map_err(|_| format!("`{number}` is no event's number"))).collect()
}
