//! Rounds: everybody in turn, each round beginning with another.
//!
//! Always true: one visit to each comes first and does not count, so that caches are full and connections were made before; whoever
//! fails once is asked no more, and says why.

use crate::Result;
use crate::arguments::{Arguments, tell};
use crate::sheet::{Row, Sample, State};

/// Somebody who is measured.
pub(crate) struct Contestant<'a> {
    pub(crate) name: String,
    measure: Box<dyn FnMut() -> Result<Sample> + 'a>,
}

impl<'a> Contestant<'a> {
    pub(crate) fn new(name: impl Into<String>, measure: impl FnMut() -> Result<Sample> + 'a) -> Self {
        Self { name: name.into(), measure: Box::new(measure) }
    }
}

/// Plays all rounds; a row for each, in the order given.
pub(crate) fn play(group: &str, arguments: &Arguments, mut contestants: Vec<Contestant<'_>>) -> Vec<Row> {
    let row =
        |contestant: &Contestant<'_>| Row { name: contestant.name.clone(), rounds: Vec::new(), state: State::Measured };
    let mut rows: Vec<Row> = contestants.iter().map(row).collect();
    let many = contestants.len();
    for round in 0..=arguments.rounds {
        for turn in 0..many {
            let at = (turn + round) % many;
            if rows[at].state != State::Measured {
                continue;
            }
            tell(&format!("{group}: round {round} of {}: {}", arguments.rounds, rows[at].name));
            match (contestants[at].measure)() {
                Ok(sample) if round > 0 => rows[at].rounds.push(sample),
                Ok(_) => {}
                Err(error) => rows[at].state = State::Failed(error.to_string()),
            }
        }
    }
    tell("");
    rows
}
