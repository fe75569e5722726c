//! A zone's key is rotated again and again while its tools change and are asked for, and while one of its nodes is away.
//!
//! What must hold: every registration that was acknowledged is found at every node in the end and nothing that was taken back, no
//! question is refused for want of trust, the parent follows, and who was away for two rotations comes back and is believed.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use serde_json::{Value, json};

use super::{delegated, found};
use crate::support::raw::try_request;
use crate::support::{Fixture, Node, PATIENT, SOON, World, eventually};

/// Names that one writer registers and takes back, in turn.
const NAMES: usize = 40;

/// What was acknowledged of each name: registered, or taken back.
type Acknowledged = Mutex<BTreeMap<String, bool>>;

/// Where to ask, for whoever asks while the node may be away.
struct Door {
    address: String,
    token: String,
}

impl Door {
    fn of(node: &Node) -> Self {
        Self { address: node.address.clone(), token: format!("Bearer {}", node.token()) }
    }

    fn send(&self, method: &str, path: &str, body: &Value) -> Option<(u16, String)> {
        let headers = [("Authorization", self.token.as_str()), ("Content-Type", "application/json")];
        let reply = try_request(&self.address, method, path, &headers, body.to_string().as_bytes()).ok()?;
        Some((reply.status, reply.text()))
    }
}

/// Registers and takes back until told to stop, and remembers what was acknowledged. While its node is away nobody answers: what
/// was on its way then may have been taken or not, and is said again until it is known.
fn write(door: &Door, label: &str, acknowledged: &Acknowledged, stop: &AtomicBool) {
    let mut turn = 0;
    while !stop.load(Relaxed) {
        let name = format!("{label}_{}", turn % NAMES);
        let full = format!("{name}.{label}.research");
        let registering = (turn / NAMES).is_multiple_of(2);
        let reply = if registering {
            let tool = json!({"name": name, "server": label, "inputSchema": {"type": "object"}});
            door.send("POST", "/v1/tools", &json!({"tools": [tool]}))
        } else {
            door.send("DELETE", &format!("/v1/tools/{full}"), &json!({}))
        };
        match reply {
            // It was taken back by a request whose answer was lost.
            Some((404, _)) if !registering => {}
            Some((status, text)) => assert!((200..300).contains(&status), "{full}: {status} {text}"),
            None => {
                crate::support::wait::pause();
                continue;
            }
        }
        acknowledged.lock().expect("no writer fails").insert(full, registering);
        turn += 1;
    }
}

/// Asks until told to stop; every answer is whole and names what was asked for. While a gateway is `away` the one that was asked may
/// have been that, and then the answer says so.
fn ask(door: &Door, name: &str, away: &AtomicBool, stop: &AtomicBool) -> u32 {
    let mut asked = 0;
    while !stop.load(Relaxed) {
        let was_away = away.load(Relaxed);
        let (status, text) =
            door.send("GET", &format!("/v1/resolve?q={name}&no_cache=true"), &json!({})).expect("it is not away");
        let answer: Value = serde_json::from_str(&text).expect("JSON");
        if status == 200 && answer["partial"] == true && (was_away || away.load(Relaxed)) {
            continue;
        }
        assert!(status == 200 && answer["partial"] == false, "{status} {answer}");
        assert_eq!(answer["results"][0]["name"], name, "{answer}");
        asked += 1;
    }
    asked
}

fn keys(node: &Node) -> Value {
    node.get("/v1/keys").is(200).json()
}

/// Waits until a node believes the zone's key of that epoch.
#[track_caller]
fn believes(node: &Node, epoch: u64) {
    eventually(&format!("{} believes epoch {epoch}", node.address), SOON, || {
        let keys = keys(node);
        let known = keys["keys"].as_array().into_iter().flatten().find(|key| key["zone"] == "research").cloned();
        if known.is_some_and(|known| known["epoch"] == epoch && known["frozen"] == false) {
            Ok(())
        } else {
            Err(keys.to_string())
        }
    });
}

#[track_caller]
fn rotate(node: &Node, epoch: u64) {
    let rotated = node.aop(["keys", "rotate", "--json"]).ok().json();
    assert_eq!(rotated["epoch"], epoch, "{rotated}");
}

fn listed(node: &Node) -> Vec<String> {
    let tools = node.get("/v1/tools?n=1000").is(200).json();
    tools["tools"].as_array().into_iter().flatten().filter_map(|tool| Some(tool["name"].as_str()?.to_owned())).collect()
}

#[test]
fn keys_are_rotated_while_everything_goes_on() {
    let world = World::new();
    let root = world.node("root").zone(".").start();
    let one = world.node("one").zone("research").parent(&root).start();
    delegated(&one);
    let two = world.node("two").zone("research").parent(&root).start();
    let mut three = world.node("three").zone("research").parent(&root).start();
    let fixture = Fixture::new(&world, "papers");
    one.register("papers", &fixture.command());
    let name = "echo.papers.research";
    for node in [&root, &two, &three] {
        found(node, name);
    }

    let doors = [&one, &two, &three].map(Door::of);
    let askers = [&root, &one, &two].map(Door::of);
    let (acknowledged, away, stop) = (Acknowledged::default(), AtomicBool::new(false), AtomicBool::new(false));
    std::thread::scope(|scope| {
        // Whatever fails below, nobody goes on for ever.
        let _stopped = StopAtEnd(&stop);
        for (door, label) in doors.iter().zip(["wone", "wtwo", "wthree"]) {
            scope.spawn(|| write(door, label, &acknowledged, &stop));
        }
        let asking: Vec<_> = askers.iter().map(|door| scope.spawn(|| ask(door, name, &away, &stop))).collect();

        rotate(&one, 2);
        for node in [&root, &two, &three] {
            believes(node, 2);
        }
        away.store(true, Relaxed);
        three.kill();
        for epoch in [3, 4] {
            rotate(&one, epoch);
            for node in [&root, &two] {
                believes(node, epoch);
            }
        }
        three.start_again();
        believes(&three, 4);
        found(&root, name);
        away.store(false, Relaxed);
        rotate(&one, 5);
        for node in [&root, &two, &three] {
            believes(node, 5);
        }
        stop.store(true, Relaxed);
        for asking in asking {
            assert!(asking.join().expect("no answer was bad") > 0, "it was asked meanwhile");
        }
    });

    // The one that was away is certified by the last key, and what it writes is taken.
    let key = keys(&one)["key"].clone();
    for node in [&two, &three] {
        eventually(&format!("{} is certified by the last key", node.address), PATIENT, || {
            let keys = keys(node);
            if keys["chain"][0]["issuer"] == key { Ok(()) } else { Err(keys.to_string()) }
        });
    }
    three.register("after", &Fixture::new(&world, "after").command());
    let acknowledged = acknowledged.into_inner().expect("no writer failed");
    assert!(acknowledged.len() > NAMES / 2, "much was written: {}", acknowledged.len());
    for node in [&one, &two, &three] {
        found(node, "echo.after.research");
        eventually(&format!("{} holds what was acknowledged", node.address), SOON, || {
            let listed = listed(node);
            let wrong: Vec<_> = acknowledged.iter().filter(|(name, there)| listed.contains(name) != **there).collect();
            if wrong.is_empty() { Ok(()) } else { Err(format!("{wrong:?}")) }
        });
    }
    found(&root, "echo.after.research");
    let there = acknowledged.iter().find(|(_, there)| **there);
    if let Some((name, _)) = there {
        found(&root, name);
    }
    root.eventually_says(name, &json!({"text": "hello"}), "hello", SOON);
}

/// Tells everybody to stop, also when a check fails.
struct StopAtEnd<'a>(&'a AtomicBool);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}
