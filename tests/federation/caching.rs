//! What nodes keep of each other's answers, shown and forgotten.

use serde_json::{Value, json};

use crate::support::{Fixture, Node, SOON, World, eventually, results};
use crate::{Federation, found};

const TOOL: &str = "echo.pay.research";

fn source(node: &Node) -> String {
    let answer = node.try_resolve(TOOL, &["--exact"]).ok().json();
    results(&answer)[0]["source"].as_str().unwrap_or_default().to_owned()
}

fn levels(node: &Node) -> Vec<Value> {
    node.aop(["cache", "show", "--json"]).ok().json()["levels"].as_array().cloned().unwrap_or_default()
}

#[test]
fn an_answer_is_kept_until_it_is_forgotten_and_only_what_was_meant() {
    let world = World::new();
    let federation = Federation::start(&world);
    let fixture = Fixture::new(&world, "pay");
    federation.research.register("pay", &fixture.command());
    let writing = &federation.writing;
    found(writing, TOOL);
    let kept = |level: usize| levels(writing)[level]["entries"].as_u64().unwrap_or_default();
    // What changes in the other zone meanwhile ends it.
    eventually("it is kept at every level", SOON, || {
        let now = source(writing);
        if now == "l1" && (0..3).all(|level| kept(level) > 0) { Ok(()) } else { Err(format!("{:?}", levels(writing))) }
    });
    assert_eq!(levels(writing)[0]["life_max_ms"], json!(60_000));
    writing.aop(["cache", "flush", "--zone", "elsewhere"]).ok();
    eventually("L1 is forgotten, L2 is not", SOON, || match source(writing).as_str() {
        "l2" | "l1" => Ok(()),
        other => Err(other.to_owned()),
    });
    writing.aop(["cache", "flush", "--zone", "research"]).ok();
    eventually("it is asked for anew", SOON, || match source(writing).as_str() {
        "parent" => Ok(()),
        other => {
            writing.aop(["cache", "flush"]).ok();
            Err(other.to_owned())
        }
    });
    let refused = writing.aop(["cache", "flush", "--zone", "no such zone"]);
    assert_eq!(refused.code, 2, "{}", refused.err);
}
