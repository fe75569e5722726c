//! All groups as one JSON object, for programs: everything the tables show, and every round.

use serde_json::{Map, Value, json};

use crate::arguments::Arguments;
use crate::sheet::{Bound, Row, Sheet, State, Target};
use crate::table::verdict;

/// The `aop.peers/1` object.
pub(crate) fn report(arguments: &Arguments, sheets: &[(&str, Sheet)]) -> Value {
    let processors = std::thread::available_parallelism().map_or(0, usize::from);
    json!({
        "schema": "aop.peers/1",
        "version": env!("CARGO_PKG_VERSION"),
        "rounds": arguments.rounds,
        "seconds": arguments.slice.as_secs_f64(),
        "processors": processors,
        "groups": sheets.iter().map(|(name, sheet)| group(name, sheet)).collect::<Vec<_>>(),
    })
}

fn group(name: &str, sheet: &Sheet) -> Value {
    json!({
        "group": name,
        "about": sheet.about,
        "rows": sheet.rows.iter().enumerate().map(|(at, one)| row(sheet, at, one)).collect::<Vec<_>>(),
        "targets": sheet.targets.iter().map(target).collect::<Vec<_>>(),
        "notes": sheet.notes,
    })
}

fn row(sheet: &Sheet, at: usize, row: &Row) -> Value {
    let (state, why) = match &row.state {
        State::Measured => ("measured", None),
        State::Absent(why) => ("absent", Some(why)),
        State::Failed(why) => ("failed", Some(why)),
    };
    let figures: Map<String, Value> = sheet
        .columns
        .iter()
        .map(|column| {
            let ratio = sheet.ratio(at, 0, column.key).filter(|_| column.compared);
            let figure = json!({"title": column.title, "median": row.median(column.key), "ratio": ratio});
            (column.key.to_owned(), figure)
        })
        .collect();
    json!({"name": row.name, "state": state, "why": why, "figures": figures, "rounds": row.rounds})
}

fn target(target: &Target) -> Value {
    let reached = |bound: Bound| target.measured.map(|measured| bound.holds(measured));
    json!({
        "what": target.what,
        "measured": target.measured,
        "must": bound(target.must),
        "stretch": target.stretch.map(bound),
        "reached": reached(target.must),
        "stretch_reached": target.stretch.and_then(reached),
        "verdict": target.measured.map(|measured| verdict(target, measured)),
    })
}

fn bound(bound: Bound) -> Value {
    match bound {
        Bound::AtLeast(bound) => json!({"at_least": bound}),
        Bound::AtMost(bound) => json!({"at_most": bound}),
    }
}
