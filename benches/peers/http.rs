//! `[http]`: a cached exact resolve over HTTP, beside a bare endpoint that has the same bytes in a map.
//!
//! Two nodes, the root and a zone with all tools. Names of the zone are asked of the zone itself, which answers them from its view,
//! and of the root, which has them in L1 by then; that these are hits is read from the root's own counters.

use std::sync::Arc;

use crate::Result;
use crate::arguments::{Arguments, tell};
use crate::catalogue;
use crate::connection::Connection;
use crate::floor::{self, AXUM_MAP, Floor};
use crate::load::{Expected, Question};
use crate::node::{Node, resolve};
use crate::request::request;
use crate::rounds::{Contestant, play};
use crate::serving::{CONNECTIONS, CPU, P99, P99_ALONE, RATE, Served, columns};
use crate::sheet::{Bound, Sheet, State};
use crate::table::count;

const TOOLS: usize = 10_000;
const NAMES: usize = 1_000;
const ZONE: &str = "research";
/// Hits among what was asked of the root, at least: one answer a minute may be of L2.
const HITS_MIN: f64 = 0.99;

/// Rows, in their order.
const FLOOR: usize = 0;
const VIEW: usize = 2;
const L1: usize = 3;

pub(crate) fn measure(arguments: &Arguments) -> Result<Sheet> {
    tell("http: starting nodes");
    let folder = tempfile::tempdir()?;
    let root = Node::start(arguments, &folder.path().join("root"), ".", &[])?;
    let parent = root.address.to_string();
    let zone = Node::with_tools(arguments, &folder.path().join("zone"), ZONE, TOOLS, &["--parent", &parent])?;
    let names = catalogue::full_names(TOOLS, NAMES, ZONE);
    zone.wait_for(&names)?;
    root.wait_for(&names)?;

    let bodies = bodies(&zone, &names)?;
    let file = folder.path().join("bodies");
    floor::write(&file, names.iter().map(String::as_str).zip(bodies.iter().map(Vec::as_slice)))?;
    let floors = [Floor::start(AXUM_MAP, &file)?, Floor::start(AXUM_MAP, &file)?];

    let own: Arc<[Question]> = names.iter().zip(&bodies).map(|(name, body)| exactly(name, body)).collect();
    let kept: Arc<[Question]> = names.iter().map(|name| found(name)).collect();
    let [floor, again] = floors.each_ref().map(|floor| Served::one(&floor.process, floor.address, &own));
    let view = Served::one(&zone.process, zone.address, &own);
    let l1 = Served::one(&root.process, root.address, &kept);
    let slice = arguments.slice;
    let before = l1_counts(&root)?;
    let contestants = vec![
        Contestant::new("axum, the same bytes from a map", || floor.visit(slice)),
        Contestant::new("the same again (A/A)", || again.visit(slice)),
        Contestant::new("aop-node, name of its own zone", || view.visit(slice)),
        Contestant::new("aop-node, another zone's, in L1", || l1.visit(slice)),
    ];
    let rows = play("http", arguments, contestants);
    let after = l1_counts(&root)?;
    let hits = (after.0 - before.0) / (after.0 - before.0 + after.1 - before.1);

    let (tools, names) = (count(TOOLS), count(NAMES));
    let mut sheet = Sheet {
        about: format!(
            "cached exact resolve, GET /v1/resolve, {tools} tools, {names} names in turn, {} bytes, {CONNECTIONS} connections",
            bodies[0].len()
        ),
        columns: columns("req/s"),
        rows,
        ..Sheet::default()
    };
    if hits < HITS_MIN {
        sheet.rows[L1].state = State::Failed(format!("only {hits:.3} of what the root was asked was in L1"));
    }
    sheet.notes.push(format!("{:.2} % of what the root was asked was in L1, by its own count", hits * 100.0));
    for (row, what) in [(VIEW, "own zone"), (L1, "L1")] {
        let (rate, cpu) = (sheet.ratio(row, FLOOR, RATE), sheet.ratio(row, FLOOR, CPU));
        sheet.aim(&format!("{what}, req/s ÷ axum"), rate, Bound::AtLeast(0.9), Some(Bound::AtLeast(1.0)));
        sheet.aim(&format!("{what}, CPU ÷ axum"), cpu, Bound::AtMost(1.15), Some(Bound::AtMost(1.0)));
    }
    for (key, connections) in [(P99_ALONE, 1), (P99, CONNECTIONS)] {
        let p99 = sheet.median(L1, key);
        sheet.aim(&format!("L1, p99 µs, connections: {connections}"), p99, Bound::AtMost(1000.0), None);
    }
    Ok(sheet)
}

/// What the node answers for each name.
fn bodies(node: &Node, names: &[String]) -> Result<Vec<Vec<u8>>> {
    let mut connection = Connection::open(node.address)?;
    names.iter().map(|name| Ok(connection.ask("GET", &resolve(name), "", "")?.1)).collect()
}

fn asked(name: &str) -> Vec<u8> {
    request("GET", &resolve(name), "", "").into_bytes()
}

fn exactly(name: &str, body: &[u8]) -> Question {
    Question { request: asked(name), expected: Expected::Is(body.to_vec()) }
}

/// An answer from a cache says how old it is, so no two are the same.
fn found(name: &str) -> Question {
    let named = format!("\"name\":\"{name}\"");
    Question { request: asked(name), expected: Expected::Holds(vec![named, "\"exact\":true".to_owned()]) }
}

/// Hits and misses of L1 so far.
fn l1_counts(node: &Node) -> Result<(f64, f64)> {
    let cache = node.state("/v1/cache")?;
    let level = &cache["levels"][0];
    level["hits"].as_f64().zip(level["misses"].as_f64()).ok_or_else(|| format!("no counts of L1: {cache}").into())
}
