//! What a client port is sent by mistake or by malice: more than two hundred bad inputs, written by hand, each with the answer it gets.
//!
//! None may be answered with a 5xx, none may hang, and the node lives on. An area is a table; what is the same for all of them, how
//! an answer is read and judged, stands in `case`.

#[path = "bad_inputs/case.rs"]
mod case;
#[path = "bad_inputs/h2.rs"]
mod h2;
#[path = "bad_inputs/http1.rs"]
mod http1;
#[path = "bad_inputs/json.rs"]
mod json_bodies;
#[path = "bad_inputs/mcp.rs"]
mod mcp;
#[path = "bad_inputs/parameters.rs"]
mod parameters;
#[path = "bad_inputs/registrations.rs"]
mod registrations;
mod support;

use std::sync::Mutex;

use case::Case;
use serde_json::json;
use support::{Fixture, World};

/// Sent at once, so that the ones that are waited for do not add up.
const SENDERS: usize = 16;
/// The promise: no input takes more.
const PEAK_MIB_MAX: u64 = 512;

#[test]
fn over_two_hundred_bad_inputs_are_refused_and_hurt_nobody() {
    let world = World::new();
    let node = world.node("node").zone("research").start();
    let fixture = Fixture::new(&world, "papers");
    node.register("papers", &fixture.command());
    let token = node.token();
    let areas = [
        http1::cases(),
        h2::cases(),
        json_bodies::cases(&token),
        mcp::cases(),
        parameters::cases(&token),
        registrations::cases(&token),
    ];
    let mut cases: Vec<Case> = areas.into_iter().flatten().collect();
    assert!(cases.len() >= 200, "only {} cases", cases.len());
    cases.reverse();
    let cases = Mutex::new(cases);
    let wrong = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..SENDERS {
            scope.spawn(|| {
                while let Some(case) = cases.lock().map_or(None, |mut cases| cases.pop()) {
                    if let Err(why) = case.send(&node.address) {
                        wrong.lock().expect("no sender panics").push(why);
                    }
                }
            });
        }
    });
    let wrong = wrong.into_inner().expect("no sender panics");
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));

    for path in ["/livez", "/readyz", "/metrics"] {
        node.get(path).is(200);
    }
    let said = node.call("echo.papers.research", &json!({"text": "still here"}));
    assert_eq!(said["content"][0]["text"], "still here");
    assert!(node.peak_mib() < PEAK_MIB_MAX, "{} MiB", node.peak_mib());
    assert!(!node.log_text().contains("panicked"), "{}", node.log_text());
    node.aop(["audit", "--verify"]).ok();
}
