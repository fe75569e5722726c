//! Rounds: everybody in turn, each round beginning with another.
//!
//! Always true: one visit to each comes first and does not count, so that caches are full, where anything is kept; whoever fails once is
//! asked no more, and says why.

use crate::Result;
use crate::arguments::{Arguments, tell};
use crate::sheet::{Row, Sample, State};

/// Somebody who is measured.
pub(crate) struct Contestant<'a> {
    pub(crate) name: String,
    visit: Visit<'a>,
}

enum Visit<'a> {
    Measure(Box<dyn FnMut() -> Result<Sample> + 'a>),
    Absent(String),
}

impl<'a> Contestant<'a> {
    pub(crate) fn new(name: impl Into<String>, measure: impl FnMut() -> Result<Sample> + 'a) -> Self {
        Self { name: name.into(), visit: Visit::Measure(Box::new(measure)) }
    }

    /// Somebody who cannot be had here.
    pub(crate) fn absent(name: impl Into<String>, why: impl ToString) -> Self {
        Self { name: name.into(), visit: Visit::Absent(why.to_string()) }
    }
}

/// Plays all rounds; a row for each, in the order given.
pub(crate) fn play(group: &str, arguments: &Arguments, contestants: Vec<Contestant<'_>>) -> Vec<Row> {
    play_from(0, group, arguments.rounds, contestants, true)
}

/// The same where nothing gets warm, in the order given each time.
pub(crate) fn play_cold(group: &str, rounds: usize, contestants: Vec<Contestant<'_>>) -> Vec<Row> {
    play_from(1, group, rounds, contestants, false)
}

fn play_from(first: usize, group: &str, rounds: usize, mut contestants: Vec<Contestant<'_>>, rotate: bool) -> Vec<Row> {
    let row = |contestant: &Contestant<'_>| Row {
        name: contestant.name.clone(),
        rounds: Vec::new(),
        state: match &contestant.visit {
            Visit::Measure(_) => State::Measured,
            Visit::Absent(why) => State::Absent(why.clone()),
        },
    };
    let mut rows: Vec<Row> = contestants.iter().map(row).collect();
    let many = contestants.len();
    for round in first..=rounds {
        for turn in 0..many {
            let at = if rotate { (turn + round) % many } else { turn };
            let Visit::Measure(measure) = &mut contestants[at].visit else { continue };
            if rows[at].state != State::Measured {
                continue;
            }
            tell(&format!("{group}: round {round} of {rounds}: {}", rows[at].name));
            match measure() {
                Ok(sample) if round > 0 => rows[at].rounds.push(sample),
                Ok(_) => {}
                Err(error) => rows[at].state = State::Failed(error.to_string()),
            }
        }
    }
    tell("");
    rows
}
