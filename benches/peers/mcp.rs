//! `[mcp]`: finding a tool by its exact name through MCP, beside a bare JSON-RPC endpoint and beside FastMCP.
//!
//! `tools/call` of `describe_tool` and of `search_tools`, stateless, revision 2026-07-28, on `POST /mcp`. The endpoint reads the request
//! as JSON-RPC, looks the name up in a map and answers with the same bytes; it knows no MCP: no headers, no capabilities, no era. FastMCP
//! has the same cards in a dictionary. Every request has one id, so that every answer to a name is the same.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::Result;
use crate::arguments::{Arguments, tell};
use crate::catalogue;
use crate::connection::Connection;
use crate::fastmcp;
use crate::floor::{self, AXUM_RPC, Floor};
use crate::load::{Expected, Question};
use crate::node::Node;
use crate::rounds::{Contestant, play};
use crate::serving::{CONNECTIONS, CPU, P99, RATE, Served, columns};
use crate::sheet::{Bound, Sheet};
use crate::table::count;

const TOOLS: usize = 10_000;
const NAMES: usize = 1_000;
const ZONE: &str = "research";
const REVISION: &str = "2026-07-28";

/// Rows, in their order.
const FLOOR: usize = 0;
const DESCRIBE: usize = 2;
const FLOOR_SEARCH: usize = 3;
const SEARCH: usize = 4;
const FASTMCP: usize = 5;

pub(crate) fn measure(arguments: &Arguments) -> Result<Sheet> {
    tell("mcp: starting a node");
    let folder = tempfile::tempdir()?;
    let zone = Node::with_tools(arguments, folder.path(), ZONE, TOOLS, &[])?;
    let names = catalogue::full_names(TOOLS, NAMES, ZONE);
    zone.wait_for(&names)?;

    let describes: Vec<Vec<u8>> = names.iter().map(|name| call("describe_tool", &json!({"name": name}))).collect();
    let searches: Vec<Vec<u8>> = names.iter().map(|name| call("search_tools", &json!({"query": name}))).collect();
    let described = ask_all(&zone, &describes)?;
    let searched = ask_all(&zone, &searches)?;
    let file = folder.path().join("results");
    let results = results(&names, "describe_tool", &described)?;
    let results = [results, self::results(&names, "search_tools", &searched)?].concat();
    floor::write(&file, results.iter().map(|(key, result)| (key.as_str(), result.as_bytes())))?;
    let floors = [Floor::start(AXUM_RPC, &file)?, Floor::start(AXUM_RPC, &file)?];
    tell("mcp: starting FastMCP");
    let fastmcp = fastmcp::start(&file);

    let exactly = |requests: &[Vec<u8>], bodies: &[Vec<u8>]| -> Arc<[Question]> {
        let pairs = requests.iter().zip(bodies);
        let question = |(request, body): (&Vec<u8>, &Vec<u8>)| Question {
            request: request.clone(),
            expected: Expected::Is(body.clone()),
        };
        pairs.map(question).collect()
    };
    let (describe, search) = (exactly(&describes, &described), exactly(&searches, &searched));
    let [floor, again] = floors.each_ref().map(|floor| Served::one(&floor.process, floor.address, &describe));
    let floor_search = Served::one(&floors[0].process, floors[0].address, &search);
    let (node, node_search) =
        (Served::one(&zone.process, zone.address, &describe), Served::one(&zone.process, zone.address, &search));
    let same_cards: Arc<[Question]> = names.iter().zip(&describes).map(|(name, ask)| card(name, ask)).collect();
    let slice = arguments.slice;
    let peer = "FastMCP, describe_tool, the same cards";
    let contestants = vec![
        Contestant::new("axum JSON-RPC, describe_tool's bytes", || floor.visit(slice)),
        Contestant::new("the same again (A/A)", || again.visit(slice)),
        Contestant::new("aop-node, describe_tool", || node.visit(slice)),
        Contestant::new("axum JSON-RPC, search_tools' bytes", || floor_search.visit(slice)),
        Contestant::new("aop-node, search_tools", || node_search.visit(slice)),
        match &fastmcp {
            Ok(running) => {
                let served = Served::one(&running.process, running.address, &same_cards);
                Contestant::new(peer, move || served.visit(slice))
            }
            Err(why) => Contestant::absent(peer, why),
        },
    ];
    let (tools, names) = (count(TOOLS), count(NAMES));
    let mut sheet = Sheet {
        about: format!(
            "a tool by its exact name, POST /mcp, tools/call, {tools} tools, {names} names in turn, {} and {} bytes, {CONNECTIONS} connections",
            described[0].len(),
            searched[0].len()
        ),
        columns: columns("calls/s"),
        rows: play("mcp", arguments, contestants),
        ..Sheet::default()
    };
    for (row, base, what) in [(DESCRIBE, FLOOR, "describe_tool"), (SEARCH, FLOOR_SEARCH, "search_tools")] {
        let (rate, cpu) = (sheet.ratio(row, base, RATE), sheet.ratio(row, base, CPU));
        sheet.aim(&format!("{what}, calls/s ÷ axum"), rate, Bound::AtLeast(0.8), Some(Bound::AtLeast(0.95)));
        sheet.aim(&format!("{what}, CPU ÷ axum"), cpu, Bound::AtMost(1.3), None);
    }
    let (cpu, p99) = (sheet.ratio(DESCRIBE, FASTMCP, CPU), sheet.ratio(DESCRIBE, FASTMCP, P99));
    sheet.aim("describe_tool, CPU ÷ FastMCP", cpu, Bound::AtMost(1.0 / 50.0), Some(Bound::AtMost(1.0 / 100.0)));
    sheet.aim("describe_tool, p99 ÷ FastMCP", p99, Bound::AtMost(1.0 / 20.0), Some(Bound::AtMost(1.0 / 100.0)));
    Ok(sheet)
}

/// A call as a client of that revision sends it: method and name in the headers as well.
pub(crate) fn call(tool: &str, arguments: &Value) -> Vec<u8> {
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {
        "name": tool,
        "arguments": arguments,
        "_meta": {
            "io.modelcontextprotocol/protocolVersion": REVISION,
            "io.modelcontextprotocol/clientInfo": {"name": "peers", "version": "1"},
            "io.modelcontextprotocol/clientCapabilities": {},
        },
    }})
    .to_string();
    let length = body.len();
    let head = format!(
        "POST /mcp HTTP/1.1\r\nHost: localhost\r\nAccept: application/json, text/event-stream\r\n\
         Content-Type: application/json\r\nMCP-Protocol-Version: {REVISION}\r\nMcp-Method: tools/call\r\nMcp-Name: {tool}\r\n\
         Content-Length: {length}\r\n\r\n"
    );
    (head + &body).into_bytes()
}

fn ask_all(node: &Node, requests: &[Vec<u8>]) -> Result<Vec<Vec<u8>>> {
    let mut connection = Connection::open(node.address)?;
    requests.iter().map(|request| Ok(connection.send(request)?.1)).collect()
}

/// The results in these answers, by tool and name, for whoever serves the same; each has to be about its name.
fn results(names: &[String], tool: &str, bodies: &[Vec<u8>]) -> Result<Vec<(String, String)>> {
    let result = |(name, body): (&String, &Vec<u8>)| {
        let answer: Value = serde_json::from_slice(body)?;
        let result = &answer["result"];
        let of_name = result["structuredContent"].to_string().contains(&format!("\"name\":\"{name}\""));
        if result["isError"] != false || !of_name {
            return Err(format!("{tool} of {name} is answered {answer}").into());
        }
        Ok((format!("{tool} {name}"), result.to_string()))
    };
    names.iter().zip(bodies).map(result).collect()
}

/// The same question to somebody else, whose answer has the same card in it.
fn card(name: &str, request: &[u8]) -> Question {
    let holds = [format!("\"name\":\"{name}\""), "\"isError\":false".to_owned(), "\"inputSchema\":".to_owned()];
    Question { request: request.to_vec(), expected: Expected::Holds(holds.to_vec()) }
}
