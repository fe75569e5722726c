//! `[hop]`: a question that goes to another zone, uncached, over connections that stand, beside a bare QUIC request.
//!
//! Asked of the library: a chain of zones, each node with its own thread, endpoint, driver and store in memory, in one process, and no
//! door before it. The first zone is asked for names of the last, which is one, two or three hops away; only neighbours are connected.
//! The bare request is 1 KiB each way on a stream of its own, with the same library, cipher, windows and threads. Each visit is a
//! process of its own, pinned to one processor: between two of them the system's waking would be most of it.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::task::JoinSet;

use crate::Result;
use crate::arguments::Arguments;
use crate::process::threads_of;
use crate::rounds::{Contestant, play_cold};
use crate::sheet::{Bound, Column, Sample, Sheet};
use crate::{bare_quic, chain};

/// The hidden argument of a process that asks.
pub(crate) const HOP: &str = "hop";
/// The same of one that asks over bare QUIC; others say how many hops.
const BARE: &str = "0";
const DEPTHS: [usize; 3] = [1, 2, 3];
const OUTSTANDING: usize = 32;
/// Of a slice, that is asked before anything counts.
const WARM: f64 = 0.2;

const P50: &str = "p50_us";
const P99: &str = "p99_us";
const RATE: &str = "rate";
const CPU: &str = "cpu_us";
/// Row of the bare request; the second is the same again, and then come the depths.
const QUIC: usize = 0;
const FIRST: usize = 2;

pub(crate) fn measure(arguments: &Arguments) -> Result<Sheet> {
    let slice = arguments.slice;
    let mut contestants = vec![
        Contestant::new("bare QUIC, 1 KiB each way", move || pinned(BARE, slice)),
        Contestant::new("the same again (A/A)", move || pinned(BARE, slice)),
    ];
    for depth in DEPTHS {
        let name = format!("aop, a name {depth} hop{} away", if depth == 1 { "" } else { "s" });
        contestants.push(Contestant::new(name, move || pinned(&depth.to_string(), slice)));
    }
    let column = |key, title, digits, compared| Column { key, title, digits, compared };
    let mut sheet = Sheet {
        about: "an uncached question over connections that stand, on one processor".to_owned(),
        columns: vec![
            column(P50, "1 out: p50 µs", 1, true),
            column(P99, "p99 µs", 1, false),
            column(RATE, "32 out: /s", 0, true),
            column(CPU, "CPU µs", 1, true),
        ],
        rows: play_cold(HOP, arguments.rounds, contestants),
        ..Sheet::default()
    };
    let (p50, rate) = (sheet.ratio(FIRST, QUIC, P50), sheet.ratio(FIRST, QUIC, RATE));
    sheet.aim("one hop, p50 ÷ bare QUIC", p50, Bound::AtMost(1.3), Some(Bound::AtMost(1.15)));
    sheet.aim("one hop, 32 out, rate ÷ bare QUIC", rate, Bound::AtLeast(0.6), Some(Bound::AtLeast(0.8)));
    for (at, depth) in DEPTHS.iter().enumerate() {
        let by_hop = sheet.ratio(FIRST + at, QUIC, P50).map(|ratio| ratio / *depth as f64);
        let what = format!("hops: {depth}, p50 ÷ as many bare requests");
        sheet.aim(&what, by_hop, Bound::AtMost(1.4), Some(Bound::AtMost(1.2)));
    }
    let p99 = sheet.median(FIRST + DEPTHS.len() - 1, P99);
    sheet.aim("three hops, p99 µs", p99, Bound::AtMost(5000.0), Some(Bound::AtMost(1000.0)));
    Ok(sheet)
}

/// p50 of a bare request that is alone, µs.
///
/// # Errors
/// It comes to no end.
pub(crate) fn bare(slice: Duration) -> Result<f64> {
    pinned(BARE, slice)?.get(P50).copied().ok_or_else(|| "a figure is missing".into())
}

/// One visit, in a process that has one processor.
fn pinned(hops: &str, slice: Duration) -> Result<Sample> {
    let ran = Command::new("taskset")
        .args(["-c", "0"])
        .arg(std::env::current_exe()?)
        .args(["--floor", HOP, hops, &slice.as_secs_f64().to_string()])
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| format!("taskset: {error}"))?;
    let figures: serde_json::Value = serde_json::from_slice(&ran.stdout).map_err(|_| "it came to no end")?;
    let figure = |key: &'static str| Ok((key, figures[key].as_f64().ok_or("a figure is missing")?));
    [P50, P99, RATE, CPU].into_iter().map(figure).collect()
}

/// Somebody who can be asked many things at once.
pub(crate) trait Asked: Clone + Send + 'static {
    /// Asks once and checks the answer.
    fn ask(&self) -> impl Future<Output = Result<()>> + Send;
}

/// What a process does that was started to ask.
///
/// # Errors
/// It cannot, or an answer is wrong.
pub(crate) fn run(hops: &str, seconds: f64) -> Result<()> {
    let slice = Duration::from_secs_f64(seconds);
    if hops == BARE { bare_quic::run(slice) } else { chain::run(hops.parse()?, slice) }
}

/// Asks one thing after the other, then many at once, and prints what that showed.
///
/// # Errors
/// An answer is wrong.
pub(crate) async fn ask_and_tell(asked: impl Asked, slice: Duration) -> Result<()> {
    closed_loop(&asked, OUTSTANDING, slice.mul_f64(WARM)).await?;
    let mut alone = closed_loop(&asked, 1, slice / 2).await?;
    alone.sort_unstable();
    let (began, before) = (Instant::now(), own_time()?);
    let many = closed_loop(&asked, OUTSTANDING, slice / 2).await?.len() as f64;
    let (took, used) = (began.elapsed(), own_time()? - before);
    let within = |share: f64| {
        let at = (alone.len() as f64 * share).ceil() as usize;
        alone.get(at.max(1) - 1).copied().unwrap_or_default().as_secs_f64() * 1e6
    };
    let figures = json!({
        P50: within(0.5),
        P99: within(0.99),
        RATE: many / took.as_secs_f64(),
        CPU: used.as_secs_f64() * 1e6 / many,
    });
    println!("{figures}");
    Ok(())
}

async fn closed_loop(asked: &impl Asked, outstanding: usize, time: Duration) -> Result<Vec<Duration>> {
    let began = Instant::now();
    let mut asking = JoinSet::new();
    for _ in 0..outstanding {
        let asked = asked.clone();
        asking.spawn(async move {
            let mut times = Vec::new();
            while began.elapsed() < time {
                let at = Instant::now();
                asked.ask().await?;
                times.push(at.elapsed());
            }
            Result::Ok(times)
        });
    }
    let mut times = Vec::new();
    while let Some(own) = asking.join_next().await {
        times.extend(own??);
    }
    Ok(times)
}

fn own_time() -> Result<Duration> {
    Ok(Duration::from_nanos(threads_of("self")?.values().sum()))
}
