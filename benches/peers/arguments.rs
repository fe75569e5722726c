//! What was asked for on the command line, and how far the program tells what it is at.

use std::fmt;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::time::Duration;

/// Fewer say little: a round of one program differs from the next by a quarter at worst.
const ROUNDS: usize = 5;
/// How long one program is asked in one round.
const SLICE: Duration = Duration::from_secs(1);

pub(crate) enum Asked {
    /// Hidden: this process is a floor, with these words.
    Floor(Vec<String>),
    Groups(Arguments),
}

#[derive(Debug, Clone)]
pub(crate) struct Arguments {
    groups: Vec<String>,
    pub(crate) json: bool,
    pub(crate) rounds: usize,
    pub(crate) slice: Duration,
    /// Rows that take long or need many processes.
    pub(crate) large: bool,
    /// The node that is measured.
    pub(crate) node: PathBuf,
}

/// Why that cannot be done, and what can be.
#[derive(Debug)]
pub(crate) struct Usage(String);

impl fmt::Display for Usage {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}", self.0)
    }
}

/// Reads the words after the program's name.
///
/// # Errors
/// What is wrong, for a person.
pub(crate) fn read(words: impl Iterator<Item = String>, groups: &[&str]) -> Result<Asked, Usage> {
    let usage = |why: String| {
        let groups = groups.join(" ");
        Usage(format!(
            "{why}\nusage: cargo peers [GROUP]… [--json] [--rounds N] [--seconds S] [--large] [--node PROGRAM]\ngroups: {groups}"
        ))
    };
    // Cargo says of itself that this is a benchmark.
    let mut words = words.filter(|word| word != "--bench").peekable();
    if words.next_if(|word| word == "--floor").is_some() {
        return Ok(Asked::Floor(words.collect()));
    }
    let mut asked = Arguments {
        groups: Vec::new(),
        json: false,
        rounds: ROUNDS,
        slice: SLICE,
        large: false,
        node: PathBuf::from(env!("CARGO_BIN_EXE_aop-node")),
    };
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| usage(format!("{word} needs a value")));
        match word.as_str() {
            "--json" => asked.json = true,
            "--large" => asked.large = true,
            "--node" => asked.node = PathBuf::from(value()?),
            "--rounds" => {
                let rounds = value()?.parse().ok().filter(|rounds| *rounds > 0);
                asked.rounds = rounds.ok_or_else(|| usage("--rounds takes a number from 1".to_owned()))?;
            }
            "--seconds" => {
                let seconds = value()?.parse().ok().filter(|seconds| (0.05..=60.0).contains(seconds));
                let seconds = seconds.ok_or_else(|| usage("--seconds takes a number from 0.05 to 60".to_owned()))?;
                asked.slice = Duration::from_secs_f64(seconds);
            }
            group if groups.contains(&group) => asked.groups.push(word),
            other => return Err(usage(format!("there is no group or option {other}"))),
        }
    }
    Ok(Asked::Groups(asked))
}

impl Arguments {
    pub(crate) fn wants(&self, group: &str) -> bool {
        self.groups.is_empty() || self.groups.iter().any(|wanted| wanted == group)
    }
}

/// What is going on, for whoever waits at a terminal and for nobody else.
pub(crate) fn tell(what: &str) {
    if std::io::stderr().is_terminal() {
        eprint!("\r\x1b[K{what}");
    }
}
