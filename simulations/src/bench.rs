//! `cargo sim bench`: the table of figures, each beside what is to be reached and what it stands beside.
//!
//! Everything but T10 is measured in virtual time and is the same on every machine; the seed decides it.

pub mod curve;
mod members;
mod partition;
mod sizes;
mod spread;
mod zipf;

use std::fmt::Write as _;
use std::io::{IsTerminal, Write as _};
use std::time::{Duration, Instant};

use crate::world::{FORMED_ZONE, HostId, Watch, World};

/// What is measured, and how it is told.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// As JSON, for machines.
    pub json: bool,
    /// The seed of the first run.
    pub seed: u64,
    /// Worlds of ten thousand nodes as well.
    pub large: bool,
    /// Only these figures, `T1` to `T10` and `Z1` to `Z5`, or `Z` for all of that letter; empty for all.
    pub only: Vec<String>,
}

/// One figure.
#[derive(Clone, Debug)]
pub struct Figure {
    /// `T1` to `T10`, `Z1` to `Z5`.
    number: &'static str,
    what: String,
    measured: f64,
    /// Not more than this; `None` where it is only reported.
    most: Option<f64>,
    unit: &'static str,
    beside: String,
}

impl Figure {
    fn new(number: &'static str, what: impl Into<String>, measured: f64, unit: &'static str) -> Self {
        Self { number, what: what.into(), measured, most: None, unit, beside: String::new() }
    }

    const fn at_most(mut self, most: f64) -> Self {
        self.most = Some(most);
        self
    }

    fn beside(mut self, beside: impl Into<String>) -> Self {
        self.beside = beside.into();
        self
    }

    /// Whether it was reached. What could not be measured was not.
    fn holds(&self) -> bool {
        self.most.is_none_or(|most| self.measured <= most)
    }

    fn line(&self) -> String {
        let most = self.most.map_or_else(String::new, |most| format!("≤ {}", short(most)));
        let verdict = if self.most.is_none() {
            ""
        } else if self.holds() {
            "ok"
        } else {
            "MISSED"
        };
        let measured = format!("{} {}", short(self.measured), self.unit);
        format!("{:<4} {:<58} {measured:>14} {most:>9}  {verdict:<6} {}", self.number, self.what, self.beside)
    }

    fn json(&self) -> String {
        let number = |number: f64| if number.is_finite() { format!("{number:.6}") } else { "null".to_owned() };
        format!(
            r#"{{"figure":{:?},"what":{:?},"measured":{},"unit":{:?},"most":{},"holds":{},"beside":{:?}}}"#,
            self.number,
            self.what,
            number(self.measured),
            self.unit,
            self.most.map_or_else(|| "null".to_owned(), number),
            self.holds(),
            self.beside
        )
    }
}

/// Three digits that say something.
fn short(number: f64) -> String {
    match number {
        _ if !number.is_finite() => "never".to_owned(),
        _ if number == 0.0 || number >= 100.0 => format!("{number:.0}"),
        _ if number >= 10.0 => format!("{number:.1}"),
        _ => format!("{number:.2}"),
    }
}

/// One part of the table: the figures it measures, and how.
type Part = (&'static [&'static str], fn(&Options) -> Vec<Figure>);

const PARTS: [Part; 5] = [
    (&["T1", "T2", "T3", "T5", "T6"], spread::all),
    (&["T4", "T7", "T10"], sizes::all),
    (&["T8"], partition::heals),
    (&["T9"], members::all),
    (&["Z1", "Z2", "Z3", "Z4", "Z5"], zipf::all),
];

/// Measures and prints; whether every figure was reached.
pub fn run(options: &Options) -> bool {
    let wanted = |numbers: &[&str]| options.only.is_empty() || numbers.iter().any(|number| is_wanted(options, number));
    let (began, bar) = (Instant::now(), std::io::stderr().is_terminal());
    let (mut well, mut all) = (true, Vec::new());
    for (numbers, measure) in PARTS.iter().filter(|(numbers, _)| wanted(numbers)) {
        if bar {
            eprint!("\r\x1b[K{} …", numbers.join(", "));
            let _ = std::io::stderr().flush();
        }
        let figures = measure(options).into_iter();
        for figure in figures.filter(|figure| options.only.is_empty() || is_wanted(options, figure.number)) {
            well &= figure.holds();
            if bar {
                eprint!("\r\x1b[K");
            }
            if !options.json {
                println!("{}", figure.line());
            }
            all.push(figure);
        }
    }
    if options.json {
        let mut text = format!("{{\"seed\":{},\"well\":{well},\"figures\":[", options.seed);
        for (at, figure) in all.iter().enumerate() {
            let _ = write!(text, "{}\n{}", if at == 0 { "" } else { "," }, figure.json());
        }
        println!("{text}\n]}}");
    } else {
        let missed = all.iter().filter(|figure| !figure.holds()).count();
        println!(
            "{} figures, {missed} missed, seed {}, {:.0} s",
            all.len(),
            options.seed,
            began.elapsed().as_secs_f64()
        );
    }
    well
}

fn is_wanted(options: &Options, number: &str) -> bool {
    let group = &number[..1];
    options.only.iter().any(|only| only.eq_ignore_ascii_case(number) || only.eq_ignore_ascii_case(group))
}

/// A zone of so many that have known each other for some time, with links of a local network.
fn zone(count: u32, seed: u64) -> (World, Vec<HostId>) {
    zone_over(LAN, count, seed)
}

/// One over such links.
fn zone_over(latency: (Duration, Duration), count: u32, seed: u64) -> (World, Vec<HostId>) {
    let mut world = World::formed(count, seed);
    world.watch(Watch::Nothing);
    world.keep_disks = false;
    world.weather.latency = latency;
    world.start_all();
    world.run_for(Duration::from_secs(20));
    let hosts = world.hosts().collect();
    (world, hosts)
}

const LAN: (Duration, Duration) = (Duration::from_micros(500), Duration::from_millis(2));
const WAN: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(80));

/// One tool whose record has about as many bytes as asked for, everything included.
fn record_of(bytes: usize, number: u32) -> aop_proto::node::NewTool {
    // Names, hashes, the signature and the head take the rest.
    let filler = "words that say what a tool is good for ".repeat(bytes / 39 + 1);
    let description = &filler[..bytes.saturating_sub(RECORD_FRAME)];
    crate::scenario::tool(FORMED_ZONE, &format!("tool_{number}"), description)
}

/// What a record of [`record_of`] has beside its description.
const RECORD_FRAME: usize = 312;

fn mean(numbers: impl IntoIterator<Item = f64>) -> f64 {
    let (sum, count) = numbers.into_iter().fold((0.0, 0.0), |(sum, count), number| (sum + number, count + 1.0));
    if count > 0.0 { sum / count } else { f64::INFINITY }
}

fn most(numbers: impl IntoIterator<Item = f64>) -> f64 {
    numbers.into_iter().fold(0.0, f64::max)
}

fn ms(time: Option<Duration>) -> f64 {
    time.map_or(f64::INFINITY, |time| time.as_secs_f64() * 1e3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_that_could_not_be_measured_is_missed() {
        let never = Figure::new("T1", "all informed", ms(None), "ms").at_most(140.0);
        assert!(!never.holds() && never.line().contains("MISSED") && never.line().contains("never"));
        assert!(never.json().contains(r#""measured":null,"unit":"ms","most":140.000000,"holds":false"#));
        assert!(Figure::new("T7", "reported", 3.0, "").holds());
    }
}
