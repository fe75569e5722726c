//! One group's figures: rows of samples, one a round, and what is to be reached. No printing here, and no measuring.
//!
//! Always true: a ratio is the median of the ratios within rounds, never the ratio of two medians, so that what disturbs a whole round
//! disturbs no ratio.

use std::collections::BTreeMap;

/// What one program showed in one round, by the key of a column.
pub(crate) type Sample = BTreeMap<&'static str, f64>;

/// A figure that each round has.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Column {
    pub(crate) key: &'static str,
    pub(crate) title: &'static str,
    pub(crate) digits: usize,
    /// Whether the ratio to the group's first row stands beside it.
    pub(crate) compared: bool,
}

/// One program.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) rounds: Vec<Sample>,
    pub(crate) state: State,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum State {
    Measured,
    /// It cannot be had here, which says nothing about anybody.
    Absent(String),
    /// It did not do what it is measured for.
    Failed(String),
}

/// A figure and what it is to be.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) what: String,
    /// Nothing where one of its rows has none.
    pub(crate) measured: Option<f64>,
    pub(crate) must: Bound,
    pub(crate) stretch: Option<Bound>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Bound {
    AtLeast(f64),
    AtMost(f64),
}

impl Bound {
    pub(crate) fn holds(self, measured: f64) -> bool {
        match self {
            Self::AtLeast(bound) => measured >= bound,
            Self::AtMost(bound) => measured <= bound,
        }
    }
}

/// One group.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sheet {
    pub(crate) about: String,
    pub(crate) columns: Vec<Column>,
    /// The first is what others are compared with.
    pub(crate) rows: Vec<Row>,
    pub(crate) targets: Vec<Target>,
    pub(crate) notes: Vec<String>,
}

impl Row {
    pub(crate) fn median(&self, key: &str) -> Option<f64> {
        median(self.rounds.iter().filter_map(|sample| sample.get(key).copied()).collect())
    }
}

impl Sheet {
    /// The median of what `row` has of `key` in each round by what `base` has in the same one.
    pub(crate) fn ratio(&self, row: usize, base: usize, key: &str) -> Option<f64> {
        self.by(row, base, key, |own, other| own / other)
    }

    /// The same of differences.
    pub(crate) fn difference(&self, row: usize, base: usize, key: &str) -> Option<f64> {
        self.by(row, base, key, |own, other| own - other)
    }

    fn by(&self, row: usize, base: usize, key: &str, with: impl Fn(f64, f64) -> f64) -> Option<f64> {
        let (row, base) = (self.rows.get(row)?, self.rows.get(base)?);
        let pairs = row.rounds.iter().zip(&base.rounds);
        median(pairs.filter_map(|(own, other)| Some(with(*own.get(key)?, *other.get(key)?))).collect())
    }

    pub(crate) fn median(&self, row: usize, key: &str) -> Option<f64> {
        self.rows.get(row)?.median(key)
    }

    pub(crate) fn aim(&mut self, what: &str, measured: Option<f64>, must: Bound, stretch: Option<Bound>) {
        self.targets.push(Target { what: what.to_owned(), measured, must, stretch });
    }

    /// Why rows that should have figures have none.
    pub(crate) fn failures(&self) -> impl Iterator<Item = &str> {
        self.rows.iter().filter_map(|row| match &row.state {
            State::Failed(why) => Some(why.as_str()),
            State::Measured | State::Absent(_) => None,
        })
    }
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.retain(|value| value.is_finite());
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        odd if odd % 2 == 1 => Some(values[middle]),
        _ => Some(f64::midpoint(values[middle - 1], values[middle])),
    }
}
