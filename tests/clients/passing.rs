//! `/s/{server}/mcp`: what passes through a node to one server and back, over HTTP and over pipes, in both eras.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::time::Instant;

use serde_json::{Value, json};

use crate::support::fixture::HttpServer;
use crate::support::raw::{Reply, request};
use crate::support::tools::tools;
use crate::support::{Fixture, Node, SOON, World, eventually};
use crate::{answer, conforms, modern, modern_parts};

const BOTH: &str = "application/json, text/event-stream";

/// A node with the suite's server behind it, once over HTTP (`far`) and once over pipes (`near`).
struct Passage {
    node: Node,
    far: Fixture,
    near: Fixture,
    server: HttpServer,
}

impl Passage {
    #[track_caller]
    fn start(world: &World) -> Self {
        let node = world.node("lab").zone("lab").start();
        let far = Fixture::of_the_suite(world, "far").option("--strange");
        let near = Fixture::of_the_suite(world, "near").option("--strange");
        let server = far.serve(world, 0);
        node.aop(["register", "mcp", &server.url(), "--as", "far"]).ok();
        node.register("near", &near.command());
        Self { node, far, near, server }
    }

    fn fixture(&self, server: &str) -> &Fixture {
        if server == "far" { &self.far } else { &self.near }
    }
}

/// One message of an initialize revision, in a session where there is one.
#[track_caller]
pub(crate) fn before(address: &str, path: &str, session: Option<&str>, message: &Value) -> Reply {
    let mut headers =
        vec![("Content-Type", "application/json"), ("Accept", BOTH), ("MCP-Protocol-Version", "2025-11-25")];
    headers.extend(session.map(|session| ("Mcp-Session-Id", session)));
    request(address, "POST", path, &headers, message.to_string().as_bytes())
}

/// Begins a session; its name.
#[track_caller]
fn begin(address: &str, path: &str) -> String {
    let hello = json!({"jsonrpc": "2.0", "id": 7, "method": "initialize", "params": {
        "protocolVersion": "2025-11-25", "capabilities": {"elicitation": {}, "sampling": {}},
        "clientInfo": {"name": "by-hand", "version": "0"}}});
    let reply = before(address, path, None, &hello).is(200);
    assert_eq!(answer(&reply)["result"]["serverInfo"]["name"], "conformance-fixture", "{}", reply.text());
    let session = reply.header("mcp-session-id").expect("a session").to_owned();
    before(address, path, Some(&session), &json!({"jsonrpc": "2.0", "method": "notifications/initialized"})).is(202);
    session
}

/// A request that is not waited for, its headers read: a stream of events.
pub(crate) fn open(address: &str, head: &str, headers: &[(&str, &str)], body: &str) -> BufReader<TcpStream> {
    let mut stream = TcpStream::connect(address).expect("a connection");
    let lines: String = headers.iter().map(|(key, value)| format!("{key}: {value}\r\n")).collect();
    let head = format!("{head} HTTP/1.1\r\nHost: {address}\r\nContent-Length: {}\r\n{lines}\r\n{body}", body.len());
    stream.write_all(head.as_bytes()).expect("a request");
    stream.set_read_timeout(Some(SOON)).expect("a deadline");
    BufReader::new(stream)
}

/// The next message of a stream.
#[track_caller]
pub(crate) fn next(stream: &mut BufReader<TcpStream>) -> Value {
    let (mut seen, until) = (String::new(), Instant::now() + SOON);
    loop {
        // A stream is kept alive for ever.
        assert!(Instant::now() < until, "nothing is said: {seen}");
        let mut line = String::new();
        let read = stream.read_line(&mut line).unwrap_or_else(|error| panic!("{error} after {seen}"));
        assert!(read > 0, "the stream ended: {seen}");
        if let Some(message) = line.strip_prefix("data:").and_then(|data| serde_json::from_str(data.trim()).ok()) {
            return message;
        }
        seen.push_str(&line);
    }
}

#[track_caller]
pub(crate) fn journals(fixture: &Fixture, what: &str, is_it: impl Fn(&Value) -> bool) {
    eventually(what, SOON, || match fixture.journal().iter().any(&is_it) {
        true => Ok(()),
        false => Err(format!("{:?}", fixture.journal().last())),
    });
}

#[test]
fn both_requirement_sets_pass_through_to_a_server_over_http() {
    let Some(tools) = tools() else { return };
    let world = World::new();
    let node = world.node("lab").zone("lab").start();
    let fixture = Fixture::of_the_suite(&world, "fixture");
    let server = fixture.serve(&world, 0);
    node.aop(["register", "mcp", &server.url(), "--as", "fixture"]).ok();
    for requirements in ["2026-07-28", "2025-11-25"] {
        let words = ["--requirements", requirements];
        conforms(&world, &tools, &node.url("/s/fixture/mcp"), &words, "conformance-expected-failures-passing.yml");
    }
}

#[test]
fn both_requirement_sets_pass_through_to_a_server_behind_pipes() {
    let Some(tools) = tools() else { return };
    let world = World::new();
    let node = world.node("lab").zone("lab").start();
    let fixture = Fixture::of_the_suite(&world, "fixture");
    node.register("fixture", &fixture.command());
    for requirements in ["2026-07-28", "2025-11-25"] {
        let words = ["--requirements", requirements];
        conforms(&world, &tools, &node.url("/s/fixture/mcp"), &words, "conformance-expected-failures-passing.yml");
    }
}

#[test]
fn what_no_revision_knows_passes_byte_for_byte() {
    let world = World::new();
    let passage = Passage::start(&world);
    let direct = format!("127.0.0.1:{}", passage.server.port);
    let (headers, body) = modern_parts("tools/list", json!({}));
    let headers: Vec<(&str, &str)> = headers.iter().map(|(key, value)| (*key, value.as_str())).collect();
    let said = request(&direct, "POST", "/mcp", &headers, body.as_bytes()).is(200).text();
    for server in ["far", "near"] {
        let path = format!("/s/{server}/mcp");
        let listed = modern(&passage.node, &path, "tools/list", json!({})).is(200);
        // Python writes the one as it writes the other, and nobody between them writes anything.
        assert_eq!(listed.text().trim(), said.trim(), "{server}");
        let called = modern(&passage.node, &path, "tools/call", json!({"name": "test_simple_text", "arguments": {}}));
        assert_eq!(answer(&called)["result"]["unknownToTheSpecification"], json!({"kept": true}), "{server}");
        let made_up = modern(&passage.node, &path, "made/up", json!({"deep": [{"er": null}]})).is(200);
        assert_eq!(answer(&made_up)["result"]["madeUp"]["deep"], json!([{"er": null}]), "{server}");
        let unknown = modern(&passage.node, &path, "not/there", json!({})).is(404);
        assert_eq!(answer(&unknown)["error"]["code"], -32601, "{server}");
    }
    assert!(said.contains("\"made-up\": {\"kept\": [null]}"), "{said}");
}

#[test]
fn a_client_that_goes_away_ends_its_request_at_the_server() {
    let world = World::new();
    let passage = Passage::start(&world);
    let mut params = json!({"name": "hang", "arguments": {}});
    params["_meta"] = json!({"progressToken": "mine"});
    let (headers, body) = modern_parts("tools/call", params);
    let headers: Vec<(&str, &str)> = headers.iter().map(|(key, value)| (*key, value.as_str())).collect();
    for server in ["far", "near"] {
        let mut stream = open(&passage.node.address, &format!("POST /s/{server}/mcp"), &headers, &body);
        let step = next(&mut stream);
        assert_eq!(step["params"]["progressToken"], "mine", "{step}");
        drop(stream);
        journals(passage.fixture(server), "the server hears of it", |entry| entry["method"] == "(gone)");
    }
    journals(&passage.near, "in its own words", |entry| entry["method"] == "notifications/cancelled");
}

#[test]
fn a_session_asks_its_client_and_hears_of_changes() {
    let world = World::new();
    let passage = Passage::start(&world);
    for server in ["far", "near"] {
        let path = format!("/s/{server}/mcp");
        let session = begin(&passage.node.address, &path);
        let other = begin(&passage.node.address, &path);
        let headers = [("Accept", BOTH), ("Content-Type", "application/json"), ("Mcp-Session-Id", session.as_str())];
        let mut alone = open(&passage.node.address, &format!("GET {path}"), &headers, "");
        // The stream stands when something is heard on it.
        let subscribe = json!({"jsonrpc": "2.0", "id": 7, "method": "resources/subscribe", "params": {"uri": "test://watched-resource"}});
        before(&passage.node.address, &path, Some(&session), &subscribe).is(200);
        let heard = next(&mut alone);
        assert_eq!(heard["params"]["uri"], "test://watched-resource", "{server}: {heard}");
        let change =
            json!({"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": {"name": "test_trigger_tool_change"}});
        before(&passage.node.address, &path, Some(&session), &change).is(200);
        assert_eq!(next(&mut alone)["method"], "notifications/tools/list_changed", "{server}");
        // Asked in the middle of a call, and answered in a request of its own.
        let ask = json!({"jsonrpc": "2.0", "id": "mine", "method": "tools/call", "params": {
            "name": "test_elicitation", "arguments": {"message": "how many?"}}});
        let mut stream = open(&passage.node.address, &format!("POST {path}"), &headers, &ask.to_string());
        let question = next(&mut stream);
        assert_eq!(
            (&question["method"], &question["params"]["message"]),
            (&json!("elicitation/create"), &json!("how many?"))
        );
        let reply = json!({"jsonrpc": "2.0", "id": question["id"], "result": {"action": "accept", "content": {"response": "three"}}});
        // From whoever was not asked it is no answer.
        before(&passage.node.address, &path, Some(&other), &reply).is(202);
        before(&passage.node.address, &path, Some(&session), &reply).is(202);
        let done = next(&mut stream);
        assert_eq!(done["id"], "mine", "{done}");
        assert!(done["result"]["content"][0]["text"].as_str().is_some_and(|text| text.contains("three")), "{done}");
        // A call taken back: its client says so, and the server hears it as it was said.
        let cancel = json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": "gone", "why": "no"}});
        before(&passage.node.address, &path, Some(&session), &cancel).is(202);
        journals(passage.fixture(server), "the cancellation", |entry| {
            entry["method"] == "notifications/cancelled" && entry["params"]["why"] == "no"
        });
        // The end of a session is the end of it.
        assert_eq!(request(&passage.node.address, "DELETE", &path, &headers, b"").status, 200, "{server}");
        let list = json!({"jsonrpc": "2.0", "id": 7, "method": "tools/list"});
        before(&passage.node.address, &path, Some(&session), &list).is(404);
        before(&passage.node.address, &path, Some(&other), &list).is(200);
    }
}

#[test]
fn a_process_that_dies_takes_its_session_with_it_and_nothing_else() {
    let world = World::new();
    let node = world.node("lab").zone("lab").start();
    let fixture = Fixture::new(&world, "papers");
    node.register("papers", &fixture.command());
    let path = "/s/papers/mcp";
    let hello = json!({"jsonrpc": "2.0", "id": 7, "method": "initialize", "params": {"protocolVersion": "2025-11-25"}});
    let sessions = [(), ()].map(|()| {
        let reply = before(&node.address, path, None, &hello).is(200);
        reply.header("mcp-session-id").expect("a session").to_owned()
    });
    let call = |name: &str| json!({"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": {"name": name, "arguments": {"text": "here"}}});
    let died = before(&node.address, path, Some(&sessions[0]), &call("die"));
    let error = answer(&died)["error"].clone();
    assert_eq!(error["code"], -32603, "{error}");
    assert!(error["message"].as_str().is_some_and(|said| said.contains("made of cheese")), "its last words: {error}");
    before(&node.address, path, Some(&sessions[0]), &call("echo")).is(404);
    let echo = before(&node.address, path, Some(&sessions[1]), &call("echo")).is(200);
    assert_eq!(answer(&echo)["result"]["content"][0]["text"], "here");
    assert_eq!(node.call("echo.papers.lab", &json!({"text": "there"}))["content"][0]["text"], "there");
}

#[test]
fn what_is_no_message_or_belongs_to_nobody_is_refused_before_it_is_sent() {
    let world = World::new();
    let passage = Passage::start(&world);
    let send = |path: &str, headers: &[(&str, &str)], body: &str| {
        let mut all = vec![("Content-Type", "application/json"), ("Accept", BOTH)];
        all.extend(headers);
        request(&passage.node.address, "POST", path, &all, body.as_bytes())
    };
    for server in ["far", "near"] {
        let path = format!("/s/{server}/mcp");
        for bad in [
            "{",
            "[]",
            "{}",
            r#"[{"jsonrpc":"2.0","id":1,"method":"tools/list"}]"#,
            r#"{"jsonrpc":"2.0","method":"tools/call","params":{"name":"hang"}}"#,
        ] {
            let reply = send(&path, &[], bad).is(400);
            assert!(reply.json()["error"]["code"].is_i64(), "{}", reply.text());
        }
        let list = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#;
        send(&path, &[("Mcp-Session-Id", "0123456789abcdef0123456789abcdefmade-up")], list).is(404);
        send(&path, &[("Mcp-Session-Id", "")], list).is(404);
        send(&path, &[("Origin", "http://evil.example")], list).is(403);
        send(&path, &[("Host", "evil.example")], list).is(403);
        let (headers, body) = modern_parts("tools/call", json!({"name": "test_simple_text", "arguments": {}}));
        let forged: Vec<(&str, &str)> = headers
            .iter()
            .filter(|(key, _)| !matches!(*key, "Content-Type" | "Accept"))
            .map(|(key, value)| if *key == "Mcp-Name" { (*key, "hang") } else { (*key, value.as_str()) })
            .collect();
        assert_eq!(send(&path, &forged, &body).is(400).json()["error"]["code"], -32020);
        // The node itself greets, lists and listens, and lists again when it is heard: when, is its affair.
        let is_own = |entry: &Value| match entry["method"].as_str() {
            Some("server/discover" | "subscriptions/listen") => true,
            Some("tools/list") => entry["params"]["_meta"].is_object(),
            _ => false,
        };
        let heard: Vec<Value> = passage.fixture(server).journal().into_iter().filter(|entry| !is_own(entry)).collect();
        assert_eq!(heard, Vec::<Value>::new(), "{server} has heard nothing of all that");
    }
    let unknown = send("/s/fa/mcp", &[], r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#).is(404).json();
    assert_eq!(unknown["error"]["data"]["did_you_mean"], json!(["far"]), "{unknown}");
    // Whatever a client says of itself stays here.
    let list = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
    let token = format!("Bearer {}", passage.node.token());
    send("/s/far/mcp", &[("Authorization", &token), ("Cookie", "a=b"), ("X-Key", "k")], list);
    let last = passage.far.journal().into_iter().rfind(|entry| entry["method"] == "ping").expect("it was asked");
    for header in ["authorization", "cookie", "x-key", "origin"] {
        assert!(last["headers"].get(header).is_none(), "{last}");
    }
}

#[test]
fn a_call_that_passes_through_is_written_down() {
    let world = World::new();
    let passage = Passage::start(&world);
    modern(&passage.node, "/s/near/mcp", "tools/call", json!({"name": "test_simple_text", "arguments": {}})).is(200);
    modern(&passage.node, "/s/far/mcp", "tools/call", json!({"name": "test_missing_capability", "arguments": {}}))
        .is(400);
    eventually("the audit has both", SOON, || {
        let entries = passage.node.aop(["audit", "--json"]).ok().json()["entries"].clone();
        let said = |name: &str, outcome: &str| {
            let mut called = entries.as_array().into_iter().flatten().filter(|entry| entry["event"] == "called");
            called.any(|entry| entry["name"] == name && entry["outcome"] == outcome)
        };
        let both = said("test_simple_text.near.lab", "ok") && said("test_missing_capability.far.lab", "AOP0503");
        if both { Ok(()) } else { Err(entries.to_string()) }
    });
}
