//! The attacked: two nodes of one zone, and what has to hold at both of them whatever anybody says.

use std::collections::BTreeSet;

use aop_proto::name::ZoneName;
use serde_json::{Value, json};

use crate::support::{Fixture, Node, PATIENT, Ran, SOON, World, eventually, raw};

/// In the name of everything that must never be seen.
pub(crate) const FORGED: &str = "forged";

/// Resident memory of a node at its highest, whatever comes in. Source: research on security §2.8, the default profile.
pub(crate) const CEILING_MIB: u64 = 512;

/// What was not believed.
pub(crate) const REFUSED: &str = "aop_records_refused_total";

/// What could not be read, or was not its sender's to say.
pub(crate) const BAD_FRAMES: &str = "aop_frames_bad_total";

pub(crate) const ZONE: &str = "research";

pub(crate) fn zone_name() -> ZoneName {
    ZoneName::parse(ZONE).expect("a name")
}

/// Two replicas of `research`, each with a server of its own. Everything is said to `one`; `other` is its honest fellow.
pub(crate) struct Victims {
    pub(crate) one: Node,
    pub(crate) other: Node,
    pub(crate) world: World,
}

impl Victims {
    pub(crate) fn start() -> Self {
        let world = World::new();
        let one = world.node("one").zone(ZONE).start();
        let other = world.node("other").zone(ZONE).args(["--join", &one.address]).start();
        one.register("papers", &Fixture::new(&world, "papers").command());
        other.register("shop", &Fixture::new(&world, "shop").command());
        let victims = Self { one, other, world };
        victims.serve();
        victims
    }

    pub(crate) fn both(&self) -> [&Node; 2] {
        [&self.one, &self.other]
    }

    /// Each finds and calls what the other serves, and what it serves itself, now or soon.
    #[track_caller]
    pub(crate) fn serve(&self) {
        for node in self.both() {
            for tool in ["echo.papers.research", "echo.shop.research"] {
                eventually(&format!("{tool} is found and called at {}", node.address), PATIENT, || {
                    let found = answer(node, tool)?;
                    let first = &found["results"][0];
                    if first["name"] != tool || first["health"]["state"] != "ok" {
                        return Err(found.to_string());
                    }
                    let called = try_call(node, tool)?;
                    if called["result"]["content"][0]["text"] == "hello" { Ok(()) } else { Err(called.to_string()) }
                });
            }
        }
    }

    /// Nothing forged is shown by either of them, by no door; both go on as before, and neither has grown or failed.
    #[track_caller]
    pub(crate) fn are_honest(&self) {
        self.serve();
        for node in self.both() {
            let found = names(&answer(node, "forged tool of an enemy").expect("an answer"), "results");
            let listed = names(&node.get("/v1/tools?n=1000").is(200).json(), "tools");
            for name in found.iter().chain(&listed) {
                assert!(!name.contains(FORGED), "{name} at {}", node.address);
            }
            is_well(node);
        }
    }

    /// The same through the command line, as a user sees it.
    #[track_caller]
    pub(crate) fn are_honest_to_users(&self) {
        self.are_honest();
        for node in self.both() {
            for ran in [node.aop(["ls", "-o", "name"]), node.aop(["resolve", "forged tool of an enemy", "-o", "name"])]
            {
                is_silent_about_it(&ran);
            }
            node.try_resolve("forged.enemy.research", &["--exact"]).exits(6);
            assert_eq!(node.call("echo.papers.research", &json!({"text": "hello"}))["content"][0]["text"], "hello");
        }
    }

    /// Waits until both show what is properly said.
    #[track_caller]
    pub(crate) fn show(&self, tool: &str) {
        for node in self.both() {
            eventually(&format!("{tool} is shown at {}", node.address), SOON, || {
                let listed = listed(node);
                if listed.contains(tool) { Ok(()) } else { Err(format!("{listed:?}")) }
            });
        }
    }

    /// Waits until neither shows it.
    #[track_caller]
    pub(crate) fn hide(&self, tool: &str) {
        for node in self.both() {
            eventually(&format!("{tool} is gone at {}", node.address), SOON, || {
                let listed = listed(node);
                if listed.contains(tool) { Err(format!("{listed:?}")) } else { Ok(()) }
            });
        }
    }
}

fn is_silent_about_it(ran: &Ran) {
    assert!(!ran.out.contains(FORGED), "{ran}");
}

/// No panic, no broken promise, no memory above the ceiling.
#[track_caller]
pub(crate) fn is_well(node: &Node) {
    let log = node.log_text();
    for word in ["panicked", "connection task failed", "internal error"] {
        assert!(!log.contains(word), "`{word}` in the log of {}", node.address);
    }
    let peak = node.peak_mib();
    assert!(peak > 0 && peak < CEILING_MIB, "{peak} MiB at {}", node.address);
}

/// A counter of `/metrics`, with its labels if it has any.
#[track_caller]
pub(crate) fn counter(node: &Node, name: &str) -> u64 {
    let authorization = format!("Bearer {}", node.token());
    let reply = raw::request(&node.address, "GET", "/metrics", &[("Authorization", &authorization)], b"");
    let text = reply.is(200).text();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no counter {name} in\n{text}"))
}

/// Waits until a counter has come to a number.
#[track_caller]
pub(crate) fn counts(node: &Node, name: &str, wanted: u64) {
    eventually(&format!("{name} comes to {wanted}"), SOON, || {
        let now = counter(node, name);
        if now >= wanted { Ok(()) } else { Err(now.to_string()) }
    });
}

/// The names of all tools that a node lists.
pub(crate) fn listed(node: &Node) -> BTreeSet<String> {
    names(&node.get("/v1/tools?n=1000").is(200).json(), "tools").into_iter().collect()
}

fn names(json: &Value, of: &str) -> Vec<String> {
    let all = json[of].as_array().unwrap_or_else(|| panic!("no {of} in {json}"));
    all.iter().map(|one| one["name"].as_str().unwrap_or_default().to_owned()).collect()
}

/// What a node answers to a question, uncached.
pub(crate) fn answer(node: &Node, question: &str) -> Result<Value, String> {
    let query = question.replace(' ', "+");
    let reply = raw::try_request(&node.address, "GET", &format!("/v1/resolve?q={query}&no_cache=true"), &[], b"");
    let reply = reply.map_err(|error| error.to_string())?;
    match reply.status {
        200 => Ok(reply.json()),
        other => Err(format!("{other} {}", reply.text())),
    }
}

fn try_call(node: &Node, tool: &str) -> Result<Value, String> {
    let reply = node.send("POST", &format!("/v1/tools/{tool}/call"), &json!({"arguments": {"text": "hello"}}));
    match reply.status {
        200 => Ok(reply.json()),
        other => Err(format!("{other} {}", reply.text())),
    }
}
