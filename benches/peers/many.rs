//! `[many]`: calls of a thousand registered agents, two thousand under way beside sixteen.
//!
//! Agents are plain HTTP agents of one process that answers at once, each registered by itself: a server, a pool of connections and a
//! supervisor of its own at the node. Processor time is the node's. An answer that is not the expected one ends the row.

use std::sync::Arc;

use serde_json::json;

use crate::Result;
use crate::arguments::{Arguments, tell};
use crate::busy::rpc;
use crate::call::url;
use crate::floor::Floor;
use crate::load::{Expected, Load, Question};
use crate::memory_of;
use crate::node::{Node, Unusual};
use crate::rounds::{Contestant, play};
use crate::serving::{CPU, P50, P99, RATE};
use crate::sheet::{Bound, Column, Sample, Sheet};
use crate::table::count;
use crate::upstream::AGENTS;

const ZONE: &str = "research";
const REGISTERED: usize = 1_000;
const FEW: usize = 16;
const MANY: usize = 2_000;
/// As many clients as are under way need a place each.
const CONFIG: &str = "[http]\nconnections = 4096\n";
const MEMORY: &str = "memory";
/// DESIGN D16, P5: what a node may take, MiB.
const CEILING: f64 = 512.0;

pub(crate) fn measure(arguments: &Arguments) -> Result<Sheet> {
    tell("many: starting a node");
    let folder = tempfile::tempdir()?;
    let agents = Floor::without_answers(AGENTS)?;
    let unusual = Unusual { config: CONFIG, ..Unusual::default() };
    let node = Node::unusual(arguments, folder.path(), ZONE, &[], unusual)?;
    let resting = mebibytes(&node, "VmRSS")?;
    let name = |number: usize| format!("agent-{number:04}");
    for number in 0..REGISTERED {
        tell(&format!("many: registering agent {number}"));
        let name = name(number);
        node.register(&json!({"kind": "agent", "url": url(agents.address, &format!("/{name}")), "as": name}))?;
    }
    let registered = mebibytes(&node, "VmRSS")?;
    let question = |number: usize| Question {
        request: rpc("tools/call", Some(&format!("{0}__{0}", name(number))), &json!({"task": format!("t{number}")})),
        expected: Expected::Holds(vec![format!("ok:t{number}"), "\"success\":true".to_owned()]),
    };
    let questions: Arc<[Question]> = (0..REGISTERED).map(question).collect();
    let visit = |clients: usize| {
        let mut load = Load::connect(&[node.address], clients, &questions)?;
        let before = node.process.processor_time()?;
        let done = load.run(arguments.slice)?;
        let used = node.process.processor_time()? - before;
        Ok(Sample::from([
            (RATE, done.per_second()),
            (CPU, used.as_secs_f64() * 1e6 / done.answers as f64),
            (P50, done.within_us(0.5)),
            (P99, done.within_us(0.99)),
            (MEMORY, mebibytes(&node, "VmHWM")?),
        ]))
    };
    let contestants = vec![
        Contestant::new(format!("{FEW} under way"), || visit(FEW)),
        Contestant::new("the same again (A/A)", || visit(FEW)),
        Contestant::new(format!("{} under way", count(MANY)), || visit(MANY)),
    ];
    let column = |key, title, digits, compared| Column { key, title, digits, compared };
    let mut sheet = Sheet {
        about: format!("calls of {} agents in turn through one node", count(REGISTERED)),
        columns: vec![
            column(RATE, "calls/s", 0, true),
            column(CPU, "CPU µs", 1, true),
            column(P50, "p50 µs", 0, false),
            column(P99, "p99 µs", 0, false),
            column(MEMORY, "most MiB", 0, false),
        ],
        rows: play("many", arguments, contestants),
        ..Sheet::default()
    };
    let cpu = sheet.ratio(2, 0, CPU);
    sheet.aim(&format!("CPU a call, {} under way ÷ {FEW}", count(MANY)), cpu, Bound::AtMost(1.1), None);
    let memory = sheet.median(2, MEMORY);
    sheet.aim("memory, the most it ever had, MiB", memory, Bound::AtMost(CEILING), None);
    sheet.notes.push(format!(
        "memory at rest {resting:.0} MiB, with {} agents registered {registered:.0} MiB",
        count(REGISTERED)
    ));
    Ok(sheet)
}

fn mebibytes(node: &Node, what: &str) -> Result<f64> {
    Ok(memory_of::of(node.process.id(), what)? as f64 / f64::from(1 << 20))
}
