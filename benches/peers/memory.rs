//! `[memory]`: what a record takes in memory beside its encoded size, the word index apart.
//!
//! Everybody is a process of its own, and what counts is what the system gave it more than it had without records, by record. The index
//! is weighed alone, in a process that holds nothing else, and taken off. Peers hold the same number of byte strings of the mean
//! encoded size in the usual ways. A node that was just filled still has what the filling took and was not given back; one that was
//! started again on the same data has what it needs.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use aop::handle::read_catalogue;
use aop_proto::index::{DocId, Index};
use aop_proto::name::ZoneName;
use aop_proto::record::ToolBody;
use aop_proto::zone::terms_of;

use crate::Result;
use crate::arguments::{Arguments, tell};
use crate::catalogue;
use crate::library;
use crate::memory_of;
use crate::node::Node;
use crate::rounds::{Contestant, play_cold};
use crate::sheet::{Bound, Column, Sample, Sheet};
use crate::table::count;

const TOOLS: usize = 100_000;
const ZONE: &str = "research";
/// Memory varies less than time, and every round fills everything anew.
const ROUNDS_MAX: usize = 3;
/// What was freed is given back a moment later: the allocator waits a second.
const REST: Duration = Duration::from_secs(2);
/// A node makes it look every other second, and threads that read a file end once they had nothing to do for ten.
const REST_OF_NODE: Duration = Duration::from_secs(15);
/// So large an allocation has a page of its own, and freeing one is when the allocator looks. Nobody writes to it.
const PAGE_OF_ITS_OWN: usize = 1024 * 1024;
const BYTES: &str = "bytes";

/// Rows, in their order.
const ENCODED: usize = 0;
const INDEX: usize = 3;
const CORE: usize = 4;
const FILLED: usize = 5;
const RESTARTED: usize = 6;

/// The hidden argument of a process that weighs something.
pub(crate) const WEIGH: &str = "weigh";

pub(crate) fn measure(arguments: &Arguments) -> Result<Sheet> {
    tell("memory: encoding");
    let encoded = weigh("core", 0)?.encoded;
    let bytes = |bytes: f64| Ok(Sample::from([(BYTES, bytes)]));
    let weighed = |what: &'static str| move || bytes(weigh(what, encoded as usize)?.held);
    // Both figures of the program are of one start and one restart.
    let restarted = RefCell::new(None);
    let contestants = vec![
        Contestant::new("a record, encoded", move || bytes(encoded)),
        Contestant::new("HashMap<Box<str>, Arc<[u8]>>", weighed("map")),
        Contestant::new("the same again (A/A)", weighed("map")),
        Contestant::new("word index alone", weighed("index")),
        Contestant::new("node in memory, index and all", weighed("core")),
        Contestant::new("aop-node, just filled", || {
            let (filled, again) = program(arguments)?;
            restarted.replace(Some(again));
            bytes(filled)
        }),
        Contestant::new("aop-node, started again", || bytes(restarted.take().ok_or("it was not filled before")?)),
    ];
    let rounds = arguments.rounds.min(ROUNDS_MAX);
    let tools = count(TOOLS);
    let mut sheet = Sheet {
        about: format!("memory by record, {tools} tools"),
        columns: vec![Column { key: BYTES, title: "bytes a record", digits: 0, compared: true }],
        rows: play_cold("memory", rounds, contestants),
        ..Sheet::default()
    };
    for (row, what) in
        [(CORE, "node in memory"), (FILLED, "aop-node, just filled"), (RESTARTED, "aop-node, started again")]
    {
        let apart = sheet.ratio(row, ENCODED, BYTES).zip(sheet.ratio(INDEX, ENCODED, BYTES));
        let apart = apart.map(|(whole, index)| whole - index);
        let (must, stretch) = (Bound::AtMost(1.3), Bound::AtMost(1.1));
        sheet.aim(&format!("{what}, index apart ÷ encoded"), apart, must, Some(stretch));
    }
    Ok(sheet)
}

/// Bytes by record of a program that was just filled, and of the same started again.
fn program(arguments: &Arguments) -> Result<(f64, f64)> {
    let folder = tempfile::tempdir()?;
    let names = catalogue::full_names(TOOLS, 100, ZONE);
    let empty = Node::start(arguments, &folder.path().join("empty"), ZONE, &[])?;
    let path = folder.path().join("full");
    let full = Node::with_tools(arguments, &path, ZONE, TOOLS, &[])?;
    full.wait_for(&names)?;
    let filled = more(&full, &empty)?;
    drop(full);
    let again = Node::start(arguments, &path, ZONE, &[])?;
    again.wait_for(&names)?;
    Ok((filled, more(&again, &empty)?))
}

/// How much more the one has than the other, by record, once it has come to rest.
fn more(full: &Node, empty: &Node) -> Result<f64> {
    std::thread::sleep(REST_OF_NODE);
    Ok((resident(full.process.id())? as f64 - resident(empty.process.id())? as f64) / TOOLS as f64)
}

fn resident(process: u32) -> Result<u64> {
    Ok(memory_of::of(process, "VmRSS")?)
}

/// What a weighing process says.
struct Weight {
    /// Bytes it holds by record.
    held: f64,
    /// Bytes of an encoded record, where it made any.
    encoded: f64,
}

fn weigh(what: &str, encoded: usize) -> Result<Weight> {
    let ran = Command::new(std::env::current_exe()?)
        .args(["--floor", WEIGH, what, &encoded.to_string()])
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()?;
    let said = String::from_utf8(ran.stdout)?;
    let numbers = said
        .trim()
        .split_once(' ')
        .and_then(|(held, encoded)| Some(Weight { held: held.parse().ok()?, encoded: encoded.parse().ok()? }));
    numbers.ok_or_else(|| format!("weighing {what} failed").into())
}

impl fmt::Display for Weight {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} {}", self.held, self.encoded)
    }
}

/// What a process does that was started to weigh something: holds it and says how much more the system gave it.
///
/// # Errors
/// It cannot.
pub(crate) fn run(what: &str, encoded: usize) -> Result<()> {
    let me = std::process::id();
    let before = resident(me)?;
    let held = |_: &dyn std::any::Any| -> Result<f64> {
        std::thread::sleep(REST);
        drop(std::hint::black_box(Vec::<u8>::with_capacity(PAGE_OF_ITS_OWN)));
        Ok((resident(me)? - before) as f64 / TOOLS as f64)
    };
    let weight = match what {
        "map" => {
            let name = |number| catalogue::full_name(number, ZONE).into_boxed_str();
            let value = |number: usize| Arc::<[u8]>::from(vec![number as u8; encoded]);
            let map: HashMap<Box<str>, Arc<[u8]>> = (0..TOOLS).map(|number| (name(number), value(number))).collect();
            Weight { held: held(&map)?, encoded: 0.0 }
        }
        "index" => Weight { held: held(&index()?)?, encoded: 0.0 },
        "core" => {
            let node = library::node(ZONE, TOOLS)?;
            let held = held(&node)?;
            let tools = node.view().tools;
            let bytes: usize = tools.all().iter().map(|tool| tool.shown().signed.envelope_len()).sum();
            Weight { held, encoded: bytes as f64 / tools.len() as f64 }
        }
        other => return Err(format!("nobody weighs {other}").into()),
    };
    println!("{weight}");
    Ok(())
}

/// The word index of a zone, filled as a zone fills it.
fn index() -> Result<Index> {
    let zone = ZoneName::parse(ZONE)?;
    let mut index = Index::default();
    for number in 0..TOOLS {
        let tool = read_catalogue(&catalogue::line(number), &zone)?;
        let (server, original) = (tool.server, tool.original);
        let body = ToolBody { server, original, definition: tool.definition.to_vec(), ..ToolBody::default() };
        index.insert(DocId(u32::try_from(number)?), Arc::new(terms_of(&body.text())));
    }
    // Readers hold the last one.
    index.snapshot();
    Ok(index)
}
