//! This node beside what others would put in its place, and beside the least that such an answer can cost.
//!
//! `cargo peers [GROUP]… [--json] [--rounds N] [--seconds S] [--large] [--node PROGRAM]`. Each group is a table: programs of ours, peers
//! and *floors*. A floor does only what cannot be left out (a bare HTTP endpoint over a map, a bare QUIC request), so the ratio says
//! what we add, whatever the machine; rates alone say little. Floors are this program started again, so that everybody measured is a
//! process of its own. Every round visits everybody, in another order each, and medians of rounds, and of ratios within a round,
//! count. One floor runs under a second name: what these two differ by is noise.
//!
//! Always true: an answer that is not the expected one ends its row with the reason, so nothing broken looks fast; what was started ends
//! with this program, however it fails.

#[path = "peers/agents.rs"]
mod agents;
#[path = "peers/arguments.rs"]
mod arguments;
#[path = "peers/bare_quic.rs"]
mod bare_quic;
#[path = "peers/batch.rs"]
mod batch;
#[path = "peers/busy.rs"]
mod busy;
#[path = "peers/call.rs"]
mod call;
#[path = "peers/calls.rs"]
mod calls;
#[path = "peers/catalogue.rs"]
mod catalogue;
#[path = "peers/chain.rs"]
mod chain;
#[path = "support/connection.rs"]
mod connection;
#[path = "peers/far.rs"]
mod far;
#[path = "peers/fastmcp.rs"]
mod fastmcp;
#[path = "peers/floor.rs"]
mod floor;
#[path = "peers/hop.rs"]
mod hop;
#[path = "peers/http.rs"]
mod http;
#[path = "peers/json.rs"]
mod json;
#[path = "peers/labelled.rs"]
mod labelled;
#[path = "peers/library.rs"]
mod library;
#[path = "peers/load.rs"]
mod load;
#[path = "peers/many.rs"]
mod many;
#[path = "peers/mcp.rs"]
mod mcp;
#[path = "peers/memory.rs"]
mod memory;
#[path = "support/memory.rs"]
mod memory_of;
#[path = "peers/node.rs"]
mod node;
#[path = "support/process.rs"]
mod process;
#[path = "peers/replicas.rs"]
mod replicas;
#[path = "support/request.rs"]
mod request;
#[path = "peers/rmcp_client.rs"]
mod rmcp_client;
#[path = "peers/rounds.rs"]
mod rounds;
#[path = "peers/serving.rs"]
mod serving;
#[path = "peers/sheet.rs"]
mod sheet;
#[path = "support/start.rs"]
mod start;
#[path = "peers/table.rs"]
mod table;
#[path = "peers/trace.rs"]
mod trace;
#[path = "peers/upstream.rs"]
mod upstream;
#[path = "peers/venv.rs"]
mod venv;
#[path = "peers/view.rs"]
mod view;
#[path = "peers/words.rs"]
mod words;
#[path = "peers/zipf.rs"]
mod zipf;
#[path = "peers/zones.rs"]
mod zones;

use std::process::ExitCode;

use arguments::{Arguments, Asked};
use sheet::Sheet;

/// As the node allocates, so do floors.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

type Measure = fn(&Arguments) -> Result<Sheet>;

/// Every group: how it is asked for, and what measures it.
const GROUPS: [(&str, Measure); 17] = [
    ("http", http::measure),
    ("mcp", mcp::measure),
    ("batch", batch::measure),
    ("view", view::measure),
    ("zipf", zipf::measure),
    ("words", words::measure),
    ("zones", zones::measure),
    ("replicas", replicas::measure),
    ("memory", memory::measure),
    ("hop", hop::measure),
    ("call", call::measure),
    ("calls", calls::measure),
    ("agents", agents::measure),
    ("list", busy::lists),
    ("busy", busy::measure),
    ("many", many::measure),
    ("far", far::measure),
];

fn main() -> ExitCode {
    let arguments = match arguments::read(std::env::args().skip(1), &GROUPS.map(|(name, _)| name)) {
        Ok(Asked::Floor(words)) => return ended(floor::run(&words)),
        Ok(Asked::Groups(arguments)) => arguments,
        Err(usage) => {
            eprintln!("{usage}");
            return ExitCode::from(2);
        }
    };
    ended(compare(&arguments))
}

fn compare(arguments: &Arguments) -> Result<()> {
    let mut sheets = Vec::new();
    for (name, measure) in GROUPS {
        if !arguments.wants(name) {
            continue;
        }
        let sheet = measure(arguments).map_err(|error| format!("{name}: {error}"))?;
        if !arguments.json {
            print!("{}", table::group(name, &sheet));
        }
        sheets.push((name, sheet));
    }
    if arguments.json {
        println!("{}", json::report(arguments, &sheets));
    } else {
        println!("{}", table::HOW_TO_READ);
    }
    let failed: Vec<&str> = sheets.iter().flat_map(|(_, sheet)| sheet.failures()).collect();
    if failed.is_empty() { Ok(()) } else { Err(failed.join("; ").into()) }
}

fn ended(result: Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("peers: {error}");
            ExitCode::FAILURE
        }
    }
}
