//! One upstream that misbehaves: what it costs the node, and that nobody else notices.
//!
//! Upstreams send what no answer should be: too much, without end, to nobody, nothing at all, and many things at once. Beside each a good
//! one is called, whose answers come while the bad one is still at it.

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Stdio};
use std::thread::scope;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::raw::{Reply, try_request};
use support::{Fixture, Node, PATIENT, SOON, World, eventually, in_tests};

const ECHO: &str = "echo.papers.research";
/// The most that a node of these tests may ever have had: what large answers may take, twice over, and what a node is.
const MEMORY_MAX: u64 = 256 << 20;
/// A result that no node takes.
const GIBIBYTE: u64 = 1 << 30;
/// One that it takes.
const LARGE: u64 = 5_000_000;

/// The odd server over HTTP; ends with the test.
struct Odd(Child);

impl Odd {
    fn serve(world: &World, flags: &[&str]) -> (Self, String) {
        let log = world.path("odd.log");
        let mut command = world.command("python3");
        command.arg(in_tests("fixtures/odd_server.py")).args(["http", "--log"]).arg(&log).args(flags);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let odd = Self(child.expect("python3 starts"));
        let port = eventually("the odd server listens", PATIENT, || {
            let lines = std::fs::File::open(&log).map(|file| BufReader::new(file).lines());
            let lines = lines.map_err(|error| error.to_string())?.map_while(Result::ok);
            let port = lines.filter_map(|line| line.strip_prefix("listening ").map(str::to_owned)).next();
            port.ok_or_else(|| "not yet".to_owned())
        });
        (odd, format!("http://127.0.0.1:{port}/mcp"))
    }
}

impl Drop for Odd {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// A node with a good upstream, `papers`, and two odd ones, `web` and `pipes`.
struct Bench {
    node: Node,
    _odd: Odd,
    _fixture: Fixture,
    world: World,
}

impl Bench {
    fn new() -> Self {
        let world = World::new();
        let node = world.node("node").zone("research").start();
        let fixture = Fixture::new(&world, "papers");
        node.register("papers", &fixture.command());
        let (odd, url) = Odd::serve(&world, &["--hostile"]);
        node.aop(["register", "mcp", &url, "--as", "web", "--json"]).ok();
        let program = in_tests("fixtures/odd_server.py").display().to_string();
        node.register("pipes", &["python3".to_owned(), program, "stdio".to_owned(), "--hostile".to_owned()]);
        Self { node, _odd: odd, _fixture: fixture, world }
    }

    fn call(&self, tool: &str, arguments: &Value, timeout: Duration) -> Reply {
        call(&self.node, tool, arguments, timeout)
    }

    /// The good one answers.
    fn is_well(&self) {
        let reply = self.call(ECHO, &json!({"text": "well"}), PATIENT);
        assert_eq!(reply.json()["result"]["content"][0]["text"], "well", "{}", reply.text());
    }

    /// The most memory that the node ever had.
    fn memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.node.pid())).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
        kib.expect("a number") * 1024
    }
}

fn call(node: &Node, tool: &str, arguments: &Value, timeout: Duration) -> Reply {
    let millis = u64::try_from(timeout.as_millis()).expect("a time");
    let body = json!({"arguments": arguments, "timeout_ms": millis}).to_string();
    let authorization = format!("Bearer {}", node.token());
    let headers = [("Authorization", authorization.as_str()), ("Content-Type", "application/json")];
    try_request(&node.address, "POST", &format!("/v1/tools/{tool}/call"), &headers, body.as_bytes()).expect("an answer")
}

fn kind(reply: &Reply) -> String {
    reply.json()["kind"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn results_too_large_fail_their_call_alone_and_large_ones_come_whole() {
    let bench = Bench::new();
    for server in ["web", "pipes"] {
        let tool = format!("huge.{server}.research");
        let too_large = bench.call(&tool, &json!({"bytes": GIBIBYTE}), PATIENT);
        assert_eq!(kind(&too_large), "upstream_failed", "{}", too_large.text());
        assert!(too_large.text().contains("larger than") || too_large.text().contains("longer than"));
        let large = bench.call(&tool, &json!({"bytes": LARGE}), PATIENT).json();
        assert_eq!(large["result"]["content"][0]["text"].as_str().map(str::len), usize::try_from(LARGE).ok());
    }
    bench.is_well();
    let memory = bench.memory();
    assert!(memory < MEMORY_MAX, "{memory} bytes");
}

#[test]
fn many_large_results_at_once_wait_for_room_and_all_come() {
    const AT_ONCE: usize = 32;
    const BYTES: usize = 12 << 20;
    let bench = Bench::new();
    let body = json!({"arguments": {"bytes": BYTES}, "timeout_ms": 60_000}).to_string();
    let request = format!(
        "POST /v1/tools/huge.web.research/call HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\n\
         Connection: close\r\nContent-Length: {}\r\n\r\n{body}",
        bench.node.address,
        bench.node.token(),
        body.len()
    );
    // None of them reads its answer before all are asked for.
    let mut callers: Vec<TcpStream> = Vec::new();
    for _ in 0..AT_ONCE {
        let mut caller = TcpStream::connect(&bench.node.address).expect("the node listens");
        caller.write_all(request.as_bytes()).expect("it is sent");
        callers.push(caller);
    }
    eventually("all are answered by their upstream", PATIENT, || {
        let log = std::fs::read_to_string(bench.world.path("odd.log")).unwrap_or_default();
        let begun = log.lines().filter(|line| *line == "call huge").count();
        if begun == AT_ONCE { Ok(()) } else { Err(begun.to_string()) }
    });
    for _ in 0..50 {
        bench.is_well();
    }
    scope(|threads| {
        for mut caller in callers {
            threads.spawn(move || {
                let mut answer = Vec::new();
                caller.read_to_end(&mut answer).expect("an answer");
                assert!(answer.len() > BYTES, "{}", String::from_utf8_lossy(&answer));
            });
        }
    });
    let memory = bench.memory();
    assert!(memory < MEMORY_MAX, "{memory} bytes");
}

#[test]
fn whatever_an_upstream_answers_its_deadline_holds_and_others_are_served() {
    const SHORT: Duration = Duration::from_millis(2_500);
    let bench = Bench::new();
    for (server, tool, arguments, ends) in [
        // No answer at all.
        ("web", "slow", json!({}), &["call_timed_out"][..]),
        ("pipes", "slow", json!({}), &["call_timed_out"]),
        // No end of one. What comes over HTTP is given up as soon as it is too large.
        ("web", "huge", json!({}), &["upstream_failed"]),
        // No end of notifications before it.
        ("web", "flood", json!({}), &["call_timed_out"]),
        // An answer to nobody's request, and one that is none.
        ("web", "stranger", json!({}), &["upstream_failed"]),
        ("pipes", "stranger", json!({}), &["call_timed_out"]),
        ("web", "babble", json!({}), &["upstream_failed"]),
        ("pipes", "babble", json!({}), &["call_timed_out"]),
        // These two leave nothing of the pipe to anybody.
        ("pipes", "flood", json!({}), &["call_timed_out"]),
        ("pipes", "huge", json!({}), &["call_timed_out"]),
    ] {
        let began = Instant::now();
        let bad = scope(|threads| {
            let bad = threads.spawn(|| bench.call(&format!("{tool}.{server}.research"), &arguments, SHORT));
            bench.is_well();
            let is_over = bad.is_finished();
            assert!(ends != ["call_timed_out"] || !is_over, "the good one waited for {tool} of {server}");
            bad.join().expect("an answer")
        });
        assert!(began.elapsed() < SHORT + SOON / 2, "{tool} of {server}: {:?}", began.elapsed());
        assert!(ends.contains(&kind(&bad).as_str()), "{tool} of {server}: {}", bad.text());
    }
    bench.is_well();
    let memory = bench.memory();
    assert!(memory < MEMORY_MAX, "{memory} bytes");
}

#[test]
fn ten_thousand_tools_of_one_upstream_are_listed_and_one_more_server_is_served_meanwhile() {
    let world = World::new();
    let node = world.node("node").zone("research").start();
    let fixture = Fixture::new(&world, "papers");
    node.register("papers", &fixture.command());
    let (_odd, url) = Odd::serve(&world, &["--many", "10000"]);
    scope(|threads| {
        let registering = threads.spawn(|| node.aop(["register", "mcp", &url, "--as", "web", "--json"]).ok().json());
        let echo = call(&node, ECHO, &json!({"text": "well"}), PATIENT);
        assert_eq!(echo.json()["result"]["content"][0]["text"], "well", "{}", echo.text());
        let registered = registering.join().expect("an answer");
        assert!(registered["count"].as_u64().is_some_and(|count| count >= 10_000), "{}", registered["count"]);
    });
    eventually("the last of them is found", PATIENT, || {
        let found = node.resolve("tool9999.web.research").len();
        if found == 1 { Ok(()) } else { Err(found.to_string()) }
    });
}

/// Registered while it is silent: refused in time, and nobody else waits for it.
#[test]
fn a_silent_upstream_is_no_registration_and_no_obstacle() {
    let world = World::new();
    let node = world.node("node").zone("research").start();
    let fixture = Fixture::new(&world, "papers");
    let program = in_tests("fixtures/odd_server.py").display().to_string();
    let begun = world.path("silent.log");
    let silent = ["python3", &program, "stdio", "--hang", "--log", &begun.display().to_string()].map(str::to_owned);
    scope(|threads| {
        let registering = threads.spawn(|| node.try_register("silent", &silent, &["--timeout", "8s"]));
        eventually("it was started", PATIENT, || if begun.exists() { Ok(()) } else { Err("not yet".to_owned()) });
        node.register("papers", &fixture.command());
        node.eventually_says(ECHO, &json!({"text": "well"}), "well", PATIENT);
        assert!(!registering.is_finished(), "the good one waited for it");
        let refused = registering.join().expect("an answer");
        assert!(refused.wanted(0).is_err());
    });
}
