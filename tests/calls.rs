//! What callers and operators of a running node can rely on: one deadline over all hops, many calls in one request, what a problem tells of
//! instances, and what is told to those who watch. What runs how often under faults is `execution.rs`'s.

mod support;

use std::io::{BufRead as _, BufReader};
use std::net::TcpStream;
use std::time::Instant;

use rustix::process::{Signal, kill_process};
use serde_json::{Value, json};
use support::{Fixture, Node, PATIENT, SOON, World, eventually, run};

const ECHO: &str = "echo.papers.research";

/// Calls a tool of `node` with the body's other members; status and answer.
fn call(node: &Node, name: &str, mut body: Value) -> (u16, Value) {
    if body["arguments"].is_null() {
        body["arguments"] = json!({});
    }
    let reply = node.send("POST", &format!("/v1/tools/{name}/call"), &body);
    (reply.status, reply.json())
}

/// A node of zone `research` with the usual behaviours as server `papers`, and what it was asked.
fn papers(world: &World, config: &str) -> (Node, Fixture) {
    let config = world.file("node.toml", config).display().to_string();
    let node = world.node("node").zone("research").args(["--config", &config]).start();
    let fixture = Fixture::new(world, "papers");
    node.register("papers", &fixture.command());
    (node, fixture)
}

#[test]
fn a_call_has_one_deadline_however_many_hops_and_who_hangs() {
    let world = World::new();
    let (node, _fixture) = papers(&world, "");
    let home = world.node("home").zone("research").args(["--join", &node.address]).start();
    let far = Fixture::new(&world, "far");
    home.register("far", &far.command());
    let tool = "hang.far.research";
    eventually("the other node's tools are known", PATIENT, || {
        let (status, answer) = call(&node, "echo.far.research", json!({"arguments": {"text": "here"}}));
        if status == 200 { Ok(()) } else { Err(answer.to_string()) }
    });
    // An upstream that hangs: its home says what it was given, which is what was left.
    for (tool, least) in [("hang.papers.research", 700), (tool, 400)] {
        let (status, answer) = call(&node, tool, json!({"timeout_ms": 1_000}));
        assert_eq!((status, &answer["kind"]), (504, &json!("call_timed_out")), "{answer}");
        let given = answer["data"]["given_ms"].as_u64().unwrap_or_default();
        assert!((least..=1_000).contains(&given), "{answer}");
        assert!(tool != "hang.far.research" || given <= 950, "the hop has its margin: {answer}");
        assert_eq!(answer["data"]["instances"][0]["tried"], true, "{answer}");
    }
    // A home that hangs says nothing at all.
    home.signal(Signal::STOP);
    let (status, answer) = call(&node, tool, json!({"timeout_ms": 500}));
    home.signal(Signal::CONT);
    assert_eq!((status, &answer["kind"]), (504, &json!("call_timed_out")), "{answer}");
    assert!(answer["detail"].as_str().is_some_and(|text| text.contains("no answer to")), "{answer}");
    assert_eq!(answer["data"]["instances"][0]["node"], home.id.as_str(), "{answer}");
    // Calls without time are refused, in words, and so are those with more than there is.
    for wrong in [json!(0), json!(-5), json!("1s"), json!(1.5), json!(300_001), json!(u64::MAX)] {
        let (status, answer) = call(&node, ECHO, json!({"timeout_ms": wrong}));
        assert_eq!((status, &answer["kind"]), (400, &json!("usage")), "{wrong}: {answer}");
    }
    assert_eq!(call(&node, ECHO, json!({"arguments": {"text": "long"}, "timeout_ms": 300_000})).0, 200);
    for wrong in ["0s", "-1s", "301s", "99999h"] {
        let ran = node.aop(["call", ECHO, "text=a", &format!("--timeout={wrong}"), "--json"]).exits(2);
        assert_eq!(ran.problem()["kind"], "usage", "{wrong}: {ran}");
    }
}

#[test]
fn many_calls_of_one_request_are_answered_each_for_itself() {
    let world = World::new();
    let (node, fixture) = papers(&world, "");
    let calls = json!([
        {"name": ECHO, "arguments": {"text": "one"}},
        {"name": "ecko.papers.research", "arguments": {"text": "two"}},
        {"name": ECHO, "arguments": {"text": 3}},
        {"name": ECHO, "arguments": {"text": "four"}, "colour": "red"},
        {"name": "refuse.papers.research"},
        {"name": ECHO, "arguments": {"text": "six"}, "idempotency_key": "six"},
        {"name": "hang.papers.research"},
    ]);
    let kinds = |answer: &Value| -> Vec<String> {
        let end = |one: &Value| match one["error"]["kind"].as_str() {
            Some(kind) => kind.to_owned(),
            None => one["result"]["content"][0]["text"].as_str().unwrap_or_default().to_owned(),
        };
        answer["results"].as_array().into_iter().flatten().map(end).collect()
    };
    let wanted = ["one", "name_not_found", "invalid_arguments", "usage", "upstream_failed", "six", "call_timed_out"];
    let asked = json!({"calls": calls, "timeout_ms": 3_000});
    for round in 0..2 {
        let answer = node.send("POST", "/v1/calls", &asked).is(200).json();
        assert_eq!(
            (answer["schema"].as_str(), kinds(&answer)),
            (Some("aop.calls/1"), wanted.map(str::to_owned).to_vec())
        );
        assert_eq!(answer["results"][1]["error"]["did_you_mean"][0], ECHO, "{answer}");
        // What has a key ran once.
        let said = fixture.journal().iter().filter(|entry| entry["params"]["arguments"]["text"] == "six").count();
        assert_eq!(said, 1, "round {round}");
    }
    // None, too many, no list; and nobody unnamed.
    let many: Vec<Value> = (0..65).map(|_| json!({"name": ECHO, "arguments": {"text": "x"}})).collect();
    for wrong in [json!({}), json!({"calls": []}), json!({"calls": many}), json!({"calls": 7})] {
        let answer = node.send("POST", "/v1/calls", &wrong).is(400).json();
        assert_eq!(answer["kind"], "usage", "{answer}");
    }
    let headers = [("Content-Type", "application/json")];
    let body = json!({"calls": [{"name": ECHO, "arguments": {"text": "nobody"}}]}).to_string();
    let refused = support::raw::request(&node.address, "POST", "/v1/calls", &headers, body.as_bytes());
    assert_eq!(refused.status, 401, "{}", refused.text());

    // The same for a model, in one tool call.
    let arguments =
        json!({"calls": [{"name": ECHO, "arguments": {"text": "seven"}}, {"name": "none.papers.research"}]});
    let request = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "call_tool", "arguments": arguments,
        "_meta": {"io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientInfo": {"name": "t", "version": "1"},
            "io.modelcontextprotocol/clientCapabilities": {}}}});
    let authorization = format!("Bearer {}", node.token());
    let headers = [
        ("Authorization", authorization.as_str()),
        ("Content-Type", "application/json"),
        ("Accept", "application/json, text/event-stream"),
        ("MCP-Protocol-Version", "2026-07-28"),
        ("Mcp-Method", "tools/call"),
        ("Mcp-Name", "call_tool"),
    ];
    let reply = support::raw::request(&node.address, "POST", "/mcp", &headers, request.to_string().as_bytes());
    let results = reply.json()["result"]["structuredContent"]["results"].clone();
    assert_eq!(results[0]["result"]["content"][0]["text"], "seven", "{}", reply.text());
    assert_eq!(results[1]["error"]["kind"], "name_not_found", "{}", reply.text());

    // And at the shell, in the order of the objects.
    let lines: String = (0..70).map(|number| json!({"text": format!("line {number}")}).to_string() + "\n").collect();
    let input = format!("\n{lines}[1]\n{{\"text\":7}}\n{{\"text\":\"cut\n{{\"text\":\"last\"}}");
    let batch = |words: &[&str], input: &str| {
        run(node.aop_command(["call", ECHO, "-"].into_iter().chain(words.iter().copied())), Some(input.as_bytes()))
    };
    let ran = batch(&[], &input).exits(2);
    let said: Vec<&str> = ran.out.lines().map(|line| line.split(": ").next().unwrap_or_default()).collect();
    let wrong =
        ["object 71 in line 72", "object 72 in line 73 {\"text\":7}", "object 73 in line 74"].map(str::to_owned);
    let wanted: Vec<String> =
        (0..70).map(|number| format!("line {number}")).chain(wrong).chain(["last".to_owned()]).collect();
    assert_eq!(said, wanted, "{ran}");
    assert!(ran.err.contains("3 of 74 objects") && ran.err.contains("object 71 in line 72"), "{ran}");
    // A program finds each by its index.
    for format in [&["--json"][..], &["-o", "jsonl"]] {
        let ran = batch(format, &input).exits(2);
        let told: Vec<Value> = ran.out.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        let index: Vec<u64> = told.iter().filter_map(|one| one["index"].as_u64()).collect();
        assert_eq!(index, (1..=74).collect::<Vec<_>>(), "{ran}");
        assert_eq!(told[71]["error"]["kind"], "invalid_arguments", "{ran}");
        assert_eq!((&told[71]["arguments"], &told[71]["line"]), (&json!({"text": 7}), &json!(73)), "{ran}");
        assert_eq!((&told[70]["error"]["kind"], &told[72]["error"]["kind"]), (&json!("usage"), &json!("usage")));
        assert_eq!(told[73]["result"]["content"][0]["text"], "last", "{ran}");
    }
    let ran = batch(&[], "\n").ok();
    assert!(ran.out.is_empty() && ran.err.contains("no JSON object"), "{ran}");
}

#[test]
fn a_problem_says_what_would_have_been_right_and_who_was_tried() {
    let world = World::new();
    let (node, _fixture) = papers(&world, "");
    let (status, answer) = call(&node, "ecko.papers.research", json!({}));
    assert_eq!((status, &answer["did_you_mean"][0]), (404, &json!(ECHO)), "{answer}");
    // By its label and in another zone too; and of a server what it has, never a zone.
    for near in ["ecko", "ecko.papers.reserch", "papers__ecko"] {
        let (status, answer) = call(&node, near, json!({}));
        assert_eq!((status, &answer["did_you_mean"][0]), (404, &json!(ECHO)), "{near}: {answer}");
    }
    let (_, answer) = call(&node, "nosuchthing.papers.research", json!({}));
    let offered = answer["did_you_mean"].as_array().cloned().unwrap_or_default();
    assert_eq!(offered.len(), 3, "{answer}");
    assert!(
        offered.iter().all(|name| name.as_str().is_some_and(|name| name.ends_with(".papers.research"))),
        "{answer}"
    );
    let (_, answer) = call(&node, "nosuchthing.other.research", json!({}));
    assert_ne!(answer["did_you_mean"][0], "research", "{answer}");
    // As DNS writes it.
    let dotted = format!("{ECHO}.");
    assert_eq!(call(&node, &dotted, json!({"arguments": {"text": "dot"}})).0, 200);
    assert_eq!(node.aop(["show", &dotted, "--json"]).ok().json()["name"], ECHO);
    let found = node.aop(["resolve", &dotted, "--json"]).ok().json();
    assert_eq!((&found["results"][0]["name"], &found["results"][0]["exact"]), (&json!(ECHO), &json!(true)), "{found}");
    let (status, answer) = call(&node, ECHO, json!({"arguments": {"text": 7}}));
    assert_eq!((status, &answer["kind"]), (422, &json!("invalid_arguments")), "{answer}");
    let told = answer.to_string();
    assert!(told.contains("/text") && told.contains("string") && told.contains("example"), "{answer}");
    assert_eq!(call(&node, ECHO, json!({"arguments": {"text": "good"}})).0, 200);
    let (status, answer) = call(&node, "die.papers.research", json!({}));
    assert_eq!((status, &answer["kind"]), (502, &json!("upstream_failed")), "{answer}");
    let instance = &answer["data"]["instances"][0];
    assert_eq!((&instance["node"], &instance["tried"]), (&json!(node.id), &json!(true)), "{answer}");
    assert!(instance["last_ok"].as_str().is_some_and(|time| time.starts_with("20")), "{answer}");
    assert!(answer["detail"].as_str().is_some_and(|text| text.contains("tried, last good 20")), "{answer}");
}

#[test]
fn an_operator_changes_how_tools_are_called_while_the_node_runs_and_what_he_does_is_written_down() {
    let world = World::new();
    let (node, _fixture) = papers(&world, "[tools.\"*.papers\"]\nworkers = 1\nqueue = 1\n");
    assert_eq!(call(&node, ECHO, json!({"arguments": {"text": "a"}})).0, 200);
    let queue = || {
        let queues = node.get("/v1/queues").is(200).json()["queues"].clone();
        (queues[0]["workers"].clone(), queues[0]["room"].clone())
    };
    assert_eq!(queue(), (json!(1), json!(1)));
    let timeout = || node.get(&format!("/v1/tools/{ECHO}")).is(200).json()["calls"]["timeout_ms"].clone();
    assert_eq!(timeout(), 30_000);
    world.file("node.toml", "[call]\ntimeout = '7s'\n[tools.\"*.papers\"]\nworkers = 3\nqueue = 5\n");
    node.signal(Signal::HUP);
    eventually("the new configuration holds", SOON, || {
        let now = (queue(), timeout());
        if now == ((json!(3), json!(5)), json!(7_000)) { Ok(()) } else { Err(format!("{now:?}")) }
    });
    // What cannot be used changes nothing.
    world.file("node.toml", "[call]\nworkers = 0\n");
    node.signal(Signal::HUP);
    eventually("it is refused", SOON, || {
        let log = node.log_text();
        if log.contains("cannot be used") { Ok(()) } else { Err(log) }
    });
    assert_eq!((queue(), timeout()), ((json!(3), json!(5)), json!(7_000)));

    node.aop(["queue", "pause", ECHO]).ok();
    node.aop(["queue", "clear", "nothing.papers.research"]).exits(6);
    node.aop(["queue", "resume", ECHO]).ok();
    let entries = node.aop(["audit", "--event", "queue", "-o", "jsonl"]).ok();
    let entries = entries.json_lines();
    let mut told: Vec<String> = entries
        .iter()
        .map(|entry| ["name", "reason", "outcome"].map(|key| entry[key].as_str().unwrap_or("-")).join(" "))
        .collect();
    told.sort();
    let wanted =
        [format!("{ECHO} pause ok"), format!("{ECHO} resume ok"), "nothing.papers.research clear AOP0302".to_owned()];
    assert_eq!(told, wanted);
    assert!(entries.iter().all(|entry| entry["principal"].is_string()), "{entries:?}");
}

#[test]
fn the_life_of_a_server_and_of_its_breaker_is_told_to_those_who_watch() {
    let world = World::new();
    let (node, _fixture) = papers(&world, "");
    let mut stream = TcpStream::connect(&node.address).expect("the node listens");
    let request = format!("GET /v1/watch HTTP/1.1\r\nHost: {}\r\n\r\n", node.address);
    std::io::Write::write_all(&mut stream, request.as_bytes()).expect("it is sent");
    stream.set_read_timeout(Some(SOON)).expect("a time");
    let mut lines = BufReader::new(stream).lines().map(|line| line.expect("the next event comes soon"));
    assert!(lines.any(|line| line == "event: ready"));
    let mut next = |event: &str| -> Value {
        let (head, until) = (format!("event: {event}"), Instant::now() + SOON);
        // A stream is kept alive for ever.
        assert!(lines.any(|line| Instant::now() > until || line == head) && Instant::now() <= until, "no {event}");
        let data = lines.next().expect("its data");
        serde_json::from_str(data.strip_prefix("data: ").expect("data")).expect("JSON")
    };
    call(&node, "die.papers.research", json!({}));
    let lost = next("lifecycle");
    assert_eq!((&lost["server"], &lost["lifecycle"]), (&json!("papers"), &json!("ERROR")), "{lost}");
    let back = next("lifecycle");
    assert_eq!((&back["server"], &back["lifecycle"]), (&json!("papers"), &json!("ACTIVE")), "{back}");
    // Every call is lost, until it is left alone.
    eventually("the breaker opens", PATIENT, || {
        call(&node, "die.papers.research", json!({}));
        let status = node.aop(["status", "--json"]).ok().json();
        if status["breakers"]["open"] == 1 { Ok(()) } else { Err(status["breakers"].to_string()) }
    });
    // Where it was only asked how the tool is, that was `ok`.
    eventually("the breaker is shown with the tool", PATIENT, || {
        call(&node, "die.papers.research", json!({}));
        let shown = node.aop(["show", ECHO, "--json"]).ok().json();
        let found = &node.resolve(ECHO)[0];
        let states = [&shown["health"]["state"], &found["health"]["state"], &shown["instances"][0]["breaker"]];
        let is_told = shown["health"]["retry_at"].is_string() && shown["instances"][0]["retry_at"].is_string();
        if states == [&json!("open"); 3] && is_told { Ok(()) } else { Err(format!("{shown} {found}")) }
    });
    let open = next("breaker");
    assert_eq!((&open["service"], &open["breaker"]), (&json!("papers.research"), &json!("open")), "{open}");
    let metrics = node.get("/metrics").is(200).text();
    for line in ["aop_breaker_changes_total{state=\"open\"} ", "aop_agents{lifecycle=\"ACTIVE\"} "] {
        assert!(metrics.lines().any(|one| one.starts_with(line)), "{line}\n{metrics}");
    }
}

/// Who was given up for another instance was no failure of anybody, however often it happened.
#[test]
fn an_upstream_that_falls_silent_is_left_alone_until_it_answers_again() {
    let world = World::new();
    let config = "[call]\nbalance = \"round-robin\"\n[tools.\"echo.papers\"]\nidempotent = true\n";
    let config = world.file("node.toml", config).display().to_string();
    let door = world.node("door").zone("research").args(["--config", &config]).start();
    let homes = ["one", "two"].map(|name| world.node(name).zone("research").args(["--join", &door.address]).start());
    for home in &homes {
        home.try_register("papers", &Fixture::new(&world, &home.id).command(), &["--replica"]).ok();
    }
    // In turn: half of them at each.
    let served_by = |count: usize| -> Vec<Value> {
        let calls = vec![json!({"name": ECHO, "arguments": {"text": "hello"}}); count];
        let answer = door.send("POST", "/v1/calls", &json!({"calls": calls, "timeout_ms": 20_000})).is(200).json();
        answer["results"].as_array().into_iter().flatten().map(|one| one["served_by"].clone()).collect()
    };
    let of_silent = |from: &Value, list: &str| -> Value {
        let all = from[list].as_array().cloned().unwrap_or_default();
        all.into_iter().find(|one| one["node"] == homes[0].id.as_str()).unwrap_or_default()
    };
    // How the first one is shown to whoever looks for the tool, and how often it was called.
    let shown = || {
        let answer = door.try_resolve(ECHO, &["--exact"]).ok().json();
        (of_silent(&answer["results"][0], "instances"), answer["results"][0]["health"]["state"].clone())
    };
    let called = || of_silent(&door.aop(["stats", ECHO, "-o", "json"]).ok().json(), "endpoints");
    eventually("both are there", PATIENT, || {
        let hit = door.try_resolve(ECHO, &["--exact", "--no-cache"]).wanted(0)?.json()["results"][0].clone();
        let up = hit["instances"].as_array().into_iter().flatten().filter(|one| one["state"] == "ACTIVE").count();
        if up == 2 { Ok(()) } else { Err(hit.to_string()) }
    });
    // A few only: it opens where at least as many ended badly.
    eventually("both answer", PATIENT, || {
        let by = served_by(2);
        if homes.iter().all(|home| by.contains(&json!(home.id))) { Ok(()) } else { Err(format!("{by:?}")) }
    });
    let silent: Vec<_> = homes[0].children().into_iter().map(|(process, _)| process).collect();
    silent.iter().for_each(|process| kill_process(*process, Signal::STOP).expect("it runs"));
    assert_eq!(served_by(12), vec![json!(homes[1].id); 12]);
    let silence = called();
    assert!(silence["breaker"] != "closed" && silence["failed"].as_u64() >= Some(5), "{silence}");
    let why = silence["last_error"].as_str().unwrap_or_default();
    assert!(why.contains("not waited for any more"), "{silence}");
    // Each time for longer, so that even a slow look falls into it.
    eventually("it is left alone", PATIENT, || {
        served_by(4);
        let (before, (instance, tool)) = (called(), shown());
        let (by, (still, _), after) = (served_by(4), shown(), called());
        let seen = format!("{instance} {still} {before} {after} {by:?}");
        if instance["breaker"] != "open" || still["breaker"] != "open" || instance["retry_at"] != still["retry_at"] {
            return Err(seen);
        }
        assert_eq!((&before["breaker"], &tool), (&json!("open"), &json!("ok")), "the other one is there: {seen}");
        assert_eq!((&before["calls"], by), (&after["calls"], vec![json!(homes[1].id); 4]), "{seen}");
        Ok(())
    });
    // Its home may have started it again by now.
    silent.iter().for_each(|process| kill_process(*process, Signal::CONT).unwrap_or_default());
    eventually("it is called again", PATIENT, || {
        let (by, (instance, _)) = (served_by(4), shown());
        let is_back = by.contains(&json!(homes[0].id)) && instance["breaker"].is_null();
        if is_back { Ok(()) } else { Err(format!("{instance} {by:?}")) }
    });
}

#[test]
fn statistics_say_something_where_nothing_was_called() {
    let world = World::new();
    let (node, _fixture) = papers(&world, "");
    let none = node.aop(["stats"]).ok();
    assert_eq!(none.out, "", "{none}");
    none.says("nothing was called here yet");
    assert_eq!(call(&node, ECHO, json!({"arguments": {"text": "a"}})).0, 200);
    let some = node.aop(["stats"]).ok();
    assert!(some.out.starts_with("TOOL") && some.out.contains("\nSERVICE"), "{some}");
}
