//! `[batch]`: many names in one call beside as many calls of one name, of the same node.
//!
//! Rate and processor time are of names, not of calls: what is left out is what a call costs besides its answer.

use std::sync::Arc;

use serde_json::json;

use crate::Result;
use crate::arguments::{Arguments, tell};
use crate::catalogue;
use crate::connection::Connection;
use crate::load::{Expected, Question};
use crate::node::{Node, resolve};
use crate::request::request;
use crate::rounds::{Contestant, play};
use crate::serving::{CONNECTIONS, CPU, RATE, Served, columns};
use crate::sheet::{Bound, Sheet};
use crate::table::count;

const TOOLS: usize = 10_000;
const NAMES: usize = 1_024;
/// Names of one call.
const BATCH: usize = 32;
const ZONE: &str = "research";

/// Rows, in their order.
const SINGLE: usize = 0;
const BATCHED: usize = 2;

pub(crate) fn measure(arguments: &Arguments) -> Result<Sheet> {
    tell("batch: starting a node");
    let folder = tempfile::tempdir()?;
    let node = Node::with_tools(arguments, folder.path(), ZONE, TOOLS, &[])?;
    let names = catalogue::full_names(TOOLS, NAMES, ZONE);
    node.wait_for(&names)?;
    let one = |name: &String| request("GET", &resolve(name), "", "");
    let many =
        |names: &[String]| request("POST", "/v1/resolve", "", &json!({"queries": names, "mode": "exact"}).to_string());
    let singles = questions(&node, names.iter().map(|name| (one(name), std::slice::from_ref(name))))?;
    let batches = questions(&node, names.chunks(BATCH).map(|names| (many(names), names)))?;
    let single = Served::one(&node.process, node.address, &singles);
    let batched = Served::one(&node.process, node.address, &batches).worth(BATCH);
    let slice = arguments.slice;
    let contestants = vec![
        Contestant::new("one name a call", || single.visit(slice)),
        Contestant::new("the same again (A/A)", || single.visit(slice)),
        Contestant::new(format!("{BATCH} names a call"), || batched.visit(slice)),
    ];
    let tools = count(TOOLS);
    let mut sheet = Sheet {
        about: format!("names of one zone, /v1/resolve, {tools} tools, {CONNECTIONS} connections; latency is of calls"),
        columns: columns("names/s"),
        rows: play("batch", arguments, contestants),
        ..Sheet::default()
    };
    let rate = sheet.ratio(BATCHED, SINGLE, RATE);
    sheet.aim(&format!("names/s, {BATCH} a call ÷ one"), rate, Bound::AtLeast(6.0), None);
    let cpu = sheet.ratio(SINGLE, BATCHED, CPU);
    sheet.notes.push(format!("CPU a name, one a call ÷ {BATCH}: {:.2}", cpu.unwrap_or(f64::NAN)));
    Ok(sheet)
}

/// Each request with what the node answers to it, which has to name all it was asked for and nothing that went wrong.
fn questions<'a>(node: &Node, asked: impl Iterator<Item = (String, &'a [String])>) -> Result<Arc<[Question]>> {
    let mut connection = Connection::open(node.address)?;
    let question = |(request, names): (String, &[String])| {
        let (status, body) = connection.send(request.as_bytes())?;
        let text = String::from_utf8(body)?;
        let all = names.iter().all(|name| text.contains(&format!("\"name\":\"{name}\"")));
        if status != 200 || !all || text.contains("\"error\":") {
            return Err(format!("answered {status}: {text}").into());
        }
        Ok(Question { request: request.into_bytes(), expected: Expected::Is(text.into_bytes()) })
    };
    asked.map(question).collect()
}
