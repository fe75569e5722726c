//! Other people's clients against a node: the official Python libraries, the Inspector, the conformance suite, and bytes by hand.
//!
//! What they call lives in another zone than the node they talk to, so that every line here crosses the federation.

mod support;

#[path = "clients/faces.rs"]
mod faces;
#[path = "clients/hops.rs"]
mod hops;
#[path = "clients/passing.rs"]
mod passing;

use std::io::Write;
use std::net::TcpStream;
use std::path::Path;

use serde_json::{Value, json};
use support::raw::{Reply, request};
use support::tools::{Tools, tools};
use support::{Fixture, Node, Ran, SOON, World, eventually, in_tests, run};

/// What `/mcp` lists, always and for everybody.
const SHORT_LIST: [&str; 4] = ["call_tool", "describe_tool", "list_zones", "search_tools"];

/// A root that is asked, and a zone below it that has the tools.
struct Pair {
    root: Node,
    _research: Node,
    fixture: Fixture,
}

impl Pair {
    fn start(world: &World) -> Self {
        let root = world.node("root").zone(".").start();
        let research = world.node("research").zone("research").parent(&root).start();
        let fixture = Fixture::new(world, "papers");
        research.register("papers", &fixture.command());
        root.eventually_says("echo.papers.research", &json!({"text": "ready"}), "ready", SOON);
        Self { root, _research: research, fixture }
    }
}

/// Runs one of `tests/clients/*.py` and judges what it saw.
#[track_caller]
fn tells_the_story(world: &World, tools: &Tools, client: &str, words: &[&str]) -> Ran {
    let mut command = world.command(tools.python(client));
    command.arg(in_tests(&format!("clients/{client}.py"))).args(words);
    let ran = run(command, None).ok();
    let seen = ran.json();
    assert_eq!(seen["tools"], json!(SHORT_LIST), "{ran}");
    assert!(seen["search"].to_string().contains("echo.papers.research"), "{}", seen["search"]);
    assert!(seen["describe"].to_string().contains("what to say"), "{}", seen["describe"]);
    assert!(seen["zones"].to_string().contains("research"), "{}", seen["zones"]);
    assert_eq!(seen["echo"]["content"][0]["text"], "grüße 👋");
    assert_eq!(seen["add"]["structuredContent"], json!({"sum": 42}), "{}", seen["add"]);
    assert_eq!(seen["fail"]["isError"], true, "{}", seen["fail"]);
    assert_eq!(seen["fail"]["content"][0]["text"], "the cheese has run out");
    let steps: Vec<f64> = seen["steps"].as_array().into_iter().flatten().filter_map(|step| step[0].as_f64()).collect();
    assert_eq!(steps, [1.0, 2.0, 3.0], "{}", seen["steps"]);
    // Arguments that do not fit come back in words that a model can act on; the upstream's own refusal as it was.
    let misfit = seen["misfit"].to_string();
    assert!(misfit.contains("integer"), "{misfit}");
    let refusal = &seen["refuse"];
    assert!(refusal.to_string().contains("not on a Saturday"), "{refusal}");
    ran
}

#[test]
fn python_clients_over_http() {
    let Some(tools) = tools() else { return };
    let world = World::new();
    let pair = Pair::start(&world);
    let url = pair.root.url("/mcp");
    tells_the_story(&world, &tools, "mcp1", &["http", &url, "papers.research"]);
    let modern = tells_the_story(&world, &tools, "mcp2", &["http", &url, "papers.research"]);
    assert!(modern.err.contains("negotiated 2026-07-28"), "{modern}");
    // Four calls each that fit, and none of those that did not.
    assert_eq!(pair.fixture.calls("add"), 2);
}

#[test]
fn python_clients_over_stdio() {
    let Some(tools) = tools() else { return };
    let world = World::new();
    let pair = Pair::start(&world);
    let aop = env!("CARGO_BIN_EXE_aop");
    for client in ["mcp1", "mcp2"] {
        tells_the_story(
            &world,
            &tools,
            client,
            &["stdio", "papers.research", aop, "--node", &pair.root.address, "mcp"],
        );
    }
}

#[test]
fn the_inspector_lists_and_calls() {
    let Some(tools) = tools() else { return };
    let world = World::new();
    let pair = Pair::start(&world);
    let inspector = |words: &[&str]| {
        let mut command = world.command(tools.node());
        command.arg(tools.npm("mcp-inspector")).arg("--cli").args(words);
        run(command, None).ok()
    };
    let judge = |list: &Ran, call: &Ran| {
        for name in SHORT_LIST {
            assert!(list.out.contains(&format!("\"{name}\"")), "{list}");
        }
        assert!(call.out.contains("Inspector was here"), "{call}");
    };
    let call = [
        "--method",
        "tools/call",
        "--tool-name",
        "call_tool",
        "--tool-arg",
        "name=echo.papers.research",
        "--tool-arg",
        "arguments={\"text\":\"Inspector was here\"}",
    ];
    let url = pair.root.url("/mcp");
    for era in ["legacy", "modern"] {
        let over = [url.as_str(), "--transport", "http", "--protocol-era", era];
        judge(&inspector(&[&over[..], &["--method", "tools/list"]].concat()), &inspector(&[&over[..], &call].concat()));
    }
    let state = world.path("state").display().to_string();
    let config = json!({"mcpServers": {"aop": {
        "type": "stdio", "command": env!("CARGO_BIN_EXE_aop"), "args": ["--node", pair.root.address, "mcp"],
        "env": {"XDG_STATE_HOME": state}}}});
    let config = world.file("inspector.json", &config.to_string()).display().to_string();
    let over = ["--config", config.as_str(), "--server", "aop"];
    judge(&inspector(&[&over[..], &["--method", "tools/list"]].concat()), &inspector(&[&over[..], &call].concat()));
}

#[test]
fn the_conformance_suite_finds_nothing_new() {
    let Some(tools) = tools() else { return };
    let world = World::new();
    let pair = Pair::start(&world);
    for scenario in ["tools-list", "server-stateless", "caching", "http-header-validation", "dns-rebinding-protection"]
    {
        let words = ["--scenario", scenario, "--spec-version", "2026-07-28"];
        conforms(&world, &tools, &pair.root.url("/mcp"), &words, "conformance-expected-failures.yml");
    }
}

/// Runs the official suite, which fails by a failure that is not expected and by an expected one that is none.
#[track_caller]
fn conforms(world: &World, tools: &Tools, url: &str, words: &[&str], expected: &str) {
    let mut command = world.command(tools.node());
    command.arg(tools.npm("conformance")).args(["server", "--url", url]).args(words).arg("--expected-failures");
    command.arg(in_tests(expected)).arg("-o").arg(world.path("conformance"));
    let ran = run(command, None);
    assert_eq!(ran.code, 0, "{ran}\n{}", failed_checks(&world.path("conformance")));
}

/// The checks that failed, with the suite's reasons, from the files it leaves.
fn failed_checks(dir: &Path) -> String {
    let mut shown = Vec::new();
    for scenario in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let text = std::fs::read_to_string(scenario.path().join("checks.json")).unwrap_or_default();
        let checks: Vec<Value> = serde_json::from_str(&text).unwrap_or_default();
        let failed = checks.iter().filter(|check| check["status"] == "FAILURE");
        shown.extend(failed.map(|check| format!("{} {}", check["id"], check["errorMessage"])));
    }
    shown.join("\n")
}

/// One request of the 2026-07-28 revision, by hand.
#[track_caller]
fn modern(node: &Node, path: &str, method: &str, params: Value) -> Reply {
    let (headers, body) = modern_parts(method, params);
    let headers: Vec<(&str, &str)> = headers.iter().map(|(key, value)| (*key, value.as_str())).collect();
    request(&node.address, "POST", path, &headers, body.as_bytes())
}

fn modern_parts(method: &str, mut params: Value) -> (Vec<(&'static str, String)>, String) {
    let mut meta = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": {"name": "by-hand", "version": "0"},
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    if let (Some(meta), Some(own)) = (meta.as_object_mut(), params["_meta"].as_object()) {
        meta.extend(own.clone());
    }
    let mut headers = vec![
        ("Content-Type", "application/json".to_owned()),
        ("Accept", "application/json, text/event-stream".to_owned()),
        ("MCP-Protocol-Version", "2026-07-28".to_owned()),
        ("Mcp-Method", method.to_owned()),
    ];
    if let Some(name) = params["name"].as_str() {
        headers.push(("Mcp-Name", name.to_owned()));
    }
    params["_meta"] = meta;
    (headers, json!({"jsonrpc": "2.0", "id": 7, "method": method, "params": params}).to_string())
}

/// The messages of a reply, be it plain JSON or a stream of events.
fn messages(reply: &Reply) -> Vec<Value> {
    if reply.header("content-type").is_some_and(|kind| kind.starts_with("text/event-stream")) {
        let text = reply.text();
        let data =
            text.lines().filter_map(|line| line.strip_prefix("data:")).map(str::trim).filter(|data| !data.is_empty());
        return data.map(|data| serde_json::from_str(data).unwrap_or_else(|error| panic!("{error}: {data}"))).collect();
    }
    vec![reply.json()]
}

/// The answer among them.
#[track_caller]
fn answer(reply: &Reply) -> Value {
    let all = messages(reply);
    all.iter().find(|message| message["id"] == 7).cloned().unwrap_or_else(|| panic!("no answer: {all:?}"))
}

fn through(tool: &str, arguments: Value) -> Value {
    json!({"name": "call_tool", "arguments": {"name": format!("{tool}.papers.research"), "arguments": arguments}})
}

#[test]
fn results_and_errors_of_another_zone_pass_through_untouched() {
    let world = World::new();
    let pair = Pair::start(&world);
    let added = answer(&modern(&pair.root, "/mcp", "tools/call", through("add", json!({"a": 1, "b": 2}))).is(200));
    assert_eq!(added["result"]["structuredContent"], json!({"sum": 3}), "{added}");
    assert_eq!(added["result"]["unknownToTheSpecification"], json!({"kept": true}), "{added}");
    let refused = answer(&modern(&pair.root, "/mcp", "tools/call", through("refuse", json!({}))));
    assert_eq!(
        refused["error"],
        json!({"code": -32042, "message": "not on a Saturday", "data": {"try": "Sunday"}}),
        "{refused}"
    );
}

#[test]
fn a_zone_as_plain_tools() {
    let world = World::new();
    let pair = Pair::start(&world);
    let listed = answer(&modern(&pair.root, "/z/research/mcp", "tools/list", json!({})).is(200));
    let names: Vec<&str> =
        listed["result"]["tools"].as_array().into_iter().flatten().filter_map(|tool| tool["name"].as_str()).collect();
    assert!(names.contains(&"papers__echo"), "{names:?}");
    assert!(listed["result"]["ttlMs"].is_number() && listed["result"]["cacheScope"].is_string(), "{listed}");
    let echo = modern(
        &pair.root,
        "/z/research/mcp",
        "tools/call",
        json!({"name": "papers__echo", "arguments": {"text": "plain"}}),
    );
    assert_eq!(answer(&echo)["result"]["content"][0]["text"], "plain");
}

#[test]
fn progress_reaches_who_asked_for_it() {
    let world = World::new();
    let pair = Pair::start(&world);
    let mut params = through("progress", json!({}));
    params["_meta"] = json!({"progressToken": "mine"});
    let reply = modern(&pair.root, "/mcp", "tools/call", params).is(200);
    let all = messages(&reply);
    let steps: Vec<&Value> = all.iter().filter(|message| message["method"] == "notifications/progress").collect();
    assert_eq!(steps.len(), 3, "{all:?}");
    assert!(steps.iter().all(|step| step["params"]["progressToken"] == "mine"), "{steps:?}");
    assert_eq!(answer(&reply)["result"]["content"][0]["text"], "three steps");
    // Who did not ask hears none.
    let quiet = modern(&pair.root, "/mcp", "tools/call", through("progress", json!({})));
    assert_eq!(messages(&quiet).len(), 1);
}

#[test]
fn a_caller_that_goes_away_cancels_the_call_in_the_other_zone() {
    let world = World::new();
    let pair = Pair::start(&world);
    let (headers, body) = modern_parts("tools/call", through("hang", json!({})));
    let mut stream = TcpStream::connect(&pair.root.address).expect("a connection");
    let lines: String = headers.iter().map(|(key, value)| format!("{key}: {value}\r\n")).collect();
    let head =
        format!("POST /mcp HTTP/1.1\r\nHost: {}\r\nContent-Length: {}\r\n{lines}\r\n", pair.root.address, body.len());
    stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body.as_bytes())).expect("a request");
    eventually("the call runs in the other zone", SOON, || match pair.fixture.calls("hang") {
        0 => Err("not yet".to_owned()),
        _ => Ok(()),
    });
    drop(stream);
    eventually("the upstream hears of the cancellation", SOON, || {
        let journal = pair.fixture.journal();
        let told = journal.iter().any(|entry| entry["method"] == "notifications/cancelled");
        if told { Ok(()) } else { Err(format!("{:?}", journal.last())) }
    });
    assert_eq!(pair.fixture.calls("hang"), 1, "a call that may have run is not repeated");
}

#[test]
fn the_initialize_revisions_are_spoken_and_their_sessions_hold_nothing() {
    let world = World::new();
    let pair = Pair::start(&world);
    for version in ["2025-03-26", "2025-06-18", "2025-11-25"] {
        let post = |body: Value| {
            let headers = [
                ("Content-Type", "application/json"),
                ("Accept", "application/json, text/event-stream"),
                ("MCP-Protocol-Version", version),
            ];
            request(&pair.root.address, "POST", "/mcp", &headers, body.to_string().as_bytes())
        };
        let hello = post(json!({"jsonrpc": "2.0", "id": 7, "method": "initialize", "params": {
            "protocolVersion": version, "capabilities": {}, "clientInfo": {"name": "by-hand", "version": "0"}}}));
        assert_eq!(hello.header("mcp-session-id").map(str::len), Some(32));
        assert_eq!(answer(&hello)["result"]["protocolVersion"], version);
        // Whoever does not say it, or says another, is answered as well.
        let list = post(json!({"jsonrpc": "2.0", "id": 7, "method": "tools/list", "params": {}}));
        assert_eq!(answer(&list)["result"]["tools"].as_array().map(Vec::len), Some(4), "{}", list.text());
    }
}
