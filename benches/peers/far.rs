//! `[far]`: what one QUIC hop adds to a call, beside a bare QUIC request.
//!
//! Two nodes of one zone and an upstream of the first, all on the first processor; whoever calls has the other. Called is the zone's door
//! of the first node, and that of the second, which passes the call on. What the second adds is its door as well: a call that came over
//! HTTP is read, found and signed before it goes, and its home checks whose it is.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::Result;
use crate::arguments::{Arguments, tell};
use crate::busy::echo;
use crate::call::url;
use crate::connection::Connection;
use crate::floor::Floor;
use crate::hop;
use crate::load::{Expected, Question};
use crate::node::{Node, Unusual};
use crate::rounds::{Contestant, play};
use crate::serving::{P50_ALONE, Served, columns};
use crate::sheet::{Bound, Sample, Sheet};
use crate::upstream::MCP_HTTP;

const ZONE: &str = "research";
/// Until the second node knows the tool and reaches its home.
const PATIENCE: Duration = Duration::from_secs(20);

/// Rows, in their order.
const BARE: usize = 0;
const NEAR: usize = 1;
const FAR: usize = 3;

pub(crate) fn measure(arguments: &Arguments) -> Result<Sheet> {
    tell("far: starting nodes");
    let folder = tempfile::tempdir()?;
    let upstream = Floor::pinned(MCP_HTTP)?;
    let pinned = Unusual { is_pinned: true, ..Unusual::default() };
    let home = Node::unusual(arguments, &folder.path().join("home"), ZONE, &[], pinned)?;
    home.register(&json!({"kind": "mcp", "url": url(upstream.address, "/mcp"), "as": "web"}))?;
    let join = home.address.to_string();
    let other = Node::unusual(arguments, &folder.path().join("other"), ZONE, &["--join", &join], pinned)?;
    let request = echo("web__echo");
    let said = "\"text\":\"hello\"";
    let began = Instant::now();
    loop {
        let answer = Connection::open(other.address)?.send(&request)?.1;
        if String::from_utf8_lossy(&answer).contains(said) {
            break;
        }
        if began.elapsed() > PATIENCE {
            return Err(format!("the second node does not call: {}", String::from_utf8_lossy(&answer)).into());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    let questions: Arc<[Question]> = Arc::new([Question { request, expected: Expected::Holds(vec![said.to_owned()]) }]);
    let near = Served::one(&home.process, home.address, &questions);
    let far = Served::several_at([&home.process, &other.process], other.address, &questions);
    let slice = arguments.slice;
    let bare = || {
        let bare = hop::bare(slice)?;
        Ok(Sample::from([(P50_ALONE, bare)]))
    };
    let contestants = vec![
        Contestant::new("bare QUIC, 1 KiB each way", bare),
        Contestant::new("its home", || near.visit(slice)),
        Contestant::new("the same again (A/A)", || near.visit(slice)),
        Contestant::new("a node beside it", || far.visit(slice)),
    ];
    let mut sheet = Sheet {
        about: "a call of an upstream of one node, asked of it and of another of its zone; CPU of both nodes"
            .to_owned(),
        columns: columns("calls/s"),
        rows: play("far", arguments, contestants),
        ..Sheet::default()
    };
    let more = sheet.difference(FAR, NEAR, P50_ALONE);
    let ratio = more.zip(sheet.median(BARE, P50_ALONE)).map(|(more, bare)| more / bare);
    sheet.aim("p50 more ÷ bare QUIC", ratio, Bound::AtMost(1.3), None);
    if let Some(more) = more {
        sheet.notes.push(format!("p50 more: {more:.0} µs"));
    }
    Ok(sheet)
}
