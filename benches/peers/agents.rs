//! `[agents]`: agents that do nothing, behind a node and behind the servers of swarms, called by one and the same client.
//!
//! The client is Python's (mcp 1.x), a session for each of sixteen callers, each of which has a tool of its own. Processor time is the
//! server's: with swarms the agents are in the same process; behind the node they are plain HTTP agents of another, which is left out in
//! one row and counted in the other. With its queue on, AOP spends most of a call asleep, so its calls a second say nothing of its work.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::Result;
use crate::arguments::{Arguments, tell};
use crate::call::url;
use crate::floor::Floor;
use crate::node::Node;
use crate::process::Process;
use crate::rounds::{Contestant, play};
use crate::serving::{CONNECTIONS, P50, P99, RATE};
use crate::sheet::{Bound, Column, Sample, Sheet};
use crate::upstream::AGENTS;
use crate::venv::{self, Peer};

const ZONE: &str = "research";
const CLIENT: &str = include_str!("agents_client.py");
const PEER: &str = include_str!("agents_peer.py");
/// A queue that is looked at every tenth of a second gives nine answers in one.
const SLICE_MIN: Duration = Duration::from_secs(2);
const BY_CPU: &str = "calls_per_cpu_second";

/// Each peer: its name, what it is called by its program, and by how much a node is to have more calls a processor second.
const PEERS: [(&str, &str, f64); 3] = [
    ("swarms AOP 14.0.2 without queue", "aop", 10.0),
    ("swarms AOP 14.0.2 with queue, its default", "aop-queue", 100.0),
    ("swarms MCPDeployer 16.0.3", "deployer", 1.5),
];

/// Rows before those of peers.
const NODE: usize = 0;
const BOTH: usize = 2;

/// The client, connected to one server.
struct Client {
    _process: Process,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Client {
    fn start(python: &Path, program: &Path, url: &str, tools: &[String]) -> Result<Self> {
        let mut child = Command::new(python)
            .arg(program)
            .args([url, &CONNECTIONS.to_string()])
            .args(tools)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let (input, output) = (child.stdin.take().ok_or("no input")?, child.stdout.take().ok_or("no output")?);
        let mut client = Self { _process: Process::from(child), input, output: BufReader::new(output) };
        match client.line()?.as_str() {
            "ready" => Ok(client),
            other => Err(format!("the client of {url} says {other:?}").into()),
        }
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        Ok(line.trim().to_owned())
    }

    fn visit(&mut self, servers: &[&Process], slice: Duration) -> Result<Sample> {
        let used = || servers.iter().map(|server| server.processor_time()).sum::<std::io::Result<Duration>>();
        let before = used()?;
        writeln!(self.input, "{}", slice.max(SLICE_MIN).as_secs_f64())?;
        let line = self.line()?;
        let used = used()? - before;
        let done: Value = serde_json::from_str(&line).map_err(|_| format!("a call went wrong: {line:?}"))?;
        let figure = |key: &str| done[key].as_f64().ok_or("a figure is missing");
        Ok(Sample::from([
            (BY_CPU, figure("calls")? / used.as_secs_f64()),
            (RATE, figure("calls")? / figure("took")?),
            (P50, figure("p50")? * 1e3),
            (P99, figure("p99")? * 1e3),
        ]))
    }
}

pub(crate) fn measure(arguments: &Arguments) -> Result<Sheet> {
    let folder = tempfile::tempdir()?;
    let (client, peer) = (folder.path().join("client.py"), folder.path().join("peer.py"));
    fs::write(&client, CLIENT)?;
    fs::write(&peer, PEER)?;
    tell("agents: installing swarms");
    let old = venv::with("swarms-14.0.2", &["swarms==14.0.2", "mcp>=1.28.1,<2"])?;
    let new = venv::with("swarms-16.0.3", &["swarms==16.0.3"]);
    tell("agents: starting a node and peers");
    let agents = Floor::without_answers(AGENTS)?;
    let node = Node::start(arguments, folder.path(), ZONE, &[])?;
    let names: Vec<String> = (0..CONNECTIONS).map(|number| format!("agent_{number:04}")).collect();
    for name in &names {
        node.register(&json!({"kind": "agent", "url": url(agents.address, &format!("/{name}")), "as": name}))?;
    }
    let wire: Vec<String> = names.iter().map(|name| format!("{name}__{name}")).collect();
    let mut through = Client::start(&old, &client, &url(node.address, &format!("/z/{ZONE}/mcp")), &wire)?;
    let through = std::cell::RefCell::new(&mut through);
    let slice = arguments.slice;
    let mut contestants = vec![
        Contestant::new("aop-node", || through.borrow_mut().visit(&[&node.process], slice)),
        Contestant::new("the same again (A/A)", || through.borrow_mut().visit(&[&node.process], slice)),
        Contestant::new("aop-node and its agents", || {
            through.borrow_mut().visit(&[&node.process, &agents.process], slice)
        }),
    ];
    for (name, kind, _) in PEERS {
        let python = match (kind, &new) {
            ("deployer", Ok(new)) => new,
            ("deployer", Err(why)) => {
                contestants.push(Contestant::absent(name, why));
                continue;
            }
            _ => &old,
        };
        let many = CONNECTIONS.to_string();
        let started = Peer::start(python, &peer, &[kind, "{port}", &many], folder.path());
        let asked = started.and_then(|peer| {
            let client = Client::start(&old, &client, &url(peer.address, "/mcp"), &names)?;
            Ok((peer, client))
        });
        contestants.push(match asked {
            Ok((peer, mut client)) => Contestant::new(name, move || client.visit(&[&peer.process], slice)),
            Err(why) => Contestant::absent(name, why),
        });
    }
    let column = |key, title, digits, compared| Column { key, title, digits, compared };
    let mut sheet = Sheet {
        about: format!("{CONNECTIONS} agents that do nothing, {CONNECTIONS} callers of one Python client"),
        columns: vec![
            column(BY_CPU, "calls per CPU s", 0, true),
            column(RATE, "calls/s", 0, false),
            column(P50, "p50 ms", 1, false),
            column(P99, "p99 ms", 1, false),
        ],
        rows: play("agents", arguments, contestants),
        ..Sheet::default()
    };
    for (at, (name, _, times)) in PEERS.iter().enumerate() {
        let ratio = sheet.ratio(NODE, BOTH + 1 + at, BY_CPU);
        sheet.aim(&format!("calls per CPU second ÷ {name}"), ratio, Bound::AtLeast(*times), None);
    }
    Ok(sheet)
}
