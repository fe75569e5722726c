//! `[busy]`: what others notice of a call that takes five seconds, and what a list of a thousand tools takes.
//!
//! While the long call is under way, its neighbour on the same upstream, a tool of another upstream and the zone's list are asked for in
//! turn over one connection. Worst is the longest that one of them took. In one process that carries out calls where it answers
//! questions, they would all wait until it ends. What the machine is late by shows twice: in the upstream itself, asked with no node
//! between, and in the longest time for which the client that measures had no processor itself.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::Result;
use crate::arguments::{Arguments, tell};
use crate::call::url;
use crate::connection::Connection;
use crate::floor::Floor;
use crate::load::{Expected, Load, Question};
use crate::node::Node;
use crate::rounds::{Contestant, play};
use crate::serving::{CPU, RATE, Served, columns};
use crate::sheet::{Bound, Column, Row, Sample, Sheet};
use crate::table::count;
use crate::upstream::MCP_HTTP;

const ZONE: &str = "research";
const TOOLS: usize = 1_000;
const REVISION: &str = "2026-07-28";
/// The call that everybody else is measured beside.
const LONG: Duration = Duration::from_secs(5);

const P50: &str = "p50_us";
const P99: &str = "p99_us";
const WORST: &str = "worst_us";
const PAUSED: &str = "paused_us";

/// `[list]`: `tools/list` of a zone of a thousand tools.
pub(crate) fn lists(arguments: &Arguments) -> Result<Sheet> {
    tell("list: starting a node");
    let folder = tempfile::tempdir()?;
    let node = Node::with_tools(arguments, folder.path(), ZONE, TOOLS, &[])?;
    let request = rpc("tools/list", None, &json!({}));
    let whole = Connection::open(node.address)?.send(&request)?.1;
    let listed: Value = serde_json::from_slice(&whole)?;
    let tools = listed["result"]["tools"].as_array().map_or(0, Vec::len);
    if tools != TOOLS {
        return Err(format!("{tools} tools are listed").into());
    }
    // What is left of its lifetime stands in every answer.
    let holds =
        vec![format!("\"name\":\"{}\"", listed["result"]["tools"][TOOLS - 1]["name"].as_str().unwrap_or_default())];
    let questions: Arc<[Question]> = Arc::new([Question { request, expected: Expected::Holds(holds) }]);
    let served = Served::one(&node.process, node.address, &questions);
    let slice = arguments.slice;
    let contestants = vec![
        Contestant::new("aop-node", || served.visit(slice)),
        Contestant::new("the same again (A/A)", || served.visit(slice)),
    ];
    let mut sheet = Sheet {
        about: format!("tools/list of a zone of {} tools, {} bytes", count(TOOLS), count(whole.len())),
        columns: columns("lists/s"),
        rows: play("list", arguments, contestants),
        ..Sheet::default()
    };
    let cpu = sheet.median(0, CPU);
    sheet.aim("CPU of a list, µs", cpu, Bound::AtMost(1000.0), None);
    Ok(sheet)
}

/// See the module.
pub(crate) fn measure(arguments: &Arguments) -> Result<Sheet> {
    tell("busy: starting a node and upstreams");
    let folder = tempfile::tempdir()?;
    let upstreams = [Floor::without_answers(MCP_HTTP)?, Floor::without_answers(MCP_HTTP)?];
    let node = Node::start(arguments, folder.path(), ZONE, &[])?;
    for (upstream, name) in upstreams.iter().zip(["one", "other"]) {
        node.register(&json!({"kind": "mcp", "url": url(upstream.address, "/mcp"), "as": name}))?;
    }
    let said = "\"text\":\"hello\"";
    let direct = |tool, arguments| rpc_at("/mcp", "tools/call", Some(tool), &arguments);
    let itself = (upstreams[0].address, direct("wait", long_arguments()));
    let through = (node.address, rpc("tools/call", Some("one__wait"), &long_arguments()));
    let each = [
        ("the upstream itself", direct("echo", json!({"text": "hello"})), said, &itself),
        ("a tool of the same upstream", echo("one__echo"), said, &through),
        ("a tool of another", echo("other__echo"), said, &through),
        ("tools/list", rpc("tools/list", None, &json!({})), "\"name\":\"other__wait\"", &through),
    ];
    let slice = arguments.slice.min(LONG / 2);
    let mut contestants = Vec::new();
    for is_busy in [false, true] {
        for (name, request, holds, (address, long)) in &each {
            let expected = Expected::Holds(vec![(*holds).to_owned()]);
            let questions: Arc<[Question]> = Arc::new([Question { request: request.clone(), expected }]);
            let name = format!("{name}, {}", if is_busy { "one call of 5 s under way" } else { "nothing else" });
            let long = is_busy.then_some(long.as_slice());
            contestants.push(Contestant::new(name, move || beside(*address, long, &questions, slice)));
        }
    }
    let column = |key, title| Column { key, title, digits: 0, compared: false };
    let mut sheet = Sheet {
        about: "one connection, one question after the other".to_owned(),
        columns: vec![
            column(RATE, "/s"),
            column(P50, "p50 µs"),
            column(P99, "p99 µs"),
            column(WORST, "worst µs"),
            column(PAUSED, "client paused µs"),
        ],
        rows: play("busy", arguments, contestants),
        ..Sheet::default()
    };
    let worst = |row: &Row, key| {
        let all = row.rounds.iter().filter_map(|sample| sample.get(key).copied());
        all.reduce(f64::max).map(|us| us / 1e3)
    };
    for (at, (name, ..)) in each.iter().enumerate().skip(1) {
        let worst = sheet.rows.get(each.len() + at).and_then(|row| worst(row, WORST));
        sheet.aim(&format!("{name}, worst of all rounds, ms"), worst, Bound::AtMost(20.0), None);
    }
    for key in [WORST, PAUSED] {
        let all: Vec<String> = sheet.rows.iter().filter_map(|row| Some(format!("{:.1}", worst(row, key)?))).collect();
        let what = if key == WORST { "worst" } else { "client paused" };
        sheet.notes.push(format!("{what} of all rounds, row by row, ms: {}", all.join(", ")));
    }
    Ok(sheet)
}

/// Of the call that takes long.
fn long_arguments() -> Value {
    json!({"ms": LONG.as_millis() as u64})
}

/// Asks these questions, beside the `long` one where there is one.
fn beside(address: SocketAddr, long: Option<&[u8]>, questions: &Arc<[Question]>, slice: Duration) -> Result<Sample> {
    let mut other = Connection::open(address)?;
    let began = Instant::now();
    if let Some(long) = long {
        other.begin(long)?;
    }
    let done = Load::connect(&[address], 1, questions)?.run(slice)?;
    if long.is_some() && began.elapsed() >= LONG {
        return Err("the long call had ended".into());
    }
    // Dropped, it is cancelled.
    drop(other);
    Ok(Sample::from([
        (RATE, done.per_second()),
        (P50, done.within_us(0.5)),
        (P99, done.within_us(0.99)),
        (WORST, done.within_us(1.0)),
        (PAUSED, done.paused.as_secs_f64() * 1e6),
    ]))
}

/// A call of an echo in the zone, as a client of that revision sends it.
pub(crate) fn echo(tool: &str) -> Vec<u8> {
    rpc("tools/call", Some(tool), &json!({"text": "hello"}))
}

/// A request to the zone's door.
pub(crate) fn rpc(method: &str, tool: Option<&str>, arguments: &Value) -> Vec<u8> {
    rpc_at(&format!("/z/{ZONE}/mcp"), method, tool, arguments)
}

fn rpc_at(path: &str, method: &str, tool: Option<&str>, arguments: &Value) -> Vec<u8> {
    let mut params = json!({"_meta": {
        "io.modelcontextprotocol/protocolVersion": REVISION,
        "io.modelcontextprotocol/clientInfo": {"name": "peers", "version": "1"},
        "io.modelcontextprotocol/clientCapabilities": {},
    }});
    let mut name = String::new();
    if let Some(tool) = tool {
        params["name"] = tool.into();
        params["arguments"] = arguments.clone();
        name = format!("Mcp-Name: {tool}\r\n");
    }
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).to_string();
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nAccept: application/json, text/event-stream\r\n\
         Content-Type: application/json\r\nMCP-Protocol-Version: {REVISION}\r\nMcp-Method: {method}\r\n{name}Content-Length: {}\r\n\r\n",
        body.len()
    );
    (head + &body).into_bytes()
}
