//! `[call]`: a call of a tool that does nothing, to its server and through a node, with the same client.
//!
//! Client and server are the library's (rmcp), over Streamable HTTP without sessions, and over the pipes of a child. The node's client
//! speaks HTTP in either case, as there is no other way into a node for somebody on the network; processor time is that of the server
//! where it is called directly, and that of the node alone where it is called through it.

use std::net::SocketAddr;
use std::process::Command;

use serde_json::json;

use crate::Result;
use crate::arguments::{Arguments, tell};
use crate::floor::Floor;
use crate::node::Node;
use crate::rmcp_client::{RmcpClient, To};
use crate::rounds::{Contestant, play};
use crate::serving::{P50_ALONE, RATE, columns};
use crate::sheet::{Bound, Sheet};
use crate::upstream::{MCP_HTTP, MCP_PIPES};

const ZONE: &str = "research";

/// Rows, in their order.
const HTTP: usize = 0;
const NODE_HTTP: usize = 2;
const PIPES: usize = 3;
const NODE_PIPES: usize = 4;

pub(crate) fn measure(arguments: &Arguments) -> Result<Sheet> {
    tell("call: starting a node and upstreams");
    let folder = tempfile::tempdir()?;
    let upstream = Floor::without_answers(MCP_HTTP)?;
    let node = Node::start(arguments, folder.path(), ZONE, &[])?;
    node.register(&json!({"kind": "mcp", "url": url(upstream.address, "/mcp"), "as": "web"}))?;
    let program = std::env::current_exe()?;
    node.register(&json!({"kind": "stdio", "command": [program, "--floor", MCP_PIPES], "as": "pipes"}))?;
    let mut child = Command::new(program);
    child.args(["--floor", MCP_PIPES]);

    let zone = url(node.address, &format!("/z/{ZONE}/mcp"));
    let web = RmcpClient::connect(To::Http(url(upstream.address, "/mcp")), "echo")?;
    let pipes = RmcpClient::connect(To::Pipes(child), "echo")?;
    let through = RmcpClient::connect(To::Http(zone.clone()), "web__echo")?;
    let through_pipes = RmcpClient::connect(To::Http(zone), "pipes__echo")?;
    let slice = arguments.slice;
    let contestants = vec![
        Contestant::new("directly, HTTP", || web.visit(&[&upstream.process], slice)),
        Contestant::new("the same again (A/A)", || web.visit(&[&upstream.process], slice)),
        Contestant::new("through aop-node, HTTP", || through.visit(&[&node.process], slice)),
        Contestant::new("directly, the pipes of a child", || pipes.visit(&[], slice)),
        Contestant::new("through aop-node, the pipes of a child", || through_pipes.visit(&[&node.process], slice)),
    ];
    let mut sheet = Sheet {
        about: "an echo, rmcp on both sides, 16 calls under way; alone is one call under way".to_owned(),
        columns: columns("calls/s"),
        rows: play("call", arguments, contestants),
        ..Sheet::default()
    };
    for (row, base, what) in [(NODE_HTTP, HTTP, "HTTP"), (NODE_PIPES, PIPES, "pipes")] {
        let more = sheet.difference(row, base, P50_ALONE).map(|us| us / 1e3);
        sheet.aim(&format!("{what}, one call under way, p50 more, ms"), more, Bound::AtMost(0.4), None);
        let rate = sheet.ratio(row, HTTP, RATE);
        sheet.aim(&format!("{what}, 16 under way, calls/s ÷ directly over HTTP"), rate, Bound::AtLeast(0.6), None);
    }
    Ok(sheet)
}

/// Where something is served.
pub(crate) fn url(address: SocketAddr, path: &str) -> String {
    format!("http://{address}{path}")
}
