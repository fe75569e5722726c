//! What changes is told to whoever watches: every change of the own zone by its number, of others that they changed.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};

use serde_json::Value;

use crate::support::{Fixture, Node, SOON, World};
use crate::{Federation, found};

/// `aop watch`, line by line, until it is dropped.
struct Watching {
    child: Child,
    lines: Receiver<Value>,
}

impl Drop for Watching {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Watching {
    fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("aop runs");
        let (sender, lines) = channel();
        let out = BufReader::new(child.stdout.take().expect("its output"));
        // Ends with the process.
        std::thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                let event = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
                if sender.send(event).is_err() {
                    return;
                }
            }
        });
        Self { child, lines }
    }

    #[track_caller]
    fn next(&self) -> Value {
        self.lines.recv_timeout(SOON).expect("an event")
    }

    /// The next of these events, and how many others came before it.
    #[track_caller]
    fn until(&self, event: &str) -> (Value, Vec<Value>) {
        let mut others = Vec::new();
        loop {
            let next = self.next();
            if next["event"] == event {
                return (next, others);
            }
            others.push(next);
        }
    }
}

fn watch(node: &Node, words: &[&str]) -> Watching {
    let words = [&["watch", "-o", "jsonl"], words].concat();
    Watching::start(node.aop_command(words))
}

#[test]
fn a_zone_that_is_not_there_is_not_watched() {
    let world = World::new();
    let federation = Federation::start(&world);
    let refused = federation.writing.aop(["watch", "reserch", "--json"]);
    assert_eq!(refused.problem()["kind"], "zone_not_found", "{refused}");
}

#[test]
fn every_change_is_told_by_its_number_and_none_is_missed_by_who_comes_back() {
    let world = World::new();
    let mut federation = Federation::start(&world);
    let fixture = Fixture::new(&world, "pay");
    let watching = watch(&federation.research, &[]);
    let ready = watching.next();
    assert_eq!((ready["event"].as_str(), ready["zone"].as_str()), (Some("ready"), Some("research")));
    let mut serial = ready["serial"].as_u64().expect("a number");
    let registered = federation.research.register("pay", &fixture.command());
    let tools = registered["tools"].as_array().map(Vec::len).expect("its tools");
    let mut added = 0;
    let mut last = Value::Null;
    while added < tools {
        let event = watching.next();
        if event["zone"] == "research" {
            serial += 1;
            assert_eq!(event["serial"], serial, "no number is left out: {event}");
        }
        if event["event"] == "added" {
            added += 1;
            assert!(event["name"].as_str().is_some_and(|name| name.ends_with(".pay.research")), "{event}");
        }
        last = event;
    }
    // Whoever comes back with an id hears what came after it.
    federation.research.aop(["unregister", "echo.pay.research"]).ok();
    let id = last["id"].as_str().expect("an id").to_owned();
    let back = watch(&federation.research, &["--after", &id]);
    let (removed, _) = back.until("removed");
    assert_eq!(removed["name"], "echo.pay.research");
    // Elsewhere it is told that the zone changed, and only to those who want to know of it.
    found(&federation.writing, "fail.pay.research");
    let elsewhere = watch(&federation.writing, &["research"]);
    assert_eq!(elsewhere.next()["event"], "ready");
    let other = watch(&federation.writing, &["writing"]);
    assert_eq!(other.next()["event"], "ready");
    federation.research.aop(["unregister", "pay"]).ok();
    assert_eq!(elsewhere.until("zone").0["zone"], "research");
    // Another run of the node has other numbers, and whoever watched before is told to look anew.
    federation.research.start_again();
    back.until("resync");
    let wrong = federation.research.aop(["watch", "--after", "nothing"]);
    assert_eq!(wrong.code, 2, "{}", wrong.err);
    assert!(other.lines.try_iter().all(|event| event["zone"] != "research"));
}
