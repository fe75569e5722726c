//! What a call is besides its result, over one hop between nodes and over two: steps, questions, its end before its end, and the news
//! that a list is another.

use std::io::{BufRead, BufReader, Read};
use std::net::TcpStream;

use serde_json::{Value, json};

use crate::passing::{before, journals, next, open};
use crate::support::fixture::tool;
use crate::support::raw::{Reply, request};
use crate::support::{Fixture, Node, SOON, World, eventually};
use crate::{answer, messages, modern, modern_parts};

/// A root, the zone below it that has the servers, and another that has none: root is one hop away from the servers, shop two.
struct Federation {
    root: Node,
    lab: Node,
    shop: Node,
    suite: Fixture,
    papers: Fixture,
}

impl Federation {
    #[track_caller]
    fn start(world: &World) -> Self {
        let root = world.node("root").zone(".").start();
        let lab = world.node("lab").zone("lab").parent(&root).start();
        let shop = world.node("shop").zone("shop").parent(&root).start();
        let suite = Fixture::of_the_suite(world, "suite");
        let papers = Fixture::new(world, "papers");
        lab.register("suite", &suite.command());
        lab.register("papers", &papers.command());
        for node in [&root, &shop] {
            node.eventually_says("echo.papers.lab", &json!({"text": "ready"}), "ready", SOON);
        }
        Self { root, lab, shop, suite, papers }
    }

    /// Every way to a tool of the suite's server: the node that is asked, the path, and the call there.
    fn ways(&self, tool: &str, more: &Value) -> Vec<(&Node, &'static str, Value)> {
        let nodes = [&self.root, &self.shop];
        let ways = nodes.into_iter().flat_map(|node| {
            let through =
                json!({"name": "call_tool", "arguments": {"name": format!("{tool}.suite.lab"), "arguments": {}}});
            let plain = json!({"name": format!("suite__{tool}"), "arguments": {}});
            [(node, "/mcp", through), (node, "/z/lab/mcp", plain)]
        });
        let with = |mut call: Value| {
            for (key, value) in more.as_object().into_iter().flatten() {
                call[key] = value.clone();
            }
            call
        };
        ways.map(|(node, path, call)| (node, path, with(call))).collect()
    }
}

/// A request of the current revision that is not waited for.
fn begin(node: &Node, path: &str, method: &str, params: Value) -> BufReader<TcpStream> {
    let (headers, body) = modern_parts(method, params);
    let headers: Vec<(&str, &str)> = headers.iter().map(|(key, value)| (*key, value.as_str())).collect();
    open(&node.address, &format!("POST {path}"), &headers, &body)
}

#[test]
fn steps_questions_and_the_end_of_a_call_cross_one_hop_and_two() {
    let world = World::new();
    let federation = Federation::start(&world);
    let token = json!({"_meta": {"progressToken": "mine"}});
    for (node, path, call) in federation.ways("test_tool_with_progress", &token) {
        let all = messages(&modern(node, path, "tools/call", call).is(200));
        let steps: Vec<f64> = all.iter().filter_map(|message| message["params"]["progress"].as_f64()).collect();
        assert_eq!(steps, [0.0, 50.0, 100.0], "{path}: {all:?}");
        assert!(all[..3].iter().all(|step| step["params"]["progressToken"] == "mine"), "{path}: {all:?}");
    }
    let able = json!({"_meta": {"io.modelcontextprotocol/clientCapabilities": {"elicitation": {}}}});
    for (node, path, call) in federation.ways("test_input_required_result_request_state", &able) {
        let asked = answer(&modern(node, path, "tools/call", call.clone()).is(200));
        assert_eq!(asked["result"]["resultType"], "input_required", "{path}: {asked}");
        let mut again = call;
        again["inputResponses"] = json!({"confirm": {"action": "accept", "content": {"ok": true}}});
        again["requestState"] = asked["result"]["requestState"].clone();
        let done = answer(&modern(node, path, "tools/call", again).is(200));
        assert_eq!(done["result"]["content"][0]["text"], "state-ok", "{path}: {done}");
    }
    for (number, (node, path, call)) in federation.ways("hang", &token).into_iter().enumerate() {
        let mut stream = begin(node, path, "tools/call", call);
        assert_eq!(next(&mut stream)["params"]["progress"], 1, "{path}");
        drop(stream);
        let heard = || federation.suite.journal().iter().filter(|entry| entry["method"] == "(gone)").count();
        journals(&federation.suite, "the server hears that nobody waits", |_| heard() > number);
    }
}

#[track_caller]
fn hello(node: &Node, path: &str) -> Reply {
    let hello = json!({"jsonrpc": "2.0", "id": 7, "method": "initialize", "params": {
        "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "by-hand", "version": "0"}}});
    before(&node.address, path, None, &hello).is(200)
}

/// What a client of an initialize revision is given at its beginning.
#[track_caller]
fn session(node: &Node, path: &str) -> String {
    hello(node, path).header("mcp-session-id").expect("a session").to_owned()
}

/// The standing stream of such a client.
#[track_caller]
fn stand(node: &Node, path: &str) -> BufReader<TcpStream> {
    let session = session(node, path);
    let headers = [
        ("Accept", "text/event-stream"),
        ("MCP-Protocol-Version", "2025-06-18"),
        ("Mcp-Session-Id", &session),
        ("Connection", "close"),
    ];
    let mut stream = open(&node.address, &format!("GET {path}"), &headers, "");
    let mut status = String::new();
    stream.read_line(&mut status).expect("an answer");
    assert!(status.starts_with("HTTP/1.1 200"), "{status}");
    stream
}

/// A tester's client of revision 2025-06-18 cancelled its call by its id, as that revision has it: the node said 202, and the server
/// worked on to the end.
#[test]
fn a_client_of_an_initialize_revision_cancels_its_call_over_one_hop_and_two() {
    let world = World::new();
    let federation = Federation::start(&world);
    let quiet = federation.ways("hang", &json!({}));
    let told = federation.ways("hang", &json!({"_meta": {"progressToken": "mine"}}));
    for (number, (node, path, call)) in quiet.into_iter().chain(told).enumerate() {
        let heard = |method: &str| federation.suite.journal().iter().filter(|entry| entry["method"] == method).count();
        let session = session(node, path);
        let headers = [
            ("Content-Type", "application/json"),
            ("Accept", "application/json, text/event-stream"),
            ("MCP-Protocol-Version", "2025-06-18"),
            ("Mcp-Session-Id", &session),
            ("Connection", "close"),
        ];
        let body = json!({"jsonrpc": "2.0", "id": 77, "method": "tools/call", "params": call}).to_string();
        let mut stream = open(&node.address, &format!("POST {path}"), &headers, &body);
        journals(&federation.suite, "the call runs", |_| heard("tools/call") > number);
        let cancel = |session: Option<&str>, id: u64| {
            let why = json!({"requestId": id, "reason": "enough"});
            let message = json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": why});
            before(&node.address, path, session, &message).is(202);
        };
        // Who guesses the id, and a client that cancels something else.
        cancel(None, 77);
        cancel(Some(&self::session(node, path)), 77);
        cancel(Some(&session), 7);
        assert_eq!(heard("(gone)"), number, "{path}");
        cancel(Some(&session), 77);
        journals(&federation.suite, "the server hears that nobody waits", |_| heard("(gone)") > number);
        let mut rest = String::new();
        stream.read_to_string(&mut rest).expect("the end");
        assert!(rest.starts_with("HTTP/1.1 200") && !rest.contains("\"id\""), "no answer: {rest}");
    }
}

#[test]
fn who_listens_to_a_zone_hears_of_its_changes_over_one_hop_and_two() {
    let world = World::new();
    let federation = Federation::start(&world);
    let listen = json!({"notifications": {"toolsListChanged": true}});
    let nodes = [&federation.lab, &federation.root, &federation.shop];
    let mut streams = nodes.map(|node| {
        // What is there already is no news.
        modern(node, "/z/lab/mcp", "tools/list", json!({})).is(200);
        let mut stream = begin(node, "/z/lab/mcp", "subscriptions/listen", listen.clone());
        assert_eq!(next(&mut stream)["method"], "notifications/subscriptions/acknowledged");
        stream
    });
    // And so do clients of the revisions before, over the stream that these have.
    let mut before = nodes.map(|node| stand(node, "/z/lab/mcp"));
    federation.papers.list(&[tool("shelve", "Puts a paper away", json!({}))]);
    for (node, (stream, before)) in nodes.into_iter().zip(streams.iter_mut().zip(&mut before)) {
        assert_eq!(next(stream)["method"], "notifications/tools/list_changed", "{}", node.zone);
        let told = json!({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"});
        assert_eq!(next(before), told, "{}", node.zone);
        let listed = answer(&modern(node, "/z/lab/mcp", "tools/list", json!({})).is(200));
        let tools = listed["result"]["tools"].to_string();
        assert!(tools.contains("papers__shelve") && !tools.contains("papers__echo"), "{}: {tools}", node.zone);
    }
    let Federation { mut shop, .. } = federation;
    assert_eq!(shop.stop(), 0);
    let mut rest = String::new();
    before[2].read_to_string(&mut rest).expect("it ends with the node");
}

/// A tester's client was promised news of the list at both paths, and the stream for it was 405.
#[test]
fn what_is_said_at_the_beginning_is_true_of_the_path() {
    let world = World::new();
    let pinning = world.file("pins.toml", "[mcp]\npinned = [\"echo.papers.lab\"]\n").display().to_string();
    let pinned = world.node("pinned").zone("shop").args(["--config", &pinning]).start();
    let plain = world.node("plain").zone("lab").start();
    for (node, path, changes) in
        [(&plain, "/mcp", false), (&plain, "/z/lab/mcp", true), (&pinned, "/mcp", true), (&pinned, "/z/_/mcp", true)]
    {
        let hello = hello(node, path).json();
        let found = answer(&modern(node, path, "server/discover", json!({})).is(200));
        for said in [&hello["result"], &found["result"]] {
            assert_eq!(said["capabilities"]["tools"]["listChanged"], changes, "{path}: {said}");
            let instructions = said["instructions"].as_str().unwrap_or_default();
            assert_eq!(instructions.contains("search_tools"), path == "/mcp", "{path}: {said}");
        }
        assert!(!path.starts_with("/z/lab") || hello.to_string().contains("zone `lab`"), "{hello}");
        let get = |headers: &[(&str, &str)]| request(&node.address, "GET", path, headers, b"");
        if !changes {
            get(&[("Accept", "text/event-stream")]).is(405);
        }
        // Who takes no events, and whoever speaks the revision that has no such stream.
        let refused = get(&[("Accept", "application/json")]).is(405);
        assert!(refused.header("allow").is_some_and(|allowed| allowed.contains("POST")), "{refused:?}");
        get(&[("Accept", "text/event-stream"), ("MCP-Protocol-Version", "2026-07-28")]).is(405);
        let unknown = get(&[("Accept", "text/event-stream"), ("MCP-Protocol-Version", "2025-01-01")]);
        assert_eq!(unknown.status, if changes { 400 } else { 405 }, "{}", unknown.text());
    }
}

#[test]
fn a_method_that_an_mcp_door_does_not_have_is_refused_with_those_that_it_has() {
    let world = World::new();
    let pinning = world.file("pins.toml", "[mcp]\npinned = [\"echo.papers.lab\"]\n").display().to_string();
    let pinned = world.node("pinned").zone("shop").args(["--config", &pinning]).start();
    let plain = world.node("plain").zone("lab").start();
    plain.register("papers", &Fixture::new(&world, "papers").command());
    let allowed = |node: &Node, method: &str, path: &str, accept: &str| -> Vec<String> {
        let said = request(&node.address, method, path, &[("Accept", accept)], b"").is(405);
        let named = said.header("allow").unwrap_or_default().split(',').map(|name| name.trim().to_owned());
        // What is had by GET is had by HEAD.
        let mut named: Vec<String> = named.filter(|name| name != "HEAD").collect();
        named.sort_unstable();
        named
    };
    for (node, path, wanted) in [
        (&plain, "/mcp", &["POST"][..]),
        (&pinned, "/mcp", &["GET", "POST"]),
        (&plain, "/z/lab/mcp", &["GET", "POST"]),
        (&plain, "/s/papers/mcp", &["DELETE", "GET", "POST"]),
    ] {
        for method in ["PUT", "PATCH", "DELETE", "GET"].iter().filter(|method| !wanted.contains(method)) {
            assert_eq!(allowed(node, method, path, "text/event-stream"), wanted, "{method} {path}");
        }
    }
    // There is a stream, but not for who reads none; and without a session there is nothing but messages.
    for (node, path) in [(&pinned, "/mcp"), (&plain, "/z/lab/mcp")] {
        assert_eq!(allowed(node, "GET", path, "application/json"), ["GET", "POST"], "{path}");
    }
    for method in ["GET", "DELETE"] {
        assert_eq!(allowed(&plain, method, "/s/papers/mcp", "text/event-stream"), ["POST"], "{method}");
    }
}

#[test]
fn what_is_pinned_stands_on_the_short_list() {
    let world = World::new();
    let root = world.node("root").zone(".").start();
    let lab = world.node("lab").zone("lab").parent(&root).start();
    let file =
        world.file("shop.toml", "[mcp]\npinned = [\"echo.papers.lab\", \"none.papers.lab\", \"add.papers.lab\"]\n");
    let shop = world.node("shop").zone("shop").parent(&root).args(["--config", &file.display().to_string()]).start();
    let names = |node: &Node| -> Vec<String> {
        let listed = answer(&modern(node, "/mcp", "tools/list", json!({})).is(200));
        let tools = listed["result"]["tools"].as_array().cloned().unwrap_or_default();
        tools.iter().filter_map(|tool| Some(tool["name"].as_str()?.to_owned())).collect()
    };
    let four = ["search_tools", "describe_tool", "call_tool", "list_zones"];
    assert_eq!(names(&shop), four);
    let mut stream = begin(&shop, "/mcp", "subscriptions/listen", json!({"notifications": {"toolsListChanged": true}}));
    assert_eq!(next(&mut stream)["method"], "notifications/subscriptions/acknowledged");
    let mut before = stand(&shop, "/mcp");
    let papers = Fixture::new(&world, "papers");
    lab.register("papers", &papers.command());
    for stream in [&mut stream, &mut before] {
        assert_eq!(next(stream)["method"], "notifications/tools/list_changed");
    }
    crate::support::eventually("both are listed", SOON, || match names(&shop) {
        names if names[4..] == ["papers__echo", "papers__add"] => Ok(()),
        names => Err(format!("{names:?}")),
    });
    // What names nothing is told in the log, once however often the list is asked for.
    let log = shop.log_text();
    let told = log.lines().filter(|line| line.contains("mcp.pinned") && line.contains("none.papers.lab"));
    assert_eq!(told.count(), 1, "{log}");
    let echo = json!({"name": "papers__echo", "arguments": {"text": "pinned"}});
    let said = answer(&modern(&shop, "/mcp", "tools/call", echo.clone()).is(200));
    assert_eq!(said["result"]["content"][0]["text"], "pinned", "{said}");
    // Where nothing is pinned the list is a constant, and nothing else is routed there.
    assert_eq!(names(&root), four);
    assert_eq!(answer(&modern(&root, "/mcp", "tools/call", echo))["error"]["code"], -32602);
}

/// The answer went to whoever came next, and nobody but the one that asked can read what it wrote down for itself.
#[test]
fn what_was_asked_for_goes_to_the_replica_that_asked() {
    let world = World::new();
    let config = world.file("node.toml", "[call]\nbalance = \"round-robin\"\n").display().to_string();
    let door = world.node("door").zone("research").args(["--config", &config]).start();
    let homes = ["one", "two"].map(|name| world.node(name).zone("research").args(["--join", &door.address]).start());
    for home in &homes {
        let fixture = Fixture::new(&world, &home.id);
        fixture.list(&[tool("ask", "Asks before it answers", json!({}))]);
        home.try_register("papers", &fixture.command(), &["--replica"]).ok();
    }
    eventually("both instances are up", SOON, || {
        let hit =
            door.try_resolve("ask.papers.research", &["--exact", "--no-cache"]).wanted(0)?.json()["results"][0].clone();
        let up = hit["instances"].as_array().into_iter().flatten().filter(|one| one["state"] == "ACTIVE").count();
        if up == 2 { Ok(()) } else { Err(hit.to_string()) }
    });
    let able = json!({"io.modelcontextprotocol/clientCapabilities": {"elicitation": {}}});
    let call = json!({"name": "papers__ask", "arguments": {}, "_meta": able});
    let said = |call: &Value| answer(&modern(&door, "/z/research/mcp", "tools/call", call.clone()).is(200));
    let asked = [said(&call), said(&call)].map(|asked| asked["result"]["requestState"].clone());
    assert_ne!(asked[0], asked[1], "both in turn");
    // In whatever order they are answered, and more than once.
    for state in [&asked[1], &asked[1], &asked[0], &asked[0], &asked[1]] {
        let mut again = call.clone();
        again["inputResponses"] = json!({});
        again["requestState"] = state.clone();
        let done = said(&again);
        assert_eq!(done["result"]["content"][0]["text"], "answered", "{state} {done}");
    }
}
