//! `[replicas]`: what a request costs in a zone of several replicas beside a zone of one.
//!
//! Requests are spread over all replicas of a zone, sixteen connections each, and the processor time of all of them counts, gossip and
//! all; what they take while nobody asks stands beside it. Everybody holds the whole zone, so a request should cost the same wherever it
//! goes. Asked all at once on one machine it does not even for floors, which know nothing of each other: several processes take turns
//! on few processors, and fewer requests wait whenever one of them wakes. What that adds is shown by as many bare endpoints. So the
//! replicas are asked one after the other as well, as if each had a machine of its own, and that is what counts.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::Result;
use crate::arguments::{Arguments, tell};
use crate::catalogue;
use crate::floor::{self, AXUM_MAP, Floor};
use crate::load::{Expected, Question};
use crate::node::{Node, resolve};
use crate::request::request;
use crate::rounds::{Contestant, play};
use crate::serving::{CONNECTIONS, CPU, Served, columns};
use crate::sheet::{Bound, Column, Sheet};
use crate::table::count;

const TOOLS: usize = 10_000;
const NAMES: usize = 1_000;
const ZONE: &str = "research";
const SIZES: [usize; 2] = [1, 4];
const SIZE_LARGE: usize = 16;
/// Processor time of all processes while nobody asks, ms a second.
const IDLE: &str = "idle_ms";
/// Rows of one process, in their order; from then on each size has a zone in turns, a zone at once and as many floors.
const ONE: usize = 0;
const FLOOR_ONE: usize = 2;
const ROWS_OF_SIZE: usize = 3;
/// How long they are left alone before a visit.
const REST: Duration = Duration::from_millis(300);

pub(crate) fn measure(arguments: &Arguments) -> Result<Sheet> {
    let folder = tempfile::tempdir()?;
    let names = catalogue::full_names(TOOLS, NAMES, ZONE);
    let mut sizes = SIZES.to_vec();
    sizes.extend(arguments.large.then_some(SIZE_LARGE));
    let (mut zones, mut endpoints) = (Vec::new(), Vec::new());
    for size in &sizes {
        tell(&format!("replicas: starting a zone of {size}"));
        zones.push(zone(arguments, &folder.path().join(size.to_string()), *size, &names)?);
        let answers = folder.path().join("answers");
        floor::write(&answers, names.iter().map(|name| (name.as_str(), name.as_bytes())))?;
        endpoints.push((0..*size).map(|_| Floor::start(AXUM_MAP, &answers)).collect::<Result<Vec<_>>>()?);
    }
    let of_node: Arc<[Question]> = names.iter().map(|name| question(name)).collect();
    let of_floor: Arc<[Question]> = names.iter().map(|name| bare_question(name)).collect();
    let mut contestants = Vec::new();
    for (size, (nodes, floors)) in sizes.iter().zip(zones.iter().zip(&endpoints)) {
        let nodes = || Served::several(nodes.iter().map(|node| (&node.process, node.address)), &of_node);
        let floors = Served::several(floors.iter().map(|floor| (&floor.process, floor.address)), &of_floor);
        let name = format!("aop-node, replicas: {size}");
        if *size == 1 {
            contestants.push(contestant(name, nodes(), arguments.slice));
            contestants.push(contestant("the same again (A/A)".to_owned(), nodes(), arguments.slice));
        } else {
            contestants.push(contestant(format!("{name}, in turns"), nodes().in_turns(), arguments.slice));
            contestants.push(contestant(format!("{name}, at once"), nodes(), arguments.slice));
        }
        contestants.push(contestant(format!("axum, processes: {size}"), floors, arguments.slice));
    }
    let mut columns = columns("req/s");
    columns.push(Column { key: IDLE, title: "idle ms/s", digits: 2, compared: false });
    let tools = count(TOOLS);
    let mut sheet = Sheet {
        about: format!(
            "exact resolve of the own zone, spread over its replicas, {tools} tools, {CONNECTIONS} connections each"
        ),
        columns,
        rows: play("replicas", arguments, contestants),
        ..Sheet::default()
    };
    for (at, size) in sizes.iter().enumerate().skip(1) {
        let row = FLOOR_ONE + 1 + ROWS_OF_SIZE * (at - 1);
        let ratio = |row, one| sheet.ratio(row, one, CPU);
        let (turns, once, bare) = (ratio(row, ONE), ratio(row + 1, ONE), ratio(row + 2, FLOOR_ONE));
        let [once, bare] = [once, bare].map(|ratio| ratio.unwrap_or(f64::NAN));
        sheet.aim(&format!("CPU a request, {size} replicas in turns ÷ 1"), turns, Bound::AtMost(1.1), None);
        sheet.notes.push(format!("{size} at once ÷ 1: {once:.2}; bare endpoints at once, {size} ÷ 1: {bare:.2}"));
    }
    Ok(sheet)
}

fn contestant(name: String, served: Served<'_>, slice: Duration) -> Contestant<'_> {
    Contestant::new(name, move || {
        let (began, before) = (Instant::now(), served.processor_time()?);
        std::thread::sleep(REST);
        let idle = (served.processor_time()? - before).as_secs_f64() / began.elapsed().as_secs_f64();
        let mut sample = served.visit(slice)?;
        sample.insert(IDLE, idle * 1e3);
        Ok(sample)
    })
}

fn zone(arguments: &Arguments, folder: &Path, size: usize, names: &[String]) -> Result<Vec<Node>> {
    let first = Node::with_tools(arguments, &folder.join("0"), ZONE, TOOLS, &[])?;
    let join = first.address.to_string();
    let mut nodes = vec![first];
    for number in 1..size {
        nodes.push(Node::start(arguments, &folder.join(number.to_string()), ZONE, &["--join", &join])?);
    }
    for node in &nodes {
        node.wait_for(names)?;
    }
    Ok(nodes)
}

/// A floor answers with the name alone: what counts is what several of them take more than one.
fn bare_question(name: &str) -> Question {
    Question { expected: Expected::Is(name.as_bytes().to_vec()), ..question(name) }
}

fn question(name: &str) -> Question {
    let holds = [format!("\"name\":\"{name}\""), "\"exact\":true".to_owned(), "\"source\":\"local\"".to_owned()];
    Question { request: request("GET", &resolve(name), "", "").into_bytes(), expected: Expected::Holds(holds.to_vec()) }
}
