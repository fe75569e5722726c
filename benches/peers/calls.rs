//! `[calls]`: thirty-two calls in one request, beside as many single requests of the same tools of the same node.
//!
//! Single requests are made one after the other over one connection, as a client that waits makes them, and over thirty-two connections
//! at once, as one that goes to great lengths can. Rate and processor time are of calls, the latter the node's; latency is of requests.
//! Of calls that take 1 to 32 ms, a request that has them all is to take as long as the longest, and little more.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::Result;
use crate::arguments::{Arguments, tell};
use crate::call::url;
use crate::floor::Floor;
use crate::load::{Expected, Load, Question};
use crate::mcp;
use crate::node::Node;
use crate::process::Process;
use crate::request::request;
use crate::rounds::{Contestant, play};
use crate::serving::{CPU, P50, P99, RATE};
use crate::sheet::{Bound, Column, Sample, Sheet};
use crate::upstream::MCP_HTTP;

const ZONE: &str = "research";
/// Calls of one request.
const CALLS: usize = 32;
/// Rows of one door: one after the other, again, at once, together, the longest alone, all of them together.
const ROWS: usize = 6;
const SINGLE: usize = 0;
const AT_ONCE: usize = 2;
const TOGETHER: usize = 3;
const LONGEST: usize = 4;
const WAITS: usize = 5;

/// Both doors: what they are called, and how they are asked for these calls.
type Asking = fn(&str, &[Value]) -> Vec<u8>;
const DOORS: [(&str, Asking); 2] = [("HTTP", over_http), ("MCP", over_mcp)];

pub(crate) fn measure(arguments: &Arguments) -> Result<Sheet> {
    tell("calls: starting a node and an upstream");
    let folder = tempfile::tempdir()?;
    let upstream = Floor::without_answers(MCP_HTTP)?;
    let node = Node::start(arguments, folder.path(), ZONE, &[])?;
    node.register(&json!({"kind": "mcp", "url": url(upstream.address, "/mcp"), "as": "web"}))?;
    let slice = arguments.slice;
    let echoes: Vec<Value> =
        (0..CALLS).map(|number| call("echo", &json!({"text": format!("said {number}.")}))).collect();
    let said = |number: usize| format!("\"text\":\"said {number}.\"");
    let waits: Vec<Value> = (1..=CALLS).map(|ms| call("wait", &json!({"ms": ms}))).collect();
    let mut contestants = Vec::new();
    for (door, ask) in DOORS {
        let question = |calls: &[Value], holds: Vec<String>| Question {
            request: ask(&node.token, calls),
            expected: Expected::Holds(holds),
        };
        let singles: Arc<[Question]> =
            echoes.iter().enumerate().map(|(at, echo)| question(std::slice::from_ref(echo), vec![said(at)])).collect();
        let together: Arc<[Question]> = Arc::new([question(&echoes, (0..CALLS).map(said).collect())]);
        let waited = |ms: usize| format!("\"text\":\"waited {ms} ms\"");
        let longest: Arc<[Question]> = Arc::new([question(&waits[CALLS - 1..], vec![waited(CALLS)])]);
        let all_waits: Arc<[Question]> = Arc::new([question(&waits, (1..=CALLS).map(waited).collect())]);
        for (name, questions, connections, worth) in [
            (format!("{door}, one after the other"), &singles, 1, 1),
            ("the same again (A/A)".to_owned(), &singles, 1, 1),
            (format!("{door}, {CALLS} connections"), &singles, CALLS, 1),
            (format!("{door}, {CALLS} calls in one request"), &together, 1, CALLS),
            (format!("{door}, a call of {CALLS} ms alone"), &longest, 1, 1),
            (format!("{door}, calls of 1 to {CALLS} ms in one request"), &all_waits, 1, CALLS),
        ] {
            let (questions, node) = (Arc::clone(questions), &node);
            let visit = move || visit(&node.process, node.address, connections, &questions, worth, slice);
            contestants.push(Contestant::new(name, visit));
        }
    }
    let column = |key, title, digits, compared| Column { key, title, digits, compared };
    let mut sheet = Sheet {
        about: format!(
            "calls of an upstream over HTTP, {CALLS} of them one by one and in one request; latency is of requests"
        ),
        columns: vec![
            column(RATE, "calls/s", 0, true),
            column(CPU, "CPU µs", 1, true),
            column(P50, "p50 µs", 0, false),
            column(P99, "p99 µs", 0, false),
        ],
        rows: play("calls", arguments, contestants),
        ..Sheet::default()
    };
    for (at, (door, _)) in DOORS.into_iter().enumerate() {
        let row = |row: usize| at * ROWS + row;
        for (base, how) in [(SINGLE, "one after the other"), (AT_ONCE, "over as many connections")] {
            let rate = sheet.ratio(row(TOGETHER), row(base), RATE);
            sheet.aim(&format!("{door}, calls/s, {CALLS} in one request ÷ {how}"), rate, Bound::AtLeast(2.0), None);
        }
        let more = sheet.difference(row(WAITS), row(LONGEST), P50).map(|us| us / 1e3);
        sheet.aim(&format!("{door}, p50 of {CALLS} calls − the slowest of them, ms"), more, Bound::AtMost(10.0), None);
    }
    Ok(sheet)
}

fn call(tool: &str, arguments: &Value) -> Value {
    json!({"name": format!("{tool}.web.{ZONE}"), "arguments": arguments})
}

/// One alone goes to its own path.
fn over_http(token: &str, calls: &[Value]) -> Vec<u8> {
    let request = match calls {
        [one] => {
            let path = format!("/v1/tools/{}/call", one["name"].as_str().unwrap_or_default());
            request("POST", &path, token, &json!({"arguments": one["arguments"]}).to_string())
        }
        all => request("POST", "/v1/calls", token, &json!({"calls": all}).to_string()),
    };
    request.into_bytes()
}

fn over_mcp(_: &str, calls: &[Value]) -> Vec<u8> {
    match calls {
        [one] => mcp::call("call_tool", one),
        all => mcp::call("call_tool", &json!({"calls": all})),
    }
}

fn visit(
    node: &Process,
    address: SocketAddr,
    connections: usize,
    questions: &Arc<[Question]>,
    worth: usize,
    slice: Duration,
) -> Result<Sample> {
    // Node and upstream have enough to do for two processors.
    let mut load = Load::connect(&[address], connections, questions)?.asleep();
    let before = node.processor_time()?;
    let done = load.run(slice)?;
    let used = node.processor_time()? - before;
    let worth = worth as f64;
    Ok(Sample::from([
        (RATE, done.per_second() * worth),
        (CPU, used.as_secs_f64() * 1e6 / (done.answers as f64 * worth)),
        (P50, done.within_us(0.5)),
        (P99, done.within_us(0.99)),
    ]))
}
