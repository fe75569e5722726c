//! A group's figures for people: a plain aligned table, its targets and its notes.

use std::fmt::Write;

use crate::sheet::{Bound, Row, Sheet, State, Target};

/// Printed once, below all tables.
pub(crate) const HOW_TO_READ: &str = "How to read: medians of rounds that visit every row in turn; ÷ is the median of the ratios to the first row within each round. CPU µs is\n\
processor time of the measured process by answer; where a rate and CPU disagree, somebody else had the processors: believe CPU. What\n\
(A/A) differs from its twin by is noise, and no smaller difference means anything.";

/// The whole table of one group.
pub(crate) fn group(name: &str, sheet: &Sheet) -> String {
    let mut out = format!("[{name}] {}\n", sheet.about);
    let mut lines = vec![head(sheet)];
    lines.extend(sheet.rows.iter().enumerate().map(|(at, row)| line(sheet, at, row)));
    let columns = lines.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        // What is said in place of figures needs no column.
        let cells =
            lines.iter().filter(|line| line.len() == columns || column == 0).filter_map(|line| line.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    for cells in &lines {
        let mut text = format!("  {:<width$}", cells[0], width = widths[0]);
        for (cell, width) in cells[1..].iter().zip(&widths[1..]) {
            let width = *width;
            let _ = write!(text, "  {cell:>width$}");
        }
        let _ = writeln!(out, "{}", text.trim_end());
    }
    for target in &sheet.targets {
        let _ = writeln!(out, "  {}", aim(target));
    }
    for note in &sheet.notes {
        let _ = writeln!(out, "  note: {note}");
    }
    out.push('\n');
    out
}

fn head(sheet: &Sheet) -> Vec<String> {
    let mut cells = vec![String::new()];
    for column in &sheet.columns {
        cells.push(column.title.to_owned());
        cells.extend(column.compared.then(|| "÷".to_owned()));
    }
    cells
}

fn line(sheet: &Sheet, at: usize, row: &Row) -> Vec<String> {
    let mut cells = vec![row.name.clone()];
    match &row.state {
        State::Absent(why) => cells.push(format!("not available here: {why}")),
        State::Failed(why) => cells.push(format!("failed: {why}")),
        State::Measured => {
            for column in &sheet.columns {
                cells.push(number(row.median(column.key), column.digits));
                if column.compared {
                    cells.push(number(sheet.ratio(at, 0, column.key), 2));
                }
            }
        }
    }
    cells
}

/// A number as tables write it.
pub(crate) fn count(many: usize) -> String {
    number(Some(many as f64), 0)
}

fn number(value: Option<f64>, digits: usize) -> String {
    let Some(value) = value else { return "–".to_owned() };
    let text = format!("{value:.digits$}");
    let (whole, rest) = text.split_at(text.find('.').unwrap_or(text.len()));
    let digits = whole.trim_start_matches('-').len();
    let grouped = whole.chars().enumerate().flat_map(|(at, digit)| {
        let left = whole.len() - at;
        let comma = digits > 4 && left % 3 == 0 && at > whole.len() - digits;
        comma.then_some(',').into_iter().chain([digit])
    });
    grouped.chain(rest.chars()).collect()
}

fn aim(target: &Target) -> String {
    let stretch = target.stretch.map(|stretch| format!(" (stretch {})", bound(stretch))).unwrap_or_default();
    let must = bound(target.must);
    let (measured, verdict) = match target.measured {
        None => ("–".to_owned(), "not measured"),
        Some(measured) => (short(measured), verdict(target, measured)),
    };
    format!("target: {}: {measured}, wanted {must}{stretch}: {verdict}", target.what)
}

/// Whether a target is reached, in a word or two.
pub(crate) fn verdict(target: &Target, measured: f64) -> &'static str {
    match (target.must.holds(measured), target.stretch.is_some_and(|stretch| stretch.holds(measured))) {
        (_, true) => "reached, and the stretch",
        (true, false) => "reached",
        (false, false) => "MISSED",
    }
}

fn bound(bound: Bound) -> String {
    match bound {
        Bound::AtLeast(bound) => format!("≥ {}", short(bound)),
        Bound::AtMost(bound) => format!("≤ {}", short(bound)),
    }
}

/// Three digits that say something.
fn short(value: f64) -> String {
    let digits = match value.abs() {
        value if value >= 100.0 => 0,
        value if value >= 10.0 => 1,
        value if value >= 0.1 => 2,
        _ => 4,
    };
    number(Some(value), digits)
}
